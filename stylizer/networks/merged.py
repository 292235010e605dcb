"""A separable convolution as the plain one it equals: depthwise kernels are slow, most of all on the way back."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from stylizer.networks.transformer import Transformer


def working_weights(
    module: nn.Module, dtype: torch.dtype, merge: bool, parameters: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The weights for one step: in `dtype`, separable convolutions merged, gradients reaching `parameters`.

    These are the module's own by default. Batch norms keep float32: their kernels take it beside half-precision
    features and lose nothing.
    """
    parameters = dict(module.named_parameters()) if parameters is None else parameters
    working = dict(module.named_buffers())
    norms = {
        f"{name}.{key}"
        for name, child in module.named_modules()
        if isinstance(child, nn.BatchNorm2d)
        for key in ("weight", "bias")
    }
    for name, weight in parameters.items():
        if merge and name.endswith("depthwise.weight"):
            continue
        if merge and name.endswith("pointwise.weight"):
            place = name.removesuffix("pointwise.weight")
            depthwise = parameters[f"{place}depthwise.weight"]  # (C, 1, k, k)
            name, weight = f"{place}conv.weight", weight * depthwise.transpose(0, 1)  # (O, C, k, k)
        weight = weight if name in norms else weight.to(dtype)
        working[name] = weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight
    return working


def plain_shell(transformer: Transformer) -> Transformer:
    """The same network with plain convolutions and no weights of its own: `working_weights` fill it."""
    with torch.device("meta"):
        return Transformer(replace(transformer.config, separable=False))


@torch.no_grad()
def as_plain(transformer: Transformer) -> Transformer:
    """The plain network that a separable one equals, with weights of its own: where training a plain one begins."""
    plain = Transformer(replace(transformer.config, separable=False))
    plain.load_state_dict(working_weights(transformer, torch.float32, merge=True))
    return plain
