"""One request and its answer: the WSGI environment (PEP 3333), and passing the answer to the loop.

The application runs in a thread; sockets belong to the loop. An Exchange connects them: the thread hands it pieces of
the answer, which the loop takes, and the loop tells the thread when the client has disconnected or time is up.
"""

import io
import logging
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from urllib.parse import unquote_to_bytes

import h11

from stylizer.errors import Gone, StylizerError

log = logging.getLogger("stylizer.serving")

# Not passed to the application: libraries, Python's own included, would read HTTP_PROXY as a setting.
DROPPED = frozenset((b"proxy", b"transfer-encoding"))


def named(error: Exception) -> str:
    """What failed and where, in one line, without the error's message, which may contain request data."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " < ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in reversed(frames))
    return f"{type(error).__name__} at {places or 'an unknown place'}"


class Watch:
    """environ["stylizer.interrupt"]: call it to check whether to stop; it raises Gone or another StylizerError."""

    def __init__(self) -> None:
        self.error: StylizerError | None = None

    def __call__(self) -> None:
        if self.error:
            raise self.error


class Body(io.RawIOBase):
    """The request body, piece by piece; each is freed once read, because the form's parts are copies."""

    def __init__(self, pieces: deque[bytes | memoryview]):
        self._pieces = pieces

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._pieces:
            return 0
        piece = memoryview(self._pieces.popleft())
        count = min(len(piece), len(buffer))
        buffer[:count] = piece[:count]
        if count < len(piece):
            self._pieces.appendleft(piece[count:])
        return count


class FileBody:
    """environ["wsgi.file_wrapper"]: a file that the loop sends piece by piece, so slow readers occupy no memory."""

    def __init__(self, file: IO[bytes], _block: int = 0):
        self._file = file
        self.close = getattr(file, "close", lambda: None)

    def __iter__(self) -> Iterator[bytes]:
        while data := self._file.read(2**16):
            yield data

    def rest(self) -> "FilePart | None":
        """The file from its position to its end; None if it is not on disk."""
        try:
            start, size = self._file.tell(), os.fstat(self._file.fileno()).st_size
            return FilePart(os.dup(self._file.fileno()), start, size)
        except (OSError, AttributeError):  # in memory
            return None


class FilePart:
    """The unsent rest of a file, with its own descriptor."""

    def __init__(self, descriptor: int, start: int, end: int):
        self._descriptor, self._start, self._end = descriptor, start, end

    def __len__(self) -> int:
        return self._end - self._start

    def read(self, most: int) -> bytes:
        """The next bytes, without advancing (see `skip`); OSError if the file has become shorter."""
        data = os.pread(self._descriptor, min(most, len(self)), self._start)
        if not data:
            raise OSError("the file is shorter than it was")
        return data

    def skip(self, count: int) -> None:
        self._start += count

    def close(self) -> None:
        os.close(self._descriptor)


Headers = list[tuple[str, str]]
Piece = tuple[str, Headers] | bytes | FilePart | Exception | None  # of an answer; see Exchange
ExcInfo = tuple[type[BaseException], BaseException, TracebackType]


class Exchange:
    """Passes an answer from a thread to the loop, which `told` wakes: (status, headers), then bytes or a FilePart, then
    None or an error."""

    def __init__(self, environ: dict, told: Callable[["Exchange"], None]):
        self.environ = environ
        self.begun = self.over = False  # the answer's head was sent; the thread has finished
        self.watch = environ["stylizer.interrupt"] = Watch()
        self._told, self._lock = told, threading.Lock()
        self._pieces: deque[Piece] = deque()
        self._room = threading.Event()

    # The loop's side ------------------------------------------------------------------------------------------------

    def take(self) -> list[Piece]:
        with self._lock:
            pieces = list(self._pieces)
            self._pieces.clear()
        return pieces

    def end(self, error: StylizerError) -> None:
        """Stop the work at its next check, with this error."""
        self.watch.error = self.watch.error or error
        if isinstance(error, Gone):
            self.watch.error = error
        self._room.set()

    def give_room(self) -> None:
        """The client has caught up: the thread may continue."""
        self._room.set()

    # The thread's side ----------------------------------------------------------------------------------------------

    def run(self, application: Callable) -> None:
        """Call the application and pass on its answer, or its error."""
        try:
            self._run(application)
            self._tell(None)
        except Gone:
            self._tell(Gone("the client disconnected"))
        except Exception as error:
            log.error("the application failed: %s", named(error))
            self._tell(error)
        finally:
            self.over = True

    def _run(self, application: Callable) -> None:
        head: list[tuple[str, Headers]] = []
        length: int | None = None
        told = False

        def start_response(status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Callable[[bytes], None]:
            try:
                if exc_info and told:
                    raise exc_info[1].with_traceback(exc_info[2])
                if head and not exc_info:
                    raise AssertionError("start_response was called twice")
            finally:
                exc_info = None  # avoids a reference cycle of frame and traceback
            head[:] = [(status, headers)]
            return write

        def write(data: bytes) -> None:
            nonlocal told, length
            self._look()
            if not told:
                told = True
                lengths = [value for name, value in head[0][1] if name.lower() == "content-length"]
                length = int(lengths[0]) if lengths else None
                self._tell(head[0])
            if data:
                self._room.clear()
                self._tell(data)
                if length is None:
                    self._wait_for_room()  # without a length it is a stream, sent no faster than it is read

        answer: Iterable[bytes] = application(self.environ, start_response)
        try:
            part = answer.rest() if isinstance(answer, FileBody) else None
            if part is None:
                for data in answer:
                    if data:
                        write(data)
            write(b"")
            if part is not None:
                self._tell(part)
        finally:
            if hasattr(answer, "close"):
                answer.close()

    def _wait_for_room(self) -> None:
        while not self._room.wait(1):
            self._look()
        self._look()

    def _look(self) -> None:
        """Stop a stream only if its reader is gone: for other errors its last line says why it ends."""
        if isinstance(self.watch.error, Gone):
            raise self.watch.error

    def _tell(self, piece: Piece) -> None:
        with self._lock:
            first = not self._pieces
            self._pieces.append(piece)
        if first:
            self._told(self)


def make_environ(
    request: h11.Request, target: bytes, body: deque[bytes | memoryview], size: int, here: tuple, there: tuple
) -> dict:
    """The WSGI environment of a complete request. `here` and `there` are addresses, empty for a Unix socket."""
    path, _, query = target.partition(b"?")
    environ = {
        "REQUEST_METHOD": request.method.decode("ascii"),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.decode("ascii"),
        "RAW_URI": target.decode("ascii"),
        "SERVER_PROTOCOL": f"HTTP/{request.http_version.decode('ascii')}",
        "SERVER_NAME": str(here[0]) if here else "localhost",
        "SERVER_PORT": str(here[1]) if here else "80",
        "REMOTE_ADDR": str(there[0]) if there else "",
        "REMOTE_PORT": str(there[1]) if there else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BufferedReader(Body(body), 2**16),
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileBody,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers:
        if name in DROPPED or b"_" in name:  # an underscore could impersonate another header's dash
            continue
        key, text = name.decode("ascii").upper().replace("-", "_"), value.decode("latin-1")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
            if key in environ:
                text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
    if size or "CONTENT_LENGTH" in environ:
        environ["CONTENT_LENGTH"] = str(size)  # for chunked bodies too: they are complete
    return environ


class Threads:
    """A thread pool that grows on demand up to a limit; further work waits. Its threads are daemons."""

    def __init__(self, count: int):
        self._count, self._started, self._idle = count, 0, 0
        self.busy = 0  # running threads
        self._work: deque[Callable[[], None]] = deque()
        self._change = threading.Condition()

    def submit(self, work: Callable[[], None]) -> None:
        with self._change:
            self._work.append(work)
            if self._idle >= len(self._work) or self._started == self._count:
                self._change.notify()
                return
            self._started += 1
        threading.Thread(target=self._run, name="request", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._change:
                self._idle += 1
                while not self._work:
                    self._change.wait()
                self._idle -= 1
                self.busy += 1
                work = self._work.popleft()
            try:
                work()
            finally:
                with self._change:
                    self.busy -= 1
            del work  # frees the request's bytes while the thread is idle
