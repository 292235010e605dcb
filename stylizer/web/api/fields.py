"""Every form field of the HTTP API, in one table: forms are checked by it, and the OpenAPI document is made from it.

To add a field, add it to its form below. `form.read_form` then checks it and hands its value to the route, and
`openapi.specification` describes it. Some bounds are settings, so the table is made for the settings in force.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from stylizer import parameters
from stylizer.contract import LOSS_WEIGHT_BOUND, PATHS, WALL_SIDE, WALL_SIDES, WALL_TILES
from stylizer.errors import ParameterError, shown
from stylizer.images import FORMATS
from stylizer.parameters import (
    STRENGTHS,
    STYLE_SCALES,
    VECTOR_BOUND,
    VECTOR_SIZE,
    WEIGHT_BOUND,
    check_size,
    check_strength,
    check_style_scale,
    check_vector,
    decimal,
    whole,
)
from stylizer.settings import Settings
from stylizer.studies import STEPS

PICTURE_FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"
INITS = ("noise", "photo", "feedforward")  # as in gatys.py, whose import needs torch
MAX_SEED = 2**32 - 1
OPTIMISE_SIZE = 512  # longest side in pixels of an optimised picture, unless the request names another

# Kinds --------------------------------------------------------------------------------------------------------------
# `read` turns the text of a field into its value, or raises ParameterError; `schema` is its JSON Schema.


@dataclass(frozen=True)
class File:
    """A part with a file name; its bytes are judged by what reads them."""

    def schema(self) -> dict:
        return {"type": "string", "format": "binary", "description": PICTURE_FORMATS}


@dataclass(frozen=True)
class Text:
    def read(self, _name: str, text: str) -> str:
        return text

    def schema(self) -> dict:
        return {"type": "string"}


@dataclass(frozen=True)
class Choice:
    of: tuple[str, ...]

    def read(self, name: str, text: str) -> str:
        if text not in self.of:
            raise ParameterError(name, f"{name} is {shown(text)}; choose from {', '.join(self.of)}")
        return text

    def schema(self) -> dict:
        return {"type": "string", "enum": list(self.of)}


@dataclass(frozen=True)
class Boolean:
    def read(self, name: str, text: str) -> bool:
        return parameters.boolean(name, text)

    def schema(self) -> dict:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Integer:
    smallest: int
    largest: int
    words: str = ""  # for the error message: what is allowed, if the bounds alone do not say it

    def read(self, name: str, text: str) -> int:
        return whole(name, text, self.smallest, self.largest, self.words)

    def schema(self) -> dict:
        return {"type": "integer", "minimum": self.smallest, "maximum": self.largest}


@dataclass(frozen=True)
class Number:
    smallest: float
    largest: float
    words: str = ""  # as for Integer
    check: Callable[[str], float] | None = None  # if the parameter has its own

    def read(self, name: str, text: str) -> float:
        return self.check(text) if self.check else decimal(name, text, self.smallest, self.largest, self.words)

    def schema(self) -> dict:
        return {"type": "number", "minimum": self.smallest, "maximum": self.largest}


@dataclass(frozen=True)
class Size:
    """A longest side in pixels, or "original" for the photo's own."""

    settings: Settings

    def read(self, _name: str, text: str) -> int | str:
        return check_size(text, self.settings) or text

    def schema(self) -> dict:
        sides = Integer(self.settings.min_side, self.settings.max_side)
        return {"oneOf": [sides.schema(), {"const": "original"}]}


@dataclass(frozen=True)
class Vector:
    """A style vector as JSON."""

    def read(self, name: str, text: str) -> np.ndarray:
        """float32 (100,). Strings, booleans and nested lists in it are refused."""
        try:
            numbers = json.loads(text)
        except (ValueError, RecursionError):
            numbers = None
        if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
            raise ParameterError(name, f"{name} is {shown(text)}; it must be a JSON list of {VECTOR_SIZE} numbers")
        return check_vector(numbers)

    def schema(self) -> dict:
        numbers = Number(-VECTOR_BOUND, VECTOR_BOUND).schema()
        array = {"type": "array", "items": numbers, "minItems": VECTOR_SIZE, "maxItems": VECTOR_SIZE}
        return {"type": "string", "contentMediaType": "application/json", "contentSchema": array}


TextKind = Text | Choice | Boolean | Integer | Number | Size | Vector


@dataclass(frozen=True)
class Field:
    kind: File | TextKind
    description: str
    default: Any = None  # None: it depends on other fields, so the route decides
    required: bool = False
    repeats: bool = False
    most: int | None = None  # times that a repeated field may come

    @property
    def is_file(self) -> bool:
        return isinstance(self.kind, File)

    def schema(self) -> dict:
        """JSON Schema."""
        schema = self.kind.schema()
        if self.repeats:
            schema = {"type": "array", "items": schema} | ({"maxItems": self.most} if self.most else {})
        if self.default is not None:
            schema["default"] = self.default
        return {**schema, "description": self.description}


Form = dict[str, Field]


# The table ----------------------------------------------------------------------------------------------------------


def make_forms(settings: Settings) -> dict[str, Form]:
    """{path: {field: what it takes}} of every path that takes a form."""
    forms = {
        "stylize": _stylize(settings),
        "wall": _wall(settings),
        "vectors": _vectors(),
        "optimise": _optimise(settings),
        "study": _study(settings),
    }
    return {f"/{PATHS[name]}": form for name, form in forms.items()}


def _photo(settings: Settings) -> Field:
    return Field(
        File(),
        f"The photo: {PICTURE_FORMATS}; sides of {settings.min_side} to {settings.max_side} pixels, at most "
        f"{settings.max_megapixels:g} megapixels",
        required=True,
    )


def _answer_format(description: str) -> Field:
    return Field(Choice(tuple(FORMATS)), description, default="png")


def _mix(most: int) -> Form:
    """Styles by all three means."""
    return {
        "style": Field(
            File(),
            f"Paintings, or studies as `stylizer study` writes them; repeat the field to mix up to {most}",
            repeats=True,
            most=most,
        ),
        "style_name": Field(Text(), "Names from /api/v1/styles", repeats=True, most=most),
        "style_vector": Field(
            Vector(),
            f"Style vectors, each a JSON list of {VECTOR_SIZE} numbers from {-VECTOR_BOUND:g} to {VECTOR_BOUND:g}",
            repeats=True,
            most=most,
        ),
    }


def _weight(order: str, most: int) -> Field:
    return Field(
        Number(0, WEIGHT_BOUND),
        f"One weight per style, in this order: {order}. Each is 0 to {WEIGHT_BOUND:.0f}, and not all may be 0. Up to "
        f"{most} styles; equal weights by default",
        repeats=True,
    )


def _stylize(settings: Settings) -> Form:
    smallest, largest = STYLE_SCALES
    return {
        "content": _photo(settings),
        **_mix(settings.max_styles),
        "weight": _weight("files, names, vectors", settings.max_styles),
        "strength": Field(Number(*STRENGTHS, check=check_strength), "0 is the photo, 1 the full style", default=1),
        "size": Field(
            Size(settings),
            'Longest side in pixels, or "original". By default the photo\'s own, shrunk to '
            f"{settings.api_size} if it is larger",
        ),
        "style_scale": Field(
            Number(smallest, largest, check=check_style_scale),
            f"How large the strokes are, {smallest:g} to {largest:g}. For smaller strokes the photo is enlarged before "
            "painting; for larger ones a smaller draft is painted first and then painted over. The size limits apply "
            "to both",
            default=1,
        ),
        "keep_colors": Field(Boolean(), "Keep the photo's colours and take only lightness from the painting", False),
        "keep_light": Field(Boolean(), "Keep the photo's brightness, so that a night scene stays dark", False),
        "format": _answer_format("Format of the answer"),
    }


def _wall(settings: Settings) -> Form:
    smallest, largest = WALL_SIDES
    side = Integer(smallest, largest, f"a tile's longest side in pixels, {smallest} to {largest}")
    vectors = _mix(WALL_TILES)["style_vector"]
    return {
        "content": _photo(settings),
        "size": Field(
            side,
            f"Longest side of a tile in pixels, {smallest} to {largest}, {WALL_SIDE} by default; smaller photos are "
            "not enlarged",
            default=WALL_SIDE,
        ),
        "style": Field(File(), "Studies, painted first. Send paintings as style_vector", repeats=True, most=WALL_TILES),
        "style_name": Field(
            Text(),
            "Names from /api/v1/styles, painted in this order; the whole gallery by default. At most "
            f"{WALL_TILES} tiles in all",
            repeats=True,
            most=WALL_TILES,
        ),
        "style_vector": Field(
            vectors.kind, f"{vectors.description}; painted after the names", repeats=True, most=WALL_TILES
        ),
    }


def _vectors() -> Form:
    return {"style": Field(File(), PICTURE_FORMATS, required=True)}


def _optimise(settings: Settings) -> Form:
    bound = Number(0, LOSS_WEIGHT_BOUND, f"a number, 0 or more and at most {LOSS_WEIGHT_BOUND:g}")
    smallest, largest = settings.min_side, settings.optimise_size
    return {
        "content": _photo(settings),
        "style": _mix(settings.max_styles)["style"],
        "style_name": Field(
            Text(), "Names of originals from /api/v1/styles; the masters' pictures are not stored", repeats=True
        ),
        "weight": _weight("files, names", settings.max_styles),
        "backbone": Field(Text(), "The loss network. GET /api/v1/optimise lists them, the default first"),
        "content_layer": Field(
            Text(), "The layer at which content is compared; the network's own default if omitted", repeats=True
        ),
        "style_layers": Field(
            Text(),
            "The layers at which style is compared; repeat the field. The network's own defaults if omitted",
            repeats=True,
        ),
        "steps": Field(
            Integer(1, settings.optimise_steps),
            f"1 to {settings.optimise_steps}. After {settings.optimise_seconds:g} seconds the picture so far is the "
            "result",
        ),
        "content_weight": Field(bound, "Weight of the content loss"),
        "style_weight": Field(bound, "Weight of the style loss"),
        "tv_weight": Field(bound, "Weight of the total variation, which smooths; the network's own default if omitted"),
        "init": Field(
            Choice(INITS),
            "Where the optimisation starts: noise, the photo, or feedforward, which is what /api/v1/stylize paints",
            default="photo",
        ),
        "start": Field(File(), "With init=feedforward: a picture to start from instead, with the photo's proportions"),
        "seed": Field(Integer(0, MAX_SEED), "Seed of the noise", default=0),
        "size": Field(
            Integer(smallest, largest),
            f"Longest side in pixels, {smallest} to {largest}. By default the photo's own, shrunk to "
            f"{min(OPTIMISE_SIZE, largest)} if it is larger",
        ),
        "format": _answer_format("Format of the result; previews are JPEG"),
    }


def _study(settings: Settings) -> Form:
    return {
        "style": Field(File(), "The painting"),
        "style_name": Field(Text(), "Or the name of an original from /api/v1/styles"),
        "content": Field(
            File(),
            "The photo you are going to paint. The study learns from it among others and shows it along the way; a "
            "sample photo by default",
        ),
        "steps": Field(
            Integer(1, settings.optimise_steps),
            f"1 to {settings.optimise_steps}, one photo per step. After {settings.optimise_seconds:g} seconds the "
            "study so far is the result",
            default=min(STEPS, settings.optimise_steps),
        ),
    }
