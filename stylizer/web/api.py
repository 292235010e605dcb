"""The HTTP API. A route makes one call into the engine and writes the answer; it stores nothing."""

import base64
import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from flask import Blueprint, Response, jsonify, request, stream_with_context
from werkzeug.exceptions import ClientDisconnected, NotFound

from stylizer import images
from stylizer.errors import Busy, NotReady, UnknownStyle
from stylizer.feedforward import Progress, Stopwatch, Stylizer
from stylizer.images import FORMATS
from stylizer.styles import Style, find
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

STYLE_FIELDS = frozenset(("style", "style_name", "style_vector", "weight", "strength", "style_scale"))
STYLIZE_FIELDS = STYLE_FIELDS | {"content", "size", "keep_colors", "format"}
WALL_FIELDS = frozenset(("content", "size", "style_name", "style_vector"))


def make_api(stylizer: Stylizer) -> Blueprint:
    """The routes, around one engine that all requests share."""
    api, settings = Blueprint("api", __name__), stylizer.settings
    slots = threading.BoundedSemaphore(settings.slots)
    tiles, samples = SampleTiles(stylizer), {}
    ready = threading.Event()

    @contextmanager
    def slot() -> Iterator[None]:
        if not slots.acquire(timeout=settings.queue_seconds):
            raise Busy("more pictures are being painted than this server takes at a time; try again in a few seconds")
        try:
            yield
        finally:
            slots.release()

    @api.post("/api/v1/stylize")
    def stylize() -> Response:
        expect_fields(STYLIZE_FIELDS)
        stopwatch, form = Stopwatch(), request.form
        content = upload("content")
        format = picture_format()
        keep_colors, size = boolean("keep_colors"), picture_size(settings)
        with slot():
            with stopwatch("style"):
                vector = stylizer.mix(styles_of_mix(stylizer), form.getlist("weight"))
            largest = settings.api_size if size is None else None
            scale = form.get("style_scale", 1.0)
            photo = stylizer.photo(content, size, largest=largest, style_scale=scale, stopwatch=stopwatch)
            strength, gone = form.get("strength", 1.0), _end_if_gone(request.environ)
            painted = stylizer.paint(photo, vector, strength, keep_colors, stopwatch, progress=gone)
            with stopwatch("encode-picture"):
                data = images.encode(painted, format)
        return Response(data, mimetype=FORMATS[format], headers={
            "Cache-Control": "no-store",
            "Server-Timing": ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in stopwatch.items()),
        })  # fmt: skip

    @api.post("/api/v1/wall")
    def wall() -> Response:
        expect_fields(WALL_FIELDS)
        content, wanted, side = upload("content"), tiles_of_wall(stylizer), wall_side()
        with slot():
            photo = stylizer.photo(content, largest=side)

        def painted() -> Iterator[bytes]:
            try:
                for index, (name, vector) in enumerate(wanted):
                    with slot():  # for one tile: a painting that is wanted meanwhile waits for no more than that
                        picture = images.encode(stylizer.paint(photo, vector), "webp", quality=TILE_QUALITY)
                    yield json_line({"index": index, "style": name, "picture": base64.b64encode(picture).decode()})
            except Exception as error:  # the status went out with the first tile, so the words come as the last line
                yield json_line({"problem": describe(error)})

        return Response(stream_with_context(painted()), mimetype="application/x-ndjson", headers={
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # a proxy that gathered the tiles would hide that they come one by one
        })  # fmt: skip

    @api.post("/api/v1/vectors")
    def vectors() -> Response:
        expect_fields({"style"})
        with slot():
            vector = stylizer.style_vector(upload("style"))
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
            with slot():
                photo = stylizer.photo(settings.assets / SAMPLE, SAMPLE_SIDE)
                samples[name] = images.encode(stylizer.paint(photo, style.vector), "webp", quality=TILE_QUALITY)
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


def _end_if_gone(environ: dict) -> Progress:
    """Ends a painting of many tiles when whoever asked for it has closed the connection."""
    connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")

    def look(_done: int, _total: int) -> None:
        if connection is not None and select.select([connection], [], [], 0)[0] and not _peek(connection):
            raise ClientDisconnected

    return look


def _peek(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return b""
