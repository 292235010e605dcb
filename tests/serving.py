"""A server of ours on a free port of this machine, in a thread, and plain sockets to talk to it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from stylizer.serving.limits import Limits
from stylizer.serving.server import Server

ROOT = Path(__file__).parents[1]


class Served:
    """A WSGI application served; as a context manager it is stopped at the end, and its threads with it."""

    def __init__(self, application, limits: Limits | None = None, **options):
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.server = Server(application, [listener], limits, **options)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_error) -> None:
        self.close()

    def close(self) -> None:
        self.server.stop()
        self.server.stop()
        self.thread.join(10)

    def connect(self, data: bytes = b"", receive_buffer: int = 0) -> socket.socket:
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(20)
        client.connect(("127.0.0.1", self.port))
        client.sendall(data)
        return client

    def ask(self, data: bytes) -> tuple[int, bytes]:
        """Sent as it is, read to the end: (status of the last answer, all that came)."""
        with self.connect(data) as client:
            came = read_all(client)
        return status(came), came


def read_all(client: socket.socket) -> bytes:
    pieces = []
    while piece := client.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def status(came: bytes) -> int:
    """Of an answer, past interim ones."""
    while came.startswith(b"HTTP/1.1 100 "):
        came = came.partition(b"\r\n\r\n")[2]
    return int(came.split(b" ", 2)[1]) if came else 0


def body(came: bytes) -> bytes:
    while came.startswith(b"HTTP/1.1 100 "):
        came = came.partition(b"\r\n\r\n")[2]
    return came.partition(b"\r\n\r\n")[2]


def problem_of(came: bytes) -> dict:
    assert b"\r\ncontent-type: application/problem+json\r\n" in came.lower(), came[:300]
    return json.loads(body(came))


def until(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def multipart(**fields) -> tuple[bytes, str]:
    """(body, content type) of a form; bytes are files, lists are repeated."""
    parts = []
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            file = b'; filename="p"' if isinstance(each, bytes) else b""
            data = each if isinstance(each, bytes) else str(each).encode()
            head = b'Content-Disposition: form-data; name="%s"%s' % (name.encode(), file)
            parts.append(b"--x\r\n%s\r\n\r\n%s\r\n" % (head, data))
    return b"".join(parts) + b"--x--\r\n", "multipart/form-data; boundary=x"


def form(path: str, more: bytes = b"", **fields) -> bytes:
    """A whole request, as bytes."""
    data, media = multipart(**fields)
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n%s" % (
        path.encode(),
        media.encode(),
        len(data),
        more,
        data,
    )


class Gunicorn:
    """The application as it is deployed, in processes of its own, on a free port."""

    def __init__(self, log: Path, **settings):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        names = {f"STYLIZER_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", "--bind", f"127.0.0.1:{self.port}"]
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*command, "app:server"], cwd=ROOT, env=os.environ | names, stdout=file, stderr=file
            )

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return self.get("/readyz")[0] == 200
            except OSError:
                return False

        until(ready, 120)

    def request(self, method: str, path: str, body: bytes | None = None, media: str = "") -> tuple[int, dict, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, {"Content-Type": media} if media else {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, dict, bytes]:
        return self.request("GET", path)

    def post(self, path: str, **fields) -> tuple[int, dict, bytes]:
        return self.request("POST", path, *multipart(**fields))

    def terminate(self) -> float:
        """The seconds that it takes to end."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return time.monotonic() - began

    def close(self) -> None:
        if self.process.poll() is None:
            self.terminate()
