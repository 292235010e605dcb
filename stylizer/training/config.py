"""Settings of a training run, each with its default and the reason for it."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from stylizer import losses
from stylizer.errors import ParameterError
from stylizer.loss_networks import computes_in_bf16
from stylizer.networks import PREDICTORS
from stylizer.networks.predictor import INPUT_RANGES
from stylizer.options import option

SHARES = ("favoured", "low_strength_share", "steady", "plain", "brushwork")


@dataclass(frozen=True)
class TrainConfig:
    # what is trained
    trunk: str = option("mobilenet-v2", "predictor trunk, mobilenet-v2 or inception-v3: small enough for the web")
    input_range: str = option("-1..1", "range of the trunk's input; Magenta's own weights want 0..1")
    separable: bool = option(True, "separable transformer: a quarter of the work of the plain one")
    width: float = option(1.0, "factor on the transformer's channels; 1 is the paper's width")
    dilations: tuple[int, ...] = option(
        (),
        "of the ten residual convolutions: a wider view allows larger strokes at "
        "no cost; by default as in the weights it starts from",
    )
    rank: int = option(-1, "of what a style adds to the transformer's kernels; -1: as in the weights it starts from")
    init: tuple[str, ...] = option((), "weight files to start from: a predictor, a transformer or both")
    predictor_init: str | None = option(None, "safetensors of a trunk to start from, with torchvision's keys")
    # what the loss is made of
    content_weight: float = option(2.0, "of the relative content distance: details")
    structure_weight: float = option(
        0.3,
        "of the distance of deeper features, each channel normalised: where things "
        "are, whatever their light; allows larger strokes",
    )
    log_content: bool = option(
        True,
        "log(1 + content) and log(1 + structure): for plain photos both are large, and a few would drown out the rest",
    )
    style_weight: float = option(20.0, "of the style distance; at 5 the results are tinted photographs")
    log_style: bool = option(True, "log(1 + style): a few styles far from any photo would drown out the rest")
    statistics_weight: float = option(1.0, "of channel means and deviations: steadier colours than Gram matrices alone")
    tv_weight: float = option(1.0, "of total variation, about 0.01 in a picture: only noise is affected")
    calm_weight: float = option(
        500.0, "of total variation where the photo has none, in skies, walls and cheeks: patterns show there"
    )
    lattice_weight: float = option(
        300.0,
        "of waves that stand out in the spectra of results more than in those of "
        "photos and paintings, averaged over some steps: one pattern repeated everywhere",
    )
    steady: float = option(0.2, "share of a batch that is also painted with noise in the photo")
    steady_weight: float = option(0.15, "of the factor by which that noise is amplified")
    noise: float = option(0.016, "largest deviation of that noise, in [0, 1]: a phone's in the evening")
    plain: float = option(
        0.12, "share of photos that are blurred, down to one soft gradient: most collections hold little sky"
    )
    brushwork: float = option(0.85, "share of photos with brushwork on their plain areas, as when photos are painted")
    low_strength_share: float = option(
        0.25, "share of a batch painted at strengths below 1, half of it at 0: this trains the strength slider"
    )
    low_strength_weight: float = option(
        15.0, "of the mean absolute difference to the photo at strength 0, falling to none at 1"
    )
    teacher: tuple[str, ...] = option((), "weight files of the pair to distil from")
    vector_weight: float = option(
        0.0,
        "of the squared distance to the teacher's vectors, measured in the gammas and "
        "betas they produce: all pairs share one space",
    )
    picture_weight: float = option(0.0, "of the mean absolute difference to the teacher's pictures: a fast start")
    # what it is trained on
    stages: str = option(
        "0:256:64",
        "FROM:PIXELS:BATCH,...: crop side and batch size from this share of the run on; "
        "larger crops late teach larger structure when it pays",
    )
    stored: int = option(288, "side that pictures are kept at: no more than the data offers")
    zoom: float = option(0.7, "smallest scale of photos; the largest is 1, since enlarged pictures teach blur")
    view: int = option(256, "side of the style picture that the predictor reads, as at inference")
    style_sides: tuple[int, ...] = option(
        (256, 288),
        "sides of the style crops that results are compared with, never "
        "resized: the view's and more, as for a larger photo",
    )
    jitter: float = option(0.1, "largest change of hue, contrast and brightness of styles")
    bank: int = option(4096, "style crops measured in advance, 0.9 MB each: the loss network sees each once per bank")
    bank_steps: int = option(250, "steps before the bank is rebuilt: four samples per style at batches of 64")
    favoured: float = option(0.45, "share of every bank that comes from --favour, if it is given")
    # how it is optimised
    transformer_rate: float = option(1e-3, "Adam's learning rate for the transformer; 0 freezes it")
    predictor_rate: float = option(2e-4, "Adam's learning rate for the predictor, which starts trained; 0 freezes it")
    frozen_stages: int = option(
        0,
        "first stages of the predictor's trunk to freeze, of 19 or 15: their outputs are "
        "computed once per bank, and small batches do not spoil them",
    )
    clip: float = option(5.0, "largest norm of the gradient: early steps can be wild")
    warmup: int = option(100, "steps of rising rate, while Adam's moments settle")
    average: float = option(0.999, "decay of the averaged weights, the ones that ship")
    steps: int = option(0, "length of the schedule in steps; 0: by --minutes")
    minutes: float = option(25.0, "length of the schedule in minutes of training, all calls together")
    seed: int = option(0, "of all random draws")
    # how it is computed
    bf16: bool = option(
        True,
        "half the memory traffic, where the device computes in bf16; elsewhere float32 is used, "
        "up to a hundred times faster there; the optimiser's state stays float32",
    )
    merge: bool = option(True, "train a separable convolution as the plain one it equals: depthwise kernels are slow")
    compile: bool = option(True, "torch.compile, on CUDA only: on a CPU it costs more than it saves")

    def __post_init__(self):
        sides = [*self.style_sides, *(stage.pixels for stage in stages(self.stages))]
        for name, allowed in (("trunk", PREDICTORS), ("input_range", INPUT_RANGES)):
            if getattr(self, name) not in allowed:
                raise ParameterError(name, f"{name} is {getattr(self, name)!r}; choose from {', '.join(allowed)}")
        if not 0 < self.width <= 4:
            raise ParameterError("width", f"width is {self.width}; it must be above 0 and at most 4")
        if not -1 <= self.rank <= 128:
            raise ParameterError("rank", f"rank is {self.rank}; it must be 0 to 128, or -1")
        if max(sides) > self.stored or not 0 < self.zoom <= 1:
            raise ParameterError(
                "stored",
                f"crops of {max(sides)} pixels, zoom {self.zoom} and pictures kept at "
                f"{self.stored}: crops must fit, and zoom is above 0 and at most 1",
            )
        if self.paints and self.lattice_weight and min(sides) < losses.WINDOW:
            raise ParameterError(
                "lattice_weight",
                f"lattice_weight is {self.lattice_weight} and crops have "
                f"{min(sides)} pixels: spectra need {losses.WINDOW}; give larger "
                "crops or set the weight to 0",
            )
        if not (self.steps or self.minutes > 0):
            raise ParameterError("minutes", "a schedule needs a length: give --steps or --minutes")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ParameterError(name, f"{name} is {getattr(self, name)}; it is a share, 0 to 1")
        if not self.teacher and (self.vector_weight or self.picture_weight):
            raise ParameterError("teacher", "vector_weight and picture_weight need a --teacher to distil from")

    @property
    def perceptual(self) -> bool:
        """Whether any loss needs the loss network."""
        return any((self.content_weight, self.structure_weight, self.style_weight, self.statistics_weight))

    @property
    def paints(self) -> bool:
        """Whether any loss needs painted pictures: a predictor can learn a teacher's vectors without."""
        return self.perceptual or bool(self.picture_weight)


def working_dtype(config: TrainConfig, device: torch.device) -> torch.dtype:
    """What features and gradients are computed in."""
    return torch.bfloat16 if config.bf16 and computes_in_bf16(device) else torch.float32


class Stage(NamedTuple):
    """A part of a run."""

    start: float  # share of the run, 0 to 1
    pixels: int  # side of the photo crops
    batch: int


def stages(text: str) -> list[Stage]:
    """ "0:128:8,0.5:256:4" -> [Stage(0.0, 128, 8), Stage(0.5, 256, 4)]; ParameterError says how to write it."""
    try:
        parsed = [
            Stage(float(start), int(pixels), int(batch))
            for start, pixels, batch in (part.split(":") for part in text.split(","))
        ]
    except ValueError:
        raise ParameterError("stages", f"stages is {text!r}; write FROM:PIXELS:BATCH,... (0:128:8,0.5:256:4)") from None
    if parsed[0].start != 0 or parsed != sorted(parsed) or any(each.pixels % 4 or each.pixels < 32 for each in parsed):
        raise ParameterError(
            "stages",
            f"stages is {text!r}; FROM must start at 0 and rise, and PIXELS must be multiples of 4, at least 32",
        )
    return parsed
