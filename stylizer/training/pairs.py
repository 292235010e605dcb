"""A predictor and a transformer that belong together: their weight files, and the checkpoints of a run."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from stylizer import weights
from stylizer.errors import WeightsError
from stylizer.networks import PREDICTORS, StylePredictor, Transformer, TransformerConfig, build, describe
from stylizer.networks.merged import with_rank

LARGEST_BYTES = 25 * 10**6      # a weight file that would be larger has its kernels in half precision
SHARD_BYTES = 15 * 10**6        # a checkpoint's files stay below it, so that they pass where single files are capped


class Pair(nn.Module):
    """A predictor and a transformer that share a space of vectors."""

    def __init__(self, predictor: StylePredictor, transformer: Transformer):
        super().__init__()
        self.predictor, self.transformer = predictor, transformer

    def architecture(self) -> dict[str, dict[str, str]]:
        """What their weight files say of the two."""
        return {"predictor": describe(self.predictor), "transformer": describe(self.transformer)}


def complete(architecture: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """With the defaults of what it does not say, as a checkpoint does not that is older than a setting."""
    config = asdict(TransformerConfig(**json.loads(architecture["transformer"]["config"])))
    return {**architecture, "transformer": {**architecture["transformer"], "config": json.dumps(config)}}


@torch.no_grad()
def mean_pair(before: Pair, after: Pair, share: float) -> Pair:
    """Weights so much of the way from one pair to another, number by number (Wortsman et al. 2022).

    Where only the later transformer has style-dependent kernels, the earlier one gets them, and they add nothing.
    WeightsError where the two are of different architectures.
    """
    first, last = before.transformer, after.transformer
    if last.config.rank and not first.config.rank:
        first = with_rank(first, last.config.rank)
        for ours, theirs in zip(first.styled(), last.styled(), strict=True):
            ours.down.copy_(theirs.down)
            ours.mix.load_state_dict(theirs.mix.state_dict())
    before = Pair(before.predictor, first)
    if before.architecture() != after.architecture():
        raise WeightsError(f"{in_words(before.architecture())} and {in_words(after.architecture())} have no mean")
    theirs = after.state_dict()
    mean = {key: torch.lerp(value, theirs[key], share) if value.is_floating_point() else theirs[key]
            for key, value in before.state_dict().items()}
    return averaged_pair(after.architecture(), mean)


def in_words(architecture: Mapping[str, Mapping[str, str]]) -> str:
    """mobilenet-v2 predictor (-1..1, colours) + separable transformer (width 1, reflect padding, 5 residual blocks)"""
    predictor, transformer = (json.loads(architecture[part]["config"]) for part in ("predictor", "transformer"))
    kind = "separable" if transformer["separable"] else "plain"
    colors = ", colours" if predictor.get("sees_colors") else ""
    return (f"{predictor['trunk']} predictor ({predictor['input_range']}{colors}) + {kind} transformer (width "
            f"{transformer['width']:g}, {transformer['padding']} padding, "
            f"{transformer['residual_blocks']} residual blocks"
            + (f", dilations {' '.join(map(str, dilations))}" if (dilations := transformer.get("dilations")) else "")
            + (f", rank {transformer['rank']}" if transformer.get("rank") else "")
            + ("" if transformer.get("calms", True) else ", photos as they are") + ")")


def save_pair(pair: Pair, folder: Path) -> list[Path]:
    """predictor-TRUNK.safetensors and transformer-KIND.safetensors, as `models/` has them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = pair.transformer.config
    kind = ("separable" if config.separable else "plain") + ("" if config.width == 1 else f"-{config.width:g}")
    paths = []
    stems = {f"predictor-{pair.predictor.trunk}": pair.predictor, f"transformer-{kind}": pair.transformer}
    for stem, network in stems.items():
        paths.append(folder / f"{stem}.safetensors")
        save_network(network, paths[-1])
    return paths


def save_network(network: StylePredictor | Transformer, path: Path) -> None:
    """One network with its description, which `stylizer.networks.build` reads."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()
             if not key.endswith("num_batches_tracked")}
    if sum(value.nbytes for value in state.values()) > LARGEST_BYTES:
        state = {key: value.half() if value.ndim > 1 else value for key, value in state.items()}
    path.write_bytes(save(state, describe(network)))        # save_file would make it readable by its owner alone


def load_networks(paths: Iterable[Path]) -> dict[str, nn.Module]:
    """{"predictor": ..., "transformer": ...}, whichever of the two these safetensors files hold.

    A file is one network with its description, or both without, under keys predictor.* and transformer.*; then their
    shapes tell which they are. WeightsError where a file is neither, or a second one of a kind.
    """
    found = {}
    for path in paths:
        state, metadata = read_safetensors(path)
        if "network" in metadata:
            here = {metadata["network"]: build(state, metadata, str(path))}
        else:
            parts = {part: {key.removeprefix(f"{part}."): value for key, value in state.items()
                            if key.startswith(f"{part}.")} for part in ("predictor", "transformer")}
            here = {part: build(arrays, guess(part, arrays), f"{path} ({part})") for part, arrays in parts.items()
                    if arrays}
        if twice := found.keys() & here:
            raise WeightsError(f"{path} holds a second {twice.pop()}; name one of each")
        found |= here
        if not here:
            raise WeightsError(f"{path} holds no predictor and no transformer: its keys have neither prefix, its "
                               "metadata no network")
    return found


def load_pair(paths: Iterable[Path]) -> Pair:
    """Both networks from one or two files; WeightsError where one is missing."""
    paths = list(paths)
    found = load_networks(paths)
    missing = [part for part in ("predictor", "transformer") if part not in found]
    if missing:
        raise WeightsError(f"{', '.join(map(str, paths)) or 'no file'}: holds no {missing[0]}; a pair needs both")
    return Pair(**found).eval()


def guess(part: str, arrays: Mapping[str, Tensor]) -> dict[str, str]:
    """The description of a network whose file has none."""
    if part == "predictor":
        inception = any(key.startswith("features.Mixed") for key in arrays)
        trunk = "inception-v3" if inception else "mobilenet-v2"
        seen = arrays["to_vector.weight"].shape[1] if "to_vector.weight" in arrays else 0
        config = {"trunk": trunk, "sees_colors": seen > PREDICTORS[trunk][1]}
    else:
        first = arrays.get("contract.0.conv.weight", torch.empty(32))
        config = {"separable": "expand.0.depthwise.weight" in arrays, "width": len(first) / 32}
    return {"network": part, "config": json.dumps(config)}


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """({key: float32 tensor}, metadata)."""
    try:
        arrays, metadata = weights.parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist; name a safetensors file") from None
    return {key: torch.from_numpy(value).float() for key, value in arrays.items()}, metadata


# Checkpoints ---------------------------------------------------------------------------------------------------------


def averaged_pair(architecture: Mapping[str, Mapping[str, str]], average: Mapping[str, Tensor]) -> Pair:
    """The pair that averaged weights make."""
    networks = {}
    for part, description in architecture.items():
        arrays = {key.removeprefix(f"{part}."): value.cpu() for key, value in average.items() if key.startswith(part)}
        networks[part] = build(arrays, description, f"the averaged {part}")
    return Pair(**networks).eval()


def write_checkpoint(folder: Path, state: Mapping, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
    """A folder of safetensors and a state.json, replaced whole: a cut leaves the last one or this one."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
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


def read_checkpoint(folder: Path) -> tuple[dict, dict[str, dict[str, Tensor]]]:
    """(state, {weights, average, first, second, lattice: tensors}) of a checkpoint; WeightsError where none is read."""
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():
        old.rename(folder)              # the run was cut between two renames
    try:
        state = json.loads((folder / "state.json").read_text())
        return state, {part: {key: value for path in sorted(folder.glob(f"{part}-*.safetensors"))
                              for key, value in load_file(path).items()}
                       for part in ("weights", "average", "first", "second", "lattice")}
    except Exception as error:
        raise WeightsError(f"{folder} is no checkpoint that can be read: {error}") from error


def shards(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors in parts of at most SHARD_BYTES, as they come."""
    part, size = {}, 0
    for key, value in tensors.items():
        value = value.detach().cpu().contiguous()
        if part and size + value.nbytes > SHARD_BYTES:
            yield part
            part, size = {}, 0
        part[key], size = value, size + value.nbytes
    if part:
        yield part
