"""What can go wrong, in words. Every error says what came, what is allowed and what to do.

A caller's mistake is a StylizerError; anything else that is raised is a bug of ours. `code` is stable and part of the
HTTP API, `status` is the HTTP status that fits; the command line prints the message alone.
"""

import reprlib

SHOWN = 60  # characters of what came that a message repeats


def shown(value: object) -> str:
    """What came, for a message: texts in quotes, and all of it cut to about 60 characters on one line."""
    if isinstance(value, str):
        quoted = repr(value[:SHOWN])
        whole = len(value) <= SHOWN and len(quoted) <= 2 * SHOWN  # escapes are long
        return quoted if whole else f"{quoted[: SHOWN + 1]}{quoted[0]}… ({len(value)} characters)"
    try:
        text = " ".join(reprlib.repr(value).split())
    except Exception:  # whatever it is, it cannot even say so: a whole number of more digits than Python prints
        return f"some {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


# The problem document of a fault of ours, whatever it was: its own words may hold what was sent.
INTERNAL = {
    "type": "about:blank", "title": "Something went wrong here", "status": 500, "code": "internal",
    "detail": "the server failed at a request that it should have managed; trying again may help",
}  # fmt: skip


class StylizerError(Exception):
    """Base of every error that a caller can understand and mend."""

    code = "error"
    title = "The request could not be carried out"
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
    """The request names a host that this server does not answer for."""

    code, title, status = "unknown-host", "The server does not go by this name", 421


class ForeignSite(StylizerError):
    """A browser says that another website's page sent the request."""

    code, title, status = "foreign-site", "Sent by another website", 403


class TooManyBytes(StylizerError):
    code, title, status = "too-many-bytes", "The request is too large", 413


class TooManyParts(StylizerError):
    """Of a form: more fields and files than any request has use for."""

    code, title, status = "too-many-parts", "The form has too many parts", 413


class UnsupportedPicture(StylizerError):
    """The bytes are no picture of a format we take."""

    code, title, status = "unsupported-picture", "Not a picture we take", 415


class BrokenPicture(StylizerError):
    """The right format, but cut short or damaged."""

    code, title, status = "broken-picture", "The picture is damaged", 422


class PictureOutOfBounds(StylizerError):
    """Too small, too large or too narrow; raised from the header, before any pixel is decoded."""

    code, title, status = "picture-out-of-bounds", "The picture's size is out of bounds", 422


class ParameterError(StylizerError):
    """A parameter is out of bounds. `field` names it as the HTTP API and Python do."""

    code, title, status = "parameter-out-of-bounds", "A parameter is out of bounds", 422

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field

    def problem(self) -> dict:
        return {**super().problem(), "field": self.field}


class UnknownStyle(ParameterError):
    code, title = "unknown-style", "There is no such style"


class NotFinite(StylizerError):
    """A loss or its gradient is no number any more."""

    code, title, status = "not-finite", "The optimisation ran into numbers without bound", 422


class Busy(StylizerError):
    """`seconds`: when it may be worth to come again."""

    code, title, status = "busy", "The server is busy", 429

    def __init__(self, message: str, seconds: int = 2):
        super().__init__(message)
        self.seconds = seconds


class OutOfMemory(StylizerError):
    """The picture is fine and this machine has no room for it at the moment. `seconds`: when to try again."""

    code, title, status = "out-of-memory", "There is not enough memory at the moment", 503

    def __init__(self, message: str, seconds: int = 5):
        super().__init__(message)
        self.seconds = seconds


class TookTooLong(StylizerError):
    """The deadline of a request is over. 503 and not 504, which speaks of another server behind this one."""

    code, title, status = "took-too-long", "The answer took too long", 503

    def __init__(self, message: str, seconds: int = 10):
        super().__init__(message)
        self.seconds = seconds


class Restarting(StylizerError):
    """The server has been told to stop; another takes its place."""

    code, title, status = "restarting", "The server is restarting", 503

    def __init__(self, message: str = "this server is restarting; try again in a few seconds", seconds: int = 2):
        super().__init__(message)
        self.seconds = seconds


class TooSlow(StylizerError):
    code, title, status = "too-slow", "The request came too slowly", 408


class TooManyHeaders(StylizerError):
    code, title, status = "too-many-headers", "The request's headers are too large", 431


class Gone(StylizerError):
    """Whoever asked has left: the work ends, and no one reads this."""

    code, title, status = "gone", "The client has left", 499


class NotInstalled(StylizerError):
    """What was asked for needs a library that this installation does without."""

    code, title, status = "not-installed", "Not installed here", 501


class NotReady(StylizerError):
    code, title, status = "not-ready", "The server is not ready", 503


class WeightsError(StylizerError):
    """A weight file is missing, cut, altered or made for another network: nothing can start."""

    code, title, status = "weights", "The weights cannot be used", 503
