"""A predictor and a transformer that belong together, and the files they are read from and written to."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from stylizer import weights
from stylizer.errors import WeightsError
from stylizer.networks import PREDICTORS, StylePredictor, Transformer, TransformerConfig, build, describe
from stylizer.settings import Settings
from stylizer.training import checkpoints

LARGEST_BYTES = 25 * 10**6  # of a weight file: where it would be larger, its kernels are in half precision


class Pair(nn.Module):
    """A predictor and a transformer that share a space of vectors."""

    def __init__(self, predictor: StylePredictor, transformer: Transformer):
        super().__init__()
        self.predictor, self.transformer = predictor, transformer

    def architecture(self) -> dict[str, dict[str, str]]:
        """{"predictor": ..., "transformer": ...}: the descriptions that go into their weight files."""
        return {"predictor": describe(self.predictor), "transformer": describe(self.transformer)}


def complete(architecture: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """With defaults for settings that it lacks, as it does in checkpoints older than these settings."""
    config = asdict(TransformerConfig(**json.loads(architecture["transformer"]["config"])))
    return {**architecture, "transformer": {**architecture["transformer"], "config": json.dumps(config)}}


def in_words(architecture: Mapping[str, Mapping[str, str]]) -> str:
    """mobilenet-v2 predictor (-1..1, colours) + separable transformer (width 1, reflect padding, 5 residual blocks)"""
    predictor, transformer = (json.loads(architecture[part]["config"]) for part in ("predictor", "transformer"))
    kind = "separable" if transformer["separable"] else "plain"
    colors = ", colours" if predictor.get("sees_colors") else ""
    return (
        f"{predictor['trunk']} predictor ({predictor['input_range']}{colors}) + {kind} transformer (width "
        f"{transformer['width']:g}, {transformer['padding']} padding, "
        f"{transformer['residual_blocks']} residual blocks"
        + (f", dilations {' '.join(map(str, dilations))}" if (dilations := transformer.get("dilations")) else "")
        + (f", rank {transformer['rank']}" if transformer.get("rank") else "")
        + ("" if transformer.get("calms", True) else ", photos as they are")
        + ")"
    )


def averaged_pair(architecture: Mapping[str, Mapping[str, str]], average: Mapping[str, Tensor]) -> Pair:
    """The pair of this architecture with these weights, {predictor.*, transformer.*: tensor}, ready to paint."""
    networks = {}
    for part, description in architecture.items():
        arrays = {key.removeprefix(f"{part}."): value.cpu() for key, value in average.items() if key.startswith(part)}
        networks[part] = build(arrays, description, f"the averaged {part}")
    return Pair(**networks).eval()


def pair_at(place: str) -> Pair:
    """The pair in a run's folder (its averaged weights), in a folder of weight files, or in files "A,B".

    Of several pairs in a folder, the one that is used by default. WeightsError where there is none.
    """
    checkpoint = Path(place) / "checkpoint"
    if checkpoints.exists(checkpoint):
        state, parts = checkpoints.read_folder(checkpoint)
        return averaged_pair(state["architecture"], parts["average"])
    if Path(place).is_dir():
        stems = Settings().predictor_stem, Settings().transformer_stem
        usual = [Path(place) / f"{stem}.safetensors" for stem in stems]
        return load_pair(usual if all(map(Path.exists, usual)) else sorted(Path(place).glob("*.safetensors")))
    return load_pair(map(Path, place.split(",")))


# Weight files ---------------------------------------------------------------------------------------------------------


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
    state = {
        key: value.detach().cpu().contiguous()
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    if sum(value.nbytes for value in state.values()) > LARGEST_BYTES:
        state = {key: value.half() if value.ndim > 1 else value for key, value in state.items()}
    path.write_bytes(save(state, describe(network)))  # save_file would make it readable by its owner alone


def load_networks(paths: Iterable[Path]) -> dict[str, nn.Module]:
    """{"predictor": ..., "transformer": ...}, whichever of the two these safetensors files hold.

    A file holds either one network and its description, or networks without, under keys predictor.* and transformer.*,
    which are then recognised by their shapes. WeightsError for a file of another kind, or a second network of a kind.
    """
    found = {}
    for path in paths:
        state, metadata = read_safetensors(path)
        if "network" in metadata:
            here = {metadata["network"]: build(state, metadata, str(path))}
        else:
            parts = {
                part: {
                    key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")
                }
                for part in ("predictor", "transformer")
            }
            here = {
                part: build(arrays, guess(part, arrays), f"{path} ({part})") for part, arrays in parts.items() if arrays
            }
        if twice := found.keys() & here:
            raise WeightsError(f"{path} holds a second {twice.pop()}; name one of each")
        found |= here
        if not here:
            raise WeightsError(
                f"{path} holds no predictor and no transformer: its metadata names no network, and none "
                "of its keys begins with predictor. or transformer."
            )
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
