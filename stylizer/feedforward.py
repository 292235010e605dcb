"""Stylizer: photo + style vector -> painted photo. Everything users do with styles is arithmetic on their vectors."""

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from stylizer import images, weights
from stylizer.errors import ParameterError
from stylizer.images import Picture
from stylizer.runtimes import PREDICTOR, make_runtime
from stylizer.settings import Settings
from stylizer.styles import Style, find, read_gallery

VECTOR_SIZE = 100
STYLE_SIDE = 256  # the shorter side at which the predictor was trained to look at a painting
STRIDE = 4  # of the encoder: pictures are padded to multiples of it

PictureSource = str | os.PathLike | bytes | Image.Image | np.ndarray | Picture
StyleSource = PictureSource | Sequence[float]


@dataclass
class Photo:
    """A photo at the size it will be painted, and what has been learnt of it so far."""

    picture: Picture
    features: object = None  # of the encoder
    own_vector: np.ndarray | None = None  # (1, 100), what the predictor makes of the photo itself
    lock: threading.Lock = field(default_factory=threading.Lock)


class Stopwatch(dict):
    """{stage: seconds}, for Server-Timing and benchmarks."""

    @contextmanager
    def __call__(self, stage: str):
        start = time.perf_counter()
        yield
        self[stage] = self.get(stage, 0.0) + time.perf_counter() - start


class Stylizer:
    """Paints photos. Make one and keep it: loading takes half a second, and photos are remembered between calls.

    `device` is auto, cpu, cuda or torch-cpu. WeightsError where a weight file or the gallery is missing or altered.
    """

    def __init__(self, device: str | None = None, settings: Settings | None = None):
        settings = settings or Settings.from_env()
        self.settings = replace(settings, device=device) if device else settings
        self.runtime = make_runtime(self.settings)
        self.gallery: dict[str, Style] = read_gallery(self.settings.styles)
        self.model = f"{PREDICTOR}@{weights.fingerprint(self.settings.models, PREDICTOR + '.safetensors')}"
        self._photos: OrderedDict[bytes, Photo] = OrderedDict()
        self._photos_lock = threading.Lock()

    # Styles ---------------------------------------------------------------------------------------------------------

    def style_vector(self, style: StyleSource) -> np.ndarray:
        """A gallery name, picture or vector -> its style vector, float32 (100,)."""
        if isinstance(style, str) and style in self.gallery:
            return self.gallery[style].vector
        if isinstance(style, str) and not os.path.exists(style) and not os.path.splitext(style)[1]:
            return find(self.gallery, style).vector  # says what there is
        if _looks_like_vector(style):
            return check_vector(style)
        return self._predict(images.as_picture(style, self.settings))[0]

    def mix(
        self, styles: Sequence[StyleSource] | Mapping[StyleSource, float], weights: Sequence[float] | None = None
    ) -> np.ndarray:
        """The weighted mean of up to five styles' vectors, float32 (100,); weights are scaled to sum to 1."""
        if isinstance(styles, Mapping):
            styles, weights = list(styles), list(styles.values())
        if not styles:
            raise ParameterError("style", "no style was given; give a picture, a gallery name or a vector")
        if len(styles) > self.settings.max_styles:
            raise ParameterError(
                "style", f"{len(styles)} styles were given; at most {self.settings.max_styles} can be mixed"
            )
        shares = check_weights(weights, len(styles))
        return (shares @ np.stack([self.style_vector(style) for style in styles])).astype(np.float32)

    def _predict(self, picture: Picture) -> np.ndarray:
        return self.runtime.predict(images.to_tensor(images.resize_shorter(picture, STYLE_SIDE).rgb))

    # Painting -------------------------------------------------------------------------------------------------------

    def stylize(
        self,
        photo: PictureSource,
        style: StyleSource | Mapping[StyleSource, float],
        strength: float = 1.0,
        size: int | str | None = None,
        keep_colors: bool = False,
    ) -> Image.Image:
        """`photo` painted in `style`: a gallery name, picture or vector, or a mix {style: weight}.

        strength: 0 paints the photo with its own style vector, 1 with the style's; size: longest side in pixels,
        None or "original" for the photo's own; keep_colors: keep the photo's chroma, take the painting's light.
        """
        vector = self.mix(style) if isinstance(style, Mapping) else self.style_vector(style)
        painted = self.paint(self.photo(photo, size), vector, strength, keep_colors)
        return images.to_pil(painted)

    def photo(
        self, source: PictureSource, size: int | str | None = None, *, largest: int | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> Photo:  # fmt: skip
        """The photo decoded and at its size; the same photo again costs nothing, while it is remembered.

        `size` shrinks or enlarges to that longest side; `largest`, for callers who named none, only shrinks.
        """
        stopwatch = Stopwatch() if stopwatch is None else stopwatch
        size = check_size(size, self.settings)
        with stopwatch("decode"):
            if isinstance(source, (Image.Image, np.ndarray)):
                source = images.as_picture(source, self.settings)
            key = _content_key(source, size, largest)
            remembered = self._recall(key)
            if remembered:
                return remembered
            picture = images.as_picture(source, self.settings)
        with stopwatch("resize"):
            if size is None and largest is not None and max(picture.size) > largest:
                size = largest
            if size is not None:
                scale = size / max(picture.size)
                target = tuple(max(1, round(side * scale)) for side in picture.size)
                images.check_size(target, self.settings, f"the photo at size {size}")
                picture = images.resize(picture, size)
        photo = Photo(picture)
        self._remember(key, photo)
        return photo

    def paint(
        self, photo: Photo, vector: np.ndarray, strength: float = 1.0, keep_colors: bool = False,
        stopwatch: Stopwatch | None = None,
    ) -> Picture:  # fmt: skip
        """The photo painted by a style vector (100,), the size that came in, its alpha kept."""
        stopwatch = Stopwatch() if stopwatch is None else stopwatch
        strength, vector = check_strength(strength), check_vector(vector)[None]
        with photo.lock:
            if strength < 1 and photo.own_vector is None:
                with stopwatch("predict"):
                    photo.own_vector = self._predict(photo.picture)
            if photo.features is None:
                with stopwatch("encode"):
                    photo.features = self.runtime.encode(pad(images.to_tensor(photo.picture.rgb)))
        if strength < 1:
            vector = (strength * vector + (1 - strength) * photo.own_vector).astype(np.float32)
        with stopwatch("paint"):
            stylised = self.runtime.decode(photo.features, np.ascontiguousarray(vector))
        width, height = photo.picture.size
        with stopwatch("finish"):
            rgb = images.from_tensor(stylised[:, :, :height, :width])
            if keep_colors:
                rgb = images.keep_colors(rgb, photo.picture.rgb)
        self._trim()
        return Picture(rgb, photo.picture.alpha)

    # Photos remembered, in memory only ------------------------------------------------------------------------------

    def _recall(self, key: bytes) -> Photo | None:
        with self._photos_lock:
            if key in self._photos:
                self._photos.move_to_end(key)
            return self._photos.get(key)

    def _remember(self, key: bytes, photo: Photo) -> None:
        with self._photos_lock:
            self._photos[key] = photo
            while len(self._photos) > self.settings.cached_photos:
                self._photos.popitem(last=False)
        self._trim()

    def _trim(self) -> None:
        """Forget the oldest photos until what is kept fits; a photo too large to keep is forgotten at once."""
        with self._photos_lock:
            sizes = {key: self._bytes(photo) for key, photo in self._photos.items()}
            while self._photos and sum(sizes.values()) > self.settings.cached_megabytes * 2**20:
                sizes.pop(self._photos.popitem(last=False)[0])

    def _bytes(self, photo: Photo) -> int:
        features = self.runtime.feature_bytes(photo.features) if photo.features is not None else 0
        alpha = 0 if photo.picture.alpha is None else photo.picture.alpha.nbytes
        return photo.picture.rgb.nbytes + alpha + features


def pad(content: np.ndarray) -> np.ndarray:
    """Mirror the last rows and columns until both sides are multiples of the encoder's stride."""
    height, width = content.shape[2:]
    if height % STRIDE == width % STRIDE == 0:
        return content
    return np.pad(content, ((0, 0), (0, 0), (0, -height % STRIDE), (0, -width % STRIDE)), mode="reflect")


def check_vector(vector: object, field: str = "style_vector") -> np.ndarray:
    """100 finite numbers as float32 (100,); ParameterError otherwise."""
    try:
        array = np.asarray(vector, dtype=np.float32)
    except (TypeError, ValueError):
        raise ParameterError(field, f"a style vector is {VECTOR_SIZE} numbers") from None
    array = array[0] if array.shape == (1, VECTOR_SIZE) else array
    if array.shape != (VECTOR_SIZE,):
        raise ParameterError(field, f"a style vector is {VECTOR_SIZE} numbers; {array.size} came, shape {array.shape}")
    if not np.isfinite(array).all():
        raise ParameterError(field, "a style vector must be finite numbers; NaN or infinity came")
    return array


def check_weights(weights: Sequence[float] | None, count: int) -> np.ndarray:
    """Shares of a mix that sum to 1, float64 (count,); ParameterError for a wrong count, negatives, NaN or all zero."""
    if weights is None or len(weights) == 0:
        return np.full(count, 1 / max(count, 1))
    if len(weights) != count:
        raise ParameterError("weight", f"{len(weights)} weights came for {count} styles; give one a style, or none")
    shares = np.asarray([_number("weight", weight) for weight in weights])
    if (shares < 0).any() or shares.sum() <= 0:
        raise ParameterError("weight", f"weights must be 0 or more and not all 0; got {', '.join(map(str, weights))}")
    return shares / shares.sum()


def check_strength(strength: object) -> float:
    value = _number("strength", strength)
    if not 0 <= value <= 1:
        raise ParameterError("strength", f"strength is {strength}; it goes from 0 (the photo's own) to 1 (the style's)")
    return value


def check_size(size: object, settings: Settings) -> int | None:
    """A longest side in pixels, or None for the photo's own."""
    if size is None or size == "original":
        return None
    try:
        pixels = int(str(size))
    except ValueError:
        raise ParameterError("size", f'size is {size!r}; give the longest side in pixels, or "original"') from None
    if not settings.min_side <= pixels <= settings.max_side:
        raise ParameterError(
            "size", f"size is {pixels}; it goes from {settings.min_side} to {settings.max_side} pixels"
        )
    return pixels


def _number(field: str, value: object) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ParameterError(field, f"{field} is {value!r}; it must be a number") from None
    if not np.isfinite(number):
        raise ParameterError(field, f"{field} is {value}; it must be a finite number")
    return number


def _looks_like_vector(style: object) -> bool:
    """Arrays and lists of one dimension (or one row) are vectors; arrays of more are pictures."""
    if isinstance(style, np.ndarray):
        return style.ndim == 1 or style.shape == (1, VECTOR_SIZE)
    return isinstance(style, (list, tuple))


def _content_key(source: str | os.PathLike | bytes | Picture, *sizes: int | None) -> bytes:
    """Names a photo's pixels at a size, for the memory of photos; a path is read anew, since its file may change."""
    digest = hashlib.blake2b(repr(sizes).encode(), digest_size=16)
    if isinstance(source, (str, os.PathLike)) and os.path.isfile(source):
        with open(source, "rb") as file:
            digest.update(file.read())
    elif isinstance(source, (bytes, bytearray, memoryview)):
        digest.update(source)
    elif isinstance(source, Picture):
        digest.update(repr(source.size).encode())
        digest.update(np.ascontiguousarray(source.rgb))
        digest.update(b"" if source.alpha is None else np.ascontiguousarray(source.alpha))
    else:
        digest.update(repr(source).encode())  # as_picture says what is wrong with it
    return digest.digest()
