"""What Python and the page must agree on: numbers, names and bounds, each defined once.

A number is defined where Python uses it, or here if it belongs to the HTTP API. `make contract` writes those that
JavaScript needs to assets/contract.js; a test compares that file with this module.
"""

import json
from pathlib import Path
from types import ModuleType

import numpy as np

from stylizer import alpha, brushwork, canvas, images, parameters, photos, reading, studies, tiles
from stylizer.errors import ParameterError, StylizerError

PATHS = {  # routes that accept a form
    "stylize": "api/v1/stylize",
    "wall": "api/v1/wall",
    "vectors": "api/v1/vectors",
    "study": "api/v1/study",
    "optimise": "api/v1/optimise",
}
GENERAL = {  # {code: (status, title)} of problems that have no error class of ours
    "bad-request": (400, "Bad Request"),
    "not-found": (404, "Not Found"),
    "method-not-allowed": (405, "Method Not Allowed"),
    "internal": (500, "Internal server error"),
}
RETRY_STATUSES = (429, 502, 503, 504)  # the same request may succeed later; 502 and 504 come from proxies
WALL_SIDE, WALL_SIDES = 176, (64, 320)  # longest side of a wall's tile in pixels: default, and bounds
WALL_TILES = 200  # at most, per request
TILE_FORMAT = "webp"  # of a wall's tiles
LOSS_WEIGHT_BOUND = 1e9  # largest content, style or total variation weight in Classic

# Constants of the arithmetic that the browser repeats, by the module that defines them.
ARITHMETIC: dict[ModuleType, tuple[str, ...]] = {
    alpha: ("GREY", "FAINT", "CLEAR", "KNOWN", "SHADOW"),
    brushwork: (
        "CELL",
        "HEIGHTS",
        "BOLDNESS",
        "PLAIN",
        "AROUND",
        "SIDES",
        "DRIFT",
        "STEPS",
        "MOST_CELLS",
        "LEAST_SIDE",
    ),
    canvas: ("EDGE", "FADE"),
    images: ("LUMA", "REDUCING_GAP"),
    photos: ("FEATURE_BYTES",),
    reading: ("STYLE_SIDE", "READ_SIDE", "READ_FOR", "MOST_OCTAVES"),
    studies: ("VERSION", "RANK", "MAX_BYTES", "BOUND"),
    tiles: (
        "STRIDE",
        "MARGIN",
        "SMALLER",
        "SAMPLE_SIDE",
        "CELL",
        "SPARSE",
        "SPARSEST",
        "THINGS_SHARE",
        "FAINT",
        "FAINTEST",
        "WHOLE_PIXELS",
    ),
}

FILE = Path(__file__).parents[1] / "assets" / "contract.js"
HEAD = "/* Written by `make contract` from stylizer/contract.py: what Python and the page must agree on. */\n"


def codes() -> dict[str, tuple[int, str]]:
    """{code: (status, title)} of every problem the HTTP API reports."""
    classes = [*StylizerError.__subclasses__(), *ParameterError.__subclasses__()]
    return GENERAL | {each.code: (each.status, each.title) for each in classes}


def shared() -> dict[str, object]:
    """{name: value} of everything JavaScript reads."""
    return {
        "PATHS": {name.upper(): path for name, path in PATHS.items()},
        "CODES": {code.replace("-", "_").upper(): code for code in codes()},
        "RETRY_STATUSES": RETRY_STATUSES,
        "MEDIA_TYPES": images.FORMATS,
        "TILE_FORMAT": TILE_FORMAT,
        "WALL_SIDE": WALL_SIDE,
        "VECTOR_SIZE": parameters.VECTOR_SIZE,
        "VECTOR_BOUND": parameters.VECTOR_BOUND,
        "STRENGTHS": parameters.STRENGTHS,
        "STYLE_SCALES": parameters.STYLE_SCALES,
        "STUDY_SUFFIX": studies.SUFFIX,
        **{
            module.__name__.removeprefix("stylizer.").upper(): {name: getattr(module, name) for name in names}
            for module, names in ARITHMETIC.items()
        },
    }


def as_javascript() -> str:
    """The source of assets/contract.js."""

    def plain(value: np.ndarray) -> list[float]:
        return [float(str(each)) for each in value]  # with only the digits that a float32 has

    lines = [f"export const {name} = {json.dumps(value, default=plain)};" for name, value in shared().items()]
    return "\n".join([HEAD, *lines, ""])


if __name__ == "__main__":
    FILE.write_text(as_javascript(), encoding="utf-8")
