"""One training loop for every pair of predictor and transformer: perceptual, distilled, or both at once.

A step's batch is drawn from (seed, step) and a bank of styles from (seed, its number), so a run that is cut and resumed
draws what it would have drawn: the only state is weights, averages, moments, what answers share, and two counters.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from tqdm import tqdm

from stylizer import losses
from stylizer.errors import NotFinite, ParameterError, WeightsError
from stylizer.feedforward import READ_SIDE
from stylizer.gatys import computes_in_bf16
from stylizer.networks import PREDICTORS, StylePredictor, Transformer, TransformerConfig, describe
from stylizer.networks.backbones import VGG
from stylizer.networks.merged import as_plain, plain_shell, with_rank, working_weights
from stylizer.networks.predictor import INPUT_RANGES, with_colors
from stylizer.training import data
from stylizer.training.pairs import (
    Pair,
    averaged_pair,
    complete,
    in_words,
    load_networks,
    load_pair,
    read_checkpoint,
    read_safetensors,
    write_checkpoint,
)

LEAST_NOISE = 2e-4              # added to the noise that is divided by: rounding to 8 bits is as much
BANK_CHUNK = 16                 # styles a pass while a bank is built
RIDGE = 0.1                     # regularises a new last layer, in variances of a feature: best on crops it never saw


def setting(default, why: str):
    """A field whose reason is also its help on the command line."""
    return field(default=default, metadata={"help": why})


@dataclass(frozen=True)
class TrainConfig:
    # what is trained
    trunk: str = setting("mobilenet-v2", "predictor trunk, mobilenet-v2 or inception-v3: small enough for the web")
    input_range: str = setting("-1..1", "what the trunk sees; Magenta's own weights want 0..1")
    separable: bool = setting(True, "separable transformer: a quarter of the work of the plain one")
    width: float = setting(1.0, "channels of the transformer, times this; 1 is the paper's")
    dilations: tuple[int, ...] = setting((), "of the residual convolutions, ten: how far the transformer sees, so how "
                                         "large a stroke can be, at no cost; none: as in the weights it starts from")
    rank: int = setting(-1, "of what a style adds to the transformer's kernels; -1: as in the weights it starts from")
    init: tuple[str, ...] = setting((), "weight files to start from: a predictor, a transformer or both")
    predictor_init: str = setting("", "safetensors of a trunk to start from, with torchvision's keys")
    # how it is judged
    content_weight: float = setting(2.0, "of the relative content distance: details")
    structure_weight: float = setting(0.3, "of the distance of deeper features, each channel normalised: where things "
                                      "are, and no longer in what light; lets strokes be larger")
    log_content: bool = setting(True, "log(1 + content) and log(1 + structure): of a plain photo both are large, and "
                                "a few would drown the rest")
    style_weight: float = setting(20.0, "of the style distance; at 5 the answers are tinted photographs")
    log_style: bool = setting(True, "log(1 + style): a few styles far from any photo would drown the rest")
    statistics_weight: float = setting(1.0, "of channel means and deviations: steadier colours than Grams alone")
    tv_weight: float = setting(1.0, "of total variation, about 0.01 in a picture: only noise feels it")
    calm_weight: float = setting(500.0, "of total variation where the photo has none, in skies, walls and cheeks: what "
                                 "shows there is a weave")
    lattice_weight: float = setting(300.0, "of waves that stand out in the spectra of answers more than in those of "
                                    "photos and paintings, on average over some steps: one thread repeated all over")
    steady: float = setting(0.2, "share of a batch painted once more with noise in the photo")
    steady_weight: float = setting(0.15, "of how much larger the noise comes out than it went in")
    noise: float = setting(0.016, "largest deviation of that noise, of 1: a phone's in the evening")
    plain: float = setting(0.12, "share of photos that are blurred, down to one soft gradient: there is little "
                           "sky in most collections")
    brushwork: float = setting(0.85, "share of photos with brushwork on their plain places, as they are painted")
    weak: float = setting(0.25, "share of a batch painted at strengths below 1, half of it at 0: the slider's road")
    weak_weight: float = setting(15.0, "of the mean absolute difference to the photo at strength 0, none at 1")
    teacher: tuple[str, ...] = setting((), "weight files of the pair to distil from")
    vector_weight: float = setting(0.0, "of the squared distance to the teacher's vectors, taken in the gammas and "
                                   "betas that they become: one space for all pairs")
    picture_weight: float = setting(0.0, "of the mean absolute difference to the teacher's pictures: a fast start")
    # what it sees
    stages: str = setting("0:256:64", "FROM:PIXELS:BATCH,...: from this share of the run on, crops and batches; larger "
                          "crops late teach larger structure when it pays")
    stored: int = setting(288, "side that pictures are kept at: what the data offers")
    zoom: float = setting(0.7, "smallest scale of photos; the largest is 1, since enlarged pictures teach blur")
    view: int = setting(256, "side of the style picture that the predictor sees, as at inference")
    style_sides: tuple[int, ...] = setting((256, 288), "sides of the style crops that are matched, unscaled: the "
                                           "view's and more, as beside a larger photo")
    jitter: float = setting(0.1, "hue, contrast and brightness of styles, up to: likewise")
    bank: int = setting(4096, "styles measured in advance, 0.9 MB each: their share of VGG is paid once in bank_steps")
    bank_steps: int = setting(250, "steps that a bank serves, four samples a style at batches of 64")
    favoured: float = setting(0.45, "share of every bank that comes from the pictures of --favour, if there are any")
    # how it is learnt
    transformer_rate: float = setting(1e-3, "Adam's rate for the transformer; 0 freezes it")
    predictor_rate: float = setting(2e-4, "Adam's rate for the predictor, which starts trained; 0 freezes it")
    frozen_stages: int = setting(0, "first stages of the predictor's trunk that stay as they are, of 19 or 15: their "
                                 "answers are measured once a bank, and small batches do not spoil them")
    clip: float = setting(5.0, "bound on the gradient's norm: early steps can be wild")
    warmup: int = setting(100, "steps of rising rate, while Adam's moments settle")
    average: float = setting(0.999, "decay of the averaged weights, the ones that ship")
    steps: int = setting(0, "length of the schedule in steps; 0: by the clock")
    minutes: float = setting(25.0, "length of the schedule in minutes of training, all calls together")
    seed: int = setting(0, "of every draw")
    # how it is computed
    bf16: bool = setting(True, "half the memory traffic, where the device computes in bf16: elsewhere it is off, being "
                               "up to a hundred times slower; every optimiser state stays float32")
    merge: bool = setting(True, "train a separable convolution as the plain one it equals: depthwise kernels are slow")
    compile: bool = setting(True, "torch.compile, on CUDA only: on a CPU it costs more than it saves")

    def __post_init__(self):
        stages(self.stages)
        for name, allowed in (("trunk", PREDICTORS), ("input_range", INPUT_RANGES)):
            if getattr(self, name) not in allowed:
                raise ParameterError(name, f"{name} is {getattr(self, name)!r}; choose from {', '.join(allowed)}")
        if not 0 < self.width <= 4:
            raise ParameterError("width", f"width is {self.width}; it must be above 0 and at most 4")
        if not -1 <= self.rank <= 128:
            raise ParameterError("rank", f"rank is {self.rank}; it must be 0 to 128, or -1")
        largest = max(*self.style_sides, *(pixels for _, pixels, _ in stages(self.stages)))
        if largest > self.stored or not 0 < self.zoom <= 1:
            raise ParameterError("stored", f"crops of {largest} pixels, zoom {self.zoom} and pictures kept at "
                                           f"{self.stored}: crops must fit, and zoom is above 0 and at most 1")
        smallest = min(*self.style_sides, *(pixels for _, pixels, _ in stages(self.stages)))
        if self.paints and self.lattice_weight and smallest < losses.WINDOW:
            raise ParameterError("lattice_weight", f"lattice_weight is {self.lattice_weight} and crops have {smallest} "
                                                   f"pixels: it sees {losses.WINDOW}; give larger crops or no weight")
        if not (self.steps or self.minutes > 0):
            raise ParameterError("minutes", "a schedule needs a length: give --steps or --minutes")
        for name in ("favoured", "weak", "steady", "plain", "brushwork"):
            if not 0 <= getattr(self, name) <= 1:
                raise ParameterError(name, f"{name} is {getattr(self, name)}; it is a share, 0 to 1")
        if not self.teacher and (self.vector_weight or self.picture_weight):
            raise ParameterError("teacher", "vector_weight and picture_weight need a --teacher to distil from")

    @property
    def perceptual(self) -> bool:
        """Whether a loss network looks at the answers."""
        return any((self.content_weight, self.structure_weight, self.style_weight, self.statistics_weight))

    @property
    def paints(self) -> bool:
        """Whether there are answers: a predictor can learn a teacher's vectors without."""
        return self.perceptual or bool(self.picture_weight)


def working_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """What features and gradients are computed in."""
    return torch.bfloat16 if config.bf16 and computes_in_bf16(device) else torch.float32


def stages(text: str) -> list[tuple[float, int, int]]:
    """"0:128:8,0.5:256:4" -> [(0.0, 128, 8), (0.5, 256, 4)]: from which share of the run, pixels, batch."""
    try:
        parsed = [(float(start), int(pixels), int(batch))
                  for start, pixels, batch in (part.split(":") for part in text.split(","))]
    except ValueError:
        raise ParameterError("stages", f"stages is {text!r}; write FROM:PIXELS:BATCH,... (0:128:8,0.5:256:4)") from None
    if parsed[0][0] != 0 or parsed != sorted(parsed) or any(pixels % 4 or pixels < 32 for _, pixels, _ in parsed):
        raise ParameterError("stages", f"stages is {text!r}; it starts at 0 and rises; pixels: multiples of 4 from 32")
    return parsed


# Styles, measured in advance -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StyleBank:
    """Crops of style pictures: what the predictor sees of each, and what its answer has to match."""

    views: Tensor                       # (M, 3, view, view) uint8, or what a trunk's frozen stages say of them
    grams: dict[str, Tensor]            # {layer: (M, C, C)}
    statistics: dict[str, Tensor]       # {layer: (M, 2, C)}
    spectra: Tensor                     # (M, 2, 64, 64), (M, 0) where no loss needs them
    heights: Tensor                     # (M,), of the brushwork on photos that are painted so, in levels

    def take(self, rows: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]:
        views = self.views[rows]
        return (views.float() / 255 if views.dtype == torch.uint8 else views,
                {layer: values[rows] for layer, values in self.grams.items()},
                {layer: values[rows] for layer, values in self.statistics.items()},
                self.spectra[rows], self.heights[rows])


@torch.no_grad()
def build_bank(styles: Tensor, loss_network: VGG | None, config: TrainConfig, number: int,
               frozen: Callable[[Tensor], Tensor] | None = None, favourites: Tensor | None = None) -> StyleBank:
    """Bank `number` of a run, from (N, 3, S, S) uint8 styles. Without a loss network it holds views alone.

    In place of the views it holds what `frozen`, the first stages of a trunk, says of them.
    """
    generator = data.generator_for(styles.device, config.seed, 1, number)
    views, grams, statistics, spectra, heights = [], [], [], [], []
    dtype = working_dtype(config, styles.device)
    for index in tqdm(range(0, config.bank, BANK_CHUNK), desc="measuring styles", leave=False):
        count = min(BANK_CHUNK, config.bank - index)
        chosen = styles[data.random_rows(len(styles), count, generator)]
        if favourites is not None:
            some = round(config.favoured * count)
            chosen[:some] = favourites[data.random_rows(len(favourites), some, generator)]
        side = config.style_sides[index // BANK_CHUNK % len(config.style_sides)]
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
    return StyleBank(torch.cat(views), _stacked(grams), _stacked(statistics),
                     torch.cat(spectra) if spectra else styles.new_empty((config.bank, 0)), torch.cat(heights))


def _stacked(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {layer: torch.cat([part[layer] for part in parts]) for layer in (parts[0] if parts else ())}


def channels_last(pictures: Tensor) -> Tensor:
    return pictures.contiguous(memory_format=torch.channels_last)


# The run -------------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """What a step learns from: N photos, a style each. The first photos are painted at strengths below 1, the last ones
    once more with noise in them."""

    contents: Tensor                    # (N, 3, H, W) in [0, 1]
    canvases: Tensor                    # the same with brushwork, on which the answers are painted
    views: Tensor                       # of the styles: (N, 3, view, view), or what frozen stages say of them
    grams: dict[str, Tensor]            # {layer: (N, C, C)}, what the answer has to match
    statistics: dict[str, Tensor]       # {layer: (N, 2, C)}
    spectra: Tensor                     # (N, 2, 64, 64), of the styles
    strengths: Tensor                   # (N,)
    own: Tensor                         # as `views`, of the photos at strengths below 1
    noise: Tensor                       # (K, 3, H, W), for the last K photos


def starting_pair(config: TrainConfig) -> Pair:
    """The pair a run begins with: random, then a trunk, then whichever halves the files of `init` hold."""
    given = load_networks(map(Path, config.init))
    torch.manual_seed(config.seed)
    start = given["transformer"].config if "transformer" in given else TransformerConfig()
    dilations = config.dilations or start.dilations
    rank = start.rank if config.rank < 0 else config.rank
    pair = Pair(StylePredictor(config.trunk, config.input_range, sees_colors=True),
                Transformer(TransformerConfig(config.separable, config.width, dilations=dilations, rank=rank)))
    if config.predictor_init:
        path = Path(config.predictor_init)
        trunk = {key if key.startswith("features.") else f"features.{key}": value      # Inception's have no prefix
                 for key, value in read_safetensors(path)[0].items()}
        wanted = {key: value for key, value in pair.predictor.state_dict().items()
                  if key.startswith("features.") and not key.endswith("num_batches_tracked")}
        if any(key not in trunk or trunk[key].shape != value.shape for key, value in wanted.items()):
            raise WeightsError(f"{path} holds another trunk than {config.trunk}")
        pair.predictor.load_state_dict({key: trunk[key] for key in wanted}, strict=False)
    for part, network in given.items():
        if part == "transformer" and network.config.separable and not config.separable:
            network = as_plain(network)
        if part == "transformer":                   # the kernels are the same, whatever lies between their pixels
            network.config = replace(network.config, dilations=dilations)
            if not network.config.rank and rank:
                network = with_rank(network, rank)
        if part == "predictor" and not network.sees_colors:
            network = with_colors(network)
        theirs, ours = describe(network), pair.architecture()[part]
        if theirs != ours:
            raise WeightsError(f"init holds the {part} {theirs['config']}; this run trains {ours['config']}")
        getattr(pair, part).load_state_dict(network.state_dict())
    return pair


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a step; the numbers are means since the last report."""

    step: int
    seconds: float                  # of training, all calls together
    done: float                     # share of the schedule, 0 to 1
    seconds_left: float
    samples_per_second: float
    rate: float                     # of the schedule: 1 at its top
    losses: dict[str, float]        # content, style, loss, norm (of the gradient) and whatever else has a weight


class Run:
    """Weights, averages and moments of one run, and its step. Pictures are (N, 3, S, S) uint8."""

    def __init__(self, config: TrainConfig, contents: Tensor, styles: Tensor, loss_network: VGG | None,
                 pair: Pair | None = None, favourites: Tensor | None = None):
        self.config, self.contents, self.styles, self.favourites = config, contents, styles, favourites
        self.device = contents.device
        self.dtype = working_dtype(config, self.device)
        if config.perceptual and loss_network is None:
            raise ParameterError(
                "vgg", "content, structure, style and statistics losses need the loss network: give --vgg")
        self.loss_network = None
        if config.perceptual:
            self.loss_network = loss_network.to(self.device, self.dtype, memory_format=torch.channels_last)
        self.pair = (pair or starting_pair(config)).to(self.device)
        self.pair.predictor.eval()          # its batch norms stay as ImageNet left them
        self.pair.transformer.train(bool(config.transformer_rate))
        idle = {f"transformer.{name}" for name in self.pair.transformer.centre()}
        self.shell = None
        if config.merge and config.separable:
            self.shell = plain_shell(self.pair.transformer).train(self.pair.transformer.training)
        self.teacher = load_pair(map(Path, config.teacher)).to(self.device) if config.teacher else None
        self.tracked = {key: value for key, value in self.pair.state_dict().items() if value.is_floating_point()}
        self.average = {key: value.clone() for key, value in self.tracked.items()}
        stages_of_trunk = [name for name, _ in self.pair.predictor.features.named_children()]
        if not 0 <= config.frozen_stages <= len(stages_of_trunk):
            raise ParameterError("frozen_stages", f"frozen_stages is {config.frozen_stages}; the trunk of "
                                                  f"{config.trunk} has 0 to {len(stages_of_trunk)}")
        frozen = config.frozen_stages if config.predictor_rate else len(stages_of_trunk)
        still = tuple(f"predictor.features.{name}." for name in stages_of_trunk[:frozen])
        self.parameters = {
            name: value for name, value in self.pair.named_parameters()
            if (config.transformer_rate if name.startswith("transformer.") else config.predictor_rate)
            and (config.paints or name.startswith("predictor.")) and name not in idle and not name.startswith(still)
        }
        # What frozen stages say is measured once a bank, in float32; a teacher has to see the views themselves.
        self.frozen = 0 if self.teacher else frozen
        for name, value in self.pair.named_parameters():
            value.requires_grad_(name in self.parameters)
        cuda = self.device.type == "cuda"
        groups = [{"params": [value for name, value in self.parameters.items() if name.startswith(part)], "peak": peak}
                  for part, peak in (("transformer.", config.transformer_rate), ("predictor.", config.predictor_rate))]
        self.optimizer = torch.optim.Adam([group for group in groups if group["params"]], lr=0.0, fused=cuda or None)
        self.compute = torch.compile(self._losses, dynamic=False) if config.compile and cuda else self._losses
        self.stages = stages(config.stages)
        self.step, self.seconds = 0, 0.0
        self.bank, self.bank_number = None, -1
        # How far each wave stands out in the answers of the last steps, beside photos and paintings, on average.
        self.common = torch.zeros(2, losses.WINDOW, losses.WINDOW, device=self.device)

    @torch.no_grad()
    def probe(self) -> None:
        """Begin the predictor's last layer as the ridge regression of the teacher's vectors on what the trunk says.

        Gradients through a random last layer would first spoil a trunk that is trained (Kumar et al. 2022).
        """
        predictor, teacher = self.pair.predictor, self.teacher.predictor
        self._fill_bank(0)
        said, wanted = [], []
        for views in tqdm(self.bank.views.split(BANK_CHUNK), desc="fitting the last layer", leave=False):
            views = channels_last(views.float() / 255)
            said.append(predictor.begin(views, len(predictor.features)))
            wanted.append(teacher(views))
        said, wanted = torch.cat(said), torch.cat(wanted)
        centred = said - said.mean(0)
        covariance = centred.T @ centred
        covariance.diagonal().add_(RIDGE * covariance.diagonal().mean())
        weight = torch.linalg.solve(covariance, centred.T @ (wanted - wanted.mean(0))).T
        predictor.to_vector.weight.copy_(weight)
        predictor.to_vector.bias.copy_(wanted.mean(0) - weight @ said.mean(0))
        self.average = {key: value.clone() for key, value in self.tracked.items()}

    # One step

    def done(self) -> float:
        """Share of the schedule, 0 to 1."""
        config = self.config
        return min(1.0, self.step / config.steps if config.steps else self.seconds / (60 * config.minutes))

    def rate(self) -> float:
        """The schedule: a linear rise, then a cosine to zero."""
        return min(1.0, (self.step + 1) / max(1, self.config.warmup)) * 0.5 * (1 + math.cos(math.pi * self.done()))

    def size(self) -> tuple[int, int]:
        """(pixels, batch) at this point of the schedule."""
        return next(stage[1:] for stage in reversed(self.stages) if stage[0] <= self.done())

    def batch(self) -> Batch:
        """What this step learns from; the same for the same seed and step."""
        config = self.config
        self._fill_bank(self.step // config.bank_steps)
        pixels, count = self.size()
        generator = data.generator_for(self.device, config.seed, 0, self.step)
        largest = min(config.stored, round(pixels / config.zoom))
        draws = np.random.default_rng((config.seed, 2, self.step))
        side = int(draws.integers(pixels, largest + 1))
        chosen = self.contents[data.random_rows(len(self.contents), count, generator)]
        contents = data.resize(data.random_crops(chosen, side, generator), pixels)
        if plain := int(config.plain * count + draws.random()):     # of small batches, one in some
            contents[-plain:] = data.plain(contents[-plain:], generator)
        rows = data.random_rows(len(self.bank.views), count, generator)
        views, grams, statistics, spectra, heights = self.bank.take(rows)
        weak = round(config.weak * count) if config.paints else 0
        strengths = torch.ones(count, device=self.device)
        strengths[:weak] = (2 * torch.rand(weak, generator=generator, device=self.device) - 1).clamp(min=0)
        own = channels_last(data.resize(contents[:weak], config.view))
        if self.frozen:
            own = self._ask_frozen(own)
        else:
            views = channels_last(views)
        steady = round(config.steady * count) if config.paints else 0
        deviations = config.noise * torch.rand((steady, 1, 1, 1), generator=generator, device=self.device)
        noise = deviations * torch.randn((steady, 3, pixels, pixels), generator=generator, device=self.device)
        canvases = data.random_brushwork(contents, heights, config.brushwork, generator)
        pictures = channels_last(contents), channels_last(canvases)
        return Batch(*pictures, views, grams, statistics, spectra, strengths, own, noise)

    def _fill_bank(self, number: int) -> None:
        if number != self.bank_number:
            self.bank, self.bank_number = None, number          # freed before the next is built
            self.bank = build_bank(self.styles, self.loss_network, self.config, number,
                                   self._ask_frozen if self.frozen else None, self.favourites)

    @torch.no_grad()
    def _ask_frozen(self, views: Tensor) -> Tensor:
        return self.pair.predictor.begin(views, self.frozen)

    def _losses(self, contents: Tensor, canvases: Tensor, views: Tensor, grams: dict, statistics: dict,
                spectra: Tensor, strengths: Tensor, own: Tensor, noise: Tensor, common: Tensor) -> dict[str, Tensor]:
        """Every loss that has a weight, "loss" being their sum; of a `Batch`, field by field, and of what stood out in
        the answers so far. What stands out in these, "excess", is no loss."""
        config = self.config
        contents, canvases = contents.to(self.dtype), canvases.to(self.dtype)
        vectors = self._vectors(self.pair.predictor, views, own, strengths)
        found: dict[str, Tensor] = {}
        total = vectors.new_zeros((), dtype=torch.float32)
        if self.teacher:
            with torch.no_grad():
                wanted = self._vectors(self.teacher.predictor, views, own, strengths)
        if config.vector_weight:
            felt = self.teacher.transformer.felt        # of the hundred numbers most change next to nothing
            found["vector"] = F.mse_loss(felt(vectors.float()), felt(wanted.float()))
            total = total + config.vector_weight * found["vector"]
        if not config.paints:
            return {**found, "loss": total}
        count, steady = len(contents), len(noise)
        noisy = canvases[count - steady:] + noise.to(self.dtype)
        painted = self._call(self.pair.transformer, torch.cat((canvases, noisy)),
                             torch.cat((vectors, vectors[count - steady:])), shell=self.shell)
        if config.calm_weight:
            calm = losses.calm(canvases)        # strokes are no weave
            found["weave"] = losses.weave(painted, torch.cat((calm, calm[count - steady:]))).mean()
            total = total + config.calm_weight * found["weave"]
        painted, again = painted.split((count, steady))
        if steady:
            change = (again - painted[count - steady:]).float().abs().mean((1, 2, 3))
            found["noise"] = (change / (noise.abs().mean((1, 2, 3)) + LEAST_NOISE)).mean()
            total = total + config.steady_weight * found["noise"]
        if config.lattice_weight:
            excess = losses.lattice_excess(painted, canvases, spectra)
            found["lattice"] = losses.lattice(excess, common)
            total = total + config.lattice_weight * found["lattice"]
            found["excess"] = excess.detach()
        if config.picture_weight:
            with torch.no_grad():
                wanted = self._call(self.teacher.transformer, canvases, wanted)
            found["picture"] = F.l1_loss(painted.float(), wanted.float())
            total = total + config.picture_weight * found["picture"]
        if len(own):
            difference = (painted - canvases)[:len(own)].float().abs().mean((1, 2, 3))
            found["weak"] = ((1 - strengths[:len(own)]) * difference).mean()
            total = total + config.weak_weight * found["weak"] * len(own) / len(contents)
        if self.loss_network is not None:
            found |= self._perceptual(painted, contents, grams, statistics, strengths, len(own))
            total = total + found.pop("perceptual")
        return {**found, "loss": total}

    def _vectors(self, predictor: nn.Module, views: Tensor, own: Tensor, strengths: Tensor) -> Tensor:
        """What is painted by: the style's vector, or as far towards it from the photo's as the strength says."""
        vectors, photos = (self._predict(predictor, given) for given in (views, own))
        weak = torch.lerp(photos, vectors[:len(own)], strengths[:len(own), None])
        return torch.cat((weak, vectors[len(own):])).to(self.dtype)

    def _predict(self, predictor: StylePredictor, given: Tensor) -> Tensor:
        """Vectors (N, 100) in float32, of views or of what frozen stages say of them."""
        if self.frozen:
            return predictor.finish(given, self.frozen)
        return self._call(predictor, given.to(self.dtype)).float()

    def _call(self, module: nn.Module, *inputs: Tensor, shell: nn.Module | None = None) -> Tensor:
        """The module's answer in working precision, computed by `shell` where one stands in for it."""
        working = working_weights(module, self.dtype, merge=shell is not None)
        return functional_call(shell or module, working, inputs)

    def _perceptual(self, painted: Tensor, contents: Tensor, grams: dict, statistics: dict, strengths: Tensor,
                    weak: int) -> dict[str, Tensor]:
        """Content of every picture, and style as far as its strength goes; reported of those at full strength."""
        config = self.config
        kept = {*losses.CONTENT_LAYERS, losses.STRUCTURE_LAYER} if config.structure_weight else losses.CONTENT_LAYERS
        with torch.no_grad():
            target = self.loss_network(contents, kept)
        features = self.loss_network(painted, {*kept, *losses.STYLE_LAYERS})
        content = losses.content_distance(features, target)
        found = {layer: losses.moments(features[layer]) for layer in losses.STYLE_LAYERS}
        style = losses.mean_distance({layer: gram for layer, (gram, _) in found.items()}, grams, losses.STYLE_LAYERS)
        means = losses.mean_distance({layer: losses.channel_statistics(*moments) for layer, moments in found.items()},
                                     statistics, losses.STYLE_LAYERS)
        squash, squash_content = (torch.log1p if wanted else (lambda distance: distance)
                                  for wanted in (config.log_style, config.log_content))
        photographic = (config.content_weight * squash_content(content)
                        + config.tv_weight * losses.total_variation(painted))
        reported = {}
        if config.structure_weight:
            layer = losses.STRUCTURE_LAYER
            structure = losses.structure_distance(features[layer], target[layer])
            photographic = photographic + config.structure_weight * squash_content(structure)
            reported["structure"] = structure[weak:].mean()
        painterly = config.style_weight * squash(style) + config.statistics_weight * squash(means)
        return {**reported, "content": content[weak:].mean(), "style": style[weak:].mean(),
                "perceptual": (photographic + strengths * painterly).mean()}

    def advance(self) -> dict[str, Tensor]:
        """One step; its losses stay on the device, so that the next step can be queued."""
        rate = self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        found = self.compute(*self.batch(), self.common)
        if "excess" in found:
            losses.follow_lattice(self.common, found.pop("excess"), self.step)
        self.optimizer.zero_grad(set_to_none=True)
        found["loss"].backward()
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.clip)
        self.optimizer.step()
        self._follow()
        self.step += 1
        return {**{name: value.detach() for name, value in found.items()}, "norm": norm}

    @torch.no_grad()
    def _follow(self) -> None:
        """Averaged weights; young averages forget faster, or the start would linger."""
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), list(self.tracked.values()), 1 - decay)

    def averaged(self) -> Pair:
        """The averaged weights as a pair of their own, ready to paint."""
        return averaged_pair(self.pair.architecture(), self.average).to(self.device)

    def save(self, folder: Path) -> None:
        """Write the checkpoint beside the last one, then put it in its place: a cut leaves one of them whole."""
        moments = {name: {key: self.optimizer.state[value][entry] for key, value in self.parameters.items()
                          if self.optimizer.state[value]}
                   for name, entry in (("first", "exp_avg"), ("second", "exp_avg_sq"))}
        state = {"step": self.step, "seconds": self.seconds, "architecture": self.pair.architecture(),
                 "config": asdict(self.config)}
        write_checkpoint(folder, state, {"weights": self.pair.state_dict(), "average": self.average, **moments,
                                         "lattice": {"common": self.common}})

    def load(self, folder: Path) -> None:
        """Go on where a checkpoint ends; WeightsError, naming both, where it is of another architecture."""
        state, parts = read_checkpoint(folder)
        theirs, ours = complete(state["architecture"]), self.pair.architecture()
        if theirs != ours:
            raise WeightsError(f"{folder} is a checkpoint of {in_words(theirs)}; this run trains {in_words(ours)}")
        self.pair.load_state_dict(parts["weights"])
        for key, value in self.average.items():
            value.copy_(parts["average"][key])
        self.common.copy_(parts["lattice"].get("common", self.common))      # an older checkpoint has none
        for key, value in self.parameters.items():
            if key in parts["first"]:
                self.optimizer.state[value] = {
                    "step": torch.tensor(float(state["step"]), device=self.device),
                    "exp_avg": torch.empty_like(value).copy_(parts["first"][key]),
                    "exp_avg_sq": torch.empty_like(value).copy_(parts["second"][key])}
        self.step, self.seconds = state["step"], state["seconds"]


def train(run: Run, report_every: int = 10, until: float = math.inf, began: float | None = None) -> Iterator[Progress]:
    """Train to the end of the schedule, or until `time.monotonic()` passes `until`, yielding every few steps.

    `began` is when the clock started; give a process's own start, and the time that it took to load counts too.
    NotFinite when a loss or the gradient is not: nothing is yielded after the last good report, so a caller that saves
    at what it is given never saves a broken run.
    """
    last = time.monotonic() if began is None else began
    started, samples, count, sums = time.monotonic(), 0, 0, {}
    while run.done() < 1 and time.monotonic() < until:
        samples, count = samples + run.size()[1], count + 1
        for name, value in run.advance().items():
            sums[name] = sums.get(name, 0) + value
        if run.step % report_every and run.done() < 1 and time.monotonic() < until:
            continue                        # the losses stay on the device, and the device stays busy
        means = {name: float(value) / count for name, value in sums.items()}
        now = time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        broken = [name for name, value in means.items() if not math.isfinite(value)]
        if broken:
            raise NotFinite(f"{', '.join(broken)} not finite between steps {run.step - count} and {run.step}: stopped, "
                            "the last good checkpoint stands; go on from it with lower rates or another seed")
        left = run.seconds / max(run.done(), 1e-9) * (1 - run.done())
        yield Progress(run.step, run.seconds, run.done(), left, samples / (now - started), run.rate(), means)
        started, samples, count, sums = time.monotonic(), 0, 0, {}
