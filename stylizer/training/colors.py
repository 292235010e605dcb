"""Make the predictors in models/ follow a painting's palette, once the pair is trained.

The gammas and betas of a transformer's last layer are the deviation and the mean of each colour channel of what it
paints, before the sigmoid. For a painting these six numbers can be measured, and a predictor's vectors miss them: they
are nearer to the average painting's. So its vectors are moved towards those that give the measured numbers, by the
smallest change in terms of the other gammas and betas. Everything from the trunk's features and the colours to these
numbers is linear, so the move only changes the weights of the predictor's last layer, six of whose inputs are the
colours.
"""

import argparse
from dataclasses import replace

import torch
from torch import Tensor

from stylizer import weights
from stylizer.networks import StylePredictor, Transformer
from stylizer.networks.predictor import COLORS, with_colors
from stylizer.runtimes import check_networks
from stylizer.settings import Settings
from stylizer.training.export import write_checksums
from stylizer.training.pairs import load_networks, save_network
from stylizer.training.whiten import set_layer

MEAN_SHARE = 0.75  # of the way to the measured numbers, for betas,
DEVIATION_SHARE = 0.3  # and for gammas, which amplify a photo's noise as well
DAMPING = 1e-2  # of the mean stiffness, added for every direction of vectors: some have no effect, and would go far


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: it works on models/, or STYLIZER_MODELS."""


def run(arguments: argparse.Namespace) -> None:
    settings = Settings.from_env()
    check_networks(settings)
    transformer = load_networks([settings.models / f"{settings.transformer_stem}.safetensors"])["transformer"]
    for name in weights.choices(settings.models, "predictor"):
        path = settings.models / f"{replace(settings, predictor=name).predictor_stem}.safetensors"
        save_network(follow_colors(load_networks([path])["predictor"], transformer), path)
        print(f"{path.name} follows colours; now run export, then vectors")
    write_checksums(settings.models)


@torch.no_grad()
def moves(transformer: Transformer) -> Tensor:
    """The changes of a vector that change the last layer's betas and gammas by 1 each, (100, 6) in float64."""
    *others, gamma, beta = (head.weight.double() for head in transformer.heads())
    felt = torch.cat(others)
    stiffness = felt.T @ felt
    stiffness.diagonal().add_(DAMPING * stiffness.diagonal().mean())
    ease = torch.linalg.solve(stiffness, torch.cat((beta, gamma)).T)  # (100, 6)
    return ease @ torch.linalg.inv(torch.cat((beta, gamma)) @ ease)


@torch.no_grad()
def follow_colors(predictor: StylePredictor, transformer: Transformer) -> StylePredictor:
    """`predictor` with vectors moved towards its pictures' colours; changed in place if it has colour inputs."""
    predictor = predictor if predictor.sees_colors else with_colors(predictor)
    shares = torch.tensor([MEAN_SHARE] * 3 + [DEVIATION_SHARE] * 3, dtype=torch.float64)
    move = moves(transformer) * shares  # (100, 6)
    gamma, beta = transformer.heads()[-2:]
    layer = predictor.to_vector
    weight, bias = layer.weight.double(), layer.bias.double()
    given = torch.cat((beta.weight, gamma.weight)).double()  # (6, 100): the numbers that a vector sets
    weight, bias = (
        weight - move @ given @ weight,
        bias - move @ (given @ bias + torch.cat((beta.bias, gamma.bias)).double()),
    )
    weight[:, -COLORS:] += move
    set_layer(layer, weight, bias)
    return predictor
