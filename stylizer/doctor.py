"""`stylizer doctor`: what this machine has, what is missing, and how fast it paints, one line per finding.

It changes nothing and downloads nothing. A finding is good, bad or informational: anything missing that painting does
not need is informational.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import socket
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np

from stylizer import __version__, cores, weights
from stylizer.errors import StylizerError
from stylizer.memory import free_memory, total_memory
from stylizer.settings import PACKAGE, Settings

TRIAL_SIDES = 512, 256  # pixels: side of the test picture, the first that fits in memory
SIZES = 512, 1024, 2048  # longest sides for which times are reported,
SHAPE = 3 / 4  # for photos of this aspect ratio
TORCH = "torch"
LEAST_MEMORY = 0.6e9  # bytes: weights, OpenVINO and a picture of 512 pixels
# Instruction sets that speed up painting, as processors name them and as people do; the best first.
INSTRUCTIONS = {
    "amx_bf16": "AMX (bf16)",
    "avx512_bf16": "AVX-512 (bf16)",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx_vnni": "VNNI",
    "avx2": "AVX2",
    "i8mm": "I8MM",
    "bf16": "bf16",
    "asimd": "NEON",
}

PRECISIONS = {
    "bf16": "bf16, which halves the time",
    "int8": "float32, and in 8 bits what gains by it",
    "f32": "float32: this processor does not compute in bf16, or STYLIZER_PRECISION says so",
}


@dataclass(frozen=True)
class Finding:
    topic: str
    good: bool | None  # None: informational
    words: str


@dataclass
class Report:
    findings: list[Finding] = field(default_factory=list)
    megapixels_a_second: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # {longest side in pixels: seconds}

    @property
    def good(self) -> bool:
        return all(finding.good is not False for finding in self.findings)

    def as_json(self) -> str:
        return json.dumps({"version": __version__, "good": self.good, **asdict(self)}, indent=2)

    def as_text(self, encoding: str | None = None) -> str:
        """One line per finding; words replace signs that the encoding lacks."""
        signs = {True: "✓", False: "✗", None: "·"}
        try:
            "".join(signs.values()).encode(encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            signs = {True: "ok", False: "NO", None: "--"}
        width = max(len(finding.topic) for finding in self.findings)
        lines = [f"{signs[each.good]} {each.topic:{width}}  {each.words}" for each in self.findings]
        verdict = "All checks passed." if self.good else "Some checks failed: see the lines marked with a cross."
        return "\n".join([*lines, "", verdict if signs[True] != "ok" else verdict.replace("a cross", "NO")])


def examine(environ: dict[str, str] | None = None) -> Report:
    """All findings, the test painting last. Takes as long as loading the networks and painting 512 pixels twice."""
    report, settings = Report(), Settings()
    try:
        settings = Settings.from_env(environ)
        report.findings.append(_settings(environ))
    except StylizerError as error:
        report.findings.append(Finding("settings", False, f"{error}; checking the defaults instead"))
    checks: list[tuple[str, Callable[[Settings], Iterator[Finding]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("processor", _processor),
        ("memory", _memory),
        ("weights", _weights),
        ("gallery", _gallery),
        ("torch", _torch),
        ("CUDA", _cuda),
        ("browser", _browser),
        ("cache", _cache),
        ("address", _address),
    ]
    for topic, check in checks:
        report.findings += _guarded(topic, partial(check, settings))
    report.findings += _guarded("painting", lambda: _painting(settings, report))
    return report


def _guarded(topic: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """The findings of a check; an error is a finding too, so one failing check does not stop the rest."""
    found: list[Finding] = []
    try:
        for finding in look():
            found.append(finding)
    except StylizerError as error:
        found.append(Finding(topic, False, str(error)))
    except Exception as error:
        words = next(iter(str(error).splitlines()), "")
        found.append(Finding(topic, False, f"the check failed: {type(error).__name__}: {words}"))
    return found


# What there is ------------------------------------------------------------------------------------------------------


def _settings(environ: dict[str, str] | None) -> Finding:
    given = sorted(name for name in (os.environ if environ is None else environ) if name.startswith("STYLIZER_"))
    return Finding("settings", True, f"{', '.join(given)} from the environment" if given else "all defaults")


def _python(_settings: Settings) -> Iterator[Finding]:
    wanted = _project()[0]
    version = platform.python_version()
    words = f"{version}, {platform.system()} on {platform.machine()}"
    good = fits(version, wanted)
    yield Finding("python", good, words if good else f"{words}; {wanted} is required")


def _packages(_settings: Settings) -> Iterator[Finding]:
    there, wrong = [], []
    for name, wanted in _project()[1].items():
        version = _version(name)
        if version is None:
            wrong.append(f"{name} is missing: pip install '{name}{wanted}'")
        elif not fits(version, wanted):
            wrong.append(f"{name} is {version}, but {wanted} is required: pip install '{name}{wanted}'")
        else:
            there.append(f"{name} {version}")
    yield Finding("packages", not wrong, "; ".join(wrong) or ", ".join(there))


def _processor(settings: Settings) -> Iterator[Finding]:
    name, flags = cores.processor()
    known = list(dict.fromkeys(words for flag, words in INSTRUCTIONS.items() if flag in flags))
    usable, share = cores.usable(), cores.quota()
    counted = f"{usable} of {os.cpu_count()} cores" if usable != os.cpu_count() else f"{usable} cores"
    limit = f", of which this container may use {share:g}" if share is not None and share < usable else ""
    threads = f"; STYLIZER_THREADS limits it to {settings.threads}" if settings.threads else ""
    vectors = ", ".join(known) or "no known vector instructions"
    yield Finding("processor", True, f"{name}, {counted}{limit}; {vectors}{threads}")
    if importlib.util.find_spec("openvino") is None:
        yield Finding("precision", False, "OpenVINO is not installed: pip install openvino")
        return
    from stylizer.runtimes.on_openvino import import_openvino, precision_for

    version = import_openvino().get_version().split("-")[0]
    try:
        yield Finding("precision", True, f"OpenVINO {version} paints in {PRECISIONS[precision_for(settings)]}")
    except StylizerError as error:  # a file of weights: what is wrong with it has a finding of its own
        yield Finding("precision", False, str(error))


def _memory(_settings: Settings) -> Iterator[Finding]:
    free, whole = free_memory(), total_memory()
    if free is None:
        yield Finding("memory", None, "this system does not report how much is free")
        return
    of = f" of the {_gigabytes(whole)} that this machine or container has" if whole else ""
    advice = "" if free >= LEAST_MEMORY else f"; a 512-pixel picture needs {_gigabytes(LEAST_MEMORY)}"
    yield Finding("memory", not advice, f"{_gigabytes(free)} free{of}{advice}")


def _weights(settings: Settings) -> Iterator[Finding]:
    from stylizer.runtimes.on_openvino import TRANSFORMER_PARTS

    needed = {f"{settings.transformer_stem}-{part}.onnx" for part in TRANSFORMER_PARTS}
    needed.add(f"{settings.predictor_stem}.onnx")
    listed, wrong, missing = weights.checksums(settings.models), [], []
    for file in sorted(needed | set(listed)):
        if file in needed or (settings.models / file).exists():
            try:
                weights.read(settings.models, file)
            except StylizerError as error:
                wrong.append(str(error))
        else:
            missing.append(file)
    whole = len(needed | set(listed)) - len(missing) - len(wrong)
    yield Finding("weights", not wrong, "; ".join(wrong) or f"{whole} files in {settings.models}, checksums match")
    if missing:
        yield Finding("weights", None, f"missing, but not needed to paint: {', '.join(missing)}")


def _gallery(settings: Settings) -> Iterator[Finding]:
    from stylizer.styles import read_gallery

    gallery = read_gallery(settings.styles)
    gone = [
        style.name for style in gallery.values() if style.picture and not (settings.styles / style.picture).is_file()
    ]
    yield Finding(
        "gallery",
        not gone,
        f"the pictures of {', '.join(gone)} are missing from {settings.styles}"
        if gone
        else f"{len(gallery)} styles in {settings.styles}",
    )


def _torch(_settings: Settings) -> Iterator[Finding]:
    version, wanted = _version(TORCH), _project()[2].get(TORCH, "")
    without = "no Classic, no `stylizer gatys` or `stylizer study`, no graphics cards"
    if version is None:
        yield Finding("torch", None, f"not installed, so {without}; not needed to paint: pip install 'stylizer[torch]'")
    else:
        good = fits(version, wanted)
        yield Finding("torch", good, version if good else f"{version}, but {wanted} is required; until then {without}")


def _cuda(settings: Settings) -> Iterator[Finding]:
    driver = os.path.exists("/dev/nvidiactl") or os.path.exists(r"C:\Windows\System32\nvcuda.dll")
    if not driver or importlib.util.find_spec(TORCH) is None:
        why = "torch is not installed" if driver else "no NVIDIA driver"
        yield Finding("CUDA", False if settings.device == "cuda" else None, f"{why}: painting runs on the processor")
        return
    import torch

    if torch.cuda.is_available():
        yield Finding("CUDA", True, f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}")
    else:
        yield Finding(
            "CUDA",
            False if settings.device == "cuda" else None,
            "there is a driver, but torch finds no card: was it built for this version of CUDA?",
        )


def _browser(settings: Settings) -> Iterator[Finding]:
    from stylizer.web import device

    if device.has_runtime(settings):
        yield Finding("browser", True, f"*On this device* is available: its runtime is in {settings.browser_runtime}")
    else:
        yield Finding("browser", None, "*On this device* is not available: install npm, then run make device")


def _cache(settings: Settings) -> Iterator[Finding]:
    folder = settings.cache.expanduser()
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    there = [name for name, each in weights.loss_networks().items() if (folder / each.file).is_file()]
    have = f", with {', '.join(there)}" if there else ", nothing downloaded yet"
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        yield Finding("cache", True, f"{folder}{have}")
    else:
        yield Finding("cache", None, f"cannot write to {folder}, so Classic cannot download its loss networks")


def _address(settings: Settings) -> Iterator[Finding]:
    address = f"http://{settings.host}:{settings.port}"
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.create_server((settings.host, settings.port), family=family):
            yield Finding("address", True, f"{address} is free for `stylizer serve`")
    except (OSError, OverflowError) as cause:
        if _is_ours(address):
            yield Finding("address", True, f"Stylizer is serving at {address}")
        else:
            why = getattr(cause, "strerror", None) or cause
            yield Finding("address", False, f"cannot serve at {address}: {why}; set STYLIZER_PORT to another port")


def _is_ours(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/api/v1/styles", timeout=2) as answer:
            return answer.status == 200 and answer.headers.get_content_type() == "application/json"
    except (OSError, ValueError, urllib.error.URLError):
        return False


# How fast -----------------------------------------------------------------------------------------------------------


def _painting(settings: Settings, report: Report) -> Iterator[Finding]:
    from stylizer.feedforward import Stylizer

    since = time.perf_counter()
    stylizer = Stylizer(settings=settings)
    loaded = time.perf_counter() - since
    vector = next(iter(stylizer.gallery.values())).vector
    free = free_memory()
    side = TRIAL_SIDES[0] if free is None or free > LEAST_MEMORY else TRIAL_SIDES[1]
    seconds = []
    for turn in range(3):  # the first compiles the networks for this size
        since = time.perf_counter()
        painted = stylizer.paint(stylizer.photo(_drawn(side, turn)), vector)
        seconds.append(time.perf_counter() - since)
    runtime, pace = stylizer.runtime, side * side / 1e6 / min(seconds[1:])
    report.megapixels_a_second = round(pace, 3)
    report.seconds = {str(size): round(size * size * SHAPE / 1e6 / pace, 2) for size in SIZES}
    what = f"{runtime.library} on {runtime.device}, {runtime.precision}"
    yield Finding(
        "painting",
        bool(painted.rgb.std() > 1),
        f"{what}: loaded in {loaded:.1f} s, first picture of "
        f"{side} x {side} pixels in {seconds[0]:.1f} s, the next in {min(seconds[1:]):.2f} s",
    )
    told = ", ".join(f"{size} px in {_seconds(report.seconds[str(size)])}" for size in SIZES)
    yield Finding("speed", True, f"{pace:.2g} megapixels per second: a photo of {told}")


def _drawn(side: int, turn: int) -> np.ndarray:
    """A test picture, different for each turn: (side, side, 3) uint8."""
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(2 * np.pi * (4 * x + channel * y + turn / 7)) for channel in range(1, 4)]
    return (127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)


def _seconds(number: float) -> str:
    return f"{number:.1g} s" if number < 1 else f"{number:.0f} s"


# The machine and the project ----------------------------------------------------------------------------------------


def _project() -> tuple[str, dict[str, str], dict[str, str]]:
    """(required Python versions, {required package: versions}, {package of the extra "torch": versions})."""
    file = PACKAGE.parent / "pyproject.toml"
    if file.is_file():  # a checkout: the installed metadata may be older
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        python, needed = project["requires-python"], project["dependencies"]
        extra = project["optional-dependencies"][TORCH]
    else:
        metadata = importlib.metadata.metadata("stylizer")
        python, lines = metadata["Requires-Python"], importlib.metadata.requires("stylizer") or []
        needed = [line for line in lines if "extra ==" not in line]
        extra = [line for line in lines if re.search(rf"extra == .{TORCH}.$", line)]
    return python, _requirements(needed), _requirements(extra)


def _requirements(lines: list[str]) -> dict[str, str]:
    """["dash[compress]>=4.4,<5"] -> {"dash": ">=4.4,<5"}"""
    found = (re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*\(?([^;)]*)", line) for line in lines)
    return {match[1]: match[2].strip() for match in found if match}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


COMPARED = {
    ">=": lambda one, other: one >= other,
    "<=": lambda one, other: one <= other,
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    ">": lambda one, other: one > other,
    "<": lambda one, other: one < other,
}


def fits(version: str, wanted: str) -> bool:
    """Whether a version satisfies ">=2.11,!=2.13.0,<3". Only its numbers count: 2.11.0+cpu is 2.11."""
    parts = (re.match(r"\s*(>=|<=|==|!=|>|<)\s*([\d.]+)", part) for part in wanted.split(",") if part.strip())
    return all(COMPARED[part[1]](_numbers(version), _numbers(part[2])) for part in parts if part)


def _numbers(version: str) -> tuple[int, ...]:
    """ "2.11.0+cpu" -> (2, 11), without trailing zeros."""
    numbers = [int(each) for each in re.split(r"[^\d.]", version)[0].split(".") if each]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _gigabytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB"


if __name__ == "__main__":
    report = examine()
    print(report.as_text(sys.stdout.encoding))
    sys.exit(0 if report.good else 1)
