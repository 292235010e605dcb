"""Train our own small network to classify Tiny ImageNet's 200 classes, or resume the run in a folder.

It is a loss network that needs no download. Pictures are one uint8 tensor, augmented a batch at a time. Crops grow
through the run, since small ones teach most of it at a fraction of the cost. The schedule is by the clock. A batch is
drawn from (seed, step).
"""

import argparse
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from stylizer import images, losses
from stylizer.errors import ParameterError, WeightsError
from stylizer.loss_networks import computes_in_bf16, in_precision
from stylizer.networks.backbones import VGG16, SmallNet
from stylizer.options import add_options, chosen, option
from stylizer.settings import Settings
from stylizer.training import checkpoints, data
from stylizer.training.arguments import add_device, add_run, add_vgg, device_of, vgg16_of
from stylizer.training.loop import Bar, Timer, summary, train

FILE = "classifier-small.safetensors"
HINTS = "hints.safetensors"
HINT_LAYERS = ("relu4_3", "relu5_3")  # what a picture shows, rather than where and how it is drawn
ENLARGED = 1.25  # factor for whole pictures when judging, since crops show things larger: Touvron et al. 2019


@dataclass(frozen=True)
class ClassifyConfig:
    minutes: float = option(60.0, "length of the schedule in minutes of training, all calls together")
    batch: int = option(128, "pictures per step")
    rate: float = option(0.15, "peak of SGD's learning rate: a linear rise, then a cosine to zero")
    warmup: float = option(0.03, "share of the run with a rising rate")
    decay: float = option(5e-4, "weight decay, of convolutions and the head")
    smoothing: float = option(0.1, "label smoothing")
    average: float = option(0.998, "decay of the averaged weights, the ones that ship")
    first_side: int = option(32, "side of crops at the start, in pixels")
    last_side: int = option(56, "and at the end; smaller than pictures when judging, since crops show things larger")
    smallest_crop: float = option(0.35, "smallest share of the picture's area in a crop; the largest is all of it")
    jitter: float = option(0.08, "largest change of hue, contrast and brightness")
    erase: float = option(0.25, "share of pictures with a grey square over a quarter of them")
    hint_weight: float = option(10.0, "of the hints, if VGG-16 is given: the error in predicting its features")
    seed: int = option(0, "of all random draws")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    add_vgg(parser, "VGG-16's features as safetensors with torchvision's keys; gives hints beside the labels")
    parser.add_argument("--data", type=Path, required=True, help="Tiny ImageNet, its folder or a tar of it")
    add_run(parser, "checkpoint, hints, weights", save_minutes=2.0)
    parser.add_argument(
        "--judge-minutes",
        type=float,
        default=10.0,
        metavar="MINUTES",
        help="between measurements on the validation pictures; 10 by default",
    )
    add_options(parser.add_argument_group("settings"), ClassifyConfig)


def run(arguments: argparse.Namespace) -> None:
    device, teacher = device_of(arguments), vgg16_of(arguments)
    training, validation, names = read_tiny_imagenet(arguments.data)
    training, validation = training.to(device), validation.to(device)
    config, targets = chosen(ClassifyConfig, arguments), None
    if teacher is not None and config.hint_weight:
        network = in_precision(teacher.to(device), "auto")
        targets = _kept(arguments.run / HINTS, lambda: hints(training.pixels, network)).to(device)
    taught = Run(config, training, len(names), targets)
    if (arguments.run / checkpoints.FILE).exists():
        taught.load(arguments.run)
    print(
        f"{len(training.labels)} pictures of {len(names)} classes, {len(validation.labels)} to judge by; "
        f"{sum(value.numel() for value in taught.network.parameters()):,} numbers on {device}, "
        f"from step {taught.step}",
        flush=True,
    )
    save, judge = Timer(arguments.save_minutes), Timer(arguments.judge_minutes)
    with Bar(taught) as bar:
        for now in train(taught, report_every=20, until=arguments.began + 60 * arguments.call_minutes):
            epoch = now.step * config.batch / len(training.labels)
            known = " ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
            bar.show(now, f"epoch {epoch:.1f} {taught.side()} px {now.samples_per_second:.0f} pictures/s {known}")
            if save.due():
                taught.save(arguments.run)
            if judge.due():
                bar.write(f"epoch {epoch:.1f}: top-1 {top1(taught.averaged(), validation):.2%}")
    taught.save(arguments.run)
    network, file = taught.averaged(), arguments.run / FILE
    score = top1(network, validation)
    checkpoints.write_weights(
        file,
        "small",
        network,
        {"classes": " ".join(names), "top1": f"{score:.4f}", "pictures": str(len(training.labels))},
    )
    print(f"{summary(taught)}: top-1 {score:.2%} of {len(validation.labels)} validation pictures, {file}")


# Pictures -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Labelled:
    pixels: Tensor  # (N, 3, side, side) uint8
    labels: Tensor  # (N,) int64

    def to(self, device: torch.device) -> "Labelled":
        return Labelled(self.pixels.to(device), self.labels.to(device))


def read_tiny_imagenet(source: Path, side: int = 64) -> tuple[Labelled, Labelled, list[str]]:
    """(training, validation, class names) of Tiny ImageNet or a part of it, a folder or a tar, compressed or not.

    Laid out as published: train/CLASS/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt. ParameterError
    where it is laid out otherwise.
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
            "data",
            f"{source} holds {len(training)} training and {len(known)} labelled validation pictures; name "
            "Tiny ImageNet's folder or tar, with train/CLASS/images and val/val_annotations.txt",
        )
    return _decode(training, names, side), _decode(known, names, side), names


def _decode(some: list[tuple[str, bytes]], names: list[str], side: int) -> Labelled:
    settings, number = Settings(min_side=8), {name: index for index, name in enumerate(names)}
    pixels = np.empty((len(some), side, side, 3), np.uint8)

    def read(index: int) -> None:
        pixels[index] = data.square(images.decode(some[index][1], settings), side)

    with ThreadPoolExecutor() as pool:
        list(tqdm(pool.map(read, range(len(some))), desc="reading", total=len(some), unit=" files", leave=False))
    return Labelled(
        torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.tensor([number[label] for label, _ in some])
    )


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
    """(N, 1024): channel means of VGG-16's deep layers over each picture, normalised to mean 0 and deviation 1.

    Predicting them beside the label teaches a small network, and one with few pictures, much more about each picture.
    They are the hints of Romero et al. 2015, but of pooled features.
    """
    found = []
    for some in tqdm(pixels.split(batch), desc="hints", unit=" batches", leave=False):
        features = teacher((some / 255).contiguous(memory_format=torch.channels_last), HINT_LAYERS)
        found.append(torch.cat([features[layer].float().mean(dim=(2, 3)) for layer in HINT_LAYERS], dim=1))
    means = torch.cat(found)
    return (means - means.mean(0)) / (means.std(0) + losses.EPSILON)


def _kept(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """What `make` returns, or the file that it was written to before: hints take minutes on a CPU."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"hints": make().half()}, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)
    return load_file(path)["hints"].float()


# A run ----------------------------------------------------------------------------------------------------------------


class Run:
    """A `SmallNet` in training; `targets` (N, H) are the hints of the training pictures, if there are any."""

    def __init__(
        self,
        config: ClassifyConfig,
        training: Labelled,
        classes: int,
        targets: Tensor | None = None,
        width: float = 1.0,
    ):
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
            lr=config.rate,
            momentum=0.9,
            nesterov=True,
        )
        self.step, self.seconds = 0, 0.0

    def _tracked(self) -> dict[str, Tensor]:
        """Parameters and running statistics by name: what is averaged and saved."""
        return {key: value for key, value in self.model.state_dict().items() if value.is_floating_point()}

    def done(self) -> float:
        """Share of the schedule, 0 to 1."""
        return min(1.0, self.seconds / (60 * self.config.minutes))

    def side(self) -> int:
        """Of crops at this point, in multiples of 8: rising from first to last, which the last third keeps."""
        config, share = self.config, min(1.0, 1.5 * self.done())
        return round((config.first_side + share * (config.last_side - config.first_side)) / 8) * 8

    def batch_size(self) -> int:
        return self.config.batch

    def rate(self) -> float:
        """SGD's learning rate at this point."""
        done, warmup = self.done(), self.config.warmup
        rise = min(1.0, (done + 1e-3) / max(warmup, 1e-3))
        return self.config.rate * rise * 0.5 * (1 + math.cos(math.pi * done))

    def advance(self) -> dict[str, Tensor]:
        """One step; its losses, and the share that was classified correctly."""
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
        correct = (logits.argmax(1) == labels).float().mean()
        return {name: value.detach() for name, value in {**found, "correct": correct, "total": total}.items()}

    def averaged(self) -> SmallNet:
        """The averaged weights as a network of their own."""
        network = SmallNet(self.width, classes=self.network.head.out_features)
        prefix = "network."
        state = {key.removeprefix(prefix): value for key, value in self.average.items() if key.startswith(prefix)}
        network.load_state_dict(state, strict=False)  # batch norm's counters are missing
        return network.to(self.training.pixels.device)

    def save(self, folder: Path) -> None:
        """Replace the checkpoint in this folder."""
        state = {"step": self.step, "seconds": self.seconds, "config": asdict(self.config)}
        momenta = checkpoints.moments(self.optimiser, dict(self.model.named_parameters()), "momentum_buffer")
        parts = {"now": self._tracked(), "average": self.average, "momentum": momenta}
        checkpoints.write_file(folder / checkpoints.FILE, state, parts)

    def load(self, folder: Path) -> None:
        """Resume from the checkpoint in this folder; WeightsError if it is another network's or cannot be read."""
        path = folder / checkpoints.FILE
        try:
            state, parts = checkpoints.read_file(path, self.training.pixels.device)
            self.model.load_state_dict(parts["now"], strict=False)
            for name, value in self.average.items():
                value.copy_(parts["average"][name])
            momenta = parts.get("momentum", {})
            for name, value in self.model.named_parameters():
                if name in momenta:
                    self.optimiser.state[value] = {"momentum_buffer": torch.empty_like(value).copy_(momenta[name])}
            self.step, self.seconds = state["step"], state["seconds"]
        except Exception as cause:
            raise WeightsError(f"{path} is not a checkpoint of this run: {cause}") from cause


def initialise(network: nn.Module) -> None:
    """He et al. 2015; the last norm of each residual starts at 0, so that blocks start as identities."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for name, parameter in network.named_parameters():
        if name.endswith("residual.2.1.weight"):
            nn.init.zeros_(parameter)


@torch.no_grad()
def top1(network: SmallNet, some: Labelled, batch: int = 250) -> float:
    """Share of the pictures whose class comes first; each is shown once, whole and ENLARGED."""
    device = some.pixels.device
    side, right = round(ENLARGED * some.pixels.shape[-1]), 0
    with torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bf16(device)):
        for pixels, labels in zip(some.pixels.split(batch), some.labels.split(batch), strict=True):
            pictures = data.resize(pixels / 255, side).contiguous(memory_format=torch.channels_last)
            right += int((network.classify(pictures).argmax(1) == labels).sum())
    return right / len(some.labels)
