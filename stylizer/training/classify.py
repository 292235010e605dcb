"""Train our own small network to tell Tiny ImageNet's 200 classes apart: `python -m stylizer.training classify`.

It is a loss network for the classic mode that needs no download. Pictures are one uint8 tensor, augmented a batch at a
time; crops grow through the run, since small ones teach most of it at a fraction of the cost; the schedule is by the
clock. A batch is drawn from (seed, step), as in `train`, so a run that is cut goes on as it would have.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn
from tqdm import tqdm

from stylizer import images, losses
from stylizer.errors import NotFinite, ParameterError, WeightsError
from stylizer.gatys import computes_in_bf16, in_precision
from stylizer.networks.backbones import VGG16, SmallNet
from stylizer.settings import Settings
from stylizer.training import data
from stylizer.training.train import setting

CHECKPOINT = "checkpoint.safetensors"
FILE = "classifier-small.safetensors"
HINTS = "hints.safetensors"
HINT_LAYERS = ("relu4_3", "relu5_3")  # what a picture shows, after where and how it is drawn
ENLARGED = 1.25  # how whole pictures are judged, since crops showed things larger: Touvron et al. 2019


@dataclass(frozen=True)
class ClassifyConfig:
    minutes: float = setting(60.0, "length of the schedule in minutes of training, all calls together")
    batch: int = setting(128, "pictures a step")
    rate: float = setting(0.15, "peak of SGD's rate: a linear rise, then a cosine to zero")
    warmup: float = setting(0.03, "share of the run with a rising rate")
    decay: float = setting(5e-4, "weight decay, of convolutions and the head")
    smoothing: float = setting(0.1, "label smoothing")
    average: float = setting(0.998, "decay of the averaged weights, the ones that ship")
    first_side: int = setting(32, "side of crops at the start")
    last_side: int = setting(56, "and at the end; smaller than what is judged, since crops show things larger")
    smallest_crop: float = setting(0.35, "of the picture's area; random squares between it and all of it")
    jitter: float = setting(0.08, "hue, contrast and brightness, up to")
    erase: float = setting(0.25, "share of pictures with a grey square over a quarter of them")
    hint_weight: float = setting(10.0, "of the hints, where VGG-16 is given: what it sees in a picture, told from ours")
    seed: int = setting(0, "of every draw")


@dataclass(frozen=True)
class Labelled:
    pixels: Tensor  # (N, 3, side, side) uint8
    labels: Tensor  # (N,) int64

    def to(self, device: torch.device) -> "Labelled":
        return Labelled(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Progress:
    step: int
    seconds: float  # of training, all calls together
    done: float  # share of the schedule
    samples_per_second: float
    losses: dict[str, float]


# Pictures -----------------------------------------------------------------------------------------------------------


def read_tiny_imagenet(source: Path, side: int = 64) -> tuple[Labelled, Labelled, list[str]]:
    """(training, validation, class names) of Tiny ImageNet, a folder or a tar, packed or not, whole or a part.

    Laid out as published: train/CLASS/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt. ParameterError
    where that is not what is there.
    """
    training, validation, classes = [], {}, {}
    for name, content in data.files(source):
        parts = PurePosixPath(name).parts
        if name.endswith(".JPEG") and parts[-2:-1] == ("images",):
            if parts[-4:-3] == ("train",):
                training.append((parts[-3], content))
            elif parts[-3:-2] == ("val",):
                validation[parts[-1]] = content
        elif parts[-1] == "val_annotations.txt":
            classes = dict(line.split("\t")[:2] for line in content.decode().splitlines())
    names = sorted({label for label, _ in training})
    known = [(classes[name], content) for name, content in sorted(validation.items()) if classes.get(name) in names]
    if not training or not known:
        raise ParameterError(
            "data", f"{source} holds {len(training)} training and {len(known)} labelled validation pictures; name "
            "Tiny ImageNet's folder or tar, with train/CLASS/images and val/val_annotations.txt"
        )  # fmt: skip
    return _decode(training, names, side), _decode(known, names, side), names


def _decode(some: list[tuple[str, bytes]], names: list[str], side: int) -> Labelled:
    settings, number = Settings(min_side=8), {name: index for index, name in enumerate(names)}
    pixels = np.empty((len(some), side, side, 3), np.uint8)

    def read(index: int) -> None:
        pixels[index] = data.square(images.decode(some[index][1], settings), side)

    with ThreadPoolExecutor() as pool:
        list(tqdm(pool.map(read, range(len(some))), desc="reading", total=len(some), unit=" files", leave=False))
    return Labelled(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
                    torch.tensor([number[label] for label, _ in some]))  # fmt: skip


def augment(pixels: Tensor, side: int, config: ClassifyConfig, generator: torch.Generator) -> Tensor:
    """(N, 3, S, S) uint8 -> (N, 3, side, side) in [0, 1]: random squares, mirrored, tinted, partly hidden."""
    count = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)

    scale = uniform(config.smallest_crop, 1).sqrt()
    placed = torch.zeros(count, 2, 3, device=pixels.device)  # each crop's place in [-1, 1] x [-1, 1]
    placed[:, 0, 0] = scale * uniform(-1, 1).sign()
    placed[:, 1, 1] = scale
    placed[:, 0, 2], placed[:, 1, 2] = ((1 - scale) * uniform(-1, 1) for _ in range(2))
    grid = F.affine_grid(placed, [count, 3, side, side], align_corners=False)
    pictures = F.grid_sample(pixels / 255, grid, padding_mode="reflection", align_corners=False).clamp(0, 1)
    pictures = data.jitter_colors(pictures, config.jitter, generator)
    middle = torch.stack([uniform(-1, 1), uniform(-1, 1)], dim=1)
    axis = torch.linspace(-1, 1, side, device=pixels.device)
    near = (axis - middle[:, :, None]).abs() < 0.5  # (N, 2, side): rows, columns
    hidden = near[:, 0, :, None] & near[:, 1, None, :] & (uniform(0, 1) < config.erase)[:, None, None]
    return pictures.masked_fill(hidden[:, None], 0.5)


@torch.no_grad()
def hints(pixels: Tensor, teacher: VGG16, batch: int = 100) -> Tensor:
    """(N, 1024): the channel means of VGG-16's deep layers over each picture, of zero mean and unit deviation each.

    Predicting them beside the label tells a small network, and one with few pictures, much more of each picture: hints
    as Romero et al. 2015 have them, but of the pooled features.
    """
    found = []
    for some in tqdm(pixels.split(batch), desc="hints", unit=" batches", leave=False):
        features = teacher((some / 255).contiguous(memory_format=torch.channels_last), HINT_LAYERS)
        found.append(torch.cat([features[layer].float().mean(dim=(2, 3)) for layer in HINT_LAYERS], dim=1))
    means = torch.cat(found)
    return (means - means.mean(0)) / (means.std(0) + losses.EPSILON)


def _kept(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """What `make` gives, from the file where it was written before: hints take minutes on a CPU."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"hints": make().half()}, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)
    return load_file(path)["hints"].float()


# A run --------------------------------------------------------------------------------------------------------------


class Run:
    """A training run of `SmallNet`: network, averaged copy, optimiser and clock. `targets` are hints, or none."""

    def __init__(
        self, config: ClassifyConfig, training: Labelled, classes: int, targets: Tensor | None = None,
        width: float = 1.0,
    ):  # fmt: skip
        self.config, self.training, self.targets, self.width = config, training, targets, width
        torch.manual_seed(config.seed)
        self.network = SmallNet(width, classes=classes)
        initialise(self.network)
        hinted = 0 if targets is None else targets.shape[1]
        self.hint = nn.Linear(self.network.head.in_features, hinted)
        device = training.pixels.device
        self.model = nn.ModuleDict({"network": self.network, "hint": self.hint}).to(
            device, memory_format=torch.channels_last
        )
        self.model.train().requires_grad_(True)
        self.average = {key: value.detach().clone() for key, value in self._tracked().items()}
        weights = [value for value in self.model.parameters() if value.ndim > 1]
        rest = [value for value in self.model.parameters() if value.ndim == 1]  # norms and biases do not shrink
        self.optimiser = torch.optim.SGD(
            [{"params": weights, "weight_decay": config.decay}, {"params": rest, "weight_decay": 0.0}],
            lr=config.rate, momentum=0.9, nesterov=True,
        )  # fmt: skip
        self.step, self.seconds = 0, 0.0

    def _tracked(self) -> dict[str, Tensor]:
        """Parameters and running statistics by name: what is averaged and kept."""
        return {key: value for key, value in self.model.state_dict().items() if value.is_floating_point()}

    def done(self) -> float:
        return min(1.0, self.seconds / (60 * self.config.minutes))

    def side(self) -> int:
        """Of the crops at this point: from first to last in multiples of 8, the last for the last third."""
        config, share = self.config, min(1.0, 1.5 * self.done())
        return round((config.first_side + share * (config.last_side - config.first_side)) / 8) * 8

    def rate(self) -> float:
        done, warmup = self.done(), self.config.warmup
        rise = min(1.0, (done + 1e-3) / max(warmup, 1e-3))
        return self.config.rate * rise * 0.5 * (1 + math.cos(math.pi * done))

    def advance(self) -> dict[str, Tensor]:
        """One step; its losses, and the share that was told right."""
        config, device = self.config, self.training.pixels.device
        generator = data.generator_for(device, config.seed, self.step)
        rows = data.random_rows(len(self.training.labels), config.batch, generator)
        pictures = augment(self.training.pixels[rows], self.side(), config, generator)
        labels = self.training.labels[rows]
        with torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bf16(device)):
            pooled = self.network.pooled(pictures.contiguous(memory_format=torch.channels_last))
            logits = self.network.head(pooled).float()
            found = {"label": F.cross_entropy(logits, labels, label_smoothing=config.smoothing)}
            if self.targets is not None:
                found["hint"] = F.mse_loss(self.hint(pooled).float(), self.targets[rows])
        total = found["label"] + config.hint_weight * found.get("hint", 0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        decay = min(config.average, self.step / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), [v.detach() for v in self._tracked().values()], 1 - decay)
        right = (logits.argmax(1) == labels).float().mean()
        return {name: value.detach() for name, value in {**found, "right": right, "total": total}.items()}

    def averaged(self) -> SmallNet:
        """The averaged weights as a network of their own."""
        network = SmallNet(self.width, classes=self.network.head.out_features)
        state = {key.removeprefix("network."): value for key, value in self.average.items() if key.startswith("netw")}
        network.load_state_dict(state, strict=False)  # but for batch norm's counters
        return network.to(self.training.pixels.device)

    # One file of safetensors, replaced whole

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        names = {value: key for key, value in self.model.named_parameters()}
        momenta = {names[value]: state["momentum_buffer"] for value, state in self.optimiser.state.items()}
        parts = {"now": self._tracked(), "average": self.average, "momentum": momenta}
        tensors = {f"{part}/{key}": value.contiguous() for part, some in parts.items() for key, value in some.items()}
        state = {"step": self.step, "seconds": self.seconds, "config": asdict(self.config)}
        save_file(tensors, folder / (CHECKPOINT + ".new"), {"state": json.dumps(state)})
        os.replace(folder / (CHECKPOINT + ".new"), folder / CHECKPOINT)

    def load(self, folder: Path) -> None:
        """Go on where a checkpoint ends; WeightsError where it is another network's or does not read."""
        try:
            with safe_open(folder / CHECKPOINT, "pt") as file:
                state = json.loads(file.metadata()["state"])
            parts: dict[str, dict[str, Tensor]] = {"now": {}, "average": {}, "momentum": {}}
            for key, value in load_file(folder / CHECKPOINT, self.training.pixels.device.type).items():
                part, name = key.split("/")
                parts[part][name] = value
            self.model.load_state_dict(parts["now"], strict=False)
            for name, value in self.average.items():
                value.copy_(parts["average"][name])
            for name, value in self.model.named_parameters():
                if name in parts["momentum"]:
                    self.optimiser.state[value] = {
                        "momentum_buffer": torch.empty_like(value).copy_(parts["momentum"][name])
                    }
            self.step, self.seconds = state["step"], state["seconds"]
        except Exception as cause:
            raise WeightsError(f"{folder / CHECKPOINT} is no checkpoint of this run: {cause}") from cause


def initialise(network: nn.Module) -> None:
    """He et al. 2015; the last norm of each residual begins at 0, so that blocks begin as identities."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for name, parameter in network.named_parameters():
        if name.endswith("residual.2.1.weight"):
            nn.init.zeros_(parameter)


def train(run, report_every: int = 20, until: float = math.inf) -> Iterator[Progress]:
    """Train to the end of the schedule, or until `time.monotonic()` passes `until`, yielding every few steps.

    `run` is ours or `narrow`'s: its schedule is by the clock, and `total` among its losses. NotFinite when it is not
    finite: nothing is yielded after the last good report.
    """
    last, started, sums, count = time.monotonic(), time.monotonic(), {}, 0
    while run.done() < 1:
        for name, value in run.advance().items():
            sums[name] = sums.get(name, 0) + value
        count, now = count + 1, time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        if run.step % report_every and run.done() < 1 and now < until:
            continue
        means = {name: float(value) / count for name, value in sums.items()}
        if not math.isfinite(means["total"]):
            raise NotFinite(f"the loss is {means['total']} at step {run.step}: stopped; go on with a lower rate")
        yield Progress(run.step, run.seconds, run.done(), count * run.config.batch / (now - started), means)
        if now >= until:
            return
        started, sums, count = now, {}, 0


@torch.no_grad()
def top1(network: SmallNet, some: Labelled, batch: int = 250) -> float:
    """Share of the pictures whose class comes first, each seen whole and once, ENLARGED."""
    device = some.pixels.device
    side, right = round(ENLARGED * some.pixels.shape[-1]), 0
    with torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bf16(device)):
        for pixels, labels in zip(some.pixels.split(batch), some.labels.split(batch), strict=True):
            pictures = data.resize(pixels / 255, side).contiguous(memory_format=torch.channels_last)
            right += int((network.classify(pictures).argmax(1) == labels).sum())
    return right / len(some.labels)


def export(network: SmallNet, path: Path, metadata: Mapping[str, str]) -> None:
    """The network's weights in half precision, as `models/` has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.half().cpu().contiguous() for key, value in network.state_dict().items()
             if value.is_floating_point()}  # fmt: skip
    # save_file would make it readable by its owner alone
    path.write_bytes(save(state, {"network": "small", **metadata}))


# The command --------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="Tiny ImageNet, its folder or a tar of it")
    parser.add_argument("--run", type=Path, required=True, help="its folder: checkpoint, hints, weights")
    parser.add_argument("--call-minutes", type=float, default=math.inf, help="of training; stop this call, not the run")
    parser.add_argument("--save-minutes", type=float, default=2.0, help="between checkpoints")
    parser.add_argument("--judge-minutes", type=float, default=10.0, help="between looks at the validation pictures")
    group = parser.add_argument_group("settings")
    for each in fields(ClassifyConfig):
        group.add_argument("--" + each.name.replace("_", "-"), type=each.type, default=each.default,
                           help=each.metadata["help"])  # fmt: skip


def run_classify(options: argparse.Namespace, device: torch.device, teacher: VGG16 | None) -> int:
    """Train, print top-1 on the validation pictures, write the weights."""
    training, validation, names = (
        part.to(device) if isinstance(part, Labelled) else part for part in read_tiny_imagenet(options.data)
    )
    config = ClassifyConfig(**{each.name: getattr(options, each.name) for each in fields(ClassifyConfig)})
    targets = None
    if teacher is not None and config.hint_weight:
        network = in_precision(teacher.to(device), "auto")
        targets = _kept(options.run / HINTS, lambda: hints(training.pixels, network)).to(device)
    run = Run(config, training, len(names), targets)
    if (options.run / CHECKPOINT).exists():
        run.load(options.run)
    print(f"{len(training.labels)} pictures of {len(names)} classes, {len(validation.labels)} to judge by; "
          f"{sum(value.numel() for value in run.network.parameters()):,} numbers on {device}, from step {run.step}",
          flush=True)  # fmt: skip
    saved = judged = time.monotonic()
    until = saved + 60 * options.call_minutes
    with tqdm(total=100, initial=round(100 * run.done(), 2), bar_format="{l_bar}{bar}| {postfix}") as bar:
        for now in train(run, until=until):
            words = " ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
            epoch = now.step * config.batch / len(training.labels)
            bar.set_postfix_str(f"epoch {epoch:.1f} {run.side()} px {now.samples_per_second:.0f}/s {words}")
            bar.update(100 * now.done - bar.n)
            if time.monotonic() > saved + 60 * options.save_minutes:
                run.save(options.run)
                saved = time.monotonic()
            if time.monotonic() > judged + 60 * options.judge_minutes:
                bar.write(f"epoch {epoch:.1f}: top-1 {top1(run.averaged(), validation):.2%}")
                judged = time.monotonic()
    run.save(options.run)
    network = run.averaged()
    score = top1(network, validation)
    file = options.run / FILE
    export(network, file, {"classes": " ".join(names), "top1": f"{score:.4f}", "pictures": str(len(training.labels))})
    end = "finished" if run.done() >= 1 else "stopped for now; the same command goes on"
    print(f"{end} at step {run.step} after {run.seconds / 60:.1f} minutes: top-1 {score:.2%} of "
          f"{len(validation.labels)} validation pictures, {file}")  # fmt: skip
    return 0
