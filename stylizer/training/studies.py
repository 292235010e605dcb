"""Learn the gallery's missing studies, after the transformer has changed.

One painting after another is studied on photos, and its study written to `styles/studies/`. Studies that are there
already, for these weights, are left alone, so the same command resumes after a cut. A study for other weights is where
the new one starts.

Look at the results. In `styles/styles.toml` a style may say `study = { painting_size = 448 }` for broader strokes, or
`study = false` if its vector looks better; then delete its file as well.
"""

import argparse
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from PIL import Image

from stylizer import fit, images, loss_networks, studies
from stylizer.errors import ParameterError
from stylizer.feedforward import Stylizer
from stylizer.fit import Step, StudyConfig
from stylizer.images import Picture
from stylizer.options import add_options
from stylizer.settings import Settings
from stylizer.studies import SUFFIX
from stylizer.styles import STUDIES, Blend, read_list
from stylizer.training import data
from stylizer.training.arguments import add_device, add_vgg, device_of, loss_network_of
from stylizer.training.vectors import add_masters, picture_of, write_gallery_checksums

NUMBER = (int, float)
PER_STYLE = {"painting_size": (int,), "content_distance": NUMBER, "calm_weight": NUMBER}  # what styles.toml may set
SHOWN_SIDE = 384  # of photos on sheets
SHOWN = 3  # photos on a sheet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    add_vgg(parser, "another loss network than our narrow VGG: VGG-16's features, safetensors with torchvision's keys")
    parser.add_argument("--content", type=Path, nargs="+", required=True, help="tars or folders of photos")
    parser.add_argument("--photos", type=int, default=400, help="the number of these to use; 400 by default")
    add_masters(parser)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these styles, from scratch")
    parser.add_argument(
        "--sheets",
        type=Path,
        metavar="FOLDER",
        help="write a picture per style to it: photos, painted by the vector and by the study",
    )
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop this call after so many")
    group = parser.add_argument_group(
        "settings", f"{', '.join(PER_STYLE)} can also be set per style in styles.toml, where options given here win"
    )
    add_options(group, StudyConfig)


def run(arguments: argparse.Namespace) -> None:
    device, network = device_of(arguments), loss_network_of(arguments)
    settings = replace(Settings.from_env(), device="cuda" if device.type == "cuda" else "cpu")
    given = {each.name: getattr(arguments, each.name) for each in fields(StudyConfig)}
    given = {name: value for name, value in given.items() if value is not None}
    stylizer = Stylizer(settings=settings)
    wanted = _wanted(stylizer, arguments.only)
    configs = {entry["name"]: config_of(entry, given) for entry in wanted}
    pictures = {entry["name"]: picture_of(entry, settings.styles, arguments.masters) for entry in wanted}
    photos = _photos(arguments.content, arguments.photos)
    network = network or loss_networks.load(loss_networks.default(settings), settings)
    (settings.styles / STUDIES).mkdir(exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    for number, (name, path) in enumerate(pictures.items(), 1):
        if time.monotonic() > end:
            print(f"stopped for now; the same command continues with {name}")
            break
        began, file = time.monotonic(), settings.styles / STUDIES / f"{name}{SUFFIX}"
        vector = stylizer.gallery[name].vector
        picture = images.as_picture(path, settings)
        seen = random.Random(name).sample(photos, min(len(photos), configs[name].steps))
        steps = list(
            fit.fit(
                fit.load_transformer(settings),
                network,
                picture,
                vector,
                fit.views_of(seen, stylizer.brush_height(vector), configs[name]),
                configs[name],
                name=name,
                origin=stylizer.fingerprint,
                coarser=stylizer.coarser,
                device=device,
                start=studies.read(file) if file.exists() and name not in arguments.only else None,
            )
        )
        studies.write(steps[-1].study, file)
        write_gallery_checksums(settings.styles)
        seconds = time.monotonic() - began
        print(f"{number:2} of {len(pictures)} {name:32} {_in_figures(steps)}, {seconds:.0f} s", flush=True)
        if arguments.sheets:
            arguments.sheets.mkdir(parents=True, exist_ok=True)
            sheet(stylizer, steps[-1].study, picture, photos).save(arguments.sheets / f"{name}.jpg", quality=90)


def _wanted(stylizer: Stylizer, only: Sequence[str]) -> list[dict]:
    """Entries of the list: those named in `only`, else those that should have a study and have none."""
    entries = read_list(stylizer.settings.styles)
    unknown = sorted(set(only) - {entry["name"] for entry in entries})
    if unknown:
        raise ParameterError("only", f"there is no style {unknown[0]!r} in the gallery")
    if only:
        return [entry for entry in entries if entry["name"] in only]
    return [entry for entry in entries if entry.get("study") is not False and not stylizer.gallery[entry["name"]].study]


def config_of(entry: dict, given: Mapping[str, float]) -> StudyConfig:
    """How a style is studied: what the command line gives wins over what the list says."""
    said = entry.get("study", {})
    if said is False:  # --only makes one nevertheless
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
    """The first `count` pictures of these sources."""
    settings, found = Settings(), []
    for source in sources:
        for name, content in data.files(source):
            if len(found) == count:
                return found
            found.append(images.decode(content, settings, name))
    return found


def _in_figures(steps: Sequence[Step]) -> str:
    """Means over the first and the last tenth of the steps."""
    some = max(1, len(steps) // 10)
    return ", ".join(
        f"{term} {np.mean([step.losses[term] for step in steps[:some]]):.3f} -> "
        f"{np.mean([step.losses[term] for step in steps[-some:]]):.3f}"
        for term in ("style", "content")
    )


def sheet(stylizer: Stylizer, study: studies.Study, painting: Picture, photos: Sequence[Picture]) -> Image.Image:
    """The painting, then a row per photo: as it is, painted by the style vector, painted by the study."""
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
