"""The gallery: `styles/styles.toml` says who painted what, `styles/vectors.safetensors` holds the style vectors.

Originals are pictures that this project drew, and lie beside the list. Of the masters no picture is stored: a vector's
hundred numbers say how a painting is painted, and no picture can be had back from them. `styles/studies/` holds studies
of originals and masters, NAME.study.safetensors; one under any other name is a style of its own.

`styles/SHA256SUMS` has the checksums of vectors and studies, since one changed bit would paint another style and no one
would see. The list is for people to edit, and a picture shows its faults by itself.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stylizer import studies, weights
from stylizer.errors import ParameterError, UnknownStyle, WeightsError, shown
from stylizer.parameters import VECTOR_SIZE, check_vector
from stylizer.studies import SUFFIX, Study

LIST, VECTORS, STUDIES = "styles.toml", "vectors.safetensors", "studies"
COARSER, ROUGHNESS = "/coarser", "/roughness"  # among the vectors; no style can be called so
TYPICAL = 5.0  # roughness of a painting,
UNKNOWN = np.append(np.zeros(VECTOR_SIZE), np.log2(1 + TYPICAL)).astype(np.float32)  # where nothing says it
KINDS = ("original", "master")
MAX_NAME = 100  # characters of a style's name


@dataclass(frozen=True)
class Style:
    name: str  # what commands, URLs and the API call it
    title: str
    artist: str
    year: str  # as it is known: "1889", "1907-1908", "c. 1665"
    kind: str  # original or master
    picture: str | None  # the file's name in styles/, for originals
    vector: np.ndarray  # (100,) float32
    study: Study | None = None


@dataclass(frozen=True)
class Blend:
    """All that painting needs to know of a style, or of a weighted mean of several."""

    vector: np.ndarray  # (100,) float32
    added: np.ndarray | None = None  # by studies to the transformer's weights, (ADDED_SIZE,) float32; None: nothing
    height: int = 0  # of the strokes that are laid on a photo before, in levels; the engine sees to it

    @classmethod
    def of(cls, style: "Style | Study | Blend") -> "Blend":
        """What is added takes a millisecond to multiply out and 0.8 MB to keep, so it is asked for when painting."""
        if isinstance(style, Blend):
            return style
        study = style.study if isinstance(style, Style) else style
        return cls(style.vector, study.added() if study else None)


def blend(styles: Sequence[Blend], shares: Sequence[float]) -> Blend:
    """The weighted mean; a style without a study adds nothing. Shares sum to 1."""
    vector = sum(share * style.vector for style, share in zip(styles, shares, strict=True))
    parts = [share * style.added for style, share in zip(styles, shares, strict=True)
             if style.added is not None and share]  # fmt: skip
    added = sum(parts).astype(np.float32) if parts else None
    return Blend(vector.astype(np.float32), added)


def read_list(folder: Path) -> list[dict]:
    """The entries of styles.toml as they stand; WeightsError where the list is missing, damaged or lacks something."""
    try:
        entries = tomllib.loads((folder / LIST).read_text(encoding="utf-8")).get("style")
    except FileNotFoundError:
        raise WeightsError(f"{folder / LIST} is missing; restore the folder from the repository") from None
    except OSError as cause:
        raise WeightsError(f"{folder / LIST} cannot be read: {cause.strerror}") from cause
    except UnicodeDecodeError:
        raise WeightsError(f"{folder / LIST} is no text in UTF-8; restore it from the repository") from None
    except tomllib.TOMLDecodeError as cause:
        raise WeightsError(f"{folder / LIST} does not read as a list of styles: {cause}") from cause
    if not entries or not isinstance(entries, list):
        raise WeightsError(f"{folder / LIST} lists no style; each begins with a line [[style]]")
    for number, entry in enumerate(entries, 1):
        fault = _fault(entry)
        if fault:
            raise WeightsError(f"{folder / LIST}: style {number} {fault}")
    names = [entry["name"] for entry in entries]
    if len(set(names)) != len(names):
        raise WeightsError(f"{folder / LIST} names a style twice: {sorted(n for n in names if names.count(n) > 1)[0]}")
    return entries


def _fault(entry: object) -> str | None:
    """What is wrong with an entry, to be read after "style 3"; None where nothing is."""
    if not isinstance(entry, dict):
        return f"is {shown(entry)}; it must be a table of name, title, artist, year and kind"
    name = entry.get("name")
    if not is_name(name):
        return f"has the name {shown(name)}; it must be a text of 1 to {MAX_NAME} characters without / or #"
    texts = {key: entry.get(key) for key in ("title", "artist", "year", "kind")}
    if type(texts["year"]) is int:
        texts["year"] = str(texts["year"])
    wrong = [key for key, value in texts.items() if not isinstance(value, str) or not value.strip()]
    if wrong:
        return f"({shown(name)}) has the {wrong[0]} {shown(entry.get(wrong[0]))}; it must be a text"
    if entry["kind"] not in KINDS:
        return f"({shown(name)}) is of the kind {shown(entry['kind'])}; choose from {', '.join(KINDS)}"
    picture = entry.get("picture")
    if entry["kind"] == "original" and not (isinstance(picture, str) and picture and Path(picture).name == picture):
        return f"({shown(name)}) has the picture {shown(picture)}; it must be the name of a file beside the list"
    return None


def is_name(name: object) -> bool:
    """Whether a style can be called so: in addresses and after a file's name it must stay one piece."""
    return isinstance(name, str) and 0 < len(name.strip()) == len(name) <= MAX_NAME and (
        name.isprintable() and not set(name) & set("/#\\") and name not in (".", "..")
    )  # fmt: skip


def read_gallery(folder: Path) -> dict[str, Style]:
    """{name: Style} in the list's order; WeightsError where a vector is missing."""
    vectors = read_vectors(folder).of_styles
    entries = read_list(folder)
    missing = [entry["name"] for entry in entries if entry["name"] not in vectors]
    if missing:
        raise WeightsError(f"no vector is stored for style {missing[0]!r}; run python -m stylizer.training.vectors")
    gallery = {
        entry["name"]: Style(
            name=entry["name"], title=entry["title"], artist=entry["artist"], year=str(entry["year"]),
            kind=entry["kind"], picture=entry.get("picture"), vector=vectors[entry["name"]],
        )
        for entry in entries
    }  # fmt: skip
    for name, study in read_studies(folder).items():
        if name in gallery:
            gallery[name] = replace(gallery[name], study=study)
        else:
            title = name.replace("-", " ").capitalize()
            gallery[name] = Style(name, title, "studied here", "", "original", None, study.vector, study)
    return gallery


def read_studies(folder: Path) -> dict[str, Study]:
    """{name: Study} of every file in styles/studies; WeightsError for one that is damaged.

    Those that the folder's SHA256SUMS lists must be as listed. Others are a user's own.
    """
    found = {}
    for path in sorted((folder / STUDIES).glob(f"*{SUFFIX}")):
        name, listed = path.name.removesuffix(SUFFIX), f"{STUDIES}/{path.name}"
        try:
            if listed in weights.checksums(folder):
                found[name] = replace(studies.parse(weights.read(folder, listed), str(path)), name=name)
            else:
                found[name] = studies.read(path)
        except ParameterError as cause:
            raise WeightsError(f"the gallery does not read: {cause}") from cause
        if not is_name(name):
            raise WeightsError(f"{path} is called {shown(name)}, which no style can be; rename it")
    return found


@dataclass(frozen=True)
class StoredVectors:
    of_styles: Mapping[str, np.ndarray]  # {name: (100,)}
    coarser: np.ndarray  # (100,): what is added to a vector for strokes twice as large; zeros where it is not stored
    roughness: np.ndarray  # (101,): the way from a vector to a painting's roughness, `brushwork.read_roughness`
    predictors: Sequence[str]  # fingerprints of the one that made them and of those that answer in the same space


def read_vectors(folder: Path) -> StoredVectors:
    """WeightsError where there are none, or others than the checksum says."""
    vectors, metadata = weights.parse(weights.read(folder, VECTORS), VECTORS)
    roughness = vectors.pop(ROUGHNESS, UNKNOWN)
    for name, vector in vectors.items():
        try:
            vectors[name] = check_vector(vector)
        except ParameterError as cause:
            raise WeightsError(f"{folder / VECTORS} is damaged at {shown(name)}: {cause}") from cause
    coarser = vectors.pop(COARSER, np.zeros(VECTOR_SIZE, np.float32))
    return StoredVectors(vectors, coarser, roughness, metadata.get("predictor", "").split())


def named(gallery: Mapping[str, Style], style: object) -> Style | None:
    """The gallery's style that a text names, None where it names a file; UnknownStyle for what is neither.

    The gallery goes first: a file without an ending that is called like one of its styles is ./NAME.
    """
    if not isinstance(style, str):
        return None
    is_file = os.path.exists(style) or os.path.splitext(style)[1]
    return find(gallery, style) if style in gallery or not is_file else None


def find(gallery: Mapping[str, Style], name: str) -> Style:
    """The style of that name; UnknownStyle lists what there is."""
    if name not in gallery:
        close = difflib.get_close_matches(name, gallery, n=1) if len(name) <= MAX_NAME else []
        hint = f"did you mean {close[0]!r}? There are" if close else "choose from"
        raise UnknownStyle("style_name", f"there is no style {shown(name)}; {hint} {', '.join(gallery)}")
    return gallery[name]
