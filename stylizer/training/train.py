"""Train a predictor and a transformer together, perceptually, by distillation or both, or resume the run in a folder.

A run's folder holds the checkpoint, the curve of its losses, sheets of samples, its settings and, after every call, the
averaged weights.
"""

import argparse
import csv
import json
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image

from stylizer.options import add_options, chosen
from stylizer.training import checkpoints, data
from stylizer.training.arguments import add_device, add_pictures, add_run, add_vgg, device_of, loss_network_of
from stylizer.training.config import TrainConfig, working_dtype
from stylizer.training.loop import Bar, Report, Timer, summary, train
from stylizer.training.pairs import in_words, save_pair
from stylizer.training.run import Run

SHOWN = ("content", "style", "vector", "picture", "loss")  # losses beside the progress bar
SAMPLE_PHOTOS, SAMPLE_STYLES, SAMPLE_SIDE = 4, 6, 256  # of a sheet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    add_vgg(parser, "loss network: VGG-16's features as safetensors with torchvision's keys, or our narrow VGG")
    add_pictures(parser)
    parser.add_argument("--favour", type=Path, nargs="+", help="what is to be painted best, such as a gallery")
    add_run(parser, "checkpoint, curve, samples, weights", save_minutes=2.0)
    parser.add_argument(
        "--sample-minutes", type=float, default=5.0, metavar="MINUTES", help="between sheets of samples; 5 by default"
    )
    parser.add_argument(
        "--report-every", type=int, default=10, metavar="STEPS", help="steps per row of the curve; 10 by default"
    )
    add_options(parser.add_argument_group("settings"), TrainConfig)


def run(arguments: argparse.Namespace) -> None:
    device = device_of(arguments)
    config, folder = config_of(arguments, device), arguments.run
    contents = data.load_pictures(arguments.content, config.stored, device, "photos")
    styles = data.load_pictures(arguments.style, config.stored, device, "styles")
    favourites = data.load_pictures(arguments.favour, config.stored, device, "favourites") if arguments.favour else None
    print(f"photos: {contents}; styles: {styles}" + (f"; favourites: {favourites}" if favourites else ""), flush=True)
    trained = Run(
        config,
        contents.pixels,
        styles.pixels,
        loss_network_of(arguments),
        favourites=favourites.pixels if favourites else None,
    )
    checkpoint, curve = folder / "checkpoint", Curve(folder / "curve.csv")
    if checkpoints.exists(checkpoint):
        trained.load(checkpoint)
    elif config.predictor_init and config.vector_weight:
        trained.fit_last_layer()
    curve.keep_until(trained.step)
    count = sum(parameter.numel() for parameter in trained.parameters.values())
    print(
        f"{in_words(trained.pair.architecture())}, {count:,} numbers to train, on {device}, from step "
        f"{trained.step}, {trained.done():.1%} done",
        flush=True,
    )
    save, sample = Timer(arguments.save_minutes), Timer(arguments.sample_minutes)
    with Bar(trained) as bar:
        until = arguments.began + 60 * arguments.call_minutes
        for now in train(trained, arguments.report_every, until, arguments.began):
            curve.add(now)
            bar.show(now, in_figures(now))
            if save.due():
                trained.save(checkpoint)
            if sample.due():
                save_samples(trained, folder)
    trained.save(checkpoint)
    written = save_pair(trained.averaged(), folder / "weights")
    save_samples(trained, folder)
    (folder / "settings.json").write_text(json.dumps(asdict(config), indent=1))
    print(f"{summary(trained)}: {', '.join(map(str, written))}")


def config_of(arguments: argparse.Namespace, device: torch.device) -> TrainConfig:
    """The settings that were given; says so if the device does not compute in bf16."""
    config = chosen(TrainConfig, arguments)
    if config.bf16 and working_dtype(config, device) == torch.float32:
        print("this machine does not compute in bf16: float32 is faster here, and used", flush=True)
    return config


def in_figures(now: Report) -> str:
    known = " ".join(f"{name} {now.losses[name]:.3f}" for name in SHOWN if name in now.losses)
    left = f"{now.seconds_left / 60:.1f} min left" if now.done else ""
    return f"step {now.step} {now.samples_per_second:.1f} samples/s {known} {left}"


class Curve:
    """The run's numbers as CSV, one row per report."""

    def __init__(self, path: Path):
        self.path, self.columns = path, []
        path.parent.mkdir(parents=True, exist_ok=True)

    def keep_until(self, step: int) -> None:
        """Drop the rows that were written after the checkpoint that the run resumes from."""
        if self.path.exists():
            with self.path.open(newline="") as file:
                head, *rows = list(csv.reader(file)) or [[]]
            self.columns = head if step else []
            kept = [head, *(row for row in rows if int(row[0]) <= step)] if step else []
            with self.path.open("w", newline="") as file:
                csv.writer(file).writerows(kept)

    def add(self, now: Report) -> None:
        """Append a row, under the columns that the file has: other settings may have other losses."""
        row = {
            "step": now.step,
            "seconds": round(now.seconds, 1),
            "rate": round(now.rate, 5),
            "samples_per_second": round(now.samples_per_second, 2),
            **{name: f"{value:.5g}" for name, value in sorted(now.losses.items())},
        }
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self.columns or list(row), extrasaction="ignore")
            if not self.columns:
                self.columns = list(row)
                writer.writeheader()
            writer.writerow(row)


@torch.no_grad()
def save_samples(run: Run, folder: Path) -> None:
    """A sheet as samples-STEP.jpg: styles across the top, photos down the left, and between them the photos painted in
    the styles by the averaged weights."""
    pair, side = run.averaged(), SAMPLE_SIDE
    photos = data.resize(run.batches.contents[:SAMPLE_PHOTOS] / 255, side)
    styles = data.resize(run.batches.styles[:SAMPLE_STYLES] / 255, side)
    vectors, heights = pair.predictor(styles), data.brush_heights(styles)
    rows = [torch.cat([torch.ones_like(photos[:1]), styles])]
    for photo in photos:
        canvases = data.with_brushwork(
            photo.expand(len(styles), -1, -1, -1), 1.0, heights, data.generator_for(run.device, 0)
        )
        painted = [
            pair.transformer(canvas[None], vector[None]) for canvas, vector in zip(canvases, vectors, strict=True)
        ]
        rows.append(torch.cat([photo[None], *painted]))
    sheet = torch.stack(rows).mul(255).round().byte().cpu()  # (rows, columns, 3, side, side)
    height, width = sheet.shape[0] * side, sheet.shape[1] * side
    Image.fromarray(sheet.permute(0, 3, 1, 4, 2).reshape(height, width, 3).numpy()).save(
        folder / f"samples-{run.step:06d}.jpg", quality=88
    )
