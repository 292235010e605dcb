"""predict / encode / decode on this machine: OpenVINO on a CPU, torch on CUDA, torch on a CPU as the fallback.

All take and return float32 numpy arrays; `features` and `affine` are opaque, kept between calls and passed back to the
runtime that made them. A runtime paints one picture at a time, on all cores: two at once would only share them.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from stylizer import memory, weights
from stylizer.errors import ParameterError, StylizerError, WeightsError
from stylizer.settings import Settings
from stylizer.studies import ADDED_SIZE

if TYPE_CHECKING:
    import openvino
    import torch

PRECISIONS = ("auto", "f32")
# Memory of a picture being painted; measured 345 in bf16 at 12 megapixels, and 600 in f32, with OpenVINO.
BYTES_PER_PIXEL = {"bf16": 400, "f32": 700}
EAGER_BYTES_PER_PIXEL = {"f16": 450, "f32": 900}  # with torch, layer by layer
# Limit for all compiled sizes together, most of it activations: enough for a preview and a 1024 x 683 picture in
# float32, encoder and decoder each. On a small machine it is a quarter of the available memory.
KEPT_BYTES = 10**9
COMPILED_BYTES = 20 * 2**20  # of each compiled size, besides activations
SEEN = 64  # sizes remembered, to recognise them when they come again
LARGE_BYTES = 256 * 2**20  # after a picture that used more than this, memory is returned to the system
EXACT_PARTS = ("encoder", "measure")  # always in float32; see OpenVinoRuntime
TRANSFORMER_PARTS = ("encoder", "decoder", "measure", "tile")

Opaque = Any  # features and affine, whose type only the runtime that made them knows


class Runtime(ABC):
    """The three networks on one device. `device`, `precision` and `library` describe what runs."""

    device: str
    precision: str
    library: str
    takes_studies: bool  # True for the separable transformer
    forget: Callable[[], bool] = staticmethod(lambda: False)  # frees something cached elsewhere, if memory is short

    @abstractmethod
    def check_memory(self, height: int, width: int, piece: int | None = None) -> None:
        """Refuse a painting for which there is no memory, as `memory.check_memory`, after freeing caches."""

    @abstractmethod
    def predict(self, style: np.ndarray) -> np.ndarray:
        """Style picture (1, 3, H, W) in [0, 1] -> style vector (1, 100)."""

    @abstractmethod
    def encode(self, content: np.ndarray) -> Opaque:
        """Photo (1, 3, H, W) in [0, 1], sides multiples of 4 -> its features (1, 128, H/4, W/4)."""

    @abstractmethod
    def decode(self, features: Opaque, vector: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
        """Features, style vector (1, 100) and studies' additions (P,) -> stylised (1, 3, H, W) in [0, 1]."""

    @abstractmethod
    def measure(
        self,
        samples: list[Opaque],
        vector: np.ndarray,
        weights: np.ndarray,
        floor: float = 0.0,
        added: np.ndarray | None = None,
    ) -> Opaque:
        """Measure statistics for `decode_tile` -> affine.

        From features of one photo's samples, of equal size, a style vector (1, 100), the weight of each place
        (N, 1, h, w), the share of the least variances to apply, 0 to 1, and studies' additions.
        """

    @abstractmethod
    def decode_tile(
        self, features: Opaque, affine: Opaque, vector: np.ndarray, added: np.ndarray | None = None
    ) -> np.ndarray:
        """A tile's features, its photo's affine, style vector (1, 100) and studies' additions -> (1, 3, H, W)."""

    @abstractmethod
    def feature_bytes(self, features: Opaque) -> int:
        """Memory that these features occupy."""


def import_openvino() -> ModuleType:
    """The openvino module without its telemetry, which would report every import to a host on the internet."""
    if "openvino" not in sys.modules:
        # None makes Python treat the module as missing; openvino then falls back to its own silent stub
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


class OpenVinoRuntime(Runtime):
    """OpenVINO on a CPU, the transformer in bf16 if the CPU supports it.

    The predictor stays in float32: in bf16 its vectors are 1 to 2 % off, which causes most of the difference in a
    picture, and it would save only two milliseconds per painting. So does the encoder: the noise it removes from calm
    places is smaller than a step of bf16, and steps in a sky would be painted as texture. So do a tile's statistics,
    which would otherwise be off by half a percent.

    Encoder and decoder are compiled for each picture size: a fixed size runs about a tenth faster than a dynamic one,
    takes no longer to compile, and can be freed, while a dynamic one keeps the memory of its largest picture. A size
    is kept from its second use, replacing the oldest, until it is no longer used. The predictor is small and stays
    dynamic.
    """

    library = "OpenVINO"

    def __init__(self, settings: Settings):
        self.device = "cpu"
        self._core = import_openvino().Core()
        capable = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if capable and settings.precision == "auto" else "f32"
        self._options: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": self.precision}
        if settings.threads:
            self._options["INFERENCE_NUM_THREADS"] = settings.threads
        self._lock = threading.Lock()
        files = {part: f"{settings.transformer_stem}-{part}" for part in TRANSFORMER_PARTS}
        files["predictor"] = settings.predictor_stem
        self._models = {name: self._read(settings.models, f"{stem}.onnx") for name, stem in files.items()}
        self.takes_studies = any(each.any_name == "added" for each in self._models["decoder"].inputs)
        self._nothing = np.zeros(ADDED_SIZE, np.float32)  # the additions of a style without a study
        self._predictor: openvino.InferRequest | None = None
        self._requests: OrderedDict[tuple[str, tuple[int, ...]], openvino.InferRequest] = OrderedDict()
        self._seen: OrderedDict[tuple[str, tuple[int, ...]], None] = OrderedDict()
        self._own_bytes = memory.resident_memory()

    def _read(self, folder: Path, file: str) -> openvino.Model:
        data = weights.read(folder, file)
        try:
            return self._core.read_model(data)
        except RuntimeError as cause:
            raise WeightsError(f"{folder / file} is not an ONNX model: {str(cause).splitlines()[0]}") from cause

    def check_memory(self, height: int, width: int, piece: int | None = None) -> None:
        with self._lock:
            if piece is None and ("decoder", (1, 128, -(-height // 4), -(-width // 4))) in self._requests:
                return  # already allocated
            self._check_memory(height, width, piece)

    def _check_memory(self, height: int, width: int, piece: int | None = None, share: float = 1.0) -> None:
        """`share`: of the memory that a whole painting takes, including its arrays."""
        memory.check_memory(
            height,
            width,
            int(share * BYTES_PER_PIXEL[self.precision]),
            piece=piece,
            needs_besides=self._own_bytes,
            release=self._release,
        )

    def _release(self) -> bool:
        """Free the least recently used size, or something cached elsewhere if there is none."""
        if self._requests:
            self._requests.popitem(last=False)
            return True
        return self.forget()

    def _run(self, part: str, picture: np.ndarray, *style: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
        """Run a part of the transformer on content or features (N, C, H, W), compiled for their size on first use."""
        with self._lock:
            request = self._request(part, picture.shape)
            if self.takes_studies and part != "encoder":
                style = (*style, self._nothing if added is None else added)
            result = request.infer([picture, *style])[0]
            kept = (part, picture.shape) in self._requests
            if not kept:
                result = result.copy()  # a view would keep all of the request's memory alive
                del request
        if not kept and self._bytes(part, picture.shape) > LARGE_BYTES:
            memory.give_back()
        return result

    def _request(self, part: str, shape: tuple[int, ...]) -> openvino.InferRequest:
        key = (part, shape)
        if key in self._requests:
            for order in (self._requests, self._seen):
                order.move_to_end(key)
            return self._requests[key]
        kept, wanted = sum(self._bytes(*each) for each in self._requests), self._bytes(part, shape)
        most = self._most_kept(kept)
        again = key in self._seen and wanted <= most  # a large picture's activations cost more than recompiling
        while again and kept + wanted > most:
            kept -= self._bytes(*self._requests.popitem(last=False)[0])
        scale = 1 if part == "encoder" else 4
        share = self._bytes_per_pixel(part) / BYTES_PER_PIXEL[self.precision] if part == "encoder" else 0.85
        self._check_memory(shape[0] * shape[2] * scale, shape[3] * scale, share=share)
        model = self._models[part].clone()
        model.reshape({model.input(0): list(shape)})
        options = {**self._options, "INFERENCE_PRECISION_HINT": "f32"} if part in EXACT_PARTS else self._options
        request = self._core.compile_model(model, "CPU", options).create_infer_request()
        if again:
            self._requests[key] = request
        self._seen[key] = None
        self._seen.move_to_end(key)
        while len(self._seen) > SEEN:  # free unused sizes: those that occurred twice by chance add up
            self._requests.pop(self._seen.popitem(last=False)[0], None)
        return request

    def _most_kept(self, kept: int) -> int:
        """Bytes that compiled sizes may take in all, of which they take `kept` now."""
        free = memory.free_memory()
        return KEPT_BYTES if free is None else min(KEPT_BYTES, max(0, free + kept) // 4)

    def _bytes(self, part: str, shape: tuple[int, ...]) -> int:
        """Memory of a compiled size."""
        return COMPILED_BYTES + _pixels(part, shape) * self._bytes_per_pixel(part)

    def _bytes_per_pixel(self, part: str) -> int:
        precision = "f32" if part in EXACT_PARTS else self.precision
        return BYTES_PER_PIXEL[precision] // (2 if part == "encoder" else 1)

    def predict(self, style: np.ndarray) -> np.ndarray:
        with self._lock:
            if self._predictor is None:
                options = {**self._options, "INFERENCE_PRECISION_HINT": "f32"}
                compiled = self._core.compile_model(self._models["predictor"], "CPU", options)
                self._predictor = compiled.create_infer_request()
            return self._predictor.infer([style])[0]

    def encode(self, content: np.ndarray) -> np.ndarray:
        return self._run("encoder", content)

    def decode(self, features: np.ndarray, vector: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
        return self._run("decoder", features, vector, added=added)

    def measure(
        self,
        samples: list[np.ndarray],
        vector: np.ndarray,
        weights: np.ndarray,
        floor: float = 0.0,
        added: np.ndarray | None = None,
    ) -> np.ndarray:
        least = np.full(1, floor, np.float32)
        return self._run("measure", np.concatenate(samples), vector, weights, least, added=added)

    def decode_tile(
        self, features: np.ndarray, affine: np.ndarray, vector: np.ndarray, added: np.ndarray | None = None
    ) -> np.ndarray:
        return self._run("tile", features, affine, vector, added=added)

    def feature_bytes(self, features: np.ndarray) -> int:
        return features.nbytes


class TorchRuntime(Runtime):
    """torch on CUDA, the transformer in half precision, one CUDA graph per picture size; or on a CPU in float32."""

    library = "torch"

    def __init__(self, settings: Settings, device: str):
        import torch

        from stylizer.networks import build, build_transformer

        self._torch, self.device = torch, device
        half = device == "cuda" and settings.precision == "auto"
        self.precision, self._dtype = ("f16", torch.float16) if half else ("f32", torch.float32)
        if device == "cpu" and settings.threads:
            torch.set_num_threads(settings.threads)

        def stored(stem: str) -> tuple[dict[str, torch.Tensor], dict[str, str], str]:
            arrays, metadata = weights.parse(weights.read(settings.models, f"{stem}.safetensors"), stem)
            return {key: torch.from_numpy(value) for key, value in arrays.items()}, metadata, stem

        predictor = build(*stored(settings.predictor_stem)).requires_grad_(False)
        self._predictor = predictor.to(device).to(memory_format=torch.channels_last)
        transformer = build_transformer(*stored(settings.transformer_stem)).requires_grad_(False)
        self._transformer = transformer.to(device, self._dtype).to(memory_format=torch.channels_last)
        self.takes_studies = self._transformer.config.separable
        floors = weights.floors(settings.models, settings.transformer_stem)
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

    def encode(self, content: np.ndarray) -> torch.Tensor:
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


def _pixels(part: str, shape: tuple[int, ...]) -> int:
    """Pixels of the painting for a part's input (N, C, H, W)."""
    return shape[0] * shape[2] * shape[3] * (1 if part == "encoder" else 16)


def _cuda_is_likely() -> bool:
    """Whether importing torch, which takes seconds, is worthwhile: both an NVIDIA driver and torch are present."""
    driver = os.path.exists("/dev/nvidiactl") or os.path.exists(r"C:\Windows\System32\nvcuda.dll")
    return driver and importlib.util.find_spec("torch") is not None


def _openvino(settings: Settings) -> Runtime:
    return OpenVinoRuntime(settings)


def _cuda(settings: Settings) -> Runtime:
    _need_torch()
    import torch

    if not torch.cuda.is_available():
        raise ParameterError("device", "device is 'cuda', but torch sees no CUDA device; use 'auto' or 'cpu'")
    return TorchRuntime(settings, "cuda")


def _torch_cpu(settings: Settings) -> Runtime:
    _need_torch()
    return TorchRuntime(settings, "cpu")


def _auto(settings: Settings) -> Runtime:
    """CUDA if there is a device, else OpenVINO, or torch if OpenVINO does not run on this CPU."""
    if _cuda_is_likely():
        import torch

        if torch.cuda.is_available():
            return TorchRuntime(settings, "cuda")
    try:
        return OpenVinoRuntime(settings)
    except StylizerError:
        raise
    except (ImportError, RuntimeError):
        return _torch_cpu(settings)


def _need_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise ParameterError("device", "this device needs torch: pip install 'stylizer[torch]'")


DEVICES = {"auto": _auto, "cpu": _openvino, "cuda": _cuda, "torch-cpu": _torch_cpu}


def make_runtime(settings: Settings) -> Runtime:
    """The runtime named by `settings.device`, with the weights named by `settings` loaded and verified."""
    if settings.device not in DEVICES:
        raise ParameterError("device", f"unknown device {settings.device!r}; choose from {', '.join(DEVICES)}")
    if settings.precision not in PRECISIONS:
        raise ParameterError(
            "precision", f"unknown precision {settings.precision!r}; choose from {', '.join(PRECISIONS)}"
        )
    check_networks(settings)
    return DEVICES[settings.device](settings)


def check_networks(settings: Settings) -> None:
    """Raise ParameterError if the predictor or transformer named by `settings` is not in `models/`."""
    for network in ("predictor", "transformer"):
        wanted, known = getattr(settings, network), weights.choices(settings.models, network)
        if wanted not in known:
            raise ParameterError(
                network, f"there is no {network} {wanted!r} in {settings.models}; choose from {', '.join(known)}"
            )
