"""How the server holds up: many clients, slow ones, small memory, long use, a restart. Prints a table.

    python benchmarks/crowd.py                  all rows but the long ones, about six minutes on two cores
    python benchmarks/crowd.py soak --requests 2000
    python benchmarks/crowd.py gibibyte         a limit of 1 GiB by a control group, for which one must be root

The server is gunicorn as README starts it, on a free port of the loopback; loads are bounded in count and time. Answers
are compared with those of the same request alone, within a tolerance.
"""

import argparse
import http.client
import io
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
STYLES = ("starry-night", "great-wave", "stained-glass", "batik", "whirling-night")
TOLERANCE = 1.0  # of 255, on average: the same picture computed twice
CGROUPS = {1: Path("/sys/fs/cgroup/memory"), 2: Path("/sys/fs/cgroup")}
LIMIT_FILES = {1: "memory.limit_in_bytes", 2: "memory.max"}


# The server and its clients -----------------------------------------------------------------------------------------


class Server:
    """gunicorn in a process of its own; `join` is told its id before it begins, to put it under a limit."""

    def __init__(self, join: Callable[[int], None] = lambda _pid: None, **settings: object):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        names = {f"STYLIZER_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", "--bind", f"127.0.0.1:{self.port}"]
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*command, "app:server"], cwd=ROOT, env=os.environ | names, preexec_fn=lambda: join(os.getpid())
        )
        self._wait()

    def _wait(self) -> None:
        while time.monotonic() < self.began + 120:
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended with status {self.process.returncode}")
            try:
                if self.get("/readyz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.02)
        raise SystemExit("the server was not ready in two minutes")

    @property
    def worker(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def megabytes(self, what: str = "VmRSS") -> float:
        lines = Path(f"/proc/{self.worker}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024

    def ask(self, method: str, path: str, body: bytes = b"", media: str = "") -> tuple[int, dict, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=180)
        try:
            connection.request(method, path, body or None, {"Content-Type": media} if media else {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, dict, bytes]:
        return self.ask("GET", path)

    def paint(self, photo: bytes, **fields: object) -> tuple[int, dict, bytes]:
        return self.ask("POST", "/api/v1/stylize", *form(content=photo, **fields))

    def end(self) -> float:
        """Seconds from the signal to the end."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        return time.monotonic() - began


def form(**fields: object) -> tuple[bytes, str]:
    """(body, media type); bytes are files."""
    parts = []
    for name, value in fields.items():
        file = '; filename="p"' if isinstance(value, bytes) else ""
        data = value if isinstance(value, bytes) else str(value).encode()
        parts.append(f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n")
    return b"".join(parts) + b"--x--\r\n", "multipart/form-data; boundary=x"


def photo(width: int, height: int, seed: int = 0) -> bytes:
    """A JPEG of waves, no two seeds alike."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 127 + 127 * np.sin(x / (11 + seed % 7) + seed), 127 + 127 * np.cos(y / (7 + seed % 5))
    file = io.BytesIO()
    Image.fromarray(np.stack([red, green, (3 * x + 5 * y) % 256], -1).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def share(values: list[float], percent: float) -> float:
    return float(np.percentile(values, percent))


def row(what: str, seen: str) -> None:
    print(f"| {what} | {seen} |", flush=True)


@contextmanager
def watched(server: Server) -> Iterator[list[float]]:
    """Seconds of /healthz, asked twice a second while the block runs."""
    seconds, over = [], threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            began = time.monotonic()
            if server.get("/healthz")[0] == 200:
                seconds.append(time.monotonic() - began)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seconds
    finally:
        over.set()
        thread.join()


def at_once(work: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# The rows -----------------------------------------------------------------------------------------------------------


def cold_start(_options: argparse.Namespace) -> None:
    seconds = []
    for _ in range(3):
        server = Server()
        status, _, _ = server.paint(photo(384, 288), style_name="batik")
        seconds.append(time.monotonic() - server.began)
        server.end()
        assert status == 200
    row("cold start to the first painted picture, 384 px", f"{statistics.median(seconds):.1f} s, median of three")


def sliders(options: argparse.Namespace) -> None:
    """Clients that move a slider: the same photo at ever new strengths, 384 px, as the page asks."""
    server = Server()
    jobs = [
        form(content=photo(384, 288, seed), style_name=style, strength=strength, format="jpeg")
        for seed, style in enumerate(STYLES)
        for strength in (0.4, 0.7, 1)
    ]
    alone, took = [], []
    for _ in range(2):
        alone = [pixels(server.ask("POST", "/api/v1/stylize", *job)[2]) for job in jobs]
    for job in jobs:
        began = time.monotonic()
        server.ask("POST", "/api/v1/stylize", *job)
        took.append(time.monotonic() - began)
    one = statistics.median(took)
    statuses, seconds, refused, wrong, end = Counter(), [], [], [], time.monotonic() + options.seconds

    def client(number: int) -> None:
        choose = random.Random(number)
        while time.monotonic() < end:
            index, began = choose.randrange(len(jobs)), time.monotonic()
            status, headers, data = server.ask("POST", "/api/v1/stylize", *jobs[index])
            statuses[status] += 1
            (seconds if status == 200 else refused).append(time.monotonic() - began)
            if status == 200 and np.abs(pixels(data) - alone[index]).mean() > TOLERANCE:
                wrong.append(index)
            if status in (429, 503):
                time.sleep(min(5, float(headers["Retry-After"])))

    with watched(server) as health:
        at_once([lambda number=number: client(number) for number in range(options.clients)])
    ideal = options.clients * one
    row(
        f"{options.clients} clients moving sliders at 384 px for {options.seconds:.0f} s",
        f"answers {dict(statuses)}, {len(wrong)} wrong; p50 {share(seconds, 50):.2f}, p95 {share(seconds, 95):.2f} s, "
        f"{share(seconds, 95) / ideal:.2f} x {options.clients} times one alone ({1000 * one:.0f} ms); refusals after "
        f"{1000 * share(refused, 95) if refused else 0:.0f} ms (p95); healthz p50 {1000 * share(health, 50):.0f}, "
        f"p99 {1000 * share(health, 99):.0f} ms",
    )
    server.end()


def slow(_options: argparse.Namespace) -> None:
    """64 sockets of each kind that give a byte in three seconds, or take none."""
    server, small = Server(), photo(200, 150)
    head = b"POST /api/v1/stylize HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    large, media = form(content=photo(1200, 900), style_name="batik", size=1200)
    ask = b"POST /api/v1/stylize HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (
        media.encode(),
        len(large),
    )
    kinds = {
        "bodies": (head + b"Content-Length: 1000000\r\n\r\n--x\r\n", b"x"),
        "headers": (b"GET /healthz HTTP/1.1\r\nX-A: ", b"a"),
        "readers of a script": (
            b"GET /_dash-component-suites/dash/dcc/dash_core_components.js HTTP/1.1\r\nHost: x\r\n\r\n",
            b"",
        ),
        "readers of a painting": (ask + large, b""),
    }
    server.paint(small, style_name="batik")
    for name, (opening, drip) in kinds.items():
        sockets = []
        for _ in range(64):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            client.connect(("127.0.0.1", server.port))
            client.settimeout(5)
            client.sendall(opening)
            sockets.append(client)
        painted = []
        with watched(server) as health:
            for _ in range(5):
                began = time.monotonic()
                status = server.paint(small, style_name="batik")[0]
                painted.append((status, time.monotonic() - began))
                for client in sockets:
                    with suppress(OSError):  # cut off by the server, as it should be in the end
                        client.sendall(drip)
                time.sleep(3)
        for client in sockets:
            client.close()
        row(
            f"64 slow {name}",
            f"healthz at most {1000 * max(health):.0f} ms; paintings {dict(Counter(status for status, _ in painted))}, "
            f"at most {max(seconds for _, seconds in painted):.1f} s",
        )
    server.end()


def term(_options: argparse.Namespace) -> None:
    """The signal while twelve requests are in work: how each ends, and when the process does."""
    server, answers = Server(), Counter()
    server.paint(photo(384, 288), style_name="batik")

    def client(seed: int) -> None:
        try:
            answers[server.paint(photo(384, 288, seed), style_name=STYLES[seed % 5])[0]] += 1
        except (OSError, http.client.HTTPException) as error:
            answers[type(error).__name__] += 1

    held = socket.create_connection(("127.0.0.1", server.port))
    held.sendall(b"POST /api/v1/stylize HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    seconds = server.end()
    for thread in threads:
        thread.join()
    held.close()
    row("kill -TERM with 12 requests and a slow body open", f"ended after {seconds:.1f} s; answers {dict(answers)}")


def soak(options: argparse.Namespace) -> None:
    """Random sizes, one after another: memory after the first tenth and at the end."""
    server, choose, statuses, sizes = Server(), random.Random(1), Counter(), []
    for index in range(options.requests):
        width, height = choose.randint(64, options.largest), choose.randint(64, options.largest)
        sent = photo(width, height, index)
        statuses[server.paint(sent, style_name=STYLES[index % 5], size="original", format="jpeg")[0]] += 1
        if index + 1 >= options.requests // 10 and (index + 1) % 20 == 0:
            sizes.append(server.megabytes())
        if (index + 1) % 100 == 0:
            print(f"{index + 1} requests, {server.megabytes():.0f} MB", file=sys.stderr, flush=True)
    early, late = statistics.mean(sizes[:5]), statistics.mean(sizes[-5:])
    row(
        f"soak: {options.requests} requests of random sizes, 64 to {options.largest} px",
        f"answers {dict(statuses)}; {early:.0f} MB after the first tenth, {late:.0f} MB at the end "
        f"({100 * (late / early - 1):+.1f} %), peak {server.megabytes('VmHWM'):.0f} MB",
    )
    server.end()


@contextmanager
def gibibyte_group() -> Iterator[Path]:
    version = 1 if (CGROUPS[1] / LIMIT_FILES[1]).exists() else 2
    folder = CGROUPS[version] / "stylizer-crowd"
    folder.mkdir()
    try:
        (folder / LIMIT_FILES[version]).write_text(str(2**30))
        yield folder
    finally:
        time.sleep(0.5)
        folder.rmdir()


def gibibyte(options: argparse.Namespace) -> None:
    """A container of 1 GiB: random sizes, then a photo of 24 megapixels, then uploads that wait."""
    with gibibyte_group() as group:
        server = Server(join=lambda pid: (group / "cgroup.procs").write_text(str(pid)))
        worker, choose, statuses, refused = server.worker, random.Random(4), Counter(), Counter()
        for index in range(options.sizes):
            width, height = choose.randint(64, 1600), choose.randint(64, 1600)
            status, headers, data = server.paint(
                photo(width, height, index), style_name=STYLES[index % 5], size="original", format="jpeg"
            )
            statuses[status] += 1
            if status != 200:
                refused[(headers.get("Retry-After"), json.loads(data)["code"])] += 1

        def say(what: str, seen: object) -> None:
            row(f"1 GiB: {what}", f"{seen}; worker {'alive' if server.worker == worker else 'killed'}")

        say(f"{options.sizes} requests of random sizes, 64 to 1600 px", f"answers {dict(statuses)} {dict(refused)}")
        status, _, _ = server.paint(photo(6000, 4000), style_name="batik", size=1024, format="jpeg")
        say("24 megapixels to 1024 px after them", status)
        heavy, answers = photo(256, 256) + os.urandom(23_000_000), Counter()

        def upload() -> None:
            try:
                answers[server.paint(heavy, style_name="batik", size=64)[0]] += 1
            except OSError as error:
                answers[type(error).__name__] += 1

        at_once([upload] * 14)
        say("14 uploads of 23 MB at once", dict(answers))
        server.end()


ROWS = {each.__name__: each for each in (cold_start, sliders, slow, term, soak, gibibyte)}
LONG = ("soak", "gibibyte")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="all but the long ones by default")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120, help="of the clients moving sliders")
    parser.add_argument("--requests", type=int, default=2000, help="of the soak")
    parser.add_argument("--largest", type=int, default=800, help="side in pixels, of the soak")
    parser.add_argument("--sizes", type=int, default=200, help="within 1 GiB")
    options = parser.parse_args()
    print("| what | seen |\n|---|---|", flush=True)
    for name in options.rows or [name for name in ROWS if name not in LONG]:
        ROWS[name](options)


if __name__ == "__main__":
    main()
