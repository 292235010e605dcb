"""Every weight file: what it is, where it comes from, and checked loading. No code in a file is ever run.

Ours are safetensors and ONNX. The classic mode's networks are torchvision's files, downloaded on first use; of their
pickle format torch's restricted reader takes arrays alone.

`models/SHA256SUMS` lists each file's checksum in the format of `sha256sum`, so `cd models && sha256sum -c SHA256SUMS`
checks a download. Replacing a file and its line there is all that new weights need; for the ONNX files
`python -m stylizer.training.export` does both. It also writes `models/FACTS.json`, what the page says of each network:
serving reads ONNX alone, and the safetensors need not be there.
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
class WeightSource:
    title: str
    source: str
    licence: str


WEIGHTS = {
    "predictor-mobilenet-v2": WeightSource(
        "Style predictor, MobileNetV2 trunk", "trained by this project, see models/MODEL_CARD.md", "Apache-2.0"
    ),
    "predictor-inception-v3": WeightSource(
        "Style predictor, Inception-v3 trunk", "trained by this project, see models/MODEL_CARD.md", "Apache-2.0"
    ),
    "transformer-separable": WeightSource(
        "Transformer, separable convolutions", "trained by this project, see models/MODEL_CARD.md", "Apache-2.0"
    ),
    "transformer-plain": WeightSource(
        "Transformer, plain convolutions", "trained by this project, see models/MODEL_CARD.md", "Apache-2.0"
    ),
    "vgg-narrow": WeightSource(
        "Loss network of studies and classic", "trained by this project, see models/MODEL_CARD.md", "Apache-2.0"
    ),
    "classifier-small": WeightSource(
        "Another, which tells pictures apart", "trained by this project, see models/MODEL_CARD.md", "Apache-2.0"
    ),
}
UNKNOWN = WeightSource("Not one of this project's", "whoever put it there", "see its source")


@dataclass(frozen=True)
class Facts:
    """How large a network is: its learnt numbers, and its safetensors file in bytes."""

    parameters: int
    bytes: int


def checksums(folder: Path) -> dict[str, str]:
    """{file name: sha256} as listed; WeightsError where the list is missing or does not read."""
    try:
        lines = (folder / CHECKSUMS).read_text().splitlines()
        return {name.lstrip("*"): digest for digest, name in (line.split() for line in lines if line.strip())}
    except FileNotFoundError:
        raise WeightsError(f"{folder / CHECKSUMS} is missing; restore the folder from the repository") from None
    except OSError as cause:
        raise WeightsError(f"{folder / CHECKSUMS} cannot be read: {cause.strerror}") from cause
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
    except OSError as cause:
        raise WeightsError(f"{folder / file} cannot be read: {cause.strerror}") from cause
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected:
        raise WeightsError(
            f"{folder / file} was cut or altered: its sha256 is {digest[:12]}…, {CHECKSUMS} has {expected[:12]}…; "
            "restore it, or update the list if you replaced it on purpose"
        )
    return data


def choices(folder: Path, network: str) -> list[str]:
    """The predictors or transformers ("predictor", "transformer") that are listed: ["separable", "plain"]."""
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
        raise WeightsError(f"{name} is no safetensors file: {cause}") from cause


def floors_file(stem: str) -> str:
    """Where the least variances of a transformer lie, beside it, so that new ones make no other transformer of it."""
    return f"floors-{stem.removeprefix('transformer-')}.safetensors"


def floors(folder: Path, stem: str) -> np.ndarray | None:
    """The least variances of a transformer's styled channels, (S,); None where there are none, and it does without."""
    file = floors_file(stem)
    listed = (folder / CHECKSUMS).exists() and file in checksums(folder)
    return parse(read(folder, file), file)[0]["variance"] if listed else None


def fingerprint(folder: Path, file: str) -> str:
    """The first 12 digits of a file's listed sha256: names the weights that made a vector."""
    digest = checksums(folder).get(file)
    if digest is None:
        raise WeightsError(f"{file} is not listed in {folder / CHECKSUMS}")
    return digest[:12]


def facts(folder: Path) -> dict[str, Facts]:
    """{safetensors file: its facts}, of the files as they are listed; those that were replaced since are left out."""
    try:
        entries = json.loads((folder / FACTS).read_text()).items()
        known = {file: (entry.pop("fingerprint"), Facts(**entry)) for file, entry in entries}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise WeightsError(f"{folder / FACTS} does not read; python -m stylizer.training.export writes it") from None
    listed = checksums(folder)
    return {file: each for file, (digits, each) in known.items() if listed.get(file, "").startswith(digits)}


# Downloaded on first use -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Download:
    """A file that others publish. As torchvision does, the file's name ends in the first digits of its sha256."""

    title: str
    url: str
    megabytes: int
    source: str

    @property
    def file(self) -> str:
        return self.url.rsplit("/", 1)[1]

    @property
    def digest(self) -> str:
        return self.file.rsplit(".", 1)[0].rsplit("-", 1)[1]


TORCHVISION = "https://download.pytorch.org/models"
# Names are those of `networks.backbones.BACKBONES`.
DOWNLOADS = {
    "vgg16": Download(
        "VGG-16, the original weights", f"{TORCHVISION}/vgg16_features-amdegroot-88682ab5.pth", 528,
        "torchvision, VGG16_Weights.IMAGENET1K_FEATURES",
    ),
    "vgg16-torchvision": Download(
        "VGG-16 as torchvision trained it", f"{TORCHVISION}/vgg16-397923af.pth", 528,
        "torchvision, VGG16_Weights.IMAGENET1K_V1",
    ),
    "vgg19": Download(
        "VGG-19", f"{TORCHVISION}/vgg19-dcbb9e9d.pth", 548, "torchvision, VGG19_Weights.IMAGENET1K_V1"
    ),
    "resnet18": Download(
        "ResNet-18", f"{TORCHVISION}/resnet18-f37072fd.pth", 45, "torchvision, ResNet18_Weights.IMAGENET1K_V1"
    ),
}  # fmt: skip
BLOCK = 2**20
TIMEOUT_SECONDS = 20  # without a byte
Progress = bool | Callable[[int, int], None]  # a bar on stderr, or what is told of (bytes so far, all or 0)


def fetch(download: Download, folder: Path, progress: Progress = False) -> Path:
    """The file in `folder`, downloaded where it is not there yet; what `progress` raises ends the download.

    The checksum is looked at every time, so a file that was put there by hand is checked too. WeightsError says what to
    do where there is no network, no room, or another file than was published.
    """
    folder = folder.expanduser()
    path = folder / download.file
    by_hand = f"download {download.url} elsewhere and put it at {path}, or name a file with --backbone-weights"
    if path.exists():
        _check(path, download, f"{path} was cut or altered", f"delete it and try again, or {by_hand}")
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # In a folder beside it first: what stands at `path` is whole, whoever else downloads it and however this ends.
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            part = Path(beside) / download.file
            _download(download, part, progress)
            _check(part, download, f"what came from {download.url} is not what was published", by_hand)
            os.replace(part, path)
    except (OSError, http.client.HTTPException) as cause:  # URLError is an OSError, and so is a full disk
        reason = getattr(cause, "reason", None) or cause
        raise WeightsError(
            f"{download.title} ({download.megabytes} MB) could not be downloaded: {reason}; {by_hand}"
        ) from cause
    return path


def _check(path: Path, download: Download, wrong: str, remedy: str) -> None:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(download.digest):
        raise WeightsError(f"{wrong}: its sha256 begins {digest[:8]}, not {download.digest}; {remedy}")


def _download(download: Download, path: Path, progress: Progress) -> None:
    from tqdm import tqdm

    request = urllib.request.Request(download.url, headers={"User-Agent": "stylizer"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer, open(path, "wb") as file:
        length = int(answer.headers.get("Content-Length") or 0)
        quiet = progress is not True
        with tqdm(total=length or None, unit="B", unit_scale=True, desc=download.title, disable=quiet) as bar:
            while block := answer.read1(BLOCK):  # what there is: a slow line must not keep `progress` waiting
                file.write(block)
                bar.update(len(block))
                if callable(progress):
                    progress(file.tell(), length)
        if file.tell() < length:
            raise OSError(f"the connection ended after {file.tell()} of {length} bytes")


def read_state(path: Path) -> dict:
    """{key: torch tensor} of a safetensors file or a torch checkpoint; WeightsError for anything else."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # Arrays are mapped, not read, where the format allows: nine tenths of a VGG file are a classifier's.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError:
        raise WeightsError(f"no such file: {path}") from None
    except Exception as cause:  # both readers raise their own untyped errors for what is no such file
        raise WeightsError(
            f"{path} is neither a safetensors file nor a torch checkpoint of arrays alone; take one of these"
        ) from cause
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no {{key: array}}; save a network's state_dict")
    return state


def read_backbone(name: str, folder: Path, file: Path | None = None, progress: Progress = False) -> dict:
    """{key: torch tensor} of a network in DOWNLOADS, from `file` where the caller has one, else from the cache."""
    return read_state(file or fetch(DOWNLOADS[name], folder, progress))
