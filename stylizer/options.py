"""Command-line options made from the fields of a dataclass, so that defaults and help texts are written down once."""

import argparse
from dataclasses import MISSING, Field, field, fields
from types import UnionType
from typing import Any, get_args, get_origin


def option(default: Any, reason: str) -> Any:
    """A field with its default and a description, which is also the option's help."""
    return field(default=default, metadata={"help": reason})


def add_options(parser: argparse._ActionsContainer, config: type) -> None:
    """One option per field: `style_weight: float` becomes --style-weight. Fields without a description get none."""
    for each in fields(config):
        if "help" in each.metadata:
            parser.add_argument(f"--{each.name.replace('_', '-')}", default=None, **_given(each))


def _given(each: Field) -> dict[str, Any]:
    """argparse's arguments for a field."""
    reason = each.metadata["help"].replace("%", "%%")
    if each.default not in (None, (), MISSING):
        reason = f"{reason}; default {_in_words(each.default)}"
    if each.type is bool:
        return {"action": argparse.BooleanOptionalAction, "help": reason}
    if get_origin(each.type) is tuple:
        return {"nargs": "+", "type": get_args(each.type)[0], "help": reason}
    kind = get_args(each.type)[0] if get_origin(each.type) is UnionType else each.type  # from `float | None`
    return {"type": kind, "help": reason}


def _in_words(default: Any) -> str:
    """A default as one would type it."""
    if isinstance(default, bool):
        return "on" if default else "off"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def chosen(config: type, options: argparse.Namespace) -> Any:
    """A config with the given options; the others keep their defaults."""
    given = {each.name: getattr(options, each.name, None) for each in fields(config)}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return config(**{name: value for name, value in given.items() if value is not None})
