"""What a step is trained on: photos, and crops of styles that were measured in advance.

A batch is drawn from (seed, step) and a bank of styles from (seed, its number), so a run that was cut and resumed draws
what it would have drawn anyway.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from stylizer import losses
from stylizer.networks.backbones import VGG
from stylizer.reading import READ_SIDE
from stylizer.training import data
from stylizer.training.config import TrainConfig, working_dtype

CHUNK = 16  # styles per pass while a bank is built

OfTrunk = Callable[[Tensor], Tensor]  # views (N, 3, view, view) in [0, 1] -> features of the trunk's frozen stages


def channels_last(pictures: Tensor) -> Tensor:
    return pictures.contiguous(memory_format=torch.channels_last)


# Styles, measured in advance ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StyleBank:
    """Crops of style pictures: what the predictor reads of each, and what its results are compared with."""

    views: Tensor  # (M, 3, view, view) uint8, or (M, ...) float: features of the trunk's frozen stages
    grams: dict[str, Tensor]  # {layer: (M, C, C)}
    statistics: dict[str, Tensor]  # {layer: (M, 2, C)}
    spectra: Tensor  # (M, 2, 64, 64); (M, 0) if no loss needs them
    heights: Tensor  # (M,), of the brushwork on photos that are painted in the style, in levels

    def take(self, rows: Tensor) -> "StyleBank":
        """These rows (N,), views as floats."""
        views = self.views[rows]
        return StyleBank(
            views.float() / 255 if views.dtype == torch.uint8 else views,
            {layer: values[rows] for layer, values in self.grams.items()},
            {layer: values[rows] for layer, values in self.statistics.items()},
            self.spectra[rows],
            self.heights[rows],
        )


@torch.no_grad()
def build_bank(
    styles: Tensor,
    loss_network: VGG | None,
    config: TrainConfig,
    number: int,
    frozen: OfTrunk | None = None,
    favourites: Tensor | None = None,
) -> StyleBank:
    """Bank `number` of a run, from (N, 3, S, S) uint8 styles. Without a loss network nothing is measured by one.

    In place of the views it holds what `frozen` gives for them.
    """
    generator = data.generator_for(styles.device, config.seed, 1, number)
    views, grams, statistics, spectra, heights = [], [], [], [], []
    dtype = working_dtype(config, styles.device)
    for index in tqdm(range(0, config.bank, CHUNK), desc="measuring styles", leave=False):
        count = min(CHUNK, config.bank - index)
        chosen = styles[data.random_rows(len(styles), count, generator)]
        if favourites is not None:
            some = round(config.favoured * count)
            chosen[:some] = favourites[data.random_rows(len(favourites), some, generator)]
        side = config.style_sides[index // CHUNK % len(config.style_sides)]
        crops = data.jitter_colors(data.random_crops(chosen, side, generator), config.jitter, generator)
        seen = data.resize(crops, config.view)
        heights.append(data.brush_heights(data.resize(crops, side * READ_SIDE // config.stored)))
        views.append(frozen(channels_last(seen)) if frozen else (seen * 255).round().byte())
        if config.paints and config.lattice_weight:
            spectra.append(losses.spectrum(crops))
        if loss_network is not None:
            found = loss_network(channels_last(crops), losses.STYLE_LAYERS)
            measured = {layer: losses.moments(found[layer]) for layer in losses.STYLE_LAYERS}
            grams.append({layer: gram.to(dtype) for layer, (gram, _) in measured.items()})
            statistics.append({layer: losses.channel_statistics(*moments) for layer, moments in measured.items()})
    return StyleBank(
        torch.cat(views),
        _joined(grams),
        _joined(statistics),
        torch.cat(spectra) if spectra else styles.new_empty((config.bank, 0)),
        torch.cat(heights),
    )


def _joined(chunks: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {layer: torch.cat([chunk[layer] for chunk in chunks]) for layer in (chunks[0] if chunks else ())}


# Batches --------------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """N photos and a style for each. The first L photos are painted at strengths below 1, the last K a second time with
    noise in them."""

    contents: Tensor  # (N, 3, H, W) in [0, 1]
    canvases: Tensor  # (N, 3, H, W) in [0, 1], the photos with brushwork: what is painted on
    views: Tensor  # of the styles: (N, 3, view, view) in [0, 1], or (N, ...) features of the trunk's frozen stages
    grams: dict[str, Tensor]  # {layer: (N, C, C)}, of the styles
    statistics: dict[str, Tensor]  # {layer: (N, 2, C)}, of the styles
    spectra: Tensor  # (N, 2, 64, 64), of the styles
    strengths: Tensor  # (N,)
    photo_views: Tensor  # (L, ...), as `views`, of the photos at strengths below 1
    noise: Tensor  # (K, 3, H, W), for the last K photos


class Batches:
    """Draws batches from photos, styles and favourites, each (N, 3, S, S) uint8 on one device.

    `loss_network` measures the styles. Where the trunk's first stages are frozen, `frozen` gives their features, and
    batches hold these in place of views.
    """

    def __init__(
        self,
        config: TrainConfig,
        contents: Tensor,
        styles: Tensor,
        favourites: Tensor | None,
        loss_network: VGG | None,
        frozen: OfTrunk | None,
    ):
        self.config, self.contents, self.styles, self.favourites = config, contents, styles, favourites
        self.loss_network, self.frozen = loss_network, frozen
        self.bank: StyleBank | None = None
        self.bank_number = -1

    def bank_of(self, number: int) -> StyleBank:
        """Bank `number`, built if it is not the last one that was asked for."""
        if number != self.bank_number:
            self.bank, self.bank_number = None, number  # freed before the next is built
            self.bank = build_bank(self.styles, self.loss_network, self.config, number, self.frozen, self.favourites)
        return self.bank

    def draw(self, step: int, pixels: int, count: int) -> Batch:
        """The batch of a step, `count` photos of `pixels` a side; the same for the same seed and step."""
        config, device = self.config, self.contents.device
        bank = self.bank_of(step // config.bank_steps)
        generator = data.generator_for(device, config.seed, 0, step)
        draws = np.random.default_rng((config.seed, 2, step))
        side = int(draws.integers(pixels, min(config.stored, round(pixels / config.zoom)) + 1))
        chosen = self.contents[data.random_rows(len(self.contents), count, generator)]
        contents = data.resize(data.random_crops(chosen, side, generator), pixels)
        if plain := int(config.plain * count + draws.random()):  # rounded up or down at random, for small batches
            contents[-plain:] = data.plain(contents[-plain:], generator)
        styles = bank.take(data.random_rows(len(bank.views), count, generator))
        low = round(config.low_strength_share * count) if config.paints else 0
        strengths = torch.ones(count, device=device)
        strengths[:low] = (2 * torch.rand(low, generator=generator, device=device) - 1).clamp(min=0)
        photo_views = channels_last(data.resize(contents[:low], config.view))
        if self.frozen:
            photo_views = self.frozen(photo_views)
        else:
            styles = replace(styles, views=channels_last(styles.views))
        steady = round(config.steady * count) if config.paints else 0
        deviations = config.noise * torch.rand((steady, 1, 1, 1), generator=generator, device=device)
        noise = deviations * torch.randn((steady, 3, pixels, pixels), generator=generator, device=device)
        canvases = data.random_brushwork(contents, styles.heights, config.brushwork, generator)
        return Batch(
            channels_last(contents),
            channels_last(canvases),
            styles.views,
            styles.grams,
            styles.statistics,
            styles.spectra,
            strengths,
            photo_views,
            noise,
        )
