"""Pixels that nobody sees must not be seen by the network either: what lies under alpha 0 is filled from around it.

Nor those that can hardly be seen: the rim of a cut-out holds rests of the ground it was cut from, and a ring of them a
pixel wide at a tenth of opacity would change a painting's middle by 60 of 255 levels.
"""

import numpy as np
from PIL import Image

GREY = 128  # a picture that is transparent all over
FAINT, CLEAR = 64, 128  # alpha: below the one a pixel's colour is its surroundings', from the other on its own

_alphas = np.arange(256)
# How much a pixel counts among others: by the fourth power, so that what is faint says nothing beside what is opaque.
KNOWN = 65535
WEIGHTS = np.where(_alphas > 0, np.maximum((_alphas / 255) ** 4 * KNOWN, 1), 0).astype(np.uint16)
SHADOW = 2  # squares of 2^2 pixels that are faint for the most part are no rim but a soft shadow, with a colour to keep
OWN = (((_alphas - FAINT) / (CLEAR - FAINT)).clip(0, 1)).astype(np.float32)  # the share of its own colour that stays


def fill_hidden(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 3) with faint pixels coloured by the nearest visible ones; the same array where none is faint.

    Push and pull (Gortler et al. 1996): colours are averaged into ever coarser pictures, each counting as much as it is
    seen, and each finer one takes from the coarser what it lacks. Colours of alpha 128 and more stay to the bit.
    """
    if alpha.min() >= CLEAR:
        return rgb
    if not alpha.any():
        return np.full_like(rgb, GREY)
    finer, colours, weights = [], rgb, WEIGHTS[alpha]
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
    """`around` with `share` (H, W) of `own`, in `around`; in bands, because floats take four times a picture."""
    for top in range(0, len(own), 256):
        rows = slice(top, top + 256)
        for channel in range(3):
            part = around[rows, :, channel].astype(np.float32)
            part += (own[rows, :, channel] - part) * share[rows]
            around[rows, :, channel] = np.rint(part, out=part)
    return around


def _halved(colours: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over squares of 2 x 2, and their weights: fully known where they add up to one opaque pixel."""
    height, width = (-(-side // 2) for side in weights.shape)
    means, counts = np.empty((height, width, 3), np.uint8), np.zeros((height, width), np.uint32)
    quarters = [
        (np.s_[: -(-(weights.shape[0] - down) // 2), : -(-(weights.shape[1] - right) // 2)],
         np.s_[down::2, right::2])
        for down in (0, 1) for right in (0, 1)
    ]  # fmt: skip
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
