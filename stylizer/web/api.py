"""The HTTP API. A route reads the request, makes one call into the engine and writes the answer; it stores nothing."""

import base64
import json
import logging
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from flask import Blueprint, Response, current_app, jsonify, request, stream_with_context
from werkzeug.exceptions import ClientDisconnected, HTTPException, NotFound

from stylizer import images
from stylizer.errors import (
    Busy,
    EmptyInput,
    MalformedRequest,
    NotReady,
    ParameterError,
    StylizerError,
    TooManyBytes,
    UnknownStyle,
)
from stylizer.feedforward import Progress, Stopwatch, Stylizer, check_vector
from stylizer.images import FORMATS
from stylizer.settings import BOOLEANS
from stylizer.styles import Style, find
from stylizer.web.openapi import WALL_SIDE, WALL_SIDES, WALL_TILES, docs_page, specification

SAMPLE = "sample.jpg"  # in assets/: stands in until there is a photo
SAMPLE_SIDE = 240  # pixels; a gallery tile on a dense display
TILE_QUALITY = 80  # of WebP
STYLE_FIELDS = frozenset(("style", "style_name", "style_vector", "weight", "strength", "style_scale"))
STYLIZE_FIELDS = STYLE_FIELDS | {"content", "size", "keep_colors", "format"}
WALL_FIELDS = frozenset(("content", "size", "style_name", "style_vector"))

log = logging.getLogger("stylizer")


def make_api(stylizer: Stylizer) -> Blueprint:
    """The routes, around one engine that all requests share."""
    api, settings = Blueprint("api", __name__), stylizer.settings
    slots = threading.BoundedSemaphore(settings.slots)
    samples: dict[str, bytes] = {}
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
        format = form.get("format", "png")
        if format not in FORMATS:
            raise ParameterError("format", f"format is {format!r}; choose from {', '.join(FORMATS)}")
        keep_colors, size = _boolean("keep_colors"), form.get("size")
        with slot():
            with stopwatch("style"):
                vector = stylizer.mix(_styles(stylizer), form.getlist("weight"))
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
        content, tiles = upload("content"), _tiles(stylizer)
        with slot():
            photo = stylizer.photo(content, largest=_wall_side())

        def painted() -> Iterator[bytes]:
            try:
                for index, (name, vector) in enumerate(tiles):
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
        style = named(name)
        # Kept for good by browsers: the page asks with the weights' version in the address.
        if name not in samples:
            with slot():
                photo = stylizer.photo(settings.assets / SAMPLE, SAMPLE_SIDE)
                samples[name] = images.encode(stylizer.paint(photo, style.vector), "webp", quality=TILE_QUALITY)
        kept = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(samples[name], mimetype="image/webp", headers=kept)

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


# Reading a request --------------------------------------------------------------------------------------------------


def expect_fields(known: frozenset[str] | set[str]) -> None:
    """Refuse what is no multipart form, and fields that nobody reads: a misspelt one must not be passed over."""
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        raise EmptyInput(f"the body is empty; send multipart/form-data with {', '.join(sorted(known))}")
    if request.mimetype != "multipart/form-data":
        raise MalformedRequest(f"the body is {request.mimetype or 'of no stated type'}; send multipart/form-data")
    came = set(request.form) | set(request.files)
    if not came:
        raise EmptyInput(f"the form is empty or cut short; send {', '.join(sorted(known))}")
    unknown = sorted(came - set(known))
    if unknown:
        raise ParameterError(unknown[0], f"unknown field {unknown[0]!r}; there are {', '.join(sorted(known))}")


def upload(field: str) -> bytes:
    """The bytes of the one file that must be there."""
    files = request.files.getlist(field)
    if not files:
        raise ParameterError(field, f"{field} is missing; send a picture as a file")
    if len(files) > 1:
        raise ParameterError(field, f"{len(files)} files came as {field}; send one")
    data = files[0].read()
    if not data:
        raise EmptyInput(f"{field} is an empty file; send a picture")
    return data


def _styles(stylizer: Stylizer) -> list:
    """Files first, then names, then vectors: the order of the weights. Names are looked up, never read as paths."""
    files = [images.decode(file.read(), stylizer.settings, "style") for file in request.files.getlist("style")]
    named = [find(stylizer.gallery, name).vector for name in request.form.getlist("style_name")]
    return files + named + [_vector(text) for text in request.form.getlist("style_vector")]


def _tiles(stylizer: Stylizer) -> list[tuple[str | None, np.ndarray]]:
    """(name, vector) of every tile that is asked for, names first; the whole gallery where nothing is named."""
    names, vectors = request.form.getlist("style_name"), request.form.getlist("style_vector")
    if len(names) + len(vectors) > WALL_TILES:
        raise ParameterError("style_name", f"{len(names) + len(vectors)} styles came; at most {WALL_TILES} are painted")
    chosen = [find(stylizer.gallery, name) for name in names] if names or vectors else stylizer.gallery.values()
    return [(style.name, style.vector) for style in chosen] + [(None, _vector(text)) for text in vectors]


def _wall_side() -> int:
    text, (smallest, largest) = request.form.get("size", str(WALL_SIDE)), WALL_SIDES
    if not (text.isascii() and text.isdigit() and smallest <= int(text[:9]) <= largest):
        raise ParameterError("size", f"size is {text!r}; tiles have a longest side of {smallest} to {largest} pixels")
    return int(text)


def json_line(record: dict) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _vector(text: str) -> np.ndarray:
    try:
        return check_vector(json.loads(text))
    except (ValueError, RecursionError):
        raise ParameterError("style_vector", "style_vector is no JSON list of 100 numbers") from None


def _boolean(field: str) -> bool:
    text = request.form.get(field, "false")
    if text.lower() not in BOOLEANS:
        raise ParameterError(field, f"{field} is {text!r}; it must be true or false")
    return BOOLEANS[text.lower()]


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


# Errors -------------------------------------------------------------------------------------------------------------


def problem(error: Exception) -> Response:
    """Any error as application/problem+json (RFC 9457): never a stack trace, never what was sent."""
    body = describe(error)
    response = Response(json.dumps(body), status=body["status"], mimetype="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    if body["status"] == 405 and getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(error.valid_methods)
    if body["status"] in (429, 503):
        response.headers["Retry-After"] = str(getattr(error, "seconds", 2))
    return response


def describe(error: Exception) -> dict:
    """The members of a problem document; a fault of ours is logged, and told in general words."""
    if isinstance(error, HTTPException) and error.code == 413:
        megabytes = current_app.config["MAX_CONTENT_LENGTH"] / 2**20
        error = TooManyBytes(f"the body is larger than the {megabytes:g} MiB that are taken; send a smaller picture")
    if isinstance(error, StylizerError):
        body = {
            "type": f"/api/docs#{error.code}",
            "title": error.title,
            "status": error.status,
            "detail": str(error),
            "code": error.code,
        }
        return {**body, "field": error.field} if isinstance(error, ParameterError) else body
    if isinstance(error, HTTPException):
        name = (error.name or "error").lower().replace(" ", "-")
        return {
            "type": "about:blank",
            "title": error.name,
            "status": error.code,
            "detail": error.description,
            "code": name,
        }
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return {
        "type": "about:blank", "title": "Something went wrong here", "status": 500, "code": "internal",
        "detail": "the server failed at a request that it should have managed; trying again may help",
    }  # fmt: skip
