"""The HTTP API. A route makes one call into the engine and writes the answer; it stores nothing."""

import base64
import json
import math
import threading
from collections.abc import Iterator

import numpy as np
from flask import Blueprint, Response, jsonify, request, stream_with_context
from werkzeug.exceptions import NotFound

from stylizer import images
from stylizer.contract import PATHS, TILE_FORMAT
from stylizer.errors import NotReady, ParameterError, UnknownStyle
from stylizer.feedforward import Interrupt, Stopwatch, Stylizer
from stylizer.images import FORMATS
from stylizer.parameters import check_size, check_style_scale
from stylizer.settings import Settings
from stylizer.styles import Blend, Style, find
from stylizer.web.form import (
    boolean,
    expect_fields,
    picture_format,
    picture_size,
    styles_of_mix,
    tiles_of_wall,
    upload,
    wall_side,
)
from stylizer.web.openapi import docs_page, specification
from stylizer.web.problems import describe
from stylizer.web.samples import SAMPLE, SAMPLE_SIDE, TILE_QUALITY, SampleTiles
from stylizer.web.turns import Turns

READ = 0.2  # reading a style costs as much as painting so many megapixels
STYLE_FIELDS = frozenset(("style", "style_name", "style_vector", "weight", "strength", "style_scale"))
STYLIZE_FIELDS = STYLE_FIELDS | {"content", "size", "keep_colors", "keep_light", "format"}
WALL_FIELDS = frozenset(("content", "size", "style", "style_name", "style_vector"))


def make_api(stylizer: Stylizer, turns: Turns) -> Blueprint:
    """The routes, around one engine that all requests share."""
    api, settings = Blueprint("api", __name__), stylizer.settings
    tiles, samples = SampleTiles(stylizer), {}
    ready = threading.Event()

    @api.post(f"/{PATHS['stylize']}")
    def stylize() -> Response:
        expect_fields(STYLIZE_FIELDS)
        stopwatch, form, interrupt = Stopwatch(), request.form, interrupt_of(request.environ)
        request.environ["stylizer.stages"] = stopwatch
        content = upload("content")
        format = picture_format()
        size, scale = picture_size(settings), form.get("style_scale", 1.0)
        keep_colors, keep_light = boolean("keep_colors"), boolean("keep_light")
        largest = settings.api_size if size is None else None
        megapixels = megapixels_painted(content, size, largest, scale, settings)
        with turns.enter(megapixels) as place, place.turn(megapixels, interrupt) as between_tiles:
            with stopwatch("style"):
                chosen = stylizer.mix(styles_of_mix(stylizer, interrupt), form.getlist("weight"))
            photo = stylizer.photo(
                content, size, largest=largest, style_scale=scale, stopwatch=stopwatch, interrupt=interrupt
            )
            strength = form.get("strength", 1.0)
            painted = stylizer.paint(
                photo, chosen, strength, keep_colors, stopwatch, between_tiles, interrupt, keep_light
            )
            interrupt()
            with stopwatch("encode-picture"):
                data = images.encode(painted, format)
        return Response(data, mimetype=FORMATS[format], headers={
            "Cache-Control": "no-store",
            "Server-Timing": ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in stopwatch.items()),
        })  # fmt: skip

    @api.post(f"/{PATHS['wall']}")
    def wall() -> Response:
        expect_fields(WALL_FIELDS)
        content, wanted, side = upload("content"), tiles_of_wall(stylizer), wall_side()
        interrupt, megapixels = interrupt_of(request.environ), side**2 / 1e6
        place = turns.enter(megapixels)  # for all of the wall: it is a thread, too
        try:
            with place.turn(megapixels, interrupt):
                photo = stylizer.photo(content, largest=side, interrupt=interrupt)
        except BaseException:
            place.leave()
            raise

        def painted() -> Iterator[bytes]:
            try:
                for index, (name, style) in enumerate(wanted):
                    # A turn is for one tile: a painting that is wanted meanwhile waits for no more than that.
                    with place.turn(megapixels, interrupt, patient=True):  # what was begun is not broken off
                        tile = stylizer.paint(photo, Blend.of(style), interrupt=interrupt)
                        picture = images.encode(tile, TILE_FORMAT, quality=TILE_QUALITY)
                    yield json_line({"index": index, "style": name, "picture": base64.b64encode(picture).decode()})
            except Exception as error:  # the status went out with the first tile, so the words come as the last line
                yield json_line({"problem": describe(error)})
            finally:
                place.leave()

        response = Response(stream_with_context(painted()), mimetype="application/x-ndjson", headers={
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # a proxy that gathered the tiles would hide that they come one by one
        })  # fmt: skip
        response.call_on_close(place.leave)  # a generator that was never begun does not come to its end
        return response

    @api.post(f"/{PATHS['vectors']}")
    def vectors() -> Response:
        expect_fields({"style"})
        style, interrupt = upload("style"), interrupt_of(request.environ)
        with turns.enter(READ) as place, place.turn(READ, interrupt):
            vector = stylizer.style_vector(style, interrupt)
        response = jsonify(model=stylizer.model, vector=[float(number) for number in vector])
        response.headers["Cache-Control"] = "no-store"
        return response

    @api.get("/api/v1/styles")
    def styles() -> Response:
        gallery = stylizer.gallery.values()
        return jsonify(
            [{key: getattr(style, key) for key in ("name", "title", "artist", "year", "kind")} for style in gallery]
        )

    def named(name: str) -> Style:
        try:
            return find(stylizer.gallery, name)
        except UnknownStyle as unknown:
            unknown.status = 404
            raise

    @api.get("/api/v1/styles/<name>/picture.webp")
    def picture(name: str) -> Response:
        style = named(name)
        if style.picture is None:
            raise NotFound(f"of {name} only the style vector is stored; originals alone have a picture")
        small = images.resize(images.as_picture(settings.styles / style.picture, settings), SAMPLE_SIDE)
        data = images.encode(small, "webp", quality=TILE_QUALITY)
        return Response(data, mimetype="image/webp", headers={"Cache-Control": "public, max-age=86400"})

    @api.get("/api/v1/styles/<name>/sample.webp")
    def sample(name: str) -> Response:
        style, version = named(name), request.args.get("v")
        if version not in (None, tiles.version(style)):
            raise NotFound(f"there is no tile of {name} in that version; the page has the addresses of those there are")
        if name not in samples:
            megapixels = SAMPLE_SIDE**2 / 1e6
            with turns.enter(megapixels) as place, place.turn(megapixels, interrupt_of(request.environ)):
                photo = stylizer.photo(settings.assets / SAMPLE, SAMPLE_SIDE)
                samples[name] = images.encode(stylizer.paint(photo, Blend.of(style)), "webp", quality=TILE_QUALITY)
        kept = "public, max-age=31536000, immutable" if version else "no-cache"
        return Response(samples[name], mimetype="image/webp", headers={"Cache-Control": kept})

    @api.get("/api/v1/openapi.json")
    def openapi() -> Response:
        return jsonify(specification(settings))

    @api.get("/api/docs")
    def docs() -> Response:
        return Response(docs_page(specification(settings)), mimetype="text/html")

    @api.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @api.get("/readyz")
    def readyz() -> Response:
        if not ready.is_set():
            flat = np.full((settings.min_side, settings.min_side, 3), 128, np.uint8)
            try:
                stylizer.paint(stylizer.photo(flat), next(iter(stylizer.gallery.values())).vector)
            except Exception as cause:
                raise NotReady("a trial painting failed; the log says why") from cause
            ready.set()
        pair = f"{stylizer.model} {settings.transformer_stem}@{stylizer.transformer}"
        return Response(f"ready: {pair}\n", mimetype="text/plain")

    return api


def json_line(record: dict) -> bytes:
    return json.dumps(record).encode() + b"\n"


def interrupt_of(environ: dict) -> Interrupt:
    """Raises once the client has gone, the time for an answer is over or the server stops; under our server alone."""
    return environ.get("stylizer.interrupt", lambda: None)


def megapixels_painted(
    content: bytes, size: str | None, largest: int | None, style_scale: object, settings: Settings
) -> float:
    """What a painting costs, by the photo's header and the size that is asked for.

    ParameterError for an enlargement beyond bounds: a photo of a kilobyte must not cost minutes.
    """
    own, wanted = images.measure(content, settings), check_size(size, settings)
    longest = wanted or min(max(own), largest or max(own))
    target = images.scaled(own, longest / max(own))
    most = max(own) * max(1.0, math.sqrt(settings.enlarge_megapixels * 1e6 / math.prod(own)))
    if longest > most:
        raise ParameterError(
            "size",
            f"size is {longest}, which would enlarge this photo of {own[0]}x{own[1]} to "
            f"{math.prod(target) / 1e6:.1f} megapixels; ask for at most {int(most)} pixels",
        )
    other = check_style_scale(style_scale) ** -2  # of the pixels: painted in their place, or before them as a draft
    return math.prod(target) * (other if other >= 1 else 1 + other) / 1e6
