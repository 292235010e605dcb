"""Teach our own narrow VGG to see what VGG-16 sees: `python -m stylizer.training narrow`.

Through one linear map a layer its features shall predict VGG-16's (Romero et al. 2015), and their Gram matrices
VGG-16's: on photos, on paintings, and on what is being made through the narrow network itself, photos painted by
studies that are being fitted, and pictures that are being optimised. Whatever is made through a loss network is pushed
to where that is wrong, so it has to learn there. VGG-16's forward pass is most of what a picture costs, so its answers
are kept for a while and each is learnt from several times.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Mapping
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
from stylizer.gatys import computes_in_bf16, in_precision
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
LOOK_EVERY = 50  # steps after which fittings and walks go through the network as it is then


@dataclass(frozen=True)
class NarrowConfig:
    minutes: float = setting(120.0, "length of the schedule in minutes of training, all calls together")
    side: int = setting(96, "of the crops in pixels")
    sources: tuple[int, ...] = setting((64, 96, 96, 128, 192, 256), "sides of what is cut out and resized to "
                                       "crops: sharp pictures, and smooth ones as large photos are")  # fmt: skip
    batch: int = setting(12, "crops a step, of those kept")
    kept: int = setting(400, "crops with VGG-16's answers, 2.3 MB each at 96 pixels; the oldest go")
    gram_weight: float = setting(1.0, "of the relative error of Gram matrices, beside that of features")
    rate: float = setting(3e-3, "peak of Adam's rate: a linear rise, then a cosine to zero")
    warmup: int = setting(100, "steps with a rising rate")
    average: float = setting(0.998, "decay of the averaged weights, the ones that ship")
    fittings: int = setting(6, "studies that are being fitted; two steps of three go on with one of them")
    fitting: int = setting(200, "steps of each at most, before another begins")
    walks: int = setting(12, "pictures that are being optimised; every third step goes on with one")
    walk: int = setting(60, "steps of each at most, before another begins")
    stride: float = setting(0.02, "Adam's rate of such a step, in units of a picture's range")
    seed: int = setting(0, "of every draw")


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
        view = View(photo, photo.shape[3])
        painted = self.learnt.paint(view)
        terms = Objectives(network, self.painting, [view], self.config)(painted, 0)
        self.adam.zero_grad()
        terms["total"].backward()
        nn.utils.clip_grad_norm_(self.learnt.leaves(), CLIP)
        self.adam.step()
        return painted.detach().clamp(0, 1)


class Learner(NarrowVGG):
    """The narrow network while it learns: batch norms between convolutions and ReLUs, which `folded` takes in."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleDict({key: nn.BatchNorm2d(conv.out_channels) for key, conv in self.features.items()})
        for conv in self.features.values():
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def step(self, name: str, features: Tensor) -> Tensor:
        if name == "pool":
            return super().step(name, features)
        return F.relu(self.norms[name](self.features[name](features)), inplace=True)


@torch.no_grad()
def folded(state: Mapping[str, Tensor], maps: Mapping[str, Tensor]) -> NarrowVGG:
    """The network that a learner's state and its maps make: norms within the convolutions, roots of the maps."""
    network = NarrowVGG()
    for key, conv in network.features.items():
        norm = {part: state[f"norms.{key}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
        scale = norm["weight"] / (norm["running_var"] + nn.BatchNorm2d(1).eps).sqrt()
        conv.weight.copy_(state[f"features.{key}.weight"] * scale[:, None, None, None])
        conv.bias.copy_((state[f"features.{key}.bias"] - norm["running_mean"]) * scale + norm["bias"])
    network.load_state_dict(roots(maps), strict=False)
    return network.to(state["features.0.weight"].device, memory_format=torch.channels_last)


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
        learner = Learner()
        channels = {layer: learner.roots[layer].in_channels for layer in LAYERS}
        wide = dict(zip(LAYERS, VGG16.CHANNELS, strict=True))
        maps = {layer: nn.Conv2d(channels[layer], wide[layer], 1, bias=False) for layer in LAYERS}
        self.model = nn.ModuleDict({"network": learner, "maps": nn.ModuleDict(maps)})
        self.model.to(self.device, memory_format=torch.channels_last).train()
        self.learnt = {key: value for key, value in self.model.named_parameters() if ".roots." not in key}
        for value in self.learnt.values():
            value.requires_grad_()
        self.average = {key: value.detach().clone() for key, value in self._tracked().items()}
        self.adam = torch.optim.Adam(self.learnt.values(), lr=config.rate)
        self.kept = Kept(config.kept)
        self.fittings: list[Fitting | None] = [None] * config.fittings
        self.walks: list[Walk | None] = [None] * config.walks
        self.looks: NarrowVGG | None = None  # what fittings and walks go through: the network of some steps ago
        self.sizes: dict[str, Tensor] = {}  # root mean square of VGG-16's layers: the maps predict them over that
        self.step, self.seconds = 0, 0.0

    def _tracked(self) -> dict[str, Tensor]:
        """What is learnt, and the norms' running statistics."""
        return {key: value for key, value in self.model.state_dict().items()
                if value.is_floating_point() and ".roots." not in key}  # fmt: skip

    def done(self) -> float:
        return min(1.0, self.seconds / (60 * self.config.minutes))

    def rate(self) -> float:
        rise = min(1.0, (self.step + 1) / self.config.warmup)
        return self.config.rate * rise * 0.5 * (1 + math.cos(math.pi * self.done()))

    def new_crops(self, generator: torch.Generator) -> Tensor:
        """A photo, a painting, and one picture under way: a photo painted by a study, or, every third time, one that is
        optimised itself; (3, 3, side, side) in [0, 1]."""
        config = self.config

        def draw(most: int) -> int:
            return int(data.random_rows(most, 1, generator))

        def crop(pixels: Tensor) -> Tensor:
            chosen = pixels[data.random_rows(len(pixels), 1, generator)]
            source = config.sources[draw(len(config.sources))]
            return data.resize(data.random_crops(chosen, source, generator), config.side).clamp(0, 1)

        if self.step % LOOK_EVERY == 0 or self.looks is None:
            self.looks = self._folded(self._tracked())
        photo, painting = crop(self.photos), crop(self.paintings)
        turn, rest = divmod(self.step, 3)
        if rest:
            index = (2 * turn + rest - 1) % config.fittings
            if self.fittings[index] is None or not self.fittings[index].left:
                vector = self.vectors[draw(len(self.vectors))]
                self.fittings[index] = Fitting(self.transformer, vector, painting, 1 + draw(config.fitting), self.step)
            made = self.fittings[index].step(self.looks, crop(self.photos))
        else:
            index = turn % config.walks
            if self.walks[index] is None or not self.walks[index].left:
                self.walks[index] = Walk(photo, painting, 1 + draw(config.walk), config.stride)
            made = self.walks[index].step(self.looks)
        return torch.cat([photo, painting, made])

    def _folded(self, tracked: Mapping[str, Tensor]) -> NarrowVGG:
        parts = {part: {key.removeprefix(part): value for key, value in tracked.items() if key.startswith(part)}
                 for part in ("network.", "maps.")}  # fmt: skip
        return folded(parts["network."], parts["maps."])

    def advance(self) -> dict[str, Tensor]:
        """One step; the relative errors of each layer and of the Gram matrices, and `total`, which is minimised."""
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
            found = self.model["network"].own_features(crops.contiguous(memory_format=torch.channels_last), LAYERS)
            predicted = {layer: self.model["maps"][layer](features) for layer, features in found.items()}
        errors = {layer: losses.relative_distance(predicted[layer], wanted[layer]).mean() for layer in LAYERS}
        grams = torch.stack([
            losses.relative_distance(losses.gram_matrix(predicted[layer].float()), losses.gram_matrix(wanted[layer]))
            for layer in LAYERS
        ]).mean()  # fmt: skip
        total = torch.stack(list(errors.values())).mean() + config.gram_weight * grams
        for group in self.adam.param_groups:
            group["lr"] = self.rate()
        self.adam.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.learnt.values(), 5.0)
        self.adam.step()
        self.step += 1
        decay = min(config.average, self.step / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), [v.detach() for v in self._tracked().values()], 1 - decay)
        return {name: value.detach() for name, value in {**errors, "gram": grams, "total": total}.items()}

    def averaged(self) -> NarrowVGG:
        """The averaged weights as a network of their own."""
        return self._folded(self.average)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        names = {value: key for key, value in self.learnt.items()}
        tensors = {f"now/{key}": value for key, value in self._tracked().items()}
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
                for key, value in self._tracked().items():
                    value.copy_(found[f"now/{key}"])
                    self.average[key].copy_(found[f"average/{key}"])
            for key, value in self.learnt.items():
                moments = {part: torch.empty_like(value).copy_(found[f"{part}/{key}"])
                           for part in ("exp_avg", "exp_avg_sq")}  # fmt: skip
                self.adam.state[value] = {"step": torch.tensor(float(state["step"])), **moments}
            self.sizes = {layer: found[f"sizes/{layer}"] for layer in LAYERS}
            self.step, self.seconds = state["step"], state["seconds"]
        except Exception as cause:
            raise WeightsError(f"{folder / CHECKPOINT} is no checkpoint of this run: {cause}") from cause


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
    if (options.run / CHECKPOINT).exists():
        run.load(options.run)
    print(f"photos: {photos}; styles: {paintings}; {sum(value.numel() for value in NarrowVGG().parameters()):,} "
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
