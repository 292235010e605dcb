"""The narrow VGG by least squares: layer by layer, each answers as VGG-16 does, given what the layers before it give.

In the first two blocks a layer learns the channels of VGG-16 from which the others can be predicted best (He, Zhang and
Sun 2017 prune so); in the others it learns all of them, by matrices of low rank (Zhang et al. 2016).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylizer.networks.backbones import VGG16, NarrowVGG
from stylizer.training import data

AT_ONCE = 16  # crops
PIXELS = 100_000  # of each layer that least squares see, of up to 4609 unknowns
RIDGE = 1e-5  # of the mean square, added to each: channels that are always zero would have no solution


def best_predictors(products: Tensor, count: int) -> list[int]:
    """The `count` channels from which all C can be predicted best, chosen greedily; of mean products (C, C)."""
    left, chosen = products.clone(), []
    tiny = 1e-9 * products.diagonal().max()
    for _ in range(count):
        gain = left.square().sum(0) / left.diagonal().clamp_min(tiny)
        gain[chosen] = -1
        best = int(gain.argmax())
        chosen.append(best)
        if left[best, best] > tiny:
            left = left - torch.outer(left[:, best], left[best]) / left[best, best]
    return chosen


class LeastSquares:
    """Linear prediction of wanted values from given ones, from sums over pixels."""

    def __init__(self):
        self.given, self.wanted = 0, 0

    def add(self, given: Tensor, wanted: Tensor) -> None:
        """(P, I) and (P, O), a row per pixel."""
        self.given = self.given + (given.mT @ given).double()
        self.wanted = self.wanted + (given.mT @ wanted).double()

    def solved(self) -> Tensor:
        """The matrix (I, O) for which given @ matrix comes closest to wanted."""
        ridge = RIDGE * self.given.diagonal().mean() * torch.eye(len(self.given), device=self.given.device).double()
        return torch.linalg.solve(self.given + ridge, self.wanted).float()


def rows(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N H W, C)."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)


@torch.no_grad()
def least_squares(
    teacher: VGG16, crops: Tensor, seed: int, report: Callable[[str], None] = lambda layer: None
) -> tuple[NarrowVGG, dict[str, Tensor]]:
    """(network, sizes), fitted to what a float32 teacher gives for crops (N, 3, S, S) in [0, 1].

    The outputs of every layer are scaled to a mean square of 1; sizes {layer: scalar} are the root mean squares of
    VGG-16's layers. `report` is called with each layer when it is done.
    """
    network, sizes, maps = NarrowVGG().to(crops.device), {}, {}
    generator = data.generator_for(crops.device, seed, len(crops))
    parts = crops.contiguous(memory_format=torch.channels_last).split(AT_ONCE)
    given, wanted = ([each.scaled(part) for part in parts] for each in (network, teacher))
    for layer, name in network.steps:
        if name == "pool":
            given, wanted = ([F.max_pool2d(part, 2) for part in features] for features in (given, wanted))
            continue
        wanted = [teacher.features[name](part) for part in wanted]
        conv = network.features[name]
        if isinstance(conv, nn.Conv2d):
            _learn_channels(conv, given, wanted, generator)
        else:
            _learn_all(conv, given, wanted, generator)
        for part in wanted:
            part.relu_()
        given = [network.step(name, part) for part in given]
        if layer in network.roots:
            maps[f"{layer}.weight"] = _predicting(given, wanted)
        if layer in NarrowVGG.LAYERS:
            sizes[layer] = _size(wanted)
        report(layer)
    network.load_state_dict(roots_of(maps), strict=False)
    return network, sizes


def _size(features: Sequence[Tensor]) -> Tensor:
    """Root mean square of parts of equal size."""
    return torch.stack([part.square().mean() for part in features]).mean().sqrt()


def _predicting(given: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The 1x1 convolution, (wide, narrow, 1, 1), from given features to wanted ones of mean square 1."""
    linear = LeastSquares()
    for before, after in zip(given, wanted, strict=True):
        linear.add(rows(before), rows(after))
    return (linear.solved().mT / _size(wanted))[:, :, None, None].contiguous()


def _learn_channels(
    conv: nn.Conv2d, given: Sequence[Tensor], wanted: Sequence[Tensor], generator: torch.Generator
) -> None:
    """Set conv to make the channels of wanted that predict the others best; wanted is before its ReLU."""
    products = sum((rows(part).relu().mT @ rows(part).relu()).double() for part in wanted)
    chosen = best_predictors(products, conv.out_channels)
    solved = _windows(given, [part[:, chosen] for part in wanted], generator).solved()
    conv.weight.copy_(solved[:-1].mT.reshape(conv.weight.shape))
    conv.bias.copy_(solved[-1])
    size = sum(F.relu(conv(part)).square().mean((0, 2, 3)) for part in given).div(len(given)).sqrt().clamp_min(1e-3)
    conv.weight.div_(size[:, None, None, None])
    conv.bias.div_(size)


def _learn_all(
    pair: nn.Sequential, given: Sequence[Tensor], wanted: Sequence[Tensor], generator: torch.Generator
) -> None:
    """Set a 3x3 and a 1x1 convolution to make all of wanted, which is before its ReLU.

    Together they are a low-rank approximation of the best matrix: the principal components of its outputs, with the
    means kept. Between the two the mean square is 1.
    """
    low, high = pair
    linear = _windows(given, wanted, generator)
    solved = linear.solved().double()
    products = linear.given / linear.given[-1, -1]  # the last unknown is the 1 beside a window, so its row is the mean
    mean = products[-1] @ solved
    spread = solved.mT @ products @ solved - torch.outer(mean, mean)
    values, vectors = torch.linalg.eigh(spread)
    deviations, vectors = values[-low.out_channels :].clamp_min(1e-12).sqrt(), vectors[:, -low.out_channels :]
    size = _size([part.relu() for part in wanted])
    low.weight.copy_((solved[:-1] @ vectors / deviations).mT.reshape(low.weight.shape))
    high.weight.copy_((vectors * deviations)[:, :, None, None] / size)
    high.bias.copy_((mean - vectors @ (vectors.mT @ (mean - solved[-1]))) / size)


def _windows(given: Sequence[Tensor], wanted: Sequence[Tensor], generator: torch.Generator) -> LeastSquares:
    """The prediction of wanted from windows of 3x3 pixels and a 1, at PIXELS places."""
    linear, share = LeastSquares(), PIXELS // len(given)
    for before, after in zip(given, wanted, strict=True):
        pixels = rows(after)
        some = torch.randperm(len(pixels), generator=generator, device=pixels.device)[:share]
        windows = F.unfold(before, 3, padding=1).mT.flatten(0, 1)[some]
        linear.add(F.pad(windows, (0, 1), value=1.0), pixels[some])
    return linear


def roots_of(maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{LAYER.weight: map A} -> {roots.LAYER.weight: square root of A'A}, which `NarrowVGG` applies to features."""
    found = {}
    for key, weight in maps.items():
        matrix = weight.detach().flatten(1).double()
        values, vectors = torch.linalg.eigh(matrix.mT @ matrix)
        root = vectors * values.clamp(min=0).sqrt() @ vectors.mT
        found[f"roots.{key}"] = root.to(weight.dtype)[:, :, None, None]
    return found
