"""Brushwork: faint strokes laid over a photo's plain areas before it is painted.

In a sky, a wall or a blurred background every place looks the same to the transformer, so whatever it paints there
repeats: a flat tint, or hatching. A painter's brush leaves strokes that follow the forms. So we add some: noise smeared
along the photo's own contours (line integral convolution, Cabral and Leedom 1993, along the directions of a structure
tensor), where the photo has little detail of its own. Their height follows the painting's roughness where it is
calmest: a Vermeer's wall is smooth, a van Gogh's sky is not.

Strokes are made on a grid with cells of a few pixels. The noise is the same for every photo, so results are
reproducible. `assets/engines/worker/brushwork.js` does the same in the browser.
"""

import math
from functools import lru_cache

import numpy as np
from PIL import Image

from stylizer import images
from stylizer.images import LUMA, Picture

CELL = 2.0  # side in pixels of a grid cell, if strokes are as large as in the painting
HEIGHTS = 3.0, 10.0  # smallest and largest deviation of strokes in plain areas, in levels of 255,
BOLDNESS = 1.2  # and how much of it one level of a painting's roughness adds
CALMEST = 10  # percent of a painting that count as its calmest places,
DETAIL, PLACE = (3, 17), 33  # pixels: the band of detail measured there, and the squares over which it is averaged
PLAIN = 9.0  # local deviation of a photo at which strokes have half their height
AROUND = 7  # side in cells of the square over which that is measured
SIDES = ((5, 1.0), (17, 0.3), (65, 0.1))  # sides in cells, and weights, of the squares that contours are averaged over
DRIFT = 2.0  # levels per cell, squared: where contours are fainter, strokes follow a drift of their own
STEPS = (1, 3, 5)  # cells by which noise is smeared, in both directions
MOST_CELLS = 1_500_000  # largest grid, to limit memory; above 17 megapixels strokes get broader
LEAST_SIDE = 2  # cells; smaller grids get no strokes


def roughness(luminance: np.ndarray) -> float:
    """Deviation of a painting's detail where it is calmest, in levels; luminance (H, W) in levels, shorter side 384."""
    detail = blurred(luminance, DETAIL[0]) - blurred(luminance, DETAIL[1])
    return float(np.sqrt(np.percentile(blurred(detail**2, PLACE), CALMEST)))


def read_roughness(vector: np.ndarray, way: np.ndarray) -> float:
    """A painting's roughness, predicted from its style vector (100,) by a linear map (101,) fitted to many."""
    octaves = np.dot(vector.astype(np.float64), way[:-1]) + way[-1]  # unbounded: callers may pass any vector
    return 2.0 ** float(octaves.clip(0, 8)) - 1


def height_for(roughness: float) -> int:
    """Height of the strokes for this roughness, in whole levels, so that similar styles share a canvas."""
    return round(min(max(BOLDNESS * roughness, HEIGHTS[0]), HEIGHTS[1]))


def with_brushwork(picture: Picture, height: float, scale: float = 1.0) -> Picture:
    """The picture with strokes of deviation `height` (levels) in its plain areas, `scale` times the size CELL gives."""
    cell = max(CELL * scale, math.sqrt(math.prod(picture.size) / MOST_CELLS))
    grid = int(picture.size[0] / cell + 0.5), int(picture.size[1] / cell + 0.5)
    if min(grid) < LEAST_SIDE or not height:
        return picture
    small = images.resize_to(Picture(picture.rgb), grid).rgb
    levels = (128 + height * strokes(small.astype(np.float32) @ LUMA)).round().clip(0, 255).astype(np.uint8)
    levels = np.asarray(Image.fromarray(levels).resize(picture.size, Image.Resampling.LANCZOS))
    return Picture(images.brightened(picture.rgb, levels), picture.alpha)


def strokes(luminance: np.ndarray) -> np.ndarray:
    """The strokes to add to cells of luminance (H, W), 0 to 255; their deviation is 1 in plain areas."""
    down, across = directions(luminance)
    rows, columns = np.indices(luminance.shape, dtype=np.float32)
    smeared, *_ = _grain(luminance.shape)
    for step in STEPS:
        ahead = _sampled(smeared, rows + step * down, columns + step * across)
        behind = _sampled(smeared, rows - step * down, columns - step * across)
        smeared = smeared + ahead + behind
    variance = blurred(luminance**2, AROUND) - blurred(luminance, AROUND) ** 2
    plain = blurred(PLAIN**2 / (variance.clip(0) + PLAIN**2), 3)
    return plain * smeared / smeared.std()


def directions(luminance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (down, across) along the contours of a picture (H, W), or along a slow drift where it has none."""
    down, across = np.gradient(luminance)
    doubled = []  # twice the angle: a direction and its opposite are the same
    for part, drift in zip((across**2 - down**2, 2 * across * down), _grain(luminance.shape)[1:], strict=True):
        doubled.append(sum(weight * blurred(part, side) for side, weight in SIDES) + DRIFT * drift)
    angle = np.arctan2(doubled[1], doubled[0]) / 2  # of the gradient; contours are perpendicular to it
    return np.cos(angle), -np.sin(angle)


@lru_cache(4)
def _grain(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The noise to smear, and the two components of the drift: the same for all photos of a size."""
    down, across = (blurred(blurred(noise(shape, kind), 17), 17) for kind in (1, 2))
    return blurred(noise(shape, 0), 3), down, across


def noise(shape: tuple[int, int], kind: int) -> np.ndarray:
    """White noise, -1 to 1, hashed from a cell's position, so that browsers get the same."""
    rows, columns = (axis.astype(np.uint32) for axis in np.indices(shape))
    mixed = columns * np.uint32(374761393) + rows * np.uint32(668265263) + np.uint32(kind * 2246822519 % 2**32)
    for shift, factor in ((15, 739982445), (12, 695872825)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    return ((mixed ^ (mixed >> np.uint32(15))) / np.float32(2**31) - 1).astype(np.float32)


def blurred(values: np.ndarray, side: int) -> np.ndarray:
    """Box blur of (H, W) over squares of `side` cells, cropped at the border."""
    for axis in (0, 1):
        values = _running_mean(values, side // 2, axis)
    return values


def _running_mean(values: np.ndarray, reach: int, axis: int) -> np.ndarray:
    length = values.shape[axis]
    before = np.zeros_like(values.take([0], axis), np.float64)
    sums = np.concatenate((before, np.cumsum(values, axis, np.float64)), axis)
    first, last = np.maximum(np.arange(length) - reach, 0), np.minimum(np.arange(length) + reach + 1, length)
    counts = (last - first).reshape((-1, 1) if axis == 0 else (1, -1))
    return ((sums.take(last, axis) - sums.take(first, axis)) / counts).astype(np.float32)


def _sampled(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear samples between cells; beyond the border, the border's values."""
    height, width = values.shape
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    top, left = np.minimum(rows.astype(int), height - 2), np.minimum(columns.astype(int), width - 2)
    lower, right = rows - top, columns - left
    above = values[top, left] * (1 - right) + values[top, left + 1] * right
    below = values[top + 1, left] * (1 - right) + values[top + 1, left + 1] * right
    return above * (1 - lower) + below * lower
