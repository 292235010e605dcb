"""Teach our narrow VGG to see what VGG-16 sees, or resume the run in a folder.

Its features should be VGG-16's (Romero et al. 2015), and so should their Gram matrices: for photos, for paintings, and
for what is made through the narrow network itself, which are photos painted by studies in progress, and pictures being
optimised. Whatever is made through a loss network is driven to where the network is wrong, so it has to learn there.

It starts by least squares (`stylizer.training.least_squares`). For the first two blocks that is enough, and they stay
as they are. The others are trained on by Adam, from what the second block gives. VGG-16's forward pass is most of the
cost of a crop, so its features are kept for a while, and each is used several times.
"""

import argparse
import copy
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from stylizer import images, losses
from stylizer.errors import WeightsError
from stylizer.fit import CLIP, Learnt, Objectives, StudyConfig, View, load_transformer
from stylizer.images import Picture
from stylizer.loss_networks import computes_in_bf16
from stylizer.networks import Transformer
from stylizer.networks.backbones import VGG16, NarrowVGG
from stylizer.options import add_options, chosen, option
from stylizer.settings import Settings
from stylizer.styles import read_gallery
from stylizer.training import checkpoints, data
from stylizer.training.arguments import add_device, add_pictures, add_run, add_vgg, device_of, required_vgg16
from stylizer.training.least_squares import least_squares
from stylizer.training.loop import Bar, Report, Timer, summary, train

FILE = "vgg-narrow.safetensors"
LAYERS = NarrowVGG.LAYERS
LEARNT = LAYERS[2:]  # the layers of the blocks that are trained on
EARLY = sum(NarrowVGG.DEPTHS[:2]) + 2  # steps: the blocks that stay as they start, and their pools
SNAPSHOT_EVERY = 50  # steps between copies of the network, through which pictures are made


@dataclass(frozen=True)
class NarrowConfig:
    minutes: float = option(
        120.0,
        "length of the schedule in minutes of training, all calls together; 0: least squares alone, as what ships",
    )
    side: int = option(96, "of the crops in pixels")
    sources: tuple[int, ...] = option(
        (64, 96, 96, 128, 192, 256),
        "sides of the squares that are resized to crops: sharp pictures, and smooth ones as large photos are",
    )
    first: int = option(480, "crops that the least squares are fitted to")
    batch: int = option(12, "crops per step, of those kept")
    kept: int = option(2000, "crops whose features are kept, 0.6 MB each at 96 pixels; the oldest go first")
    gram_weight: float = option(1.0, "of the relative error of Gram matrices, beside that of features")
    rate: float = option(1.5e-4, "peak of Adam's learning rate: a linear rise, then a cosine to zero")
    warmup: int = option(100, "steps of rising rate")
    average: float = option(0.998, "decay of the averaged weights, the ones that ship")
    fittings: int = option(6, "studies in progress; every third step continues one of them")
    fitting: int = option(200, "most steps of each, before another begins")
    walks: int = option(16, "pictures being optimised; the other steps continue one of them")
    walk: int = option(100, "most steps of each, before another begins")
    stride: float = option(0.02, "Adam's learning rate for these pictures, in units of a picture's range")
    seed: int = option(0, "of all random draws")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    add_vgg(parser, "VGG-16's features as safetensors with torchvision's keys, the teacher; required")
    add_pictures(parser)
    add_run(parser, "checkpoint, weights", save_minutes=5.0)
    add_options(parser.add_argument_group("settings"), NarrowConfig)


def run(arguments: argparse.Namespace) -> None:
    device = device_of(arguments)
    teacher = required_vgg16(arguments, "teaching")
    config = chosen(NarrowConfig, arguments)
    photos = data.load_pictures(arguments.content, max(config.sources), device, "photos")
    paintings = data.load_pictures(arguments.style, max(config.sources), device, "styles")
    settings = Settings.from_env()
    vectors = torch.stack([torch.from_numpy(style.vector) for style in read_gallery(settings.styles).values()])
    taught = Run(config, photos.pixels, paintings.pixels, teacher, load_transformer(settings), vectors.to(device))
    print(
        f"photos: {photos}; styles: {paintings}; {sum(value.numel() for value in NarrowVGG().parameters()):,} "
        f"numbers on {device}",
        flush=True,
    )
    if (arguments.run / checkpoints.FILE).exists():
        taught.load(arguments.run)
        print(f"from step {taught.step}", flush=True)
    else:
        taught.start(lambda layer: print(f"least squares: {layer}", flush=True))
        taught.save(arguments.run)
    save, until = Timer(arguments.save_minutes), arguments.began + 60 * arguments.call_minutes
    with Bar(taught) as bar:
        for now in train(taught, until=until):
            bar.show(now, in_figures(now))
            if save.due():
                taught.save(arguments.run)
    taught.save(arguments.run)
    file = arguments.run / FILE
    checkpoints.write_weights(file, "narrow", taught.averaged(), {"steps": str(taught.step)})
    print(f"{summary(taught)}: {file}")


def in_figures(now: Report) -> str:
    known = " ".join(f"{name} {value:.3f}" for name, value in now.losses.items())
    return f"step {now.step} {now.samples_per_second:.1f} crops/s {known}"


# Training -------------------------------------------------------------------------------------------------------------


class Walk:
    """A picture being optimised, from a photo towards a painting's Gram matrices, through a narrow network."""

    def __init__(self, photo: Tensor, painting: Tensor, length: int, stride: float):
        self.photo, self.painting, self.left = photo, painting, length
        self.picture = photo.clone().requires_grad_()
        self.adam = torch.optim.Adam([self.picture], lr=stride)

    def step(self, network: NarrowVGG) -> Tensor:
        """The next picture, (1, 3, S, S)."""
        self.left -= 1
        with torch.no_grad():
            grams = losses.gram_matrices(network(self.painting, losses.STYLE_LAYERS))
            content = network(self.photo, losses.CONTENT_LAYERS)
        found = network(self.picture, losses.STYLE_LAYERS)
        distance = 10 * losses.style_distance(found, grams) + losses.content_distance(found, content)
        self.adam.zero_grad()
        distance.sum().backward()
        self.adam.step()
        with torch.no_grad():
            self.picture.clamp_(0, 1)
        return self.picture.detach().clone()


class Fitting:
    """A study of a painting in progress, through a narrow network, as `stylizer.fit` makes them."""

    def __init__(self, transformer: Transformer, vector: Tensor, painting: Tensor, length: int, seed: int):
        config = StudyConfig(seed=seed, size=painting.shape[3], painting_size=painting.shape[3])
        self.config, self.left = config, length
        self.painting = Picture(images.from_tensor(painting.cpu().numpy()))
        self.learnt = Learnt(transformer, vector.cpu().numpy(), config, None)
        self.adam = torch.optim.Adam(self.learnt.groups(config))

    def step(self, network: NarrowVGG, photo: Tensor) -> Tensor:
        """A photo (1, 3, S, S) painted by the study so far, which is then improved by one step."""
        self.left -= 1
        view = View(photo, photo, photo.shape[3])
        painted = self.learnt.paint(view)
        terms = Objectives(network, self.painting, [view], self.config)(painted, 0)
        self.adam.zero_grad()
        terms["total"].backward()
        nn.utils.clip_grad_norm_(self.learnt.leaves(), CLIP)
        self.adam.step()
        return painted.detach().clamp(0, 1)


class Kept:
    """Features of the last crops, the second block's as "given" and VGG-16's by layer, in half precision."""

    def __init__(self, most: int):
        self.crops: deque[dict[str, Tensor]] = deque(maxlen=most)

    def add(self, features: Mapping[str, Tensor]) -> None:
        """{name: (N, C, H, W)} of N crops."""
        parts = {name: value.half().unbind() for name, value in features.items()}
        self.crops.extend(dict(zip(parts, each, strict=True)) for each in zip(*parts.values(), strict=True))

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """{name: (count, C, H, W)} in float32, of crops drawn at random."""
        some = [self.crops[row] for row in data.random_rows(len(self.crops), count, generator).tolist()]
        return {
            name: torch.stack([each[name] for each in some]).float().contiguous(memory_format=torch.channels_last)
            for name in some[0]
        }


class Run:
    """The narrow network in training, on photos and paintings, each (N, 3, S, S) uint8, and style vectors (N, 100).

    It begins with `start` or `load`. What a step draws depends on (seed, step). The kept crops are not saved: a resumed
    run collects new ones.
    """

    def __init__(
        self,
        config: NarrowConfig,
        photos: Tensor,
        paintings: Tensor,
        teacher: VGG16,
        transformer: Transformer,
        vectors: Tensor,
    ):
        self.config, self.photos, self.paintings, self.vectors = config, photos, paintings, vectors
        self.device = photos.device
        self.fast = computes_in_bf16(self.device)
        self.teacher = teacher.to(self.device, memory_format=torch.channels_last)
        self.transformer = transformer.to(self.device)
        self.network = NarrowVGG().to(self.device, memory_format=torch.channels_last)
        late = tuple(f"features.{name}." for _, name in self.network.steps[EARLY:])
        self.trained = {
            key: value.requires_grad_() for key, value in self.network.named_parameters() if key.startswith(late)
        }
        self.average = {key: value.detach().clone() for key, value in self.trained.items()}
        self.adam = torch.optim.Adam(self.trained.values(), lr=config.rate)
        self.kept = Kept(config.kept)
        self.fittings: list[Fitting | None] = [None] * config.fittings
        self.walks: list[Walk | None] = [None] * config.walks
        self.snapshot: NarrowVGG | None = None  # what fittings and walks go through: the network of some steps ago
        self.sizes: dict[str, Tensor] = {}  # root mean squares of VGG-16's layers, by which its features are divided
        self.step, self.seconds = 0, 0.0

    def start(self, report: Callable[[str], None] = lambda layer: None) -> None:
        """Least squares on crops: a third photos, a third paintings, a third half-and-half mixtures of the two."""
        generator = data.generator_for(self.device, self.config.seed)
        crops = []
        for index in range(self.config.first):
            photo, painting = self._crop(self.photos, generator), self._crop(self.paintings, generator)
            crops.append((photo, painting, (photo + painting) / 2)[index % 3])
        network, self.sizes = least_squares(self.teacher, torch.cat(crops), self.config.seed, report)
        self.network.load_state_dict(network.state_dict())
        self.average = {key: value.detach().clone() for key, value in self.trained.items()}

    def done(self) -> float:
        """Share of the schedule, 0 to 1."""
        return min(1.0, self.seconds / (60 * self.config.minutes)) if self.config.minutes else 1.0

    def rate(self) -> float:
        """Adam's learning rate at this point."""
        rise = min(1.0, (self.step + 1) / self.config.warmup)
        return self.config.rate * rise * 0.5 * (1 + math.cos(math.pi * self.done()))

    def batch_size(self) -> int:
        return self.config.batch

    def _draw(self, most: int, generator: torch.Generator) -> int:
        return int(data.random_rows(most, 1, generator))

    def _crop(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """A crop of one of the pictures, (1, 3, side, side) in [0, 1]."""
        chosen = pixels[data.random_rows(len(pixels), 1, generator)]
        source = self.config.sources[self._draw(len(self.config.sources), generator)]
        return data.resize(data.random_crops(chosen, source, generator), self.config.side).clamp(0, 1)

    def new_crops(self, generator: torch.Generator) -> Tensor:
        """A photo, a painting, and a picture in progress: every third time a photo painted by a study, else a picture
        that is being optimised; (3, 3, side, side) in [0, 1]."""
        config = self.config
        if self.step % SNAPSHOT_EVERY == 0 or self.snapshot is None:
            self.snapshot = copy.deepcopy(self.network).requires_grad_(False)
        photo, painting = self._crop(self.photos, generator), self._crop(self.paintings, generator)
        turn, rest = divmod(self.step, 3)
        if not rest:
            index = turn % config.fittings
            if self.fittings[index] is None or not self.fittings[index].left:
                vector = self.vectors[self._draw(len(self.vectors), generator)]
                length = 1 + self._draw(config.fitting, generator)
                self.fittings[index] = Fitting(self.transformer, vector, painting, length, self.step)
            made = self.fittings[index].step(self.snapshot, self._crop(self.photos, generator))
        else:
            index = (2 * turn + rest - 1) % config.walks
            if self.walks[index] is None or not self.walks[index].left:
                length = 1 + self._draw(config.walk, generator)
                self.walks[index] = Walk(photo, painting, length, config.stride)
            made = self.walks[index].step(self.snapshot)
        return torch.cat([photo, painting, made])

    @torch.no_grad()
    def _keep(self, crops: Tensor) -> None:
        """Keep the features that the early blocks and VGG-16 give for crops."""
        crops = crops.contiguous(memory_format=torch.channels_last)
        with self._autocast():
            given, _ = run_steps(self.network, self.network.scaled(crops), 0, EARLY)
            features = self.teacher(crops, LEARNT)
        self.kept.add({"given": given, **{layer: value / self.sizes[layer] for layer, value in features.items()}})

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast)

    def advance(self) -> dict[str, Tensor]:
        """One step; the relative errors of each layer and of the Gram matrices, and "total", which is minimised."""
        config, generator = self.config, data.generator_for(self.device, self.config.seed, self.step)
        self._keep(self.new_crops(generator))
        while len(self.kept.crops) < config.batch:
            self._keep(self.new_crops(generator))
        wanted = self.kept.draw(config.batch, generator)
        with self._autocast():
            _, found = run_steps(self.network, wanted["given"], EARLY)
        found, wanted = ({layer: features[layer].float() for layer in LEARNT} for features in (found, wanted))
        errors = {layer: losses.relative_distance(found[layer], wanted[layer]).mean() for layer in LEARNT}
        grams = losses.style_distance(found, losses.gram_matrices(wanted, LEARNT), LEARNT).mean()
        total = torch.stack(list(errors.values())).mean() + config.gram_weight * grams
        for group in self.adam.param_groups:
            group["lr"] = self.rate()
        self.adam.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.trained.values(), CLIP)
        self.adam.step()
        self.step += 1
        decay = min(config.average, self.step / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), [v.detach() for v in self.trained.values()], 1 - decay)
        return {name: value.detach() for name, value in {**errors, "gram": grams, "total": total}.items()}

    def averaged(self) -> NarrowVGG:
        """A network of its own with the averaged weights, as it ships."""
        network = copy.deepcopy(self.network).requires_grad_(False)
        network.load_state_dict(self.average, strict=False)
        return network

    def save(self, folder: Path) -> None:
        """Replace the checkpoint in this folder."""
        state = {"step": self.step, "seconds": self.seconds, "config": asdict(self.config)}
        checkpoints.write_file(
            folder / checkpoints.FILE,
            state,
            {
                "now": self.network.state_dict(),
                "average": self.average,
                "sizes": self.sizes,
                **{entry: checkpoints.moments(self.adam, self.trained, entry) for entry in ("exp_avg", "exp_avg_sq")},
            },
        )

    def load(self, folder: Path) -> None:
        """Resume from the checkpoint in this folder; WeightsError if it is another network's or cannot be read."""
        path = folder / checkpoints.FILE
        try:
            state, parts = checkpoints.read_file(path, self.device)
            self.network.load_state_dict(parts["now"])
            self.average = {key: parts["average"][key] for key in self.trained}
            if state["step"]:
                first, second = parts["exp_avg"], parts["exp_avg_sq"]
                checkpoints.restore_adam(self.adam, self.trained, state["step"], first, second)
            self.sizes = {layer: parts["sizes"][layer] for layer in LAYERS}
            self.step, self.seconds = state["step"], state["seconds"]
        except Exception as cause:
            raise WeightsError(f"{path} is not a checkpoint of this run: {cause}") from cause


def run_steps(
    network: NarrowVGG, features: Tensor, first: int, last: int | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """(features after steps `first` to `last` of the network, {layer: features} of the layers passed)."""
    found = {}
    for layer, name in network.steps[first:last]:
        features = network.step(name, features)
        found[layer] = features
    return features, found
