"""Bytes <-> picture <-> tensor: the only place where pictures are decoded and encoded.

Every picture from outside is checked here: the format by its first bytes (never by a file name or content type), the
size and cost from the file's own structure (containers.py), memory before it is allocated, and then the pixels, by a
decoder that is stopped if it takes too long. The result is always upright sRGB.
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

# Pillow would warn at 89 megapixels and refuse at 179, in its own words. Our checks are stricter, run on the header
# before any pixels are decoded, and name the bound. Set once: changing it around every call would race between threads.
Image.MAX_IMAGE_PIXELS = None
ImageFile.LOAD_TRUNCATED_IMAGES = False  # half a JPEG is a broken JPEG
# Pillow warns on stderr about damaged metadata that does not matter; the command line promises a single line there.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# The first bytes of supported formats (Pillow's names; MPO, a JPEG with more pictures after it, is read as JPEG).
# BMP's two letters would match any text that begins with BM, so its header size must match as well.
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

FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}  # that we write: name -> media type

ORIENTATION = 0x0112  # EXIF tag; value -> the transpose that makes the picture upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNS = {  # the same for arrays, as views
    Image.Transpose.FLIP_LEFT_RIGHT: lambda array: array[:, ::-1],
    Image.Transpose.ROTATE_180: lambda array: array[::-1, ::-1],
    Image.Transpose.FLIP_TOP_BOTTOM: lambda array: array[::-1],
    Image.Transpose.TRANSPOSE: lambda array: array.swapaxes(0, 1),
    Image.Transpose.ROTATE_270: lambda array: array.swapaxes(0, 1)[:, ::-1],
    Image.Transpose.TRANSVERSE: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    Image.Transpose.ROTATE_90: lambda array: array.swapaxes(0, 1)[::-1],
}
# CPU seconds of this thread for one file: an ordinary 50-megapixel file takes two, and some machines are slower.
PATIENCE = 10.0
JPEG_BLOCK = 4096  # bytes fed to the JPEG decoder at a time: the clock is checked between blocks
# Peak memory of decoding, in bytes per pixel. Pillow keeps 4 for RGB and RGBA; libwebp fills two canvases and Pillow
# copies one; libavif holds its planes and the RGB made from them, and Pillow a copy.
DECODE_BYTES = {"JPEG": 4, "PNG": 4, "GIF": 1, "TIFF": 4, "BMP": 4, "WEBP": 12, "AVIF": 14}
BAND_PIXELS = 1 << 20  # pixels converted at a time
REDUCING_GAP = 3  # a cheap box filter does most of a large reduction, with no visible difference
BAND = 256  # rows
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG

Size = tuple[int, int]  # width, height
Fit = Callable[[Size], Size]  # a picture's own size -> the size wanted


@dataclass(frozen=True)
class Picture:
    """A decoded picture, upright and in sRGB. Its arrays may be read-only."""

    rgb: np.ndarray  # (H, W, 3) uint8, C-contiguous
    alpha: np.ndarray | None = None  # (H, W) uint8, None if every pixel is opaque

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


# In ----------------------------------------------------------------------------------------------------------------


PictureSource = str | os.PathLike | bytes | Image.Image | np.ndarray | Picture  # anything that as_picture accepts


def decode(data: bytes, settings: Settings, name: str = "picture", fit: Fit | None = None) -> Picture:
    """Decode the picture in `data`; `name` is what error messages call it.

    `fit` maps the upright picture's own (width, height) to the size wanted. If that is smaller, the picture is returned
    at exactly that size without ever being in memory at full size; enlarging is left to the caller. Of an animation,
    the first frame is decoded. Raises EmptyInput, UnsupportedPicture (unknown format), PictureOutOfBounds (from the
    header alone), BrokenPicture (truncated, damaged, or crafted to be costly) and OutOfMemory.
    """
    if not data:
        raise EmptyInput(f"{name} is empty; send a picture ({_taken()})")
    kind = _kind(data, name)
    outline = containers.walk(data, kind, name)
    if outline.size:
        check_bounds(outline.size, settings, name)
    containers.check_scans(outline, name)
    data = outline.still or data
    if kind == "TIFF" and tones.is_float_colour(outline):
        picture = _filled(_picture(*tones.float_colour(data, outline, name)))
        return resize_to(picture, _wanted(picture.size, None, fit))
    image = _open(data, kind, name)
    with image:
        check_bounds(image.size, settings, name)
        turn = UPRIGHT.get(_orientation(image) if kind == "AVIF" else outline.orientation)
        reduced = _reduce(image, outline, turn, fit, name)
    return _finish(reduced, turn)


def measure(data: bytes, settings: Settings, name: str = "picture") -> Size:
    """(width, height) as stored, without decoding pixels; raises the errors of `decode` that the header reveals."""
    if not data:
        raise EmptyInput(f"{name} is empty; send a picture ({_taken()})")
    kind = _kind(data, name)
    outline = containers.walk(data, kind, name)
    size = outline.size
    if size is None:
        with _open(outline.still or data, kind, name) as image:
            size = image.size
    check_bounds(size, settings, name)
    return size


def as_picture(
    source: PictureSource,
    settings: Settings,
    fit: Fit | None = None,
    name: str = "picture",
) -> Picture:
    """A path, bytes, PIL image or uint8 array ((H, W) grey, (H, W, 3) RGB, (H, W, 4) RGBA), within the same bounds.

    Arrays must be RGB. OpenCV's are BGR, which cannot be detected: pass `array[:, :, ::-1]`, or for four channels
    `array[:, :, [2, 1, 0, 3]]`. Colours under alpha 0 are replaced by those around them. `fit`: see decode.
    """
    if isinstance(source, Picture):
        check_bounds(source.size, settings)
        picture = _filled(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        return decode(bytes(source), settings, name, fit)
    elif isinstance(source, (str, os.PathLike)):
        return decode(read(source), settings, os.fspath(source), fit)
    elif isinstance(source, Image.Image):
        check_bounds(source.size, settings)
        turn = UPRIGHT.get(_orientation(source))
        return _finish(_reduce(source, containers.Outline(), turn, fit, name), turn)
    elif isinstance(source, np.ndarray):
        picture = _filled(_from_array(source, settings))
    else:
        kind = type(source).__name__
        raise ParameterError("picture", f"a picture must be a path, bytes, a PIL image or an array; got {kind}")
    return resize_to(picture, _wanted(picture.size, None, fit))


def check_bounds(size: Size, settings: Settings, name: str = "picture") -> None:
    """Raise PictureOutOfBounds unless this (width, height) is allowed."""
    width, height = size
    shorter, longer = sorted(size)
    megapixels = width * height / 1e6
    if shorter < settings.min_side:
        bound = f"each side must be at least {settings.min_side} pixels"
    elif longer > settings.max_side:
        bound = f"each side may be at most {settings.max_side} pixels"
    elif longer > settings.max_ratio * shorter:
        bound = f"the longer side may be at most {settings.max_ratio:g} times the shorter"
    elif megapixels > settings.max_megapixels:
        bound = f"that is {megapixels:.1f} megapixels, and at most {settings.max_megapixels:g} are allowed"
    else:
        return
    raise PictureOutOfBounds(f"{name} is {width}x{height} pixels; {bound}")


def longest_side(pixels: int) -> Fit:
    """A `fit` that makes the longer side `pixels` long."""
    return lambda size: scaled(size, pixels / max(size))


def shortest_side(pixels: int) -> Fit:
    """A `fit` that makes the shorter side `pixels` long."""
    return lambda size: scaled(size, pixels / min(size))


class _Clock:
    """Stops a decoder that takes longer than any ordinary file, in CPU time of this thread: load does not matter."""

    def __init__(self, name: str):
        self.name, self.until = name, time.thread_time() + PATIENCE

    def check(self) -> None:
        if time.thread_time() > self.until:
            raise BrokenPicture(f"{self.name} takes over {PATIENCE:g} seconds to decode; save it again, or smaller")


class _TimedFile(io.BytesIO):
    """A file whose reader can be stopped: Pillow feeds its JPEG, PNG, GIF, BMP and raw TIFF decoders from it in blocks.

    WebP, AVIF and compressed TIFF go to their libraries in one call, which cannot be interrupted: their cost is bounded
    by the pixels and tiles that containers.py has checked.
    """

    def __init__(self, data: bytes, name: str):
        super().__init__(data)
        self.clock = _Clock(name)

    def read(self, size: int | None = -1) -> bytes:
        self.clock.check()
        return super().read(size)


class _StillGif(GifImagePlugin.GifImageFile):
    """A GIF's first frame only.

    On opening a GIF, Pillow prepares the canvas on which the second frame will be drawn: a few bytes can make that
    4 GB, filled before the size can be checked. Without a disposal method for the first frame it prepares nothing.
    """

    disposal_method = property(lambda self: 0, lambda self, method: None)


class _Webp(WebPImagePlugin.WebPImageFile):
    def load_prepare(self) -> None:
        self._decoder = None  # frees two canvases of 4 bytes per pixel before Pillow allocates its own
        super().load_prepare()


class _Avif(AvifImagePlugin.AvifImageFile):
    def load_prepare(self) -> None:
        self._decoder = None  # frees the planes, as above
        super().load_prepare()


# The plugins themselves: Image.open would also follow a JPEG's tags to further pictures after the first.
READERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
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
    """The format, detected from the first bytes."""
    brands = containers.brands(data)
    if brands & containers.HEIF_BRANDS and not brands & containers.AVIF_BRANDS:
        raise UnsupportedPicture(f"{name} is a HEIC file, which is not supported; export it as JPEG or PNG")
    begins = data[:64]
    kind = next((kind for kind, begin in SIGNATURES.items() if re.match(begin, begins, re.DOTALL)), None)
    if kind is None:
        raise UnsupportedPicture(f"{name} is not a picture in a supported format ({_taken()})")
    return kind


def _open(data: bytes, kind: str, name: str) -> Image.Image:
    """Read the header, but no pixels."""
    try:
        return READERS[kind](_TimedFile(data, name))
    except StylizerError:
        raise
    except Exception as error:  # on bad bytes Pillow's parsers raise almost anything
        raise BrokenPicture(f"{name} is a damaged {kind}: its header cannot be read; save it again") from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if it is missing or invalid."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken EXIF does not make a broken picture
        return 1


def _wanted(size: Size, turn: Image.Transpose | None, fit: Fit | None) -> Size:
    """Target (width, height) for a stored picture of `size`: its own, unless `fit` makes it smaller."""
    if fit is None:
        return size
    sideways = turn is not None and TURNS[turn](np.empty((1, 2))).shape == (2, 1)
    wanted = fit(size[::-1] if sideways else size)
    width, height = wanted[::-1] if sideways else wanted
    return (width, height) if width <= size[0] and height <= size[1] else size


@dataclass
class _Reduced:
    """A picture as stored, reduced as far as a box filter should. `extent`: its original size in boxes."""

    rgb: np.ndarray
    alpha: np.ndarray | None
    extent: tuple[float, float]
    wanted: Size


def _reduce(
    image: Image.Image, outline: containers.Outline, turn: Image.Transpose | None, fit: Fit | None, name: str
) -> _Reduced:
    """Decode the pixels to sRGB and reduce them, band by band, towards the size that `fit` wants."""
    kind = image.format or "picture"
    try:
        profile = image.info.get("icc_profile")
        wanted = _wanted(image.size, turn, fit)
        if kind == "JPEG" and isinstance(image, ImageFile.ImageFile):
            image.decodermaxblock = JPEG_BLOCK
            if wanted != image.size:
                image.draft(None, (2 * wanted[0], 2 * wanted[1]))  # a half, quarter or eighth, at least twice the size
        size = image.size
        # finishing takes more memory with transparency, so boxes do more of the work
        gap = 2 if kind != "JPEG" and image.has_transparency_data else REDUCING_GAP
        across, down = (max(1, int(own / side / gap)) for own, side in zip(size, wanted, strict=True))
        pixels = size[0] * size[1]
        check_room(
            pixels * DECODE_BYTES.get(kind, 4) + outline.extra_bytes + 6 * pixels // (across * down),
            f"decoding {name}",
        )
        image.load()
        bands = _bands(image, down, tones.to_grey(image, outline), _Clock(name))
        rgb, alpha = _gather(bands, size, (across, down), _colour(image, outline, profile))
        return _Reduced(rgb, alpha, (size[0] / across, size[1] / down), wanted)
    except StylizerError:
        raise
    except Exception as error:  # as above: OSError, SyntaxError, struct.error, zlib.error, MemoryError, IndexError, ...
        raise BrokenPicture(f"{name} is a damaged or truncated {kind}; save it again") from error


def _finish(reduced: _Reduced, turn: Image.Transpose | None) -> Picture:
    picture = _filled(_picture(reduced.rgb, reduced.alpha))
    picture = resize_to(picture, reduced.wanted, reduced.extent)
    if turn is None:
        return picture
    alpha = None if picture.alpha is None else np.ascontiguousarray(TURNS[turn](picture.alpha))
    return Picture(np.ascontiguousarray(TURNS[turn](picture.rgb)), alpha)


def _picture(rgb: np.ndarray, alpha: np.ndarray | None) -> Picture:
    return Picture(rgb, None if alpha is None or alpha.min() == 255 else alpha)


Band = tuple[Image.Image, Image.Image | None]  # colour in any mode without alpha; alpha if any pixel has it


def _bands(image: Image.Image, rows: int, tone: Callable | None, clock: _Clock) -> Iterator[Band]:
    """Bands from top to bottom, each a multiple of `rows` high."""
    step = rows * max(1, BAND_PIXELS // (image.width * rows))
    for top in range(0, image.height, step):
        clock.check()
        band = image.crop((0, top, image.width, min(top + step, image.height)))
        yield tone(band) if tone else _split_alpha(band)


def _split_alpha(image: Image.Image) -> Band:
    """Colour in mode L, RGB, CMYK or similar, and alpha, for a picture in any mode."""
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:  # a channel, a palette entry or a transparent colour
        both = image.convert("LA" if grey else "RGBA")
        alpha = both.getchannel("A")
        return both.convert("L" if grey else "RGB"), None if alpha.getextrema()[0] == 255 else alpha
    if image.mode in ("P", "PA", "HSV", "YCbCr"):
        return image.convert("RGB"), None
    return image.convert("L") if grey else image, None


def _colour(image: Image.Image, outline: containers.Outline, profile: bytes | None) -> colours.ToSrgb:
    mode = "L" if image.mode.startswith(("1", "L", "I", "F")) and image.mode != "LAB" else image.mode
    mode = mode if mode in ("L", "CMYK", "LAB") else "RGB"
    return colours.to_srgb(outline, profile, mode, image.format == "PNG")


def _gather(
    bands: Iterator[Band], size: Size, factors: tuple[int, int], convert: colours.ToSrgb
) -> tuple[np.ndarray, np.ndarray | None]:
    """Bands of a picture of `size` -> (H', W', 3) and (H', W') or None: means over boxes, colours weighted by alpha."""
    width, height = (-(-side // factor) for side, factor in zip(size, factors, strict=True))
    rgb, alpha, top = np.empty((height, width, 3), np.uint8), None, 0
    for colour, clear in bands:
        if factors != (1, 1):
            if colour.mode not in ("L", "RGB", "CMYK"):  # averaging other modes does not mix colours
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
    both = both.reduce(factors)  # Pillow multiplies by alpha first, and divides afterwards
    return both.convert(colour.mode), both.getchannel("A")


def _filled(picture: Picture) -> Picture:
    """The picture without its invisible colours; the same object if it has none."""
    if picture.alpha is None:
        return picture
    rgb = fill_hidden(picture.rgb, picture.alpha)
    return picture if rgb is picture.rgb else Picture(rgb, picture.alpha)


def read(path: str | os.PathLike) -> bytes:
    """The bytes of a picture file; ParameterError if it cannot be read."""
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
        raise ParameterError("picture", f"cannot read {shown}: {reason}") from None


def _from_array(array: np.ndarray, settings: Settings) -> Picture:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        shape = "x".join(map(str, array.shape))
        raise ParameterError("picture", f"an array must be HxW, HxWx3 or HxWx4 of uint8; got {shape} of {array.dtype}")
    check_bounds((array.shape[1], array.shape[0]), settings)
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    alpha = array[:, :, 3] if array.shape[2] == 4 and array[:, :, 3].min() < 255 else None
    # A copy: a picture must not change if the caller goes on drawing in the array.
    return Picture(array[:, :, :3].copy(), None if alpha is None else alpha.copy())


# Sizes -------------------------------------------------------------------------------------------------------------


def resize(picture: Picture, longest: int) -> Picture:
    """Resize so that the longer side is `longest` pixels; the same object if it already is."""
    return resize_to(picture, scaled(picture.size, longest / max(picture.size)))


def resize_shorter(picture: Picture, shortest: int) -> Picture:
    """Resize the shorter side to `shortest` pixels, for the style predictor, after a centre crop to at most 2:1.

    Without the crop a 20:1 frieze would be 20 times the work of a square.
    """
    width, height = picture.size
    shorter = min(width, height)
    left, top = max(width - 2 * shorter, 0) // 2, max(height - 2 * shorter, 0) // 2
    window = np.s_[top : top + 2 * shorter, left : left + 2 * shorter]
    if left or top:
        alpha = None if picture.alpha is None else picture.alpha[window].copy()
        picture = Picture(picture.rgb[window].copy(), alpha)
    return resize_to(picture, scaled(picture.size, shortest / shorter))


def scaled(size: Size, scale: float) -> Size:
    """Both sides times `scale`, rounded, at least one pixel."""
    width, height = size
    return max(1, round(width * scale)), max(1, round(height * scale))


def resize_to(picture: Picture, size: Size, extent: tuple[float, float] | None = None) -> Picture:
    """Resize to exactly (width, height); the same object if it has that size.

    Colours are weighted by alpha, so invisible ones do not bleed into visible ones. `extent`: the part of the picture
    to use, (width, height) from its upper left corner, in fractional pixels.
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
    # Faint pixels have too little alpha to divide by, and already have the colour of their surroundings.
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
    if np.isnan(planes.min()):  # min propagates NaN, without a second array
        raise ValueError("the stylised picture contains NaN: the network's arithmetic overflowed")
    planes += 0.5
    planes.clip(0, 255, out=planes)
    rgb = np.empty((*planes.shape[1:], 3), np.uint8)
    for channel, plane in enumerate(planes):
        rgb[:, :, channel] = plane
    return rgb


def keep_colors(stylised: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """The luma of `stylised` with the chroma of `photo`, both (H, W, 3) uint8 of one size (YCbCr, BT.601 full range).

    RGB is luma plus a linear function of Cb and Cr, so changing the photo's luma means adding the difference to all
    three channels: no conversion to YCbCr and back, and none of its rounding.
    """
    if stylised.shape != photo.shape:
        raise ValueError(f"the stylised picture is {stylised.shape} and the photo {photo.shape}; they must be one size")
    return _add_luma(photo, stylised, photo)


def keep_light(stylised: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """`stylised` with the luma histogram of `photo`, so that night stays night; both (H, W, 3) uint8.

    Its luma is mapped by the monotonic curve that gives it the photo's histogram. Pixels are darkened towards black and
    brightened towards white, so they stay within the gamut.
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
    """Linear interpolation from `first` (share 0) to `second` (share 1); all (H, W, 3) uint8 of one size."""
    result = np.empty_like(first)
    for top in range(0, len(first), BAND):
        rows = slice(top, top + BAND)
        here = first[rows].astype(np.float32)
        result[rows] = np.rint(here + np.float32(share) * (second[rows] - here))
    return result


def _add_luma(base: np.ndarray, more: np.ndarray, less: np.ndarray) -> np.ndarray:
    """base plus the luma of more - less in all channels; in bands, as the sums take six times a picture's memory."""
    result = np.empty_like(base)
    for top in range(0, len(base), BAND):
        rows = slice(top, top + BAND)
        difference = np.subtract(more[rows], less[rows], dtype=np.int16) @ LUMA  # (rows, W)
        shift = np.rint(difference, out=difference).astype(np.int16)
        result[rows] = (base[rows] + shift[:, :, None]).clip(0, 255)
    return result


def brightened(rgb: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 with levels (H, W) added to all three channels of each pixel; 128 adds nothing."""
    result = np.empty_like(rgb)
    for top in range(0, len(rgb), BAND):
        rows = slice(top, top + BAND)
        result[rows] = (rgb[rows] + np.subtract(levels[rows], 128, dtype=np.int16)[:, :, None]).clip(0, 255)
    return result


# Out ---------------------------------------------------------------------------------------------------------------


def encode(picture: Picture, format: str, quality: int = 92) -> bytes:
    """Encode as "png", "jpeg" or "webp" bytes without metadata; ParameterError for any other format.

    `quality`, 1 to 100, applies to jpeg and webp. Alpha is kept, except in jpeg: there the picture is laid on white.
    """
    if format not in FORMATS:
        raise ParameterError("format", f"format is {format!r}; choose from {', '.join(FORMATS)}")
    if not 1 <= quality <= 100:
        raise ParameterError("quality", f"quality is {quality}; it must be from 1 to 100")
    options = {
        # run-length matching: brushwork hardly repeats, and deflate's search for matches would take a third longer
        "png": {"compress_level": 1, "compress_type": 3},
        "jpeg": {"quality": quality, "subsampling": 0},  # 4:4:4: painted edges often differ in colour only
        "webp": {"quality": quality, "method": 1},
    }[format]
    if format == "jpeg":
        picture = _on_white(picture)
    file = io.BytesIO()
    to_pil(picture).save(file, format, **options)
    return file.getvalue()


def to_pil(picture: Picture) -> Image.Image:
    """A PIL image of mode RGB, or RGBA if there is alpha."""
    image = Image.fromarray(picture.rgb)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    return image


def _on_white(picture: Picture) -> Picture:
    if picture.alpha is None:
        return picture
    shows = picture.alpha[:, :, None].astype(np.float32) / 255
    return Picture((picture.rgb * shows + 255 * (1 - shows) + 0.5).astype(np.uint8))
