"""Run-time settings: frozen dataclasses, read once from environment variables, each with its type, bounds and reason.

`python docs/settings.py` writes them down, in docs/settings.md.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from stylizer.errors import ParameterError, shown
from stylizer.parameters import boolean, decimal, whole

PACKAGE = Path(__file__).parent


def _folder(name: str) -> Path:
    """A data folder: beside the package in a checkout, inside it in an installed wheel."""
    inside = PACKAGE / "data" / name
    return inside if inside.is_dir() else PACKAGE.parent / name


def _cache() -> Path:
    """Where this platform keeps what can be downloaded again."""
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
    """A text that this pattern fits as a whole."""

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
    """A folder. One that need not exist may be out of reach as well, but nothing else may be in its place."""

    must_exist: bool = True

    def check(self, name: str, value: object) -> Path:
        if not isinstance(value, (str, os.PathLike)):
            raise ParameterError(name, f"{name} is {shown(value)}; it must be {self.words()}")
        path = Path(value)
        try:
            path = path.expanduser()
            fits = path.is_dir() if self.must_exist else not path.is_file()
        except (OSError, RuntimeError):  # no right to look, a name too long, no home folder
            fits = not self.must_exist
        if not fits:
            raise ParameterError(name, f"{name} is {shown(str(path))}; it must be {self.words()}")
        return path

    def words(self) -> str:
        return "a folder that exists" if self.must_exist else "a folder, which may be missing"


Kind = Whole | Number | Switch | Choice | Text | Folder

NETWORK = Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "a network's name: letters, digits, dots and hyphens")
HOST = Text(r"[A-Za-z0-9._:%-]{1,255}", "a host name or an address, as 127.0.0.1, ::1 or 0.0.0.0")
NAMES = r"(\*|(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*)"
HOSTS = Text(rf"{NAMES}( *, *{NAMES})*", 'host names with commas between them, as "paint.example.org, *.run.app", or *')
PIXELS = "pixels"


def setting(default: Any, kind: Kind, reason: str, shown_default: str = "") -> Any:
    """A dataclass field. `default` may be a function that finds it; documents then say `shown_default` of it."""
    made = {"default_factory": default} if callable(default) else {"default": default}
    return field(**made, metadata={"kind": kind, "reason": reason, "default": shown_default})


def _default(each: Field) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


class Checked:
    """What the dataclasses of settings share: every value is checked, whoever makes them."""

    PREFIX: ClassVar[str]  # of the environment variables
    AT_MOST: ClassVar[Sequence[tuple[str, str]]] = ()  # (name, of another that it may not exceed)

    def __post_init__(self):
        for each in fields(self):
            kind, value = each.metadata["kind"], getattr(self, each.name)
            if isinstance(kind, Folder) and value == _default(each):  # training needs no gallery; who does will say so
                kind = Folder(must_exist=False)
            object.__setattr__(self, each.name, kind.check(each.name, value))
        for name, other in self.AT_MOST:
            low, high = getattr(self, name), getattr(self, other)
            if low > high:
                raise ParameterError(name, f"{name} is {low} and {other} {high}; {name} must not be the larger one")

    @classmethod
    def variables(cls) -> dict[str, Field]:
        """{environment variable: its field}."""
        return {f"{cls.PREFIX}{each.name.upper()}": each for each in fields(cls)}

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None):
        """With every variable applied; ParameterError names the one that is out of bounds, or not known."""
        environ, known = os.environ if environ is None else environ, cls.variables()
        unknown = [name for name in environ if cls.PREFIX and name.startswith(cls.PREFIX) and name not in known]
        if unknown:
            raise ParameterError(unknown[0], f"unknown setting {unknown[0]}; there are {', '.join(sorted(known))}")
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
    """Every field can be set by STYLIZER_<FIELD>, e.g. STYLIZER_MAX_MEGAPIXELS=80. ParameterError out of bounds."""

    PREFIX = "STYLIZER_"
    AT_MOST = (("min_side", "max_side"), ("min_side", "api_size"), ("min_side", "optimise_size"))

    device: str = setting(
        "auto", Choice(("auto", "cpu", "cuda", "torch-cpu")), "what paints: cpu is OpenVINO, the others are torch"
    )
    predictor: str = setting(
        "mobilenet-v2", NETWORK,
        "which predictor of the models folder reads paintings; the gallery's vectors belong to its space",
    )  # fmt: skip
    transformer: str = setting(
        "separable", NETWORK, "which transformer of the models folder paints: separable, the fast one, or plain"
    )
    precision: str = setting(
        "auto", Choice(("auto", "f32")), "auto is bf16, or half on CUDA, where the machine computes in it"
    )
    threads: int = setting(0, Whole(0, 1024), "CPU threads for one picture; 0: as many as there are cores")
    max_body_bytes: int = setting(24 * 2**20, Whole(1024, 2**30, "bytes"), "of a request, pictures and all")
    max_megapixels: float = setting(50.0, Number(0.01, 10_000), "of a decoded picture; 50 are 150 MB of RGB")
    min_side: int = setting(32, Whole(8, 4096, PIXELS), "below 32 hardly anything is left after two strides of two")
    max_side: int = setting(16384, Whole(32, 65535, PIXELS), "of a picture that is read or painted")
    max_ratio: float = setting(20.0, Number(1, 1000), "longer side to shorter")
    max_styles: int = setting(5, Whole(1, 20), "in one mix")
    api_size: int = setting(1024, Whole(8, 65535, PIXELS), "longest side over HTTP where the request names none")
    cached_photos: int = setting(8, Whole(0, 10_000), "encoded photos kept between slider moves, in memory only")
    cached_megabytes: int = setting(128, Whole(0, 10**6, "MB"), "and the bound on what they may take together")
    slots: int = setting(2, Whole(1, 64), "pictures painted at a time; more wait, then 429")
    queue_seconds: float = setting(20.0, Number(0, 3600, "seconds"), "how long a request waits for a slot")
    optimise_slots: int = setting(
        1, Whole(1, 16), "pictures optimised and paintings studied at a time; each takes all cores, so none waits"
    )
    optimise_seconds: float = setting(
        300.0, Number(0, 86_400, "seconds"), "then the picture or study so far is the result"
    )
    optimise_steps: int = setting(1000, Whole(1, 100_000), "at most, over HTTP")
    optimise_size: int = setting(1024, Whole(8, 8192, PIXELS), "longest side over HTTP, at most")
    optimise_download: bool = setting(
        False, Switch(), "whether a request that names a network fetches it where it is missing: up to 548 MB"
    )
    allowed_hosts: str = setting(
        "*.run.app", HOSTS,
        "names under which the server answers, beside IP addresses, localhost, names without a dot and this machine's; "
        "* is any: then other websites can reach it through their visitors' browsers",
    )  # fmt: skip
    host: str = setting("127.0.0.1", HOST, "where `stylizer serve` listens: this machine alone")
    port: int = setting(8050, Whole(1, 65535), "of `stylizer serve`")
    models: Path = setting(lambda: _folder("models"), Folder(), "the weights", "models/, beside the package")
    styles: Path = setting(lambda: _folder("styles"), Folder(), "the gallery", "styles/, beside the package")
    assets: Path = setting(lambda: _folder("assets"), Folder(), "the page's files", "assets/, beside the package")
    browser_runtime: Path = setting(
        PACKAGE.parent / "node_modules" / "onnxruntime-web" / "dist", Folder(must_exist=False),
        "what paints in the browser, as npm fetched it; without it the page paints on the server alone",
        "node_modules/onnxruntime-web/dist",
    )  # fmt: skip
    cache: Path = setting(
        _cache, Folder(must_exist=False), "for the classic mode's networks, downloaded on first use",
        "~/.cache/stylizer, or what the platform has for it",
    )  # fmt: skip
    queue_length: int = setting(
        32, Whole(0, 1000), "requests that may wait for a slot, each of them a thread and a photo in memory"
    )
    request_seconds: float = setting(
        120.0, Number(0.1, 3600, "seconds"), "until an answer begins; 16 megapixels take half a minute on two cores"
    )
    drain_seconds: float = setting(
        6.0, Number(0.1, 3600, "seconds"), "to answer what was accepted, once told to stop; Cloud Run kills after 10"
    )
    held_megabytes: int = setting(
        0, Whole(0, 10**6, "MB"), "of bodies that wait to be painted, together; 0: an eighth of the memory that is free"
    )
    enlarge_megapixels: float = setting(
        16.0, Number(0, 10_000), "over HTTP, of a painting that is larger than its photo; A3 at 300 dpi is 17"
    )
    access_log: bool = setting(False, Switch(), "whether each answer is a line in the log; no path, name or address is")
    log_format: str = setting("text", Choice(("text", "json")), "of the log's lines; json is for collectors of clouds")
    metrics: bool = setting(False, Switch(), "whether /metrics answers, for Prometheus; whoever can ask it may read it")

    def __post_init__(self):
        super().__post_init__()
        if self.min_side**2 > 1e6 * self.max_megapixels:
            least = self.min_side**2 / 1e6
            raise ParameterError(
                "max_megapixels",
                f"max_megapixels is {self.max_megapixels:g}, but the smallest picture of min_side {self.min_side} has "
                f"{least:g}; raise the one or lower the other",
            )

    @property
    def predictor_stem(self) -> str:
        """What the predictor's files in models/ are called, without their ending."""
        return f"predictor-{self.predictor}"

    @property
    def transformer_stem(self) -> str:
        return f"transformer-{self.transformer}"

    @property
    def host_names(self) -> tuple[str, ...]:
        """`allowed_hosts` one by one, in small letters."""
        return tuple(name.strip().lower() for name in self.allowed_hosts.split(","))


@dataclass(frozen=True)
class Deployment(Checked):
    """What gunicorn.conf.py reads beside the settings, under the names that platforms give."""

    PREFIX = ""

    port: int = setting(8050, Whole(1, 65535), "where gunicorn listens; Cloud Run sets it")
    web_threads: int = setting(
        16, Whole(1, 1024), "requests answered at a time, beside those that paint or wait for their turn to"
    )
