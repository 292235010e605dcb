"""A training run of a pair: its networks, optimiser and averaged weights, one step, and its checkpoints.

A checkpoint holds all the state there is: weights, their averages, Adam's moments, how far waves stood out in the last
results, and two counters. Batches follow from the seed and the step.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from stylizer import losses
from stylizer.errors import WeightsError
from stylizer.networks.backbones import VGG
from stylizer.training import checkpoints
from stylizer.training.batches import CHUNK, Batch, Batches, channels_last
from stylizer.training.config import TrainConfig, stages
from stylizer.training.objectives import Objectives
from stylizer.training.pairs import Pair, averaged_pair, complete, in_words, load_pair
from stylizer.training.start import fit_last_layer, frozen_stages, require_gradients, starting_pair


class Run:
    """A pair in training, on photos, styles and favourites, each (N, 3, S, S) uint8 on the device to train on.

    ParameterError where a loss needs a loss network and there is none, WeightsError where files do not fit the config.
    """

    def __init__(
        self,
        config: TrainConfig,
        contents: Tensor,
        styles: Tensor,
        loss_network: VGG | None,
        pair: Pair | None = None,
        favourites: Tensor | None = None,
    ):
        self.config, self.device = config, contents.device
        self.pair = (pair or starting_pair(config)).to(self.device)
        self.pair.predictor.eval()  # its batch norms stay as ImageNet left them
        self.pair.transformer.train(bool(config.transformer_rate))
        frozen = frozen_stages(self.pair.predictor, config)
        self.parameters = require_gradients(self.pair, config, frozen)
        self.teacher = load_pair(map(Path, config.teacher)).to(self.device) if config.teacher else None
        # The output of frozen stages is computed once per bank, in float32; but a teacher needs the views themselves.
        self.frozen = 0 if self.teacher else frozen
        self.objectives = Objectives(config, self.pair, loss_network, self.teacher, self.frozen)
        self.batches = Batches(
            config,
            contents,
            styles,
            favourites,
            self.objectives.loss_network,
            self._of_frozen_stages if self.frozen else None,
        )
        cuda = self.device.type == "cuda"
        losses_of = self.objectives.losses_of
        self.losses_of = torch.compile(losses_of, dynamic=False) if config.compile and cuda else losses_of
        self.adam = torch.optim.Adam(_groups(self.parameters, config), lr=0.0, fused=cuda or None)
        self.tracked = {key: value for key, value in self.pair.state_dict().items() if value.is_floating_point()}
        self.average = {key: value.clone() for key, value in self.tracked.items()}
        # How far each wave stood out in the results of the last steps, beside photos and paintings, on average.
        self.common_waves = torch.zeros(2, losses.WINDOW, losses.WINDOW, device=self.device)
        self.step, self.seconds = 0, 0.0

    @torch.no_grad()
    def _of_frozen_stages(self, views: Tensor) -> Tensor:
        return self.pair.predictor.begin(views, self.frozen)

    def fit_last_layer(self) -> None:
        """Set the predictor's last layer to what fits the teacher's vectors best, before the first step."""
        views = self.batches.bank_of(0).views.split(CHUNK)
        shown = tqdm(views, desc="fitting the last layer", leave=False)
        fit_last_layer(self.pair.predictor, self.teacher.predictor, (channels_last(some / 255) for some in shown))
        self.average = {key: value.clone() for key, value in self.tracked.items()}

    # The schedule

    def done(self) -> float:
        """Share of the schedule, 0 to 1."""
        config = self.config
        return min(1.0, self.step / config.steps if config.steps else self.seconds / (60 * config.minutes))

    def rate(self) -> float:
        """Factor on the learning rates, 0 to 1: a linear rise, then a cosine to zero."""
        return min(1.0, (self.step + 1) / max(1, self.config.warmup)) * 0.5 * (1 + math.cos(math.pi * self.done()))

    def size(self) -> tuple[int, int]:
        """(pixels, batch) at this point of the schedule."""
        return next(stage[1:] for stage in reversed(stages(self.config.stages)) if stage.start <= self.done())

    def batch_size(self) -> int:
        return self.size()[1]

    # A step

    def batch(self) -> Batch:
        """What this step is trained on; the same for the same seed and step."""
        return self.batches.draw(self.step, *self.size())

    def advance(self) -> dict[str, Tensor]:
        """One step; its losses and the gradient's norm, left on the device so that the next step can be queued."""
        rate = self.rate()
        for group in self.adam.param_groups:
            group["lr"] = group["peak"] * rate
        found = self.losses_of(self.batch(), self.common_waves)
        if "excess" in found:
            losses.follow_lattice(self.common_waves, found.pop("excess"), self.step)
        self.adam.zero_grad(set_to_none=True)
        found["loss"].backward()
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.clip)
        self.adam.step()
        self._update_average()
        self.step += 1
        return {**{name: value.detach() for name, value in found.items()}, "norm": norm}

    @torch.no_grad()
    def _update_average(self) -> None:
        """Young averages forget faster, or the start would linger."""
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), list(self.tracked.values()), 1 - decay)

    def averaged(self) -> Pair:
        """The averaged weights as a pair of their own, ready to paint."""
        return averaged_pair(self.pair.architecture(), self.average).to(self.device)

    # Checkpoints

    def save(self, folder: Path) -> None:
        """Replace the checkpoint in this folder."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "architecture": self.pair.architecture(),
            "config": asdict(self.config),
        }
        checkpoints.write_folder(
            folder,
            state,
            {
                "weights": self.pair.state_dict(),
                "average": self.average,
                "first": checkpoints.moments(self.adam, self.parameters, "exp_avg"),
                "second": checkpoints.moments(self.adam, self.parameters, "exp_avg_sq"),
                "lattice": {"common": self.common_waves},
            },
        )

    def load(self, folder: Path) -> None:
        """Resume from a checkpoint; WeightsError, naming both, if it is of another architecture."""
        state, parts = checkpoints.read_folder(folder)
        theirs, ours = complete(state["architecture"]), self.pair.architecture()
        if theirs != ours:
            raise WeightsError(f"{folder} is a checkpoint of {in_words(theirs)}; this run trains {in_words(ours)}")
        self.pair.load_state_dict(parts["weights"])
        for key, value in self.average.items():
            value.copy_(parts["average"][key])
        self.common_waves.copy_(parts["lattice"].get("common", self.common_waves))  # missing in older checkpoints
        checkpoints.restore_adam(self.adam, self.parameters, state["step"], parts["first"], parts["second"])
        self.step, self.seconds = state["step"], state["seconds"]


def _groups(parameters: Mapping[str, Tensor], config: TrainConfig) -> list[dict]:
    """For Adam: "peak" is the rate at the top of the schedule."""
    peaks = {"transformer.": config.transformer_rate, "predictor.": config.predictor_rate}
    groups = [
        {"params": [value for name, value in parameters.items() if name.startswith(part)], "peak": peak}
        for part, peak in peaks.items()
    ]
    return [group for group in groups if group["params"]]
