"""How far a picture is from a photo's content and from a painting's style, over {layer: features} of a loss network.

Both distances are relative, ||a - b||^2 / ||b||^2, so that layers count alike and 1 is as bad as an empty answer. Each
is given per picture, (N,); what is averaged, and where a logarithm goes, is the caller's choice.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

CONTENT_LAYERS = ("relu3_3",)                                       # where things are, but no longer their texture
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")         # Johnson et al. 2016: one in each of four blocks
EPSILON = 1e-8                                                      # a flat picture may have no features at all

Features = Mapping[str, Tensor]


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between channels, (N, C, H, W) -> (N, C, C); Gatys et al. 2016, eq. 3.

    Averaged over pixels where the paper sums, so pictures of any size compare.
    """
    flat = features.flatten(2)                                      # (N, C, H*W)
    return flat @ flat.mT / flat.shape[-1]


def gram_matrices(features: Features, layers: Sequence[str] = STYLE_LAYERS) -> dict[str, Tensor]:
    """{layer: (N, C, C)}: what `style_distance` compares with."""
    return {layer: gram_matrix(features[layer]) for layer in layers}


def channel_statistics(features: Features, layers: Sequence[str] = STYLE_LAYERS) -> dict[str, Tensor]:
    """{layer: (N, 2, C)}, each channel's mean and standard deviation over the picture; Huang and Belongie 2017."""
    statistics = {}
    for layer in layers:
        variance, mean = torch.var_mean(features[layer].flatten(2), dim=2, correction=0)
        statistics[layer] = torch.stack((mean, (variance + EPSILON).sqrt()), dim=1)
    return statistics


def relative_distance(given: Tensor, target: Tensor) -> Tensor:
    """||given - target||^2 / ||target||^2 for each of N, in float32; (N, ...) -> (N,)."""
    given, target = given.flatten(1).float(), target.flatten(1).float()
    return (given - target).square().sum(1) / (target.square().sum(1) + EPSILON)


def content_distance(features: Features, target: Features, layers: Sequence[str] = CONTENT_LAYERS) -> Tensor:
    """Mean over layers of the relative distance of features, (N,); Gatys et al. 2016, eq. 1, made relative."""
    return torch.stack([relative_distance(features[layer], target[layer]) for layer in layers]).mean(0)


def style_distance(features: Features, grams: Mapping[str, Tensor], layers: Sequence[str] = STYLE_LAYERS) -> Tensor:
    """Mean over layers of the relative distance of Gram matrices, (N,); Gatys et al. 2016, eq. 5, made relative."""
    return torch.stack([relative_distance(gram_matrix(features[layer]), grams[layer]) for layer in layers]).mean(0)


def statistics_distance(
    features: Features, statistics: Mapping[str, Tensor], layers: Sequence[str] = STYLE_LAYERS
) -> Tensor:
    """Mean over layers of the relative distance of channel means and deviations, (N,)."""
    given = channel_statistics(features, layers)
    return torch.stack([relative_distance(given[layer], statistics[layer]) for layer in layers]).mean(0)


def total_variation(pictures: Tensor) -> Tensor:
    """Mean square of the step to the next pixel, across and down, (N, C, H, W) -> (N,): what noise costs."""
    across = (pictures[..., :, 1:] - pictures[..., :, :-1]).float().square().mean((1, 2, 3))
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).float().square().mean((1, 2, 3))
    return across + down
