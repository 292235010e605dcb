"""The server: accepts connections, enforces deadlines, runs the application in threads, and shuts down in time."""

import asyncio
import errno
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from stylizer.serving.connection import Connection, State
from stylizer.serving.exchange import Exchange, Threads, named
from stylizer.serving.limits import Limits

log = logging.getLogger("stylizer.serving")

ACCEPTED = 64  # connections accepted at a time, before others get their turn
SPARE_DESCRIPTORS = 128  # for files, libraries and listeners
# By default the system buffers megabytes for a client that does not read, and we would notice late. This limits its
# unsent data; data in flight to a fast, distant reader does not count.
NOT_SENT, UNSENT_BYTES = getattr(socket, "TCP_NOTSENT_LOWAT", None), 2**17
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# Switch interval of Python threads (default 5 ms), so that busy threads do not keep the loop waiting.
SWITCH_SECONDS = 0.001


class Server:
    """Serves a WSGI application on listening sockets until `stop`.

    observe: called for every answer with {"id", "method", "route", "status", "code" (of a problem), "seconds", "in",
    "out" (bytes), "stages" ({name: seconds})}; route, code and stages come from environ["stylizer.route"] etc.
    on_start: called with the server once it serves; on_tick: called several times a second, for heartbeats.
    """

    def __init__(
        self,
        application: Callable,
        listeners: list[socket.socket],
        limits: Limits | None = None,
        *,
        observe: Callable[[dict], None] | None = None,
        on_start: "Callable[[Server], None] | None" = None,
        on_tick: Callable[[], None] | None = None,
    ):
        self.application, self.listeners, self.limits = application, listeners, limits or Limits()
        self.observe, self.on_start, self.on_tick = observe, on_start, on_tick
        self.connections: set[Connection] = set()
        self.held = 0  # bytes of bodies whose answers have not begun
        self.unsent = 0  # bytes of answers that clients have not read yet
        self._unsent: dict[int, tuple[int, bytes]] = {}  # {id of data: (number of connections sending it, data)}
        self.draining = False
        self._drained_by = 0.0
        self._most = _connections(self.limits.connections)
        self._threads = Threads(self.limits.threads + self.limits.painting_threads)
        self.loop = asyncio.SelectorEventLoop()

    @property
    def busy(self) -> int:
        """Threads still running; after `run`, those that did not end in time."""
        return self._threads.busy

    def run(self) -> None:
        """Serve in this thread until `stop` is called and all answers are sent, or the time for that is up."""
        sys.setswitchinterval(SWITCH_SECONDS)
        self._listen()
        self.loop.call_soon(self._tick)
        if self.on_start:
            self.on_start(self)
        try:
            self.loop.run_forever()
        finally:
            self._close_listeners()
            for connection in list(self.connections):
                connection.close()
            self.loop.close()

    def stop(self) -> None:
        """Answer accepted requests, refuse new ones, then end; at once if called twice. From any thread or signal."""
        self.call(self._drain)

    # For connections ------------------------------------------------------------------------------------------------

    def submit(self, exchange: Exchange) -> None:
        self._threads.submit(partial(exchange.run, self.application))

    def call(self, function: Callable, *arguments: object) -> None:
        """Run a function in the loop, from any thread; has no effect once the loop has ended."""
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            log.debug("a call arrived after the loop ended")

    def hold_unsent(self, data: bytes) -> None:
        """Count bytes waiting for a reader, once: cached data is shared by all its readers."""
        readers, _ = self._unsent.get(id(data), (0, data))
        self._unsent[id(data)] = readers + 1, data
        self.unsent += 0 if readers else len(data)

    def drop_unsent(self, data: object) -> None:
        readers, held = self._unsent.pop(id(data))
        if readers > 1:
            self._unsent[id(data)] = readers - 1, held
        else:
            self.unsent -= len(held)

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)

    def guarded(self, connection: Connection, function: Callable) -> Callable:
        """Wrap a function so that an error ends only this connection."""

        def call(*arguments: object) -> None:
            try:
                function(*arguments)
            except Exception as error:
                log.error("a connection failed: %s", named(error))
                connection.close()

        return call

    # New connections ------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        for listener in self.listeners:
            listener.setblocking(False)
            self.loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTED):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in FULL:
                    raise
                log.error("no descriptors or memory for another connection")
                self._make_room()
                self.loop.remove_reader(listener)  # or the loop would spin
                self.loop.call_later(self.limits.tick_seconds, self._listen_again, listener)
                return
            if len(self.connections) >= self._most and not self._make_room():
                sock.close()
                continue
            sock.setblocking(False)
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if NOT_SENT:
                    sock.setsockopt(socket.IPPROTO_TCP, NOT_SENT, UNSENT_BYTES)
            self.connections.add(Connection(self, sock, address if isinstance(address, tuple) else ()))

    def _listen_again(self, listener: socket.socket) -> None:
        if listener in self.listeners:
            self.loop.add_reader(listener, self._accept, listener)

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for its client: an idle one, else one still in its headers."""
        for states in ((State.IDLE, State.LINGER), (State.HEADERS,)):
            waiting = [each for each in self.connections if each.state in states]
            if waiting:
                min(waiting, key=lambda each: each.since).close()
                return True
        return False

    def _close_listeners(self) -> None:
        for listener in self.listeners:
            self.loop.remove_reader(listener)
            listener.close()
        self.listeners = []

    # Time -----------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = time.monotonic()
        for connection in list(self.connections):
            self.guarded(connection, connection.check)(now)
        self._bound_unsent()
        if self.on_tick:
            self.on_tick()
        if self.draining:
            self._go_on_draining(now)
        self.loop.call_later(self.limits.tick_seconds, self._tick)

    def _bound_unsent(self) -> None:
        """Disconnect the slowest readers if unread answers fill the memory, but never the only one."""
        while self.unsent > self.limits.unsent_bytes:
            slow = [each for each in self.connections if each.holds_bytes]
            if len(slow) < 2:
                return
            min(slow, key=lambda each: each.unsent_since).close()

    def _drain(self) -> None:
        if self.draining:
            self._quit()
            return
        self.draining = True
        self._drained_by = time.monotonic() + self.limits.drain_seconds
        for connection in list(self.connections):
            self.guarded(connection, connection.drain)()

    def _go_on_draining(self, now: float) -> None:
        left = self._drained_by - now
        if left < min(1.0, self.limits.drain_seconds / 2):
            for connection in list(self.connections):
                self.guarded(connection, connection.hurry)(left <= 0)
        if not any(each.state is State.WORK for each in self.connections):
            self._close_listeners()
        if left < -0.5 or not self.connections:
            self._quit()

    def _quit(self) -> None:
        self.loop.stop()


def stop_at_signals(server: Server) -> None:
    """Ctrl+C and SIGTERM stop the server; a second one stops it at once."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: server.stop())


def _connections(wanted: int) -> int:
    """As many connections as descriptors allow, after raising the soft limit as far as possible."""
    try:
        import resource
    except ImportError:  # Windows
        return min(wanted, 400)  # select is limited to 512 sockets there
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 2 * wanted + SPARE_DESCRIPTORS  # each a socket, and a file being sent
    if soft != resource.RLIM_INFINITY and soft < enough:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(8, min(wanted, (soft - SPARE_DESCRIPTORS) // 2))
    return wanted
