"""What Python and the page must agree on: numbers, names and bounds, each of them once.

A number stands where it is used in Python, or here where it belongs to the HTTP API. `make contract` writes those that
JavaScript needs to assets/contract.js; a test compares that file with this module.
"""

import json
from pathlib import Path
from types import ModuleType

from stylizer import alpha, brushwork, feedforward, images, parameters, studies, tiles
from stylizer.errors import ParameterError, StylizerError

PATHS = {  # of what is posted
    "stylize": "api/v1/stylize",
    "wall": "api/v1/wall",
    "vectors": "api/v1/vectors",
    "study": "api/v1/study",
    "optimise": "api/v1/optimise",
}
GENERAL = {  # {code: (status, title)} of problems that no error class of ours stands for
    "bad-request": (400, "Bad Request"),
    "not-found": (404, "Not Found"),
    "method-not-allowed": (405, "Method Not Allowed"),
    "internal": (500, "Something went wrong here"),
}
RETRY_STATUSES = (429, 502, 503, 504)  # the same request may succeed later; 502 and 504 come from proxies
WALL_SIDE, WALL_SIDES = 176, (64, 320)  # longest side of a wall's tile in pixels: by default, and the bounds
WALL_TILES = 200  # in one request
TILE_FORMAT = "webp"  # of a wall's tiles
LOSS_WEIGHT_BOUND = 1e9  # of content, style and grain, to the classic mode

# What the browser computes as Python does, by the modules that hold the numbers.
ARITHMETIC: dict[ModuleType, tuple[str, ...]] = {
    alpha: ("GREY", "FAINT", "CLEAR", "KNOWN", "SHADOW"),
    brushwork: (
        "CELL", "HEIGHTS", "BOLDNESS", "PLAIN", "AROUND", "SIDES", "DRIFT", "STEPS", "MOST_CELLS", "LEAST_SIDE",
    ),
    feedforward: ("STYLE_SIDE", "READ_SIDE", "READ_FOR", "MOST_OCTAVES", "EDGE", "FADE", "FEATURE_BYTES"),
    images: ("LUMA", "REDUCING_GAP"),
    studies: ("VERSION", "RANK", "MAX_BYTES", "BOUND"),
    tiles: (
        "STRIDE", "MARGIN", "SMALLER", "SAMPLE_SIDE", "CELL", "SPARSE", "SPARSEST", "THINGS_SHARE", "FAINT", "FAINTEST",
        "WHOLE_PIXELS",
    ),
}  # fmt: skip

FILE = Path(__file__).parents[1] / "assets" / "contract.js"
HEAD = "/* Written by `make contract` from stylizer/contract.py: what Python and the page must agree on. */\n"


def codes() -> dict[str, tuple[int, str]]:
    """{code: (status, title)} of every problem that the HTTP API tells of."""
    classes = [*StylizerError.__subclasses__(), *ParameterError.__subclasses__()]
    return GENERAL | {each.code: (each.status, each.title) for each in classes}


def shared() -> dict[str, object]:
    """{name: value} of all that JavaScript reads."""
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
    """The module assets/contract.js."""

    def plain(value: object) -> object:
        return [float(str(each)) for each in value]  # float32, in no more digits than it has

    lines = [f"export const {name} = {json.dumps(value, default=plain)};" for name, value in shared().items()]
    return "\n".join([HEAD, *lines, ""])


if __name__ == "__main__":
    FILE.write_text(as_javascript(), encoding="utf-8")
