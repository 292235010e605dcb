"""The gallery's studies: `python -m stylizer.training studies`, after the transformer changed.

One painting after the other is studied on photos, and its study written to `styles/studies/`. What is there already, of
these weights, is left alone, so a run that was cut goes on.

A study of other weights, where there is one, is where the new one begins.

Look at what comes. In `styles/styles.toml` a style may say `study = { painting_size = 448 }`, for broader strokes, or
`study = false`: its vector looks better, and it gets no study. Delete the file as well, then.
"""

import argparse
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stylizer import fit, gatys, images, studies
from stylizer.errors import ParameterError
from stylizer.feedforward import Stylizer
from stylizer.fit import Step, StudyConfig
from stylizer.images import Picture
from stylizer.networks.backbones import VGG
from stylizer.settings import Settings
from stylizer.studies import SUFFIX
from stylizer.styles import STUDIES, Blend, read_list
from stylizer.training import data
from stylizer.training.vectors import picture_of, write_checksums

NUMBER = (int, float)
PER_STYLE = {"painting_size": (int,), "content_distance": NUMBER, "calm_weight": NUMBER}  # what the list may set
SHOWN_SIDE = 384  # of photos on sheets
SHOWN = 3  # photos on a sheet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--content", type=Path, nargs="+", required=True, help="tars or folders of photos")
    parser.add_argument("--masters", type=Path, help="folder with the masters' pictures")
    parser.add_argument("--photos", type=int, default=400, help="of --content, the first so many")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these styles alone, and anew")
    parser.add_argument("--sheets", type=Path, help="folder for a picture a style: photos, by its vector, by its study")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop this call after so many")
    group = parser.add_argument_group("settings")
    for each in fields(StudyConfig):
        group.add_argument("--" + each.name.replace("_", "-"), type=each.type, default=argparse.SUPPRESS,
                           help=f"{each.default}" + ", or what the list says" * (each.name in PER_STYLE))  # fmt: skip


def run_studies(options: argparse.Namespace, device: torch.device, teacher: VGG | None) -> int:
    """Study what has no study yet; --vgg looks in place of our own loss network."""
    settings = replace(Settings.from_env(), device="cuda" if device.type == "cuda" else "cpu")
    given = {each.name: getattr(options, each.name) for each in fields(StudyConfig) if hasattr(options, each.name)}
    stylizer = Stylizer(settings=settings)
    wanted = _wanted(stylizer, options.only)
    configs = {entry["name"]: config_of(entry, given) for entry in wanted}
    pictures = {entry["name"]: picture_of(entry, settings.styles, options.masters) for entry in wanted}
    photos = _photos(options.content, options.photos)
    network = teacher or gatys.load_backbone(gatys.default_backbone(settings), settings)
    folder = settings.styles / STUDIES
    folder.mkdir(exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    for number, (name, path) in enumerate(pictures.items(), 1):
        if time.monotonic() > end:
            print(f"stopped for now; the same command goes on with {name}")
            break
        picture, began, vector = images.as_picture(path, settings), time.monotonic(), stylizer.gallery[name].vector
        seen = random.Random(name).sample(photos, min(len(photos), configs[name].steps))
        views = fit.views_of(seen, stylizer.brush_height(vector), configs[name])
        before = folder / f"{name}{SUFFIX}"
        steps = fit.fit(
            fit.load_transformer(settings), network, picture, vector, views, configs[name],
            name=name, origin=stylizer.transformer, coarser=stylizer.coarser, device=device,
            start=studies.read(before) if before.exists() and name not in options.only else None,
        )  # fmt: skip
        done = list(steps)
        studies.write(done[-1].study, before)
        write_checksums(settings.styles)
        seconds = time.monotonic() - began
        print(f"{number:2} of {len(pictures)} {name:32} {_in_words(done)}, {seconds:.0f} s", flush=True)
        if options.sheets:
            options.sheets.mkdir(parents=True, exist_ok=True)
            sheet(stylizer, done[-1].study, picture, photos).save(options.sheets / f"{name}.jpg", quality=90)
    return 0


def _wanted(stylizer: Stylizer, only: Sequence[str]) -> list[dict]:
    entries = read_list(stylizer.settings.styles)
    unknown = sorted(set(only) - {entry["name"] for entry in entries})
    if unknown:
        raise ParameterError("only", f"there is no style {unknown[0]!r} in the gallery")
    if only:
        return [entry for entry in entries if entry["name"] in only]
    return [entry for entry in entries
            if entry.get("study") is not False and not stylizer.gallery[entry["name"]].study]  # fmt: skip


def config_of(entry: dict, given: Mapping[str, float]) -> StudyConfig:
    """Of a style: what the command line gives goes before what the list says."""
    said = entry.get("study", {})
    if said is False:  # --only makes one all the same
        said = {}
    if not isinstance(said, dict) or not all(type(value) in PER_STYLE.get(key, ()) for key, value in said.items()):
        raise ParameterError(
            "study",
            f"the list says study = {said!r} of {entry['name']}; "
            f"it must be false, or numbers for {', '.join(PER_STYLE)}",
        )
    config = StudyConfig(**{**said, **given})
    fit.check_config(config)
    return config


def _photos(sources: Sequence[Path], count: int) -> list[Picture]:
    """The first pictures of these sources."""
    settings, found = Settings(), []
    for source in sources:
        for name, content in data.files(source):
            if len(found) == count:
                return found
            found.append(images.decode(content, settings, name))
    return found


def _in_words(steps: Sequence[Step]) -> str:
    """Means over the first and the last tenth of the steps."""
    some = max(1, len(steps) // 10)
    return ", ".join(
        f"{term} {np.mean([step.losses[term] for step in steps[:some]]):.3f} -> "
        f"{np.mean([step.losses[term] for step in steps[-some:]]):.3f}" for term in ("style", "content")
    )  # fmt: skip


def sheet(stylizer: Stylizer, study: studies.Study, painting: Picture, photos: Sequence[Picture]) -> Image.Image:
    """The painting, then a row a photo: as it is, by the style vector, by the study."""
    rows = [[images.resize(painting, SHOWN_SIDE).rgb]]
    for photo in photos[:: max(1, len(photos) // SHOWN)][:SHOWN]:
        record = stylizer.photo(photo, SHOWN_SIDE)
        painted = (stylizer.paint(record, style).rgb for style in (Blend(study.vector), Blend.of(study)))
        rows.append([record.picture.rgb, *painted])
    canvas = Image.new("RGB", (3 * SHOWN_SIDE, sum(row[0].shape[0] for row in rows)), "white")
    top = 0
    for row in rows:
        for column, rgb in enumerate(row):
            canvas.paste(Image.fromarray(rgb), (column * SHOWN_SIDE, top))
        top += row[0].shape[0]
    return canvas
