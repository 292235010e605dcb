"""Teach our own narrow VGG to see what VGG-16 sees: `python -m stylizer.training narrow`.

Its features shall be VGG-16's (Romero et al. 2015), and their Gram matrices VGG-16's: on photos, on paintings, and on
what is being made through the narrow network itself, photos painted by studies that are being fitted, and pictures that
are being optimised. Whatever is made through a loss network is pushed to where that is wrong, so it has to learn there.

It starts by least squares, layer by layer: in the first two blocks a layer learns to answer as those of VGG-16's
channels that say most of all (He, Zhang and Sun 2017 prune so), in the others as all of them, by matrices of low rank
(Zhang et al. 2016). With the first two blocks that is enough, and they stay so. The others learn on by Adam, from what
the second block gives. VGG-16's forward pass is most of what a picture costs, so its answers are kept for a while and
each is learnt from several times.
"""

import argparse
import copy
import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn
from tqdm import tqdm

from stylizer import images, losses
from stylizer.errors import ParameterError, WeightsError
from stylizer.fit import CLIP, Learnt, Objectives, StudyConfig, View, load_transformer
from stylizer.gatys import computes_in_bf16
from stylizer.images import Picture
from stylizer.networks import Transformer
from stylizer.networks.backbones import VGG16, NarrowVGG
from stylizer.settings import Settings
from stylizer.styles import read_gallery
from stylizer.training import data
from stylizer.training.classify import train
from stylizer.training.train import setting

CHECKPOINT = "checkpoint.safetensors"
FILE = "vgg-narrow.safetensors"
LAYERS = NarrowVGG.LAYERS
LEARNT = LAYERS[2:]  # the layers of the blocks that learn on
EARLY = sum(NarrowVGG.DEPTHS[:2]) + 2  # steps: the blocks that stay as they start, and their pools
LOOK_EVERY = 50  # steps after which fittings and walks go through the network as it is then
AT_ONCE = 16  # crops
PIXELS = 100_000  # of each layer that least squares see, of up to 4609 unknowns
RIDGE = 1e-5  # of the mean square, added to each: channels that are always zero have no answer else


@dataclass(frozen=True)
class NarrowConfig:
    minutes: float = setting(120.0, "length of the schedule in minutes of training, all calls "
                             "together; 0: least squares alone, as what ships")
    side: int = setting(96, "of the crops in pixels")
    sources: tuple[int, ...] = setting((64, 96, 96, 128, 192, 256), "sides of what is cut out and resized to "
                                       "crops: sharp pictures, and smooth ones as large photos are")  # fmt: skip
    first: int = setting(480, "crops that the least squares are fitted to")
    batch: int = setting(12, "crops a step, of those kept")
    kept: int = setting(2000, "crops with VGG-16's answers, 0.6 MB each at 96 pixels; the oldest go")
    gram_weight: float = setting(1.0, "of the relative error of Gram matrices, beside that of features")
    rate: float = setting(1.5e-4, "peak of Adam's rate: a linear rise, then a cosine to zero")
    warmup: int = setting(100, "steps with a rising rate")
    average: float = setting(0.998, "decay of the averaged weights, the ones that ship")
    fittings: int = setting(6, "studies that are being fitted; every third step goes on with one of them")
    fitting: int = setting(200, "steps of each at most, before another begins")
    walks: int = setting(16, "pictures that are being optimised; the other steps go on with one")
    walk: int = setting(100, "steps of each at most, before another begins")
    stride: float = setting(0.02, "Adam's rate of such a step, in units of a picture's range")
    seed: int = setting(0, "of every draw")


# The start: least squares -----------------------------------------------------------------------------------------


def telling(products: Tensor, count: int) -> list[int]:
    """The `count` channels whose values predict those of all best, greedily, of mean products (C, C)."""
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
    """Sums over pixels, of which (given, wanted) is predicted linearly."""

    def __init__(self):
        self.given, self.wanted = 0, 0

    def add(self, given: Tensor, wanted: Tensor) -> None:
        """(P, I) and (P, O), a row a pixel."""
        self.given = self.given + (given.mT @ given).double()
        self.wanted = self.wanted + (given.mT @ wanted).double()

    def solved(self) -> Tensor:
        """(I, O): given @ this comes closest to wanted."""
        ridge = RIDGE * self.given.diagonal().mean() * torch.eye(len(self.given), device=self.given.device).double()
        return torch.linalg.solve(self.given + ridge, self.wanted).float()


def rows(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N H W, C)."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)


@torch.no_grad()
def least_squares(
    teacher: VGG16, crops: Tensor, seed: int, report: Callable[[str], None] = lambda layer: None
) -> tuple[NarrowVGG, dict[str, Tensor]]:
    """(network, sizes) by what a teacher in float32 says of crops (N, 3, S, S) in [0, 1].

    Every layer's answers are scaled to a mean square of 1; sizes has the root mean square of VGG-16's layers. `report`
    is told of each layer when it is done.
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
        if layer in LAYERS:
            sizes[layer] = _size(wanted)
        report(layer)
    network.load_state_dict(roots(maps), strict=False)
    return network, sizes


def _size(features: Sequence[Tensor]) -> Tensor:
    return torch.stack([part.square().mean() for part in features]).mean().sqrt()


def _predicting(given: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """What makes wanted, over its size, of given: (wide, narrow, 1, 1)."""
    linear = LeastSquares()
    for before, after in zip(given, wanted, strict=True):
        linear.add(rows(before), rows(after))
    return (linear.solved().mT / _size(wanted))[:, :, None, None].contiguous()


def _learn_channels(
    conv: nn.Conv2d, given: Sequence[Tensor], wanted: Sequence[Tensor], generator: torch.Generator
) -> None:
    """conv, so that of features given it makes the most telling channels of wanted, which are before their ReLU."""
    products = sum((rows(part).relu().mT @ rows(part).relu()).double() for part in wanted)
    chosen = telling(products, conv.out_channels)
    solved = _windows(given, [part[:, chosen] for part in wanted], generator).solved()
    conv.weight.copy_(solved[:-1].mT.reshape(conv.weight.shape))
    conv.bias.copy_(solved[-1])
    size = sum(F.relu(conv(part)).square().mean((0, 2, 3)) for part in given).div(len(given)).sqrt().clamp_min(1e-3)
    conv.weight.div_(size[:, None, None, None])
    conv.bias.div_(size)


def _learn_all(
    pair: nn.Sequential, given: Sequence[Tensor], wanted: Sequence[Tensor], generator: torch.Generator
) -> None:
    """The 3x3 and the 1x1 convolution, so that of features given they make wanted, which is before its ReLU.

    Of the best matrix what is seen most of all in its answers, with the means kept; between the two, mean square 1.
    """
    low, high = pair
    linear = _windows(given, wanted, generator)
    solved = linear.solved().double()
    products = linear.given / linear.given[-1, -1]  # the last unknown is the 1 beside a window: so its row is the mean
    mean = products[-1] @ solved
    spread = solved.mT @ products @ solved - torch.outer(mean, mean)
    values, vectors = torch.linalg.eigh(spread)
    deviations, vectors = values[-low.out_channels :].clamp_min(1e-12).sqrt(), vectors[:, -low.out_channels :]
    size = _size([part.relu() for part in wanted])
    low.weight.copy_((solved[:-1] @ vectors / deviations).mT.reshape(low.weight.shape))
    high.weight.copy_((vectors * deviations)[:, :, None, None] / size)
    high.bias.copy_((mean - vectors @ (vectors.mT @ (mean - solved[-1]))) / size)


def _windows(given: Sequence[Tensor], wanted: Sequence[Tensor], generator: torch.Generator) -> LeastSquares:
    """Of windows of 3x3 and a 1, at PIXELS places, to what is wanted there."""
    linear, share = LeastSquares(), PIXELS // len(given)
    for before, after in zip(given, wanted, strict=True):
        pixels = rows(after)
        some = torch.randperm(len(pixels), generator=generator, device=pixels.device)[:share]
        windows = F.unfold(before, 3, padding=1).mT.flatten(0, 1)[some]
        linear.add(F.pad(windows, (0, 1), value=1.0), pixels[some])
    return linear


# Learning on --------------------------------------------------------------------------------------------------------


class Walk:
    """A picture on its way from a photo to a painting's Gram matrices, through the narrow network as it stands."""

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
    """A study on its way to a painting, through the narrow network as it stands: as `stylizer.fit` will make them."""

    def __init__(self, transformer: Transformer, vector: Tensor, painting: Tensor, length: int, seed: int):
        config = StudyConfig(seed=seed, size=painting.shape[3], painting_size=painting.shape[3])
        self.config, self.left = config, length
        self.painting = Picture(images.from_tensor(painting.cpu().numpy()))
        self.learnt = Learnt(transformer, vector.cpu().numpy(), config, None)
        self.adam = torch.optim.Adam(self.learnt.groups(config))

    def step(self, network: NarrowVGG, photo: Tensor) -> Tensor:
        """A photo (1, 3, S, S) painted by what is learnt so far."""
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
    """Of the last crops what the second block gives and what VGG-16 says, in half precision."""

    def __init__(self, most: int):
        self.answers: deque[dict[str, Tensor]] = deque(maxlen=most)

    def add(self, answers: Mapping[str, Tensor]) -> None:
        """{name: features (N, C, H, W)}."""
        parts = {name: value.half().unbind() for name, value in answers.items()}
        self.answers.extend(dict(zip(parts, each, strict=True)) for each in zip(*parts.values(), strict=True))

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        some = [self.answers[row] for row in data.random_rows(len(self.answers), count, generator).tolist()]
        return {name: torch.stack([each[name] for each in some]).float().contiguous(memory_format=torch.channels_last)
                for name in some[0]}  # fmt: skip


class Run:
    """One run: narrow network and maps, their average, Adam's moments and a clock. Pictures are (N, 3, S, S) uint8.

    It begins with `start` or `load`. A step's draws depend on (seed, step). The kept crops are not saved: a run that
    goes on fills them anew.
    """

    def __init__(self, config: NarrowConfig, photos: Tensor, paintings: Tensor, teacher: VGG16,
                 transformer: Transformer, vectors: Tensor):  # fmt: skip
        self.config, self.photos, self.paintings, self.vectors = config, photos, paintings, vectors
        self.device = photos.device
        self.fast = computes_in_bf16(self.device)
        self.teacher = teacher.to(self.device, memory_format=torch.channels_last)
        self.transformer = transformer.to(self.device)
        self.network = NarrowVGG().to(self.device, memory_format=torch.channels_last)
        late = tuple(f"features.{name}." for _, name in self.network.steps[EARLY:])
        self.learnt = {key: value.requires_grad_() for key, value in self.network.named_parameters()
                       if key.startswith(late)}  # fmt: skip
        self.average = {key: value.detach().clone() for key, value in self.learnt.items()}
        self.adam = torch.optim.Adam(self.learnt.values(), lr=config.rate)
        self.kept = Kept(config.kept)
        self.fittings: list[Fitting | None] = [None] * config.fittings
        self.walks: list[Walk | None] = [None] * config.walks
        self.looks: NarrowVGG | None = None  # what fittings and walks go through: the network of some steps ago
        self.sizes: dict[str, Tensor] = {}  # root mean square of VGG-16's layers: features are over that
        self.step, self.seconds = 0, 0.0

    def start(self, report: Callable[[str], None] = lambda layer: None) -> None:
        """Least squares on photos, paintings and, as if half painted, mixtures of both, a third each."""
        generator = data.generator_for(self.device, self.config.seed)
        crops = []
        for index in range(self.config.first):
            photo, painting = self._crop(self.photos, generator), self._crop(self.paintings, generator)
            crops.append((photo, painting, (photo + painting) / 2)[index % 3])
        network, self.sizes = least_squares(self.teacher, torch.cat(crops), self.config.seed, report)
        self.network.load_state_dict(network.state_dict())
        self.average = {key: value.detach().clone() for key, value in self.learnt.items()}

    def done(self) -> float:
        return min(1.0, self.seconds / (60 * self.config.minutes)) if self.config.minutes else 1.0

    def rate(self) -> float:
        rise = min(1.0, (self.step + 1) / self.config.warmup)
        return self.config.rate * rise * 0.5 * (1 + math.cos(math.pi * self.done()))

    def _draw(self, most: int, generator: torch.Generator) -> int:
        return int(data.random_rows(most, 1, generator))

    def _crop(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """One of a picture, (1, 3, side, side) in [0, 1]."""
        chosen = pixels[data.random_rows(len(pixels), 1, generator)]
        source = self.config.sources[self._draw(len(self.config.sources), generator)]
        return data.resize(data.random_crops(chosen, source, generator), self.config.side).clamp(0, 1)

    def new_crops(self, generator: torch.Generator) -> Tensor:
        """A photo, a painting, and one picture under way: a photo painted by a study, or, two times of three, one that
        is optimised itself; (3, 3, side, side) in [0, 1]."""
        config = self.config
        if self.step % LOOK_EVERY == 0 or self.looks is None:
            self.looks = copy.deepcopy(self.network).requires_grad_(False)
        photo, painting = self._crop(self.photos, generator), self._crop(self.paintings, generator)
        turn, rest = divmod(self.step, 3)
        if not rest:
            index = turn % config.fittings
            if self.fittings[index] is None or not self.fittings[index].left:
                vector = self.vectors[self._draw(len(self.vectors), generator)]
                length = 1 + self._draw(config.fitting, generator)
                self.fittings[index] = Fitting(self.transformer, vector, painting, length, self.step)
            made = self.fittings[index].step(self.looks, self._crop(self.photos, generator))
        else:
            index = (2 * turn + rest - 1) % config.walks
            if self.walks[index] is None or not self.walks[index].left:
                length = 1 + self._draw(config.walk, generator)
                self.walks[index] = Walk(photo, painting, length, config.stride)
            made = self.walks[index].step(self.looks)
        return torch.cat([photo, painting, made])

    @torch.no_grad()
    def _look_at(self, crops: Tensor) -> None:
        """Keep what the early blocks give of crops, and what VGG-16 says."""
        crops = crops.contiguous(memory_format=torch.channels_last)
        with self._quickly():
            given, _ = through(self.network, self.network.scaled(crops), 0, EARLY)
            answers = self.teacher(crops, LEARNT)
        self.kept.add({"given": given, **{layer: value / self.sizes[layer] for layer, value in answers.items()}})

    def _quickly(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast)

    def advance(self) -> dict[str, Tensor]:
        """One step; the relative errors of each layer and of the Gram matrices, and `total`, which is minimised."""
        config, generator = self.config, data.generator_for(self.device, self.config.seed, self.step)
        self._look_at(self.new_crops(generator))
        while len(self.kept.answers) < config.batch:
            self._look_at(self.new_crops(generator))
        wanted = self.kept.draw(config.batch, generator)
        with self._quickly():
            _, found = through(self.network, wanted["given"], EARLY)
        found, wanted = ({layer: features[layer].float() for layer in LEARNT} for features in (found, wanted))
        errors = {layer: losses.relative_distance(found[layer], wanted[layer]).mean() for layer in LEARNT}
        grams = losses.style_distance(found, losses.gram_matrices(wanted, LEARNT), LEARNT).mean()
        total = torch.stack(list(errors.values())).mean() + config.gram_weight * grams
        for group in self.adam.param_groups:
            group["lr"] = self.rate()
        self.adam.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.learnt.values(), 5.0)
        self.adam.step()
        self.step += 1
        decay = min(config.average, self.step / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), [v.detach() for v in self.learnt.values()], 1 - decay)
        return {name: value.detach() for name, value in {**errors, "gram": grams, "total": total}.items()}

    def averaged(self) -> NarrowVGG:
        """A network of its own with the averaged weights, as it ships."""
        network = copy.deepcopy(self.network).requires_grad_(False)
        network.load_state_dict(self.average, strict=False)
        return network

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        names = {value: key for key, value in self.learnt.items()}
        tensors = {f"now/{key}": value for key, value in self.network.state_dict().items()}
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
            self.network.load_state_dict({key: found[f"now/{key}"] for key in self.network.state_dict()})
            self.average = {key: found[f"average/{key}"] for key in self.learnt}
            for key, value in self.learnt.items() if state["step"] else ():
                moments = {part: torch.empty_like(value).copy_(found[f"{part}/{key}"])
                           for part in ("exp_avg", "exp_avg_sq")}  # fmt: skip
                self.adam.state[value] = {"step": torch.tensor(float(state["step"])), **moments}
            self.sizes = {layer: found[f"sizes/{layer}"] for layer in LAYERS}
            self.step, self.seconds = state["step"], state["seconds"]
        except Exception as cause:
            raise WeightsError(f"{folder / CHECKPOINT} is no checkpoint of this run: {cause}") from cause


def through(
    network: NarrowVGG, features: Tensor, first: int, last: int | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """(features after the network's steps first to last, {layer: features} on the way)."""
    found = {}
    for layer, name in network.steps[first:last]:
        features = network.step(name, features)
        found[layer] = features
    return features, found


def roots(maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{LAYER.weight: map A} -> {roots.LAYER.weight: the square root of A'A}, as `NarrowVGG` has them."""
    found = {}
    for key, weight in maps.items():
        matrix = weight.detach().flatten(1).double()
        values, vectors = torch.linalg.eigh(matrix.mT @ matrix)
        root = vectors * values.clamp(min=0).sqrt() @ vectors.mT
        found[f"roots.{key}"] = root.to(weight.dtype)[:, :, None, None]
    return found


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
    print(f"photos: {photos}; styles: {paintings}; {sum(value.numel() for value in NarrowVGG().parameters()):,} "
          f"numbers on {device}", flush=True)  # fmt: skip
    if (options.run / CHECKPOINT).exists():
        run.load(options.run)
        print(f"from step {run.step}", flush=True)
    else:
        run.start(lambda layer: print(f"least squares: {layer}", flush=True))
        run.save(options.run)
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
