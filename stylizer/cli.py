"""The `stylizer` command. Exit status 0: done; 1: some pictures failed; 2: a usage error, reported in one line."""

import argparse
import contextlib
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stylizer import __version__
from stylizer.errors import ParameterError, StylizerError
from stylizer.files import write_whole
from stylizer.options import add_options, chosen
from stylizer.progress import Progress
from stylizer.settings import Settings

if TYPE_CHECKING:  # the commands import these when they run: torch alone takes seconds
    from stylizer import fit, gatys
    from stylizer.feedforward import Stylizer
    from stylizer.images import Picture
    from stylizer.styles import Blend

Step = TypeVar("Step", bound="gatys.Step | fit.Step")

SUFFIXES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp"}  # that we write
SAID_PIXELS = 2_000_000  # larger pictures take over a second, so the command says that it is working
READABLE = {*SUFFIXES, ".jfif", ".gif", ".bmp", ".tif", ".tiff", ".avif"}  # that we look for in a folder
# Picture formats that we cannot read: the command reports that it skipped them.
OTHER_PICTURES = {
    ".heic",
    ".heif",
    ".hif",
    ".jxl",
    ".jp2",
    ".j2k",
    ".svg",
    ".pdf",
    ".psd",
    ".xcf",
    ".eps",
    ".tga",
    ".exr",
    ".hdr",
    ".raw",
    ".dng",
    ".arw",
    ".cr2",
    ".cr3",
    ".crw",
    ".nef",
    ".nrw",
    ".orf",
    ".pef",
    ".raf",
    ".rw2",
    ".srw",
    ".x3f",
}


def main(arguments: list[str] | None = None) -> int:
    _write_any_character()
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser(arguments[0] if arguments else None).parse_args(arguments)
    try:
        return options.run(options, None if options.run is _doctor else Settings.from_env())
    except StylizerError as error:
        print(f"stylizer: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stylizer: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `stylizer styles | head`
        sys.stderr.close()
        return 0


def _write_any_character() -> None:
    """Write characters that the terminal or pipe cannot encode as escapes, such as \\u014c."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _say(words: str) -> None:
    print(f"stylizer: {words}", file=sys.stderr, flush=True)


def _parser(command: str | None) -> argparse.ArgumentParser:
    """All commands. Options that torch is needed to list are added only for the command given."""
    parser = argparse.ArgumentParser(prog="stylizer", description="Paint photos in the style of any painting.")
    parser.add_argument("--version", action="version", version=f"stylizer {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    stylize = commands.add_parser(
        "stylize", help="paint photos", description="Paint photos in a style or a mix of styles."
    )
    stylize.add_argument("photo", nargs="+", type=Path, help="a picture, or a folder of them")
    stylize.add_argument(
        "--style",
        action="append",
        required=True,
        help="a gallery name (see `stylizer styles`) or a picture; repeat to mix",
    )
    stylize.add_argument("--weight", action="append", type=float, help="one per style in the mix; equal by default")
    stylize.add_argument("--strength", default=1.0, help="0 (the photo) to 1 (the full style); default 1")
    stylize.add_argument("--size", default="original", help='longest side in pixels, or "original" (the default)')
    stylize.add_argument("--style-scale", default=1.0, help="size of the strokes, 0.5 to 2; default 1")
    stylize.add_argument(
        "--keep-colors", action="store_true", help="keep the photo's colours, change only its lightness"
    )
    stylize.add_argument("--keep-light", action="store_true", help="keep the photo's distribution of light and dark")
    stylize.add_argument(
        "-o", "--output", type=Path, help="a file for one photo, otherwise a folder; default PHOTO-stylised.png"
    )
    stylize.add_argument(
        "--skip-existing", action="store_true", help="resume an earlier run: skip photos whose output exists"
    )
    stylize.set_defaults(run=_stylize)

    _add_gatys(commands, command == "gatys")
    _add_study(commands, command == "study")

    styles = commands.add_parser("styles", help="list the gallery")
    styles.set_defaults(run=_styles)

    vector = commands.add_parser("vector", help="print a picture's style vector, 100 numbers, as JSON")
    vector.add_argument("picture", type=Path)
    vector.set_defaults(run=_vector)

    info = commands.add_parser("info", help="show the device, runtime and weights")
    info.set_defaults(run=_info)

    doctor = commands.add_parser(
        "doctor",
        help="check the installation and measure how fast it paints",
        description="Check everything that painting needs, and paint a test picture. Exit status 1: a check failed.",
    )
    doctor.add_argument("--json", action="store_true", help="print the report as JSON")
    doctor.set_defaults(run=_doctor)

    serve = commands.add_parser("serve", help="serve the page and the API on this machine")
    serve.add_argument("--host", help="default 127.0.0.1: this machine only")
    serve.add_argument("--port", help="default 8050")
    serve.set_defaults(run=_serve)
    return parser


def _add_gatys(commands: "argparse._SubParsersAction", in_full: bool) -> None:
    gatys = commands.add_parser(
        "gatys",
        help="paint one photo by optimising the picture itself: slower, but closer to the painting",
        description="Optimise a picture to match a photo's content and a painting's style (Gatys et al. 2016).",
    )
    gatys.add_argument("photo", type=Path)
    gatys.add_argument(
        "--style", action="append", required=True, help="a picture, or one of this project's own styles; repeat to mix"
    )
    gatys.add_argument("--weight", action="append", type=float, help="one per style in the mix; equal by default")
    _add_backbone(gatys)
    if in_full and _has_torch():
        from stylizer.gatys import GatysConfig

        add_options(gatys, GatysConfig)
    gatys.add_argument("--size", default=512, help='longest side in pixels, or "original"; default 512')
    gatys.add_argument("-o", "--output", type=Path, help="default PHOTO-gatys.png")
    gatys.set_defaults(run=_gatys)


def _add_backbone(command: argparse.ArgumentParser) -> None:
    from stylizer.weights import loss_networks

    names = ", ".join(f"{name} ({each.title})" for name, each in loss_networks().items())
    command.add_argument("--backbone", help=f"the loss network: {names}; default the first")
    command.add_argument(
        "--backbone-weights",
        type=Path,
        metavar="FILE",
        help="its weights, safetensors or .pth with torchvision's keys; by default downloaded once",
    )


def _add_study(commands: "argparse._SubParsersAction", in_full: bool) -> None:
    study = commands.add_parser(
        "study",
        help="learn one painting for a minute or more: closer to it than a style vector",
        description="Fit a study to a painting by gradient descent. Pass the file to `stylize --style`.",
    )
    study.add_argument("painting", type=Path, help="a picture, or the name of one of this project's own styles")
    study.add_argument("--photos", nargs="+", type=Path, default=[], help="to learn on; default our own drawings")
    _add_backbone(study)
    if in_full and _has_torch():
        from stylizer.fit import StudyConfig

        add_options(study, StudyConfig)
    study.add_argument("-o", "--output", type=Path, help="default PAINTING.study.safetensors")
    study.set_defaults(run=_study)


# stylize ------------------------------------------------------------------------------------------------------------


def _stylize(options: argparse.Namespace, settings: Settings) -> int:
    from stylizer.feedforward import Stylizer
    from stylizer.parameters import check_size, check_strength, check_style_scale, check_weights

    check_strength(options.strength)  # before spending seconds on loading
    check_style_scale(options.style_scale)
    check_size(options.size, settings)
    check_weights(options.weight, len(options.style))
    jobs = plan(options.photo, options.output)
    _say_skipped(options.photo)
    if options.skip_existing:
        jobs = _without_painted(jobs)
    if not jobs:
        return 0
    stylizer = Stylizer(settings=settings)
    style = stylizer.mix(options.style, options.weight)
    failed = 0
    for photo, target in _progress(jobs):
        try:
            _paint(stylizer, photo, target, style, options)
        except StylizerError as error:
            if len(jobs) == 1:
                raise
            failed += 1
            _say(str(error) if str(photo) in str(error) else f"{photo}: {error}")
    if failed:
        _say(f"{failed} of {len(jobs)} pictures failed; the others are done")
    return 1 if failed else 0


def _paint(stylizer: "Stylizer", photo: Path, target: Path, style: "Blend", options: argparse.Namespace) -> None:
    picture = stylizer.photo(photo, options.size, style_scale=options.style_scale)
    width, height = picture.canvas.size
    if width * height > SAID_PIXELS and sys.stderr.isatty():
        print(f"painting {width}x{height} pixels ...", file=sys.stderr)
    with Progress("tile", what=photo.name, delay=0.5) as tiles:
        keep = {"keep_colors": options.keep_colors, "keep_light": options.keep_light}
        _write(target, stylizer.paint(picture, style, options.strength, **keep, progress=tiles.to))


def _write(target: Path, picture: "Picture") -> None:
    from stylizer import images

    data = images.encode(picture, SUFFIXES[target.suffix.lower()])
    try:
        write_whole(target, data)
    except OSError as cause:
        raise ParameterError("output", f"{target} cannot be written: {cause.strerror}") from cause


def _progress(jobs: list[tuple[Path, Path]]) -> Iterator[tuple[Path, Path]]:
    """The jobs, with a progress report if there are several."""
    if len(jobs) == 1:
        yield from jobs
        return
    with Progress("picture", len(jobs)) as progress:
        for done, job in enumerate(jobs, 1):
            yield job
            progress.to(done)


def _say_skipped(photos: Iterable[Path]) -> None:
    """Print one line for each folder with pictures in formats that we cannot read."""
    for folder in photos:
        others = _other_pictures(folder)
        if others:
            _say(f"skipped in {folder}: {others} (unsupported formats; save them as JPEG or PNG)")


def _other_pictures(folder: Path) -> str:
    """ "3 .heic, 1 .nef": counts of pictures in formats that we cannot read; empty if there are none."""
    if not folder.is_dir():
        return ""
    found = Counter(file.suffix.lower() for file in folder.iterdir() if file.is_file())
    return ", ".join(f"{found[suffix]} {suffix}" for suffix in sorted(OTHER_PICTURES & set(found)))


def _without_painted(jobs: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    left = [(photo, target) for photo, target in jobs if not target.exists()]
    if len(left) < len(jobs):
        _say(f"{len(jobs) - len(left)} of {len(jobs)} pictures already exist")
    return left


def plan(photos: list[Path], output: Path | None) -> list[tuple[Path, Path]]:
    """[(photo, output file)]: a folder in gives a folder out. ParameterError if the arguments do not allow that."""
    folders = [photo for photo in photos if photo.is_dir()]
    if not folders and len(photos) == 1 and not (output and _means_folder(output)):
        target = output or photos[0].with_name(f"{photos[0].stem}-stylised.png")
        return [(photos[0], _writable(target))]
    if output and not _means_folder(output):
        raise ParameterError("output", f"{output} is one file, but there are several photos; name a folder")
    jobs: list[tuple[Path, Path]] = []
    for photo in photos:
        if photo.is_dir():
            target = output or photo.with_name(f"{photo.name}-stylised")
            found = sorted(file for file in photo.iterdir() if file.is_file() and file.suffix.lower() in READABLE)
            if not found:
                others = _other_pictures(photo)
                though = f" (there are {others})" if others else ""
                raise ParameterError(
                    "photo", f"no supported picture in {photo}{though}; supported are {', '.join(sorted(READABLE))}"
                )
        else:
            target, found = output or photo.parent, [photo]
        jobs += [(file, target / f"{file.stem}{'' if photo.is_dir() else '-stylised'}.png") for file in found]
    return _without_clashes(jobs)


def _means_folder(path: Path) -> bool:
    return path.is_dir() or not path.suffix


def _writable(target: Path) -> Path:
    if target.suffix.lower() not in SUFFIXES:
        raise ParameterError("output", f"cannot write {target}: the file name must end in {', '.join(SUFFIXES)}")
    return target


def _without_clashes(jobs: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """a.jpg and a.png in one folder become a.png and a-2.png, and no photo is overwritten."""
    taken, photos, result = set(), {photo.resolve() for photo, _ in jobs}, []
    for photo, target in jobs:
        free, number = target, 2
        while free in taken or free.resolve() in photos:
            free, number = target.with_stem(f"{target.stem}-{number}"), number + 1
        taken.add(free)
        result.append((photo, free))
    return result


# gatys --------------------------------------------------------------------------------------------------------------


def _gatys(options: argparse.Namespace, settings: Settings) -> int:
    target = _writable(options.output or options.photo.with_name(f"{options.photo.stem}-gatys.png"))
    _need_torch("Classic")
    from stylizer import gatys, images

    config = chosen(gatys.GatysConfig, options)
    with _download() as download:
        photo, steps = gatys.paint(
            options.photo,
            options.style,
            config,
            settings,
            backbone=options.backbone,
            backbone_weights=options.backbone_weights,
            shares=options.weight,
            size=options.size,
            progress=download,
        )
    step = _watch(steps, config.steps)
    assert step.picture is not None  # the last step always has one
    _write(target, images.Picture(images.from_tensor(step.picture.numpy()), photo.alpha))
    return 0


def _study(options: argparse.Namespace, settings: Settings) -> int:
    from stylizer.studies import SUFFIX, write

    target = options.output or Path(f"{options.painting.stem}{SUFFIX}")
    if not target.name.endswith(SUFFIX):
        raise ParameterError("output", f"cannot write a study to {target}: the file name must end in {SUFFIX}")
    _need_torch("a study")
    from stylizer import fit

    config = chosen(fit.StudyConfig, options)
    with _download() as download:
        steps = fit.study(
            str(options.painting),
            config,
            settings,
            name=options.painting.stem,
            photos=options.photos,
            backbone=options.backbone,
            backbone_weights=options.backbone_weights,
            progress=download,
        )
    write(_watch(steps, config.steps).study, target)
    return 0


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def _need_torch(what: str) -> None:
    if not _has_torch():
        raise ParameterError("device", f"{what} needs torch: pip install 'stylizer[torch]'")


@contextlib.contextmanager
def _download() -> Iterator[Callable[[int, int], None]]:
    """A callback for the bytes downloaded, should a network have to be downloaded."""
    with contextlib.ExitStack() as ends:
        bars: list[Progress] = []

        def to(done: int, total: int) -> None:
            if not bars:
                bars.append(ends.enter_context(Progress("B", total, "network")))
            bars[0].to(done, total)

        yield to


def _watch(steps: Iterator[Step], total: int) -> Step:
    """Run all steps, reporting progress and losses, and return the last."""
    with Progress("step", total) as progress:
        for step in steps:
            progress.to(step.index, words=", ".join(f"{name} {value:.3g}" for name, value in step.losses.items()))
    return step


# The other commands -------------------------------------------------------------------------------------------------


def _styles(_options: argparse.Namespace, settings: Settings) -> int:
    from stylizer.styles import read_gallery

    gallery = read_gallery(settings.styles).values()
    width = max(len(style.name) for style in gallery)
    for style in gallery:
        print(f"{style.name:{width}}  {style.kind:8}  {style.title}, {style.artist}, {style.year}")
    return 0


def _vector(options: argparse.Namespace, settings: Settings) -> int:
    from stylizer.feedforward import Stylizer

    stylizer = Stylizer(settings=settings)
    print(json.dumps({"model": stylizer.model, "vector": [float(n) for n in stylizer.style_vector(options.picture)]}))
    return 0


def _info(_options: argparse.Namespace, settings: Settings) -> int:
    import os

    from stylizer import weights
    from stylizer.feedforward import Stylizer

    stylizer = Stylizer(settings=settings)
    runtime = stylizer.runtime
    print(f"stylizer  {__version__}")
    print(f"device    {runtime.device}, {os.cpu_count()} cores")
    print(f"runtime   {runtime.library}, {runtime.precision}")
    print(f"gallery   {len(stylizer.gallery)} styles in {settings.styles}")
    for network, stem in (("predictor", settings.predictor_stem), ("transformer", settings.transformer_stem)):
        digest = weights.fingerprint(settings.models, f"{stem}.safetensors")
        source = weights.record(f"{stem}.safetensors")
        print(f"weights   {stem}@{digest}: {source.title}; {source.source}; {source.licence}")
        others = [name for name in weights.choices(settings.models, network) if f"{network}-{name}" != stem]
        if others:
            print(f"          set STYLIZER_{network.upper()} to use {' or '.join(others)} instead")
    return 0


def _doctor(options: argparse.Namespace, _settings: None) -> int:
    from stylizer import doctor

    report = doctor.examine()
    print(report.as_json() if options.json else report.as_text(sys.stdout.encoding))
    return 0 if report.good else 1


def _serve(options: argparse.Namespace, settings: Settings) -> int:
    from stylizer.web import create_app, serve

    given = {"host": options.host, "port": options.port}
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    app = create_app(settings)
    address = f"http://{settings.host}:{settings.port}"
    try:
        serve(
            app,
            settings.host,
            settings.port,
            lambda: print(f"Stylizer is running at {address} (press Ctrl+C to stop)", flush=True),
        )
    except OSError as cause:
        raise ParameterError("port", f"cannot serve at {address}: {cause.strerror}; try another --port") from cause
    return 0
