"""Errors as answers: application/problem+json (RFC 9457), never a stack trace.

An answer quotes at most a short piece of a wrong value (`errors.shown`); the log holds nothing that was sent.
"""

import json
import logging

from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException

from stylizer.errors import INTERNAL, StylizerError, TooManyBytes
from stylizer.serving.exchange import named

log = logging.getLogger("stylizer")


def problem(error: Exception) -> Response:
    """Any error as an answer, with the headers that belong to its status."""
    body = describe(error)
    request.environ["stylizer.code"] = body["code"]
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
        if error.__cause__ and error.status >= 500:
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


def _log(error: BaseException) -> None:
    """One line: what failed, and where. Paths hold what was sent; the route does not."""
    log.error("%s: %s", request.url_rule.rule if request.url_rule else "no route", named(error))
