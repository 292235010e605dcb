"""The gallery: `styles/styles.toml` says who painted what, `styles/vectors.safetensors` holds the style vectors.

Originals are pictures that this project drew, and lie beside the list. Of the masters only the vectors are stored: a
hundred numbers say how a painting is painted, and no picture can be had back from them. Any other safetensors file in
the folder holds styles that `stylizer fit` tuned.

`styles/SHA256SUMS` has the vectors' checksum, since one changed bit would paint another style and no one would see. The
list is for people to edit, and a picture shows its faults by itself.
"""

import difflib
import hashlib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stylizer import weights
from stylizer.errors import ParameterError, UnknownStyle, WeightsError, shown
from stylizer.parameters import check_vector

LIST, VECTORS = "styles.toml", "vectors.safetensors"
COARSER = "/coarser"  # among the vectors; no style can be called so
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
    origin: str = ""  # of a tuned one: fingerprint of the transformer that it was tuned for


@dataclass(frozen=True)
class TunedStyle:
    """A style that `stylizer.fit` made: a vector, and what it adds to the transformer's weights, by key.

    Norms are linear in all of this, so what sets vector and norms alone mixes with any other style. A network is shared
    by the styles of its file and mixes with those alone.
    """

    name: str
    vector: np.ndarray  # (100,) float32
    norms: Mapping[str, np.ndarray]  # added to the biases of gammas and betas
    network: Mapping[str, np.ndarray]  # added to all other weights
    origin: str  # fingerprint of the transformer that it was tuned for
    table: str = ""  # digest of the file, where that has a network

    @property
    def added(self) -> dict[str, np.ndarray]:
        return {**self.network, **self.norms}


def is_norm(key: str) -> bool:
    """Whether a weight of the transformer is a gamma or a beta as it is without a style."""
    return key.endswith((".gamma.bias", ".beta.bias"))


def read_tuned(path: Path) -> dict[str, TunedStyle]:
    """{name: style} of a file that `stylizer fit` wrote; ParameterError where it is missing or something else."""
    try:
        data = path.read_bytes()
        arrays, metadata = weights.parse(data, str(path))
        if "transformer" not in metadata or "tune" not in metadata:
            raise WeightsError(f"{path} holds no tuned style; make one with `stylizer fit`")
    except OSError as cause:
        raise ParameterError("style", f"{path} cannot be read: {cause.strerror}") from cause
    except WeightsError as cause:
        raise ParameterError("style", str(cause)) from cause
    parts: dict[str, dict[str, np.ndarray]] = {}
    for key, value in sorted(arrays.items()):
        name, _, weight = key.partition("/")
        parts.setdefault(name, {})[weight] = value.astype(np.float32)
    network = parts.pop("", {})
    for name, norms in parts.items():
        _check_tuned(path, name, norms)
    table = hashlib.sha256(data).hexdigest() if network else ""
    return {
        name: TunedStyle(name, norms.pop("vector"), norms, network, metadata["transformer"], table)
        for name, norms in parts.items()
    }


def _check_tuned(path: Path, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """ParameterError for a style without its vector, and for numbers that are none."""
    if "vector" not in arrays:
        raise ParameterError("style", f"{path} holds no vector of {shown(name)}, which is needed; tune it again")
    try:
        check_vector(arrays["vector"], "style")
    except ParameterError as cause:
        raise ParameterError("style", f"{path} is damaged at {shown(name)}: {cause}; tune it again") from cause
    broken = [key for key, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise ParameterError("style", f"{path} is damaged at {shown(name)}: {broken[0]} is not finite; tune it again")


def is_tuned(style: object) -> bool:
    """Whether this names a file of tuned styles, FILE.safetensors or FILE.safetensors#NAME."""
    return isinstance(style, (str, os.PathLike)) and os.fspath(style).partition("#")[0].endswith(".safetensors")


def tuned_style(source: str | os.PathLike) -> TunedStyle:
    """The style that FILE.safetensors#NAME names; the name may be left out where there is one alone."""
    file, _, name = os.fspath(source).partition("#")
    found = read_tuned(Path(file))
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        raise ParameterError("style", f"{file} holds {', '.join(found)}; name one as {file}#{next(iter(found))}")
    return found[name]


def mix_tuned(styles: Sequence[TunedStyle], shares: Sequence[float]) -> TunedStyle:
    """The weighted mean; ParameterError where they are of several networks. Shares sum to 1."""

    def total(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return sum(share * array for share, array in zip(shares, arrays, strict=True)).astype(np.float32)

    if len({style.table for style in styles}) > 1:
        names = ", ".join(style.name for style in styles)
        raise ParameterError(
            "style", f"{names} cannot be mixed: a style tuned with its whole network mixes with those of its file alone"
        )
    keys = {key for style in styles for key in style.norms}
    norms = {key: total([style.norms.get(key, np.float32(0)) for style in styles]) for key in keys}
    first = styles[0]
    return TunedStyle("mix", total([style.vector for style in styles]), norms, first.network, first.origin, first.table)


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
    for path in sorted(folder.glob("*.safetensors")):
        if path.name != VECTORS:
            gallery |= _tuned_entries(path, gallery)
    return gallery


def _tuned_entries(path: Path, gallery: Mapping[str, Style]) -> dict[str, Style]:
    """Tuned vectors as styles like any other; WeightsError for one that is more than a vector, or a name taken."""
    try:
        found = read_tuned(path)
    except ParameterError as cause:
        raise WeightsError(str(cause)) from cause
    for name, style in found.items():
        if style.added:
            raise WeightsError(f"{path} sets more than vectors, which a gallery cannot hold; move it elsewhere")
        if not is_name(name):
            raise WeightsError(f"{path} holds the name {shown(name)}, which no style can have; tune again")
        if name in gallery:
            raise WeightsError(f"{path} holds {name!r}, which the gallery has; rename the painting and tune again")
    return {
        name: Style(name, name.replace("-", " ").capitalize(), "tuned here", "", "original", None, style.vector,
                    style.origin)
        for name, style in found.items()
    }  # fmt: skip


@dataclass(frozen=True)
class StoredVectors:
    of_styles: Mapping[str, np.ndarray]  # {name: (100,)}
    coarser: np.ndarray  # (100,): what is added to a vector for strokes twice as large; zeros where it is not stored
    predictors: Sequence[str]  # fingerprints of the one that made them and of those that answer in the same space


def read_vectors(folder: Path) -> StoredVectors:
    """WeightsError where there are none, or others than the checksum says."""
    vectors, metadata = weights.parse(weights.read(folder, VECTORS), VECTORS)
    for name, vector in vectors.items():
        try:
            vectors[name] = check_vector(vector)
        except ParameterError as cause:
            raise WeightsError(f"{folder / VECTORS} is damaged at {shown(name)}: {cause}") from cause
    coarser = vectors.pop(COARSER, np.zeros(100, np.float32))
    return StoredVectors(vectors, coarser, metadata.get("predictor", "").split())


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
