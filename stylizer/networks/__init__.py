"""The networks as torch modules: no files, no settings. Everything here works on RGB in [0, 1]."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor, nn

from stylizer.errors import WeightsError
from stylizer.networks.predictor import PREDICTORS, StylePredictor
from stylizer.networks.transformer import Transformer, TransformerConfig

__all__ = ["PREDICTORS", "StylePredictor", "Transformer", "TransformerConfig", "build", "describe"]


def describe(network: StylePredictor | Transformer) -> dict[str, str]:
    """What a weight file says of its network, so that `build` can make it again: safetensors metadata, strings only."""
    if isinstance(network, Transformer):
        return {"network": "transformer", "config": json.dumps(asdict(network.config))}
    config = {name: getattr(network, name) for name in ("trunk", "input_range", "sees_colors")}
    return {"network": "predictor", "config": json.dumps(config)}


def build(arrays: Mapping[str, Tensor], metadata: Mapping[str, str], name: str = "weights") -> nn.Module:
    """The network that `metadata` describes, with these weights, in float32 and evaluation mode.

    Raises WeightsError where the description is unknown or the arrays are another network's.
    """
    try:
        config = json.loads(metadata["config"])
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
