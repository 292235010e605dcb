"""Answers that take a while: a stream of JSON lines, and an end to the work when nobody waits for it any more."""

import json
from collections.abc import Callable, Iterator

from flask import Response, request, stream_with_context

from stylizer.progress import Interrupt


def interrupt_of_request() -> Interrupt:
    """A function to call while working. It raises once the client has gone, the request has run out of time or the
    server is stopping. Only our own server provides one; elsewhere it does nothing."""
    return request.environ.get("stylizer.interrupt", lambda: None)


def json_line(record: dict) -> bytes:
    return json.dumps(record).encode() + b"\n"


def stream(lines: Iterator[bytes], on_close: Callable[[], None]) -> Response:
    """NDJSON. `on_close` is called when the response ends, however it ends: also if no line was ever read."""
    response = Response(
        stream_with_context(lines),
        mimetype="application/x-ndjson",
        headers={
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # otherwise a proxy may hold lines back until the last one
        },
    )
    response.call_on_close(on_close)
    return response
