"""The gallery: `styles/styles.toml` says who painted what, `styles/vectors.safetensors` holds the style vectors.

Originals are pictures that this project drew, and lie beside the list. Of the masters only the vectors are stored: a
hundred numbers say how a painting is painted, and no picture can be had back from them.
"""

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stylizer import weights
from stylizer.errors import UnknownStyle, WeightsError

LIST, VECTORS = "styles.toml", "vectors.safetensors"
KINDS = ("original", "master")


@dataclass(frozen=True)
class Style:
    name: str  # what commands, URLs and the API call it
    title: str
    artist: str
    year: str  # as it is known: "1889", "1907-1908", "c. 1665"
    kind: str  # original or master
    picture: str | None  # the file's name in styles/, for originals
    vector: np.ndarray  # (100,) float32


def read_list(folder: Path) -> list[dict]:
    """The entries of styles.toml as they stand; WeightsError where the list is missing or damaged."""
    try:
        entries = tomllib.loads((folder / LIST).read_text(encoding="utf-8"))["style"]
    except FileNotFoundError:
        raise WeightsError(f"{folder / LIST} is missing; restore the folder from the repository") from None
    except (tomllib.TOMLDecodeError, KeyError) as cause:
        raise WeightsError(f"{folder / LIST} does not read as a list of styles: {cause}") from cause
    names = [entry["name"] for entry in entries]
    if len(set(names)) != len(names):
        raise WeightsError(f"{folder / LIST} names a style twice: {sorted(n for n in names if names.count(n) > 1)[0]}")
    return entries


def read_gallery(folder: Path) -> dict[str, Style]:
    """{name: Style} in the list's order; WeightsError where a vector is missing."""
    vectors, _ = read_vectors(folder)
    entries = read_list(folder)
    missing = [entry["name"] for entry in entries if entry["name"] not in vectors]
    if missing:
        raise WeightsError(f"no vector is stored for style {missing[0]!r}; run python -m stylizer.training.vectors")
    return {
        entry["name"]: Style(
            name=entry["name"], title=entry["title"], artist=entry["artist"], year=str(entry["year"]),
            kind=entry["kind"], picture=entry.get("picture"), vector=vectors[entry["name"]],
        )
        for entry in entries
    }  # fmt: skip


def read_vectors(folder: Path) -> tuple[dict[str, np.ndarray], str]:
    """({name: vector}, fingerprint of the predictor that made them)."""
    try:
        data = (folder / VECTORS).read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{folder / VECTORS} is missing; run python -m stylizer.training.vectors") from None
    vectors, metadata = weights.parse(data, VECTORS)
    return vectors, metadata.get("predictor", "")


def find(gallery: dict[str, Style], name: str) -> Style:
    """The style of that name; UnknownStyle lists what there is."""
    if name not in gallery:
        close = difflib.get_close_matches(name, gallery, n=1)
        hint = f"did you mean {close[0]!r}? There are" if close else "choose from"
        raise UnknownStyle("style_name", f"there is no style {name!r}; {hint} {', '.join(gallery)}")
    return gallery[name]
