"""Stylizer: photo + style vector -> painted photo. Everything users do with styles is arithmetic on their vectors."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from PIL import Image

from stylizer import images, memory, tiles, weights
from stylizer.brushwork import height_for, read_roughness
from stylizer.canvas import EDGE, faded, framed, pad, picture_of, unframed
from stylizer.errors import OutOfMemory, ParameterError, PictureOutOfBounds, shown
from stylizer.images import Picture, PictureSource, Size
from stylizer.parameters import (
    VECTOR_SIZE,
    check_size,
    check_strength,
    check_style_scale,
    check_styles,
    check_vector,
    check_weights,
)
from stylizer.photos import Photo, Photos, content_key
from stylizer.progress import Interrupt, OnTile, go_on
from stylizer.reading import READ_SIDE, Reader, octaves
from stylizer.runtimes import make_runtime
from stylizer.settings import Settings
from stylizer.studies import Study, as_study
from stylizer.styles import Blend, Style, blend, check_predictor, named, read_gallery, read_vectors

StyleSource = PictureSource | Sequence[float] | Study | Blend


class Stopwatch(dict[str, float]):
    """{stage: seconds}, for Server-Timing and benchmarks."""

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self[stage] = self.get(stage, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Watch:
    """Timing, progress per tile, and interruption of a painting in progress."""

    stopwatch: Stopwatch
    on_tile: OnTile | None
    interrupt: Interrupt


class Stylizer:
    """Paints photos. Make one and keep it: loading takes half a second, and photos are cached between calls.

    `device` is auto, cpu, cuda or torch-cpu. WeightsError if a weight file or the gallery is missing or altered.
    """

    def __init__(self, device: str | None = None, settings: Settings | None = None):
        settings = settings or Settings.from_env()
        self.settings = replace(settings, device=device) if device else settings
        self.runtime = make_runtime(self.settings)
        self.reader = Reader(self.runtime.predict)
        self.gallery: dict[str, Style] = read_gallery(self.settings.styles)
        stored = read_vectors(self.settings.styles)
        self.coarser, self.roughness = stored.coarser, stored.roughness
        predictor = weights.fingerprint(self.settings.models, f"{self.settings.predictor_stem}.safetensors")
        self.model = f"{self.settings.predictor_stem}@{predictor}"
        check_predictor(stored.predictors, predictor)
        self.fingerprint = weights.fingerprint(self.settings.models, f"{self.settings.transformer_stem}.safetensors")
        for name, style in self.gallery.items():
            if style.study and style.study.origin != self.fingerprint:  # for other weights: use its vector instead
                self.gallery[name] = replace(style, study=None)
        self.takes_studies = self.runtime.takes_studies
        self.photos = Photos(
            self.settings.cached_photos, self.settings.cached_megabytes * 2**20, self.runtime.feature_bytes
        )
        self.runtime.forget = self.photos.forget_oldest

    # Styles ---------------------------------------------------------------------------------------------------------

    def style_vector(self, style: StyleSource, interrupt: Interrupt | None = None) -> np.ndarray:
        """A gallery name, picture, study or vector -> its style vector, float32 (100,)."""
        return self.style(style, interrupt).vector

    def style(self, style: StyleSource, interrupt: Interrupt | None = None) -> Blend:
        """A gallery name, picture, study (or its file) or vector -> the blend to paint with."""
        interrupt = interrupt or go_on
        if isinstance(style, Blend):
            return style
        found = named(self.gallery, style)
        if found:
            return Blend.of(found)
        if _looks_like_vector(style):
            return Blend(check_vector(style))
        study = as_study(style)
        if study:
            self._check_origin(study)
            return Blend.of(study)
        source = cast(PictureSource, style)  # nothing else is left, and as_picture refuses anything but pictures
        picture = images.as_picture(source, self.settings, fit=images.shortest_side(READ_SIDE))
        interrupt()
        return Blend(self.reader.read(picture, interrupt)[0])

    def mix(
        self,
        styles: Sequence[StyleSource] | Mapping[StyleSource, float],
        weights: Sequence[float] | None = None,
        interrupt: Interrupt | None = None,
    ) -> Blend:
        """The weighted mean of up to five styles; weights are scaled to sum to 1."""
        if isinstance(styles, Mapping):
            weights, styles = list(styles.values()), list(styles)
        check_styles(len(styles), self.settings.max_styles)
        shares = check_weights(weights, len(styles))
        return blend([self.style(style, interrupt) for style in styles], shares)

    def brush_height(self, vector: np.ndarray) -> int:
        """Height of the brushwork for a style vector (100,), in levels: as rough as its painting."""
        return height_for(read_roughness(vector, self.roughness))

    def _check_origin(self, study: Study) -> None:
        """Raise ParameterError for a study of another transformer: its numbers mean nothing to other weights."""
        if study.origin != self.fingerprint:
            raise ParameterError(
                "style",
                f"{study.name} was made for transformer {shown(study.origin)}, but this one is {self.fingerprint}; "
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
        progress: OnTile | None = None,
        interrupt: Interrupt | None = None,
        keep_light: bool = False,
    ) -> Image.Image:
        """`photo` painted in `style`: a gallery name, picture, study or vector, or a mix {style: weight}.

        strength: 0 is the photo, 1 the full style; size: longest side in pixels, None or "original" for the photo's
        own; keep_colors: keep the photo's chroma, change only its luma;
        style_scale: size of the strokes, 0.5 to 2; progress: called after every tile of a picture above 4 megapixels;
        keep_light: keep the photo's distribution of light and dark, so that night stays night;
        interrupt: called between stages and tiles; raise in it to stop.
        """
        chosen = self.mix(style if isinstance(style, Mapping) else [style], interrupt=interrupt)
        record = self.photo(photo, size, style_scale=style_scale, interrupt=interrupt)
        painted = self.paint(
            record, chosen, strength, keep_colors, progress=progress, interrupt=interrupt, keep_light=keep_light
        )
        return images.to_pil(painted)

    def photo(
        self,
        source: PictureSource,
        size: int | str | None = None,
        *,
        largest: int | None = None,
        style_scale: float = 1.0,
        stopwatch: Stopwatch | None = None,
        interrupt: Interrupt | None = None,
    ) -> Photo:
        """The photo, decoded and resized; repeating a call costs nothing while the photo is cached.

        `size` shrinks or enlarges to that longest side; `largest`, for callers without a `size`, only shrinks. Strokes
        will be `style_scale` times as large.
        """
        stopwatch = Stopwatch() if stopwatch is None else stopwatch
        size, style_scale = check_size(size, self.settings), check_style_scale(style_scale)
        with stopwatch("decode"):
            if isinstance(source, (Image.Image, np.ndarray)):
                source = images.as_picture(source, self.settings)
            name = "picture"
            if isinstance(source, (str, os.PathLike)):  # read once, so that key and pixels come from the same bytes
                name, source = os.fspath(source), images.read(source)
            key = content_key(source, size, largest, style_scale)
            remembered = self.photos.recall(key)
            if remembered:
                return remembered
            target: Size
            painted: Size  # `fit` sets both

            def fit(own: Size) -> Size:
                """The larger of result and canvas, both checked before any pixels are decoded."""
                nonlocal target, painted
                wanted = min(max(own), largest or max(own)) if size is None else size
                target = own if wanted == max(own) else images.scaled(own, wanted / max(own))
                images.check_bounds(target, self.settings, f"the photo at size {wanted}")
                painted = images.scaled(target, 1 / style_scale)
                images.check_bounds(painted, self.settings, f"the canvas for strokes {style_scale:g} times as large")
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
        self.photos.remember(key, photo)
        return photo

    def paint(
        self,
        photo: Photo,
        style: np.ndarray | Blend,
        strength: float = 1.0,
        keep_colors: bool = False,
        stopwatch: Stopwatch | None = None,
        progress: OnTile | None = None,
        interrupt: Interrupt | None = None,
        keep_light: bool = False,
    ) -> Picture:
        """The photo painted with a style vector (100,) or a blend, at its own size and with its alpha."""
        watch = Watch(Stopwatch() if stopwatch is None else stopwatch, progress, interrupt or go_on)
        watch.interrupt()
        strength, style = check_strength(strength), style if isinstance(style, Blend) else Blend(style)
        vector = check_vector(style.vector)
        style = Blend(vector[None], style.added, self.brush_height(vector))
        if strength == 0:
            return photo.picture
        if strength < 1:
            style = self._weakened(style, photo, strength, watch)
        canvas = photo
        if photo.draft:
            draft = self._paint(photo.draft, style, watch)
            with watch.stopwatch("resize"):
                canvas = photo.over_draft(draft, style.height, strength * photo.draft_share)
        rgb = self._paint(canvas, style, watch)
        watch.interrupt()
        with watch.stopwatch("finish"):
            rgb = faded(images.resize_to(Picture(rgb), photo.picture.size).rgb, photo.picture.rgb, strength)
            if keep_colors:
                rgb = images.keep_colors(rgb, photo.picture.rgb)
            if keep_light:
                rgb = images.keep_light(rgb, photo.picture.rgb)
        self.photos.trim()
        return Picture(rgb, photo.picture.alpha)

    def _weakened(self, style: Blend, photo: Photo, strength: float, watch: Watch) -> Blend:
        """Interpolate from the photo's own style (strength 0) to this one (1); the brushwork keeps its height."""
        with photo.lock:
            if photo.own_vector is None:
                with watch.stopwatch("predict"):
                    photo.own_vector = self.reader.read(photo.picture, watch.interrupt)
        vector = strength * style.vector + (1 - strength) * photo.own_vector
        return replace(style, vector=vector, added=None if style.added is None else np.float32(strength) * style.added)

    def _paint(self, photo: Photo, style: Blend, watch: Watch) -> np.ndarray:
        """Paint the canvas, in one piece or in tiles: (H, W, 3) uint8. The style's vector is (1, 100) here."""
        width, height = photo.canvas.size
        vector = np.ascontiguousarray(style.vector + octaves(width, height) * self.coarser, dtype=np.float32)
        style = replace(style, vector=vector)
        tile, samples = self._pieces(height, width)
        with photo.lock:
            if photo.look is None:
                with watch.stopwatch("survey"):
                    photo.look = tiles.survey(photo.canvas.rgb)
            look = photo.look
        if tile is None:
            return self._paint_whole(photo, look, style, watch)
        places = tiles.samples(height, width, look, samples)
        plan = tiles.cover(height + 2 * EDGE, width + 2 * EDGE, tile)
        return self._paint_tiles(photo, look, style, places, plan, watch)

    def _paint_whole(self, photo: Photo, look: tiles.Survey, style: Blend, watch: Watch) -> np.ndarray:
        width, height = photo.canvas.size
        with photo.lock:
            if style.height not in photo.features:
                with watch.stopwatch("encode"):
                    canvas = pad(images.to_tensor(framed(photo.ground(style.height))))
                    photo.keep(style.height, self.runtime.encode(canvas, look.calm), self.runtime.feature_bytes)
                watch.interrupt()
            features = photo.features[style.height]
        if look.calm:  # normalising by the picture's own statistics would amplify noise
            with watch.stopwatch("measure"):
                whole = tiles.weigh([(slice(-EDGE, height + EDGE), slice(-EDGE, width + EDGE))], look)
                affine = self.runtime.measure([features], style.vector, whole, look.floor, style.added)
            watch.interrupt()
        with watch.stopwatch("paint"):
            if look.calm:
                stylised = self.runtime.decode_tile(features, affine, style.vector, style.added)
            else:
                stylised = self.runtime.decode(features, style.vector, style.added)
        with watch.stopwatch("finish"):
            return picture_of(stylised, height, width)

    def _pieces(self, height: int, width: int) -> tuple[int | None, int]:
        """(side of a tile, samples), the best that fits in memory; (None, 0) paints in one piece."""
        ways: list[tuple[int | None, int]] = [] if height * width > tiles.WHOLE_PIXELS else [(None, 0)]
        if min(height, width) >= tiles.SAMPLE_SIDE:
            ways += tiles.pieces()
        ways = ways or [(None, 0)]  # long and too narrow for samples
        for tile, samples in ways:
            piece = tile and max(tile**2, samples * tiles.SAMPLE_SIDE**2)
            try:
                self.runtime.check_memory(height + 2 * EDGE, width + 2 * EDGE, piece)
                return tile, samples
            except (OutOfMemory, PictureOutOfBounds) as refusal:
                least = refusal
        raise least

    def _paint_tiles(
        self,
        photo: Photo,
        look: tiles.Survey,
        style: Blend,
        places: list[tuple[slice, slice]],
        plan: list[tiles.Tile],
        watch: Watch,
    ) -> np.ndarray:
        """Paint a picture too large for one piece: statistics from samples, then tile by tile. (H, W, 3) uint8."""
        rgb = framed(photo.ground(style.height))

        def encode(seen: np.ndarray, rows: slice, columns: slice) -> object:
            watch.interrupt()
            return self.runtime.encode(pad(images.to_tensor(seen[rows, columns])), look.calm)

        with watch.stopwatch("measure"):
            features = [encode(unframed(rgb), *place) for place in places]
            affine = self.runtime.measure(features, style.vector, tiles.weigh(places, look), look.floor, style.added)
            del features
        painted = np.empty_like(rgb)
        with watch.stopwatch("paint"):
            for count, tile in enumerate(plan, 1):
                stylised = self.runtime.decode_tile(encode(rgb, *tile.read), affine, style.vector, style.added)
                painted[tile.keep] = images.from_tensor(stylised[:, :, *tile.inside])
                if watch.on_tile:
                    watch.on_tile(count, len(plan))
        memory.give_back()
        return unframed(painted)


def _looks_like_vector(style: object) -> bool:
    """Lists, and arrays of one dimension or one row, are vectors; other arrays are pictures."""
    if isinstance(style, np.ndarray):
        return style.ndim == 1 or style.shape == (1, VECTOR_SIZE)
    return isinstance(style, (list, tuple))
