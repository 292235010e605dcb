"""predict / encode / decode on the machine at hand: OpenVINO on a CPU, torch on CUDA, torch on a CPU as the fallback.

All take and give float32 numpy arrays; `features` and `affine` are opaque, kept between calls and handed back to the
runtime that made them. A runtime paints one picture at a time with all its cores: two at once would only share them.
"""

import importlib.util
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stylizer import memory, weights
from stylizer.errors import ParameterError, StylizerError, WeightsError
from stylizer.settings import Settings
from stylizer.studies import ADDED_SIZE

PRECISIONS = ("auto", "f32")
# Of a picture being painted; seen 345 in bf16 at 12 megapixels, and in f32 600 by OpenVINO.
BYTES_PER_PIXEL = {"bf16": 400, "f32": 700}
EAGER_BYTES_PER_PIXEL = {"f16": 450, "f32": 900}  # by torch, layer for layer
# What compiled sizes may keep together, most of it their activations: a preview and a picture of 1024 x 683 pixels in
# float32, encoder and decoder each. On a small machine it is a quarter of what memory there is for them.
KEPT_BYTES = 10**9
COMPILED_BYTES = 20 * 2**20  # of each besides
SEEN = 64  # sizes that are known when they come again
LARGE_BYTES = 256 * 2**20  # memory is given back to the system after so much of it was used for one picture
EXACT_PARTS = ("encoder", "measure")  # in float32 everywhere: OpenVinoRuntime says why
TRANSFORMER_PARTS = ("encoder", "decoder", "measure", "tile")


class Runtime(ABC):
    """The three networks on one device. `device`, `precision` and `library` say what runs."""

    device: str
    precision: str
    library: str
    takes_studies: bool  # the separable transformer does
    forget: Callable[[], bool] = staticmethod(lambda: False)  # gives up something kept elsewhere, where memory is short

    @abstractmethod
    def check_memory(self, height: int, width: int, piece: int | None = None) -> None:
        """Refuse a painting for which there is no memory, as `memory.check_memory` does; what is kept goes first."""

    @abstractmethod
    def predict(self, style: np.ndarray) -> np.ndarray:
        """Style picture (1, 3, H, W) in [0, 1] -> style vector (1, 100)."""

    @abstractmethod
    def encode(self, content: np.ndarray) -> object:
        """Photo (1, 3, H, W) in [0, 1], sides multiples of 4 -> its features (1, 128, H/4, W/4)."""

    @abstractmethod
    def decode(self, features: object, vector: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
        """Features, style vector (1, 100) and what studies add (P,) -> stylised (1, 3, H, W) in [0, 1]."""

    @abstractmethod
    def measure(
        self, samples: list[object], vector: np.ndarray, weights: np.ndarray, floor: float = 0.0,
        added: np.ndarray | None = None,
    ) -> object:  # fmt: skip
        """Features of one photo's samples, equal in size, a style vector (1, 100), how much each place counts
        (N, 1, h, w), how much of the least variances holds, 0 to 1, and what studies add -> affine, for
        `decode_tile`."""

    @abstractmethod
    def decode_tile(
        self, features: object, affine: object, vector: np.ndarray, added: np.ndarray | None = None
    ) -> np.ndarray:
        """A tile's features, the affine of its photo and style, the style vector (1, 100) and what studies add ->
        stylised (1, 3, H, W) in [0, 1]."""

    @abstractmethod
    def feature_bytes(self, features: object) -> int:
        """What keeping these features costs."""


def import_openvino():
    """The openvino module, without its telemetry: left alone, every import reports itself to a host on the internet."""
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # openvino then falls back to its own silent stand-in
    import openvino

    return openvino


class OpenVinoRuntime(Runtime):
    """OpenVINO on a CPU, the transformer in bf16 where the CPU computes in it.

    The predictor stays in float32: in bf16 its vectors are 1 to 2 % off, which is most of the difference a picture then
    shows, and it saves two milliseconds a painting. So does the encoder: what it takes off calm places is less than a
    step of bf16, and steps in a sky would be painted as texture. So do a tile's statistics, off by half a percent else.

    Encoder and decoder are compiled for each picture size: a fixed size runs about a tenth faster than a free one,
    compiling it takes no longer, and it can be let go, where a free one holds on to what its largest picture took. The
    second time that a size comes it is kept, the oldest making room, until nobody asks for it any more. The
    predictor is small and stays free.
    """

    library = "OpenVINO"

    def __init__(self, settings: Settings):
        openvino = import_openvino()
        self.device = "cpu"
        self._core = openvino.Core()
        capable = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if capable and settings.precision == "auto" else "f32"
        self._options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": self.precision}
        if settings.threads:
            self._options["INFERENCE_NUM_THREADS"] = settings.threads
        self._lock = threading.Lock()
        files = {part: f"{settings.transformer_stem}-{part}" for part in TRANSFORMER_PARTS}
        files["predictor"] = settings.predictor_stem
        self._models = {name: self._read(settings.models, f"{stem}.onnx") for name, stem in files.items()}
        self.takes_studies = any(each.any_name == "added" for each in self._models["decoder"].inputs)
        self._nothing = np.zeros(ADDED_SIZE, np.float32)  # what a style without a study adds
        self._predictor = None
        self._requests: OrderedDict[tuple[str, tuple[int, ...]], object] = OrderedDict()
        self._seen: OrderedDict[tuple[str, tuple[int, ...]], None] = OrderedDict()
        self._own_bytes = memory.resident_memory()

    def _read(self, folder: Path, file: str):
        data = weights.read(folder, file)
        try:
            return self._core.read_model(data)
        except RuntimeError as cause:
            raise WeightsError(f"{folder / file} is no ONNX model: {str(cause).splitlines()[0]}") from cause

    def check_memory(self, height: int, width: int, piece: int | None = None) -> None:
        with self._lock:
            if piece is None and ("decoder", (1, 128, -(-height // 4), -(-width // 4))) in self._requests:
                return  # it has what it needs
            self._check_memory(height, width, piece)

    def _check_memory(self, height: int, width: int, piece: int | None = None, share: float = 1.0) -> None:
        """`share`: of what a painting takes in all, its arrays included."""
        memory.check_memory(
            height, width, int(share * BYTES_PER_PIXEL[self.precision]),
            piece=piece, needs_besides=self._own_bytes, release=self._release,
        )  # fmt: skip

    def _release(self) -> bool:
        """Let go of the size that was painted longest ago; of what is kept elsewhere when there is none."""
        if self._requests:
            self._requests.popitem(last=False)
            return True
        return self.forget()

    def _run(
        self, part: str, picture: np.ndarray, *style: np.ndarray, added: np.ndarray | None = None
    ) -> np.ndarray:
        """A part of the transformer on content or features (N, C, H, W), compiled for their size on first use."""
        with self._lock:
            request = self._request(part, picture.shape)
            if self.takes_studies and part != "encoder":
                style = (*style, self._nothing if added is None else added)
            result = request.infer([picture, *style])[0]
            kept = (part, picture.shape) in self._requests
            if not kept:
                result = result.copy()  # else it keeps alive all that the request holds
                del request
        if not kept and self._bytes(part, picture.shape) > LARGE_BYTES:
            memory.give_back()
        return result

    def _request(self, part: str, shape: tuple[int, ...]):
        key = (part, shape)
        if key in self._requests:
            for order in (self._requests, self._seen):
                order.move_to_end(key)
            return self._requests[key]
        kept, wanted = sum(self._bytes(*each) for each in self._requests), self._bytes(part, shape)
        most = self._most_kept(kept)
        again = key in self._seen and wanted <= most  # a large picture's activations are worth more than compiling anew
        while again and kept + wanted > most:
            kept -= self._bytes(*self._requests.popitem(last=False)[0])
        scale = 1 if part == "encoder" else 4
        share = self._bytes_per_pixel(part) / BYTES_PER_PIXEL[self.precision]
        self._check_memory(shape[0] * shape[2] * scale, shape[3] * scale, share if part == "encoder" else 0.85)
        model = self._models[part].clone()
        model.reshape({model.input(0): list(shape)})
        options = {**self._options, "INFERENCE_PRECISION_HINT": "f32"} if part in EXACT_PARTS else self._options
        request = self._core.compile_model(model, "CPU", options).create_infer_request()
        if again:
            self._requests[key] = request
        self._seen[key] = None
        self._seen.move_to_end(key)
        while len(self._seen) > SEEN:  # what nobody paints any more is let go: sizes that came twice by chance add up
            self._requests.pop(self._seen.popitem(last=False)[0], None)
        return request

    def _most_kept(self, kept: int) -> int:
        """Bytes that compiled sizes may take together, of which `kept` are taken."""
        free = memory.free_memory()
        return KEPT_BYTES if free is None else min(KEPT_BYTES, max(0, free + kept) // 4)

    def _bytes(self, part: str, shape: tuple[int, ...]) -> int:
        """What a compiled size takes."""
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
        self, samples: list[np.ndarray], vector: np.ndarray, weights: np.ndarray, floor: float = 0.0,
        added: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        least = np.full(1, floor, np.float32)
        return self._run("measure", np.concatenate(samples), vector, weights, least, added=added)

    def decode_tile(
        self, features: np.ndarray, affine: np.ndarray, vector: np.ndarray, added: np.ndarray | None = None
    ) -> np.ndarray:
        return self._run("tile", features, affine, vector, added=added)

    def feature_bytes(self, features: np.ndarray) -> int:
        return features.nbytes


class TorchRuntime(Runtime):
    """torch on CUDA, the transformer in half precision, one CUDA graph a picture size; on a CPU in float32."""

    library = "torch"

    def __init__(self, settings: Settings, device: str):
        import torch

        from stylizer.networks import build

        self._torch, self.device = torch, device
        half = device == "cuda" and settings.precision == "auto"
        self.precision, self._dtype = ("f16", torch.float16) if half else ("f32", torch.float32)
        if device == "cpu" and settings.threads:
            torch.set_num_threads(settings.threads)

        def network(stem: str, dtype: torch.dtype):
            arrays, metadata = weights.parse(weights.read(settings.models, f"{stem}.safetensors"), stem)
            module = build({key: torch.from_numpy(value) for key, value in arrays.items()}, metadata, stem)
            return module.requires_grad_(False).to(device, dtype, memory_format=torch.channels_last)

        self._predictor = network(settings.predictor_stem, torch.float32)
        self._transformer = network(settings.transformer_stem, self._dtype)
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
            height, width, EAGER_BYTES_PER_PIXEL[self.precision],
            piece=piece, needs_besides=self._own_bytes, release=self._release, **memory_there,
        )  # fmt: skip

    def _free_on_card(self) -> int:
        """What the driver has, and what torch holds of it unused."""
        cuda = self._torch.cuda
        return cuda.mem_get_info()[0] + cuda.memory_reserved() - cuda.memory_allocated()

    def _release(self) -> bool:
        if self._graphs:
            self._graphs.popitem(last=False)
            self._torch.cuda.empty_cache()
            return True
        return self.forget()

    def _upload(self, array: np.ndarray, dtype=None):
        tensor = self._torch.from_numpy(array).to(self.device, dtype or self._dtype)
        return tensor.contiguous(memory_format=self._torch.channels_last) if tensor.ndim == 4 else tensor

    def _download(self, tensor) -> np.ndarray:
        return tensor.float().contiguous().cpu().numpy()

    def predict(self, style: np.ndarray) -> np.ndarray:
        with self._lock, self._torch.inference_mode():
            return self._download(self._predictor(self._upload(style, self._torch.float32)))

    def encode(self, content: np.ndarray):
        with self._lock, self._torch.inference_mode():
            self._check_memory(*content.shape[2:])
            return self._transformer.encode(self._upload(content))

    def decode(self, features, vector: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
        with self._lock, self._torch.inference_mode():
            self._check_memory(*(4 * side for side in features.shape[2:]))
            return self._replay(self._transformer.decode, features, self._upload(vector), added=added)

    def measure(
        self, samples: list, vector: np.ndarray, weights: np.ndarray, floor: float = 0.0,
        added: np.ndarray | None = None,
    ):  # fmt: skip
        with self._lock, self._torch.inference_mode():
            height, width = samples[0].shape[2:]
            self._check_memory(4 * len(samples) * height, 4 * width)
            exact = self._torch.float32  # a weight is a millionth
            given = self._torch.cat(samples), self._upload(vector), self._upload(weights, exact)
            least = self._torch.tensor([floor], device=self.device)
            studied = None if added is None else self._upload(added)
            return self._transformer.measure(*given, least, studied).to(self._dtype)

    def decode_tile(
        self, features, affine, vector: np.ndarray, added: np.ndarray | None = None
    ) -> np.ndarray:
        with self._lock, self._torch.inference_mode():
            return self._replay(self._transformer.decode_tile, features, affine, self._upload(vector), added=added)

    def _replay(self, decode, features, *style, added: np.ndarray | None) -> np.ndarray:
        """Decode through a CUDA graph: forty small kernels cost more to launch than to run at preview sizes."""
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
            with torch.cuda.stream(warm_up):  # cuDNN chooses its kernels before the capture
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

    def feature_bytes(self, features) -> int:
        return features.numel() * features.element_size()


def _pixels(part: str, shape: tuple[int, ...]) -> int:
    """Of the painting that belongs to a part's input (N, C, H, W)."""
    return shape[0] * shape[2] * shape[3] * (1 if part == "encoder" else 16)


def _cuda_is_likely() -> bool:
    """Whether asking torch is worth the seconds that its import takes: an NVIDIA driver and torch are both there."""
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
    """CUDA where there is a device, else OpenVINO, else torch where OpenVINO does not run on this CPU."""
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
    """The runtime that `settings.device` names, with the networks that it names, their weights loaded and checked."""
    if settings.device not in DEVICES:
        raise ParameterError("device", f"unknown device {settings.device!r}; choose from {', '.join(DEVICES)}")
    if settings.precision not in PRECISIONS:
        raise ParameterError(
            "precision", f"unknown precision {settings.precision!r}; choose from {', '.join(PRECISIONS)}"
        )
    check_networks(settings)
    return DEVICES[settings.device](settings)


def check_networks(settings: Settings) -> None:
    """ParameterError where the predictor or the transformer that `settings` names does not lie in `models/`."""
    for network in ("predictor", "transformer"):
        wanted, known = getattr(settings, network), weights.choices(settings.models, network)
        if wanted not in known:
            raise ParameterError(
                network, f"there is no {network} {wanted!r} in {settings.models}; choose from {', '.join(known)}"
            )
