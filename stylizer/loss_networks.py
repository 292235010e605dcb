"""Loss networks: choosing and loading them, and the precision they compute in.

To add one, add a record to `stylizer.weights`, and a class to `networks/backbones.py` if none there fits.
"""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from stylizer import weights
from stylizer.errors import ParameterError, WeightsError
from stylizer.networks import backbones
from stylizer.networks.backbones import VGG16, Backbone
from stylizer.settings import Settings

MIN_SIDE = 32  # pixels of a picture's shorter side: below that the deeper layers have almost no pixels


def names() -> list[str]:
    """The names of all loss networks, the default first."""
    return list(weights.loss_networks())


def class_of(name: str) -> type[Backbone]:
    """The class of a loss network, which lists its layers; ParameterError for an unknown name."""
    if name not in names():
        raise ParameterError("backbone", f"there is no backbone {name!r}; choose from {', '.join(names())}")
    return getattr(backbones, weights.WEIGHTS[name].loss_network)


def default(settings: Settings, file: Path | None = None) -> str:
    """The first available: our narrow VGG, as shipped. ParameterError if weights are given without their network."""
    if file is not None:
        raise ParameterError("backbone", f"{file} needs the name of its network; choose from {', '.join(names())}")
    return available(settings)[0]


def available(settings: Settings) -> list[str]:
    """Loss networks that can be downloaded or whose weights are in models/."""
    listed = weights.checksums(settings.models)
    return [name for name, each in weights.loss_networks().items() if each.url or each.file in listed]


def load(name: str, settings: Settings, file: Path | None = None, progress: weights.OnBytes = False) -> Backbone:
    """A loss network with its weights: from `file`, as shipped, or downloaded once.

    ParameterError for an unknown name, WeightsError if the weights are not available.
    """
    class_of(name)
    known = weights.WEIGHTS[name]
    if file is not None or known.url:
        return build(name, weights.read_state(file or weights.fetch(known, settings.cache, progress)))
    arrays, _ = weights.parse(weights.read(settings.models, known.file), known.file)
    return build(name, {key: torch.from_numpy(array) for key, array in arrays.items()})


def build(name: str, state: Mapping[str, Tensor]) -> Backbone:
    """The named network in float32; keys that it does not need (a classifier's) are ignored.

    WeightsError if an array is missing or has another shape, ParameterError for an unknown name.
    """
    network = class_of(name)(scale=backbones.INPUT_SCALES[weights.WEIGHTS[name].input_scale])
    wanted = network.state_dict()
    # Batch norm's state counts training steps; older files lack the counter, and evaluation does not use it.
    optional = {key for key in wanted if key.endswith("num_batches_tracked")}
    wrong = [key for key in wanted.keys() - optional if key not in state or state[key].shape != wanted[key].shape]
    if wrong:
        first = next(key for key in wanted if key in wrong)
        raise WeightsError(
            f"these are not {name}'s features: {len(wrong)} of {len(wanted) - len(optional)} arrays are missing or "
            f"have another shape, first {first}"
        )
    network.load_state_dict({key: state[key].float() for key in wanted.keys() - optional}, strict=False)
    return network


def load_vgg16(state: Mapping[str, Tensor]) -> VGG16:
    """VGG-16 with the original weights, as training and evaluation use it."""
    network = build("vgg16", state)
    assert isinstance(network, VGG16)  # its record says so
    return network


def call_between_layers(network: Backbone, interrupt: Callable[[], None]) -> None:
    """Call `interrupt` after every module in the forward pass, and before it in the backward pass."""

    def hook(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        interrupt()
        if output.requires_grad:
            output.register_hook(lambda _gradient: interrupt())

    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(hook)


def in_precision(backbone: Backbone, precision: str) -> Backbone:
    """A copy in the fastest memory layout, and for "auto" in the fastest precision. Float64, for tests, is kept."""
    dtype = backbone.dtype
    if dtype == torch.float32 and precision == "auto" and computes_in_bf16(next(backbone.parameters()).device):
        dtype = torch.bfloat16
    return copy.deepcopy(backbone).to(dtype).to(memory_format=torch.channels_last)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the hardware has bf16 instructions; without them bf16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return device.type == "cpu" and any(ask() for ask in known if ask)
