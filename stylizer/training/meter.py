"""What the eye notices in a painted picture and distances miss: patterns on plain areas, noise, lost accents.

Pictures are (H, W, 3) uint8 here. A result is a photo painted in the style of a painting, at the photo's size.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stylizer import images, losses
from stylizer.images import LUMA, Picture
from stylizer.networks.backbones import VGG

SCALES = (0.42, 0.58, 0.83, 1.17, 1.67)  # of a painting's longer side to a result's: strokes may differ in size
BLUR = 6.0  # pixels: what is coarser is not a pattern
APART, LEAST_CALM = 8, 0.02  # least distance in pixels from what is not calm, and least share of a photo that is left
LAGS = (2, 12)  # pixels between the threads of a weave
BORDER = 16  # pixels that are left out: borders are measured apart
NOISE, TIMES = 2.0, 10  # deviation in levels of 255, and how often it is drawn
HUES, CHROMAS = 24, (10, 22, 40, 60)  # bins of the histogram of colours; below the first chroma is grey

Look = Callable[[np.ndarray], dict[str, Tensor]]  # a picture -> features of the loss network, (1, C, H, W) by layer
PaintPhoto = Callable[[np.ndarray], np.ndarray]


# Style at the nearest scale -------------------------------------------------------------------------------------------


class StyleDistance(NamedTuple):
    mean: float  # over the loss network's style layers, at the scale where it is smallest
    layers: dict[str, float]  # of each of them, at that scale


def readings(painting: Picture, longest: int, look: Look) -> list[dict[str, Tensor]]:
    """Gram matrices of a painting at SCALES of a result's longer side, but never enlarged."""
    sides = [round(scale * longest) for scale in SCALES]
    sides = [side for side in sides if side <= max(painting.size)] or [min(sides[0], max(painting.size))]
    return [losses.gram_matrices(look(images.resize(painting, side).rgb)) for side in sides]


def style_distance(features: dict[str, Tensor], paintings: Sequence[dict[str, Tensor]]) -> StyleDistance:
    """Distance of a result's features from the nearest of a painting's readings.

    At one scale only, bolder results would count as worse: their strokes are larger than the painting's beside them.
    """
    found, nearest = losses.gram_matrices(features), None
    for grams in paintings:
        layers = {layer: float(losses.relative_distance(found[layer], grams[layer])) for layer in losses.STYLE_LAYERS}
        mean = sum(layers.values()) / len(layers)
        if nearest is None or mean < nearest.mean:
            nearest = StyleDistance(mean, layers)
    return nearest


def look_through(network: VGG, device: torch.device) -> Look:
    """A function from a picture to the loss network's features, in float32, at the layers of style and content."""

    @torch.no_grad()
    def look(rgb: np.ndarray) -> dict[str, Tensor]:
        tensor = torch.from_numpy(images.to_tensor(rgb)).to(device).contiguous(memory_format=torch.channels_last)
        found = network(tensor, {*losses.CONTENT_LAYERS, *losses.STYLE_LAYERS})
        return {layer: value.float() for layer, value in found.items()}

    return look


# Patterns on plain areas ----------------------------------------------------------------------------------------------


class Weave(NamedTuple):
    """What is left of a picture without its coarse light and colour, in levels of 255."""

    luminance: float  # deviation
    red_green: float  # deviation of R - G
    peak: float  # of the autocorrelation of luminance at LAGS, 0 to 1: how regular it is


def weave(rgb: np.ndarray) -> Weave:
    picture = torch.from_numpy(rgb.astype(np.float32))
    channels = torch.stack((picture @ torch.from_numpy(LUMA), picture[..., 0] - picture[..., 1]))
    border = min(BORDER, min(rgb.shape[:2]) // 4)
    high = (channels - blurred(channels, BLUR))[:, border:-border, border:-border]
    return Weave(*(float(each.std()) for each in high), peak=autocorrelation_peak(high[0]))


def weave_where_calm(painted: np.ndarray, photo: np.ndarray) -> float | None:
    """Deviation of luminance, in levels of 255, where the photo is calm: a sky above land, a wall behind a head.

    None if too little of it is. Unlike pictures that are plain all over, photos have something else to paint, too.
    """
    calm = losses.calm(torch.from_numpy(images.to_tensor(photo)))[0] > 0.5
    inner = -F.max_pool2d(-calm.float(), 2 * APART + 1, 1, APART)[0] > 0  # away from what is not
    if inner.float().mean() < LEAST_CALM:
        return None
    luminance = (torch.from_numpy(painted.astype(np.float32)) @ torch.from_numpy(LUMA))[None]
    return float((luminance - blurred(luminance, BLUR))[0][inner].square().mean().sqrt())


def waves(painted: np.ndarray, photo: np.ndarray, painting: np.ndarray) -> np.ndarray | None:
    """How far waves stand out in a result, beyond the mean of photo and painting, as logarithms, (2, 64, 64).

    None if one of the three is smaller than the window of a spectrum.
    """
    if min(min(rgb.shape[:2]) for rgb in (painted, photo, painting)) < losses.WINDOW:
        return None
    ours, *theirs = (
        losses.standing_out(losses.spectrum(torch.from_numpy(images.to_tensor(rgb))))[0].numpy()
        for rgb in (painted, photo, painting)
    )
    return ours - sum(theirs) / 2


def lattice(found: Sequence[np.ndarray]) -> float:
    """How many times too strong the strongest wave is that all results share; of the `waves` of each; NaN of none."""
    return float(np.exp(np.mean(found, axis=0).max())) if len(found) else float("nan")


def blurred(channels: Tensor, deviation: float) -> Tensor:
    """(C, H, W) blurred by a Gaussian of that deviation in pixels."""
    half = round(3 * deviation)
    steps = torch.arange(-half, half + 1, dtype=channels.dtype)
    kernel = torch.exp(-((steps / deviation) ** 2) / 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(channels[:, None], (half, half, half, half), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None, :])[:, 0]


def autocorrelation_peak(channel: Tensor) -> float:
    """The highest local maximum at LAGS of the autocorrelation of (H, W), 0 if there is none; 1 repeats exactly."""
    height, width = channel.shape
    channel = channel - channel.mean()
    spectrum = torch.fft.rfft2(channel, s=(2 * height, 2 * width)).abs().square()
    found = torch.fft.irfft2(spectrum, s=(2 * height, 2 * width))
    if found[0, 0] <= 1e-3 * channel.numel():  # one colour, to a thirtieth of a level
        return 0.0
    furthest = min(LAGS[1] + 1, height - 1, width - 1)
    found = torch.roll(found, (furthest, furthest), (0, 1))[: 2 * furthest + 1, : 2 * furthest + 1] / found[0, 0]
    steps = torch.arange(-furthest, furthest + 1)
    distance = (steps[:, None] ** 2 + steps**2).sqrt()
    highest_around = F.max_pool2d(found[None, None], 3, 1, 1)[0, 0]
    peaks = found[(distance >= LAGS[0]) & (distance <= LAGS[1]) & (found == highest_around)]
    return max(0.0, float(peaks.max())) if len(peaks) else 0.0


def plain_pictures(longest: int) -> Iterator[tuple[str, np.ndarray]]:
    """Six pictures of what is plain in photos, by name, with a sensor's noise; three wide by two high."""
    height, width = round(longest * 2 / 3), longest
    down, across = (axis / side for axis, side in zip(np.mgrid[:height, :width], (height, width), strict=True))
    generator = np.random.default_rng(0)

    def spot(y: float, x: float, size: float) -> np.ndarray:
        return np.exp(-((down - y) ** 2 + (1.5 * (across - x)) ** 2) / (2 * size**2))

    def made(red: np.ndarray, green: np.ndarray, blue: np.ndarray, noise: float) -> np.ndarray:
        levels = np.stack(np.broadcast_arrays(red, green, blue), axis=2)
        return (levels + noise * generator.standard_normal(levels.shape)).round().clip(0, 255).astype(np.uint8)

    yield "sky", made(90 + 110 * down, 130 + 70 * down, 200 + 25 * down, 1)
    yield "wall", made(215 + 25 * across, 208 + 24 * across, 196 + 20 * down, 1.5)
    cheek = 40 * spot(0.45, 0.4, 0.35)
    yield "skin", made(185 + cheek, 140 + 0.9 * cheek, 118 + 0.8 * cheek, 1)
    green, sun, dark = spot(0.3, 0.25, 0.2), spot(0.2, 0.75, 0.15), spot(0.8, 0.6, 0.3)
    background = 70 + 90 * sun - 30 * dark
    yield "blurred background", made(background, background + 55 * green, background - 20 * green, 1)
    hills = 12 / (1 + np.exp(-60 * (down - 0.6 - 0.05 * np.sin(7 * across))))
    yield "fog", made(205 - hills, 209 - hills, 214 - 0.8 * hills, 1)
    lamp = 120 * spot(0.35, 0.7, 0.12)
    yield "night", made(18 + lamp, 20 + 0.8 * lamp, 34 + 0.4 * lamp, 4)


# Noise, size, colours -------------------------------------------------------------------------------------------------


def noise_amplification(photo: np.ndarray, paint: PaintPhoto) -> float:
    """The factor by which noise in a photo is amplified, a ratio of root mean squares."""
    generator = np.random.default_rng(0)
    clean, gone_in, come_out = paint(photo).astype(np.float32), 0.0, 0.0
    for _ in range(TIMES):
        noisy = (photo + NOISE * generator.standard_normal(photo.shape)).round().clip(0, 255).astype(np.uint8)
        gone_in += float(np.square(noisy.astype(np.float32) - photo).mean())
        come_out += float(np.square(paint(noisy).astype(np.float32) - clean).mean())
    return (come_out / max(gone_in, 1e-9)) ** 0.5


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Structural similarity of the luminance of two pictures, at most 1; Wang et al. 2004."""
    a, b = (torch.from_numpy(rgb.astype(np.float32)) @ torch.from_numpy(LUMA) for rgb in (first, second))
    mean_a, mean_b, aa, bb, ab = blurred(torch.stack((a, b, a * a, b * b, a * b)), 1.5)
    light, contrast = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_a * mean_b + light) * (2 * (ab - mean_a * mean_b) + contrast)
    below = (mean_a**2 + mean_b**2 + light) * (aa - mean_a**2 + bb - mean_b**2 + contrast)
    return float((above / below).mean())


def accents_reached(result: np.ndarray, painting: np.ndarray) -> float:
    """The share of a painting's coloured pixels whose hue and chroma the result has as often, 0 to 1; 1 if all grey."""
    wanted, found = (_colours(rgb) for rgb in (painting, result))
    coloured = wanted.sum()
    return float(np.minimum(wanted, found).sum() / coloured) if coloured > 0.01 else 1.0


def _colours(rgb: np.ndarray) -> np.ndarray:
    """Shares of all pixels by hue and chroma, (HUES, len(CHROMAS)), without greys."""
    blue, red = np.moveaxis(np.asarray(Image.fromarray(rgb).convert("YCbCr"), np.float32)[..., 1:] - 128, 2, 0)
    hues = (np.arctan2(red, blue) / (2 * np.pi) % 1 * HUES).astype(int) % HUES
    chromas = np.digitize(np.hypot(red, blue), CHROMAS)
    counts = np.bincount((hues * (len(CHROMAS) + 1) + chromas).ravel(), minlength=HUES * (len(CHROMAS) + 1))
    return counts.reshape(HUES, -1)[:, 1:] / counts.sum()
