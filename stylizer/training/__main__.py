"""`python -m stylizer.training COMMAND`: train, mean, studies, narrow, classify, evaluate, cost.

docs/training.md says when and why.
"""

import argparse
import csv
import json
import math
import sys
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import get_args

import torch
from PIL import Image
from tqdm import tqdm

from stylizer.errors import NotFinite, ParameterError, StylizerError
from stylizer.gatys import computes_in_bf16
from stylizer.networks.backbones import VGG, VGG16, build_backbone, load_vgg16
from stylizer.training import classify, data, evaluate, narrow, studies
from stylizer.training.pairs import in_words, mean_pair, read_safetensors, save_pair
from stylizer.training.train import Run, TrainConfig, train

BEGAN = time.monotonic()        # loading torch and the data counts into a call's time


def main(arguments: list[str] | None = None) -> int:
    """0 done, 2 a caller's mistake in one line, 3 stopped because a loss was no number."""
    options = parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        return options.command(options)
    except StylizerError as error:
        print(error, file=sys.stderr)
        return 3 if isinstance(error, NotFinite) else 2


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m stylizer.training", description=__doc__)
    commands = root.add_subparsers(
        required=True, metavar="train | mean | studies | narrow | classify | evaluate | cost"
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--device", default="auto", help="auto, cpu or cuda")
    shared.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's choice")
    shared.add_argument("--vgg", type=Path, help="VGG-16's features, safetensors with torchvision's keys; "
                        "to learn through, our narrow VGG in models/ will do")  # fmt: skip

    common = {"parents": [shared], "formatter_class": argparse.ArgumentDefaultsHelpFormatter}
    training = commands.add_parser("train", help="train a pair; goes on where the run's folder ends", **common)
    training.set_defaults(command=run_train)
    training.add_argument("--content", type=Path, nargs="+", required=True, help="tars or folders of photos")
    training.add_argument("--style", type=Path, nargs="+", required=True, help="tars or folders of paintings, textures")
    training.add_argument("--favour", type=Path, nargs="+", help="what shall be painted best, a gallery for example")
    training.add_argument("--run", type=Path, required=True, help="its folder: checkpoint, curve, samples, weights")
    training.add_argument("--call-minutes", type=float, default=math.inf, help="stop this call, not the run, after it")
    training.add_argument("--save-minutes", type=float, default=2.0, help="between checkpoints")
    training.add_argument("--sample-minutes", type=float, default=5.0, help="between sample grids")
    training.add_argument("--report-every", type=int, default=10, help="steps between lines of the curve")
    add_settings(training)

    middle = commands.add_parser("mean", help="weights between those before and after a run, often better than both",
                                 formatter_class=argparse.ArgumentDefaultsHelpFormatter)  # fmt: skip
    middle.set_defaults(command=run_mean, threads=0)
    middle.add_argument("before", help="a run's folder, a folder of two weight files, or FILE,FILE")
    middle.add_argument("after", help="likewise")
    middle.add_argument("--share", type=float, default=0.5, help="of the way from before to after")
    middle.add_argument("--out", type=Path, required=True, help="folder for the two weight files")

    studying = commands.add_parser("studies", help="the gallery's studies; goes on with what is missing", **common)
    studying.set_defaults(command=run_studies)
    studies.add_arguments(studying)

    narrowing = commands.add_parser(
        "narrow", help="teach our own narrow VGG what VGG-16 sees; goes on where its folder ends", **common
    )
    narrowing.set_defaults(command=run_narrow)
    narrow.add_arguments(narrowing)

    classifying = commands.add_parser(
        "classify", help="train our own small network to tell Tiny ImageNet apart; goes on where its folder ends",
        **common,
    )  # fmt: skip
    classifying.set_defaults(command=run_classify)
    classify.add_arguments(classifying)

    judging = commands.add_parser("evaluate", help="one table for weights, checkpoints, folders, rivals", **common)
    judging.set_defaults(command=run_evaluate)
    evaluate.add_arguments(judging)

    cost = commands.add_parser("cost", help="what each part of a step costs on this machine", **common)
    cost.set_defaults(command=run_cost)
    add_settings(cost)
    return root


def add_settings(command: argparse.ArgumentParser) -> None:
    """One option for each field of TrainConfig."""
    group = command.add_argument_group("settings")
    for each in fields(TrainConfig):
        given = {"action": argparse.BooleanOptionalAction} if each.type is bool else {"type": each.type}
        if isinstance(each.default, tuple):
            given = {"nargs": "*", "type": get_args(each.type)[0]}
        flag = "--" + each.name.replace("_", "-")
        group.add_argument(flag, default=each.default, help=each.metadata["help"].replace("%", "%%"), **given)


def settings_of(options: argparse.Namespace) -> TrainConfig:
    """Says so where this machine has no bf16 to compute in."""
    given = {each.name: getattr(options, each.name) for each in fields(TrainConfig)}
    if options.bf16 and not computes_in_bf16(device_of(options)):
        print("this machine does not compute in bf16: float32 is faster here, and taken", flush=True)
    return TrainConfig(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def device_of(options: argparse.Namespace) -> torch.device:
    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ParameterError("device", f"device is {name!r}, but torch finds no CUDA card; leave it out or say cpu")
    torch.backends.cudnn.benchmark = True           # shapes stay for hundreds of steps: worth looking for the fastest
    return torch.device(name)


def loss_network_of(options: argparse.Namespace) -> VGG | None:
    """What --vgg names: VGG-16, or our narrow VGG, which says in its file that it is one."""
    if not options.vgg:
        return None
    state, metadata = read_safetensors(options.vgg)
    return build_backbone("narrow", state) if metadata.get("network") == "narrow" else load_vgg16(state)


def vgg16_of(options: argparse.Namespace) -> VGG16 | None:
    """Where nothing else will do: to teach, to judge, to time."""
    return load_vgg16(read_safetensors(options.vgg)[0]) if options.vgg else None


def run_train(options: argparse.Namespace) -> int:
    config, device, folder = settings_of(options), device_of(options), options.run
    contents = data.load_pictures(options.content, config.stored, device, "photos")
    styles = data.load_pictures(options.style, config.stored, device, "styles")
    favourites = data.load_pictures(options.favour, config.stored, device, "favourites") if options.favour else None
    print(f"photos: {contents}; styles: {styles}" + (f"; favourites: {favourites}" if favourites else ""), flush=True)
    run = Run(config, contents.pixels, styles.pixels, loss_network_of(options),
              favourites=favourites.pixels if favourites else None)
    checkpoint, curve = folder / "checkpoint", Curve(folder / "curve.csv")
    if checkpoint.exists() or checkpoint.with_name("checkpoint.old").exists():
        run.load(checkpoint)
    elif config.predictor_init and config.vector_weight:
        run.probe()
    curve.keep_until(run.step)
    print(f"{in_words(run.pair.architecture())}, {sum(p.numel() for p in run.parameters.values()):,} numbers to train, "
          f"on {device}, from step {run.step}, {run.done():.1%} done", flush=True)
    until = BEGAN + 60 * options.call_minutes
    saved = sampled = time.monotonic()
    with tqdm(total=100, initial=round(100 * run.done(), 2), bar_format="{l_bar}{bar}| {postfix}") as bar:
        for now in train(run, options.report_every, until, BEGAN):
            curve.add(now)
            bar.set_postfix_str(line(now), refresh=False)
            bar.update(100 * now.done - bar.n)
            if time.monotonic() > saved + 60 * options.save_minutes:
                run.save(checkpoint)
                saved = time.monotonic()
            if time.monotonic() > sampled + 60 * options.sample_minutes:
                save_samples(run, folder)
                sampled = time.monotonic()
    run.save(checkpoint)
    written = save_pair(run.averaged(), folder / "weights")
    save_samples(run, folder)
    (folder / "settings.json").write_text(json.dumps(asdict(config), indent=1))
    end = "finished" if run.done() >= 1 else "stopped for now; the same command goes on"
    print(f"{end} at step {run.step} after {run.seconds / 60:.1f} minutes: {', '.join(map(str, written))}")
    return 0


def line(now) -> str:
    known = " ".join(f"{name} {now.losses[name]:.3f}" for name in ("content", "style", "vector", "picture", "loss")
                     if name in now.losses)
    left = f"{now.seconds_left / 60:.1f} min left" if now.done else ""
    return f"step {now.step} {now.samples_per_second:.1f} samples/s {known} {left}"


class Curve:
    """The run's numbers as CSV, one row a report."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def keep_until(self, step: int) -> None:
        """Drop what was written after the checkpoint that the run goes on from."""
        if self.path.exists():
            with self.path.open(newline="") as file:
                head, *rows = list(csv.reader(file)) or [[]]
            kept = [head, *(row for row in rows if int(row[0]) <= step)] if step else []
            with self.path.open("w", newline="") as file:
                csv.writer(file).writerows(kept)

    def add(self, now) -> None:
        row = {"step": now.step, "seconds": round(now.seconds, 1), "rate": round(now.rate, 5),
               "samples_per_second": round(now.samples_per_second, 2),
               **{name: f"{value:.5g}" for name, value in sorted(now.losses.items())}}
        fresh = not self.path.exists() or not self.path.stat().st_size
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if fresh:
                writer.writeheader()
            writer.writerow(row)


@torch.no_grad()
def save_samples(run: Run, folder: Path, side: int = 256) -> None:
    """A sheet: styles across the top, photos down the left, what the averaged weights paint between them."""
    pair = run.averaged()
    photos, styles = (data.resize(some / 255, side) for some in (run.contents[:4], run.styles[:6]))
    vectors, heights = pair.predictor(styles), data.brush_heights(styles)
    rows = [torch.cat([torch.ones_like(photos[:1]), styles])]
    for photo in photos:
        canvases = data.with_brushwork(photo.expand(len(styles), -1, -1, -1), 1.0, heights,
                                       data.generator_for(run.device, 0))
        painted = [pair.transformer(canvas[None], vector[None])
                   for canvas, vector in zip(canvases, vectors, strict=True)]
        rows.append(torch.cat([photo[None], *painted]))
    sheet = torch.stack(rows).mul(255).round().byte().cpu()             # (rows, columns, 3, side, side)
    height, width = sheet.shape[0] * side, sheet.shape[1] * side
    Image.fromarray(sheet.permute(0, 3, 1, 4, 2).reshape(height, width, 3).numpy()).save(
        folder / f"samples-{run.step:06d}.jpg", quality=88)


def run_mean(options: argparse.Namespace) -> int:
    if not 0 <= options.share <= 1:
        raise ParameterError("share", f"share is {options.share}; it must be 0 to 1")
    pair = mean_pair(evaluate.pair_at(options.before), evaluate.pair_at(options.after), options.share)
    print(*save_pair(pair, options.out), sep="\n")
    return 0


def run_studies(options: argparse.Namespace) -> int:
    return studies.run_studies(options, device_of(options), loss_network_of(options))


def run_narrow(options: argparse.Namespace) -> int:
    return narrow.run_narrow(options, device_of(options), vgg16_of(options))


def run_classify(options: argparse.Namespace) -> int:
    return classify.run_classify(options, device_of(options), vgg16_of(options))


def run_evaluate(options: argparse.Namespace) -> int:
    """Print the table."""
    evaluate.print_table(options, vgg16_of(options), device_of(options))
    return 0


def run_cost(options: argparse.Namespace) -> int:
    """Time a step and its parts on random pictures, and say which of two ways is faster."""
    from stylizer.training import cost

    cost.print_costs(settings_of(options), vgg16_of(options), device_of(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
