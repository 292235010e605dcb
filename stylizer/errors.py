"""Errors that callers can act on. Each message says what was received, what is allowed and what to do.

A StylizerError is the caller's to fix; any other exception is a bug. `code` is stable and part of the HTTP API,
`status` is the matching HTTP status; the command line prints only the message.
"""

import reprlib

SHOWN = 60  # characters of a received value that a message repeats


def shown(value: object) -> str:
    """A received value for a message: strings quoted, everything cut to about 60 characters on one line."""
    if isinstance(value, str):
        quoted = repr(value[:SHOWN])
        whole = len(value) <= SHOWN and len(quoted) <= 2 * SHOWN  # escapes are long
        return quoted if whole else f"{quoted[: SHOWN + 1]}{quoted[0]}… ({len(value)} characters)"
    try:
        text = " ".join(reprlib.repr(value).split())
    except Exception:  # no repr at all, such as an integer with more digits than Python prints
        return f"some {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


# The problem document for any internal error: the exception's own message may contain request data.
INTERNAL = {
    "type": "about:blank",
    "title": "Internal server error",
    "status": 500,
    "code": "internal",
    "detail": "the server failed to handle a valid request; trying again may help",
}


class StylizerError(Exception):
    """Base class of every error that a caller can understand and fix."""

    code = "error"
    title = "The request failed"
    status = 400

    def problem(self) -> dict:
        """The members of a problem document (RFC 9457)."""
        return {
            "type": f"/api/docs#{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": str(self),
            "code": self.code,
        }


class EmptyInput(StylizerError):
    code, title, status = "empty", "Nothing was sent", 400


class MalformedRequest(StylizerError):
    code, title, status = "malformed", "The request could not be read", 400


class UnknownHost(StylizerError):
    """The request names a host that this server does not serve."""

    code, title, status = "unknown-host", "Unknown host name", 421


class ForeignSite(StylizerError):
    """According to the browser, another website's page sent the request."""

    code, title, status = "foreign-site", "Sent by another website", 403


class TooManyBytes(StylizerError):
    code, title, status = "too-many-bytes", "The request is too large", 413


class TooManyParts(StylizerError):
    """The form has more fields and files than any request needs."""

    code, title, status = "too-many-parts", "The form has too many parts", 413


class UnsupportedPicture(StylizerError):
    """The bytes are not a picture in a supported format."""

    code, title, status = "unsupported-picture", "Unsupported picture format", 415


class BrokenPicture(StylizerError):
    """A supported format, but truncated or damaged."""

    code, title, status = "broken-picture", "The picture is damaged", 422


class PictureOutOfBounds(StylizerError):
    """Too small, too large or too narrow; raised from the header, before any pixels are decoded."""

    code, title, status = "picture-out-of-bounds", "The picture's size is out of bounds", 422


class ParameterError(StylizerError):
    """A parameter is out of bounds. `field` is its name in the HTTP API and in Python."""

    code, title, status = "parameter-out-of-bounds", "A parameter is out of bounds", 422

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field

    def problem(self) -> dict:
        return {**super().problem(), "field": self.field}


class UnknownStyle(ParameterError):
    code, title = "unknown-style", "Unknown style"


class NotFinite(StylizerError):
    """A loss or its gradient became NaN or infinite."""

    code, title, status = "not-finite", "The optimisation diverged", 422


class Busy(StylizerError):
    """`seconds`: how long to wait before a retry may succeed."""

    code, title, status = "busy", "The server is busy", 429

    def __init__(self, message: str, seconds: int = 2):
        super().__init__(message)
        self.seconds = seconds


class OutOfMemory(StylizerError):
    """The picture is fine, but memory is short right now. `seconds`: how long to wait before a retry."""

    code, title, status = "out-of-memory", "Not enough memory right now", 503

    def __init__(self, message: str, seconds: int = 5):
        super().__init__(message)
        self.seconds = seconds


class TookTooLong(StylizerError):
    """The request's deadline has passed. 503 rather than 504, which would blame another server behind this one."""

    code, title, status = "took-too-long", "The request took too long", 503

    def __init__(self, message: str, seconds: int = 10):
        super().__init__(message)
        self.seconds = seconds


class Restarting(StylizerError):
    """The server is shutting down; another will take its place."""

    code, title, status = "restarting", "The server is restarting", 503

    def __init__(self, message: str = "this server is restarting; try again in a few seconds", seconds: int = 2):
        super().__init__(message)
        self.seconds = seconds


class TooSlow(StylizerError):
    code, title, status = "too-slow", "The request arrived too slowly", 408


class TooManyHeaders(StylizerError):
    code, title, status = "too-many-headers", "The request's headers are too large", 431


class Gone(StylizerError):
    """The client disconnected: the work ends, and nobody reads this."""

    code, title, status = "gone", "The client disconnected", 499


class NotInstalled(StylizerError):
    """The request needs a library that is not installed."""

    code, title, status = "not-installed", "Not installed here", 501


class NotReady(StylizerError):
    code, title, status = "not-ready", "The server is not ready", 503


class WeightsError(StylizerError):
    """A weight file is missing, truncated, altered or made for another network: nothing can start."""

    code, title, status = "weights", "The weights cannot be used", 503
