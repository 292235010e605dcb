"""Checks of arguments, the same for Python, the command line, HTTP and the settings.

Strings are parsed more strictly than by `int` and `float`, which read 1_00 as a hundred and accept any script's digits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stylizer.errors import ParameterError, shown

if TYPE_CHECKING:
    from stylizer.settings import Settings

WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
DECIMAL = re.compile(r"[+-]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][+-]?[0-9]{1,4})?")
BOOLEANS = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}

VECTOR_SIZE = 100
VECTOR_BOUND = 100.0  # largest absolute value in a style vector: its numbers vary by 1, and the gallery's largest is 7
WEIGHT_BOUND = 1e6
STRENGTHS = 0.0, 1.0
STYLE_SCALES = 0.5, 2.0  # smallest and largest strokes


def as_whole(value: object) -> int | None:
    """A whole number, or None for anything else, including 3.0 and True."""
    if isinstance(value, str):
        return int(value) if WHOLE.fullmatch(value) else None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        return None
    return int(value)


def as_decimal(value: Any) -> float | None:
    """A finite number, or None for anything else, including True."""
    if isinstance(value, str):
        number = float(value) if DECIMAL.fullmatch(value) else math.nan
    elif isinstance(value, (bool, np.bool_)):
        return None
    else:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):  # a 400-digit integer overflows a float
            return None
    return number if math.isfinite(number) else None


def whole(field: str, value: object, smallest: int, largest: int, words: str = "") -> int:
    """A whole number in these bounds; ParameterError says what is allowed, using `words` if given."""
    number = as_whole(value)
    if number is None or not smallest <= number <= largest:
        words = words or f"a whole number from {smallest} to {largest}"
        raise ParameterError(field, f"{field} is {shown(value if number is None else number)}; it must be {words}")
    return number


def decimal(field: str, value: object, smallest: float, largest: float, words: str = "") -> float:
    """A number in these bounds; ParameterError says what is allowed, using `words` if given."""
    number = as_decimal(value)
    if number is None or not smallest <= number <= largest:
        words = words or f"a number from {smallest:g} to {largest:g}"
        came = shown(value) if number is None else f"{number:g}"
        raise ParameterError(field, f"{field} is {came}; it must be {words}")
    return number


def boolean(field: str, value: object) -> bool:
    """True or false, as a bool or a string that means one."""
    found = BOOLEANS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise ParameterError(field, f"{field} is {shown(value)}; it must be true or false")
    return found


# Of painting --------------------------------------------------------------------------------------------------------


def check_vector(vector: object, field: str = "style_vector") -> np.ndarray:
    """100 numbers from -VECTOR_BOUND to VECTOR_BOUND, as float32 (100,); ParameterError otherwise."""
    if isinstance(vector, (list, tuple)) and any(isinstance(each, (bool, np.bool_)) for each in vector):
        raise ParameterError(field, f"a style vector is {VECTOR_SIZE} numbers, but this one contains true or false")
    try:
        array = np.asarray(vector)
    except (TypeError, ValueError, RuntimeError):  # lists of unequal length; a tensor that requires a gradient
        raise ParameterError(field, f"a style vector is {VECTOR_SIZE} numbers") from None
    if array.dtype.kind not in "iuf":  # strings, objects, 400-digit integers
        raise ParameterError(field, f"a style vector is {VECTOR_SIZE} numbers, but this one contains something else")
    array = array[0] if array.shape == (1, VECTOR_SIZE) else array
    if array.shape != (VECTOR_SIZE,):
        raise ParameterError(field, f"a style vector is {VECTOR_SIZE} numbers; got {array.size}, shape {array.shape}")
    array = array.astype(np.float64)
    beyond = array[~(np.abs(array) <= VECTOR_BOUND)]  # NaN too
    if beyond.size:
        raise ParameterError(
            field, f"a style vector's numbers must be from {-VECTOR_BOUND:g} to {VECTOR_BOUND:g}; got {beyond[0]:g}"
        )
    return array.astype(np.float32)


def check_styles(count: int, most: int) -> None:
    """The number of styles in a mix; ParameterError for none or too many."""
    if not count:
        raise ParameterError("style", "no style was given; give a picture, a gallery name or a vector")
    if count > most:
        raise ParameterError("style", f"{count} styles were given; a mix has at most {most}")


def check_weights(weights: Sequence[float] | None, count: int) -> np.ndarray:
    """Shares of a mix that sum to 1, float64 (count,); ParameterError for a wrong count or bound, or all 0."""
    if weights is None or len(weights) == 0:
        return np.full(count, 1 / max(count, 1))
    if len(weights) != count:
        raise ParameterError("weight", f"{len(weights)} weights for {count} styles; give one per style, or none")
    shares = np.asarray([decimal("weight", weight, 0, WEIGHT_BOUND) for weight in weights])
    if not shares.sum() > 0:
        raise ParameterError("weight", "all weights are 0; at least one must be larger")
    return shares / shares.sum()


def check_strength(strength: object) -> float:
    words = "a number from 0 (the photo) to 1 (the full style)"
    return decimal("strength", strength, *STRENGTHS, words)


def check_style_scale(style_scale: object) -> float:
    smallest, largest = STYLE_SCALES
    words = f"a number from {smallest:g} (small strokes) to {largest:g} (large ones)"
    return decimal("style_scale", style_scale, smallest, largest, words)


def check_size(size: object, settings: Settings) -> int | None:
    """A longest side in pixels, or None to keep the photo's."""
    if size is None or (isinstance(size, str) and size == "original"):
        return None
    bounds = settings.min_side, settings.max_side
    return whole("size", size, *bounds, f'the longest side in pixels, {bounds[0]} to {bounds[1]}, or "original"')
