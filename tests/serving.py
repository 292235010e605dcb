"""A server of ours on a free port of this machine, in a thread, and plain sockets to talk to it."""

import json
import socket
import threading
import time

from stylizer.serving.limits import Limits
from stylizer.serving.server import Server


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
