"""Predictors that mind a painting's colours: `python -m stylizer.training.colors`, once the pair is trained.

The gammas and betas of a transformer's last layer are the deviation and the mean of each colour channel of what it
paints, before the sigmoid. Of a painting these six numbers can be measured, and a predictor's vectors miss them: they
are nearer to the average painting's. So its vectors are moved towards those that make the measured numbers, by the
least change, as the other gammas and betas feel it. Vectors to layer, and layer to vectors, are linear, so the move is
but other weights of the predictor's last layer, of which six look at the colours.
"""

import argparse
import sys
from dataclasses import replace

import torch
from torch import Tensor

from stylizer import weights
from stylizer.errors import StylizerError
from stylizer.networks import StylePredictor, Transformer
from stylizer.networks.predictor import COLORS, with_colors
from stylizer.runtimes import check_networks
from stylizer.settings import Settings
from stylizer.training.export import write_checksums
from stylizer.training.pairs import load_networks, save_network
from stylizer.training.whiten import set_layer

MEAN_SHARE = 0.75  # of the way that the betas go,
DEVIATION_SHARE = 0.3  # and the gammas, which also bring out what a photo has of noise
DAMPING = 1e-2  # of the mean stiffness, to every direction of vectors: some are felt by nothing, and would go far


@torch.no_grad()
def moves(transformer: Transformer) -> Tensor:
    """What a change of the last layer's betas and gammas by 1 each is as a change of vectors, (100, 6) in float64."""
    *others, gamma, beta = (head.weight.double() for head in transformer.heads())
    felt = torch.cat(others)
    stiffness = felt.T @ felt
    stiffness.diagonal().add_(DAMPING * stiffness.diagonal().mean())
    ease = torch.linalg.solve(stiffness, torch.cat((beta, gamma)).T)  # (100, 6)
    return ease @ torch.linalg.inv(torch.cat((beta, gamma)) @ ease)


@torch.no_grad()
def mind_colors(predictor: StylePredictor, transformer: Transformer) -> StylePredictor:
    """`predictor` with vectors moved as the colours of its pictures want; one that sees them is changed in place."""
    predictor = predictor if predictor.sees_colors else with_colors(predictor)
    shares = torch.tensor([MEAN_SHARE] * 3 + [DEVIATION_SHARE] * 3, dtype=torch.float64)
    move = moves(transformer) * shares  # (100, 6)
    gamma, beta = transformer.heads()[-2:]
    layer = predictor.to_vector
    weight, bias = layer.weight.double(), layer.bias.double()
    given = torch.cat((beta.weight, gamma.weight)).double()  # (6, 100): the numbers that a vector sets
    weight, bias = weight - move @ given @ weight, bias - move @ (
        given @ bias + torch.cat((beta.bias, gamma.bias)).double())  # fmt: skip
    weight[:, -COLORS:] += move
    set_layer(layer, weight, bias)
    return predictor


def main(arguments: list[str] | None = None) -> int:
    argparse.ArgumentParser(prog="python -m stylizer.training.colors", description=__doc__.splitlines()[0]).parse_args(
        arguments
    )
    settings = Settings.from_env()
    try:
        check_networks(settings)
        transformer = load_networks([settings.models / f"{settings.transformer_stem}.safetensors"])["transformer"]
        for name in weights.choices(settings.models, "predictor"):
            path = settings.models / f"{replace(settings, predictor=name).predictor_stem}.safetensors"
            save_network(mind_colors(load_networks([path])["predictor"], transformer), path)
            print(f"{path.name} minds colours; now export, then make the vectors")
    except StylizerError as error:
        print(f"colors: {error}", file=sys.stderr)
        return 2
    write_checksums(settings.models)
    return 0


if __name__ == "__main__":
    sys.exit(main())
