"""The server on real sockets: HTTP as it should be, clients as they should not, and the end of it all.

Applications here are a few lines of WSGI; test_crowd.py has the one that paints.
"""

import http.client
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from gunicorn.config import Config
from serving import Served, body, problem_of, read_all, status, until

from stylizer.serving.limits import Limits
from stylizer.serving.worker import BufferedWorker

ROOT = Path(__file__).parents[1]
# Small deadlines, so that they pass while one looks.
QUICK = Limits(
    body_bytes=100_000,
    held_bytes=250_000,
    header_seconds=0.6,
    grace_seconds=0.6,
    bytes_per_second=50_000,
    idle_seconds=0.6,
    request_seconds=0.6,
    drain_seconds=1.2,
    linger_seconds=0.6,
    tick_seconds=0.05,
)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(path: bytes, data: bytes, more: bytes = b"") -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s" % (path, len(data), more, data)


def echo(environ, start_response):
    """The request, as the application sees it."""
    data = environ["wsgi.input"].read()
    seen = {key: value for key, value in environ.items() if isinstance(value, (str, bool))} | {"body": data.decode()}
    answer = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


class Work:
    """An application that works until it is let go on, looking at its interrupt, and keeps how that ended."""

    def __init__(self, looks: bool = True):
        self.leave, self.ends, self.started, self._looks = threading.Event(), [], threading.Semaphore(0), looks

    def __call__(self, environ, start_response):
        self.started.release()
        try:
            while not self.leave.wait(0.01):
                if self._looks:
                    environ["stylizer.interrupt"]()
            self.ends.append("done")
        except Exception as error:
            self.ends.append(error.code)
            start_response(f"{error.status} no", [("Content-Length", "5")])
            return [b"ended"]
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]


class Stream:
    """An application that tells lines for as long as it is asked for them; its last line says why it ended."""

    def __init__(self, line: bytes = b"line\n", pause: float = 0.02, count: int = 10**6):
        self.line, self.pause, self.count = line, pause, count
        self.told, self.closed, self.ends = 0, threading.Event(), []

    def __call__(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self.lines(environ["stylizer.interrupt"])

    def lines(self, interrupt):
        try:
            for _ in range(self.count):
                interrupt()
                self.told += 1
                yield self.line
                time.sleep(self.pause)
        except Exception as error:
            self.ends.append(error.code)
            yield f"ended: {error.code}\n".encode()
        finally:
            self.closed.set()


@pytest.fixture(scope="module")
def served():
    with Served(echo, QUICK) as served:
        yield served


def seen(came: bytes) -> dict:
    assert status(came) == 200, came[:300]
    return json.loads(body(came))


# HTTP as it should be -----------------------------------------------------------------------------------------------


def test_the_application_sees_the_request_as_wsgi_has_it(served):
    _, came = served.ask(post(b"/a%20b/%C3%A9?q=%20x", b"hello", b"X-Two: 1\r\nX-Two: 2\r\nConnection: close\r\n"))
    environ = seen(came)
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/a b/é" and environ["QUERY_STRING"] == "q=%20x"
    assert environ["REQUEST_METHOD"] == "POST" and environ["SCRIPT_NAME"] == "" and environ["body"] == "hello"
    assert environ["SERVER_PORT"] == str(served.port) and environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["HTTP_X_TWO"] == "1,2" and environ["CONTENT_LENGTH"] == "5" and environ["HTTP_HOST"] == "x"
    assert environ["wsgi.multithread"] is True and environ["SERVER_PROTOCOL"] == "HTTP/1.1"


def test_headers_that_would_pass_for_others_are_dropped(served):
    _, came = served.ask(b"GET / HTTP/1.1\r\nHost: x\r\nX_Forwarded-For: 1\r\nProxy: p\r\nConnection: close\r\n\r\n")
    assert not {"HTTP_X_FORWARDED_FOR", "HTTP_PROXY"} & set(seen(came))


def test_a_connection_serves_one_request_after_another(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    sockets = set()
    for number in range(3):
        connection.request("POST", "/", str(number))
        response = connection.getresponse()
        assert json.loads(response.read())["body"] == str(number)
        sockets.add(connection.sock.getsockname())
    assert len(sockets) == 1


def test_requests_sent_before_their_answers_are_answered_in_order(served):
    with served.connect(post(b"/", b"1") + post(b"/", b"2") + post(b"/", b"3", b"Connection: close\r\n")) as client:
        came = read_all(client)
    assert [came.index(b'"body": "%d"' % number) for number in (1, 2, 3)] == sorted(
        came.index(b'"body": "%d"' % number) for number in (1, 2, 3)
    )


def test_a_body_in_chunks_arrives_whole_with_its_length(served):
    _, came = served.ask(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"3\r\nabc\r\n5;ext=1\r\ndefgh\r\n0\r\nTrailer: t\r\n\r\n"
    )
    environ = seen(came)
    assert environ["body"] == "abcdefgh" and environ["CONTENT_LENGTH"] == "8"
    assert "HTTP_TRANSFER_ENCODING" not in environ


def test_head_and_304_have_headers_and_no_body():
    def application(environ, start_response):
        start_response("304 Not Modified" if environ["PATH_INFO"] == "/same" else "200 OK", [("Content-Length", "4")])
        return [b"body"]

    with Served(application, QUICK) as served:
        _, came = served.ask(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\nHEAD /same HTTP/1.1\r\nHost: x\r\n\r\n" + LAST)
    assert came.count(b"body") == 1 and came.count(b"HTTP/1.1 200 OK") == 2 and b"304 Not Modified" in came


def test_an_old_client_gets_a_stream_that_ends_with_the_connection():
    with Served(Stream(count=3), QUICK) as served:
        code, came = served.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert code == 200 and body(came) == b"line\n" * 3 and b"chunked" not in came.lower()
        _, came = served.ask(LAST)
        assert b"5\r\nline\n\r\n" in came and came.endswith(b"0\r\n\r\n")


def test_a_client_that_asks_before_it_sends_is_told_to_go_on_or_why_not(served):
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    with served.connect(head % 5) as client:
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert seen(read_all(client))["body"] == "hello"
    with served.connect(head % 10**6) as client:
        assert read_all(client).startswith(b"HTTP/1.1 413 ")


def test_start_response_may_be_called_again_with_an_error_and_write_works():
    def application(_environ, start_response):
        write = start_response("200 OK", [])
        try:
            raise ValueError("late")
        except ValueError:
            write = start_response("418 Teapot", [("X-Kind", "tea")], sys.exc_info())
        write(b"written ")
        return [b"and returned"]

    with Served(application, QUICK) as served:
        code, came = served.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert code == 418 and b"X-Kind: tea" in came and body(came) == b"written and returned"


def test_an_application_that_fails_is_a_500_and_cut_off_in_the_middle_of_an_answer(caplog):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/late":
            start_response("200 OK", [("Content-Length", "100")])
            yield b"some"
        raise RuntimeError("secret")

    with Served(application, QUICK) as served:
        code, came = served.ask(LAST)
        assert code == 500 and problem_of(came)["code"] == "internal" and b"secret" not in came
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        connection.request("GET", "/late")
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()
        assert served.ask(LAST)[0] == 500  # and lives on


def test_every_answer_has_the_id_of_its_request_and_takes_a_safe_one(served):
    def name(more: bytes) -> str:
        _, came = served.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n" % more)
        said = came.lower().split(b"x-request-id: ")[1].split(b"\r\n")[0].decode()
        assert seen(came)["stylizer.request_id"].lower() == said
        return said

    assert name(b"X-Request-Id: abc-1.2_3\r\n") == "abc-1.2_3"
    assert len({name(b""), name(b""), name(b"X-Request-Id: a b\r\n"), name(b"X-Request-Id: %s\r\n" % (b"x" * 65))}) == 4


# HTTP as it should not be -------------------------------------------------------------------------------------------

CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "expected", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed"),  # no Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "malformed"),
        (b"nonsense\r\n\r\n", 400, "malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed"),
        (b"GET nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed"),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 400, "malformed"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", 400, "malformed"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "malformed"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, "malformed"),
        (CHUNKED[:-2] + b"Content-Length: 1\r\n\r\n0\r\n\r\n", 400, "malformed"),
        (CHUNKED + b"zz\r\n", 400, "malformed"),
        (CHUNKED + b"-1\r\n", 400, "malformed"),
        (CHUNKED + b"3\r\nabcX\r\n", 400, "malformed"),
        (CHUNKED + b"ffffffffffffffffffffff\r\n", 400, "malformed"),
        (CHUNKED + b"1" * 40_000, 431, "too-many-headers"),
        (CHUNKED + b"20000\r\n" + b"x" * 0x20000 + b"\r\n0\r\n\r\n", 413, "too-many-bytes"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "too-many-headers"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431, "too-many-headers"),
    ],
)
def test_what_is_no_http_is_refused_in_one_way(served, caplog, data, expected, code):
    status_, came = served.ask(data)
    problem = problem_of(came)
    assert (status_, problem["status"], problem["code"]) == (expected, expected, code)
    assert "\n" not in problem["detail"] and b"connection: close" in came.lower()
    assert caplog.text == ""  # nobody's business, and nothing to be filled up with
    assert served.ask(LAST)[0] == 200


def test_a_body_cut_short_by_a_client_that_still_reads_is_a_400(served):
    with served.connect(post(b"/", b"x" * 500)[:-100]) as client:
        client.shutdown(socket.SHUT_WR)
        assert "incomplete" in problem_of(read_all(client))["detail"]


def test_a_body_over_the_cap_is_read_on_so_that_who_sends_all_of_it_sees_the_413():
    with Served(echo, Limits(body_bytes=10**6)) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        connection.request("POST", "/", b"x" * 40_000_000)  # sends all before it reads anything
        response = connection.getresponse()
        assert response.status == 413 and "1 MiB" not in response.reason
        assert json.loads(response.read())["code"] == "too-many-bytes"


# Clients that take their time ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"GET / HTTP/1.1\r\nX-A: ", b"a"),
        (b"GET", b""),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n", b"x"),
        (CHUNKED, b"1\r\nx\r\n"),
    ],
)
def test_who_sends_too_slowly_is_told_so(served, begin, drip):
    with served.connect(begin) as client:
        client.settimeout(0.1)
        came, end = b"", time.monotonic() + 10
        while not came and time.monotonic() < end:
            client.sendall(drip)
            try:
                came = client.recv(65536)
            except TimeoutError:
                continue
    assert problem_of(came)["code"] == "too-slow" and status(came) == 408


@pytest.mark.slow
def test_a_silent_socket_and_an_idle_one_are_closed_without_a_word(served):
    with served.connect() as client:
        assert read_all(client) == b""
    with served.connect(GET) as client:
        assert status(read_all(client)) == 200  # and then the end


@pytest.mark.slow
def test_a_body_as_fast_as_asked_for_may_take_longer_than_the_grace(served):
    data = b"x" * 90_000
    with served.connect(post(b"/", data, b"Connection: close\r\n")[:-90_000]) as client:
        for start in range(0, 90_000, 10_000):
            client.sendall(data[start : start + 10_000])
            time.sleep(0.12)
        assert len(seen(read_all(client))["body"]) == 90_000


def test_slow_clients_of_every_kind_keep_no_one_else_waiting():
    # 64 of them against two threads; deadlines so long that none is cut off meanwhile.
    def application(environ, start_response):
        environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", "1000000")])
        return [b"x" * 1_000_000]

    with Served(application, Limits(threads=2)) as served:
        kinds = (b"", b"GET / HTTP/1.1\r\nX-A: ", post(b"/", b"x" * 10**6)[:100], GET)
        slow = [served.connect(kinds[index % 4], receive_buffer=2048) for index in range(64)]
        for _ in range(5):
            began = time.monotonic()
            assert served.ask(HEALTH)[0] == 200
            assert len(body(served.ask(LAST)[1])) == 1_000_000
            assert time.monotonic() - began < 5
        assert len(served.server.connections) >= 64
        for client in slow:
            client.close()


@pytest.mark.slow
def test_who_reads_nothing_of_an_answer_is_cut_off_and_the_stream_ends():
    stream = Stream(b"x" * 100_000, pause=0)
    with Served(stream, QUICK) as served, served.connect(GET, receive_buffer=2048):
        assert stream.closed.wait(20)
        held = stream.told * 100_000
        assert held < 20_000_000  # it went no faster than it was read
        until(lambda: not served.server.connections)
        until(lambda: not served.server.busy)


def test_a_slow_reader_of_a_long_answer_holds_no_thread():
    def application(_environ, start_response):
        start_response("200 OK", [("Content-Length", "30000000")])
        return [b"x" * 30_000_000]

    with Served(application, Limits(threads=1)) as served, served.connect(GET, receive_buffer=2048) as client:
        client.recv(10)
        until(lambda: not served.server.busy)
        assert served.ask(HEALTH)[0] == 200


@pytest.mark.slow
def test_a_file_is_sent_from_the_disk_whole_or_from_where_it_is_read(tmp_path):
    path = tmp_path / "file"
    data = os.urandom(3_000_000)
    path.write_bytes(data)

    def application(environ, start_response):
        start = 1_000_000 if environ["PATH_INFO"] == "/rest" else 0
        file = path.open("rb")
        file.seek(start)
        start_response("200 OK", [("Content-Length", str(len(data) - start))])
        return environ["wsgi.file_wrapper"](file, 8192)

    with Served(application, QUICK) as served:
        assert body(served.ask(LAST)[1]) == data
        assert body(served.ask(LAST.replace(b"GET /", b"GET /rest"))[1]) == data[1_000_000:]
        assert body(served.ask(LAST.replace(b"GET", b"HEAD"))[1]) == b""
        stalled = [served.connect(GET, receive_buffer=2048) for _ in range(4)]
        until(lambda: len(served.server.connections) == 4 and not served.server.busy)
        assert served.server.unsent < 10_000  # their heads, at most
        until(lambda: not served.server.connections)
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        for client in stalled:
            client.close()
        assert before == 0 or len(os.listdir("/proc/self/fd")) == before - 4


def test_answers_that_no_one_reads_are_bounded_together_and_shared_bytes_count_once():
    shared = b"x" * 10_000_000

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(shared)))])
        return [shared if environ["PATH_INFO"] == "/shared" else bytes(len(shared))]

    with Served(application, Limits(unsent_bytes=35_000_000, tick_seconds=0.05)) as served:
        alike = [served.connect(GET.replace(b"/", b"/shared", 1), receive_buffer=2048) for _ in range(6)]
        until(lambda: sum(each.holds_bytes for each in served.server.connections) == 6)
        assert served.server.unsent < 11_000_000
        others = [served.connect(GET, receive_buffer=2048) for _ in range(5)]
        until(lambda: sum(each.holds_bytes for each in served.server.connections) < 11)
        until(lambda: served.server.unsent <= 35_000_000)
        time.sleep(0.2)
        assert len(body(served.ask(LAST)[1])) == len(shared)  # who reads is served all the same
        for client in alike + others:
            client.close()
        until(lambda: served.server.unsent == 0)


def test_the_number_of_connections_is_bounded_and_the_oldest_idle_one_makes_room():
    with Served(echo, Limits(connections=8)) as served:
        idle = [served.connect(GET) for _ in range(8)]
        for client in idle:
            assert client.recv(65536)
        for _ in range(4):
            assert served.ask(LAST)[0] == 200
        assert len(served.server.connections) <= 8
        idle[0].settimeout(5)
        assert idle[0].recv(10) == b""  # the oldest had to go
        idle[7].sendall(GET)
        assert idle[7].recv(65536)  # the youngest is still served


def test_descriptors_above_1023_are_served():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1400:
        pytest.skip("this machine allows no more descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1400) if soft != resource.RLIM_INFINITY else soft, hard))
    kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with Served(echo, QUICK) as served, served.connect(LAST) as client:
            assert client.fileno() > 1023 and status(read_all(client)) == 200
    finally:
        for each in kept:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Bytes that are held ------------------------------------------------------------------------------------------------


def test_bodies_that_wait_are_bounded_together_and_more_are_refused_by_their_headers():
    work = Work()
    with Served(work, Limits(body_bytes=100_000, held_bytes=250_000)) as served:
        clients = [served.connect(post(b"/", b"x" * 90_000, b"Connection: close\r\n")) for _ in range(2)]
        for _ in clients:
            assert work.started.acquire(timeout=10)
        code, came = served.ask(post(b"/", b"x" * 90_000)[:200])
        assert code == 503 and problem_of(came)["code"] == "out-of-memory" and b"retry-after: " in came.lower()
        work.leave.set()
        assert [status(read_all(client)) for client in clients] == [200, 200]
        until(lambda: served.server.held == 0)
        assert served.ask(post(b"/", b"x" * 90_000, b"Connection: close\r\n"))[0] == 200


def test_of_many_bodies_that_grow_at_once_the_first_to_come_are_painted():
    with Served(echo, Limits(body_bytes=100_000, held_bytes=250_000)) as served:
        clients = [served.connect(post(b"/", b"x" * 90_000, b"Connection: close\r\n")[:10_000]) for _ in range(8)]
        until(lambda: len(served.server.connections) == 8)
        rest = post(b"/", b"x" * 90_000, b"Connection: close\r\n")[10_000:]
        for start in range(0, len(rest), 9_000):  # all go on in step
            for client in clients:
                client.sendall(rest[start : start + 9_000])
            time.sleep(0.02)
            assert served.server.held <= 250_000
        codes = [status(read_all(client)) for client in clients]
        assert set(codes) == {200, 503} and codes.count(200) >= 2 and codes[0] == 200
        until(lambda: served.server.held == 0)


# Who has left -------------------------------------------------------------------------------------------------------


def test_work_for_a_client_that_left_ends():
    work = Work()
    with Served(work, Limits(tick_seconds=0.05)) as served:
        client = served.connect(GET)
        assert work.started.acquire(timeout=10)
        client.close()
        until(lambda: work.ends == ["gone"])


def test_work_for_a_client_that_reset_the_connection_ends():
    work = Work()
    with Served(work, Limits(tick_seconds=0.05)) as served:
        client = served.connect(GET)
        assert work.started.acquire(timeout=10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        until(lambda: work.ends == ["gone"])


def test_a_client_that_closed_its_sending_side_and_still_reads_gets_its_answer():
    work = Work()
    with Served(work, Limits(tick_seconds=0.05)) as served, served.connect(GET) as client:
        client.shutdown(socket.SHUT_WR)
        assert work.started.acquire(timeout=10)
        time.sleep(0.3)  # several looks whether it has gone
        assert not work.ends
        work.leave.set()
        came = read_all(client)
        assert status(came) == 200 and body(came) == b"done"


def test_pythons_client_passes_over_the_question_whether_it_is_still_there():
    work = Work()
    with Served(work, Limits(tick_seconds=0.05)) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        connection.request("GET", "/")
        connection.sock.shutdown(socket.SHUT_WR)
        threading.Timer(0.3, work.leave.set).start()
        response = connection.getresponse()
        assert response.status == 200 and response.read() == b"done"


def test_a_stream_ends_when_its_reader_leaves():
    stream = Stream()
    with Served(stream, QUICK) as served:
        client = served.connect(GET)
        assert client.recv(100)
        client.close()
        assert stream.closed.wait(10)


@pytest.mark.slow
def test_an_answer_that_takes_too_long_is_a_503_even_of_work_that_does_not_look():
    for looks in (True, False):
        work = Work(looks)
        with Served(work, QUICK) as served:
            code, came = served.ask(GET)
            assert code in (503,) and (looks or problem_of(came)["code"] == "took-too-long")
            assert work.ends == (["took-too-long"] if looks else [])
            work.leave.set()


# The end ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_told_to_stop_it_answers_what_it_took_refuses_what_comes_and_ends():
    work, stream = Work(), Stream()

    def application(environ, start_response):
        return (stream if environ["PATH_INFO"] == "/stream" else work)(environ, start_response)

    with Served(application, Limits(drain_seconds=8, tick_seconds=0.05)) as served:
        working, idle = served.connect(GET), served.connect(HEALTH.replace(b"Connection: close\r\n", b""))
        assert work.started.acquire(timeout=10) and idle.recv(1000)
        slow = served.connect(post(b"/", b"x" * 1000)[:-100])
        lines = served.connect(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: stream.told)
        served.server.stop()
        assert idle.recv(10) == b""
        assert b"ended: restarting\n" in read_all(lines)
        assert problem_of(read_all(slow))["code"] == "restarting"
        code, came = served.ask(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert code == 503 and b"connection: close" in came.lower() and b"retry-after: " in came.lower()
        assert served.ask(HEALTH)[0] == 200
        work.leave.set()
        came = read_all(working)
        assert body(came) == b"done" and b"connection: close" in came.lower()
        served.thread.join(10)
        assert not served.thread.is_alive()


@pytest.mark.slow
def test_what_does_not_end_in_time_is_refused_and_the_server_ends_all_the_same():
    for looks in (True, False):
        work = Work(looks)
        with Served(work, QUICK) as served, served.connect(GET) as client:
            assert work.started.acquire(timeout=10)
            began = time.monotonic()
            served.server.stop()
            assert status(read_all(client)) == 503
            served.thread.join(10)
            assert not served.thread.is_alive() and time.monotonic() - began < 8
            work.leave.set()


@pytest.mark.parametrize(("name", "value"), [("PORT", "-1"), ("PORT", "x"), ("WEB_THREADS", "abc")])
def test_a_wrong_variable_ends_gunicorn_in_one_line(name, value):
    command = [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", "app:server"]
    ended = subprocess.run(
        command, cwd=ROOT, env={**os.environ, name: value}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode != 0 and ended.stderr.count("\n") == 1 and value in ended.stderr and name in ended.stderr


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no files in memory")
def test_gunicorns_heartbeat_needs_no_folder_that_can_be_written(monkeypatch):
    monkeypatch.setattr(tempfile, "mkstemp", lambda *_args, **_options: pytest.fail("a file was made"))
    worker = BufferedWorker(1, os.getpid(), [], None, 30, Config(), None)
    worker.notify()
    assert 0 <= time.monotonic() - worker.tmp.last_update() < 5
    worker.tmp.close()
