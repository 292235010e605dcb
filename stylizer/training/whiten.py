"""Better coordinates for style vectors: `python -m stylizer.training.whiten --style PAINTINGS`, before a training.

As a predictor gives them, vectors of paintings differ forty thousand times more along one direction than along another,
and are all far from zero. A step of Adam, which treats each number alike, then moves every style the same way, and what
tells two styles apart is hardly learnt. Here the space is shifted and stretched until the numbers are centred,
uncorrelated and of variance 1 (LeCun et al. 1998, Efficient BackProp, section 4.3), and both sides of it, the
predictor's last layer and the transformer's gammas and betas, are changed so that every picture stays as it was: these
layers are linear, and strengths and mixes are weighted means, which any such change leaves alone.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from stylizer import weights
from stylizer.errors import ParameterError, StylizerError
from stylizer.feedforward import STYLE_SIDE
from stylizer.networks import StylePredictor, Transformer
from stylizer.networks.layers import VECTOR_SIZE
from stylizer.runtimes import check_networks
from stylizer.settings import Settings
from stylizer.training import data
from stylizer.training.export import write_checksums
from stylizer.training.pairs import load_networks, save_network

DAMPING = 1e-3  # added to the variance of each direction: bounds how far those with hardly any are stretched


@dataclass(frozen=True)
class Coordinates:
    """new = (old - centre) @ into.T, and old = new @ back.T + centre; all float64."""

    centre: Tensor  # (100,)
    into: Tensor  # (100, 100)
    back: Tensor  # (100, 100)

    @torch.no_grad()
    def apply(self, network: StylePredictor | Transformer) -> None:
        """Change the layers that give or take vectors, in place."""
        if isinstance(network, StylePredictor):
            layer = network.to_vector
            weight, bias = layer.weight.double(), layer.bias.double()
            set_layer(layer, self.into @ weight, self.into @ (bias - self.centre))
            return
        for head in network.heads():
            weight, bias = head.weight.double(), head.bias.double()
            set_layer(head, weight @ self.back, bias + weight @ self.centre)


def set_layer(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def whitening(vectors: Tensor, damping: float = DAMPING) -> Coordinates:
    """Coordinates in which these vectors (N, 100) are centred and uncorrelated, each number's variance at most 1.

    The first number is the direction in which paintings differ most. ParameterError for fewer than 100 vectors, which
    do not reach into every direction.
    """
    if len(vectors) < VECTOR_SIZE:
        raise ParameterError("style", f"{len(vectors)} pictures came; name {VECTOR_SIZE} at least, better a thousand")
    vectors = vectors.double()
    variances, directions = torch.linalg.eigh(torch.cov(vectors.T))
    scale, directions = (variances.clamp(min=0) + damping).sqrt().flip(0), directions.flip(1)
    return Coordinates(vectors.mean(0), directions.T / scale[:, None], directions * scale)


@torch.no_grad()
def vectors_of(predictor: StylePredictor, pictures: Tensor) -> Tensor:
    """(N, 3, S, S) uint8 -> (N, 100)."""
    return torch.cat([predictor(some / 255) for some in pictures.split(16)])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stylizer.training.whiten", description=__doc__.splitlines()[0])
    parser.add_argument("--style", type=Path, nargs="+", required=True, help="tars or folders of paintings, textures")
    parser.add_argument("--count", type=int, default=1024, help="of these, evenly spread, are looked at")
    options = parser.parse_args(arguments)
    settings = Settings.from_env()
    kinds = "predictor", "transformer"
    try:
        check_networks(settings)
        stems = [f"{kind}-{name}" for kind in kinds for name in weights.choices(settings.models, kind)]
        pictures = data.load_pictures(options.style, STYLE_SIDE, torch.device("cpu"), "styles").pixels
        pictures = pictures[:: max(1, len(pictures) // options.count)]
        networks = {stem: network for stem in stems
                    for network in load_networks([settings.models / f"{stem}.safetensors"]).values()}  # fmt: skip
        coordinates = whitening(vectors_of(networks[settings.predictor_stem], pictures))
    except StylizerError as error:
        print(f"whiten: {error}", file=sys.stderr)
        return 2
    for stem, network in networks.items():
        coordinates.apply(network)
        save_network(network, settings.models / f"{stem}.safetensors")
    write_checksums(settings.models)
    print(f"{', '.join(stems)}: vectors of {len(pictures)} pictures have variance 1; now export, then make the vectors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
