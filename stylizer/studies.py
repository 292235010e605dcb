"""A study: what a minute with one painting adds to the transformer's weights, and the file that holds it.

To every layer that a style reaches a study adds numbers: to the depthwise kernels as they are, to the pointwise
matrices a product of two narrow ones (Hu et al. 2022), to gammas and betas one a channel. All of it is linear, so
studies mix with each other and with style vectors by weighted sums, and strength scales what is added.

A file is safetensors with two arrays, `vector` (100,) in float32 and `numbers` in half precision, and says in its
metadata which version it is, how narrow the matrices are, and to which transformer it belongs.
"""

import json
from collections.abc import Sequence
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
STEPS = 150  # of learning one, a photo each
RANK = 16  # of what is added to a pointwise matrix
MAX_BYTES = 2**18  # of a file; at rank 16 it has half of that
BOUND = 100.0  # of its numbers; those that were learnt stay below 2


class Layer(NamedTuple):
    """One styled convolution of the separable transformer."""

    name: str
    channels: int
    out_channels: int
    kernel_size: int

    def added_shapes(self) -> list[tuple[int, ...]]:
        """Of what is added: to the depthwise and the pointwise kernels, to gamma and to beta."""
        out = (self.out_channels,)
        return [(self.channels, 1, self.kernel_size, self.kernel_size), (*out, self.channels, 1, 1), out, out]

    def shapes(self, rank: int) -> list[tuple[int, ...]]:
        """Of what a study holds: depthwise, the two matrices whose product is pointwise, gamma and beta."""
        rank = min(rank, self.channels, self.out_channels)
        depthwise, _, gamma, beta = self.added_shapes()
        return [depthwise, (self.out_channels, rank), (rank, self.channels), gamma, beta]


# In the order of painting.
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
    numbers: np.ndarray  # float16, as `shapes` says, layer by layer
    rank: int
    origin: str  # fingerprint of the transformer that it adds to

    def added(self) -> np.ndarray:
        """All that is added to the weights, float32 (ADDED_SIZE,), layer by layer as `added_shapes` says."""
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
    """How many numbers a study of that rank holds."""
    return sum(prod(shape) for layer in LAYERS for shape in layer.shapes(rank))


def pack(name: str, vector: np.ndarray, layers: Sequence[Sequence[np.ndarray]], rank: int, origin: str) -> Study:
    """A study of what `split` gives."""
    numbers = np.concatenate([part.ravel() for layer in layers for part in layer]).astype(np.float16)
    return Study(name, vector.astype(np.float32), numbers, rank, origin)


# Files --------------------------------------------------------------------------------------------------------------


def dump(study: Study) -> bytes:
    """A study's file, the same bytes each time: the library writes metadata in ever another order."""
    metadata = {"study": VERSION, "rank": str(study.rank), "transformer": study.origin}
    data = save({"vector": study.vector, "numbers": study.numbers}, metadata)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    return data[:8] + header.ljust(end - 8) + data[end:]


def write(study: Study, path: Path) -> None:
    """ParameterError where the file cannot be written."""
    try:
        write_whole(path, dump(study))
    except OSError as cause:
        raise ParameterError("output", f"{path} cannot be written: {cause.strerror}") from cause


def looks_like_study(data: bytes) -> bool:
    """Whether these bytes begin as safetensors do; no picture does."""
    return len(data) > 9 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") < 10**7


def parse(data: bytes, name: str = "the study") -> Study:
    """Strictly: ParameterError says what is wrong with a file that is no study of this version, cut or altered."""
    if len(data) > MAX_BYTES:
        raise ParameterError("style", f"{name} has {len(data):,} bytes; a study has at most {MAX_BYTES:,}")
    try:
        arrays, metadata = weights.parse(data, name)
    except WeightsError as cause:
        raise ParameterError("style", f"{cause}; it was cut or altered, or is something else") from cause
    if metadata.get("study") != VERSION:
        raise ParameterError(
            "style", f"{name} is no study of version {VERSION}; make one with `stylizer study PAINTING`"
        )
    rank = as_whole(metadata.get("rank"))
    if rank is None or not 1 <= rank <= RANK:
        raise ParameterError("style", f"{name} has the rank {shown(metadata.get('rank'))}; it must be 1 to {RANK}")
    found = {key: (str(array.dtype), array.shape) for key, array in arrays.items()}
    wanted = {"vector": ("float32", (VECTOR_SIZE,)), "numbers": ("float16", (size(rank),))}
    if found != wanted:
        raise ParameterError(
            "style", f"{name} holds {_listed(found)}; a study of rank {rank} holds {_listed(wanted)}: make it again"
        )
    vector = check_vector(arrays["vector"], "style")
    if not (np.abs(arrays["numbers"]) <= BOUND).all():
        raise ParameterError("style", f"{name} holds numbers beyond {BOUND:g} or none at all: make it again")
    return Study(name, vector, arrays["numbers"], rank, metadata.get("transformer", ""))


def _listed(arrays: dict[str, tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{shown(key)} {shape} in {dtype}" for key, (dtype, shape) in sorted(arrays.items())) or "nothing"


def read(path: Path) -> Study:
    """The study in a file, called as the file is; ParameterError where it is missing or none."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as cause:
        raise ParameterError("style", f"{path} cannot be read: {cause.strerror}") from cause
    found = parse(data, str(path))
    return Study(path.name.removesuffix(SUFFIX), found.vector, found.numbers, found.rank, found.origin)
