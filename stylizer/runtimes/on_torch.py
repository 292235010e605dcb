"""torch on CUDA, or on a CPU where OpenVINO does not run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from stylizer import cores, memory, weights
from stylizer.errors import ParameterError
from stylizer.runtimes.runtime import Runtime
from stylizer.settings import Settings

if TYPE_CHECKING:
    import torch

EAGER_BYTES_PER_PIXEL = {"f16": 450, "f32": 900}  # layer by layer


class TorchRuntime(Runtime):
    """torch on CUDA, the transformer in half precision, one CUDA graph per picture size; or on a CPU in float32."""

    library = "torch"

    def __init__(self, settings: Settings, device: str):
        import torch

        from stylizer.networks import build, build_transformer

        if settings.precision == "int8":
            raise ParameterError("precision", "int8 is for OpenVINO, on a CPU; with torch choose auto or f32")
        self._torch, self.device = torch, device
        half = device == "cuda" and settings.precision == "auto"
        self.precision, self._dtype = ("f16", torch.float16) if half else ("f32", torch.float32)
        if device == "cpu":
            cores.limit_torch(settings.threads)

        def stored(stem: str) -> tuple[dict[str, torch.Tensor], dict[str, str], str]:
            arrays, metadata = weights.parse(weights.read(settings.models, f"{stem}.safetensors"), stem)
            return {key: torch.from_numpy(value) for key, value in arrays.items()}, metadata, stem

        predictor = build(*stored(settings.predictor_stem)).requires_grad_(False)
        self._predictor = predictor.to(device).to(memory_format=torch.channels_last)
        transformer = build_transformer(*stored(settings.transformer_stem)).requires_grad_(False)
        self._transformer = transformer.to(device, self._dtype).to(memory_format=torch.channels_last)
        self.takes_studies = self._transformer.config.separable
        floors = weights.calibration(settings.models, settings.transformer_stem).get("floors")
        self._transformer.floors = None if floors is None else torch.from_numpy(floors).to(device)
        self._lock = threading.Lock()
        self._graphs: OrderedDict[tuple, tuple] = OrderedDict()

        self._own_bytes = memory.resident_memory() if device == "cpu" else 0

    def check_memory(self, height: int, width: int, piece: int | None = None) -> None:
        with self._lock:
            self._check_memory(height, width, piece)

    def _check_memory(self, height: int, width: int, piece: int | None = None) -> None:
        if self.device == "cuda":
            memory_there = {"free": self._free_on_card, "total": lambda: self._torch.cuda.mem_get_info()[1]}
        else:
            memory_there = {}
        memory.check_memory(
            height,
            width,
            EAGER_BYTES_PER_PIXEL[self.precision],
            piece=piece,
            needs_besides=self._own_bytes,
            release=self._release,
            **memory_there,
        )

    def _free_on_card(self) -> int:
        """Memory free in the driver, plus what torch has reserved but not allocated."""
        cuda = self._torch.cuda
        return cuda.mem_get_info()[0] + cuda.memory_reserved() - cuda.memory_allocated()

    def _release(self) -> bool:
        if self._graphs:
            self._graphs.popitem(last=False)
            self._torch.cuda.empty_cache()
            return True
        return self.forget()

    def _upload(self, array: np.ndarray, dtype: torch.dtype | None = None) -> torch.Tensor:
        tensor = self._torch.from_numpy(array).to(self.device, dtype or self._dtype)
        return tensor.contiguous(memory_format=self._torch.channels_last) if tensor.ndim == 4 else tensor

    def _download(self, tensor: torch.Tensor) -> np.ndarray:
        return tensor.float().contiguous().cpu().numpy()

    def predict(self, style: np.ndarray) -> np.ndarray:
        with self._lock, self._torch.inference_mode():
            return self._download(self._predictor(self._upload(style, self._torch.float32)))

    def encode(self, content: np.ndarray, exact: bool = False) -> torch.Tensor:
        with self._lock, self._torch.inference_mode():
            self._check_memory(*content.shape[2:])
            return self._transformer.encode(self._upload(content))

    def decode(self, features: torch.Tensor, vector: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
        with self._lock, self._torch.inference_mode():
            self._check_memory(*(4 * side for side in features.shape[2:]))
            return self._replay(self._transformer.decode, features, self._upload(vector), added=added)

    def measure(
        self,
        samples: list[torch.Tensor],
        vector: np.ndarray,
        weights: np.ndarray,
        floor: float = 0.0,
        added: np.ndarray | None = None,
    ) -> torch.Tensor:
        with self._lock, self._torch.inference_mode():
            height, width = samples[0].shape[2:]
            self._check_memory(4 * len(samples) * height, 4 * width)
            exact = self._torch.float32  # weights are about a millionth
            given = self._torch.cat(samples), self._upload(vector), self._upload(weights, exact)
            least = self._torch.tensor([floor], device=self.device)
            studied = None if added is None else self._upload(added)
            return self._transformer.measure(*given, least, studied).to(self._dtype)

    def decode_tile(
        self, features: torch.Tensor, affine: torch.Tensor, vector: np.ndarray, added: np.ndarray | None = None
    ) -> np.ndarray:
        with self._lock, self._torch.inference_mode():
            return self._replay(self._transformer.decode_tile, features, affine, self._upload(vector), added=added)

    def _replay(
        self,
        decode: Callable[..., torch.Tensor],
        features: torch.Tensor,
        *style: torch.Tensor,
        added: np.ndarray | None,
    ) -> np.ndarray:
        """Decode with a CUDA graph: at preview sizes, launching forty small kernels takes longer than running them."""
        given = (features, *style) if added is None else (features, *style, self._upload(added))
        if self.device != "cuda":
            return self._download(decode(*given))
        torch, key = self._torch, (decode.__name__, len(given), *features.shape)
        if key not in self._graphs:
            while len(self._graphs) >= 4:
                self._graphs.popitem(last=False)
            inputs = tuple(each.clone() for each in given)
            warm_up = torch.cuda.Stream()
            warm_up.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(warm_up):  # cuDNN must choose its kernels before the capture
                for _ in range(3):
                    decode(*inputs)
            torch.cuda.current_stream().wait_stream(warm_up)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = decode(*inputs)
            self._graphs[key] = graph, inputs, output
        self._graphs.move_to_end(key)
        graph, inputs, output = self._graphs[key]
        for kept, each in zip(inputs, given, strict=True):
            kept.copy_(each)
        graph.replay()
        return self._download(output)

    def feature_bytes(self, features: torch.Tensor) -> int:
        return features.numel() * features.element_size()
