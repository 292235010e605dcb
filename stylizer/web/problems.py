"""Errors as answers: application/problem+json (RFC 9457), never a stack trace.

An answer quotes at most a short piece of a wrong value (`errors.shown`); the log holds nothing that was sent.
"""

import json
import logging

from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from stylizer.errors import INTERNAL, StylizerError, TooManyBytes
from stylizer.serving.exchange import named

log = logging.getLogger("stylizer")


def problem(error: Exception) -> Response:
    """The one error handler: any error as an answer, with the headers that its status requires."""
    body = describe(error)
    request.environ["stylizer.code"] = body["code"]
    response = Response(json.dumps(body), status=body["status"], mimetype="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(error.valid_methods)
    if body["status"] in (429, 503):
        response.headers["Retry-After"] = str(getattr(error, "seconds", 2))
    return response


def describe(error: Exception) -> dict:
    """The members of a problem document, also for the last line of a stream. A bug of ours is logged and described in
    general words."""
    if isinstance(error, HTTPException) and error.code == 413:
        megabytes = current_app.config["MAX_CONTENT_LENGTH"] / 2**20
        error = TooManyBytes(f"the body is larger than the limit of {megabytes:g} MiB; send a smaller picture")
    if isinstance(error, StylizerError):
        if isinstance(error.__cause__, Exception) and error.status >= 500:
            _log(error.__cause__)
        return error.problem()
    if isinstance(error, HTTPException):
        name = (error.name or "error").lower().replace(" ", "-")
        return {
            "type": "about:blank",
            "title": error.name,
            "status": error.code,
            "detail": error.description,
            "code": name,
        }
    _log(error)
    return dict(INTERNAL)


def _log(error: Exception) -> None:
    """One line: what failed, and where. The route is safe to log; the path holds what was sent."""
    log.error("%s: %s", request.url_rule.rule if request.url_rule else "no route", named(error))
