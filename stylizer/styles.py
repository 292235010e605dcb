"""The gallery: `styles/styles.toml` says who painted what, `styles/vectors.safetensors` holds the style vectors.

Originals are pictures drawn by this project, stored beside the list. No pictures of the masters are stored: a vector's
hundred numbers say how a painting is painted, and no picture can be recovered from them. `styles/studies/` holds
studies of originals and masters, NAME.study.safetensors; a study under any other name is a style of its own.

`styles/SHA256SUMS` has the checksums of vectors and studies, because one changed bit would paint another style
unnoticed. The list is meant to be edited, and faults in a picture are visible.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stylizer import images, studies, weights
from stylizer.errors import ParameterError, UnknownStyle, WeightsError, shown
from stylizer.images import Fit, Picture, PictureSource
from stylizer.parameters import VECTOR_SIZE, check_vector
from stylizer.settings import Settings
from stylizer.studies import SUFFIX, Study

LIST, VECTORS, STUDIES = "styles.toml", "vectors.safetensors", "studies"
COARSER, ROUGHNESS = "/coarser", "/roughness"  # keys among the vectors; no style can have such a name
TYPICAL = 5.0  # roughness of a painting,
UNKNOWN = np.append(np.zeros(VECTOR_SIZE), np.log2(1 + TYPICAL)).astype(np.float32)  # if the vectors do not include it
KINDS = ("original", "master")
MAX_NAME = 100  # characters of a style's name


@dataclass(frozen=True)
class Style:
    name: str  # in commands, URLs and the API
    title: str
    artist: str
    year: str  # as far as known: "1889", "1907-1908", "c. 1665"
    kind: str  # original or master
    picture: str | None  # file name in styles/, for originals
    vector: np.ndarray  # (100,) float32
    study: Study | None = None


@dataclass(frozen=True)
class Blend:
    """All that painting needs of a style, or of a weighted mean of several."""

    vector: np.ndarray  # (100,) float32
    added: np.ndarray | None = None  # what studies add to the transformer's weights, (ADDED_SIZE,) float32
    height: int = 0  # of the brushwork, in levels; set by the engine

    @classmethod
    def of(cls, style: "Style | Study | Blend") -> "Blend":
        """The blend of one style. Expanding a study takes a millisecond and 0.8 MB, so it is done only to paint."""
        if isinstance(style, Blend):
            return style
        study = style.study if isinstance(style, Style) else style
        return cls(style.vector, study.added() if study else None)


def blend(styles: Sequence[Blend], shares: Iterable[float]) -> Blend:
    """The weighted mean; a style without a study adds nothing. Shares sum to 1."""
    pairs = list(zip(styles, shares, strict=True))
    vector = np.sum([share * style.vector for style, share in pairs], axis=0)
    parts = [share * style.added for style, share in pairs if style.added is not None and share]
    added = np.sum(parts, axis=0).astype(np.float32) if parts else None
    return Blend(vector.astype(np.float32), added)


def read_list(folder: Path) -> list[dict]:
    """The raw entries of styles.toml; WeightsError if the list is missing, damaged or incomplete."""
    try:
        entries = tomllib.loads((folder / LIST).read_text(encoding="utf-8")).get("style")
    except FileNotFoundError:
        raise WeightsError(f"{folder / LIST} is missing; restore the folder from the repository") from None
    except OSError as cause:
        raise WeightsError(f"cannot read {folder / LIST}: {cause.strerror}") from cause
    except UnicodeDecodeError:
        raise WeightsError(f"{folder / LIST} is not UTF-8 text; restore it from the repository") from None
    except tomllib.TOMLDecodeError as cause:
        raise WeightsError(f"{folder / LIST} is not a valid list of styles: {cause}") from cause
    if not entries or not isinstance(entries, list):
        raise WeightsError(f"{folder / LIST} lists no styles; each begins with a line [[style]]")
    for number, entry in enumerate(entries, 1):
        fault = _fault(entry)
        if fault:
            raise WeightsError(f"{folder / LIST}: style {number} {fault}")
    names = [entry["name"] for entry in entries]
    if len(set(names)) != len(names):
        raise WeightsError(f"{folder / LIST} names a style twice: {sorted(n for n in names if names.count(n) > 1)[0]}")
    return entries


def _fault(entry: object) -> str | None:
    """What is wrong with an entry, to follow "style 3"; None if it is valid."""
    if not isinstance(entry, dict):
        return f"is {shown(entry)}; it must be a table of name, title, artist, year and kind"
    name = entry.get("name")
    if not is_name(name):
        return f"has the name {shown(name)}; it must be a string of 1 to {MAX_NAME} characters without / or #"
    texts = {key: entry.get(key) for key in ("title", "artist", "year", "kind")}
    if type(texts["year"]) is int:
        texts["year"] = str(texts["year"])
    wrong = [key for key, value in texts.items() if not isinstance(value, str) or not value.strip()]
    if wrong:
        return f"({shown(name)}) has the {wrong[0]} {shown(entry.get(wrong[0]))}; it must be a string"
    if entry["kind"] not in KINDS:
        return f"({shown(name)}) has the kind {shown(entry['kind'])}; choose from {', '.join(KINDS)}"
    picture = entry.get("picture")
    if entry["kind"] == "original" and not (isinstance(picture, str) and picture and Path(picture).name == picture):
        return f"({shown(name)}) has the picture {shown(picture)}; it must be the name of a file beside the list"
    return None


def is_name(name: object) -> bool:
    """Whether this is a valid style name: one that survives in URLs and file names."""
    return (
        isinstance(name, str)
        and 0 < len(name.strip()) == len(name) <= MAX_NAME
        and (name.isprintable() and not set(name) & set("/#\\") and name not in (".", ".."))
    )


def read_gallery(folder: Path) -> dict[str, Style]:
    """{name: Style} in the list's order; WeightsError if a vector is missing."""
    vectors = read_vectors(folder).of_styles
    entries = read_list(folder)
    missing = [entry["name"] for entry in entries if entry["name"] not in vectors]
    if missing:
        raise WeightsError(f"no vector is stored for style {missing[0]!r}; run python -m stylizer.training vectors")
    gallery = {
        entry["name"]: Style(
            name=entry["name"],
            title=entry["title"],
            artist=entry["artist"],
            year=str(entry["year"]),
            kind=entry["kind"],
            picture=entry.get("picture"),
            vector=vectors[entry["name"]],
        )
        for entry in entries
    }
    for name, study in read_studies(folder).items():
        if name in gallery:
            gallery[name] = replace(gallery[name], study=study)
        else:
            title = name.replace("-", " ").capitalize()
            gallery[name] = Style(name, title, "studied here", "", "original", None, study.vector, study)
    return gallery


def read_studies(folder: Path) -> dict[str, Study]:
    """{name: Study} for every file in styles/studies; WeightsError if one is damaged.

    Those listed in the folder's SHA256SUMS must match it; others are the user's own.
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
            raise WeightsError(f"cannot read the gallery: {cause}") from cause
        if not is_name(name):
            raise WeightsError(f"{path}: {shown(name)} is not a valid style name; rename the file")
    return found


@dataclass(frozen=True)
class StoredVectors:
    of_styles: Mapping[str, np.ndarray]  # {name: (100,)}
    coarser: np.ndarray  # (100,): what is added to a vector for strokes twice as large; zeros if not stored
    roughness: np.ndarray  # (101,): linear map from a vector to its painting's roughness, `brushwork.read_roughness`
    predictors: Sequence[str]  # fingerprints of the predictor that made them and of those that share its vector space


def read_vectors(folder: Path) -> StoredVectors:
    """Read the stored vectors; WeightsError if the file is missing or its checksum differs."""
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
    """The gallery style that a string names, or None if it names a file; UnknownStyle if neither.

    The gallery takes precedence: write ./NAME for a file without a suffix that shares its name with a style.
    """
    if not isinstance(style, str):
        return None
    is_file = os.path.exists(style) or os.path.splitext(style)[1]
    return find(gallery, style) if style in gallery or not is_file else None


def find(gallery: Mapping[str, Style], name: str) -> Style:
    """The style of this name; UnknownStyle lists those there are."""
    if name not in gallery:
        close = difflib.get_close_matches(name, gallery, n=1) if len(name) <= MAX_NAME else []
        hint = f"did you mean {close[0]!r}? There are" if close else "choose from"
        raise UnknownStyle("style_name", f"there is no style {shown(name)}; {hint} {', '.join(gallery)}")
    return gallery[name]


def check_predictor(origins: Sequence[str], predictor: str) -> None:
    """Raise WeightsError if the gallery's vectors belong to another predictor's space, where they mean other styles."""
    if origins and predictor not in origins:
        raise WeightsError(
            f"the gallery was made by another predictor ({', '.join(origins)}; this one is {predictor}); use that "
            "one, or rebuild the vectors: python -m stylizer.training vectors"
        )


def style_picture(style: PictureSource, settings: Settings, fit: Fit | None = None) -> Picture:
    """A style's picture; ParameterError for the gallery's masters, which have none. `fit`: see `images.decode`."""
    found = named(read_gallery(settings.styles), style)
    if found is None:
        return images.as_picture(style, settings, fit)
    if found.picture is None:
        raise ParameterError(
            "style", f"only the style vector of {style!r} is stored, but optimising needs a picture; name a file"
        )
    return images.as_picture(settings.styles / found.picture, settings, fit)
