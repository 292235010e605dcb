"""What a step minimises: the losses of the pictures that a pair paints, perceptual, distilled or both."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from stylizer import losses
from stylizer.errors import ParameterError
from stylizer.networks import StylePredictor
from stylizer.networks.backbones import VGG
from stylizer.networks.merged import plain_shell, working_weights
from stylizer.training.batches import Batch
from stylizer.training.config import TrainConfig, working_dtype
from stylizer.training.pairs import Pair

LEAST_NOISE = 2e-4  # added to the noise that is divided by: rounding to 8 bits is as much


class Objectives:
    """The losses of a pair on batches, computed in the run's working precision.

    `loss_network` compares pictures with photos and paintings, `teacher` is the pair to distil from; either is None
    where no loss needs it. The first `frozen` stages of the predictor's trunk have been applied to a batch's views.
    """

    def __init__(self, config: TrainConfig, pair: Pair, loss_network: VGG | None, teacher: Pair | None, frozen: int):
        if config.perceptual and loss_network is None:
            raise ParameterError(
                "vgg", "content, structure, style and statistics losses need the loss network: give --vgg"
            )
        device = next(pair.parameters()).device
        self.config, self.pair, self.teacher, self.frozen = config, pair, teacher, frozen
        self.dtype = working_dtype(config, device)
        self.loss_network = None
        if config.perceptual:
            self.loss_network = loss_network.to(device, self.dtype, memory_format=torch.channels_last)
        self.shell = None  # the plain transformer that a separable one is computed as
        if config.merge and config.separable:
            self.shell = plain_shell(pair.transformer).train(pair.transformer.training)

    def losses_of(self, batch: Batch, common: Tensor) -> dict[str, Tensor]:
        """Every loss that has a weight, a mean over the batch, and "loss", their weighted sum.

        `common` (2, 64, 64) is how far each wave stood out in the results of the last steps. "excess", of the same
        shape, is how far it does in these; it is no loss.
        """
        config, found = self.config, {}
        contents, canvases = batch.contents.to(self.dtype), batch.canvases.to(self.dtype)
        vectors = self.vectors(self.pair.predictor, batch)
        total = vectors.new_zeros((), dtype=torch.float32)
        if self.teacher:
            with torch.no_grad():
                wanted = self.vectors(self.teacher.predictor, batch)
        if config.vector_weight:
            felt = self.teacher.transformer.felt  # most of the hundred numbers change next to nothing
            found["vector"] = F.mse_loss(felt(vectors.float()), felt(wanted.float()))
            total = total + config.vector_weight * found["vector"]
        if not config.paints:
            return {**found, "loss": total}
        count, steady, low = len(contents), len(batch.noise), len(batch.photo_views)
        noisy = canvases[count - steady :] + batch.noise.to(self.dtype)
        painted = self.paint(torch.cat((canvases, noisy)), torch.cat((vectors, vectors[count - steady :])))
        if config.calm_weight:
            calm = losses.calm(canvases)  # of the canvas, so that brush strokes are no weave
            found["weave"] = losses.weave(painted, torch.cat((calm, calm[count - steady :]))).mean()
            total = total + config.calm_weight * found["weave"]
        painted, again = painted.split((count, steady))
        if steady:
            found["noise"] = _amplification(painted[count - steady :], again, batch.noise)
            total = total + config.steady_weight * found["noise"]
        if config.lattice_weight:
            excess = losses.lattice_excess(painted, canvases, batch.spectra)
            found["lattice"] = losses.lattice(excess, common)
            total = total + config.lattice_weight * found["lattice"]
            found["excess"] = excess.detach()
        if config.picture_weight:
            with torch.no_grad():
                wanted = self._call(self.teacher.transformer, canvases, wanted)
            found["picture"] = F.l1_loss(painted.float(), wanted.float())
            total = total + config.picture_weight * found["picture"]
        if low:
            difference = (painted - canvases)[:low].float().abs().mean((1, 2, 3))
            found["low_strength"] = ((1 - batch.strengths[:low]) * difference).mean()
            total = total + config.low_strength_weight * found["low_strength"] * low / count
        if self.loss_network is not None:
            perceptual, reported = self._perceptual(painted, contents, batch)
            found |= reported
            total = total + perceptual
        return {**found, "loss": total}

    def vectors(self, predictor: StylePredictor, batch: Batch) -> Tensor:
        """What the batch is painted by, (N, 100): the style's vector, moved towards the photo's at low strengths."""
        low = len(batch.photo_views)
        styles, photos = (self.predict(predictor, views) for views in (batch.views, batch.photo_views))
        mixed = torch.lerp(photos, styles[:low], batch.strengths[:low, None])
        return torch.cat((mixed, styles[low:])).to(self.dtype)

    def predict(self, predictor: StylePredictor, views: Tensor) -> Tensor:
        """Vectors (N, 100) in float32, of views or of what frozen stages made of them."""
        if self.frozen:
            return predictor.finish(views, self.frozen)
        return self._call(predictor, views.to(self.dtype)).float()

    def paint(self, canvases: Tensor, vectors: Tensor, merged: bool = True) -> Tensor:
        """(N, 3, H, W) in [0, 1] and (N, 100), both in working precision -> painted, (N, 3, H, W) in [0, 1].

        `merged` computes separable convolutions as plain ones, where the config says so.
        """
        return self._call(self.pair.transformer, canvases, vectors, shell=self.shell if merged else None)

    def _call(self, module: nn.Module, *inputs: Tensor, shell: nn.Module | None = None) -> Tensor:
        """The module's output in working precision, computed by `shell` if one stands in for it."""
        working = working_weights(module, self.dtype, merge=shell is not None)
        return functional_call(shell or module, working, inputs)

    def _perceptual(self, painted: Tensor, contents: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """(weighted sum, distances): content of every picture, and style in proportion to its strength.

        The distances are reported for pictures at full strength.
        """
        config, low = self.config, len(batch.photo_views)
        kept = {*losses.CONTENT_LAYERS, losses.STRUCTURE_LAYER} if config.structure_weight else losses.CONTENT_LAYERS
        with torch.no_grad():
            target = self.loss_network(contents, kept)
        features = self.loss_network(painted, {*kept, *losses.STYLE_LAYERS})
        content = losses.content_distance(features, target)
        found = {layer: losses.moments(features[layer]) for layer in losses.STYLE_LAYERS}
        grams = {layer: gram for layer, (gram, _) in found.items()}
        statistics = {layer: losses.channel_statistics(*moments) for layer, moments in found.items()}
        style = losses.mean_distance(grams, batch.grams, losses.STYLE_LAYERS)
        means = losses.mean_distance(statistics, batch.statistics, losses.STYLE_LAYERS)
        squash, squash_content = (
            torch.log1p if wanted else (lambda distance: distance) for wanted in (config.log_style, config.log_content)
        )
        photographic = config.content_weight * squash_content(content) + config.tv_weight * losses.total_variation(
            painted
        )
        reported = {}
        if config.structure_weight:
            layer = losses.STRUCTURE_LAYER
            structure = losses.structure_distance(features[layer], target[layer])
            photographic = photographic + config.structure_weight * squash_content(structure)
            reported["structure"] = structure[low:].mean()
        painterly = config.style_weight * squash(style) + config.statistics_weight * squash(means)
        reported |= {"content": content[low:].mean(), "style": style[low:].mean()}
        return (photographic + batch.strengths * painterly).mean(), reported


def _amplification(painted: Tensor, again: Tensor, noise: Tensor) -> Tensor:
    """By what factor noise (K, 3, H, W) is amplified, the mean over pictures painted without and with it."""
    change = (again - painted).float().abs().mean((1, 2, 3))
    return (change / (noise.abs().mean((1, 2, 3)) + LEAST_NOISE)).mean()
