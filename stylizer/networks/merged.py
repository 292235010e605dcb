"""Separable convolutions merged into equivalent plain ones: depthwise kernels are slow, above all backward."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from stylizer.networks.transformer import Transformer

MERGED = {"pointwise.weight": "conv.weight", "down": "down"}  # after the depthwise kernels -> plain name


def working_weights(
    module: nn.Module, dtype: torch.dtype, merge: bool, parameters: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The weights for one step: in `dtype`, separable convolutions merged, gradients reaching `parameters`.

    `parameters` are the module's own by default. Batch norms stay float32, which their kernels accept together with
    half-precision features at no cost.
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
        pointwise = next((key for key in MERGED if merge and name.endswith(key)), None)
        if pointwise:
            layer = name.removesuffix(pointwise)
            name = layer + MERGED[pointwise]
            weight = weight * parameters[f"{layer}depthwise.weight"].transpose(0, 1)  # (O, C, k, k)
        weight = weight if name in norms else weight.to(dtype)
        working[name] = weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight
    return working


def plain_shell(transformer: Transformer) -> Transformer:
    """The same network with plain convolutions and no weights of its own, to be filled by `working_weights`."""
    with torch.device("meta"):
        return Transformer(replace(transformer.config, separable=False))


@torch.no_grad()
def as_plain(transformer: Transformer) -> Transformer:
    """The plain network equivalent to a separable one, with weights of its own: a start for training a plain one."""
    plain = Transformer(replace(transformer.config, separable=False))
    plain.load_state_dict(working_weights(transformer, torch.float32, merge=True))
    return plain


@torch.no_grad()
def with_rank(transformer: Transformer, rank: int) -> Transformer:
    """The same network with kernels to which a style adds products of this rank, initially zero."""
    wider = Transformer(replace(transformer.config, rank=rank))
    wider.load_state_dict(transformer.state_dict(), strict=False)
    return wider
