"""What a run starts from: the pair, which of its parameters are trained, and a last layer fitted in one go."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from stylizer.errors import ParameterError, WeightsError
from stylizer.networks import StylePredictor, Transformer, TransformerConfig, describe
from stylizer.networks.merged import as_plain, with_rank
from stylizer.networks.predictor import with_colors
from stylizer.training.config import TrainConfig
from stylizer.training.pairs import Pair, load_networks, read_safetensors

RIDGE = 0.1  # of the fitted last layer, in variances of a feature: best on crops it was not fitted to


def starting_pair(config: TrainConfig) -> Pair:
    """Random weights, then the trunk of `predictor_init`, then the networks that the files of `init` hold.

    WeightsError where a file holds another architecture than the config says.
    """
    given = load_networks(map(Path, config.init))
    torch.manual_seed(config.seed)
    start = given["transformer"].config if "transformer" in given else TransformerConfig()
    dilations = config.dilations or start.dilations
    rank = start.rank if config.rank < 0 else config.rank
    pair = Pair(
        StylePredictor(config.trunk, config.input_range, sees_colors=True),
        Transformer(TransformerConfig(config.separable, config.width, dilations=dilations, rank=rank)),
    )
    if config.predictor_init:
        _load_trunk(pair.predictor, Path(config.predictor_init))
    for part, network in given.items():
        if part == "transformer":
            network = _adapted(network, config.separable, dilations, rank)
        elif not network.sees_colors:
            network = with_colors(network)
        theirs, ours = describe(network), pair.architecture()[part]
        if theirs != ours:
            raise WeightsError(f"init holds the {part} {theirs['config']}; this run trains {ours['config']}")
        getattr(pair, part).load_state_dict(network.state_dict())
    return pair


def _load_trunk(predictor: StylePredictor, path: Path) -> None:
    trunk = {
        key if key.startswith("features.") else f"features.{key}": value  # Inception's keys have no prefix
        for key, value in read_safetensors(path)[0].items()
    }
    wanted = {
        key: value
        for key, value in predictor.state_dict().items()
        if key.startswith("features.") and not key.endswith("num_batches_tracked")
    }
    if any(key not in trunk or trunk[key].shape != value.shape for key, value in wanted.items()):
        raise WeightsError(f"{path} holds another trunk than {predictor.trunk}")
    predictor.load_state_dict({key: trunk[key] for key in wanted}, strict=False)


def _adapted(transformer: Transformer, separable: bool, dilations: tuple[int, ...], rank: int) -> Transformer:
    """With the same kernels, plain ones for separable ones where these are wanted, and a rank that adds nothing yet."""
    if transformer.config.separable and not separable:
        transformer = as_plain(transformer)
    transformer.config = replace(transformer.config, dilations=dilations)
    return with_rank(transformer, rank) if rank and not transformer.config.rank else transformer


# What is trained ------------------------------------------------------------------------------------------------------


def frozen_stages(predictor: StylePredictor, config: TrainConfig) -> int:
    """How many of the trunk's first stages are not trained; ParameterError for more than there are."""
    most = len(predictor.features)
    if not 0 <= config.frozen_stages <= most:
        raise ParameterError(
            "frozen_stages", f"frozen_stages is {config.frozen_stages}; the trunk of {config.trunk} has 0 to {most}"
        )
    return config.frozen_stages if config.predictor_rate else most


def require_gradients(pair: Pair, config: TrainConfig, frozen: int) -> dict[str, nn.Parameter]:
    """{name: parameter} of those that are trained, and no others require gradients.

    Those that cannot affect a picture are set to zero and not trained.
    """
    without_effect = {f"transformer.{name}" for name in pair.transformer.centre()}
    rates = {"transformer": config.transformer_rate if config.paints else 0, "predictor": config.predictor_rate}
    stages = [name for name, _ in pair.predictor.features.named_children()][:frozen]
    still = tuple(f"predictor.features.{name}." for name in stages)
    trained = {
        name: value
        for name, value in pair.named_parameters()
        if rates[name.split(".")[0]] and name not in without_effect and not name.startswith(still)
    }
    for name, value in pair.named_parameters():
        value.requires_grad_(name in trained)
    return trained


# The last layer, by ridge regression ----------------------------------------------------------------------------------


@torch.no_grad()
def fit_last_layer(predictor: StylePredictor, teacher: StylePredictor, views: Iterable[Tensor]) -> None:
    """Set the predictor's last layer to the ridge regression of the teacher's vectors on the trunk's features.

    `views` are batches (N, 3, S, S) in [0, 1]. Gradients through a random last layer would spoil a trained trunk before
    the layer has learnt anything (Kumar et al. 2022).
    """
    features, wanted = [], []
    for some in views:
        features.append(predictor.begin(some, len(predictor.features)))
        wanted.append(teacher(some))
    weight, bias = ridge_regression(torch.cat(features), torch.cat(wanted))
    predictor.to_vector.weight.copy_(weight)
    predictor.to_vector.bias.copy_(bias)


def ridge_regression(given: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """(N, I) and (N, O) -> weight (O, I) and bias (O,) of the linear layer that comes closest."""
    centred = given - given.mean(0)
    covariance = centred.T @ centred
    covariance.diagonal().add_(RIDGE * covariance.diagonal().mean())
    weight = torch.linalg.solve(covariance, centred.T @ (wanted - wanted.mean(0))).T
    return weight, wanted.mean(0) - weight @ given.mean(0)
