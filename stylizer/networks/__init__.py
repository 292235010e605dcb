"""The networks as torch modules, independent of files and settings. Everything here works on RGB in [0, 1]."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor

from stylizer.errors import WeightsError
from stylizer.networks.predictor import PREDICTORS, StylePredictor
from stylizer.networks.transformer import Transformer, TransformerConfig

__all__ = [
    "PREDICTORS",
    "StylePredictor",
    "Transformer",
    "TransformerConfig",
    "build",
    "build_transformer",
    "describe",
]


def describe(network: StylePredictor | Transformer) -> dict[str, str]:
    """A network's description, from which `build` can recreate it: safetensors metadata, strings only."""
    if isinstance(network, Transformer):
        return {"network": "transformer", "config": json.dumps(asdict(network.config))}
    config = {name: getattr(network, name) for name in ("trunk", "input_range", "sees_colors")}
    return {"network": "predictor", "config": json.dumps(config)}


def build(
    arrays: Mapping[str, Tensor], metadata: Mapping[str, str], name: str = "weights"
) -> StylePredictor | Transformer:
    """The network that `metadata` describes, with these weights, in float32 and evaluation mode.

    Raises WeightsError if the description is unknown or the arrays belong to another network.
    """
    try:
        config = json.loads(metadata["config"])
        network: StylePredictor | Transformer
        if metadata["network"] == "transformer":
            network = Transformer(TransformerConfig(**config))
        elif metadata["network"] == "predictor":
            network = StylePredictor(**config)
        else:
            raise ValueError(f"unknown network {metadata['network']!r}")
        network.load_state_dict({key: value.float() for key, value in arrays.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as cause:
        reason = str(cause).strip().splitlines()
        raise WeightsError(f"{name} does not fit the network it describes: {' '.join(reason[:2])}") from cause
    return network.eval()


def build_transformer(arrays: Mapping[str, Tensor], metadata: Mapping[str, str], name: str = "weights") -> Transformer:
    """`build` a transformer; WeightsError for a predictor, too."""
    network = build(arrays, metadata, name)
    if not isinstance(network, Transformer):
        raise WeightsError(f"{name} holds a style predictor, but a transformer is needed; use another file")
    return network
