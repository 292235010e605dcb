"""Measure weights, checkpoints, folders of results and rivals on the same pairs of photo and style, all in one table.

Photo and result are measured at the same longer side. The style is measured at several sizes beside it, and the nearest
counts (`meter.SCALES`); the predictor reads it as always. Distances are those of `stylizer.losses`; whatever else the
eye notices is in `stylizer.training.meter`.
"""

import argparse
import itertools
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from stylizer import images, losses
from stylizer.errors import EmptyInput, ParameterError
from stylizer.loss_networks import computes_in_bf16
from stylizer.networks.backbones import VGG16
from stylizer.settings import Settings
from stylizer.training import meter
from stylizer.training.arguments import add_device, add_vgg, device_of, required_vgg16
from stylizer.training.painters import RIVALS, Painter, PairPainter, Sample, from_folder, optimiser, untouched
from stylizer.training.pairs import pair_at

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
BORDER_SIZE = 512  # longer side at which the border is measured
FRAME, AROUND = 16, 64  # pixels: the frame that is the border, and how much of the photo surrounds it
PREVIEW, RESULT = 384, 2048  # longer sides of what should be one picture
NOISY_PAIRS, PREVIEW_PAIRS = 12, 8  # of all: a pair is painted eleven times, or at 2048 px
WORST = 0.2  # share of the styles that "worst" is the mean of
NAME = 28  # characters of a candidate's name that a line has room for, the last ones

Pairs = Sequence[tuple[Sample, Sample]]  # photo, style


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    add_vgg(parser, "VGG-16's features as safetensors with torchvision's keys; required")
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--styles", type=Path, required=True, metavar="FOLDER", help="style pictures")
    parser.add_argument(
        "--weights", nargs="*", default=[], help="pairs: a run's folder, a folder of two weight files, or FILE[,FILE]"
    )
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="folders of PHOTO__STYLE.png")
    parser.add_argument("--rival", nargs="*", default=[], choices=sorted(RIVALS), help="other software, if installed")
    parser.add_argument(
        "--bound",
        type=int,
        default=0,
        metavar="STEPS",
        help="also measure what so many steps of optimising the picture itself reach from the photo",
    )
    parser.add_argument(
        "--polish",
        type=int,
        default=0,
        metavar="STEPS",
        help="also measure what so many such steps make of the weights' results",
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[256, 512, 1024],
        help="longer sides in pixels; 256, 512 and 1024 by default",
    )
    parser.add_argument("--pairs", type=int, default=0, help="evenly spread over all pairs; by default every pair")
    parser.add_argument("--strengths", action="store_true", help="also measure whether strength acts monotonically")
    parser.add_argument("--border", action="store_true", help="also measure the border error")
    parser.add_argument("--weave", action="store_true", help="also measure patterns on plain pictures, drawn for this")
    parser.add_argument("--noise", action="store_true", help="also measure how far a photo's noise is amplified")
    parser.add_argument(
        "--preview",
        action="store_true",
        help=f"also measure how far a picture of {RESULT} px is from its preview of {PREVIEW}",
    )
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write the painted pictures to it")
    parser.add_argument("--float32", action="store_true", help="measure in float32 even if bf16 is faster")


def run(arguments: argparse.Namespace) -> None:
    device = device_of(arguments)
    print_table(arguments, required_vgg16(arguments, "measuring distances"), device)


def print_table(arguments: argparse.Namespace, loss_network: VGG16, device: torch.device) -> None:
    """Measure every candidate on the same pairs and print medians; others are compared with the first candidate."""
    photos, styles = read_folder(arguments.photos), read_folder(arguments.styles)
    pairs = spread(list(itertools.product(photos, styles)), arguments.pairs)
    fast = computes_in_bf16(device) and not arguments.float32
    judge = Judge(loss_network, device, torch.bfloat16 if fast else torch.float32)
    weights = {place: PairPainter(pair_at(place), device) for place in arguments.weights}
    candidates = {**{name: RIVALS[name]() for name in arguments.rival}, **weights}
    results = {str(folder): from_folder(folder) for folder in arguments.results}
    if not (candidates or results):
        raise ParameterError("weights", "nothing to evaluate: give --weights, --results or --rival")
    optimised = {}
    if arguments.bound:
        optimised[f"{arguments.bound} steps from the photo"] = optimiser(untouched, arguments.bound, judge.network)
    if arguments.polish:
        optimised |= {
            f"{place} + {arguments.polish} steps": optimiser(paint, arguments.polish, judge.network)
            for place, paint in weights.items()
        }
    print(f"{len(pairs)} pairs of {len(photos)} photos and {len(styles)} styles; medians")
    print(
        f"{'':{NAME}} {'size':>5} {'pairs':>5} {'content':>8} {'style':>7} {'worst':>7} {'relu3_3':>8} "
        f"{'relu4_3':>8} {'accents':>8} {'weave':>6} {'lattice':>8} {'nearer':>7} {'better at both':>15}",
        flush=True,
    )
    for size in arguments.sizes:
        baseline = None
        for name, paint in {"the photo itself": untouched, **candidates, **results, **optimised}.items():
            found = measure(paint, pairs, size, judge, name, arguments.save)
            if not found:
                continue
            print(row(name, size, found, baseline), flush=True)
            if baseline is None and paint is not untouched:
                baseline = found
        judge.kept.clear()
    for name, paint in candidates.items():
        if arguments.strengths:
            print_strengths(name, paint, pairs, min(arguments.sizes), judge)
        if arguments.border:
            print_border(name, paint, pairs, BORDER_SIZE)
        if arguments.weave:
            print_weave(name, paint, styles, min(arguments.sizes))
        if arguments.noise:
            print_noise(name, paint, spread(pairs, NOISY_PAIRS), min(arguments.sizes))
        if arguments.preview:
            print_preview(name, paint, spread(pairs, PREVIEW_PAIRS), judge)


def row(name: str, size: int, found: Mapping[tuple[str, str], "Marks"], baseline: Mapping | None) -> str:
    """A line of the table: medians over pairs.

    "worst" is the mean of the styles' medians over the worst fifth of the styles; "lattice" is how many times too
    strong the strongest wave is that all results share.
    """
    *columns, waves = ([each for each in values if each is not None] for values in zip(*found.values(), strict=True))
    content, style, middle, deep, accents, weave = (statistics.median(values or [math.nan]) for values in columns)
    of_styles = sorted(
        statistics.median(marks.style for (_, other), marks in found.items() if other == one)
        for one in {style for _, style in found}
    )
    worst = statistics.mean(of_styles[-math.ceil(WORST * len(of_styles)) :])
    nearer, both = "", ""
    if baseline and (shared := found.keys() & baseline.keys()):
        better = [
            (found[key].style <= baseline[key].style, found[key].content <= baseline[key].content) for key in shared
        ]
        nearer = f"{sum(nearer for nearer, _ in better) / len(better):.0%}"
        both = f"{sum(map(all, better)) / len(better):.0%}"
    return (
        f"{line(name, size)} {len(found):5} {content:8.3f} {style:7.3f} {worst:7.3f} {middle:8.3f} "
        f"{deep:8.3f} {accents:8.0%} {weave:6.1f} {meter.lattice(waves):8.1f} {nearer:>7} {both:>15}"
    )


def line(name: str, size: int) -> str:
    """How every line begins."""
    return f"{name[-NAME:]:{NAME}} {size:5}"


def read_folder(folder: Path) -> list[Sample]:
    if not folder.is_dir():
        raise ParameterError("data", f"{folder} is not a folder; name a folder of pictures")
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


# Measuring ------------------------------------------------------------------------------------------------------------


class Marks(NamedTuple):
    """Of one result."""

    content: float  # distance from the photo
    style: float  # distance from the painting at the nearest scale, the mean over the style layers
    middle: float  # relu3_3's part of it: strokes
    deep: float  # relu4_3's part of it: what strokes form
    accents: float  # share of the painting's colours that is reached, 0 to 1
    weave: float | None  # deviation of luminance where the photo is calm, in levels; None where it is calm nowhere
    waves: np.ndarray | None  # how far waves stand out, (2, 64, 64); None for small pictures


class Judge:
    """Distances by the loss network. What it finds in a photo or a style is kept, since each is in many pairs."""

    def __init__(self, loss_network: VGG16, device: torch.device, dtype: torch.dtype):
        self.network = loss_network.to(device, dtype, memory_format=torch.channels_last)
        self.look = meter.look_through(self.network, device)
        self.kept: dict[tuple, object] = {}

    def marks(self, painted: np.ndarray, photo: Sample, style: Sample) -> Marks:
        longest = max(photo.rgb.shape)
        target = self._once(
            ("content", photo.name, photo.rgb.shape),
            lambda: {layer: value for layer, value in self.look(photo.rgb).items() if layer in losses.CONTENT_LAYERS},
        )
        readings = self._once(("style", style.name, longest), lambda: meter.readings(style.whole, longest, self.look))
        found = self.look(painted)
        nearest = meter.style_distance(found, readings)
        return Marks(
            content=losses.content_distance(found, target).item(),
            style=nearest.mean,
            middle=nearest.layers["relu3_3"],
            deep=nearest.layers["relu4_3"],
            accents=meter.accents_reached(painted, style.rgb),
            weave=meter.weave_where_calm(painted, photo.rgb),
            waves=meter.waves(painted, photo.rgb, style.rgb),
        )

    def _once(self, key: tuple, compute: Callable[[], object]) -> object:
        if key not in self.kept:
            self.kept[key] = compute()
        return self.kept[key]


def measure(
    paint: Painter, pairs: Pairs, size: int, judge: Judge, name: str, save: Path | None = None
) -> dict[tuple[str, str], Marks]:
    """{(photo, style): marks}; pairs for which there is no result are left out. `save` is a folder for the results."""
    found = {}
    for photo, style in at_size(pairs, size, f"{name[-NAME:]} at {size}"):
        painted = paint(photo, style, 1.0)
        if painted is None:
            continue
        found[photo.name, style.name] = judge.marks(painted, photo, style)
        if save:
            folder = save / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-')}-{size}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(painted).save(folder / f"{photo.name}__{style.name}.png")
    return found


def at_size(pairs: Pairs, size: int, label: str) -> Iterable[tuple[Sample, Sample]]:
    """The pairs with that longer side, and a progress bar."""
    return ((photo.at(size), style.at(size)) for photo, style in tqdm(pairs, desc=label, leave=False))


def print_strengths(name: str, paint: Painter, pairs: Pairs, size: int, judge: Judge) -> None:
    """Medians over strengths, and for how many pairs style only falls and content only rises."""
    curves = [
        [judge.marks(paint(photo, style, strength), photo, style)[:2] for strength in STRENGTHS]
        for photo, style in at_size(pairs, size, f"{name[-NAME:]}, strengths")
    ]
    array = np.array(curves)  # (pairs, strengths, content and style)
    falls, rises = np.diff(array[:, :, 1]) <= 0, np.diff(array[:, :, 0]) >= 0
    for label, values in zip(("content", "style"), np.median(array, 0).T, strict=True):
        print(
            f"{line(name, size)} {label} at strengths "
            + ", ".join(f"{s:g}: {v:.3f}" for s, v in zip(STRENGTHS, values, strict=True))
        )
    print(
        f"{line(name, size)} monotone: style {falls.all(1).mean():.0%}, content {rises.all(1).mean():.0%}, "
        f"both {(falls.all(1) & rises.all(1)).mean():.0%} of {len(curves)} pairs",
        flush=True,
    )


def print_border(name: str, paint: Painter, pairs: Pairs, size: int) -> None:
    """How far results depend on what surrounds a photo: medians over pairs, at the border and in the middle.

    In the middle they change as well, since statistics of all that is painted normalise all of it.
    """
    errors, middles = [], []
    for large, style in tqdm(pairs, desc=f"{name[-NAME:]}, border", leave=False):
        large = large.at(size + 2 * AROUND)
        around = inner(paint(large, style, 1.0), AROUND)
        alone = paint(Sample(large.name, np.ascontiguousarray(inner(large.rgb, AROUND)), large.whole), style, 1.0)
        errors.append(border_error(alone, around))
        middles.append(difference(inner(alone, FRAME), inner(around, FRAME)))
    print(
        f"{line(name, size)} border error {statistics.median(errors):.4f}, largest {max(errors):.4f}, in "
        f"the middle {statistics.median(middles):.4f}, {len(errors)} pairs",
        flush=True,
    )


def print_weave(name: str, paint: Painter, styles: Sequence[Sample], size: int) -> None:
    """Medians and the 90th percentile over styles, of means over the plain pictures, beside the paintings' own."""
    plain = [Sample.of(label, rgb) for label, rgb in meter.plain_pictures(size)]
    own, found = [], []
    for style in tqdm(styles, desc=f"{name[-NAME:]}, weave", leave=False):
        style = style.at(size)
        own.append(meter.weave(style.rgb))
        found.append(np.mean([meter.weave(paint(photo, style, 1.0)) for photo in plain], axis=0))
    own, found = np.array(own), np.array(found)  # (styles, 3)
    for index, what in enumerate(meter.Weave._fields):
        ours, theirs = found[:, index], own[:, index]
        print(
            f"{line(name, size)} weave, {what}: {np.median(ours):.2f}, 90th percentile "
            f"{np.quantile(ours, 0.9):.2f}, the paintings' own {np.median(theirs):.2f}, above it by "
            f"{np.median(ours - theirs):.2f}, {len(found)} styles",
            flush=True,
        )


def print_noise(name: str, paint: Painter, pairs: Pairs, size: int) -> None:
    """Medians over pairs and, for the same styles, over plain pictures."""
    plain = [Sample.of(label, rgb) for label, rgb in meter.plain_pictures(size)]
    on_plain = [(plain[index % len(plain)], style) for index, (_, style) in enumerate(pairs)]
    for label, chosen in (("photos", pairs), ("plain pictures", on_plain)):
        found = []
        for photo, style in at_size(chosen, size, f"{name[-NAME:]}, noise"):
            found.append(
                meter.noise_amplification(
                    photo.rgb, lambda rgb, style=style: paint(Sample.of("noisy", rgb), style, 1.0)
                )
            )
        print(
            f"{line(name, size)} noise in {label} is amplified {statistics.median(found):.2f} times, "
            f"at most {max(found):.2f}, {len(found)} pairs",
            flush=True,
        )


def print_preview(name: str, paint: Painter, pairs: Pairs, judge: Judge) -> None:
    """How near the style a large picture is once it is as small as its preview, and how similar the two are."""
    ratios, alike = [], []
    for photo, style in tqdm(pairs, desc=f"{name[-NAME:]}, preview", leave=False):
        small, style = photo.at(PREVIEW), style.at(PREVIEW)
        preview, result = paint(small, style, 1.0), paint(photo.at(RESULT), style, 1.0)
        shrunk = images.resize(images.Picture(result), PREVIEW).rgb
        ratios.append(judge.marks(shrunk, small, style).style / judge.marks(preview, small, style).style)
        alike.append(meter.ssim(preview, shrunk))
    print(
        f"{name[-NAME:]:{NAME}} {RESULT} px shrunk to {PREVIEW}: style {statistics.median(ratios):.2f} of the "
        f"preview's, SSIM {statistics.median(alike):.2f}, {len(ratios)} pairs",
        flush=True,
    )


def inner(rgb: np.ndarray, margin: int) -> np.ndarray:
    return rgb[margin:-margin, margin:-margin]


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference of two (H, W, 3) uint8 pictures, in [0, 1]."""
    return float(np.abs(first.astype(np.float32) - second).mean() / 255)


def border_error(whole: np.ndarray, cut_out: np.ndarray) -> float:
    """Mean absolute difference of two (H, W, 3) uint8 pictures in a frame of 16 pixels, in [0, 1]."""
    apart = np.abs(whole.astype(np.float32) - cut_out) / 255
    middle = inner(apart, FRAME)
    return float((apart.sum() - middle.sum()) / (apart.size - middle.size))
