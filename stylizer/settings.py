"""Run-time settings: frozen dataclasses, read once from environment variables, each with type, bounds and description.

`python docs/settings.py` documents them in docs/settings.md.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from stylizer.errors import ParameterError, shown
from stylizer.parameters import boolean, decimal, whole

PACKAGE = Path(__file__).parent


def _folder(name: str) -> Path:
    """A data folder: next to the package in a checkout, inside it in an installed wheel."""
    inside = PACKAGE / "data" / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def _cache() -> Path:
    """The platform's cache folder."""
    if os.name == "nt" and "LOCALAPPDATA" in os.environ:
        return Path(os.environ["LOCALAPPDATA"]) / "stylizer" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "stylizer"


# What a setting may be ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """A whole number in these bounds."""

    smallest: int
    largest: int
    unit: str = ""

    def check(self, name: str, value: object) -> int:
        return whole(name, value, self.smallest, self.largest, self.words())

    def words(self) -> str:
        return f"a whole number from {self.smallest} to {self.largest}{self.unit and ' ' + self.unit}"


@dataclass(frozen=True)
class Number:
    """Any finite number in these bounds."""

    smallest: float
    largest: float
    unit: str = ""

    def check(self, name: str, value: object) -> float:
        return decimal(name, value, self.smallest, self.largest, self.words())

    def words(self) -> str:
        return f"a number from {self.smallest:g} to {self.largest:g}{self.unit and ' ' + self.unit}"


@dataclass(frozen=True)
class Switch:
    def check(self, name: str, value: object) -> bool:
        return boolean(name, value)

    def words(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Choice:
    of: tuple[str, ...]

    def check(self, name: str, value: object) -> str:
        if value not in self.of:
            raise ParameterError(name, f"{name} is {shown(value)}; choose from {', '.join(self.of)}")
        return value

    def words(self) -> str:
        return ", ".join(self.of[:-1]) + f" or {self.of[-1]}"


@dataclass(frozen=True)
class Text:
    """A string that matches this pattern completely."""

    pattern: str
    described: str

    def check(self, name: str, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value, re.ASCII):
            raise ParameterError(name, f"{name} is {shown(value)}; it must be {self.described}")
        return value

    def words(self) -> str:
        return self.described


@dataclass(frozen=True)
class Folder:
    """A folder. One that need not exist may also be inaccessible, but must not be a file."""

    must_exist: bool = True

    def check(self, name: str, value: object) -> Path:
        if not isinstance(value, (str, os.PathLike)):
            raise ParameterError(name, f"{name} is {shown(value)}; it must be {self.words()}")
        path = Path(value)
        try:
            path = path.expanduser()
            fits = path.is_dir() if self.must_exist else not path.is_file()
        except (OSError, RuntimeError):  # no permission, a name too long, no home folder
            fits = not self.must_exist
        if not fits:
            raise ParameterError(name, f"{name} is {shown(str(path))}; it must be {self.words()}")
        return path

    def words(self) -> str:
        return "a folder that exists" if self.must_exist else "a folder, which may be missing"


Kind = Whole | Number | Switch | Choice | Text | Folder

NETWORK = Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "a network's name: letters, digits, dots and hyphens")
HOST = Text(r"[A-Za-z0-9._:%-]{1,255}", "a host name or an address, such as 127.0.0.1, ::1 or 0.0.0.0")
NAMES = r"(\*|(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*)"
HOSTS = Text(rf"{NAMES}( *, *{NAMES})*", 'host names separated by commas, such as "paint.example.org, *.run.app", or *')
PIXELS = "pixels"


def setting(default: Any, kind: Kind, reason: str, shown_default: str = "") -> Any:
    """A dataclass field. `default` may be a function that returns it; the documentation then shows `shown_default`."""
    made = {"default_factory": default} if callable(default) else {"default": default}
    return field(**made, metadata={"kind": kind, "reason": reason, "default": shown_default})


def _default(each: Field) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


@dataclass(frozen=True)
class Checked:
    """Base of the settings dataclasses: every value is checked, however they are created."""

    PREFIX: ClassVar[str]  # of the environment variables
    AT_MOST: ClassVar[Sequence[tuple[str, str]]] = ()  # (name, name of a setting that it must not exceed)

    def __post_init__(self) -> None:
        for each in fields(self):
            kind, value = each.metadata["kind"], getattr(self, each.name)
            if isinstance(kind, Folder) and value == _default(each):  # not everything needs all folders
                kind = Folder(must_exist=False)
            object.__setattr__(self, each.name, kind.check(each.name, value))
        for name, other in self.AT_MOST:
            low, high = getattr(self, name), getattr(self, other)
            if low > high:
                raise ParameterError(name, f"{name} is {low}, but {other} is {high}; {name} must not be larger")

    @classmethod
    def variables(cls) -> dict[str, Field]:
        """{environment variable: its field}."""
        return {f"{cls.PREFIX}{each.name.upper()}": each for each in fields(cls)}

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Settings from environment variables; ParameterError names one that is out of bounds or unknown."""
        environ, known = os.environ if environ is None else environ, cls.variables()
        unknown = [name for name in environ if cls.PREFIX and name.startswith(cls.PREFIX) and name not in known]
        if unknown:
            raise ParameterError(unknown[0], f"unknown setting {unknown[0]}; choose from {', '.join(sorted(known))}")
        values = {}
        for name, each in known.items():
            if name in environ:
                if not environ[name].strip():
                    raise ParameterError(name, f"{name} is empty; unset it, or give {each.metadata['kind'].words()}")
                values[each.name] = each.metadata["kind"].check(name, environ[name])
        return cls(**values)


# The settings -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings(Checked):
    """Settings, each set by STYLIZER_<FIELD>, e.g. STYLIZER_MAX_MEGAPIXELS=80. ParameterError if out of bounds."""

    PREFIX = "STYLIZER_"
    AT_MOST = (("min_side", "max_side"), ("min_side", "api_size"), ("min_side", "optimise_size"))

    device: str = setting(
        "auto",
        Choice(("auto", "cpu", "cuda", "torch-cpu")),
        "what to paint with: cpu is OpenVINO, cuda and torch-cpu are torch; auto takes the best there is",
    )
    predictor: str = setting(
        "mobilenet-v2",
        NETWORK,
        "predictor in the models folder that reads paintings; the gallery's vectors belong to its space",
    )
    transformer: str = setting(
        "separable", NETWORK, "transformer in the models folder that paints: separable, which is faster, or plain"
    )
    precision: str = setting(
        "auto",
        Choice(("auto", "int8", "f32")),
        "int8: part of the encoder in 8 bits; auto: bf16 on a CPU that has it, or int8 if that gains; f16 on CUDA",
    )
    threads: int = setting(
        0, Whole(0, 1024), "CPU threads per picture; 0: one per core that this process and its container may use"
    )
    max_body_bytes: int = setting(24 * 2**20, Whole(1024, 2**30, "bytes"), "largest request body, pictures included")
    max_megapixels: float = setting(
        50.0, Number(0.01, 10_000), "largest picture once decoded; 50 megapixels are 150 MB of RGB"
    )
    min_side: int = setting(
        32, Whole(8, 4096, PIXELS), "smallest side of a picture; below 32 little is left after two strides of two"
    )
    max_side: int = setting(16384, Whole(32, 65535, PIXELS), "largest side of a picture that is read or painted")
    max_ratio: float = setting(20.0, Number(1, 1000), "largest ratio of the longer side to the shorter")
    max_styles: int = setting(5, Whole(1, 20), "most styles in one mix")
    api_size: int = setting(1024, Whole(8, 65535, PIXELS), "longest side over HTTP when the request does not name one")
    cached_photos: int = setting(8, Whole(0, 10_000), "encoded photos kept between slider moves, in memory only")
    cached_megabytes: int = setting(128, Whole(0, 10**6, "MB"), "and the most memory they may take together")
    slots: int = setting(2, Whole(1, 64), "pictures painted at a time; further requests wait, or get 429")
    queue_seconds: float = setting(
        20.0, Number(0, 3600, "seconds"), "longest wait for a slot; a request that would wait longer gets 429"
    )
    optimise_slots: int = setting(
        1,
        Whole(1, 16),
        "Classic pictures and studies at a time; each uses all cores, so others wait at most two seconds, then get 429",
    )
    optimise_seconds: float = setting(
        300.0, Number(0, 86_400, "seconds"), "time limit of Classic and studies; then the result so far is returned"
    )
    optimise_steps: int = setting(1000, Whole(1, 100_000), "most steps of Classic and studies over HTTP")
    optimise_size: int = setting(1024, Whole(8, 8192, PIXELS), "limit on the longest side of Classic over HTTP")
    optimise_download: bool = setting(
        False, Switch(), "whether a request may make the server download a missing loss network, up to 548 MB"
    )
    allowed_hosts: str = setting(
        "*.run.app",
        HOSTS,
        "host names to answer to, besides IP addresses, localhost, names without a dot and this machine's own; "
        "* allows any, and then other websites can reach it through their visitors' browsers",
    )
    host: str = setting(
        "127.0.0.1", HOST, "address `stylizer serve` listens on; the default is reachable from this machine only"
    )
    port: int = setting(8050, Whole(1, 65535), "port `stylizer serve` listens on")
    models: Path = setting(
        lambda: _folder("models"), Folder(), "folder with the weights", "models/, beside the package"
    )
    styles: Path = setting(
        lambda: _folder("styles"), Folder(), "folder with the gallery", "styles/, beside the package"
    )
    assets: Path = setting(
        lambda: _folder("assets"), Folder(), "folder with the page's files", "assets/, beside the package"
    )
    browser_runtime: Path = setting(
        PACKAGE.parent / "node_modules" / "onnxruntime-web" / "dist",
        Folder(must_exist=False),
        "in-browser runtime as npm fetched it; without it the page paints on the server only",
        "node_modules/onnxruntime-web/dist",
    )
    cache: Path = setting(
        _cache,
        Folder(must_exist=False),
        "folder for loss networks that are downloaded on first use",
        "~/.cache/stylizer, or the platform's equivalent",
    )
    queue_length: int = setting(
        32, Whole(0, 1000), "requests that may wait for a slot; each holds a thread and a photo in memory"
    )
    request_seconds: float = setting(
        120.0,
        Number(0.1, 3600, "seconds"),
        "longest time until an answer begins; 16 megapixels take half a minute on two cores",
    )
    drain_seconds: float = setting(
        6.0,
        Number(0.1, 3600, "seconds"),
        "time to finish accepted requests after a stop signal; Cloud Run kills after 10",
    )
    held_megabytes: int = setting(
        0, Whole(0, 10**6, "MB"), "most memory for all waiting request bodies; 0: an eighth of the free memory"
    )
    enlarge_megapixels: float = setting(
        16.0, Number(0, 10_000), "largest result over HTTP that is enlarged from a smaller photo; A3 at 300 dpi is 17"
    )
    access_log: bool = setting(False, Switch(), "whether to log one line per answer; never a path, name or address")
    log_format: str = setting("text", Choice(("text", "json")), "format of log lines; json suits cloud log collectors")
    metrics: bool = setting(False, Switch(), "whether to serve /metrics for Prometheus, to anyone who can reach it")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_side**2 > 1e6 * self.max_megapixels:
            least = self.min_side**2 / 1e6
            raise ParameterError(
                "max_megapixels",
                f"max_megapixels is {self.max_megapixels:g}, but the smallest picture of min_side {self.min_side} has "
                f"{least:g}; raise the former or lower the latter",
            )

    @property
    def predictor_stem(self) -> str:
        """File name of the predictor in models/, without its suffix."""
        return f"predictor-{self.predictor}"

    @property
    def transformer_stem(self) -> str:
        return f"transformer-{self.transformer}"

    @property
    def host_names(self) -> tuple[str, ...]:
        """`allowed_hosts` as a tuple, in lower case."""
        return tuple(name.strip().lower() for name in self.allowed_hosts.split(","))


@dataclass(frozen=True)
class Deployment(Checked):
    """What gunicorn.conf.py reads besides the settings, under the names that platforms use."""

    PREFIX = ""

    port: int = setting(8050, Whole(1, 65535), "port gunicorn listens on; Cloud Run sets it")
    web_threads: int = setting(
        16, Whole(1, 1024), "threads for quick requests, besides those that paint or wait for a slot"
    )
