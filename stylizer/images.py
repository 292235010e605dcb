"""Bytes <-> picture <-> tensor: the one gate through which pictures come in, and the way they go out.

Everything from outside is judged here: the format by its first bytes (never by a name or a claimed content type), the
size and the cost from the file's own structure (containers.py), memory before it is taken, and then the pixels, by a
decoder that is stopped when it takes too long. What comes out is upright sRGB, whatever came in.
"""

import io
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from stylizer import colours, containers, tones
from stylizer.alpha import OWN, fill_hidden, mixed
from stylizer.errors import (
    BrokenPicture,
    EmptyInput,
    ParameterError,
    PictureOutOfBounds,
    StylizerError,
    UnsupportedPicture,
)
from stylizer.memory import check_room
from stylizer.settings import Settings

# Pillow would warn at 89 megapixels and refuse at 179, in its own words. Our gate is stricter, sees each header before
# a pixel is decoded and names the bound. Set once, because changing it around every call would race between threads.
Image.MAX_IMAGE_PIXELS = None
ImageFile.LOAD_TRUNCATED_IMAGES = False  # half a JPEG is a broken JPEG
# Damaged metadata that does not matter makes Pillow warn on stderr, where the command line promises one clear line.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# How the formats that we take begin (Pillow's names; MPO, a JPEG with more pictures behind it, is read as JPEG).
# BMP's two letters alone would take any text that begins with BM, so the size of its header is asked for as well.
SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF.{4}WEBP",
    "GIF": rb"GIF8[79]a",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
}
if features.check("avif"):
    SIGNATURES["AVIF"] = rb".{4}ftyp(avif|avis|mif1|msf1)"

FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}  # what we write: name -> media type

ORIENTATION = 0x0112  # EXIF tag; value -> what makes the picture upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNS = {  # the same for arrays, of which only the last step is a copy
    Image.Transpose.FLIP_LEFT_RIGHT: lambda array: array[:, ::-1],
    Image.Transpose.ROTATE_180: lambda array: array[::-1, ::-1],
    Image.Transpose.FLIP_TOP_BOTTOM: lambda array: array[::-1],
    Image.Transpose.TRANSPOSE: lambda array: array.swapaxes(0, 1),
    Image.Transpose.ROTATE_270: lambda array: array.swapaxes(0, 1)[:, ::-1],
    Image.Transpose.TRANSVERSE: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    Image.Transpose.ROTATE_90: lambda array: array.swapaxes(0, 1)[::-1],
}
# Seconds of this thread's CPU for one file: an honest one of 50 megapixels takes two, and slower machines exist.
PATIENCE = 10.0
JPEG_BLOCK = 4096  # bytes a JPEG is fed by: the clock is looked at between two blocks
# What decoding takes at its peak, in bytes a pixel. Pillow keeps 4 of RGB and RGBA; libwebp fills two canvases and
# Pillow copies one; libavif has its planes, RGB made of them, and Pillow a copy.
DECODE_BYTES = {"JPEG": 4, "PNG": 4, "GIF": 1, "TIFF": 4, "BMP": 4, "WEBP": 12, "AVIF": 14}
BAND_PIXELS = 1 << 20  # what is converted at a time
REDUCING_GAP = 3  # a cheap box filter does most of a large reduction, and the difference cannot be seen
BAND = 256  # rows
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG

Size = tuple[int, int]  # width, height
Fit = Callable[[Size], Size]  # a picture's own size -> the size that is wanted


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright and in sRGB. Its arrays may be read-only."""

    rgb: np.ndarray  # (H, W, 3) uint8, C-contiguous
    alpha: np.ndarray | None = None  # (H, W) uint8, None where every pixel is opaque

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


# In ----------------------------------------------------------------------------------------------------------------


def decode(data: bytes, settings: Settings, name: str = "picture", fit: Fit | None = None) -> Picture:
    """The picture in `data`; `name` is what error messages call it.

    `fit` maps the upright picture's own (width, height) to the size that is wanted. Where that is smaller, the picture
    comes back at exactly that size, and what lies between never stands in memory; larger is left to the caller.
    EmptyInput, UnsupportedPicture (no format we take), PictureOutOfBounds (by the header alone), BrokenPicture (cut
    short, damaged, or made to cost much), OutOfMemory. Of an animation the first frame is taken.
    """
    if not data:
        raise EmptyInput(f"{name} is empty; send a picture ({_taken()})")
    kind = _kind(data, name)
    outline = containers.walk(data, kind, name)
    if outline.size:
        check_size(outline.size, settings, name)
    containers.check_scans(outline, name)
    data = outline.still or data
    if kind == "TIFF" and tones.is_float_colour(outline):
        picture = _filled(_picture(*tones.float_colour(data, outline, name)))
        return resize_to(picture, _wanted(picture.size, None, fit))
    image = _open(data, kind, name)
    with image:
        check_size(image.size, settings, name)
        turn = UPRIGHT.get(_orientation(image) if kind == "AVIF" else outline.orientation)
        reduced = _reduce(image, outline, turn, fit, name)
    return _finish(reduced, turn)


def measure(data: bytes, settings: Settings, name: str = "picture") -> Size:
    """(width, height) as the file has them, no pixel decoded; the errors of `decode` that the header alone shows."""
    if not data:
        raise EmptyInput(f"{name} is empty; send a picture ({_taken()})")
    kind = _kind(data, name)
    outline = containers.walk(data, kind, name)
    size = outline.size
    if size is None:
        with _open(outline.still or data, kind, name) as image:
            size = image.size
    check_size(size, settings, name)
    return size


def as_picture(
    source: "Picture | str | os.PathLike | bytes | Image.Image | np.ndarray",
    settings: Settings,
    fit: Fit | None = None,
    name: str = "picture",
) -> Picture:
    """A path, bytes, PIL image or uint8 array ((H, W) grey, (H, W, 3) RGB, (H, W, 4) RGBA), in the same bounds.

    Arrays are RGB. OpenCV's are BGR, and nothing in them says so: give `array[:, :, ::-1]`, of four channels
    `array[:, :, [2, 1, 0, 3]]`. What lies under alpha 0 is replaced by the colours around it. `fit`: see decode.
    """
    if isinstance(source, Picture):
        check_size(source.size, settings)
        picture = _filled(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        return decode(bytes(source), settings, name, fit)
    elif isinstance(source, (str, os.PathLike)):
        return decode(read(source), settings, os.fspath(source), fit)
    elif isinstance(source, Image.Image):
        check_size(source.size, settings)
        turn = UPRIGHT.get(_orientation(source))
        return _finish(_reduce(source, containers.Outline(), turn, fit, name), turn)
    elif isinstance(source, np.ndarray):
        picture = _filled(_from_array(source, settings))
    else:
        kind = type(source).__name__
        raise ParameterError("picture", f"a picture is a path, bytes, a PIL image or an array; got {kind}")
    return resize_to(picture, _wanted(picture.size, None, fit))


def check_size(size: Size, settings: Settings, name: str = "picture") -> None:
    """PictureOutOfBounds for a (width, height) that we do not take."""
    width, height = size
    shorter, longer = sorted(size)
    megapixels = width * height / 1e6
    if shorter < settings.min_side:
        bound = f"each side needs at least {settings.min_side} pixels"
    elif longer > settings.max_side:
        bound = f"each side may have at most {settings.max_side} pixels"
    elif longer > settings.max_ratio * shorter:
        bound = f"the longer side may be at most {settings.max_ratio:g} times the shorter"
    elif megapixels > settings.max_megapixels:
        bound = f"that is {megapixels:.1f} megapixels, and at most {settings.max_megapixels:g} are taken"
    else:
        return
    raise PictureOutOfBounds(f"{name} is {width}x{height} pixels; {bound}")


def longest_side(pixels: int) -> Fit:
    """A `fit`: the longer side so many pixels."""
    return lambda size: scaled(size, pixels / max(size))


def shortest_side(pixels: int) -> Fit:
    """A `fit`: the shorter side so many pixels."""
    return lambda size: scaled(size, pixels / min(size))


class _Clock:
    """Stops a decoder that takes longer than any honest file, by CPU of this thread, so that load costs nobody."""

    def __init__(self, name: str):
        self.name, self.until = name, time.thread_time() + PATIENCE

    def check(self) -> None:
        if time.thread_time() > self.until:
            raise BrokenPicture(f"{self.name} takes over {PATIENCE:g} seconds to decode; save it again, or smaller")


class _TimedFile(io.BytesIO):
    """A file whose reader is stopped. Pillow feeds the decoders of JPEG, PNG, GIF, BMP and raw TIFF by blocks from it.

    WebP, AVIF and compressed TIFF go to their libraries in one call, which nothing ends: what these cost is bounded by
    the pixels and tiles that containers.py has judged.
    """

    def __init__(self, data: bytes, name: str):
        super().__init__(data)
        self.clock = _Clock(name)

    def read(self, size: int | None = -1) -> bytes:
        self.clock.check()
        return super().read(size)


class _StillGif(GifImagePlugin.GifImageFile):
    """A GIF's first frame alone.

    Opening a GIF, Pillow readies what the second frame will find where the first one was: a few bytes can make that
    4 GB, filled before the size can be judged. Without a way to dispose of the first frame nothing is readied.
    """

    disposal_method = property(lambda self: 0, lambda self, method: None)


class _Webp(WebPImagePlugin.WebPImageFile):
    def load_prepare(self) -> None:
        self._decoder = None  # two canvases of 4 bytes a pixel, before Pillow takes its own
        super().load_prepare()


class _Avif(AvifImagePlugin.AvifImageFile):
    def load_prepare(self) -> None:
        self._decoder = None  # the planes, as above
        super().load_prepare()


# The plugins themselves: Image.open would also look for more pictures behind a JPEG's first, as its own tags say.
READERS = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": _Webp,
    "GIF": _StillGif,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "AVIF": _Avif,
}


def _taken() -> str:
    return ", ".join(SIGNATURES)


def _kind(data: bytes, name: str) -> str:
    """The format, by the first bytes."""
    brands = containers.brands(data)
    if brands & containers.HEIF_BRANDS and not brands & containers.AVIF_BRANDS:
        raise UnsupportedPicture(f"{name} is a HEIC, which is not taken; export it as JPEG or PNG ({_taken()} are)")
    begins = data[:64]
    kind = next((kind for kind, begin in SIGNATURES.items() if re.match(begin, begins, re.DOTALL)), None)
    if kind is None:
        raise UnsupportedPicture(f"{name} is not a picture of a format we take: {_taken()}")
    return kind


def _open(data: bytes, kind: str, name: str) -> Image.Image:
    """The header read, no pixel yet."""
    try:
        return READERS[kind](_TimedFile(data, name))
    except StylizerError:
        raise
    except Exception as error:  # whatever Pillow's parsers raise on bad bytes, and they raise nearly everything
        raise BrokenPicture(f"{name} is a damaged {kind}: its header cannot be read; save it again") from error


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # broken EXIF does not make a broken picture
        return None


def _wanted(size: Size, turn: Image.Transpose | None, fit: Fit | None) -> Size:
    """(width, height) that the stored picture of `size` shall have: its own, where `fit` wants it no smaller."""
    if fit is None:
        return size
    sideways = turn is not None and TURNS[turn](np.empty((1, 2))).shape == (2, 1)
    wanted = fit(size[::-1] if sideways else size)
    wanted = tuple(wanted[::-1] if sideways else wanted)
    return wanted if wanted[0] <= size[0] and wanted[1] <= size[1] else size


@dataclass
class _Reduced:
    """A picture as stored, reduced as far as a box filter should. `extent`: its size before, in boxes."""

    rgb: np.ndarray
    alpha: np.ndarray | None
    extent: tuple[float, float]
    wanted: Size


def _reduce(
    image: Image.Image, outline: containers.Outline, turn: Image.Transpose | None, fit: Fit | None, name: str
) -> _Reduced:
    """The pixels decoded, in sRGB, and made smaller band by band towards what `fit` wants."""
    kind = image.format or "picture"
    try:
        profile = image.info.get("icc_profile")
        wanted = _wanted(image.size, turn, fit)
        if kind == "JPEG":
            image.decodermaxblock = JPEG_BLOCK
            if wanted != image.size:
                image.draft(None, (2 * wanted[0], 2 * wanted[1]))  # a half, quarter or eighth, twice the size at least
        size = image.size
        # what is transparent takes more memory to finish, so boxes do more of it
        gap = 2 if kind != "JPEG" and image.has_transparency_data else REDUCING_GAP
        factors = tuple(max(1, int(own / side / gap)) for own, side in zip(size, wanted, strict=True))
        pixels = size[0] * size[1]
        check_room(
            pixels * DECODE_BYTES.get(kind, 4) + outline.extra_bytes + 6 * pixels // (factors[0] * factors[1]),
            f"decoding {name}",
        )
        image.load()
        bands = _bands(image, factors[1], tones.to_grey(image, outline), _Clock(name))
        rgb, alpha = _gather(bands, size, factors, _colour(image, outline, profile))
        extent = tuple(side / factor for side, factor in zip(size, factors, strict=True))
        return _Reduced(rgb, alpha, extent, wanted)
    except StylizerError:
        raise
    except Exception as error:  # as above: OSError, SyntaxError, struct.error, zlib.error, MemoryError, IndexError, ...
        raise BrokenPicture(f"{name} is a damaged {kind}, or it is cut short; save it again") from error


def _finish(reduced: _Reduced, turn: Image.Transpose | None) -> Picture:
    picture = _filled(_picture(reduced.rgb, reduced.alpha))
    picture = resize_to(picture, reduced.wanted, reduced.extent)
    if turn is None:
        return picture
    return Picture(*(
        None if plane is None else np.ascontiguousarray(TURNS[turn](plane)) for plane in (picture.rgb, picture.alpha)
    ))  # fmt: skip


def _picture(rgb: np.ndarray, alpha: np.ndarray | None) -> Picture:
    return Picture(rgb, None if alpha is None or alpha.min() == 255 else alpha)


Band = tuple[Image.Image, Image.Image | None]  # colour of any mode but those with alpha; alpha where any pixel has it


def _bands(image: Image.Image, rows: int, tone: Callable | None, clock: _Clock) -> Iterator[Band]:
    """From top to bottom, a multiple of `rows` at a time."""
    step = rows * max(1, BAND_PIXELS // (image.width * rows))
    for top in range(0, image.height, step):
        clock.check()
        band = image.crop((0, top, image.width, min(top + step, image.height)))
        yield tone(band) if tone else _split_alpha(band)


def _split_alpha(image: Image.Image) -> Band:
    """Colour of mode L, RGB, CMYK or the like, and alpha, whatever mode the picture has."""
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:  # a channel, a palette entry or a colour that stands for transparent
        both = image.convert("LA" if grey else "RGBA")
        alpha = both.getchannel("A")
        return both.convert("L" if grey else "RGB"), None if alpha.getextrema()[0] == 255 else alpha
    if image.mode in ("P", "PA", "HSV", "YCbCr"):
        return image.convert("RGB"), None
    return image.convert("L") if grey else image, None


def _colour(image: Image.Image, outline: containers.Outline, profile: bytes | None) -> Callable:
    mode = "L" if image.mode.startswith(("1", "L", "I", "F")) and image.mode != "LAB" else image.mode
    mode = mode if mode in ("L", "CMYK", "LAB") else "RGB"
    return colours.to_srgb(outline, profile, mode, image.format == "PNG")


def _gather(
    bands: Iterator[Band], size: Size, factors: tuple[int, int], convert: Callable
) -> tuple[np.ndarray, np.ndarray | None]:
    """Bands of a picture of `size` -> (H', W', 3) and (H', W') or None: means over boxes, colours weighted by alpha."""
    width, height = (-(-side // factor) for side, factor in zip(size, factors, strict=True))
    rgb, alpha, top = np.empty((height, width, 3), np.uint8), None, 0
    for colour, clear in bands:
        if factors != (1, 1):
            if colour.mode not in ("L", "RGB", "CMYK"):  # whose means are no mixtures
                colour = convert(colour)
            colour, clear = _boxes(colour, clear, factors)
        rows = slice(top, top + colour.height)
        rgb[rows] = np.asarray(colour if colour.mode == "RGB" and convert is colours.as_it_is else convert(colour))
        if clear is not None:
            alpha = np.full((height, width), 255, np.uint8) if alpha is None else alpha
            alpha[rows] = np.asarray(clear)
        top = rows.stop
    return rgb, alpha


def _boxes(colour: Image.Image, alpha: Image.Image | None, factors: tuple[int, int]) -> Band:
    if alpha is None:
        return colour.reduce(factors), None
    both = colour.copy()
    both.putalpha(alpha)
    both = both.reduce(factors)  # Pillow multiplies by alpha before, and divides after
    return both.convert(colour.mode), both.getchannel("A")


def _filled(picture: Picture) -> Picture:
    """Without the colours that nobody sees; the same object where there are none."""
    if picture.alpha is None:
        return picture
    rgb = fill_hidden(picture.rgb, picture.alpha)
    return picture if rgb is picture.rgb else Picture(rgb, picture.alpha)


def read(path: "str | os.PathLike") -> bytes:
    """A picture's file; ParameterError where it cannot be read."""
    shown = os.fspath(path)
    if os.path.isdir(path):
        raise ParameterError("picture", f"{shown} is a folder; name a picture in it")
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise ParameterError("picture", f"no such file: {shown}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ParameterError("picture", f"{shown} cannot be read: {reason}") from None


def _from_array(array: np.ndarray, settings: Settings) -> Picture:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        shape = "x".join(map(str, array.shape))
        raise ParameterError("picture", f"an array must be HxW, HxWx3 or HxWx4 of uint8; got {shape} of {array.dtype}")
    check_size((array.shape[1], array.shape[0]), settings)
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    alpha = array[:, :, 3] if array.shape[2] == 4 and array[:, :, 3].min() < 255 else None
    # A copy: a picture must not change when the caller goes on drawing in the array.
    return Picture(array[:, :, :3].copy(), None if alpha is None else alpha.copy())


# Sizes -------------------------------------------------------------------------------------------------------------


def resize(picture: Picture, longest: int) -> Picture:
    """Smaller or larger, so that the longer side has `longest` pixels; the same object where it has them already."""
    return resize_to(picture, scaled(picture.size, longest / max(picture.size)))


def resize_shorter(picture: Picture, shortest: int) -> Picture:
    """The shorter side `shortest` pixels, for the style predictor; first cut at the centre to 2:1 at most.

    Without the cut a 20:1 frieze would be 20 times the work of a square.
    """
    width, height = picture.size
    shorter = min(width, height)
    left, top = max(width - 2 * shorter, 0) // 2, max(height - 2 * shorter, 0) // 2
    window = np.s_[top : top + 2 * shorter, left : left + 2 * shorter]
    if left or top:
        picture = Picture(*(None if each is None else each[window].copy() for each in (picture.rgb, picture.alpha)))
    return resize_to(picture, scaled(picture.size, shortest / shorter))


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Both sides times `scale`, rounded, at least a pixel."""
    return tuple(max(1, round(side * scale)) for side in size)


def resize_to(picture: Picture, size: Size, extent: tuple[float, float] | None = None) -> Picture:
    """(width, height) exactly; the same object where it has them already.

    Colours are weighted by alpha, so that what cannot be seen is not mixed into what can. `extent`: the part of the
    picture, from its upper left, that is taken, in pixels and parts of them.
    """
    extent = extent or picture.size
    if size == picture.size == tuple(extent):
        return picture
    rgb, box = picture.rgb, (0, 0, *extent)

    def lanczos(plane: np.ndarray) -> np.ndarray:
        image = Image.fromarray(plane)
        return np.asarray(image.resize(size, Image.Resampling.LANCZOS, box, reducing_gap=float(REDUCING_GAP)))

    if picture.alpha is None:
        return Picture(lanczos(rgb))
    weights = lanczos(picture.alpha.astype(np.float32))
    alpha = np.rint(weights.clip(0, 255)).astype(np.uint8)
    seen = np.empty((*alpha.shape, 3), np.uint8)
    for channel in range(3):
        plane = lanczos(np.multiply(rgb[:, :, channel], picture.alpha, dtype=np.float32))
        seen[:, :, channel] = (plane / np.maximum(weights, 1) + 0.5).clip(0, 255)
    # What is faint has too little alpha to divide by, and the colour of its surroundings already.
    return Picture(mixed(np.array(lanczos(rgb)), seen, OWN[alpha]), alpha)


# Tensors -----------------------------------------------------------------------------------------------------------


def to_tensor(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> float32 (1, 3, H, W) in [0, 1], C-contiguous."""
    tensor = np.empty((1, 3, *rgb.shape[:2]), np.float32)
    np.multiply(rgb.transpose(2, 0, 1), np.float32(1 / 255), out=tensor[0])
    return tensor


def from_tensor(stylised: np.ndarray) -> np.ndarray:
    """(1, 3, H, W) in [0, 1] -> (H, W, 3) uint8, rounded and clipped; ValueError for NaN."""
    planes = np.multiply(stylised[0], 255, dtype=np.float32)  # (3, H, W)
    if np.isnan(planes.min()):  # min carries a NaN along, and makes no second array
        raise ValueError("the stylised picture holds NaN: the network's arithmetic overflowed")
    planes += 0.5
    planes.clip(0, 255, out=planes)
    rgb = np.empty((*planes.shape[1:], 3), np.uint8)
    for channel, plane in enumerate(planes):
        rgb[:, :, channel] = plane
    return rgb


def keep_colors(stylised: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """The luma of `stylised` with the chroma of `photo`, both (H, W, 3) uint8 of one size (YCbCr, BT.601 full range).

    RGB is luma plus a linear function of Cb and Cr, so giving the photo another luma is adding the difference to all
    three channels: no way there and back, and no rounding on it.
    """
    if stylised.shape != photo.shape:
        raise ValueError(f"the stylised picture is {stylised.shape}, the photo {photo.shape}; they must be of one size")
    return _add_luma(photo, stylised, photo)


def keep_light(stylised: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """`stylised` with as much of each light as `photo` has, so that a night stays one; both (H, W, 3) uint8.

    Its luma goes along the one rising curve that gives it the photo's histogram. A pixel is darkened towards black and
    brightened towards white, and so stays within the colours there are.
    """
    ours, theirs = (_luma(rgb) for rgb in (stylised, photo))
    shares = [np.bincount(luma.ravel(), minlength=256).cumsum() / luma.size for luma in (ours, theirs)]
    curve = np.minimum(np.searchsorted(shares[1], shares[0] - 1e-9), 255)
    level = np.arange(256)
    down, up = np.minimum(curve / np.maximum(level, 1), 1), np.minimum((255 - curve) / np.maximum(255 - level, 1), 1)
    down, up = (factors.astype(np.float32)[ours][..., None] for factors in (down, up))
    return np.rint(255 - (255 - stylised * down) * up).astype(np.uint8)


def _luma(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W) uint8."""
    return np.asarray(Image.fromarray(rgb).convert("L"))


def lerp(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """From the first picture as far to the second as the share says, 0 to 1; all (H, W, 3) uint8 of one size."""
    result = np.empty_like(first)
    for top in range(0, len(first), BAND):
        rows = slice(top, top + BAND)
        here = first[rows].astype(np.float32)
        result[rows] = np.rint(here + np.float32(share) * (second[rows] - here))
    return result


def _add_luma(base: np.ndarray, more: np.ndarray, less: np.ndarray) -> np.ndarray:
    """base plus the luma of more - less in all three channels, in bands of rows: the sums take six times a picture."""
    result = np.empty_like(base)
    for top in range(0, len(base), BAND):
        rows = slice(top, top + BAND)
        difference = np.subtract(more[rows], less[rows], dtype=np.int16) @ LUMA  # (rows, W)
        shift = np.rint(difference, out=difference).astype(np.int16)
        result[rows] = (base[rows] + shift[:, :, None]).clip(0, 255)
    return result


def brightened(rgb: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 with levels (H, W) added to all three channels of each pixel, 128 being nothing."""
    result = np.empty_like(rgb)
    for top in range(0, len(rgb), BAND):
        rows = slice(top, top + BAND)
        result[rows] = (rgb[rows] + np.subtract(levels[rows], 128, dtype=np.int16)[:, :, None]).clip(0, 255)
    return result


# Out ---------------------------------------------------------------------------------------------------------------


def encode(picture: Picture, format: str, quality: int = 92) -> bytes:
    """The picture as "png", "jpeg" or "webp" bytes without any metadata; ParameterError for another format.

    `quality`, 1 to 100, is that of jpeg and webp. Alpha is kept; jpeg has none, so there it is laid on white.
    """
    if format not in FORMATS:
        raise ParameterError("format", f"format is {format!r}; choose from {', '.join(FORMATS)}")
    if not 1 <= quality <= 100:
        raise ParameterError("quality", f"quality is {quality}; it goes from 1 to 100")
    options = {
        # run-length matching: brushwork hardly repeats, and deflate's search for it would take a third longer
        "png": {"compress_level": 1, "compress_type": 3},
        "jpeg": {"quality": quality, "subsampling": 0},  # 4:4:4: painted edges are often edges of colour alone
        "webp": {"quality": quality, "method": 1},
    }[format]
    if format == "jpeg":
        picture = _on_white(picture)
    file = io.BytesIO()
    to_pil(picture).save(file, format, **options)
    return file.getvalue()


def to_pil(picture: Picture) -> Image.Image:
    """A PIL image of mode RGB, or RGBA where there is alpha."""
    image = Image.fromarray(picture.rgb)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    return image


def _on_white(picture: Picture) -> Picture:
    if picture.alpha is None:
        return picture
    shows = picture.alpha[:, :, None].astype(np.float32) / 255
    return Picture((picture.rgb * shows + 255 * (1 - shows) + 0.5).astype(np.uint8))
