"""Studies: what a minute of learning one painting adds to the transformer's weights, and their file format.

A study adds numbers to every styled layer: to the depthwise kernels directly, to the pointwise matrices the product of
two low-rank ones (Hu et al. 2022), and to gammas and betas one per channel. All of it is linear, so studies mix with
each other and with style vectors by weighted sums, and strength scales what is added.

A file is safetensors with two arrays, `vector` (100,) in float32 and `numbers` in half precision. Its metadata holds
the format version, the rank of the matrices, and the transformer it belongs to.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save

from stylizer import weights
from stylizer.errors import ParameterError, WeightsError, shown
from stylizer.files import write_whole
from stylizer.parameters import VECTOR_SIZE, as_whole, check_vector

SUFFIX = ".study.safetensors"
VERSION = "1"
STEPS = 150  # to learn one, on one photo each
RANK = 16  # of what is added to a pointwise matrix
MAX_BYTES = 2**18  # of a file; a rank-16 file has half of that
BOUND = 100.0  # largest absolute value of its numbers; learnt ones stay below 2


class Layer(NamedTuple):
    """One styled convolution of the separable transformer."""

    name: str
    channels: int
    out_channels: int
    kernel_size: int

    def added_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of what is added: to the depthwise and the pointwise kernels, to gamma and to beta."""
        out = (self.out_channels,)
        return [(self.channels, 1, self.kernel_size, self.kernel_size), (*out, self.channels, 1, 1), out, out]

    def shapes(self, rank: int) -> list[tuple[int, ...]]:
        """Shapes of what a study stores: depthwise, the two matrices whose product is pointwise, gamma and beta."""
        rank = min(rank, self.channels, self.out_channels)
        depthwise, _, gamma, beta = self.added_shapes()
        return [depthwise, (self.out_channels, rank), (rank, self.channels), gamma, beta]


# In the order of the forward pass.
LAYERS = (
    *(Layer(f"residual.{block}.{index}", 128, 128, 3) for block in range(5) for index in range(2)),
    Layer("expand.0", 128, 64, 3),
    Layer("expand.1", 64, 32, 3),
    Layer("expand.2", 32, 3, 9),
)
ADDED_SIZE = sum(prod(shape) for layer in LAYERS for shape in layer.added_shapes())


@dataclass(frozen=True)
class Study:
    name: str
    vector: np.ndarray  # (100,) float32: the painting's, as the predictor saw it
    numbers: np.ndarray  # float16, layer by layer in the order of `shapes`
    rank: int
    origin: str  # fingerprint of the transformer that it was learnt for

    def added(self) -> np.ndarray:
        """Everything added to the weights, float32 (ADDED_SIZE,), layer by layer in the order of `added_shapes`."""
        pieces = []
        for depthwise, up, down, gamma, beta in split(self.numbers.astype(np.float32), self.rank):
            pieces += [depthwise.ravel(), (up @ down).ravel(), gamma, beta]
        return np.concatenate(pieces)


def split(numbers: np.ndarray, rank: int) -> list[list[np.ndarray]]:
    """A study's numbers -> (depthwise, up, down, gamma, beta) of each layer."""
    shapes = [layer.shapes(rank) for layer in LAYERS]
    sizes = [prod(shape) for some in shapes for shape in some]
    parts = iter(np.split(numbers, np.cumsum(sizes)[:-1]))
    return [[next(parts).reshape(shape) for shape in some] for some in shapes]


def size(rank: int) -> int:
    """How many numbers a study of this rank holds."""
    return sum(prod(shape) for layer in LAYERS for shape in layer.shapes(rank))


def pack(name: str, vector: np.ndarray, layers: Sequence[Sequence[np.ndarray]], rank: int, origin: str) -> Study:
    """The inverse of `split`: a study from (depthwise, up, down, gamma, beta) of each layer."""
    numbers = np.concatenate([part.ravel() for layer in layers for part in layer]).astype(np.float16)
    return Study(name, vector.astype(np.float32), numbers, rank, origin)


# Files --------------------------------------------------------------------------------------------------------------


def dump(study: Study) -> bytes:
    """A study as a file, always the same bytes: the safetensors library does not keep metadata in a fixed order."""
    metadata = {"study": VERSION, "rank": str(study.rank), "transformer": study.origin}
    data = save({"vector": study.vector, "numbers": study.numbers}, metadata)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    return data[:8] + header.ljust(end - 8) + data[end:]


def write(study: Study, path: Path) -> None:
    """Write a study file; ParameterError if that fails."""
    try:
        write_whole(path, dump(study))
    except OSError as cause:
        raise ParameterError("output", f"cannot write {path}: {cause.strerror}") from cause


def looks_like_study(data: bytes | bytearray) -> bool:
    """Whether these bytes begin like safetensors; no picture does."""
    return len(data) > 9 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") < 10**7


def parse(data: bytes, name: str = "the study") -> Study:
    """Parse strictly: ParameterError says what is wrong with a file that is not an intact study of this version."""
    if len(data) > MAX_BYTES:
        raise ParameterError("style", f"{name} is {len(data):,} bytes; a study is at most {MAX_BYTES:,}")
    try:
        arrays, metadata = weights.parse(data, name)
    except WeightsError as cause:
        raise ParameterError("style", f"{cause}; it was truncated or altered, or is not a study") from cause
    if metadata.get("study") != VERSION:
        raise ParameterError(
            "style", f"{name} is not a version {VERSION} study; make one with `stylizer study PAINTING`"
        )
    rank = as_whole(metadata.get("rank"))
    if rank is None or not 1 <= rank <= RANK:
        raise ParameterError("style", f"{name} has rank {shown(metadata.get('rank'))}; it must be 1 to {RANK}")
    found = {key: (str(array.dtype), array.shape) for key, array in arrays.items()}
    wanted = {"vector": ("float32", (VECTOR_SIZE,)), "numbers": ("float16", (size(rank),))}
    if found != wanted:
        raise ParameterError(
            "style", f"{name} holds {_listed(found)}; a rank-{rank} study holds {_listed(wanted)}: make it again"
        )
    vector = check_vector(arrays["vector"], "style")
    if not (np.abs(arrays["numbers"]) <= BOUND).all():
        raise ParameterError("style", f"{name} holds NaN or numbers beyond {BOUND:g}: make it again")
    return Study(name, vector, arrays["numbers"], rank, metadata.get("transformer", ""))


def _listed(arrays: Mapping[str, tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{shown(key)} {shape} in {dtype}" for key, (dtype, shape) in sorted(arrays.items())) or "nothing"


def read(path: Path) -> Study:
    """The study in a file, named after it; ParameterError if it is missing or invalid."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as cause:
        raise ParameterError("style", f"cannot read {path}: {cause.strerror}") from cause
    found = parse(data, str(path))
    return Study(path.name.removesuffix(SUFFIX), found.vector, found.numbers, found.rank, found.origin)


def as_study(style: object) -> Study | None:
    """A study, given as such or as its file or bytes; None for anything else."""
    if isinstance(style, Study):
        return style
    if isinstance(style, (str, os.PathLike)) and os.fspath(style).endswith(SUFFIX):
        return read(Path(style))
    if isinstance(style, (bytes, bytearray)) and looks_like_study(style):
        return parse(bytes(style))
    return None
