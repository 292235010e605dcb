"""Tiles and samples of large pictures, and where samples are worth taking; the same in the browser.

Up to WHOLE_PIXELS a picture is painted in one piece. Above that, its normalisation statistics are measured once, on
small full-resolution samples spread over it, and every tile is painted with them. With fixed statistics a pixel depends
on none further away than MARGIN, so tiles that overlap by two margins fit exactly, without blending.

Most photos are similar all over, and a grid of samples captures their statistics. A white page with a signature is not:
a grid may miss it, and even exact statistics, dominated by white, paint it as a black blot in a white halo. So a survey
of the whole finds where a calm picture differs from its mean. Samples are taken there first, and those places count
as much as all the rest.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

STRIDE = 4  # of the encoder
WHOLE_PIXELS = 2048 * 2048
TILE = 1024  # pixels of a tile's side, margins included
MARGIN = 72  # the transformer's reach, 69 pixels, rounded up to a multiple of the stride
SAMPLES, SAMPLE_SIDE = 128, 128  # many and small, because photos vary mostly between distant places
SMALLER = ((768, 49), (512, 25))  # (tile side, samples) if memory is short
CELL = 32  # side in pixels of the survey's cells
# Share of the picture that carries its variance: at least 0.12 in 104 photos and paintings, 0.6 in half of them; 0.01
# for two words on a page, 0.005 for a lamp at night.
SPARSE, SPARSEST = 0.1, 0.03
THINGS_SHARE = 0.5  # weight of things in the statistics of the sparsest pictures
FAINT, FAINTEST = 14.0, 6.0  # levels by which things differ from the mean; in photos it was at least 17


@dataclass(frozen=True)
class Tile:
    """(rows, columns): what is read from the photo, what of it is kept, and where that is inside the tile."""

    read: tuple[slice, slice]
    keep: tuple[slice, slice]
    inside: tuple[slice, slice]


def pieces() -> list[tuple[int, int]]:
    """(side of a tile, samples), the best first."""
    return [(TILE, SAMPLES), *((side, count) for side, count in SMALLER if side < TILE)]


def cover(height: int, width: int, tile: int | None = None) -> list[Tile]:
    """Tiles of one shape whose kept parts cover the picture, row by row.

    At the right and lower edge the part read may be up to three pixels short of a multiple of the stride: mirror them.
    """
    return [
        Tile((rows[0], columns[0]), (rows[1], columns[1]), (rows[2], columns[2]))
        for rows in _spans(height, tile or TILE)
        for columns in _spans(width, tile or TILE)
    ]


def _spans(length: int, tile: int) -> list[tuple[slice, slice, slice]]:
    """(read, keep, inside) along one axis."""
    padded = length + -length % STRIDE
    side = min(tile, padded)
    count = 1 if side == padded else -(-(padded - 2 * MARGIN) // (tile - 2 * MARGIN))
    starts = [(padded - side) * i // max(count - 1, 1) // STRIDE * STRIDE for i in range(count)]
    borders = [0, *((a + b + side) // 2 for a, b in pairwise(starts)), length]
    return [
        (slice(start, min(start + side, length)), slice(first, last), slice(first - start, last - start))
        for start, first, last in zip(starts, borders, borders[1:], strict=False)
    ]


@dataclass(frozen=True)
class Survey:
    """A coarse survey of a picture: which cells contain things, and their minimum weight in the statistics."""

    things: np.ndarray  # (rows, columns) of cells, bool
    share: float  # minimum weight of things; 0: by their area
    floor: float  # how much of the transformer's least variances to apply, 0 to 1: 1 if everything is one colour

    @property
    def calm(self) -> bool:
        """Sparse or nearly one colour: must not be painted with its own plain statistics."""
        return self.share > 0 or self.floor > 0


def survey(rgb: np.ndarray) -> Survey:
    """Survey a picture (H, W, 3) uint8."""
    height, width = rgb.shape[:2]
    tops, lefts = range(0, height, CELL), range(0, width, CELL)
    sums, squares = (np.empty((len(tops), len(lefts), 3)) for _ in "12")
    for row, top in enumerate(tops):
        band = rgb[top : top + CELL].astype(np.float32) - 128  # centred integers: a cell's sums are exact
        sums[row] = np.add.reduceat(band.sum(axis=0), lefts, axis=0)
        squares[row] = np.add.reduceat(np.einsum("yxc,yxc->xc", band, band), lefts, axis=0)
    pixels = np.outer(np.diff([*tops, height]), np.diff([*lefts, width]))  # of each cell
    mean = sums.sum(axis=(0, 1)) / (height * width)
    differs = (squares - 2 * mean * sums).sum(axis=2) / pixels + (mean**2).sum()  # from the mean, squared, per pixel
    overall = float((differs * pixels).sum() / (height * width))
    if overall < 1e-6:
        return Survey(np.zeros(differs.shape, bool), 0.0, 1.0)
    effective = overall**2 / float((differs**2 * pixels).sum() / (height * width))
    things = differs >= overall * (1 - 1e-9)  # if all cells differ equally, all of them
    deviation = (np.average(differs[things], weights=pixels[things]) / 3) ** 0.5
    share, floor = (
        min(max((most - value) / (most - least), 0.0), 1.0)
        for value, most, least in ((effective, SPARSE, SPARSEST), (deviation, FAINT, FAINTEST))
    )
    return Survey(things, THINGS_SHARE * share, floor)


def samples(height: int, width: int, look: Survey | None = None, most: int | None = None) -> list[tuple[slice, slice]]:
    """About SAMPLES squares, or `most`, of SAMPLE_SIDE; both sides must be at least SAMPLE_SIDE.

    At the centres of a grid's cells; in a sparse picture, mostly where its things are.
    """
    most = most or SAMPLES
    if look is None or not look.share:
        columns = max(1, round((most * width / height) ** 0.5))
        rows = max(1, round(most / columns))
        return [(top, left) for top in _middles(height, rows) for left in _middles(width, columns)]
    squares: dict[bool, list] = {True: [], False: []}
    for top in _side_by_side(height):
        for left in _side_by_side(width):
            squares[bool(look.things[_cells_of(top), _cells_of(left)].any())].append((top, left))
    rest = min(len(squares[False]), max(most // 4, most - len(squares[True])))
    return _spread(squares[True], most - rest) + _spread(squares[False], rest)


def weigh(places: list[tuple[slice, slice]], look: Survey) -> np.ndarray:
    """Weights of the encoder's features, float32 (N, 1, h, w), summing to 1, with things weighted by their share."""
    steps = [
        [range(side.start, side.start + -(-(side.stop - side.start) // STRIDE) * STRIDE, STRIDE) for side in place]
        for place in places
    ]
    things = np.stack(
        [
            look.things[
                np.ix_(
                    *(
                        np.clip(np.array(side) // CELL, 0, cells - 1)
                        for side, cells in zip(place, look.things.shape, strict=True)
                    )
                )
            ]
            for place in steps
        ]
    )[:, None]
    seen, there = things.mean(), look.things.mean()
    if not 0 < seen < 1 or not look.share:
        return np.full(things.shape, 1 / things.size, np.float32)
    share = max(look.share, there)
    return np.where(things, share / seen, (1 - share) / (1 - seen)).astype(np.float32) / things.size


def _cells_of(pixels: slice) -> slice:
    return slice(pixels.start // CELL, (pixels.stop - 1) // CELL + 1)


def _side_by_side(length: int) -> list[slice]:
    """Squares that cover a side, the last one moved inwards."""
    starts = [min(start, length - SAMPLE_SIDE) for start in range(0, length, SAMPLE_SIDE)]
    return [slice(start, start + SAMPLE_SIDE) for start in starts]


def _spread(places: list, count: int) -> list:
    """At most `count` places, evenly spread."""
    count = min(count, len(places))
    return [places[index * len(places) // count] for index in range(count)]


def _middles(length: int, count: int) -> list[slice]:
    starts = [int((i + 0.5) * length / count - SAMPLE_SIDE / 2) for i in range(count)]
    starts = [min(max(start, 0), length - SAMPLE_SIDE) for start in starts]
    return [slice(start, start + SAMPLE_SIDE) for start in starts]
