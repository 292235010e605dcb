"""Bytes <-> picture <-> tensor: the one gate through which pictures come in, and the way they go out.

Everything from outside is judged here: the format by its first bytes (never by a name or a claimed content type), the
size from the header before any pixel is decoded, and then the pixels. What comes out is upright sRGB, whatever came in.
"""

import io
import os
import re
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import GifImagePlugin, Image, ImageFile, features

from stylizer.errors import (
    BrokenPicture,
    EmptyInput,
    ParameterError,
    PictureOutOfBounds,
    StylizerError,
    UnsupportedPicture,
)
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
PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}  # ICC colour space -> Pillow mode
MAX_SCANS = 100  # of a progressive JPEG: real ones have about ten, and each, in 75 bytes, costs a pass over all pixels
BAND = 256  # rows
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG


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


def decode(data: bytes, settings: Settings, name: str = "picture") -> Picture:
    """The picture in `data`; `name` is what error messages call it.

    EmptyInput, UnsupportedPicture (no format we take), PictureOutOfBounds (by the header alone) or BrokenPicture.
    Of an animation the first frame is taken.
    """
    if not data:
        raise EmptyInput(f"{name} is empty; send a picture ({_taken()})")
    image = _open(data, name)
    with image:
        check_size(image.size, settings, name)
        if image.info.get("progressive") and data.count(b"\xff\xda") > MAX_SCANS:
            raise BrokenPicture(f"{name} is a JPEG of more than {MAX_SCANS} scans; save it again and send that")
        return _to_picture(image, name)


def measure(data: bytes, settings: Settings, name: str = "picture") -> tuple[int, int]:
    """(width, height) as the file has them, by its header alone; errors as of `decode`."""
    if not data:
        raise EmptyInput(f"{name} is empty; send a picture ({_taken()})")
    with _open(data, name) as image:
        check_size(image.size, settings, name)
        return image.size


def as_picture(source: "Picture | str | os.PathLike | bytes | Image.Image | np.ndarray", settings: Settings) -> Picture:
    """A path, bytes, PIL image or uint8 array ((H, W) grey, (H, W, 3) RGB, (H, W, 4) RGBA), in the same bounds."""
    if isinstance(source, Picture):
        check_size(source.size, settings)
        return source
    if isinstance(source, (bytes, bytearray, memoryview)):
        return decode(bytes(source), settings)
    if isinstance(source, (str, os.PathLike)):
        return decode(_read(source), settings, os.fspath(source))
    if isinstance(source, Image.Image):
        check_size(source.size, settings)
        return _to_picture(source, "picture")
    if isinstance(source, np.ndarray):
        return _from_array(source, settings)
    raise ParameterError("picture", f"a picture is a path, bytes, a PIL image or an array; got {type(source).__name__}")


def check_size(size: tuple[int, int], settings: Settings, name: str = "picture") -> None:
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


class _StillGif(GifImagePlugin.GifImageFile):
    """A GIF's first frame alone.

    Opening a GIF, Pillow readies what the second frame will find where the first one was: a few bytes can make that
    4 GB, filled before the size can be judged. Without a way to dispose of the first frame nothing is readied.
    """

    disposal_method = property(lambda self: 0, lambda self, method: None)


def _taken() -> str:
    return ", ".join(SIGNATURES)


def _open(data: bytes, name: str) -> Image.Image:
    """The header read, no pixel yet."""
    begins = data[:64]
    kind = next((kind for kind, begin in SIGNATURES.items() if re.match(begin, begins, re.DOTALL)), None)
    if kind is None:
        raise UnsupportedPicture(f"{name} is not a picture of a format we take: {_taken()}")
    try:
        return _StillGif(io.BytesIO(data)) if kind == "GIF" else Image.open(io.BytesIO(data), formats=[kind])
    except Exception as error:  # whatever Pillow's parsers raise on bad bytes, and they raise nearly everything
        raise BrokenPicture(f"{name} is a damaged {kind}: its header cannot be read; save it again") from error


def _to_picture(image: Image.Image, name: str) -> Picture:
    try:
        image.load()
        colour, alpha = _split_alpha(_upright(image))
        rgb = np.asarray(_to_srgb(colour, image.info.get("icc_profile")))
        alpha = None if alpha is None or alpha.min() == 255 else alpha
        return Picture(rgb, alpha)
    except StylizerError:
        raise
    except Exception as error:  # as above: OSError, SyntaxError, struct.error, zlib.error, MemoryError, IndexError, ...
        kind = image.format or "picture"
        raise BrokenPicture(f"{name} is a damaged {kind}, or it is cut short; save it again") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION))
    except Exception:  # broken EXIF does not make a broken picture
        return image
    return image if turn is None else image.transpose(turn)


def _split_alpha(image: Image.Image) -> tuple[Image.Image, np.ndarray | None]:
    """(colour of mode L, RGB, CMYK or the like; (H, W) alpha or None), whatever mode the picture has."""
    if image.mode.startswith(("I", "F")):
        return _split_deep_grey(image)
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:  # a channel, a palette entry or a colour that stands for transparent
        both = image.convert("LA" if grey else "RGBA")
        return both.convert("L" if grey else "RGB"), np.asarray(both.getchannel("A"))
    if grey:
        return image.convert("L"), None
    return image, None


def _split_deep_grey(image: Image.Image) -> tuple[Image.Image, np.ndarray | None]:
    """Grey of 16 or 32 bits or float, scaled to 8 bits: Pillow's own conversion clips at 255 instead."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low + high):
        raise BrokenPicture("the picture holds values that are no numbers; save it as 8 or 16 bits a channel")
    # Integers count to 65535. Floats have no agreed white, so the smallest usual one that holds them all is taken.
    tops = (1, 255, 65535) if image.mode.startswith("F") else (65535,)
    top = next((top for top in tops if low >= 0 and high <= top), None)
    if top is None:  # measurements rather than tones: show them from the least to the greatest
        low, top = low, high - low
    else:
        low = 0
    tones = (values.astype(np.float32) - low) * (255 / top) + 0.5
    clear = image.info.get("transparency")
    alpha = None if clear is None else np.where(values == clear, 0, 255).astype(np.uint8)
    return Image.fromarray(tones.clip(0, 255).astype(np.uint8)), alpha


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB in sRGB, through the embedded ICC profile where it is readable and fits the picture's kind of colour."""
    if profile:
        from PIL import ImageCms  # here, because few pictures need it

        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            mode = PROFILE_MODES.get(source.profile.xcolor_space.strip())
            if mode == "RGB" and image.mode != "CMYK":
                image = image.convert("RGB")
            if mode == image.mode:
                return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
            pass  # a garbage profile does not make a broken picture: read it as if it had none
    return image.convert("RGB")


def _read(path: "str | os.PathLike") -> bytes:
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


def resize_to(picture: Picture, size: tuple[int, int]) -> Picture:
    """(width, height) exactly; the same object where it has them already."""
    if size == picture.size:
        return picture

    def lanczos(plane: np.ndarray) -> np.ndarray:
        # reducing_gap: a cheap box filter does most of a large reduction, and the difference cannot be seen
        return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))

    return Picture(lanczos(picture.rgb), None if picture.alpha is None else lanczos(picture.alpha))


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


def add_detail(painted: np.ndarray, photo: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """`painted` with the light that `photo` has beyond `coarse`, its blurred self; all (H, W, 3) uint8 of one size."""
    return _add_luma(painted, photo, coarse)


def _add_luma(base: np.ndarray, more: np.ndarray, less: np.ndarray) -> np.ndarray:
    """base plus the luma of more - less in all three channels, in bands of rows: the sums take six times a picture."""
    result = np.empty_like(base)
    for top in range(0, len(base), BAND):
        rows = slice(top, top + BAND)
        difference = np.subtract(more[rows], less[rows], dtype=np.int16) @ LUMA  # (rows, W)
        shift = np.rint(difference, out=difference).astype(np.int16)
        result[rows] = (base[rows] + shift[:, :, None]).clip(0, 255)
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
