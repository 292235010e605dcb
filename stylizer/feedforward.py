"""Stylizer: photo + style vector -> painted photo. Everything users do with styles is arithmetic on their vectors."""

import hashlib
import itertools
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from stylizer import images, memory, studies, tiles, weights
from stylizer.brushwork import height_for, read_roughness, with_brushwork
from stylizer.errors import OutOfMemory, ParameterError, PictureOutOfBounds, WeightsError, shown
from stylizer.images import Picture
from stylizer.parameters import (
    VECTOR_SIZE,
    check_size,
    check_strength,
    check_style_scale,
    check_styles,
    check_vector,
    check_weights,
)
from stylizer.runtimes import make_runtime
from stylizer.settings import Settings
from stylizer.studies import SUFFIX, Study
from stylizer.styles import Blend, Style, blend, named, read_gallery, read_vectors

STYLE_SIDE = 256  # the squares in which the predictor was trained to look at a painting,
READ_SIDE = 384  # and the shorter side of a painting that such squares cover
READ_FOR = 448  # longest side of a picture in which strokes are then as large, beside it, as in the painting
MOST_OCTAVES = 1.5  # as much larger as they are made to be at most: with two octaves colours paled
EDGE = 8  # pixels that are mirrored around a photo and painted with it: a strip of 4 shows where the network's own lie
FEATURE_BYTES = 16 * 2**20  # of one photo, that are kept for more than one height of brushwork
FADE = 0.25  # the strength below which the photo itself shows through; at 0 it is all there is

PictureSource = str | os.PathLike | bytes | Image.Image | np.ndarray | Picture
StyleSource = PictureSource | Sequence[float] | Study | Blend
Progress = Callable[[int, int], None]  # tiles painted, and of how many; what it raises ends the painting
Interrupt = Callable[[], None]  # called between stages, squares and tiles; what it raises ends the work


def go_on() -> None:
    """Where nobody interrupts."""


@dataclass
class Photo:
    """A photo at the size that is wanted, and what has been learnt of it so far."""

    picture: Picture
    canvas: Picture  # what is painted: larger where strokes are to look smaller
    draft: "Photo | None" = None  # what is painted before, smaller: where strokes are to look larger
    brushed: bool = False  # whether the canvas has brushwork on it already
    features: dict[int, object] = field(default_factory=dict)  # of the encoder, by the height of brushwork that it saw
    own_vector: np.ndarray | None = None  # (1, 100), what the predictor makes of the photo itself
    look: tiles.Survey | None = None  # at the canvas
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def draft_share(self) -> float:
        """How much of the canvas is the draft, 0 to 1: all of it where strokes are to be twice as large."""
        return min(math.log2(max(self.canvas.size) / max(self.draft.canvas.size)), 1.0)


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
        stored = read_vectors(self.settings.styles)
        self.coarser, self.roughness = stored.coarser, stored.roughness
        predictor = weights.fingerprint(self.settings.models, f"{self.settings.predictor_stem}.safetensors")
        self.model = f"{self.settings.predictor_stem}@{predictor}"
        check_gallery(stored.predictors, predictor)
        self.transformer = weights.fingerprint(self.settings.models, f"{self.settings.transformer_stem}.safetensors")
        for name, style in self.gallery.items():
            if style.study and style.study.origin != self.transformer:  # of other weights: its vector is as good
                self.gallery[name] = replace(style, study=None)
        self.takes_studies = self.runtime.takes_studies
        self.runtime.forget = self._forget_oldest
        self._photos: OrderedDict[bytes, Photo] = OrderedDict()
        self._photos_lock = threading.Lock()

    # Styles ---------------------------------------------------------------------------------------------------------

    def style_vector(self, style: StyleSource, interrupt: Interrupt | None = None) -> np.ndarray:
        """A gallery name, picture, study or vector -> its style vector, float32 (100,)."""
        return self.style(style, interrupt).vector

    def style(self, style: StyleSource, interrupt: Interrupt | None = None) -> Blend:
        """A gallery name, picture, study (or its file) or vector -> what it is painted by."""
        interrupt = interrupt or go_on
        if isinstance(style, Blend):
            return style
        found = named(self.gallery, style)
        if found:
            return Blend.of(found)
        if _looks_like_vector(style):
            return Blend(check_vector(style))
        study = _study(style)
        if study:
            self._check_origin(study)
            return Blend.of(study)
        picture = images.as_picture(style, self.settings, fit=images.shortest_side(READ_SIDE))
        interrupt()
        return Blend(read_style(self.runtime.predict, picture, interrupt=interrupt)[0])

    def mix(
        self, styles: Sequence[StyleSource] | Mapping[StyleSource, float], weights: Sequence[float] | None = None,
        interrupt: Interrupt | None = None,
    ) -> Blend:  # fmt: skip
        """The weighted mean of up to five styles; weights are scaled to sum to 1."""
        if isinstance(styles, Mapping):
            styles, weights = list(styles), list(styles.values())
        check_styles(len(styles), self.settings.max_styles)
        shares = check_weights(weights, len(styles))
        return blend([self.style(style, interrupt) for style in styles], shares)

    def brush_height(self, vector: np.ndarray) -> int:
        """Of the strokes that are laid on photos for a style vector (100,), in levels: as rough as its painting is."""
        return height_for(read_roughness(vector, self.roughness))

    def _check_origin(self, study: Study) -> None:
        """Added to other weights the same numbers paint something else."""
        if study.origin != self.transformer:
            raise ParameterError(
                "style",
                f"{study.name} was made for transformer {shown(study.origin)}, this one is {self.transformer}; "
                "study the painting again",
            )

    # Painting -------------------------------------------------------------------------------------------------------

    def stylize(
        self,
        photo: PictureSource,
        style: StyleSource | Mapping[StyleSource, float],
        strength: float = 1.0,
        size: int | str | None = None,
        keep_colors: bool = False,
        style_scale: float = 1.0,
        progress: Progress | None = None,
        interrupt: Interrupt | None = None,
        keep_light: bool = False,
    ) -> Image.Image:
        """`photo` painted in `style`: a gallery name, picture, study or vector, or a mix {style: weight}.

        strength: 0 is the photo, 1 the full style; size: longest side in pixels, None or "original" for the photo's
        own; keep_colors: keep the photo's chroma, take the painting's light;
        style_scale: how large the strokes are, 0.5 to 2; progress: told of every tile of a picture beyond 4 megapixels;
        keep_light: as dark and as bright as the photo, so that a night stays one;
        interrupt: called between stages and tiles, and what it raises ends the work.
        """
        chosen = self.mix(style if isinstance(style, Mapping) else [style], interrupt=interrupt)
        record = self.photo(photo, size, style_scale=style_scale, interrupt=interrupt)
        painted = self.paint(record, chosen, strength, keep_colors, progress=progress, interrupt=interrupt,
                             keep_light=keep_light)  # fmt: skip
        return images.to_pil(painted)

    def photo(
        self, source: PictureSource, size: int | str | None = None, *, largest: int | None = None,
        style_scale: float = 1.0, stopwatch: Stopwatch | None = None, interrupt: Interrupt | None = None,
    ) -> Photo:  # fmt: skip
        """The photo decoded and at its size; the same photo again costs nothing, while it is remembered.

        `size` shrinks or enlarges to that longest side; `largest`, for callers who named none, only shrinks. Strokes
        will be `style_scale` times as large beside it.
        """
        stopwatch = Stopwatch() if stopwatch is None else stopwatch
        size, style_scale = check_size(size, self.settings), check_style_scale(style_scale)
        with stopwatch("decode"):
            if isinstance(source, (Image.Image, np.ndarray)):
                source = images.as_picture(source, self.settings)
            name = "picture"
            if isinstance(source, (str, os.PathLike)):  # read once: a key of these bytes, and pixels of the same
                source, name = images.read(source), os.fspath(source)
            key = _content_key(source, size, largest, style_scale)
            remembered = self._recall(key)
            if remembered:
                return remembered
            target = painted = None

            def fit(own: tuple[int, int]) -> tuple[int, int]:
                """The larger of what is answered and what is painted, both judged before a pixel is decoded."""
                nonlocal target, painted
                wanted = min(max(own), largest or max(own)) if size is None else size
                target = own if wanted == max(own) else images.scaled(own, wanted / max(own))
                images.check_size(target, self.settings, f"the photo at size {wanted}")
                painted = images.scaled(target, 1 / style_scale)
                images.check_size(
                    painted, self.settings, f"the photo as it is painted with strokes {style_scale:g} times"
                )
                return max(target, painted)

            picture = images.as_picture(source, self.settings, fit, name)
        (interrupt or go_on)()
        with stopwatch("resize"):
            other = images.resize_to(picture, painted)
            picture = images.resize_to(picture, target)
        photo = Photo(picture, picture)
        if max(painted) > max(target):
            photo.canvas = other
        elif max(painted) < max(target):
            photo.draft = Photo(other, other)
        self._remember(key, photo)
        return photo

    def paint(
        self, photo: Photo, style: np.ndarray | Blend, strength: float = 1.0, keep_colors: bool = False,
        stopwatch: Stopwatch | None = None, progress: Progress | None = None, interrupt: Interrupt | None = None,
        keep_light: bool = False,
    ) -> Picture:  # fmt: skip
        """The photo painted by a style vector (100,) or a blend, the size that came in, its alpha kept."""
        interrupt = interrupt or go_on
        interrupt()
        stopwatch = Stopwatch() if stopwatch is None else stopwatch
        style = style if isinstance(style, Blend) else Blend(style)
        strength, vector, added = check_strength(strength), check_vector(style.vector)[None], style.added
        height = self.brush_height(vector[0])
        if strength == 0:
            return photo.picture
        if strength < 1:
            with photo.lock:
                if photo.own_vector is None:
                    with stopwatch("predict"):
                        photo.own_vector = read_style(self.runtime.predict, photo.picture, interrupt=interrupt)
            vector = strength * vector + (1 - strength) * photo.own_vector
            added = None if added is None else np.float32(strength) * added
        style, canvas = Blend(vector, added, height), photo
        if photo.draft:
            draft = self._paint(photo.draft, style, stopwatch, progress, interrupt)
            with stopwatch("resize"):
                canvas = _revised(photo, height, draft, strength * photo.draft_share)
        rgb = self._paint(canvas, style, stopwatch, progress, interrupt)
        interrupt()
        with stopwatch("finish"):
            rgb = faded(images.resize_to(Picture(rgb), photo.picture.size).rgb, photo.picture.rgb, strength)
            if keep_colors:
                rgb = images.keep_colors(rgb, photo.picture.rgb)
            if keep_light:
                rgb = images.keep_light(rgb, photo.picture.rgb)
        self._trim()
        return Picture(rgb, photo.picture.alpha)

    def _paint(
        self, photo: Photo, style: Blend, stopwatch: Stopwatch, progress: Progress | None, interrupt: Interrupt
    ) -> np.ndarray:
        """The canvas painted, (H, W, 3) uint8, in one piece or in tiles; the style's vector is (1, 100) here."""
        width, height = photo.canvas.size
        vector = np.ascontiguousarray(style.vector + octaves(width, height) * self.coarser, dtype=np.float32)
        style = replace(style, vector=vector)
        tile, samples = self._pieces(height, width)
        in_tiles = tile is not None
        with photo.lock:
            if photo.look is None:
                with stopwatch("survey"):
                    photo.look = tiles.survey(photo.canvas.rgb)
            if not in_tiles and style.height not in photo.features:
                with stopwatch("encode"):
                    canvas = pad(images.to_tensor(framed(_ground(photo, style.height))))
                    self._keep(photo, style.height, self.runtime.encode(canvas))
                interrupt()
            features = photo.features.get(style.height)
        if in_tiles:
            places = tiles.samples(height, width, photo.look, samples)
            plan = tiles.cover(height + 2 * EDGE, width + 2 * EDGE, tile)
            return self._paint_tiles(photo, style, places, plan, stopwatch, progress, interrupt)
        if photo.look.calm:  # the decoder's own statistics, which it takes while it paints, would blow it up
            with stopwatch("measure"):
                whole = tiles.weigh([(slice(-EDGE, height + EDGE), slice(-EDGE, width + EDGE))], photo.look)
                affine = self.runtime.measure([features], style.vector, whole, photo.look.floor, style.added)
            interrupt()
        with stopwatch("paint"):
            if photo.look.calm:
                stylised = self.runtime.decode_tile(features, affine, style.vector, style.added)
            else:
                stylised = self.runtime.decode(features, style.vector, style.added)
        with stopwatch("finish"):
            return picture_of(stylised, height, width)

    def _keep(self, photo: Photo, height: int, features: object) -> None:
        """Of a small photo, which a wall shows in all styles, all heights; of a large one the last."""
        if (len(photo.features) + 1) * self.runtime.feature_bytes(features) > FEATURE_BYTES:
            photo.features.clear()
        photo.features[height] = features

    def _pieces(self, height: int, width: int) -> tuple[int | None, int]:
        """(side of a tile, samples), the best for which there is memory; (None, 0) paints in one piece."""
        ways = [] if height * width > tiles.WHOLE_PIXELS else [(None, 0)]
        if min(height, width) >= tiles.SAMPLE_SIDE:
            ways += tiles.pieces()
        for tile, samples in ways:
            piece = tile and max(tile**2, samples * tiles.SAMPLE_SIDE**2)
            try:
                self.runtime.check_memory(height + 2 * EDGE, width + 2 * EDGE, piece)
                return tile, samples
            except (OutOfMemory, PictureOutOfBounds) as refusal:
                least = refusal
        raise least

    def _paint_tiles(
        self, photo: Photo, style: Blend, places: list, plan: list[tiles.Tile], stopwatch: Stopwatch,
        progress: Progress | None, interrupt: Interrupt,
    ) -> np.ndarray:  # fmt: skip
        """A picture too large for one piece: statistics from samples, then tile by tile, (H, W, 3) uint8."""
        rgb, look = framed(_ground(photo, style.height)), photo.look

        def encode(seen: np.ndarray, rows: slice, columns: slice) -> object:
            interrupt()
            return self.runtime.encode(pad(images.to_tensor(seen[rows, columns])))

        with stopwatch("measure"):
            features = [encode(unframed(rgb), *place) for place in places]
            affine = self.runtime.measure(
                features, style.vector, tiles.weigh(places, look), look.floor, style.added
            )
            del features
        painted = np.empty_like(rgb)
        with stopwatch("paint"):
            for count, tile in enumerate(plan, 1):
                stylised = self.runtime.decode_tile(encode(rgb, *tile.read), affine, style.vector, style.added)
                painted[tile.keep] = images.from_tensor(stylised[:, :, *tile.inside])
                if progress:
                    progress(count, len(plan))
        memory.give_back()
        return unframed(painted)

    # Photos remembered, in memory only ------------------------------------------------------------------------------

    @property
    def photos_kept(self) -> int:
        return len(self._photos)

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

    def _forget_oldest(self) -> bool:
        """For the runtime, where memory is short: whether there was a photo to forget."""
        with self._photos_lock:
            return bool(self._photos and self._photos.popitem(last=False))

    def _bytes(self, photo: Photo) -> int:
        features = sum(map(self.runtime.feature_bytes, list(photo.features.values())))
        alpha = 0 if photo.picture.alpha is None else photo.picture.alpha.nbytes
        canvas = 0 if photo.canvas is photo.picture else photo.canvas.rgb.nbytes
        draft = self._bytes(photo.draft) if photo.draft else 0
        return photo.picture.rgb.nbytes + alpha + canvas + draft + features


def pad(content: np.ndarray) -> np.ndarray:
    """Mirror the last rows and columns until both sides are multiples of the encoder's stride."""
    height, width = content.shape[2:]
    below, beside = -height % tiles.STRIDE, -width % tiles.STRIDE
    if not below and not beside:
        return content
    return np.pad(content, ((0, 0), (0, 0), (0, below), (0, beside)), mode="reflect")


def picture_of(stylised: np.ndarray, height: int, width: int) -> np.ndarray:
    """Without what `framed` and `pad` added: (1, 3, H, W) in [0, 1] -> (height, width, 3) uint8."""
    return images.from_tensor(stylised[:, :, EDGE : EDGE + height, EDGE : EDGE + width])


def framed(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) with EDGE mirrored pixels around it."""
    return np.pad(rgb, ((EDGE, EDGE), (EDGE, EDGE), (0, 0)), mode="reflect")


def unframed(rgb: np.ndarray) -> np.ndarray:
    """Without them again."""
    return rgb[EDGE:-EDGE, EDGE:-EDGE]


def _revised(photo: Photo, height: int, draft: np.ndarray, share: float) -> Photo:
    """The canvas with so much of the painted draft, enlarged: what is painted over it has that one's large strokes, and
    is sharp, where the draft alone would look out of focus."""
    enlarged = images.resize_to(Picture(draft), photo.canvas.size).rgb
    canvas = Picture(images.lerp(_ground(photo, height), enlarged, share))
    return Photo(canvas, canvas, brushed=True)


def _ground(photo: Photo, height: int) -> np.ndarray:
    """What the encoder sees of a canvas, (H, W, 3) uint8."""
    return photo.canvas.rgb if photo.brushed else brushed(photo.canvas, height, photo.look).rgb


def brushed(picture: Picture, height: float, look: tiles.Survey | None = None) -> Picture:
    """A photo with brushwork on its plain places, of such a deviation in levels, as it is painted.

    Its strokes grow with the picture by half as many octaves as a style's: within broader ones there is room for a
    hatch. A nearly blank page has less of it, and one of a single colour none: it is to stay blank.
    """
    look = look or tiles.survey(picture.rgb)
    bare = max(look.floor, look.share / tiles.THINGS_SHARE)
    return with_brushwork(picture, (1 - bare) * height, 2 ** (octaves(*picture.size) / 2))


def faded(painted: np.ndarray, photo: np.ndarray, strength: float) -> np.ndarray:
    """What was painted at a low strength, with so much of the photo that the slider ends at it; (H, W, 3) uint8.

    The networks give a photo back only nearly, painted by its own vector.
    """
    return images.lerp(photo, painted, strength / FADE) if strength < FADE else painted


def check_gallery(origins: Sequence[str], predictor: str) -> None:
    """WeightsError where the gallery's vectors are of another predictor's space: to this one they mean other styles."""
    if origins and predictor not in origins:
        raise WeightsError(
            f"the gallery was made by another predictor ({', '.join(origins)}; this one is {predictor}); choose that "
            "one, or make its vectors anew: python -m stylizer.training.vectors"
        )


def read_style(
    predict: Callable[[np.ndarray], np.ndarray], picture: Picture, side: int = READ_SIDE, interrupt: Interrupt = go_on
) -> np.ndarray:
    """Style vector (1, 100) of a painting or a photo: the mean over the squares that cover it, four to six at 384 px.

    The predictor was trained on squares cut out of paintings; by one look at the whole, made smaller, pictures come
    out further from the style (docs/design.md). `predict` takes a square, (1, 3, 256, 256) in [0, 1].
    """
    tensor = images.to_tensor(images.resize_shorter(picture, side).rgb)
    rows, columns = (starts(length) for length in tensor.shape[-2:])
    vectors = []
    for top, left in itertools.product(rows, columns):
        interrupt()
        vectors.append(predict(np.ascontiguousarray(tensor[..., top : top + STYLE_SIDE, left : left + STYLE_SIDE])))
    return np.mean(vectors, axis=0)


def octaves(width: int, height: int) -> float:
    """How many times `coarser` is added to a vector for a picture of this size, 0 to 1.5: once at 896 px.

    A vector says how large strokes are in pixels, so a picture of twice the size would be painted half as broadly.
    """
    return min(max(math.log2(max(width, height) / READ_FOR), 0.0), MOST_OCTAVES)


def starts(length: int) -> list[int]:
    """Where squares begin that cover a length, as few as can be, evenly spread: 768 -> [0, 256, 512]."""
    last = -(-length // STYLE_SIDE) - 1
    return [index * (length - STYLE_SIDE) // max(1, last) for index in range(last + 1)]


def _study(style: object) -> Study | None:
    """The study that this is, or whose file or bytes it is; None for what is no study."""
    if isinstance(style, Study):
        return style
    if isinstance(style, (str, os.PathLike)) and os.fspath(style).endswith(SUFFIX):
        return studies.read(Path(style))
    if isinstance(style, (bytes, bytearray)) and studies.looks_like_study(style):
        return studies.parse(style)
    return None


def _looks_like_vector(style: object) -> bool:
    """Arrays and lists of one dimension (or one row) are vectors; arrays of more are pictures."""
    if isinstance(style, np.ndarray):
        return style.ndim == 1 or style.shape == (1, VECTOR_SIZE)
    return isinstance(style, (list, tuple))


def _content_key(source: bytes | Picture, *sizes: int | None) -> bytes:
    """Names a photo's pixels at a size, for the memory of photos."""
    digest = hashlib.blake2b(repr(sizes).encode(), digest_size=16)
    if isinstance(source, (bytes, bytearray, memoryview)):
        digest.update(source)
    elif isinstance(source, Picture):
        digest.update(repr(source.size).encode())
        digest.update(np.ascontiguousarray(source.rgb))
        digest.update(b"" if source.alpha is None else np.ascontiguousarray(source.alpha))
    else:
        digest.update(repr(source).encode())  # as_picture says what is wrong with it
    return digest.digest()
