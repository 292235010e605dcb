"""Distances of a picture from a photo's content and a painting's style, from {layer: features} of a loss network.

Both distances are relative, ||a - b||^2 / ||b||^2, so that layers have equal weight and 1 is as bad as all-zero
features. Each is per picture, (N,); averaging and logarithms are up to the caller.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylizer.images import LUMA

CONTENT_LAYERS = ("relu3_3",)  # where things are, but no longer their texture
STRUCTURE_LAYER = "relu4_3"  # where things are, and what they are
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")  # Johnson et al. 2016: one in each of four blocks
EPSILON = 1e-8  # a flat picture may have no features at all
STRUCTURE_EPSILON = 100.0  # added to the variance of a channel: about 5,000 in photos, almost 0 on a wall
CALM_SIDE = 9  # side in pixels of the square in which calmness is measured,
CALM = 1e-4  # and the squared step at which a place is half calm: 0.01 from pixel to pixel
WINDOW = 64  # side in pixels of a spectrum's window
LONGEST_WAVE = 24  # pixels; longer waves are not a pattern
FAINT = (2 / 255) ** 2  # invisible power: noise of two levels
LATTICE_AVERAGE = 0.95  # decay of the running average of waves common to all results,
LEAST_LATTICE = 0.1  # and the part of it that is chance
LEAST_SHARE = 0.02  # of an average wave's power; less counts as silence

Features = Mapping[str, Tensor]


class _Moments(torch.autograd.Function):
    """Pixels (N, P, C) -> mean products (N, C, C) and means (N, C), with a gradient in one pass over the pixels.

    Autograd would take several for the two formulas, and at the first layers of a loss network a step is limited by
    memory bandwidth.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(pixels)
        return pixels.mT @ pixels / pixels.shape[1], pixels.mean(1)

    @staticmethod
    def backward(ctx: Any, of_products: Tensor, of_means: Tensor) -> Tensor:
        (pixels,) = ctx.saved_tensors
        count = pixels.shape[1]
        return torch.baddbmm(of_means[:, None] / count, pixels, (of_products + of_products.mT) / count)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Gram matrix (N, C, C) and mean (N, C) of features (N, C, H, W)."""
    return _Moments.apply(features.permute(0, 2, 3, 1).flatten(1, 2))  # channels last: a view


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between channels, (N, C, H, W) -> (N, C, C); Gatys et al. 2016, eq. 3.

    Averaged over pixels where the paper sums, so pictures of different sizes are comparable.
    """
    return moments(features)[0]


def gram_matrices(features: Features, layers: Sequence[str] = STYLE_LAYERS) -> dict[str, Tensor]:
    """{layer: (N, C, C)}: the target of `style_distance`."""
    return {layer: gram_matrix(features[layer]) for layer in layers}


def channel_statistics(gram: Tensor, mean: Tensor) -> Tensor:
    """Each channel's mean and standard deviation over the picture, (N, 2, C), of `moments`; Huang and Belongie 2017."""
    mean = mean.float()
    variance = gram.diagonal(dim1=1, dim2=2).float() - mean.square()
    return torch.stack((mean, (variance.clamp(min=0) + EPSILON).sqrt()), dim=1)


def relative_distance(given: Tensor, target: Tensor) -> Tensor:
    """||given - target||^2 / ||target||^2 for each of N, in float32; (N, ...) -> (N,)."""
    given, target = given.flatten(1).float(), target.flatten(1).float()
    return (given - target).square().sum(1) / (target.square().sum(1) + EPSILON)


def mean_distance(
    given: Mapping[str, Tensor], target: Mapping[str, Tensor], layers: Sequence[str], shares: Sequence[float] = ()
) -> Tensor:
    """Mean over layers of the relative distance of any quantity, (N,); `shares` are layer weights that sum to 1."""
    distances = [relative_distance(given[layer], target[layer]) for layer in layers]
    if not shares:
        return torch.stack(distances).mean(0)
    return weighted_sum(shares, distances)


def weighted_sum(weights: Iterable[float], values: Iterable[Tensor]) -> Tensor:
    """Weighted sum of at least one value."""
    return reduce(torch.add, (weight * value for weight, value in zip(weights, values, strict=True)))


def content_distance(features: Features, target: Features, layers: Sequence[str] = CONTENT_LAYERS) -> Tensor:
    """Mean over layers of the relative distance of features, (N,); Gatys et al. 2016, eq. 1, made relative."""
    return mean_distance(features, target, layers)


def style_distance(features: Features, grams: Mapping[str, Tensor], layers: Sequence[str] = STYLE_LAYERS) -> Tensor:
    """Mean over layers of the relative distance of Gram matrices, (N,); Gatys et al. 2016, eq. 5, made relative."""
    return mean_distance(gram_matrices(features, layers), grams, layers)


def structure_distance(features: Tensor, target: Tensor) -> Tensor:
    """Relative distance of features (N, C, H, W) with every channel standardised, (N,); as AdaAttN (Liu et al. 2021).

    It measures where things are, regardless of their light, contrast and texture.
    """
    return relative_distance(_standardised(features), _standardised(target))


def _standardised(features: Tensor) -> Tensor:
    """Standardise channels without `F.instance_norm`, whose gradient is wrong (see `networks.layers.TrainedNorm`)."""
    variance, mean = torch.var_mean(features.float(), (2, 3), correction=0, keepdim=True)
    return (features.float() - mean) * (variance + STRUCTURE_EPSILON).rsqrt()


def total_variation(pictures: Tensor) -> Tensor:
    """Mean squared step to the next pixel, across and down, (N, C, H, W) -> (N,): the penalty for noise."""
    across = (pictures[..., :, 1:] - pictures[..., :, :-1]).float().square().mean((1, 2, 3))
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).float().square().mean((1, 2, 3))
    return across + down


def variation_map(pictures: Tensor) -> Tensor:
    """Squared step to the next pixel, across and down, mean over colours: (N, 3, H, W) -> (N, 1, H, W)."""
    across, down = (pictures.float().diff(dim=axis).square().mean(1, keepdim=True) for axis in (3, 2))
    return F.pad(across, (0, 1, 0, 0)) + F.pad(down, (0, 0, 0, 1))


def calm(photos: Tensor) -> Tensor:
    """How calm each place of photos is, 0 to 1, (N, 3, H, W) -> (N, 1, H, W): skies, walls, cheeks."""
    around = F.avg_pool2d(variation_map(photos), CALM_SIDE, stride=1, padding=CALM_SIDE // 2, count_include_pad=False)
    return 1 / (1 + around / CALM)


def weave(pictures: Tensor, calm_places: Tensor) -> Tensor:
    """Mean variation where the photo is calm, where a weave would show: (N, 3, H, W) and (N, 1, H, W) -> (N,)."""
    return (variation_map(pictures) * calm_places).mean((1, 2, 3))


def spectrum(pictures: Tensor) -> Tensor:
    """Relative power of fine waves in luminance and R - G, (N, 3, H, W) -> (N, 2, 64, 64), waves down and across.

    1 is the power of the average wave. Mean over half-overlapping windows, so sides must be at least 64. As Welch 1967,
    but every window is normalised, so that an eye and a cheek count alike, down to the faintest.
    """
    red, green = pictures[:, 0].float(), pictures[:, 1].float()
    luminance = torch.einsum("nchw,c->nhw", pictures.float(), torch.from_numpy(LUMA).to(pictures.device))
    window = torch.hann_window(WINDOW, device=pictures.device)
    window = window[:, None] * window
    pieces = torch.stack((luminance, red - green), 1).unfold(2, WINDOW, WINDOW // 2).unfold(3, WINDOW, WINDOW // 2)
    waves = torch.fft.fft2((pieces - pieces.mean((-2, -1), keepdim=True)) * window)
    power = torch.view_as_real(waves).square().sum(-1) / window.square().sum()  # for white noise, its variance
    power = power * (_waves(pictures.device) >= WINDOW / LONGEST_WAVE)
    return (power / (power.mean((-2, -1), keepdim=True) + FAINT)).mean((2, 3))


def standing_out(spectra: Tensor) -> Tensor:
    """Log power of each wave relative to the mean of its wavelength, (N, 2, 64, 64) -> the same; 0 for coarse waves.

    Averaged over many results it should be as in their photos and paintings. Any excess is a lattice, the same for
    every painting: nearest-neighbour upsampling produces such waves for free.
    """
    length = _waves(spectra.device)
    lengths = round(WINDOW / 2**0.5) + 1  # to the corner; given, so that torch.compile need not look at the values
    ring = F.one_hot(length.round().long().flatten(), lengths).float()  # (4096, lengths)
    mean = (spectra.flatten(2) @ (ring / ring.sum(0)))[..., length.round().long()]  # over all directions
    found = torch.log((spectra + LEAST_SHARE) / (mean + LEAST_SHARE))
    return found * (length >= WINDOW / LONGEST_WAVE)


def lattice_excess(painted: Tensor, photos: Tensor, paintings: Tensor) -> Tensor:
    """How much more waves stand out in results (N, 3, H, W) than in their photos and paintings, mean (2, 64, 64).

    paintings: spectra (N, 2, 64, 64).
    """
    ours, theirs = (standing_out(spectrum(pictures)) for pictures in (painted, photos))
    return (ours - (theirs + standing_out(paintings)) / 2).mean(0)


def lattice(excess: Tensor, common: Tensor) -> Tensor:
    """Penalty for waves that results share, (): their excess in these times that in earlier ones, `common`."""
    return (F.relu(common - LEAST_LATTICE) * excess).mean()


def follow_lattice(common: Tensor, excess: Tensor, step: int) -> None:
    """Update the running average `common`; early averages decay faster."""
    common.lerp_(excess.detach(), 1 - min(LATTICE_AVERAGE, (1 + step) / (10 + step)))


def _waves(device: torch.device) -> Tensor:
    """Number of periods per window of each wave, (64, 64)."""
    along = torch.fft.fftfreq(WINDOW, 1 / WINDOW, device=device)
    return (along[:, None].square() + along.square()).sqrt()
