"""Run-time settings: one frozen dataclass, read once from STYLIZER_* environment variables."""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path

from stylizer.errors import ParameterError

KINDS = {int: "a whole number", float: "a number", str: "a text", Path: "a path", bool: "true or false"}
BOOLEANS = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}
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


@dataclass(frozen=True)
class Settings:
    """Every field can be set by STYLIZER_<FIELD>, e.g. STYLIZER_MAX_MEGAPIXELS=80."""

    device: str = "auto"  # auto, cpu (OpenVINO), cuda or torch-cpu (torch)
    predictor: str = "mobilenet-v2"  # which networks of models/ paint; the gallery's vectors belong to its space
    transformer: str = "separable"  # separable, the fast one, or what else lies there: plain
    precision: str = "auto"  # auto (bf16 or half where the machine has it) or f32
    threads: int = 0  # CPU threads for one picture; 0: as many as there are cores
    max_body_bytes: int = 24 * 2**20
    max_megapixels: float = 50.0  # decoded; 50 Mpx are 150 MB of RGB
    min_side: int = 32  # below it nothing is left after two strides of two
    max_side: int = 16384
    max_ratio: float = 20.0  # longer side to shorter
    max_styles: int = 5  # in one mix
    api_size: int = 1024  # longest side over HTTP where the request names none
    cached_photos: int = 8  # encoded photos kept between slider moves, in memory only
    cached_megabytes: int = 128  # and the bound on what they may take together
    slots: int = 2  # pictures painted at a time; more wait, then 429
    queue_seconds: float = 20.0  # how long a request waits for a slot
    optimise_slots: int = 1  # pictures optimised at a time over HTTP; each takes all cores for a minute, so none waits
    optimise_seconds: float = 300.0  # then the picture so far is the result
    optimise_steps: int = 1000
    optimise_size: int = 1024  # longest side over HTTP, in pixels
    optimise_download: bool = True  # whether a network that is not here yet is fetched when a request names it
    host: str = "127.0.0.1"
    port: int = 8050
    models: Path = field(default_factory=lambda: _folder("models"))
    styles: Path = field(default_factory=lambda: _folder("styles"))
    assets: Path = field(default_factory=lambda: _folder("assets"))
    browser_runtime: Path = PACKAGE.parent / "node_modules" / "onnxruntime-web" / "dist"  # what npm fetched, if it did
    cache: Path = field(default_factory=_cache)  # for the classic mode's networks, downloaded on first use
    queue_length: int = 32  # requests that may wait for a slot: each is a thread and a photo in memory
    request_seconds: float = 120.0  # until an answer begins; 16 megapixels take half a minute on two cores
    drain_seconds: float = 6.0  # to answer what was accepted, once told to stop; Cloud Run kills after 10
    held_megabytes: int = 0  # bodies held at a time before they are painted; 0: an eighth of the free memory
    enlarge_megapixels: float = 16.0  # over HTTP, of a result larger than its photo: A3 at 300 dpi is 17

    @property
    def predictor_stem(self) -> str:
        """What the predictor's files in models/ are called, without their ending."""
        return f"predictor-{self.predictor}"

    @property
    def transformer_stem(self) -> str:
        return f"transformer-{self.transformer}"

    @classmethod
    def from_env(cls, environ: "os._Environ[str] | dict[str, str] | None" = None) -> "Settings":
        """Settings with every STYLIZER_* variable applied; ParameterError for one that does not parse."""
        environ = os.environ if environ is None else environ
        known = {f"STYLIZER_{each.name.upper()}": each for each in fields(cls)}
        unknown = [name for name in environ if name.startswith("STYLIZER_") and name not in known]
        if unknown:
            raise ParameterError(unknown[0], f"unknown setting {unknown[0]}; there are {', '.join(sorted(known))}")
        values = {}
        for name, each in known.items():
            if name in environ:
                kind = each.type if isinstance(each.type, type) else type(getattr(cls, each.name))
                try:
                    values[each.name] = BOOLEANS[environ[name].lower()] if kind is bool else kind(environ[name])
                except (ValueError, KeyError):
                    raise ParameterError(name, f"{name} is {environ[name]!r}; it must be {KINDS[kind]}") from None
        return cls(**values)
