"""Reading a request: its form, its files, its fields, each checked. What is wrong is said by the field's own name.

Parts are counted and measured as they come, so that what is refused is neither kept nor decoded. Pictures stay in
memory, once: werkzeug would spool larger ones to a file, and no picture is ever written to disk.
"""

import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

import numpy as np
from flask import Request, current_app, request
from werkzeug.datastructures import FileStorage
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from stylizer import images, parameters
from stylizer.contract import WALL_SIDE, WALL_SIDES, WALL_TILES
from stylizer.errors import EmptyInput, MalformedRequest, ParameterError, StylizerError, TooManyParts, shown
from stylizer.feedforward import READ_SIDE, Interrupt, Stylizer
from stylizer.images import FORMATS
from stylizer.parameters import (
    check_size,
    check_strength,
    check_style_scale,
    check_styles,
    check_vector,
    check_weights,
    whole,
)
from stylizer.settings import Settings
from stylizer.studies import looks_like_study
from stylizer.styles import Blend, Style, find

MAX_PARTS = 256  # of a form: a wall of 200 styles, its photo and its size
MAX_TEXT = 8192  # bytes of a text field: 100 numbers with all their digits are 2,500
MAX_HEADERS = 8192, 16  # bytes and lines of what stands above a part
MAX_NAME, MAX_BOUNDARY = 100, 200  # characters
CHUNK = 2**16  # bytes read at a time
FILES = {"content", "style", "start"}  # all other fields are texts
REPEATED = {"style", "style_name", "style_vector", "weight", "content_layer", "style_layers"}  # all others come once


# Parts --------------------------------------------------------------------------------------------------------------


class FormRequest(Request):
    """A request whose form is read by `read_parts`."""

    def make_form_data_parser(self) -> FormDataParser:
        return FormParser()


class FormParser(FormDataParser):
    """multipart/form-data alone, and its faults are told, where werkzeug's own gives an empty form."""

    def parse(self, stream, mimetype, content_length, options=None):
        form, files = [], []
        try:
            if mimetype == "multipart/form-data":
                for name, value in read_parts(stream, (options or {}).get("boundary", "")):
                    (files if isinstance(value, FileStorage) else form).append((name, value))
        except StylizerError:
            while stream.read(CHUNK):  # a client that sends all of it first would find the connection closed
                pass
            raise
        return stream, self.cls(form), self.cls(files)


def read_parts(stream: io.BufferedIOBase, boundary: str) -> Iterator[tuple[str, str | FileStorage]]:
    """(name, text or file) of each part; MalformedRequest, TooManyParts or ParameterError at one out of bounds."""
    if not (boundary and boundary.isascii() and len(boundary) <= MAX_BOUNDARY):
        raise MalformedRequest(
            f"the Content-Type names no boundary of 1 to {MAX_BOUNDARY} ASCII characters; let your HTTP library set it"
        )
    decoder, counts, passive, part = MultipartDecoder(boundary.encode()), {}, 0, None
    for chunk in chain(iter(partial(stream.read, CHUNK), b""), [None]):
        decoder.receive_data(chunk)
        passive += len(chunk or b"")
        while not isinstance(event := _next_event(decoder), (NeedData, Epilogue)):
            passive = 0
            if isinstance(event, (Field, File)):
                _check_part(event, counts)
                part, received = event, io.BytesIO()
            elif isinstance(event, Data):
                received.write(event.data)
                if isinstance(part, Field) and received.tell() > MAX_TEXT:
                    raise ParameterError(part.name, f"{part.name} is longer than {MAX_TEXT} bytes, too long for a text")
                if not event.more_data:
                    yield part.name, _value(part, received)
        if passive > MAX_HEADERS[0]:
            raise MalformedRequest(
                f"{MAX_HEADERS[0]} bytes came in which no part of a form begins; is the boundary the one that "
                "Content-Type names?"
            )


def _next_event(decoder: MultipartDecoder):
    try:
        return decoder.next_event()
    except ValueError:  # no Content-Disposition, headers that are no UTF-8, an end before the last boundary
        raise MalformedRequest("the form is cut short or damaged: it does not read as multipart/form-data") from None


def _check_part(part: Field | File, counts: dict[str, int]) -> None:
    """Bounds on a part, before its content is read; `counts` are those of the parts so far, by name."""
    name, lines = part.name, part.headers
    if not name:
        raise MalformedRequest("a part of the form has no name")
    if len(name) > MAX_NAME or len(lines) > MAX_HEADERS[1] or sum(map(len, chain(*lines))) > MAX_HEADERS[0]:
        raise MalformedRequest(
            f"a part of the form has more above it than is taken: a name of {MAX_NAME} characters, {MAX_HEADERS[1]} "
            f"lines, {MAX_HEADERS[0]} bytes"
        )
    counts[name] = count = counts.get(name, 0) + 1
    if sum(counts.values()) > MAX_PARTS:
        raise TooManyParts(f"the form has more than {MAX_PARTS} parts, which is more than any request has use for")
    if name in FILES and isinstance(part, Field):
        raise ParameterError(name, f"{name} came as text; send a picture as a file")
    if name == "style":
        check_styles(count, current_app.config["MAX_STYLES"])
    elif name in FILES and count > 1:
        raise ParameterError(name, f"{count} files came as {name}; send one")


def _value(part: Field | File, received: io.BytesIO) -> str | FileStorage:
    if isinstance(part, Field):
        return received.getvalue().decode(errors="replace")
    received.seek(0)
    return FileStorage(received, part.filename, part.name, headers=part.headers)


# Fields -------------------------------------------------------------------------------------------------------------


def expect_fields(known: frozenset[str] | set[str]) -> None:
    """Refuse what is no multipart form, fields that nobody reads (a misspelt one must not be passed over), fields that
    came twice or as a file, and values that are out of bounds wherever they are sent."""
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        raise EmptyInput(f"the body is empty; send multipart/form-data with {', '.join(sorted(known))}")
    if request.mimetype != "multipart/form-data":
        kind = shown(request.mimetype) if request.mimetype else "of no stated type"
        raise MalformedRequest(f"the body is {kind}; send multipart/form-data")
    came = set(request.form) | set(request.files)
    if not came:
        raise EmptyInput(f"the form is empty; send {', '.join(sorted(known))}")
    unknown = sorted(came - set(known))
    if unknown:
        raise ParameterError(unknown[0], f"unknown field {shown(unknown[0])}; there are {', '.join(sorted(known))}")
    for name in sorted(came - FILES):
        if name in request.files:
            raise ParameterError(name, f"{name} came as a file; send it as text")
        count = len(request.form.getlist(name))
        if count > 1 and name not in REPEATED:
            raise ParameterError(name, f"{name} came {count} times; send it once")
        if name in CHECKS:
            CHECKS[name](request.form[name])


def upload(field: str) -> bytes:
    """The bytes of the one file that must be there."""
    files = request.files.getlist(field)
    if not files:
        raise ParameterError(field, f"{field} is missing; send a picture as a file")
    if len(files) > 1:
        raise ParameterError(field, f"{len(files)} files came as {field}; send one")
    return contents(files[0])


def contents(file: FileStorage) -> bytes:
    """Its bytes, which are not copied."""
    data = file.stream.getvalue()
    if not data:
        raise EmptyInput(f"{file.name} is an empty file; send a picture")
    return data


def styles_of_mix(stylizer: Stylizer, interrupt: Interrupt | None = None) -> list[Blend]:
    """What each is painted by: of the files first, then by name, then as sent, which is the order of the weights.

    All that costs little is looked at first; then one picture at a time is decoded. Names are never read as paths.
    """
    files, names = request.files.getlist("style"), request.form.getlist("style_name")
    vectors, settings = request.form.getlist("style_vector"), stylizer.settings
    check_styles(len(files) + len(names) + len(vectors), settings.max_styles)
    check_weights(request.form.getlist("weight"), len(files) + len(names) + len(vectors))
    given = [Blend.of(find(stylizer.gallery, name)) for name in names] + [Blend(vector(text)) for text in vectors]
    return [_read(stylizer, file, interrupt) for file in files] + given


def _read(stylizer: Stylizer, file: FileStorage, interrupt: Interrupt | None) -> Blend:
    """An uploaded study, or painting: its pixels are gone when this returns."""
    data = contents(file)
    if looks_like_study(data):
        return stylizer.style(data)
    painting = images.decode(data, stylizer.settings, "style", images.shortest_side(READ_SIDE))
    return stylizer.style(painting, interrupt)


def tiles_of_wall(stylizer: Stylizer) -> list[tuple[str | None, Style | Blend]]:
    """(name, style) of every tile that is asked for, studies first, then names; the whole gallery where nothing is."""
    files, names = request.files.getlist("style"), request.form.getlist("style_name")
    vectors = request.form.getlist("style_vector")
    count = len(files) + len(names) + len(vectors)
    if count > WALL_TILES:
        raise ParameterError("style_name", f"{count} styles came; at most {WALL_TILES} are painted")
    chosen = [find(stylizer.gallery, name) for name in names] if count else stylizer.gallery.values()
    studied: list[tuple[str | None, Style | Blend]] = [(None, stylizer.style(_study(file))) for file in files]
    return studied + [(style.name, style) for style in chosen] + [(None, Blend(vector(text))) for text in vectors]


def _study(file: FileStorage) -> bytes:
    data = contents(file)
    if not looks_like_study(data):
        raise ParameterError("style", "a wall takes studies as files; send paintings as style_vector")
    return data


def wall_side() -> int:
    smallest, largest = WALL_SIDES
    words = f"a tile's longest side in pixels, {smallest} to {largest}"
    return whole("size", request.form.get("size", WALL_SIDE), smallest, largest, words)


def vector(text: str) -> np.ndarray:
    """A style vector as JSON; texts, true and nested lists among its numbers are refused with it."""
    try:
        numbers = json.loads(text)
    except (ValueError, RecursionError):
        numbers = None
    if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
        raise ParameterError("style_vector", f"style_vector is {shown(text)}; it must be a JSON list of 100 numbers")
    return check_vector(numbers)


def picture_size(settings: Settings) -> str | None:
    """The longest side that is asked for, as it was sent; None where nothing is said of it."""
    size = request.form.get("size")
    check_size(size, settings)
    return size


def boolean(field: str) -> bool:
    return parameters.boolean(field, request.form.get(field, False))


def picture_format() -> str:
    """What the answer is to be written as."""
    return _format(request.form.get("format", "png"))


def _format(format: str) -> str:
    if format not in FORMATS:
        raise ParameterError("format", f"format is {shown(format)}; choose from {', '.join(FORMATS)}")
    return format


# What is one thing wherever it is sent; `size` has other bounds on every path.
CHECKS: dict[str, Callable[[str], object]] = {
    "strength": check_strength,
    "style_scale": check_style_scale,
    "keep_colors": partial(parameters.boolean, "keep_colors"),
    "keep_light": partial(parameters.boolean, "keep_light"),
    "format": _format,
}
