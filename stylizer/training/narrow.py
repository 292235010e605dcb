"""Teach our own narrow VGG to see what VGG-16 sees: `python -m stylizer.training narrow`.

Through one linear map a layer its features shall predict VGG-16's (Romero et al. 2015), on photos, on paintings, on
photos that a transformer painted, and on pictures that are being optimised through the narrow network itself: a loss
network is pushed to where it is wrong, so it has to learn there. VGG-16's forward pass is most of what a picture costs,
so its answers are kept for a while and each is learnt from several times.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn
from tqdm import tqdm

from stylizer import losses
from stylizer.errors import NotFinite, WeightsError
from stylizer.gatys import computes_in_bf16, in_precision
from stylizer.networks import Transformer
from stylizer.networks.backbones import VGG16, NarrowVGG
from stylizer.settings import Settings
from stylizer.styles import read_gallery
from stylizer.training import data
from stylizer.training.train import Progress, setting

CHECKPOINT = "checkpoint.safetensors"
FILE = "vgg-narrow.safetensors"
LAYERS = NarrowVGG.LAYERS
KINDS = ("photos", "paintings", "painted", "optimised")  # a new crop of each a step


@dataclass(frozen=True)
class NarrowConfig:
    minutes: float = setting(120.0, "length of the schedule in minutes of training, all calls together")
    side: int = setting(96, "of the crops in pixels")
    sources: tuple[int, ...] = setting((64, 96, 96, 128, 192, 256), "sides of what is cut out and resized to "
                                       "crops: sharp pictures, and smooth ones as large photos are")  # fmt: skip
    batch: int = setting(12, "crops a step, of those kept")
    kept: int = setting(400, "crops with VGG-16's answers, 2.3 MB each at 96 pixels; the oldest go")
    rate: float = setting(2e-3, "peak of Adam's rate: a linear rise, then a cosine to zero")
    warmup: int = setting(100, "steps with a rising rate")
    average: float = setting(0.998, "decay of the averaged weights, the ones that ship")
    walks: int = setting(16, "pictures that are being optimised, one of them a step")
    walk: int = setting(40, "steps of each at most, before another begins")
    stride: float = setting(0.02, "root mean square of what such a step changes")
    seed: int = setting(0, "of every draw")


class Walks:
    """Pictures on their way to a painting's Gram matrices through the narrow network as it stands: style, then content.

    Each goes a step at a time along its gradient, and begins anew as a photo after a random number of steps.
    """

    def __init__(self, config: NarrowConfig):
        self.config = config
        self.pictures: list[Tensor | None] = [None] * config.walks
        self.targets: list[tuple[Tensor, Tensor] | None] = [None] * config.walks  # photo, painting
        self.left = [0] * config.walks

    def step(self, network: NarrowVGG, index: int, photo: Tensor, painting: Tensor, length: int) -> Tensor:
        """The next picture (1, 3, S, S) of one walk; `photo`, `painting` and `length` are for one that begins."""
        if not self.left[index]:
            self.pictures[index], self.targets[index], self.left[index] = photo, (photo, painting), length
        self.left[index] -= 1
        photo, painting = self.targets[index]
        with torch.no_grad():
            grams = losses.gram_matrices(network(painting, losses.STYLE_LAYERS))
            content = network(photo, losses.CONTENT_LAYERS)
        picture = self.pictures[index].detach().requires_grad_()
        found = network(picture, losses.STYLE_LAYERS)
        distance = 10 * losses.style_distance(found, grams) + losses.content_distance(found, content)
        (gradient,) = torch.autograd.grad(distance.sum(), picture)
        size = gradient.square().mean().sqrt() + losses.EPSILON
        self.pictures[index] = (picture.detach() - self.config.stride * gradient / size).clamp(0, 1)
        return self.pictures[index]


class Kept:
    """The last crops, and what VGG-16 said of them in half precision."""

    def __init__(self, most: int):
        self.most, self.next = most, 0
        self.crops: list[Tensor] = []
        self.answers: list[dict[str, Tensor]] = []

    def add(self, crops: Tensor, answers: dict[str, Tensor]) -> None:
        for index, crop in enumerate(crops):
            answer = {layer: value[index].half() for layer, value in answers.items()}
            if len(self.crops) < self.most:
                self.crops.append(crop)
                self.answers.append(answer)
            else:
                self.crops[self.next], self.answers[self.next] = crop, answer
                self.next = (self.next + 1) % self.most

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        rows = data.random_rows(len(self.crops), count, generator).tolist()
        crops = torch.stack([self.crops[row] for row in rows])
        return crops, {layer: torch.stack([self.answers[row][layer] for row in rows]).float() for layer in LAYERS}


class Run:
    """One run: narrow network and maps, their average, Adam's moments and a clock. Pictures are (N, 3, S, S) uint8.

    A step's draws depend on (seed, step). The kept crops are not saved: a run that goes on fills them anew.
    """

    def __init__(self, config: NarrowConfig, photos: Tensor, paintings: Tensor, teacher: VGG16,
                 transformer: Transformer, vectors: Tensor):  # fmt: skip
        self.config, self.photos, self.paintings, self.vectors = config, photos, paintings, vectors
        self.device = photos.device
        self.fast = computes_in_bf16(self.device)
        self.teacher = in_precision(teacher.to(self.device), "auto")
        self.transformer = transformer.to(self.device)
        torch.manual_seed(config.seed)
        self.network = NarrowVGG()
        channels = {layer: self.network.roots[layer].in_channels for layer in LAYERS}
        wide = dict(zip(LAYERS, VGG16.CHANNELS, strict=True))
        maps = {layer: nn.Conv2d(channels[layer], wide[layer], 1, bias=False) for layer in LAYERS}
        self.model = nn.ModuleDict({"network": self.network, "maps": nn.ModuleDict(maps)})
        for module in self.network.features.values():
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.model.to(self.device, memory_format=torch.channels_last)
        self.learnt = {key: value for key, value in self.model.named_parameters() if ".roots." not in key}
        for value in self.learnt.values():
            value.requires_grad_()
        self.average = {key: value.detach().clone() for key, value in self.learnt.items()}
        self.adam = torch.optim.Adam(self.learnt.values(), lr=config.rate)
        self.kept, self.walks = Kept(config.kept), Walks(config)
        self.sizes: dict[str, Tensor] = {}  # root mean square of VGG-16's layers: the maps predict them over that
        self.step, self.seconds = 0, 0.0

    def done(self) -> float:
        return min(1.0, self.seconds / (60 * self.config.minutes))

    def rate(self) -> float:
        rise = min(1.0, (self.step + 1) / self.config.warmup)
        return self.config.rate * rise * 0.5 * (1 + math.cos(math.pi * self.done()))

    def new_crops(self, generator: torch.Generator) -> Tensor:
        """One of each of KINDS, (4, 3, side, side) in [0, 1]."""
        config = self.config

        def crop(pixels: Tensor) -> Tensor:
            chosen = pixels[data.random_rows(len(pixels), 1, generator)]
            source = config.sources[int(data.random_rows(len(config.sources), 1, generator))]
            return data.resize(data.random_crops(chosen, source, generator), config.side).clamp(0, 1)

        photo, painting, other = crop(self.photos), crop(self.paintings), crop(self.photos)
        pair = self.vectors[data.random_rows(len(self.vectors), 2, generator)]
        share, shown = torch.rand(2, generator=generator, device=self.device)
        with torch.no_grad():
            painted = self.transformer(other, torch.lerp(pair[:1], pair[1:], share))
        length = 1 + int(data.random_rows(config.walk, 1, generator))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
            optimised = self.walks.step(
                self.rooted(), self.step % config.walks, torch.lerp(other, painted, shown), painting, length
            )
        return torch.cat([photo, painting, torch.lerp(other, painted, shown.sqrt()), optimised])

    def rooted(self) -> NarrowVGG:
        """The network as it stands, with the roots of its maps as they stand: a walk wants them."""
        if self.step % 100 == 0:
            self.network.load_state_dict(roots(self.model["maps"].state_dict()), strict=False)
        return self.network

    def advance(self) -> dict[str, Tensor]:
        """One step; its relative squared error of each layer, and their mean as `loss`."""
        config, generator = self.config, data.generator_for(self.device, self.config.seed, self.step)
        while True:
            crops = self.new_crops(generator)
            with torch.no_grad():
                answers = self.teacher(crops.contiguous(memory_format=torch.channels_last), LAYERS)
            if not self.sizes:
                self.sizes = {layer: value.float().square().mean().sqrt() for layer, value in answers.items()}
            self.kept.add(crops, {layer: value / self.sizes[layer] for layer, value in answers.items()})
            if len(self.kept.crops) >= config.batch:
                break
        crops, wanted = self.kept.draw(config.batch, generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
            found = self.network.own_features(crops.contiguous(memory_format=torch.channels_last), LAYERS)
            predicted = {layer: self.model["maps"][layer](features) for layer, features in found.items()}
        errors = {layer: losses.relative_distance(predicted[layer], wanted[layer]).mean() for layer in LAYERS}
        total = torch.stack(list(errors.values())).mean()
        for group in self.adam.param_groups:
            group["lr"] = self.rate()
        self.adam.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.learnt.values(), 5.0)
        self.adam.step()
        self.step += 1
        decay = min(config.average, self.step / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), [v.detach() for v in self.learnt.values()], 1 - decay)
        return {name: value.detach() for name, value in {**errors, "loss": total}.items()}

    def averaged(self) -> NarrowVGG:
        """The averaged weights as a network of their own, its roots those of the averaged maps."""
        network = NarrowVGG()
        parts = {part: {key.removeprefix(part): value for key, value in self.average.items() if key.startswith(part)}
                 for part in ("network.", "maps.")}  # fmt: skip
        network.load_state_dict({**parts["network."], **roots(parts["maps."])})
        return network.to(self.device)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        names = {value: key for key, value in self.learnt.items()}
        tensors = {f"now/{key}": value for key, value in self.learnt.items()}
        tensors |= {f"average/{key}": value for key, value in self.average.items()}
        tensors |= {f"sizes/{key}": value for key, value in self.sizes.items()}
        for value, state in self.adam.state.items():
            tensors |= {f"{part}/{names[value]}": state[part] for part in ("exp_avg", "exp_avg_sq")}
        state = {"step": self.step, "seconds": self.seconds, "config": asdict(self.config)}
        tensors = {key: value.detach().contiguous() for key, value in tensors.items()}
        save_file(tensors, folder / (CHECKPOINT + ".new"), {"state": json.dumps(state)})
        os.replace(folder / (CHECKPOINT + ".new"), folder / CHECKPOINT)

    def load(self, folder: Path) -> None:
        """Go on where a checkpoint ends; WeightsError where it is another network's or does not read."""
        try:
            with safe_open(folder / CHECKPOINT, "pt") as file:
                state = json.loads(file.metadata()["state"])
            found = load_file(folder / CHECKPOINT, self.device.type)
            with torch.no_grad():
                for key, value in self.learnt.items():
                    value.copy_(found[f"now/{key}"])
                    self.average[key].copy_(found[f"average/{key}"])
                    moments = {part: torch.empty_like(value).copy_(found[f"{part}/{key}"])
                               for part in ("exp_avg", "exp_avg_sq")}  # fmt: skip
                    self.adam.state[value] = {"step": torch.tensor(float(state["step"])), **moments}
            self.sizes = {layer: found[f"sizes/{layer}"] for layer in LAYERS}
            self.step, self.seconds = state["step"], state["seconds"]
            self.network.load_state_dict(roots(self.model["maps"].state_dict()), strict=False)
        except Exception as cause:
            raise WeightsError(f"{folder / CHECKPOINT} is no checkpoint of this run: {cause}") from cause




def roots(maps: dict[str, Tensor]) -> dict[str, Tensor]:
    """{LAYER.weight: map A} -> {roots.LAYER.weight: the square root of A'A}, as `NarrowVGG` has them."""
    found = {}
    for key, weight in maps.items():
        matrix = weight.detach().flatten(1).double()
        values, vectors = torch.linalg.eigh(matrix.mT @ matrix)
        root = vectors * values.clamp(min=0).sqrt() @ vectors.mT
        found[f"roots.{key}"] = root.to(weight.dtype)[:, :, None, None]
    return found


def train(run: Run, report_every: int = 20, until: float = math.inf) -> Iterator[Progress]:
    """Train to the end of the schedule, or until `time.monotonic()` passes `until`, yielding every few steps.

    NotFinite when a loss is not: nothing is yielded after the last good report.
    """
    last = started = time.monotonic()
    sums, count = {}, 0
    while run.done() < 1:
        for name, value in run.advance().items():
            sums[name] = sums.get(name, 0) + value
        count, now = count + 1, time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        if run.step % report_every and run.done() < 1 and now < until:
            continue
        means = {name: float(value) / count for name, value in sums.items()}
        if not math.isfinite(means["loss"]):
            raise NotFinite(f"the loss is {means['loss']} at step {run.step}: stopped; go on with a lower rate")
        left = run.seconds * (1 / run.done() - 1) if run.done() else math.inf
        rate = count * run.config.batch / (now - started)
        yield Progress(run.step, run.seconds, run.done(), left, rate, run.rate() / run.config.rate, means)
        if now >= until:
            return
        started, sums, count = now, {}, 0


def export(network: NarrowVGG, path: Path, metadata: dict[str, str]) -> None:
    """The network's weights in half precision, as `models/` has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.half().cpu().contiguous() for key, value in network.state_dict().items()}
    path.write_bytes(save(state, {"network": "narrow", **metadata}))  # save_file's are readable by their owner alone


# The command --------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--content", type=Path, nargs="+", required=True, help="tars or folders of photos")
    parser.add_argument("--style", type=Path, nargs="+", required=True, help="tars or folders of paintings, textures")
    parser.add_argument("--run", type=Path, required=True, help="its folder: checkpoint, weights")
    parser.add_argument("--call-minutes", type=float, default=math.inf, help="of training; stop this call, not the run")
    parser.add_argument("--save-minutes", type=float, default=5.0, help="between checkpoints")
    group = parser.add_argument_group("settings")
    for each in fields(NarrowConfig):
        given = {"nargs": "+", "type": int} if isinstance(each.default, tuple) else {"type": each.type}
        group.add_argument("--" + each.name.replace("_", "-"), default=each.default, help=each.metadata["help"],
                           **given)  # fmt: skip


def run_narrow(options: argparse.Namespace, device: torch.device, teacher: VGG16 | None) -> int:
    """Train, and write the weights."""
    from stylizer.errors import ParameterError
    from stylizer.fit import load_transformer

    if teacher is None:
        raise ParameterError("vgg", "VGG-16 is the teacher: give --vgg")
    given = {each.name: getattr(options, each.name) for each in fields(NarrowConfig)}
    config = NarrowConfig(**{**given, "sources": tuple(given["sources"])})
    stored = max(config.sources)
    photos = data.load_pictures(options.content, stored, device, "photos")
    paintings = data.load_pictures(options.style, stored, device, "styles")
    settings = Settings.from_env()
    vectors = torch.stack([torch.from_numpy(style.vector) for style in read_gallery(settings.styles).values()])
    run = Run(config, photos.pixels, paintings.pixels, teacher, load_transformer(settings), vectors.to(device))
    if (options.run / CHECKPOINT).exists():
        run.load(options.run)
    print(f"photos: {photos}; styles: {paintings}; {sum(value.numel() for value in run.network.parameters()):,} "
          f"numbers on {device}, from step {run.step}", flush=True)  # fmt: skip
    saved = time.monotonic()
    until = saved + 60 * options.call_minutes
    with tqdm(total=100, initial=round(100 * run.done(), 2), bar_format="{l_bar}{bar}| {postfix}") as bar:
        for now in train(run, until=until):
            words = " ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
            bar.set_postfix_str(f"step {now.step} {now.samples_per_second:.1f}/s {words}")
            bar.update(100 * now.done - bar.n)
            if time.monotonic() > saved + 60 * options.save_minutes:
                run.save(options.run)
                saved = time.monotonic()
    run.save(options.run)
    file = options.run / FILE
    export(run.averaged(), file, {"steps": str(run.step)})
    end = "finished" if run.done() >= 1 else "stopped for now; the same command goes on"
    print(f"{end} at step {run.step} after {run.seconds / 60:.1f} minutes: {file}")
    return 0
