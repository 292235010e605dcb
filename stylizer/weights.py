"""Every weight file: what it is, where it comes from, and checked loading. Safetensors and ONNX, never pickle.

`models/SHA256SUMS` lists each file's checksum in the format of `sha256sum`, so `cd models && sha256sum -c SHA256SUMS`
checks a download. Replacing a file and its line there is all that new weights need; for the ONNX files
`python -m stylizer.training.export` does both.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stylizer.errors import WeightsError

CHECKSUMS = "SHA256SUMS"


@dataclass(frozen=True)
class WeightSource:
    title: str
    source: str
    licence: str


WEIGHTS = {
    "predictor-mobilenet-v2": WeightSource(
        "Style predictor, MobileNetV2 trunk", "trained by this project, see models/MODEL_CARD.md", "Apache-2.0"
    ),
    "transformer-separable": WeightSource(
        "Transformer, separable convolutions", "trained by this project, see models/MODEL_CARD.md", "Apache-2.0"
    ),
}


def checksums(folder: Path) -> dict[str, str]:
    """{file name: sha256} as listed; WeightsError where the list is missing or does not read."""
    try:
        lines = (folder / CHECKSUMS).read_text().splitlines()
        return {name.lstrip("*"): digest for digest, name in (line.split() for line in lines if line.strip())}
    except FileNotFoundError:
        raise WeightsError(f"{folder / CHECKSUMS} is missing; restore the folder from the repository") from None
    except ValueError:
        raise WeightsError(f"{folder / CHECKSUMS} does not read as `sha256  name` lines") from None


def read(folder: Path, file: str) -> bytes:
    """A weight file's bytes, if their sha256 is the listed one. What is returned is what was checked."""
    expected = checksums(folder).get(file)
    if expected is None:
        raise WeightsError(f"{file} is not listed in {folder / CHECKSUMS}")
    try:
        data = (folder / file).read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{folder / file} is missing; restore it from the repository") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        raise WeightsError(
            f"{folder / file} was cut or altered: its sha256 is {digest[:12]}…, {CHECKSUMS} has {expected[:12]}…; "
            "restore it, or update the list if you replaced it on purpose"
        )
    return data


def parse(data: bytes, name: str = "weights") -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Safetensors bytes -> ({key: array}, metadata)."""
    from safetensors.numpy import load

    try:
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        return load(data), metadata
    except Exception as cause:  # safetensors raises its own untyped errors for a damaged file
        raise WeightsError(f"{name} is no safetensors file: {cause}") from cause


def fingerprint(folder: Path, file: str) -> str:
    """The first 12 digits of a file's listed sha256: names the weights that made a vector."""
    digest = checksums(folder).get(file)
    if digest is None:
        raise WeightsError(f"{file} is not listed in {folder / CHECKSUMS}")
    return digest[:12]
