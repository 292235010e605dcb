"""The gallery: `styles/styles.toml` says who painted what, `styles/vectors.safetensors` holds the style vectors.

Originals are pictures that this project drew, and lie beside the list. Of the masters only the vectors are stored: a
hundred numbers say how a painting is painted, and no picture can be had back from them. Any other safetensors file in
the folder holds styles that `stylizer fit` tuned.
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
from stylizer.errors import ParameterError, UnknownStyle, WeightsError

LIST, VECTORS = "styles.toml", "vectors.safetensors"
COARSER = "/coarser"  # among the vectors; no style can be called so
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
    table = hashlib.sha256(data).hexdigest() if network else ""
    return {
        name: TunedStyle(name, norms.pop("vector"), norms, network, metadata["transformer"], table)
        for name, norms in parts.items()
    }


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
    """WeightsError where there are none."""
    try:
        data = (folder / VECTORS).read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{folder / VECTORS} is missing; run python -m stylizer.training.vectors") from None
    vectors, metadata = weights.parse(data, VECTORS)
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
        close = difflib.get_close_matches(name, gallery, n=1)
        hint = f"did you mean {close[0]!r}? There are" if close else "choose from"
        raise UnknownStyle("style_name", f"there is no style {name!r}; {hint} {', '.join(gallery)}")
    return gallery[name]
