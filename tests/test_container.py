"""The container, without Docker: its context, its Dockerfile's lines and its command, in an empty environment.

What Docker's base images bring (Python, a user, npm's downloads) is this machine's; all else is carried out as it
stands there, in a folder that stands for the image's root.
"""

import io
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
import pictures
import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image as PillowImage

from stylizer.studies import SUFFIX

ROOT = Path(__file__).parents[1]
NODE_MODULES = ROOT / "node_modules"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
pytestmark = [pytest.mark.skipif(os.name == "nt", reason="the image is a Linux one"), pytest.mark.slow]


# What .dockerignore lets through --------------------------------------------------------------------------------------


def rules(text: str) -> list[tuple[bool, re.Pattern]]:
    """[(kept, what it matches)] of a .dockerignore, in its order: the last that matches a path or a parent decides."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.startswith("!"), _expression(line.lstrip("!").strip("/"))) for line in lines]


def _expression(pattern: str) -> re.Pattern:
    wild = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts))


def is_kept(path: str, rules: list[tuple[bool, re.Pattern]]) -> bool:
    ways = [path, *map(str, PurePosixPath(path).parents)]
    verdicts = [kept for kept, expression in rules if any(expression.fullmatch(way) for way in ways)]
    return not verdicts or verdicts[-1]


def copy_context(target: Path) -> None:
    """What `docker build .` would send. No folder that is left out has anything inside that is kept."""
    found = rules((ROOT / ".dockerignore").read_text(encoding="utf-8"))
    for folder, folders, files in os.walk(ROOT):
        inside = Path(folder).relative_to(ROOT)
        folders[:] = [name for name in folders if is_kept((inside / name).as_posix(), found)]
        for name in files:
            if is_kept((inside / name).as_posix(), found):
                (target / inside).mkdir(parents=True, exist_ok=True)
                shutil.copy2(Path(folder) / name, target / inside / name)


@pytest.mark.parametrize(
    ("lines", "path", "kept"),
    [
        ("", "app.py", True),
        ("*", "app.py", False),
        ("*", "models/card.md", False),  # its folder is left out
        ("*\n!models", "models/card.md", True),
        ("*\n!models\nmodels/*.onnx", "models/a.onnx", False),
        ("*\n!models\nmodels/*.onnx", "models/deep/a.onnx", True),  # a star stays in one folder
        ("*\n!models\nmodels/*.onnx\n!models/a.onnx", "models/a.onnx", True),
        ("*\n!models\n**/__pycache__", "models/deep/__pycache__/a.pyc", False),
        ("**/__pycache__", "__pycache__/a.pyc", False),
        ("# models\n/models/", "models/card.md", False),
        ("a?c", "abc", False),
        ("a.c", "abc", True),
    ],
)
def test_dockers_ignore_rules_are_read_as_docker_reads_them(lines, path, kept):
    assert is_kept(path, rules(lines)) == kept


# What the Dockerfile does ---------------------------------------------------------------------------------------------


def instructions(text: str) -> list[tuple[str, str]]:
    """[(word, what follows)] of a Dockerfile, long lines joined."""
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text)).splitlines()
    return [tuple(line.strip().split(maxsplit=1)) for line in lines if line.strip()]


class Image:
    """A Dockerfile's stages, made one after the other at `root`, so that what they write into scripts stays true.

    Stages that are done lie beside it under their names. `env`, `workdir`, `command`, `healthcheck`, `user` and
    `stop_signal` are the last stage's.
    """

    def __init__(self, text: str, context: Path, folder: Path):
        self.context, self.folder, self.root = context, folder, folder / "root"
        self.bases, self.stages, self.name = [], {}, None
        for word, rest in instructions(text):
            getattr(self, f"do_{word.lower()}")(rest)

    def path(self, path: str) -> Path:
        """Where a path of the image lies here."""
        return self.root / os.path.join(self.workdir, path).lstrip("/")

    def here(self, text: str) -> str:
        """A line with the image's absolute paths made this machine's."""
        return re.sub(r"(?<![^\s=:'\"])/(?=\w)", f"{self.root}/", text)

    def do_from(self, rest: str) -> None:
        base, *name = re.split(r"\s+AS\s+", rest)
        if self.root.exists():
            self.stages[self.name] = (self.root.rename(self.folder / self.name), self.env)
        self.name, self.workdir = (*name, None)[0], "/"
        if base in self.stages:
            folder, self.env = self.stages[base]
            shutil.copytree(folder, self.root, symlinks=True)
            return
        self.bases.append(base)
        self.env = {"PATH": f"{self.root}/usr/local/bin:/usr/bin:/bin"}
        if base.startswith("python:"):  # it has Python and pip in /usr/local
            subprocess.run([sys.executable, "-m", "venv", self.root / "usr/local"], check=True)
        self.root.mkdir(exist_ok=True)

    def do_workdir(self, rest: str) -> None:
        self.workdir = rest
        self.path(".").mkdir(parents=True, exist_ok=True)

    def do_env(self, rest: str) -> None:
        for name, value in (pair.split("=", 1) for pair in shlex.split(rest)):
            self.env = {**self.env, name: string.Template(self.here(value)).substitute(self.env)}

    def do_copy(self, rest: str) -> None:
        *sources, target = rest.split()
        source = self.stages[sources.pop(0).removeprefix("--from=")][0] if rest.startswith("--from=") else self.context
        for pattern in sources:
            found = sorted(source.glob(pattern.lstrip("/")))
            assert found, f"COPY {rest}: there is no {pattern}; does .dockerignore let it through?"
            for each in found:
                if each.is_dir():
                    shutil.copytree(each, self.path(target), symlinks=True, dirs_exist_ok=True)
                else:
                    place = self.path(target) / each.name if target.endswith("/") else self.path(target)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(each, place)

    def do_run(self, rest: str) -> None:
        tool = rest.split()[0]
        if tool == "npm":  # what `make device` fetched by the same list
            shutil.copytree(NODE_MODULES, self.path("node_modules"))
        elif tool != "useradd":  # this machine's users stay as they are
            env = {**registry(), **self.env, "HOME": "/nonexistent"}
            done = subprocess.run(
                ["sh", "-ec", self.here(rest)],
                cwd=self.path("."),
                env=env,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode and OFFLINE.search(done.stderr) and not os.environ.get("CI"):
                pytest.skip("the package index cannot be reached")
            assert done.returncode == 0, f"RUN {rest}\n{done.stdout}\n{done.stderr}"

    def do_cmd(self, rest: str) -> None:
        self.command = json.loads(rest)

    def do_healthcheck(self, rest: str) -> None:
        self.healthcheck = json.loads(rest.split(" CMD ", 1)[1])

    def do_user(self, rest: str) -> None:
        self.user = rest

    def do_stopsignal(self, rest: str) -> None:
        self.stop_signal = signal.Signals[rest]

    def do_expose(self, rest: str) -> None:
        pass


OFFLINE = re.compile("Failed to establish a new connection|Temporary failure in name resolution|ConnectTimeout")


def registry() -> dict[str, str]:
    """How this machine reaches its package index, if it is told by variables: Docker's build arguments."""
    wanted = re.compile(
        "PIP_(INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|TRUSTED_HOST|CERT|DEFAULT_TIMEOUT|CONFIG_FILE)|.*_proxy"
        "|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE",
        re.IGNORECASE,
    )
    return {name: value for name, value in os.environ.items() if wanted.fullmatch(name)}


@pytest.fixture(scope="module")
def dockerfile() -> str:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    if (NODE_MODULES / "onnxruntime-web").is_dir():
        return text
    stages = re.split(r"(?m)^(?=FROM )", text)  # no npm here: the page paints on the server alone
    return re.sub(r"(?m)^COPY --from=browser .*\n", "", "".join(each for each in stages if " AS browser" not in each))


@pytest.fixture(scope="module")
def image(dockerfile, tmp_path_factory) -> Image:
    folder = tmp_path_factory.mktemp("container")
    copy_context(folder / "context")
    image = Image(dockerfile, folder / "context", folder)
    shutil.rmtree(folder / "context")  # nothing but the last stage is in an image
    for stage, _ in image.stages.values():
        shutil.rmtree(stage)
    return image


@contextmanager
def running(image: Image) -> Iterator[tuple[subprocess.Popen, str, dict[str, str]]]:
    """(process, address, its variables) of a container, once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    # The address is this machine's own, where the image's is every one.
    env = {**image.env, "PORT": str(port), "HOME": "/nonexistent", "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}"}
    log = image.folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            image.command, cwd=image.path("."), env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        while True:
            assert process.poll() is None, f"it ended with {process.returncode}:\n{log.read_text()}"
            try:
                assert ask(f"http://127.0.0.1:{port}/readyz")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        yield process, f"http://127.0.0.1:{port}", env
    finally:
        process.kill()
        process.wait()


def ask(url: str, **request) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, **request), timeout=120) as answer:
        return answer.read()


@pytest.fixture(scope="module")
def container(image):
    with running(image) as (_, address, env):
        yield address, env


def form(fields: dict[str, bytes]) -> dict:
    """A multipart form as urllib's Request takes it."""
    parts = [
        b'--part\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (name.encode(), b'; filename="p"' if name == "content" else b"", value)
        for name, value in fields.items()
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=part"}
    return {"data": b"".join(parts) + b"--part--\r\n", "headers": headers}


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (state.st_mtime_ns, state.st_size) for path, state in found.items()}


@pytest.mark.slow
def test_the_image_paints_a_picture(container):
    address, _ = container
    fields = {"content": pictures.jpeg(pictures.photo(96, 64)), "style_name": b"batik", "format": b"png"}
    answer = ask(f"{address}/api/v1/stylize", **form(fields))
    with PillowImage.open(io.BytesIO(answer)) as painted:
        assert painted.size == (96, 64) and np.asarray(painted).std() > 5


def test_the_image_shows_the_page_with_its_facts_and_all_that_it_names(container):
    address, _ = container
    page = ask(address).decode()
    layout = ask(f"{address}/_dash-layout").decode()
    assert "2.35 million" in layout and "0.70 million" in layout  # About knows the networks without their safetensors
    for asset in re.findall(r'(?:src|href)="/?(assets/[^"]+)"', page):
        assert ask(f"{address}/{asset}"), asset
    assert ask(f"{address}/api/docs")


def test_the_image_brings_what_browsers_paint_with(container):
    if not (NODE_MODULES / "onnxruntime-web").is_dir():
        pytest.skip("npm has not been here")
    address, _ = container
    manifest = json.loads(ask(f"{address}/device/manifest.json"))
    for entry in (*manifest["runtimes"]["wasm"].values(), *manifest["weights"].values()):
        assert len(ask(f"{address}/{entry['url']}")) == entry["bytes"], entry


def test_the_images_own_health_check_sees_it_and_sees_it_gone(image, container):
    env = container[1]
    check = {"cwd": image.path("."), "timeout": 60, "capture_output": True}
    assert subprocess.run(image.healthcheck, env=env, **check).returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nobody = {**env, "PORT": str(silent.getsockname()[1])}
    assert subprocess.run(image.healthcheck, env=nobody, **check).returncode != 0


def test_the_image_writes_nothing_and_ends_when_it_is_told(image):
    """Its root may be read-only."""
    before = snapshot(image.root)
    with running(image) as (process, address, _):
        ask(f"{address}/api/v1/stylize", **form({"content": pictures.png(pictures.photo()), "style_name": b"batik"}))
        ask(address)
        process.send_signal(image.stop_signal)
        assert process.wait(60) == 0, (image.folder / "log").read_text()
    assert snapshot(image.root) == before


def test_the_image_holds_what_serving_needs_and_no_more(image):
    packages = {path.name for path in (image.root / "venv").glob("lib/python*/site-packages/*")}
    assert "stylizer" in packages and not packages & {"torch", "hatchling", "pytest", "onnxscript", "pip"}
    weights = {path.name for path in image.root.rglob("*.safetensors")}
    assert {name for name in weights if not name.endswith(SUFFIX)} == {
        "vectors.safetensors",
        "calibration-plain.safetensors",
        "calibration-separable.safetensors",
    }
    assert {path.name for path in image.path(".").iterdir()} == {"app.py", "gunicorn.conf.py"}


def test_the_image_runs_as_nobody_in_particular_on_bases_of_a_full_version(image):
    assert image.user == "10001" and image.stop_signal == signal.SIGTERM
    for base in image.bases:
        assert re.fullmatch(r"(node|python):\d+\.\d+\.\d+-[\w-]+(@sha256:[0-9a-f]{64})?", base), base
    version = next(base for base in image.bases if base.startswith("python:")).split(":")[1].split("-")[0]
    assert Requirement(f"python{PROJECT['project']['requires-python']}").specifier.contains(version)


# The lock files -------------------------------------------------------------------------------------------------------


def pins(file: str) -> list[Requirement]:
    """A lock file's lines, each of one version and with hashes."""
    text = (ROOT / file).read_text(encoding="utf-8")
    assert "://" not in text and not re.search("(?m)^-", text), f"{file} names an index, which is this machine's affair"
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    assert all(re.search(r"==\S+.* --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    return [Requirement(line.split(" --hash")[0]) for line in lines]


@pytest.mark.parametrize(
    ("python", "machine"), list(itertools.product(("3.11.0", "3.12.0", "3.13.0"), ("x86_64", "aarch64")))
)
def test_the_lock_files_hold_what_pyproject_asks_for(python, machine):
    """`make lock` makes them anew."""
    here = {
        "python_version": python[:4],
        "python_full_version": python,
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_system": "Linux",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }

    def applies(marker: Marker | None) -> bool:
        return marker is None or marker.evaluate(here)

    asked = {
        "requirements.lock": PROJECT["project"]["dependencies"],
        "requirements-build.lock": PROJECT["build-system"]["requires"],
    }
    for file, requirements in asked.items():
        locked = [(canonicalize_name(pin.name), pin.specifier) for pin in pins(file) if applies(pin.marker)]
        assert len(dict(locked)) == len(locked), f"{file} has a package twice"
        for requirement in map(Requirement, requirements):
            version = str(dict(locked)[canonicalize_name(requirement.name)]).removeprefix("==")
            assert requirement.specifier.contains(version), f"{file} has {version}, pyproject asks for {requirement}"
