"""Checkpoints: written beside the last one and put in its place, so that a cut leaves one of the two whole.

A pair's is a folder of small safetensors with a state.json; a loss network's is one safetensors file. Both hold parts,
{part: {name: tensor}}, and a state that is JSON. The names in them are a format: older checkpoints must still load.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from stylizer.errors import WeightsError

SHARD_BYTES = 15 * 10**6  # a folder's files stay below it, so that they pass where single files are capped
FILE = "checkpoint.safetensors"
PARTS = ("weights", "average", "first", "second", "lattice")  # of a pair's checkpoint

Parts = Mapping[str, Mapping[str, Tensor]]


# A folder -------------------------------------------------------------------------------------------------------------


def write_folder(folder: Path, state: Mapping, parts: Parts) -> None:
    """A folder of safetensors and a state.json, replaced as a whole."""
    fresh, old = folder.with_name(folder.name + ".new"), _old(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, tensors in parts.items():
        for index, shard in enumerate(shards(tensors)):
            save_file(shard, fresh / f"{name}-{index}.safetensors")
    (fresh / "state.json").write_text(json.dumps(state, indent=1))
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_folder(folder: Path) -> tuple[dict, dict[str, dict[str, Tensor]]]:
    """(state, parts), a part that it does not have being empty; WeightsError if it cannot be read."""
    if not folder.exists() and _old(folder).exists():
        _old(folder).rename(folder)  # the run was cut between two renames
    try:
        state = json.loads((folder / "state.json").read_text())
        return state, {
            part: {
                key: value
                for path in sorted(folder.glob(f"{part}-*.safetensors"))
                for key, value in load_file(path).items()
            }
            for part in PARTS
        }
    except Exception as error:
        raise WeightsError(f"{folder} is not a readable checkpoint: {error}") from error


def exists(folder: Path) -> bool:
    return folder.exists() or _old(folder).exists()


def _old(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def shards(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors in order, in groups of at most SHARD_BYTES."""
    part, size = {}, 0
    for key, value in tensors.items():
        value = value.detach().cpu().contiguous()
        if part and size + value.nbytes > SHARD_BYTES:
            yield part
            part, size = {}, 0
        part[key], size = value, size + value.nbytes
    if part:
        yield part


# A file ---------------------------------------------------------------------------------------------------------------


def write_file(path: Path, state: Mapping, parts: Parts) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    tensors = {
        f"{part}/{key}": value.detach().contiguous() for part, some in parts.items() for key, value in some.items()
    }
    save_file(tensors, fresh, {"state": json.dumps(state)})
    os.replace(fresh, path)


def read_file(path: Path, device: torch.device) -> tuple[dict, dict[str, dict[str, Tensor]]]:
    """(state, parts) as they were written; whatever the file or a reader of its parts raises is for the caller."""
    with safe_open(path, "pt") as file:
        state = json.loads(file.metadata()["state"])
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(path, device.type).items():
        part, name = key.split("/")
        parts.setdefault(part, {})[name] = value
    return state, parts


def write_weights(path: Path, name: str, network: nn.Module, metadata: Mapping[str, str]) -> None:
    """A loss network's weights in half precision, as `models/` has them; its name is that in `stylizer.weights`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        key: value.half().cpu().contiguous() for key, value in network.state_dict().items() if value.is_floating_point()
    }
    path.write_bytes(save(state, {"network": name, **metadata}))  # save_file's are readable by their owner alone


# An optimiser's state -------------------------------------------------------------------------------------------------


def moments(optimiser: torch.optim.Optimizer, parameters: Mapping[str, Tensor], entry: str) -> dict[str, Tensor]:
    """{name: tensor} of an entry of the optimiser's state, such as "exp_avg"; none of parameters not yet stepped."""
    return {name: optimiser.state[value][entry] for name, value in parameters.items() if optimiser.state[value]}


def restore_adam(
    adam: torch.optim.Adam,
    parameters: Mapping[str, Tensor],
    step: int,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
) -> None:
    """Give Adam the moments of these parameters after `step` steps, laid out as the parameters are."""
    fused = adam.defaults["fused"]  # then it counts steps on the device
    for name, value in parameters.items():
        if name in first:
            adam.state[value] = {
                "step": torch.tensor(float(step), device=value.device if fused else "cpu"),
                "exp_avg": torch.empty_like(value).copy_(first[name]),
                "exp_avg_sq": torch.empty_like(value).copy_(second[name]),
            }
