"""Reading a form: its parts as they arrive, then its fields by the table in fields.py. Errors name the field.

Parts are counted and measured as they arrive, so that nothing is kept or decoded only to be refused. Pictures stay in
memory, once: werkzeug would write larger ones to a temporary file, and no picture is ever written to disk.
"""

import io
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import IO, Any, cast

from flask import Request, current_app, request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import Data, Epilogue, Event, MultipartDecoder, NeedData
from werkzeug.sansio.multipart import Field as TextPart
from werkzeug.sansio.multipart import File as FilePart

from stylizer.errors import EmptyInput, MalformedRequest, ParameterError, StylizerError, TooManyParts, shown
from stylizer.web.api.fields import Field, File, Form, TextKind

MAX_PARTS = 256  # of a form: a wall of 200 styles, its photo and its size fit
MAX_TEXT = 8192  # bytes of a text field: 100 numbers with all their digits are 2,500
MAX_HEADERS = 8192, 16  # bytes and lines of a part's headers
MAX_NAME, MAX_BOUNDARY = 100, 200  # characters
CHUNK = 2**16  # bytes read at a time


# Parts --------------------------------------------------------------------------------------------------------------


class FormRequest(Request):
    """A request whose form is parsed by `read_parts`."""

    @property
    def fields(self) -> Form:
        """The fields of this path's form; empty if the path takes no form."""
        return current_app.extensions["stylizer"].forms.get(self.path, {})

    def make_form_data_parser(self) -> FormDataParser:
        return FormParser(self.fields)


class FormParser(FormDataParser):
    """multipart/form-data only. A damaged form is an error here; werkzeug's own parser would return an empty form."""

    def __init__(self, fields: Form):
        super().__init__()
        self._fields = fields

    def parse(
        self, stream: IO[bytes], mimetype: str, _content_length: int | None, options: dict[str, str] | None = None
    ) -> tuple[IO[bytes], MultiDict, MultiDict]:
        form: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        try:
            if mimetype == "multipart/form-data":
                for name, value in read_parts(stream, (options or {}).get("boundary", ""), self._fields):
                    if isinstance(value, FileStorage):
                        files.append((name, value))
                    else:
                        form.append((name, value))
        except StylizerError:
            while stream.read(CHUNK):  # a client that sends everything before it reads would see a closed connection
                pass
            raise
        return stream, self.cls(form), self.cls(files)


def read_parts(stream: IO[bytes], boundary: str, fields: Form) -> Iterator[tuple[str, str | FileStorage]]:
    """(name, text or file) of each part; MalformedRequest, TooManyParts or ParameterError at the first bad one."""
    if not (boundary and boundary.isascii() and len(boundary) <= MAX_BOUNDARY):
        raise MalformedRequest(
            f"the Content-Type needs a boundary of 1 to {MAX_BOUNDARY} ASCII characters; let your HTTP library set it"
        )
    decoder, passive = MultipartDecoder(boundary.encode()), 0
    counts: dict[str, int] = {}
    for chunk in chain(iter(partial(stream.read, CHUNK), b""), [None]):
        decoder.receive_data(chunk)
        passive += len(chunk or b"")
        while not isinstance(event := _next_event(decoder), (NeedData, Epilogue)):
            passive = 0
            if isinstance(event, (TextPart, FilePart)):
                _check_part(event, counts, fields)
                part, received = event, io.BytesIO()
            elif isinstance(event, Data):
                received.write(event.data)
                if isinstance(part, TextPart) and received.tell() > MAX_TEXT:
                    raise ParameterError(part.name, f"{part.name} is longer than {MAX_TEXT} bytes, too long for a text")
                if not event.more_data:
                    yield part.name, _value(part, received)
        if passive > MAX_HEADERS[0]:
            raise MalformedRequest(
                f"no part of a form begins within {MAX_HEADERS[0]} bytes; does the body use the boundary that "
                "Content-Type names?"
            )


def _next_event(decoder: MultipartDecoder) -> Event:
    try:
        return decoder.next_event()
    except ValueError:  # no Content-Disposition, headers not in UTF-8, an end before the last boundary
        raise MalformedRequest("the form is cut short or damaged: it is not valid multipart/form-data") from None


def _check_part(part: TextPart | FilePart, counts: dict[str, int], fields: Form) -> None:
    """Bounds on a part, before its content is read; `counts` are those of the parts so far, by name."""
    name, lines = part.name, part.headers
    if not name:
        raise MalformedRequest("a part of the form has no name")
    if len(name) > MAX_NAME or len(lines) > MAX_HEADERS[1] or sum(map(len, chain(*lines))) > MAX_HEADERS[0]:
        raise MalformedRequest(
            f"the headers of a part of the form are too long; allowed are a name of {MAX_NAME} characters, "
            f"{MAX_HEADERS[1]} lines and {MAX_HEADERS[0]} bytes"
        )
    counts[name] = count = counts.get(name, 0) + 1
    if sum(counts.values()) > MAX_PARTS:
        raise TooManyParts(f"the form has more than {MAX_PARTS} parts, more than any request needs")
    if name in fields and fields[name].is_file:
        _check_file(part, count, fields[name])


def _check_file(part: TextPart | FilePart, count: int, field: Field) -> None:
    if isinstance(part, TextPart):
        raise ParameterError(part.name, f"{part.name} came as text; send a picture as a file")
    if not field.repeats and count > 1:
        raise ParameterError(part.name, f"{count} files came as {part.name}; send one")
    if field.most and count > field.most:
        raise ParameterError(part.name, f"{count} files came as {part.name}; send at most {field.most}")


def _value(part: TextPart | FilePart, received: io.BytesIO) -> str | FileStorage:
    if isinstance(part, TextPart):
        return received.getvalue().decode(errors="replace")
    received.seek(0)
    return FileStorage(received, part.filename, part.name, headers=part.headers)


# Fields -------------------------------------------------------------------------------------------------------------


def read_form() -> dict[str, Any]:
    """{field: value} of this request's form, for every field of its table: the bytes of files, the checked values of
    texts, lists for fields that repeat. A field that was not sent has its default, or is None or an empty list.

    EmptyInput, MalformedRequest or ParameterError if the form is not as the table says: a misspelt field must not be
    ignored. All values are checked before any picture is decoded.
    """
    fields = cast(FormRequest, request).fields
    _check_body(fields)
    kinds = {name: field.kind for name, field in fields.items() if not isinstance(field.kind, File)}
    values = {name: _read_text(name, fields[name], kinds[name]) for name in sorted(kinds)}
    return values | {name: _read_file(name, field) for name, field in fields.items() if field.is_file}


def _check_body(fields: Form) -> None:
    known = ", ".join(sorted(fields))
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        raise EmptyInput(f"the body is empty; send multipart/form-data with {known}")
    if request.mimetype != "multipart/form-data":
        kind = shown(request.mimetype) if request.mimetype else "of no stated type"
        raise MalformedRequest(f"the body is {kind}; send multipart/form-data")
    came = set(request.form) | set(request.files)
    if not came:
        raise EmptyInput(f"the form is empty; send {known}")
    unknown = sorted(came - set(fields))
    if unknown:
        raise ParameterError(unknown[0], f"unknown field {shown(unknown[0])}; the fields are {known}")


def _read_text(name: str, field: Field, kind: TextKind) -> Any:
    if name in request.files:
        raise ParameterError(name, f"{name} came as a file; send it as text")
    texts = request.form.getlist(name)
    if field.repeats:
        return [kind.read(name, text) for text in texts]
    if len(texts) > 1:
        raise ParameterError(name, f"{name} came {len(texts)} times; send it once")
    return kind.read(name, texts[0]) if texts else field.default


def _read_file(name: str, field: Field) -> bytes | list[bytes] | None:
    """Not copied: the bytes are the form's own."""
    files = [_contents(file) for file in request.files.getlist(name)]
    if field.repeats:
        return files
    if field.required and not files:
        raise ParameterError(name, f"{name} is missing; send a picture as a file")
    return files[0] if files else None


def _contents(file: FileStorage) -> bytes:
    data = cast(io.BytesIO, file.stream).getvalue()
    if not data:
        raise EmptyInput(f"{file.name} is an empty file; send a picture")
    return data
