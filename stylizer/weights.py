"""Weight files: what each is, where it comes from, and verified loading. No code in a file is ever run.

Ours are safetensors and ONNX. Other loss networks are torchvision's files, downloaded on first use; torch's restricted
unpickler loads only arrays from them.

`models/SHA256SUMS` lists each file's checksum in the format of `sha256sum`, so `cd models && sha256sum -c SHA256SUMS`
verifies a download. To change weights, replace a file and its line there; for the ONNX files
`python -m stylizer.training export` does both. It also writes `models/FACTS.json`, the figures that the page shows for
each network: serving reads only ONNX, and the safetensors may be missing.
"""

import hashlib
import http.client
import json
import os
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stylizer.errors import WeightsError

CHECKSUMS, FACTS = "SHA256SUMS", "FACTS.json"


@dataclass(frozen=True)
class WeightFile:
    """A weight file: what it is, who made it, its licence and where to get it."""

    title: str
    file: str  # its name in models/, or as published if it is a download
    source: str
    licence: str
    url: str = ""  # download address; empty for ours, which are in models/
    megabytes: int = 0  # of the download
    loss_network: str = ""  # for loss networks: the class in networks/backbones.py,
    input_scale: str = ""  # and the input scale it was trained on, a name in backbones.INPUT_SCALES

    @property
    def digest(self) -> str:
        """The first digits of a download's sha256, with which torchvision's file names end."""
        return self.file.rsplit(".", 1)[0].rsplit("-", 1)[1]


def _ours(title: str, stem: str, loss_network: str = "", input_scale: str = "") -> WeightFile:
    source = "trained by this project, see models/MODEL_CARD.md"
    return WeightFile(
        title, f"{stem}.safetensors", source, "Apache-2.0", loss_network=loss_network, input_scale=input_scale
    )


def _torchvision(title: str, file: str, entry: str, megabytes: int, **network: str) -> WeightFile:
    url = f"https://download.pytorch.org/models/{file}"
    return WeightFile(title, file, f"torchvision, {entry}", "see torchvision", url, megabytes, **network)


# Loss networks are keyed by the name that users give, the default first. VGG-16 is published in two forms that their
# files do not distinguish, so each has its own name.
WEIGHTS = {
    "predictor-mobilenet-v2": _ours("Style predictor, MobileNetV2 trunk", "predictor-mobilenet-v2"),
    "predictor-inception-v3": _ours("Style predictor, Inception-v3 trunk", "predictor-inception-v3"),
    "transformer-separable": _ours("Transformer, separable convolutions", "transformer-separable"),
    "transformer-plain": _ours("Transformer, plain convolutions", "transformer-plain"),
    "narrow": _ours("Our own narrow VGG", "vgg-narrow", loss_network="NarrowVGG", input_scale="torchvision"),
    "small": _ours("Our own small network", "classifier-small", loss_network="SmallNet", input_scale="torchvision"),
    "vgg16": _torchvision(
        "VGG-16, the original weights",
        "vgg16_features-amdegroot-88682ab5.pth",
        "VGG16_Weights.IMAGENET1K_FEATURES",
        528,
        loss_network="VGG16",
        input_scale="caffe",
    ),
    "vgg16-torchvision": _torchvision(
        "VGG-16 as torchvision trained it",
        "vgg16-397923af.pth",
        "VGG16_Weights.IMAGENET1K_V1",
        528,
        loss_network="VGG16",
        input_scale="torchvision",
    ),
    "vgg19": _torchvision(
        "VGG-19",
        "vgg19-dcbb9e9d.pth",
        "VGG19_Weights.IMAGENET1K_V1",
        548,
        loss_network="VGG19",
        input_scale="torchvision",
    ),
    "resnet18": _torchvision(
        "ResNet-18",
        "resnet18-f37072fd.pth",
        "ResNet18_Weights.IMAGENET1K_V1",
        45,
        loss_network="ResNet18",
        input_scale="torchvision",
    ),
}


def record(file: str) -> WeightFile:
    """The record of a file, by name; a placeholder for files that are not this project's."""
    unknown = WeightFile("Not one of this project's files", file, "unknown source", "unknown licence")
    return next((each for each in WEIGHTS.values() if each.file == file), unknown)


def loss_networks() -> dict[str, WeightFile]:
    """The records of loss networks, by the names that users give."""
    return {name: each for name, each in WEIGHTS.items() if each.loss_network}


@dataclass(frozen=True)
class Facts:
    """A network's size: its parameter count, and its safetensors file in bytes."""

    parameters: int
    bytes: int


def checksums(folder: Path) -> dict[str, str]:
    """{file name: sha256} as listed; WeightsError if the list is missing or malformed."""
    try:
        lines = (folder / CHECKSUMS).read_text().splitlines()
        return {name.lstrip("*"): digest for digest, name in (line.split() for line in lines if line.strip())}
    except FileNotFoundError:
        raise WeightsError(f"{folder / CHECKSUMS} is missing; restore the folder from the repository") from None
    except OSError as cause:
        raise WeightsError(f"cannot read {folder / CHECKSUMS}: {cause.strerror}") from cause
    except ValueError:
        raise WeightsError(f"{folder / CHECKSUMS} is not a list of `sha256  name` lines; restore it") from None


def read(folder: Path, file: str) -> bytes:
    """A weight file's bytes, if their sha256 matches the list. The bytes returned are the bytes checked."""
    expected = checksums(folder).get(file)
    if expected is None:
        raise WeightsError(f"{file} is not listed in {folder / CHECKSUMS}")
    try:
        data = (folder / file).read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{folder / file} is missing; restore it from the repository") from None
    except OSError as cause:
        raise WeightsError(f"cannot read {folder / file}: {cause.strerror}") from cause
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        raise WeightsError(
            f"{folder / file} was truncated or altered: its sha256 is {digest[:12]}…, not {expected[:12]}…; "
            f"restore it, or update {CHECKSUMS} if you replaced it on purpose"
        )
    return data


def choices(folder: Path, network: str) -> list[str]:
    """Listed variants of a network, "predictor" or "transformer": ["separable", "plain"]."""
    stems = [Path(file).stem for file in checksums(folder) if file.endswith(".safetensors")]
    return [stem.removeprefix(f"{network}-") for stem in stems if stem.startswith(f"{network}-")]


def parse(data: bytes, name: str = "weights") -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Safetensors bytes -> ({key: array}, metadata)."""
    from safetensors.numpy import load

    try:
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        return load(data), metadata
    except Exception as cause:  # safetensors raises its own untyped errors for a damaged file
        raise WeightsError(f"{name} is not a safetensors file: {cause}") from cause


def calibration_file(stem: str) -> str:
    """The file with what was measured of a transformer; separate, so that it does not change its fingerprint."""
    return f"calibration-{stem.removeprefix('transformer-')}.safetensors"


def calibration(folder: Path, stem: str) -> dict[str, np.ndarray]:
    """What `python -m stylizer.training calibrate` measured of a transformer; empty if it has no such file.

    floors: the styled channels' least variances, (S,). peaks: the largest number that enters each of the encoder's
    convolutions after the first.
    """
    file = calibration_file(stem)
    listed = (folder / CHECKSUMS).exists() and file in checksums(folder)
    return parse(read(folder, file), file)[0] if listed and (folder / file).exists() else {}


def fingerprint(folder: Path, file: str) -> str:
    """The first 12 digits of a file's listed sha256, which identify the weights that made a vector."""
    digest = checksums(folder).get(file)
    if digest is None:
        raise WeightsError(f"{file} is not listed in {folder / CHECKSUMS}")
    return digest[:12]


def facts(folder: Path) -> dict[str, Facts]:
    """{safetensors file: its facts}, without files whose listed checksum has changed since."""
    try:
        entries = json.loads((folder / FACTS).read_text()).items()
        known = {file: (entry.pop("fingerprint"), Facts(**entry)) for file, entry in entries}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise WeightsError(f"{folder / FACTS} is not valid; run python -m stylizer.training export") from None
    listed = checksums(folder)
    return {file: each for file, (digits, each) in known.items() if listed.get(file, "").startswith(digits)}


# Downloaded on first use -------------------------------------------------------------------------------------------


BLOCK = 2**20
TIMEOUT_SECONDS = 20  # without receiving a byte
OnBytes = bool | Callable[[int, int], None]  # True: a bar on stderr; or a callback (bytes so far, total or 0)


def fetch(download: WeightFile, folder: Path, progress: OnBytes = False) -> Path:
    """The file in `folder`, downloaded if it is not there yet; an exception from `progress` ends the download.

    The checksum is verified every time, even for files placed there manually. WeightsError says what to do if there is
    no network, no disk space, or the file is not the published one.
    """
    folder = folder.expanduser()
    path = folder / download.file
    by_hand = f"download {download.url} elsewhere and put it at {path}, or pass a file with --backbone-weights"
    if path.exists():
        _check(path, download, f"{path} was truncated or altered", f"delete it and try again, or {by_hand}")
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Into a folder beside it first: `path` is always complete, even with concurrent or interrupted downloads.
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            part = Path(beside) / download.file
            _download(download, part, progress)
            _check(part, download, f"the file from {download.url} is not the published one", by_hand)
            os.replace(part, path)
    except (OSError, http.client.HTTPException) as cause:  # URLError and a full disk are OSErrors
        reason = getattr(cause, "reason", None) or cause
        raise WeightsError(
            f"{download.title} ({download.megabytes} MB) could not be downloaded: {reason}; {by_hand}"
        ) from cause
    return path


def _check(path: Path, download: WeightFile, wrong: str, remedy: str) -> None:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(download.digest):
        raise WeightsError(f"{wrong}: its sha256 begins with {digest[:8]}, not {download.digest}; {remedy}")


def _download(download: WeightFile, path: Path, progress: OnBytes) -> None:
    from tqdm import tqdm

    request = urllib.request.Request(download.url, headers={"User-Agent": "stylizer"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, open(path, "wb") as file:
        length = int(answer.headers.get("Content-Length") or 0)
        quiet = progress is not True
        with tqdm(total=length or None, unit="B", unit_scale=True, desc=download.title, disable=quiet) as bar:
            while block := answer.read1(BLOCK):  # whatever has arrived: `progress` must not wait for a slow line
                file.write(block)
                bar.update(len(block))
                if callable(progress):
                    progress(file.tell(), length)
        if file.tell() < length:
            raise OSError(f"the connection ended after {file.tell()} of {length} bytes")


def read_state(path: Path) -> dict:
    """{key: torch tensor} from a safetensors file or a torch checkpoint; WeightsError for anything else."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # Arrays are memory-mapped if the format allows: nine tenths of a VGG file is its classifier.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError:
        raise WeightsError(f"no such file: {path}") from None
    except Exception as cause:  # both readers raise untyped errors for other files
        raise WeightsError(
            f"{path} is neither a safetensors file nor a torch checkpoint that contains only arrays"
        ) from cause
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} is not a {{key: array}} mapping; save a network's state_dict")
    return state
