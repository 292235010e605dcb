"""Reading a request: its form, its files, its fields, each checked. What is wrong is said by the field's own name."""

import json

import numpy as np
from flask import request

from stylizer import images
from stylizer.errors import EmptyInput, MalformedRequest, ParameterError
from stylizer.feedforward import Stylizer, check_vector
from stylizer.images import FORMATS
from stylizer.settings import BOOLEANS
from stylizer.styles import find
from stylizer.web.openapi import WALL_SIDE, WALL_SIDES, WALL_TILES


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


def styles_of_mix(stylizer: Stylizer) -> list:
    """Files first, then names, then vectors: the order of the weights. Names are looked up, never read as paths."""
    files = [images.decode(file.read(), stylizer.settings, "style") for file in request.files.getlist("style")]
    named = [find(stylizer.gallery, name).vector for name in request.form.getlist("style_name")]
    return files + named + [vector(text) for text in request.form.getlist("style_vector")]


def tiles_of_wall(stylizer: Stylizer) -> list[tuple[str | None, np.ndarray]]:
    """(name, vector) of every tile that is asked for, names first; the whole gallery where nothing is named."""
    names, vectors = request.form.getlist("style_name"), request.form.getlist("style_vector")
    if len(names) + len(vectors) > WALL_TILES:
        raise ParameterError("style_name", f"{len(names) + len(vectors)} styles came; at most {WALL_TILES} are painted")
    chosen = [find(stylizer.gallery, name) for name in names] if names or vectors else stylizer.gallery.values()
    return [(style.name, style.vector) for style in chosen] + [(None, vector(text)) for text in vectors]


def wall_side() -> int:
    text, (smallest, largest) = request.form.get("size", str(WALL_SIDE)), WALL_SIDES
    if not (text.isascii() and text.isdigit() and smallest <= int(text[:9]) <= largest):
        raise ParameterError("size", f"size is {text!r}; tiles have a longest side of {smallest} to {largest} pixels")
    return int(text)


def vector(text: str) -> np.ndarray:
    try:
        return check_vector(json.loads(text))
    except (ValueError, RecursionError):
        raise ParameterError("style_vector", "style_vector is no JSON list of 100 numbers") from None


def boolean(field: str) -> bool:
    text = request.form.get(field, "false")
    if text.lower() not in BOOLEANS:
        raise ParameterError(field, f"{field} is {text!r}; it must be true or false")
    return BOOLEANS[text.lower()]


def picture_format() -> str:
    """What the answer is to be written as."""
    format = request.form.get("format", "png")
    if format not in FORMATS:
        raise ParameterError("format", f"format is {format!r}; choose from {', '.join(FORMATS)}")
    return format
