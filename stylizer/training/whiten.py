"""Put style vectors into coordinates in which training is quick, before a new pair's transformer is trained.

As a predictor gives them, vectors of paintings differ forty thousand times more along one direction than along another,
and all are far from zero. A step of Adam, which treats all numbers alike, then moves every style the same way, and what
tells two styles apart is hardly learnt. Here the space is shifted and stretched until the numbers are centred,
uncorrelated and of variance 1 (LeCun et al. 1998, Efficient BackProp, section 4.3). The predictor's last layer and the
transformer's gammas and betas, on the two sides of that space, are changed so that every picture stays as it was. They
are linear, and strengths and mixes are weighted means, which no such change affects.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from stylizer import weights
from stylizer.errors import ParameterError
from stylizer.networks import StylePredictor, Transformer
from stylizer.networks.layers import VECTOR_SIZE
from stylizer.reading import STYLE_SIDE
from stylizer.runtimes import check_networks
from stylizer.settings import Settings
from stylizer.training import data
from stylizer.training.export import write_checksums
from stylizer.training.pairs import load_networks, save_network

DAMPING = 1e-3  # added to the variance of each direction: limits how far those with hardly any are stretched


@dataclass(frozen=True)
class Coordinates:
    """new = (old - centre) @ into.T, and old = new @ back.T + centre; all float64."""

    centre: Tensor  # (100,)
    into: Tensor  # (100, 100)
    back: Tensor  # (100, 100)

    @torch.no_grad()
    def apply(self, network: StylePredictor | Transformer) -> None:
        """Change the layers that produce or use vectors, in place."""
        if isinstance(network, StylePredictor):
            layer = network.to_vector
            weight, bias = layer.weight.double(), layer.bias.double()
            set_layer(layer, self.into @ weight, self.into @ (bias - self.centre))
            return
        for head in network.heads():
            weight, bias = head.weight.double(), head.bias.double()
            set_layer(head, weight @ self.back, bias + weight @ self.centre)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--style", type=Path, nargs="+", required=True, help="tars or folders of paintings, textures")
    parser.add_argument("--count", type=int, default=1024, help="the number of these to use; 1024 by default")


def run(arguments: argparse.Namespace) -> None:
    settings = Settings.from_env()
    kinds = "predictor", "transformer"
    check_networks(settings)
    stems = [f"{kind}-{name}" for kind in kinds for name in weights.choices(settings.models, kind)]
    pictures = data.load_pictures(arguments.style, STYLE_SIDE, torch.device("cpu"), "styles").pixels
    pictures = pictures[:: max(1, len(pictures) // arguments.count)]
    networks = {
        stem: network for stem in stems for network in load_networks([settings.models / f"{stem}.safetensors"]).values()
    }
    coordinates = whitening(vectors_of(networks[settings.predictor_stem], pictures))
    for stem, network in networks.items():
        coordinates.apply(network)
        save_network(network, settings.models / f"{stem}.safetensors")
    write_checksums(settings.models)
    print(f"{', '.join(stems)}: vectors of {len(pictures)} pictures have variance 1; now run export, then vectors")


def set_layer(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def whitening(vectors: Tensor, damping: float = DAMPING) -> Coordinates:
    """Coordinates in which these vectors (N, 100) are centred and uncorrelated, each number's variance at most 1.

    The first number is the direction in which paintings differ most. ParameterError for fewer than 100 vectors: they do
    not differ in every direction.
    """
    if len(vectors) < VECTOR_SIZE:
        raise ParameterError("style", f"{len(vectors)} pictures are too few; give at least {VECTOR_SIZE}, better 1,000")
    vectors = vectors.double()
    variances, directions = torch.linalg.eigh(torch.cov(vectors.T))
    scale, directions = (variances.clamp(min=0) + damping).sqrt().flip(0), directions.flip(1)
    return Coordinates(vectors.mean(0), directions.T / scale[:, None], directions * scale)


@torch.no_grad()
def vectors_of(predictor: StylePredictor, pictures: Tensor) -> Tensor:
    """(N, 3, S, S) uint8 -> (N, 100)."""
    return torch.cat([predictor(some / 255) for some in pictures.split(16)])
