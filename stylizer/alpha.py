"""Pixels that nobody sees must not be seen by the network either: what lies under alpha 0 is filled from around it."""

import numpy as np
from PIL import Image

GREY = 128  # a picture that is transparent all over


def fill_hidden(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 3) with the pixels of alpha 0 coloured by the nearest visible ones; the same array where none is hidden.

    Push and pull (Gortler et al. 1996): visible pixels are averaged into ever coarser pictures until nothing is hidden,
    and each finer one takes from the coarser what it lacks. Colours of visible pixels stay to the bit.
    """
    seen = alpha > 0
    if seen.all():
        return rgb
    if not seen.any():
        return np.full_like(rgb, GREY)
    finer = []
    while not seen.all():
        finer.append((rgb, seen))
        rgb, seen = _halved(rgb, seen)
    for colours, seen in reversed(finer):
        height, width = seen.shape
        around = Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR, (0, 0, width / 2, height / 2))
        rgb = np.array(around)
        np.copyto(rgb, colours, where=seen[:, :, None])
    return rgb


def _halved(rgb: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of what is seen in squares of 2 x 2, and where anything is."""
    height, width = (-(-side // 2) for side in seen.shape)
    sums, counts = np.zeros((height, width, 3), np.uint16), np.zeros((height, width), np.uint16)
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        for columns in (slice(0, None, 2), slice(1, None, 2)):
            part = seen[rows, columns]
            place = np.s_[: part.shape[0], : part.shape[1]]
            counts[place] += part
            sums[place] += rgb[rows, columns] * part[:, :, None]
    divisor = np.maximum(counts, 1)[:, :, None]
    return ((sums + divisor // 2) // divisor).astype(np.uint8), counts > 0
