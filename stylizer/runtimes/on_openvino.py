"""OpenVINO on a CPU."""

from __future__ import annotations

import math
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from stylizer import cores, memory, weights
from stylizer.errors import ParameterError, WeightsError
from stylizer.runtimes.runtime import Runtime
from stylizer.settings import Settings
from stylizer.studies import ADDED_SIZE
from stylizer.tiles import STRIDE

if TYPE_CHECKING:
    import openvino

# Memory of a picture being painted; measured 345 in bf16 at 12 megapixels, and 600 in f32, with OpenVINO.
BYTES_PER_PIXEL = {"bf16": 400, "f32": 700, "int8": 700}
# Limit for all compiled sizes together, most of it activations: enough for a preview and a 1024 x 683 picture in
# float32, encoder and decoder each. On a small machine it is a quarter of the available memory.
KEPT_BYTES = 10**9
COMPILED_BYTES = 20 * 2**20  # of each compiled size, besides activations
NEW = 3  # parts of a size that was used once: two of an encoder and a decoder
SEEN = 96  # parts and sizes remembered, to recognise them when they come again
LARGE_BYTES = 256 * 2**20  # after a picture that used more than this, memory is returned to the system
# What is never computed in bf16; see OpenVinoRuntime. In bf16 an encoder runs in two parts: what calms a photo and the
# convolutions that follow.
EXACT_PARTS = ("encoder", "calming", "quantised", "measure")
ENCODER_PARTS = ("encoder", "calming", "convolutions", "quantised")
LEVELS = 256  # of an 8-bit number
FEATURES = 128  # channels
TRANSFORMER_PARTS = ("encoder", "decoder", "measure", "tile")


def import_openvino() -> ModuleType:
    """The openvino module without its telemetry, which would report every import to a host on the internet."""
    if "openvino" not in sys.modules:
        # None makes Python treat the module as missing; openvino then falls back to its own silent stub
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


def precision_for(settings: Settings) -> str:
    """What the transformer computes in on this CPU: bf16, int8 or f32. ParameterError if int8 lacks its calibration."""
    if settings.precision == "auto":
        if "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return "bf16"
        gains = cores.processor()[1] & cores.DOT_PRODUCTS
        return "int8" if gains and _peaks(settings) is not None else "f32"
    if settings.precision == "int8" and _peaks(settings) is None:
        file = weights.calibration_file(settings.transformer_stem)
        raise ParameterError("precision", f"int8 needs {file} in {settings.models}; choose auto or f32")
    return settings.precision


def _peaks(settings: Settings) -> np.ndarray | None:
    return weights.calibration(settings.models, settings.transformer_stem).get("peaks")


class OpenVinoRuntime(Runtime):
    """OpenVINO on a CPU: the transformer in bf16 if the CPU computes in it, otherwise two of the encoder's convolutions
    in 8 bits if the CPU has instructions for that. The decoder's kernels depend on the style, so they are not known in
    time to be quantised.

    Three things stay in float32 everywhere. The predictor: in bf16 its vectors are 1 to 2 % off, which causes most of
    the difference in a picture, and it would save only two milliseconds per painting. The noise removal that begins an
    encoder, and all of it for a nearly blank picture: what is left of calm places is smaller than a step of bf16, and
    steps would be painted as texture. And a tile's statistics, which would otherwise be off by half a percent.

    Encoder and decoder are compiled for each picture size: a fixed size runs about a tenth faster than a dynamic one,
    takes no longer to compile, and can be freed, while a dynamic one keeps the memory of its largest picture. A size
    is kept from its second use, replacing the oldest, until it is no longer used; before that, until the next new size.
    The predictor is small and stays dynamic.
    """

    library = "OpenVINO"

    def __init__(self, settings: Settings):
        self.device = "cpu"
        self._core = import_openvino().Core()
        self.precision = precision_for(settings)
        computes = "bf16" if self.precision == "bf16" else "f32"
        self._options: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": computes}
        threads = cores.threads(settings.threads)
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._lock = threading.Lock()
        files = {part: f"{settings.transformer_stem}-{part}" for part in TRANSFORMER_PARTS}
        files["predictor"] = settings.predictor_stem
        self._models = {name: self._read(settings.models, f"{stem}.onnx") for name, stem in files.items()}
        for part in TRANSFORMER_PARTS:
            _keep_channels_last(self._models[part])
        if self.precision == "bf16":
            self._models["calming"], self._models["convolutions"] = _parted(self._models["encoder"])
        if self.precision == "int8":
            peaks = weights.calibration(settings.models, settings.transformer_stem)["peaks"]
            self._models["quantised"] = _quantised(self._models["encoder"], peaks)
        self.takes_studies = any(each.any_name == "added" for each in self._models["decoder"].inputs)
        self._nothing = np.zeros(ADDED_SIZE, np.float32)  # the additions of a style without a study
        self._predictor: openvino.InferRequest | None = None
        self._requests: OrderedDict[tuple[str, tuple[int, ...]], openvino.InferRequest] = OrderedDict()
        self._new: OrderedDict[tuple[str, tuple[int, ...]], openvino.InferRequest] = OrderedDict()
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
            decoder = ("decoder", (1, -(-height // STRIDE), -(-width // STRIDE), FEATURES))
            if piece is None and (decoder in self._requests or decoder in self._new):
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
        """Free a compiled size, one that was used once if there is any; otherwise something cached elsewhere."""
        for kept in (self._new, self._requests):
            if kept:
                kept.popitem(last=False)
                return True
        return self.forget()

    def _run(self, part: str, picture: np.ndarray, *style: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
        """Run a part of the transformer on a photo (1, 3, H, W) or features (N, h, w, 128), compiled for their size on
        first use."""
        with self._lock:
            request = self._request(part, picture.shape)
            if self.takes_studies and part not in ENCODER_PARTS:
                style = (*style, self._nothing if added is None else added)
            result = request.infer([picture, *style])[0]
            key = (part, picture.shape)
            if key not in self._requests:
                result = result.copy()  # a view would keep all of the request's memory alive
                del request
            kept = key in self._requests or key in self._new
        if not kept and self._bytes(part, picture.shape) > LARGE_BYTES:
            memory.give_back()
        return result

    def _request(self, part: str, shape: tuple[int, ...]) -> openvino.InferRequest:
        key = (part, shape)
        if key in self._requests:
            for order in (self._requests, self._seen):
                order.move_to_end(key)
            return self._requests[key]
        again, fits = key in self._seen, self._make_room(key)
        request = self._new.pop(key, None) or self._compile(part, shape)
        if fits:
            (self._requests if again else self._new)[key] = request
        self._seen[key] = None
        self._seen.move_to_end(key)
        while len(self._seen) > SEEN:  # free unused sizes: those that occurred twice by chance add up
            self._requests.pop(self._seen.popitem(last=False)[0], None)
        return request

    def _make_room(self, key: tuple[str, tuple[int, ...]]) -> bool:
        """Free what must go for a part of this size to be kept; False if it is too large for that.

        What was used once makes room for anything, what was used again only for what is used again. Of the former only
        the parts of one size stay: random sizes would add up.
        """
        while len(self._new) >= NEW and key not in self._new:
            self._new.popitem(last=False)
        kept = sum(self._bytes(*each) for each in (*self._requests, *self._new) if each != key)
        wanted, most = self._bytes(*key), self._most_kept(kept)
        if wanted > most:
            return False  # a large picture's activations cost more than recompiling
        for makes_room in (self._new, self._requests if key in self._seen else {}):
            for other in [each for each in makes_room if each != key]:
                if kept + wanted > most:
                    del makes_room[other]
                    kept -= self._bytes(*other)
        return kept + wanted <= most

    def _compile(self, part: str, shape: tuple[int, ...]) -> openvino.InferRequest:
        encodes = part in ENCODER_PARTS
        share = self._bytes_per_pixel(part) / BYTES_PER_PIXEL[self.precision] if encodes else 0.85
        height, width = _sides(part, shape)
        self._check_memory(shape[0] * height, width, share=share)
        model = self._models[part].clone()
        model.reshape({model.input(0): list(shape)})
        options = {**self._options, "INFERENCE_PRECISION_HINT": "f32"} if part in EXACT_PARTS else self._options
        return self._core.compile_model(model, "CPU", options).create_infer_request()

    def _most_kept(self, kept: int) -> int:
        """Bytes that compiled sizes may take in all, of which they take `kept` now."""
        free = memory.free_memory()
        return KEPT_BYTES if free is None else min(KEPT_BYTES, max(0, free + kept) // 4)

    def _bytes(self, part: str, shape: tuple[int, ...]) -> int:
        """Memory of a compiled size."""
        return COMPILED_BYTES + _pixels(part, shape) * self._bytes_per_pixel(part)

    def _bytes_per_pixel(self, part: str) -> int:
        precision = "f32" if part in EXACT_PARTS else self.precision
        return BYTES_PER_PIXEL[precision] // (2 if part in ENCODER_PARTS else 1)

    def predict(self, style: np.ndarray) -> np.ndarray:
        with self._lock:
            if self._predictor is None:
                options = {**self._options, "INFERENCE_PRECISION_HINT": "f32"}
                compiled = self._core.compile_model(self._models["predictor"], "CPU", options)
                self._predictor = compiled.create_infer_request()
            return self._predictor.infer([style])[0]

    def encode(self, content: np.ndarray, exact: bool = False) -> np.ndarray:
        if exact or self.precision == "f32":
            return self._run("encoder", content)
        if self.precision == "int8":
            return self._run("quantised", content)
        return self._run("convolutions", self._run("calming", content))

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


def _sides(part: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the painting for a part's input."""
    return (shape[2], shape[3]) if part in ENCODER_PARTS else (STRIDE * shape[1], STRIDE * shape[2])


def _pixels(part: str, shape: tuple[int, ...]) -> int:
    """Pixels of the painting for a part's input, of all samples together."""
    return shape[0] * math.prod(_sides(part, shape))


def _parted(encoder: openvino.Model) -> tuple[openvino.Model, openvino.Model]:
    """An encoder in two: what precedes its first convolution, but for the padding, and the rest."""
    from openvino import Model, opset13

    first, second = encoder.clone(), encoder.clone()
    padding = _first_padding(first)
    calming = Model([opset13.result(padding.input_value(0))], first.get_parameters())
    seen = opset13.parameter(calming.outputs[0].get_partial_shape(), np.float32)
    _first_padding(second).input(0).replace_source_output(seen.output(0))
    return calming, Model(second.get_results(), [seen])


def _first_padding(encoder: openvino.Model) -> openvino.Node:
    return _convolutions(encoder)[0].input_value(0).get_node()


def _convolutions(encoder: openvino.Model) -> list[openvino.Node]:
    return [node for node in encoder.get_ordered_ops() if node.get_type_name() == "Convolution"]


def _quantised(encoder: openvino.Model, peaks: np.ndarray) -> openvino.Model:
    """An encoder whose last convolutions take features, 0 to a peak each, and kernels in 8 bits.

    What comes before takes the photo, whose calm places differ by less than 8 bits hold.
    """
    from openvino import opset13

    encoder, none = encoder.clone(), np.float32(0)
    for convolution, peak in zip(_convolutions(encoder)[-len(peaks) :], peaks, strict=True):
        features, kernels = convolution.input_value(0), convolution.input_value(1)
        rounded = opset13.fake_quantize(features, none, peak, none, peak, LEVELS)
        largest = opset13.reduce_max(opset13.absolute(kernels), np.array([1, 2, 3]), keep_dims=True)
        least = opset13.negative(largest)
        coarse = opset13.fake_quantize(kernels, least, largest, least, largest, LEVELS - 1)  # as many below 0 as above
        convolution.input(0).replace_source_output(rounded.output(0))
        convolution.input(1).replace_source_output(coarse.output(0))
    encoder.validate_nodes_and_infer_types()
    return encoder


def _keep_channels_last(model: openvino.Model) -> None:
    """Make features (N, h, w, 128) the output of an encoder, or the input of what decodes, in place.

    OpenVINO computes convolutions with the channels of a pixel side by side. Where features come or go in another
    order, it not only rewrites them: it also keeps that order for all that is added to them, and rewrites every layer.
    A convolution that changes nothing makes the order known from the start.
    """
    from openvino import PartialShape, opset13

    for result in model.get_results():
        if "features" in result.input_value(0).get_names():
            last = opset13.transpose(result.input_value(0), np.array([0, 2, 3, 1]))
            result.input(0).replace_source_output(last.output(0))
    for parameter in model.get_parameters():
        if parameter.output(0).any_name == "features":
            readers = parameter.output(0).get_target_inputs()
            count, channels, height, width = parameter.get_partial_shape()
            parameter.set_partial_shape(PartialShape([count, height, width, channels]))
            first = opset13.transpose(parameter, np.array([0, 3, 1, 2]))
            ones = np.ones((channels.get_length(), 1, 1, 1, 1), np.float32)
            known = opset13.group_convolution(first, ones, [1, 1], [0, 0], [0, 0], [1, 1])
            for reader in readers:
                reader.replace_source_output(known.output(0))
    model.validate_nodes_and_infer_types()
