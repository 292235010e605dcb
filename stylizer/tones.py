"""Converting more than 8 bits per channel to 8: which value is white, and which black."""

import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image

from stylizer import containers
from stylizer.containers import Outline
from stylizer.errors import BrokenPicture, UnsupportedPicture
from stylizer.memory import check_room

TOPS = 1, 255, 65535  # possible whites if a file does not say: floats and 32 bits have no standard one
STRAY = 0.01  # share of values above white, or below black, that count as outliers and are clipped
FLOAT = 3  # a TIFF's SampleFormat
BAND_PIXELS = 1 << 20


class Scale:
    """The values of black and white. `bands`: the arrays that make up a picture, read once."""

    def __init__(self, bands: Iterable[np.ndarray], inverted: bool = False):
        low, high, total, below, above = np.inf, -np.inf, 0, 0, dict.fromkeys(TOPS, 0)
        for values in bands:
            low, high = min(low, values.min()), max(high, values.max())
            if not np.isfinite(low + high):
                raise BrokenPicture("the picture contains NaN or infinity; save it with 8 or 16 bits per channel")
            total += values.size
            below += int((values < 0).sum())
            for top in TOPS:
                above[top] += int((values > top).sum())
        low, high = float(low), float(high)
        # The smallest usual white that covers nearly all values. Measurements, which no white covers or which use only
        # a small part of its range, are scaled from their minimum to their maximum.
        white = next((top for top in TOPS if above[top] <= STRAY * total), None)
        if white is None or below > STRAY * total or (high < white / 32 and white > 1):
            self.low, self.span = low, (high - low) or 1.0
        else:
            self.low, self.span = 0.0, float(white)
        self.inverted = inverted

    def __call__(self, values: np.ndarray) -> np.ndarray:
        tones = (values.astype(np.float32) - np.float32(self.low)) * np.float32(255 / self.span) + np.float32(0.5)
        tones = tones.clip(0, 255).astype(np.uint8)
        return 255 - tones if self.inverted else tones


class Known(Scale):
    """A scale for 16 bits: white is 65535, or the maximum of the bit depth that the file declares."""

    def __init__(self, white: int, inverted: bool):
        self.low, self.span, self.inverted = 0.0, float(white), inverted


def to_grey(image: Image.Image, outline: Outline) -> Callable | None:
    """Converts bands of a 16-bit, 32-bit or float PIL image -> (8-bit grey, alpha or None); None for other images.

    Pillow's own conversion would clip at 255.
    """
    if not image.mode.startswith(("I", "F")):
        return None
    inverted = outline.tags.get(containers.PHOTOMETRIC, (1,))[0] == 0  # 0 is white
    scale: Scale
    if image.mode.startswith("I;16"):
        bits = outline.tags.get(containers.BITS, (16,))[0]
        scale = Known(2 ** min(max(bits, 9), 16) - 1, inverted)
    else:
        rows = max(1, BAND_PIXELS // image.width)
        bands = (
            np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
            for top in range(0, image.height, rows)
        )
        scale = Scale(bands, inverted)
    clear = image.info.get("transparency")

    def band(part: Image.Image) -> tuple[Image.Image, Image.Image | None]:
        values = np.asarray(part)
        alpha = None if clear is None else Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
        return Image.fromarray(scale(values)), alpha

    return band


# Float colour, which Pillow does not support ------------------------------------------------------------------------


def is_float_colour(outline: Outline) -> bool:
    tags = outline.tags
    return set(tags.get(containers.SAMPLE_FORMAT, ())) == {FLOAT} and tags.get(containers.SAMPLES, (1,))[0] in (3, 4)


def float_colour(data: bytes, outline: Outline, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """(H, W, 3) uint8 and alpha (H, W) or None from a float TIFF in strips, uncompressed or deflated."""
    assert outline.size is not None  # a TIFF's is known
    tags, (width, height) = outline.tags, outline.size
    bits, samples = tags.get(containers.BITS, (0,))[0], tags[containers.SAMPLES][0]
    compression = tags.get(containers.COMPRESSION, (1,))[0]
    plain = tags.get(containers.PLANAR, (1,))[0] == tags.get(containers.PREDICTOR, (1,))[0] == 1
    if bits not in (16, 32, 64) or compression not in (1, 8, 32946) or not plain or containers.STRIPS not in tags:
        raise UnsupportedPicture(
            f"{name} is a float colour TIFF with tiles, planes or a compression that is not supported; save it with 8 "
            "or 16 bits per channel"
        )
    check_room(width * height * 8, f"decoding {name}")
    rows = min(tags.get(containers.ROWS, (height,))[0], height) or height
    kind = np.dtype(f"{outline.order}f{bits // 8}")

    def strips() -> Iterator[tuple[slice, np.ndarray]]:
        lengths = tags.get(containers.STRIP_BYTES, ())
        for index, top in enumerate(range(0, height, rows)):
            here = slice(top, min(top + rows, height))
            size = (here.stop - top) * width * samples * kind.itemsize
            try:
                part = data[tags[containers.STRIPS][index] :][: lengths[index] if compression != 1 else size]
                part = zlib.decompressobj().decompress(part, size) if compression != 1 else part
                yield here, np.frombuffer(part, kind).reshape(-1, width, samples)[: here.stop - top]
            except (IndexError, ValueError, zlib.error) as error:
                raise BrokenPicture(f"{name} is a damaged or truncated TIFF; save it again") from error

    scale = Scale(values[:, :, :3] for _, values in strips())
    rgb, alpha = np.empty((height, width, 3), np.uint8), None
    if samples == 4:
        alpha = np.empty((height, width), np.uint8)
    for here, values in strips():
        if len(values) != here.stop - here.start:
            raise BrokenPicture(f"{name} is a damaged or truncated TIFF; save it again")
        rgb[here] = scale(values[:, :, :3])
        if alpha is not None:
            alpha[here] = (values[:, :, 3].clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return rgb, alpha
