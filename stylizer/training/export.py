"""Write the ONNX files of models/ and check that they equal the safetensors, after weights have changed.

Each predictor becomes one file and each transformer four: encoder and decoder, so that moving a slider runs only the
decoder, and the decoder's two halves, measure and tile, for pictures too large to be painted in one piece. Height and
width are free. Numbers are stored in half precision and computed with in float32; servers and browsers use the same
files. Then `models/SHA256SUMS` and `models/FACTS.json` are rewritten.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from stylizer import weights
from stylizer.errors import EmptyInput, WeightsError
from stylizer.networks import StylePredictor, Transformer, build
from stylizer.networks.layers import VECTOR_SIZE
from stylizer.runtimes.on_openvino import import_openvino
from stylizer.settings import Settings

TOLERANCE = 1e-3  # relative to the largest output, ONNX in float32 against torch
HALF_TOLERANCE = 1e-2  # the same after rounding to half precision
HALF_FROM = 64  # numbers in an array: with fewer nothing is gained
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # stored with the parameters, but none
EXPORTED = ("predictor-", "transformer-")
CALIBRATION = "calibration-"  # beside the networks, of each transformer
DYNAMIC = torch.export.Dim.DYNAMIC


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Settings().models, help="by default models/")


def run(arguments: argparse.Namespace) -> None:
    # Loss networks have no ONNX files: gradients go through them, in torch. A calibration belongs to its transformer.
    paths = sorted(path for path in arguments.folder.glob("*.safetensors") if path.name.startswith(EXPORTED))
    if not paths:
        raise EmptyInput(f"there is no predictor and no transformer in {arguments.folder}")
    for path in paths:
        export(path)
    write_checksums(arguments.folder)


class Encoder(nn.Module):
    """`Transformer.encode` without its check of the sides."""

    def __init__(self, transformer: Transformer):
        super().__init__()
        self.contract, self.seen = transformer.contract, transformer.seen
        self.eval()

    def forward(self, content: Tensor) -> Tensor:
        return self.contract(self.seen(content))


class Decoder(nn.Module):
    """`Transformer.decode` as a module of its own, since the exporter calls `forward`."""

    def __init__(self, transformer: Transformer):
        super().__init__()
        self.transformer = transformer
        self.eval()

    def forward(self, features: Tensor, vector: Tensor, added: Tensor | None = None) -> Tensor:
        return self.transformer.decode(features, vector, added)


class Measure(Decoder):
    def forward(
        self, features: Tensor, vector: Tensor, weights: Tensor, floor: Tensor, added: Tensor | None = None
    ) -> Tensor:
        return self.transformer.measure(features, vector, weights, floor, added)


class Tile(Decoder):
    def forward(self, features: Tensor, affine: Tensor, vector: Tensor, added: Tensor | None = None) -> Tensor:
        return self.transformer.decode_tile(features, affine, vector, added)


def parts(network: StylePredictor | Transformer, stem: str) -> list[tuple[str, nn.Module, dict[str, Tensor], str]]:
    """(file, module, example inputs by name, output name) of each ONNX file that a network becomes."""
    picture, vector = torch.rand(1, 3, 64, 96), torch.randn(1, VECTOR_SIZE)
    if isinstance(network, StylePredictor):
        return [(f"{stem}.onnx", network, {"style": torch.rand(1, 3, 128, 160)}, "vector")]
    features = network.encode(picture)
    samples, weights = features.repeat(2, 1, 1, 1), torch.rand(2, 1, *features.shape[2:])
    floor = torch.full((1,), 0.5)
    affine = network.measure(samples, vector, weights, floor)
    studied = {}  # what a study adds: to separable convolutions, where it is small
    if network.config.separable:
        numbers = sum(shape.numel() for layer in network.styled() for shape in layer.added_shapes())
        studied = {"added": 0.01 * torch.randn(numbers)}
    return [
        (f"{stem}-encoder.onnx", Encoder(network), {"content": picture}, "features"),
        (f"{stem}-decoder.onnx", Decoder(network), {"features": features, "vector": vector, **studied}, "stylised"),
        (
            f"{stem}-measure.onnx",
            Measure(network),
            {"features": samples, "vector": vector, "weights": weights, "floor": floor, **studied},
            "affine",
        ),
        (
            f"{stem}-tile.onnx",
            Tile(network),
            {"features": features, "affine": affine, "vector": vector, **studied},
            "stylised",
        ),
    ]


def to_onnx(module: nn.Module, inputs: dict[str, Tensor], output: str) -> bytes:
    """One module as ONNX bytes; height and width of 4-d inputs are free, and so is N where the example has several."""
    free = [(0, 2, 3) if len(value) > 1 else (2, 3) for value in inputs.values()]
    shapes = tuple(
        dict.fromkeys(axes, DYNAMIC) if value.ndim == 4 else None
        for axes, value in zip(free, inputs.values(), strict=True)
    )
    program = torch.onnx.export(
        module,
        tuple(inputs.values()),
        dynamo=True,
        dynamic_shapes=shapes,
        verbose=False,
        input_names=list(inputs),
        output_names=[output],
    )
    model = program.model_proto
    for node in model.graph.node:  # the exporter's notes carry source paths and would change every build
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:], model.metadata_props[:], model.graph.metadata_props[:]
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def to_half(data: bytes) -> bytes:
    """The same network with its larger arrays stored in half precision and cast back to float32: half the size."""
    model = onnx.load_from_string(data)
    casts = []
    for array in model.graph.initializer:
        if array.data_type == onnx.TensorProto.FLOAT and np.prod(array.dims) >= HALF_FROM:
            name, stored = array.name, f"{array.name}.half"
            half = onnx.numpy_helper.to_array(array).astype(np.float16)
            array.CopyFrom(onnx.numpy_helper.from_array(half, stored))
            casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def difference(data: bytes, module: nn.Module, inputs: dict[str, Tensor]) -> float:
    """Largest difference between the ONNX file, run in float32, and torch, relative to the largest output."""
    core = import_openvino().Core()
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    exported, wanted = compiled([value.numpy() for value in inputs.values()])[0], module(*inputs.values()).numpy()
    return float(np.abs(exported - wanted).max() / np.abs(wanted).max())


@torch.no_grad()
def export(path: Path) -> list[str]:
    """Write the ONNX files of one safetensors file beside it; their names. WeightsError if one differs too much."""
    arrays, metadata = weights.parse(path.read_bytes(), path.name)
    network = build({key: torch.from_numpy(value) for key, value in arrays.items()}, metadata, path.name)
    floors = weights.calibration(path.parent, path.stem).get("floors")
    if floors is not None:
        network.floors = torch.from_numpy(floors)
    torch.manual_seed(0)
    written = []
    for file, module, inputs, output in parts(network, path.stem):
        exact = to_onnx(module, inputs, output)
        half = to_half(exact)
        errors = [difference(data, module, inputs) for data in (exact, half)]
        for error, allowed in zip(errors, (TOLERANCE, HALF_TOLERANCE), strict=True):
            if error > allowed:
                raise WeightsError(f"{file} differs from {path.name} by {error:.2g}; at most {allowed:g} is allowed")
        (path.parent / file).write_bytes(half)
        print(f"{file}: {len(half):,} bytes, within {errors[1]:.1e} of torch, {errors[0]:.1e} before rounding")
        written.append(file)
    return written


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS, of every weight file in the folder, and FACTS.json, which says how large each network is."""
    files = sorted(file for pattern in ("*.safetensors", "*.onnx") for file in folder.glob(pattern))
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / weights.CHECKSUMS).write_text("".join(lines))
    networks = [file for file in files if file.suffix == ".safetensors" and not file.name.startswith(CALIBRATION)]
    facts = {file.name: _facts(file) for file in networks}
    (folder / weights.FACTS).write_text(json.dumps(facts, indent=2) + "\n")


def _facts(path: Path) -> dict[str, int | str]:
    arrays, _ = weights.parse(path.read_bytes(), path.name)
    learnt = [array.size for key, array in arrays.items() if not key.endswith(STATISTICS)]
    return {
        "fingerprint": weights.fingerprint(path.parent, path.name),
        "parameters": sum(learnt),
        "bytes": path.stat().st_size,
    }
