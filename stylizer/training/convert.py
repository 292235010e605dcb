"""Convert Magenta's published weights to ours, from a TensorFlow.js graph model (model.json and its shards).

Four networks were published so: style predictors on MobileNetV2 and Inception-v3, and transformers, plain and
separable. The TensorFlow.js port of the transformer pads with zeros where the original reflects, and its predictors
read [0, 1] as it is; the written metadata says so. Missing batch-norm scales are ones: TensorFlow stores equal
constants once.
"""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from stylizer.errors import WeightsError
from stylizer.networks import StylePredictor, Transformer, TransformerConfig, describe

BATCH_NORM = {
    "gamma": "weight",
    "Const": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
STYLE_NORM = {"Conv": "beta", "Conv_1": "gamma"}  # beta's linear map comes first in the file
LINEAR = {"weights": "weight", "biases": "bias"}
INCEPTION_A = {
    "Branch_0/Conv2d_0a_1x1": "branch1x1",
    "Branch_1/Conv2d_0a_1x1": "branch5x5_1",
    "Branch_1/Conv2d_0b_1x1": "branch5x5_1",
    "Branch_1/Conv2d_0b_5x5": "branch5x5_2",
    "Branch_1/Conv_1_0c_5x5": "branch5x5_2",
    "Branch_2/Conv2d_0a_1x1": "branch3x3dbl_1",
    "Branch_2/Conv2d_0b_3x3": "branch3x3dbl_2",
    "Branch_2/Conv2d_0c_3x3": "branch3x3dbl_3",
    "Branch_3/Conv2d_0b_1x1": "branch_pool",
}
INCEPTION_B = {
    "Branch_0/Conv2d_1a_1x1": "branch3x3",
    "Branch_1/Conv2d_0a_1x1": "branch3x3dbl_1",
    "Branch_1/Conv2d_0b_3x3": "branch3x3dbl_2",
    "Branch_1/Conv2d_1a_1x1": "branch3x3dbl_3",
}
INCEPTION_C = {
    "Branch_0/Conv2d_0a_1x1": "branch1x1",
    "Branch_1/Conv2d_0a_1x1": "branch7x7_1",
    "Branch_1/Conv2d_0b_1x7": "branch7x7_2",
    "Branch_1/Conv2d_0c_7x1": "branch7x7_3",
    "Branch_2/Conv2d_0a_1x1": "branch7x7dbl_1",
    "Branch_2/Conv2d_0b_7x1": "branch7x7dbl_2",
    "Branch_2/Conv2d_0c_1x7": "branch7x7dbl_3",
    "Branch_2/Conv2d_0d_7x1": "branch7x7dbl_4",
    "Branch_2/Conv2d_0e_1x7": "branch7x7dbl_5",
    "Branch_3/Conv2d_0b_1x1": "branch_pool",
}
INCEPTION_BLOCKS = {
    **dict.fromkeys(("Mixed_5b", "Mixed_5c", "Mixed_5d"), INCEPTION_A),
    "Mixed_6a": INCEPTION_B,
    **dict.fromkeys(("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"), INCEPTION_C),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("format", choices=["tfjs"], help="of the published weights: TensorFlow.js")
    parser.add_argument("folder", type=Path, help="with model.json and its shards")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")


def run(arguments: argparse.Namespace) -> None:
    state, metadata = convert(read_tfjs(arguments.folder))
    save_file(state, arguments.out, metadata)
    print(f"{arguments.out}: {metadata['network']} {metadata['config']}, {len(state)} arrays")


def read_tfjs(folder: Path) -> dict[str, np.ndarray]:
    """{name: array} of a TensorFlow.js model folder, quantised weights expanded to float32."""
    try:
        groups = json.loads((folder / "model.json").read_text())["weightsManifest"]
        arrays = {}
        for group in groups:
            data, offset = b"".join((folder / path).read_bytes() for path in group["paths"]), 0
            for weight in group["weights"]:
                quantised = weight.get("quantization", {})
                dtype, count = np.dtype(quantised.get("dtype", weight["dtype"])), int(np.prod(weight["shape"]))
                array = np.frombuffer(data, dtype, count, offset).reshape(weight["shape"])
                offset += array.nbytes
                if "scale" in quantised:
                    array = array.astype(np.float32) * quantised["scale"] + quantised["min"]
                arrays[weight["name"]] = array
            if offset != len(data):
                raise ValueError(f"the shards hold {len(data)} bytes, model.json describes {offset}")
        return arrays
    except FileNotFoundError as cause:
        raise WeightsError(f"{cause.filename} is missing; FOLDER needs model.json and all its shards") from None
    except (KeyError, TypeError, ValueError) as cause:
        raise WeightsError(f"{folder} does not read as a TensorFlow.js graph model: {cause}") from cause


def _transformer_key(name: str) -> str | None:
    if match := re.fullmatch(r"transformer/contract/conv(\d)/(?:(weights)|BatchNorm/(\w+))", name):
        layer = f"contract.{int(match[1]) - 1}"
        return f"{layer}.conv.weight" if match[2] else f"{layer}.norm.{BATCH_NORM[match[3]]}"
    place = r"transformer/(?:residual/residual(\d)/(?:dilate_)?conv(\d)|expand/conv(\d)/(?:dilate_)?conv)"
    match = re.fullmatch(rf"(?:style_params/)?{place}/(?:StyleNorm/(Conv|Conv_1)/)?(\w+)", name)
    if match is None:
        return None
    layer = f"residual.{int(match[1]) - 1}.{int(match[2]) - 1}" if match[1] else f"expand.{int(match[3]) - 1}"
    if match[4]:
        return f"{layer}.{STYLE_NORM[match[4]]}.{LINEAR[match[5]]}"
    kinds = {"weights": "conv", "depthwise_weights": "depthwise", "pointwise_weights": "pointwise"}
    return f"{layer}.{kinds[match[5]]}.weight" if match[5] in kinds else None


def _mobilenet_key(name: str) -> str | None:
    if match := re.fullmatch(r"mobilenet_conv/Conv/(weights|biases)", name):
        return f"to_vector.{LINEAR[match[1]]}"
    place = r"MobilenetV2/(?:(Conv|Conv_1)|expanded_conv(?:_(\d+))?/(expand|depthwise|project))"
    match = re.fullmatch(rf"{place}/(?:(weights|depthwise_weights)|BatchNorm/(\w+))", name)
    if match is None:
        return None
    if match[1]:
        layer, convolution, norm = f"features.{0 if match[1] == 'Conv' else 18}", "0", "1"
    else:
        block = int(match[2] or 0)
        steps = ("depthwise", "project") if block == 0 else ("expand", "depthwise", "project")
        layer, step = f"features.{block + 1}.conv", steps.index(match[3])
        # torchvision wraps each convolution with its norm, except the last
        last = match[3] == "project"
        convolution, norm = (f"{step}", f"{step + 1}") if last else (f"{step}.0", f"{step}.1")
    return f"{layer}.{convolution}.weight" if match[4] else f"{layer}.{norm}.{BATCH_NORM[match[5]]}"


def _inception_key(name: str) -> str | None:
    if match := re.fullmatch(r"Conv/(weights|biases)", name):
        return f"to_vector.{LINEAR[match[1]]}"
    match = re.fullmatch(r"InceptionV3/(\w+?)(?:/(Branch_\d/\w+))?/(?:(weights)|BatchNorm/(\w+))", name)
    if match is None:
        return None
    layer = f"{match[1]}.{INCEPTION_BLOCKS[match[1]][match[2]]}" if match[2] else match[1]
    return f"features.{layer}.conv.weight" if match[3] else f"features.{layer}.bn.{BATCH_NORM[match[4]]}"


def _network(arrays: dict[str, np.ndarray]) -> tuple[torch.nn.Module, Callable[[str], str | None]]:
    """The empty network that these names belong to, and the rule that renames them."""
    if "transformer/contract/conv1/weights" in arrays:
        config = TransformerConfig(
            separable=any(name.endswith("pointwise_weights") for name in arrays),
            width=arrays["transformer/contract/conv1/weights"].shape[-1] / 32,
            padding="zeros",
            calms=False,
        )
        return Transformer(config), _transformer_key
    if "MobilenetV2/Conv/weights" in arrays:
        return StylePredictor("mobilenet-v2", input_range="0..1"), _mobilenet_key
    if "InceptionV3/Conv2d_1a_3x3/weights" in arrays:
        return StylePredictor("inception-v3", input_range="0..1"), _inception_key
    raise WeightsError("neither a transformer nor a style predictor of Magenta's: none of the names is known")


def _to_torch(array: np.ndarray, shape: torch.Size, depthwise: bool) -> torch.Tensor:
    """TensorFlow's HWIO (depthwise: HWC1) -> torch's OIHW, linear maps stored as 1x1 convolutions flattened."""
    if array.ndim == 4:
        array = array.transpose(2, 3, 0, 1) if depthwise else array.transpose(3, 2, 0, 1)
    if len(shape) == 2:
        array = array.reshape(array.shape[:2])
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def convert(arrays: dict[str, np.ndarray]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Magenta's arrays by name -> our state dict and metadata. WeightsError names what is missing or does not fit."""
    network, rename = _network(arrays)
    wanted = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    state = {}
    for name, array in arrays.items():
        key = rename(name)
        if key in wanted:
            state[key] = _to_torch(array, wanted[key].shape, "depthwise_weights" in name)
    if not any(name.endswith("/gamma") for name in arrays):  # batch norms without a scale: equal constants, kept once
        scales = [key for key, value in wanted.items() if key.endswith(".weight") and value.ndim == 1]
        state = {**{key: torch.ones_like(wanted[key]) for key in scales}, **state}
    missing = sorted(set(wanted) - set(state))
    if missing:
        raise WeightsError(f"{len(missing)} of {len(wanted)} arrays are missing, the first is {missing[0]}")
    for key, value in state.items():
        if value.shape != wanted[key].shape:
            raise WeightsError(f"{key} has shape {tuple(value.shape)}, the network wants {tuple(wanted[key].shape)}")
    return state, describe(network)
