"""Transformers whose kernels depend on the style, to test with."""

import torch

from stylizer.networks import Transformer


@torch.no_grad()
def mixing(transformer: Transformer) -> Transformer:
    """The same one, changed: what a style adds to its kernels begins as nothing, and here it is plain to see."""
    generator = torch.Generator().manual_seed(0)
    for layer in transformer.styled() if transformer.config.rank else ():
        layer.up.copy_(0.3 * torch.randn(layer.up.shape, generator=generator))
    return transformer
