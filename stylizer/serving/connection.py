"""HTTP/1.1 on one socket, only in the loop: reads requests, writes answers, enforces deadlines, and never blocks.

h11 implements the protocol. This module limits the time for headers, bodies, work and readers, and answers when it is
up.
"""

import enum
import errno
import json
import logging
import re
import secrets
import socket
import time
from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

import h11

from stylizer.errors import (
    INTERNAL,
    Gone,
    MalformedRequest,
    OutOfMemory,
    Restarting,
    StylizerError,
    TookTooLong,
    TooManyBytes,
    TooManyHeaders,
    TooSlow,
)
from stylizer.serving.exchange import Exchange, FilePart, Headers, make_environ, named

if TYPE_CHECKING:
    from stylizer.serving.server import Server

log = logging.getLogger("stylizer.serving")

READ = 2**16  # bytes taken from a socket at a time
WRITE = 2**18  # bytes offered to a socket at a time
SMALL = 2**14  # bytes; smaller pieces are sent together
AHEAD = 2**16  # bytes of further requests buffered while one is in progress
UNREAD = 2**18  # bytes of a stream that its reader may lag behind before the application is paused
PROBE_SECONDS = 1.0  # between probes whether a client that has closed its sending side still reads
HURRY_SECONDS = 1.0  # from the deadline until the loop answers instead of a thread that has not noticed
ABSOLUTE = re.compile(rb"https?://[^/?]*", re.IGNORECASE)  # proxies receive absolute URLs
SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
PLAIN, PROBLEM = "text/plain; charset=utf-8", "application/problem+json"
REASONS = {each.value: each.phrase for each in HTTPStatus} | {499: "Client Closed Request"}


class State(enum.Enum):
    IDLE = "idle"  # no byte of a request yet
    HEADERS = "headers"
    BODY = "body"
    WORK = "work"  # request complete, answer not completely sent
    LINGER = "linger"  # refused: remaining input is read and discarded
    CLOSED = "closed"


class Connection:
    def __init__(self, server: "Server", sock: socket.socket, address: tuple):
        self.server, self.limits, self.socket, self.address = server, server.limits, sock, address
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=self.limits.header_bytes)
        self.state, self.since = State.IDLE, time.monotonic()
        self.deadline = self.since + self.limits.header_seconds
        self.request: h11.Request | None = None
        self.exchange: Exchange | None = None
        self.held = 0  # bytes of the body, until the answer begins
        self._body: deque[bytes | memoryview] = deque()
        self._received = 0
        self._output: deque[memoryview | FilePart] = deque()
        self.unsent = self._sent = 0
        self.unsent_since = 0.0
        self._ended = False  # the client has closed its sending side
        self._last = self._silent = False  # the answer is completely in the output; it has no body
        self._reading = self._writing = False
        self._probed = 0.0
        self._ahead = self._lingered = 0  # bytes of further requests; bytes read and discarded
        self._record: dict = {}
        self._read_on()

    @property
    def holds_bytes(self) -> bool:
        """Whether unsent output occupies memory, rather than only a file."""
        return any(isinstance(each, memoryview) for each in self._output)

    # Events of the loop ---------------------------------------------------------------------------------------------

    def readable(self) -> None:
        try:
            data = self.socket.recv(READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if not data:
            self._end_of_input()
        elif self.state is State.LINGER:
            self._lingered += len(data)
            if self._lingered > self.limits.linger_bytes:
                self.close()
        else:
            self.http.receive_data(data)
            if self.state is State.WORK:
                self._ahead += len(data)
                if self._ahead > AHEAD:
                    self._stop_reading()
            else:
                self._advance()

    def writable(self) -> None:
        self._flush()

    def deliver(self, exchange: Exchange) -> None:
        """Process the pieces from the application's thread."""
        pieces = exchange.take()
        if exchange is not self.exchange or self._last:
            for piece in pieces:
                if isinstance(piece, FilePart):
                    piece.close()
            return  # too late: the client is gone, or has been answered
        try:
            for piece in pieces:
                if piece is None:
                    self._finish()
                elif isinstance(piece, tuple):
                    self._begin_answer(*piece)
                elif isinstance(piece, Exception):
                    self._fail(piece)
                    return
                else:
                    self._write(piece)
        except h11.LocalProtocolError as error:  # the application's fault, such as a wrong length
            log.error("the application's answer is not valid HTTP: %s", named(error))
            self._fail(error)
            return
        self._flush()

    def check(self, now: float) -> None:
        """End whatever has waited too long."""
        limits = self.limits
        if self._output and now > self.unsent_since + limits.grace_seconds + self._sent / limits.bytes_per_second:
            self.close()
        elif self.state is State.IDLE or self.state is State.LINGER:
            if now > self.deadline:
                self.close()
        elif self.state is State.HEADERS:
            if now > self.deadline:
                self.refuse(TooSlow(f"the headers took longer than {limits.header_seconds:g} seconds"))
        elif self.state is State.BODY:
            if now > self.since + limits.grace_seconds + self._received / limits.bytes_per_second:
                self.refuse(
                    TooSlow(
                        f"the body arrived too slowly; send at least {limits.bytes_per_second / 1024:g} KiB per second"
                    )
                )
        elif self.state is State.WORK and not self._last:
            if self._ended:
                self._probe(now)  # may find the client gone, and close
            if self.exchange and not self.exchange.begun and now > self.deadline:
                error = TookTooLong(
                    f"the answer took longer than {limits.request_seconds:g} seconds; try again later, or ask for a "
                    "smaller picture"
                )
                self.exchange.end(error)
                if now > self.deadline + HURRY_SECONDS:
                    self.refuse(error)

    def drain(self) -> None:
        """The server is stopping: refuse incomplete requests and end streams."""
        if self.state is State.IDLE:
            self.close()
        elif self.state in (State.HEADERS, State.BODY):
            self.refuse(Restarting())
        elif self.state is State.LINGER:
            self.deadline = min(self.deadline, time.monotonic() + HURRY_SECONDS)
        elif self.exchange and self.exchange.begun:
            self.exchange.end(Restarting())

    def hurry(self, at_once: bool) -> None:
        """The server's time to stop is nearly up, or up."""
        if self.exchange and self.state is State.WORK and not self._last:
            self.exchange.end(Restarting())
            if at_once:
                self.refuse(Restarting())

    # Requests -------------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Parse what has arrived: headers, body, and hand on the request once it is complete."""
        try:
            while self.state in (State.IDLE, State.HEADERS, State.BODY):
                event = self.http.next_event()
                if event is h11.NEED_DATA:
                    if self.state is State.IDLE and self.http.trailing_data[0]:
                        self._enter(State.HEADERS, self.limits.header_seconds)
                    return
                if isinstance(event, h11.ConnectionClosed):
                    self.close()
                    return
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._take(event.data)
                elif isinstance(event, h11.EndOfMessage) and self.request:
                    self._hand_on(self.request)
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == 431:
                self._refuse_headers()
            elif self._ended and self.state is State.BODY:
                self.refuse(MalformedRequest("the body is incomplete; send all of it"))
            else:
                self.refuse(MalformedRequest("this is not a well-formed HTTP/1.1 request"))

    def _enter(self, state: State, seconds: float) -> None:
        self.state, self.since = state, time.monotonic()
        self.deadline = self.since + seconds

    def _begin(self, request: h11.Request) -> None:
        """The headers are complete: refuse immediately what they alone rule out."""
        limits = self.limits
        self.request, self._path = request, ABSOLUTE.sub(b"", request.target) or b"/"
        headers = dict(request.headers)
        asked = headers.get(b"x-request-id", b"").decode("latin-1")
        name = asked if SAFE_ID.fullmatch(asked) else secrets.token_hex(8)
        self._record = {"id": name, "method": request.method.decode("ascii"), "started": time.monotonic()}
        self._enter(State.BODY, 0)
        self._received, self._body = 0, deque()
        length = int(headers.get(b"content-length", b"0"))
        if len(request.headers) > limits.headers:
            self.refuse(TooManyHeaders(f"got {len(request.headers)} headers; the limit is {limits.headers}"))
        elif len(request.target) + sum(len(key) + len(value) for key, value in headers.items()) > limits.header_bytes:
            self._refuse_headers()  # h11 measures incomplete headers
        elif not self._path.startswith(b"/"):
            self.refuse(MalformedRequest("the request has no path; a path begins with /"))
        elif b"transfer-encoding" in headers and b"content-length" in headers:
            self.refuse(MalformedRequest("send either Content-Length or Transfer-Encoding, not both"))
        elif self.server.draining and self._path != b"/healthz":
            self.refuse(Restarting())
        elif length > limits.body_bytes:
            self._refuse_size()
        elif self.server.held + length > limits.held_bytes and length:
            self.refuse(self._full())
        elif self.http.they_are_waiting_for_100_continue:
            self._inform()

    def _take(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self.limits.body_bytes:
            self._refuse_size()
            return
        self._body.append(data)
        self.held += len(data)
        self.server.held += len(data)
        while self.server.held > self.limits.held_bytes:
            # The newest are refused, so that the oldest can complete.
            coming = [each for each in self.server.connections if each.state is State.BODY]
            if not coming:
                break
            max(coming, key=lambda each: each.since).refuse(self._full())

    def _refuse_headers(self) -> None:
        most = self.limits.header_bytes // 1024
        self.refuse(TooManyHeaders(f"URL and headers may be at most {most} KiB together; send fewer headers"))

    def _refuse_size(self) -> None:
        most = f"{self.limits.body_bytes / 2**20:g} MiB"
        self.refuse(TooManyBytes(f"the body is larger than the limit of {most}; send a smaller picture"))

    def _full(self) -> OutOfMemory:
        return OutOfMemory("too many pictures are waiting to be painted; try again in a few seconds")

    def _hand_on(self, request: h11.Request) -> None:
        self._enter(State.WORK, self.limits.request_seconds)
        self._last, self._probed, self._ahead = False, 0.0, 0
        if self._path == b"/healthz" and request.method in (b"GET", b"HEAD"):
            self._record["route"] = "/healthz"
            self._answer(200, PLAIN, b"ok\n")
            return
        here = self.socket.getsockname()
        environ = make_environ(request, self._path, self._body, self._received, here, self.address)
        environ["stylizer.request_id"] = self._record["id"]
        self._body = deque()
        deliver = self.server.guarded(self, self.deliver)
        self.exchange = Exchange(environ, lambda exchange: self.server.call(deliver, exchange))
        self.server.submit(self.exchange)

    def _end_of_input(self) -> None:
        self._ended = True
        self._stop_reading()
        if self.state is State.LINGER:
            if not self._output:
                self.close()
            return
        self.http.receive_data(b"")
        if self.state is not State.WORK:
            self._advance()
        elif not self._last:
            self._probe(time.monotonic())

    def _probe(self, now: float) -> None:
        """Check whether a client that has closed its sending side still waits, by sending an interim answer: a closed
        socket fails, and a reading client skips it. Once the answer has begun, its own bytes tell."""
        if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or self._hung_up():
            self.close()
        elif self.exchange and not self.exchange.begun and now > self._probed + PROBE_SECONDS:
            self._probed = now
            if self.http.their_http_version == b"1.1":  # older clients do not know interim answers
                self._inform()

    def _hung_up(self) -> bool:
        try:
            self.socket.send(b"")
        except OSError as error:
            return error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK)
        return False

    def _inform(self) -> None:
        self._put(self.http.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")))
        self._flush()

    # Answers --------------------------------------------------------------------------------------------------------

    def refuse(self, error: StylizerError) -> None:
        """Answer with a problem instead of the application's answer. Remaining input is read and discarded, so that the
        client does not see a connection reset."""
        self._let_go()
        if self.exchange:
            self.exchange.end(Gone("answered already"))
        if self.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.close()  # the answer has begun; cutting it off shows that it is incomplete
            return
        self._enter(State.LINGER, HURRY_SECONDS if self.server.draining else self.limits.linger_seconds)
        self._record["code"] = error.code
        body = json.dumps(error.problem()).encode()
        headers = [("Connection", "close")]
        if error.status in (429, 503):
            headers.append(("Retry-After", str(getattr(error, "seconds", 2))))
        self._answer(error.status, PROBLEM, body, headers)

    def _answer(self, status: int, media: str, body: bytes, headers: Headers = []) -> None:  # noqa: B006
        head = [
            ("Content-Type", media),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
        ]
        self._begin_answer(f"{status} {REASONS.get(status, '')}", head)
        self._write(body)
        self._finish()
        self._flush()

    def _begin_answer(self, status: str, headers: Headers) -> None:
        code, _, reason = status.partition(" ")
        self._let_go()
        self._record["status"] = int(code)
        head = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        given = {name.lower() for name, _ in head}
        if b"date" not in given:
            head.append((b"Date", formatdate(usegmt=True).encode()))
        head.append((b"X-Request-Id", self._record.setdefault("id", secrets.token_hex(8)).encode()))
        if (self.server.draining or self._ended) and b"connection" not in given:
            head.append((b"Connection", b"close"))
        self._put(self.http.send(h11.Response(status_code=int(code), headers=head, reason=reason.encode("latin-1"))))
        self._silent = int(code) in (204, 304) or (self.request is not None and self.request.method == b"HEAD")
        if self.exchange:
            self.exchange.begun = True
            if self.server.draining:
                self.exchange.end(Restarting())

    def _write(self, data: bytes | FilePart) -> None:
        if not self._silent:
            # anything with a length is passed through, though h11's annotation only allows bytes
            event = h11.Data(data=data)  # type: ignore[arg-type]
            for piece in self.http.send_with_data_passthrough(event) or ():
                self._put(piece)
        elif isinstance(data, FilePart):
            data.close()

    def _finish(self) -> None:
        self._put(self.http.send(h11.EndOfMessage()))
        self._last = True

    def _fail(self, _error: Exception) -> None:
        """The application failed: answer with a problem if nothing has been sent, otherwise cut the answer off."""
        if self.http.our_state is h11.SEND_RESPONSE:
            self._answer(500, PROBLEM, json.dumps(INTERNAL).encode())
        else:
            self._flush()
            self.close()

    def _put(self, data: bytes | FilePart) -> None:
        if not len(data):
            return
        if not self._output:
            self.unsent_since, self._sent = time.monotonic(), 0
        if isinstance(data, FilePart):
            self._output.append(data)
        else:
            self._output.append(memoryview(data))
            self.server.hold_unsent(data)
        self.unsent += len(data)

    def _flush(self) -> None:
        while self._output:
            try:
                count = self.socket.send(self._next())
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self.close()
                return
            self._drop(count)
        self._want_to_write(bool(self._output))
        if self.exchange and self.unsent < UNREAD:
            self.exchange.give_room()
        if not self._output and self._last:
            self._next_request()

    def _next(self) -> memoryview | bytes:
        """Some of the output; small pieces are joined, as each would otherwise become a packet."""
        first = self._output[0]
        if len(self._output) == 1 or len(first) >= SMALL:
            return _begin(first, WRITE)
        some = b""
        for piece in self._output:
            some += _begin(piece, SMALL)
            if len(piece) > SMALL or len(some) > READ:
                break
        return some

    def _drop(self, count: int) -> None:
        self._sent += count
        self.unsent -= count
        self._record["out"] = self._record.get("out", 0) + count
        while count:
            first = self._output[0]
            if len(first) > count:
                if isinstance(first, FilePart):
                    first.skip(count)
                else:
                    self._output[0] = first[count:]
                return
            count -= len(first)
            self._forget_first()

    def _forget_first(self) -> None:
        first = self._output.popleft()
        if isinstance(first, FilePart):
            first.close()
        else:
            self.server.drop_unsent(first.obj)

    def _next_request(self) -> None:
        """The answer has been sent completely: prepare for the next request."""
        self._report()
        self._last, self.exchange = False, None
        if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE or self.server.draining:
            self._linger()
            return
        self.http.start_next_cycle()
        self.request = None
        self._enter(State.IDLE, self.limits.idle_seconds)
        if self._ended:
            self.close()
            return
        self._read_on()
        self._advance()

    def _linger(self) -> None:
        """Close in two steps: we have finished sending, but the client may not have. Closing with unread input would
        reset the connection, and might discard the answer."""
        if self._ended:
            self.close()
            return
        self._enter(State.LINGER, HURRY_SECONDS if self.server.draining else self.limits.linger_seconds)
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._read_on()

    def _let_go(self) -> None:
        """Free the body, when the answer begins or there will be none."""
        self.server.held -= self.held
        self.held = 0
        self._body = deque()

    def _report(self) -> None:
        if "status" in self._record and self.server.observe:
            record, self._record = self._record, {}
            record["in"] = self._received
            record["seconds"] = time.monotonic() - record.pop("started", self.since)
            if self.exchange:
                told = ("route", "code", "stages")
                record |= {
                    name: self.exchange.environ[f"stylizer.{name}"]
                    for name in told
                    if f"stylizer.{name}" in self.exchange.environ
                }
            self.server.observe(record)

    # The socket -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        if self.state is State.CLOSED:
            return
        self._stop_reading()
        self._want_to_write(False)
        self._let_go()
        self.state = State.CLOSED
        if self.exchange:
            if not self._last:
                self._record["status"] = self._record.get("status", Gone.status)
            self.exchange.end(Gone("the client disconnected"))
            self._report()
            self.exchange = None
        while self._output:
            self._forget_first()
        self.server.forget(self)
        self.socket.close()

    def _read_on(self) -> None:
        if not self._reading and not self._ended:
            self._reading = True
            self.server.loop.add_reader(self.socket, self.server.guarded(self, self.readable))

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self.server.loop.remove_reader(self.socket)

    def _want_to_write(self, wanted: bool) -> None:
        if wanted and not self._writing:
            self.server.loop.add_writer(self.socket, self.server.guarded(self, self.writable))
        elif self._writing and not wanted:
            self.server.loop.remove_writer(self.socket)
        self._writing = wanted


def _begin(piece: memoryview | FilePart, most: int) -> memoryview | bytes:
    return piece.read(most) if isinstance(piece, FilePart) else piece[:most]
