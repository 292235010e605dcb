"""Where the tiles and samples of a large picture lie, and what of it is worth a sample; the same in the browser.

Up to WHOLE_PIXELS a picture is painted in one piece. Beyond, its normalisation statistics are measured once, on small
samples at full resolution spread over it, and every tile is painted by them. With the statistics given, a pixel depends
on none further away than MARGIN, so tiles that overlap by two margins fit exactly and nothing needs to be blended.

A photo is much alike all over, and a grid of samples tells its statistics. A white page with a signature is not: a grid
may miss it, and even true statistics, nearly all of them the white's, paint it as a black blot in a white halo. So a
look at the whole says where a calm picture differs from its own mean. Samples are taken there first, and what lies
there counts for as much as all the rest.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

STRIDE = 4  # of the encoder
WHOLE_PIXELS = 2048 * 2048
TILE = 1024  # pixels of a tile's side, margins included
MARGIN = 72  # the transformer's reach, 69 pixels, as a multiple of the stride
SAMPLES, SAMPLE_SIDE = 128, 128  # many and small: what differs over a photo differs between distant places
SMALLER = ((768, 49), (512, 25))  # tiles, and how many samples, where memory holds no more
CELL = 32  # pixels of a side of what the survey tells apart
# How large a share of a picture its variance lies in: at least 0.12 of 104 photos and paintings, 0.6 of half of them;
# 0.01 of two words on a page, 0.005 of a lamp in the night.
SPARSE, SPARSEST = 0.1, 0.03
THINGS_SHARE = 0.5  # how much of the statistics things have in the sparsest pictures
FAINT, FAINTEST = 14.0, 6.0  # levels by which things differ from the mean; those of photos did by 17 at least


@dataclass(frozen=True)
class Tile:
    """Slices of rows and columns: what is read of the photo, what is painted by it, and where in the tile that lies."""

    read: tuple[slice, slice]
    keep: tuple[slice, slice]
    inside: tuple[slice, slice]


def pieces() -> list[tuple[int, int]]:
    """(side of a tile, samples), what is best first."""
    return [(TILE, SAMPLES), *((side, count) for side, count in SMALLER if side < TILE)]


def cover(height: int, width: int, tile: int | None = None) -> list[Tile]:
    """Tiles of one shape whose kept parts cover the picture, row by row.

    At the right and lower edge what is read may lack up to three pixels of a multiple of the stride: mirror them there.
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
    """A coarse look at a whole picture: which cells hold things, and the least share that these have in statistics."""

    things: np.ndarray  # (rows, columns) of cells, bool
    share: float  # 0: as large as they are
    floor: float  # how much of a transformer's least variances holds, 0 to 1: all of it where all is of one colour

    @property
    def calm(self) -> bool:
        """Sparse or nearly of one colour: not to be painted by plain statistics of its own."""
        return self.share > 0 or self.floor > 0


def survey(rgb: np.ndarray) -> Survey:
    """Of a picture (H, W, 3) uint8."""
    height, width = rgb.shape[:2]
    tops, lefts = range(0, height, CELL), range(0, width, CELL)
    sums, squares = (np.empty((len(tops), len(lefts), 3)) for _ in "12")
    for row, top in enumerate(tops):
        band = rgb[top : top + CELL].astype(np.float32) - 128  # centred, whole numbers: a cell's sums are exact
        sums[row] = np.add.reduceat(band.sum(axis=0), lefts, axis=0)
        squares[row] = np.add.reduceat(np.einsum("yxc,yxc->xc", band, band), lefts, axis=0)
    pixels = np.outer(np.diff([*tops, height]), np.diff([*lefts, width]))  # of each cell
    mean = sums.sum(axis=(0, 1)) / (height * width)
    differs = (squares - 2 * mean * sums).sum(axis=2) / pixels + (mean**2).sum()  # from the mean, squared, per pixel
    overall = float((differs * pixels).sum() / (height * width))
    if overall < 1e-6:
        return Survey(np.zeros(differs.shape, bool), 0.0, 1.0)
    effective = overall**2 / float((differs**2 * pixels).sum() / (height * width))
    things = differs >= overall * (1 - 1e-9)  # where all differ alike, all are
    deviation = (np.average(differs[things], weights=pixels[things]) / 3) ** 0.5
    share, floor = (
        min(max((most - value) / (most - least), 0.0), 1.0)
        for value, most, least in ((effective, SPARSE, SPARSEST), (deviation, FAINT, FAINTEST))
    )
    return Survey(things, THINGS_SHARE * share, floor)


def samples(
    height: int, width: int, look: Survey | None = None, most: int | None = None
) -> list[tuple[slice, slice]]:
    """About SAMPLES squares, or `most`, of SAMPLE_SIDE; sides must be SAMPLE_SIDE at least.

    In the middles of a grid's cells; of a sparse picture most of them where its things are.
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
    """How much each of the encoder's features counts, float32 (N, 1, h, w): together 1, things by their share."""
    steps = [[range(side.start, side.start + -(-(side.stop - side.start) // STRIDE) * STRIDE, STRIDE) for side in place]
             for place in places]  # fmt: skip
    things = np.stack([
        look.things[np.ix_(*(
            np.clip(np.array(side) // CELL, 0, cells - 1)
            for side, cells in zip(place, look.things.shape, strict=True)
        ))]
        for place in steps
    ])[:, None]  # fmt: skip
    seen, there = things.mean(), look.things.mean()
    if not 0 < seen < 1 or not look.share:
        return np.full(things.shape, 1 / things.size, np.float32)
    share = max(look.share, there)
    return np.where(things, share / seen, (1 - share) / (1 - seen)).astype(np.float32) / things.size


def _cells_of(pixels: slice) -> slice:
    return slice(pixels.start // CELL, (pixels.stop - 1) // CELL + 1)


def _side_by_side(length: int) -> list[slice]:
    """Squares that cover a side, the last moved in."""
    starts = [min(start, length - SAMPLE_SIDE) for start in range(0, length, SAMPLE_SIDE)]
    return [slice(start, start + SAMPLE_SIDE) for start in starts]


def _spread(places: list, count: int) -> list:
    """So many of them at most, evenly spread."""
    count = min(count, len(places))
    return [places[index * len(places) // count] for index in range(count)]


def _middles(length: int, count: int) -> list[slice]:
    starts = [int((i + 0.5) * length / count - SAMPLE_SIDE / 2) for i in range(count)]
    starts = [min(max(start, 0), length - SAMPLE_SIDE) for start in starts]
    return [slice(start, start + SAMPLE_SIDE) for start in starts]
