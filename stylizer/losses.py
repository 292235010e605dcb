"""How far a picture is from a photo's content and from a painting's style, over {layer: features} of a loss network.

Both distances are relative, ||a - b||^2 / ||b||^2, so that layers count alike and 1 is as bad as an empty answer. Each
is given per picture, (N,); what is averaged, and where a logarithm goes, is the caller's choice.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stylizer.images import LUMA

CONTENT_LAYERS = ("relu3_3",)                                       # where things are, but no longer their texture
STRUCTURE_LAYER = "relu4_3"                                          # where things are, by what they are
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")         # Johnson et al. 2016: one in each of four blocks
EPSILON = 1e-8                                                      # a flat picture may have no features at all
STRUCTURE_EPSILON = 100.0       # added to the variance of a channel: about 5,000 in photos, next to nothing on a wall
CALM_SIDE = 9                   # pixels that are looked at around each,
CALM = 1e-4                     # and the square of steps that are half calm: 0.01 from one pixel to the next
WINDOW = 64                     # pixels a side of what a spectrum is taken of,
LONGEST_WAVE = 24               # pixels: what is longer is no pattern;
FAINT = (2 / 255) ** 2          # power that nobody sees: noise of two levels;
LATTICE_AVERAGE = 0.95          # decay of what the answers of some steps have in common,
LEAST_LATTICE = 0.1             # and what of it is chance
LEAST_SHARE = 0.02              # of an average wave's: below it is silence

Features = Mapping[str, Tensor]


class _Moments(torch.autograd.Function):
    """Pixels (N, P, C) -> mean products (N, C, C) and means (N, C), with a gradient in one pass over the pixels.

    What autograd would make of the two formulas takes several, and at the first layers of a loss network memory is what
    a step waits for.
    """

    @staticmethod
    def forward(ctx, pixels: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(pixels)
        return pixels.mT @ pixels / pixels.shape[1], pixels.mean(1)

    @staticmethod
    def backward(ctx, of_products: Tensor, of_means: Tensor) -> Tensor:
        (pixels,) = ctx.saved_tensors
        count = pixels.shape[1]
        return torch.baddbmm(of_means[:, None] / count, pixels, (of_products + of_products.mT) / count)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Gram matrix (N, C, C) and mean (N, C) of features (N, C, H, W)."""
    return _Moments.apply(features.permute(0, 2, 3, 1).flatten(1, 2))       # channels last: a view


def gram_matrix(features: Tensor) -> Tensor:
    """Correlations between channels, (N, C, H, W) -> (N, C, C); Gatys et al. 2016, eq. 3.

    Averaged over pixels where the paper sums, so pictures of any size compare.
    """
    return moments(features)[0]


def gram_matrices(features: Features, layers: Sequence[str] = STYLE_LAYERS) -> dict[str, Tensor]:
    """{layer: (N, C, C)}: what `style_distance` compares with."""
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


def mean_distance(given: Mapping[str, Tensor], target: Mapping[str, Tensor], layers: Sequence[str]) -> Tensor:
    """Mean over layers of the relative distance, (N,), whatever is given of them."""
    return torch.stack([relative_distance(given[layer], target[layer]) for layer in layers]).mean(0)


def content_distance(features: Features, target: Features, layers: Sequence[str] = CONTENT_LAYERS) -> Tensor:
    """Mean over layers of the relative distance of features, (N,); Gatys et al. 2016, eq. 1, made relative."""
    return mean_distance(features, target, layers)


def style_distance(features: Features, grams: Mapping[str, Tensor], layers: Sequence[str] = STYLE_LAYERS) -> Tensor:
    """Mean over layers of the relative distance of Gram matrices, (N,); Gatys et al. 2016, eq. 5, made relative."""
    return mean_distance(gram_matrices(features, layers), grams, layers)


def structure_distance(features: Tensor, target: Tensor) -> Tensor:
    """The relative distance of features (N, C, H, W) once every channel has mean 0 and deviation 1, (N,): where things
    are, whatever their light, contrast and texture; as AdaAttN (Liu et al. 2021) compares them."""
    return relative_distance(_standardised(features), _standardised(target))


def _standardised(features: Tensor) -> Tensor:
    """Not by `F.instance_norm`, whose gradient is not to be trusted: `networks.layers.TrainedNorm` says why."""
    variance, mean = torch.var_mean(features.float(), (2, 3), correction=0, keepdim=True)
    return (features.float() - mean) * (variance + STRUCTURE_EPSILON).rsqrt()


def total_variation(pictures: Tensor) -> Tensor:
    """Mean square of the step to the next pixel, across and down, (N, C, H, W) -> (N,): what noise costs."""
    across = (pictures[..., :, 1:] - pictures[..., :, :-1]).float().square().mean((1, 2, 3))
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).float().square().mean((1, 2, 3))
    return across + down


def variation_map(pictures: Tensor) -> Tensor:
    """Square of the step to the next pixel, across and down, mean over the colours: (N, 3, H, W) -> (N, 1, H, W)."""
    across, down = (pictures.float().diff(dim=axis).square().mean(1, keepdim=True) for axis in (3, 2))
    return F.pad(across, (0, 1, 0, 0)) + F.pad(down, (0, 0, 0, 1))


def calm(photos: Tensor) -> Tensor:
    """How calm each place of photos is, 0 to 1, (N, 3, H, W) -> (N, 1, H, W): skies, walls, cheeks."""
    around = F.avg_pool2d(variation_map(photos), CALM_SIDE, stride=1, padding=CALM_SIDE // 2, count_include_pad=False)
    return 1 / (1 + around / CALM)


def weave(pictures: Tensor, calm_places: Tensor) -> Tensor:
    """Mean variation where the photo is calm, (N, 3, H, W) and (N, 1, H, W) -> (N,): a weave would show there."""
    return (variation_map(pictures) * calm_places).mean((1, 2, 3))


def spectrum(pictures: Tensor) -> Tensor:
    """How the fine waves of luminance and of R - G share the power of a window, the mean over half-overlapping windows,
    (N, 3, H, W) from 64 pixels a side -> (N, 2, 64, 64), of waves down and across; 1 is the average wave's.

    Welch 1967, but every window counts alike, be it an eye or a cheek, down to the faintest.
    """
    red, green = pictures[:, 0].float(), pictures[:, 1].float()
    luminance = torch.einsum("nchw,c->nhw", pictures.float(), torch.from_numpy(LUMA).to(pictures.device))
    window = torch.hann_window(WINDOW, device=pictures.device)
    window = window[:, None] * window
    pieces = torch.stack((luminance, red - green), 1).unfold(2, WINDOW, WINDOW // 2).unfold(3, WINDOW, WINDOW // 2)
    waves = torch.fft.fft2((pieces - pieces.mean((-2, -1), keepdim=True)) * window)
    power = torch.view_as_real(waves).square().sum(-1) / window.square().sum()    # of white noise its variance
    power = power * (_waves(pictures.device) >= WINDOW / LONGEST_WAVE)
    return (power / (power.mean((-2, -1), keepdim=True) + FAINT)).mean((2, 3))


def standing_out(spectra: Tensor) -> Tensor:
    """How far each wave stands out among all of its length, as a logarithm, (N, 2, 64, 64) -> the same; coarse ones 0.

    On average over many answers it ought to be as in their photos and paintings. Where it is more, there is a lattice,
    the same whatever the painting: nearest-neighbour upsampling lends a network such waves for nothing.
    """
    length = _waves(spectra.device)
    ring = F.one_hot(length.round().long().flatten()).float()                       # (4096, lengths)
    mean = (spectra.flatten(2) @ (ring / ring.sum(0)))[..., length.round().long()]  # of all directions
    found = torch.log((spectra + LEAST_SHARE) / (mean + LEAST_SHARE))
    return found * (length >= WINDOW / LONGEST_WAVE)


def lattice_excess(painted: Tensor, photos: Tensor, paintings: Tensor) -> Tensor:
    """How far waves stand out in answers (N, 3, H, W) more than in their photos, and in paintings of these spectra
    (N, 2, 64, 64), on average, (2, 64, 64)."""
    ours, theirs = (standing_out(spectrum(pictures)) for pictures in (painted, photos))
    return (ours - (theirs + standing_out(paintings)) / 2).mean(0)


def lattice(excess: Tensor, common: Tensor) -> Tensor:
    """What the waves cost that answers share, (): as far as they stand out in these and did, `common`, in many."""
    return (F.relu(common - LEAST_LATTICE) * excess).mean()


def follow_lattice(common: Tensor, excess: Tensor, step: int) -> None:
    """Let `common` follow what stands out; young averages forget faster."""
    common.lerp_(excess.detach(), 1 - min(LATTICE_AVERAGE, (1 + step) / (10 + step)))


def _waves(device: torch.device) -> Tensor:
    """How many waves of each kind lie in a window, (64, 64)."""
    along = torch.fft.fftfreq(WINDOW, 1 / WINDOW, device=device)
    return (along[:, None].square() + along.square()).sqrt()
