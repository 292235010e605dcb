"""Invisible pixels must not influence the network either: those under alpha 0 are filled from their surroundings.

The same goes for barely visible ones: the rim of a cut-out has remnants of its old background, and a one-pixel ring of
them at 10 % opacity would change the middle of a painting by 60 of 255 levels.
"""

import numpy as np
from PIL import Image

GREY = 128  # colour of a fully transparent picture
FAINT, CLEAR = 64, 128  # alpha: up to the first a pixel takes its surroundings' colour, from the second its own

_alphas = np.arange(256)
# Weight of a pixel in means: the fourth power, so that faint pixels hardly count next to opaque ones.
KNOWN = 65535
WEIGHTS = np.where(_alphas > 0, np.maximum((_alphas / 255) ** 4 * KNOWN, 1), 0).astype(np.uint16)
SHADOW = 2  # mostly covered squares of 2^2 pixels are not a rim but a soft shadow, whose colour is kept
OWN = (((_alphas - FAINT) / (CLEAR - FAINT)).clip(0, 1)).astype(np.float32)  # share of its own colour a pixel keeps


def fill_hidden(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 3) with faint pixels coloured by the nearest visible ones; the same array if none is faint.

    Push-pull (Gortler et al. 1996): colours are averaged, weighted by visibility, into ever coarser pictures, and each
    finer one takes what it lacks from the coarser. Colours of alpha 128 and above stay bit for bit.
    """
    if alpha.min() >= CLEAR:
        return rgb
    if not alpha.any():
        return np.full_like(rgb, GREY)
    finer: list[tuple[np.ndarray, np.ndarray]] = []
    colours, weights = rgb, WEIGHTS[alpha]
    covered = Image.fromarray((alpha > 0).astype(np.uint8) * 255)
    while not finer or (max(weights.shape) > 1 and finer[-1][1].min() < 1):
        colours, weights = _halved(colours, weights)
        covered = covered.reduce(2)
        known = weights.astype(np.float32) / KNOWN
        if len(finer) + 1 >= SHADOW:
            known[np.asarray(covered) >= 128] = 1
        finer.append((colours, known))
    filled = finer.pop()[0]
    for colours, known in reversed(finer):
        filled = mixed(_enlarged(filled, *known.shape), colours, known)
    return mixed(_enlarged(filled, *alpha.shape), rgb, OWN[alpha])


def mixed(around: np.ndarray, own: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mix `share` (H, W) of `own` into `around`, in place; in bands, because floats take four times the memory."""
    for top in range(0, len(own), 256):
        rows = slice(top, top + 256)
        for channel in range(3):
            part = around[rows, :, channel].astype(np.float32)
            part += (own[rows, :, channel] - part) * share[rows]
            around[rows, :, channel] = np.rint(part, out=part)
    return around


def _halved(colours: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over 2 x 2 squares, and their weights: fully known if they add up to one opaque pixel."""
    height, width = (-(-side // 2) for side in weights.shape)
    means, counts = np.empty((height, width, 3), np.uint8), np.zeros((height, width), np.uint32)
    quarters = [
        (np.s_[: -(-(weights.shape[0] - down) // 2), : -(-(weights.shape[1] - right) // 2)], np.s_[down::2, right::2])
        for down in (0, 1)
        for right in (0, 1)
    ]
    for place, quarter in quarters:
        counts[place] += weights[quarter]
    divisor = np.maximum(counts, 1)
    for channel in range(3):
        sums = divisor // 2
        for place, quarter in quarters:
            sums[place] += weights[quarter] * colours[*quarter, channel].astype(np.uint32)
        means[:, :, channel] = sums // divisor
    return means, np.minimum(counts, KNOWN).astype(np.uint16)


def _enlarged(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    box = 0, 0, width / 2, height / 2
    return np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR, box))
