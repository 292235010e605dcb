"""Where the tiles and samples of a large picture lie: arithmetic on sides alone, the same in the browser.

Up to WHOLE_PIXELS a picture is painted in one piece. Beyond, its normalisation statistics are measured once, on small
samples at full resolution spread over it, and every tile is painted by them. With the statistics given, a pixel depends
on none further away than MARGIN, so tiles that overlap by two margins fit exactly and nothing needs to be blended.
"""

from dataclasses import dataclass
from itertools import pairwise

STRIDE = 4  # of the encoder
WHOLE_PIXELS = 2048 * 2048
TILE = 1024  # pixels of a tile's side, margins included
MARGIN = 60  # the transformer's reach, 57 pixels, as a multiple of the stride
SAMPLES, SAMPLE_SIDE = 128, 128  # many and small: what differs over a photo differs between distant places


@dataclass(frozen=True)
class Tile:
    """Slices of rows and columns: what is read of the photo, what is painted by it, and where in the tile that lies."""

    read: tuple[slice, slice]
    keep: tuple[slice, slice]
    inside: tuple[slice, slice]


def cover(height: int, width: int) -> list[Tile]:
    """Tiles of one shape whose kept parts cover the picture, row by row.

    At the right and lower edge what is read may lack up to three pixels of a multiple of the stride: mirror them there.
    """
    return [
        Tile((rows[0], columns[0]), (rows[1], columns[1]), (rows[2], columns[2]))
        for rows in _spans(height)
        for columns in _spans(width)
    ]


def _spans(length: int) -> list[tuple[slice, slice, slice]]:
    """(read, keep, inside) along one axis."""
    padded = length + -length % STRIDE
    side = min(TILE, padded)
    count = 1 if side == padded else -(-(padded - 2 * MARGIN) // (TILE - 2 * MARGIN))
    starts = [(padded - side) * i // max(count - 1, 1) // STRIDE * STRIDE for i in range(count)]
    borders = [0, *((a + b + side) // 2 for a, b in pairwise(starts)), length]
    return [
        (slice(start, min(start + side, length)), slice(first, last), slice(first - start, last - start))
        for start, first, last in zip(starts, borders, borders[1:], strict=False)
    ]


def samples(height: int, width: int) -> list[tuple[slice, slice]]:
    """About SAMPLES squares of SAMPLE_SIDE, in the middles of a grid's cells; sides must be SAMPLE_SIDE at least."""
    columns = max(1, round((SAMPLES * width / height) ** 0.5))
    rows = max(1, round(SAMPLES / columns))
    return [(top, left) for top in _middles(height, rows) for left in _middles(width, columns)]


def _middles(length: int, count: int) -> list[slice]:
    starts = [int((i + 0.5) * length / count - SAMPLE_SIDE / 2) for i in range(count)]
    starts = [min(max(start, 0), length - SAMPLE_SIDE) for start in starts]
    return [slice(start, start + SAMPLE_SIDE) for start in starts]
