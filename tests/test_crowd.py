"""Many at once, under the server of ours: turns to paint, who is refused, who has left, restarts, two instances."""

import io
import itertools
import json
import re
import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pictures
import pytest
from PIL import Image
from serving import Gunicorn, Served, body, form, problem_of, read_all, status, until
from test_api import post, problem

from stylizer.errors import Busy, Gone
from stylizer.web import create_app
from stylizer.web.turns import LARGE, Turns

pytestmark = pytest.mark.slow

STYLE = "whirling-night"
PATH = "/api/v1/stylize"
STAY = lambda: None  # noqa: E731


@pytest.fixture(scope="module")
def photo() -> bytes:
    return pictures.jpeg(pictures.photo(96, 64))


# Turns --------------------------------------------------------------------------------------------------------------


class Painter(threading.Thread):
    """A request that takes a turn and keeps it until it is let go."""

    def __init__(self, turns: Turns, log: list, name: str, megapixels: float = 0.1, interrupt=STAY):
        super().__init__(daemon=True, name=name)
        self.turns, self.log, self.megapixels, self.interrupt = turns, log, megapixels, interrupt
        self.go, self.tile, self.between = threading.Event(), threading.Event(), threading.Event()
        self.error = None
        before = self.present()
        self.start()
        until(lambda: self.error or self.present() > before)

    def present(self) -> int:
        with self.turns._lock:
            return self.turns.waiting + self.turns.at_work

    def run(self):
        try:
            size = self.megapixels
            with self.turns.enter(size) as place, place.turn(size, self.interrupt) as between_tiles:
                self.log.append(self.name)
                while not self.go.wait(0.01):
                    if self.tile.is_set():
                        self.tile.clear()
                        between_tiles(1, 2)
                        self.between.set()
        except Exception as error:
            self.error = error

    def finish(self):
        self.go.set()
        self.join(10)


def test_turns_are_given_in_the_order_in_which_requests_came():
    turns, log = Turns(1, 32, 60), []
    painters = [Painter(turns, log, str(number)) for number in range(6)]
    assert turns.at_work == 1 and turns.waiting == 5
    for painter in painters:
        until(lambda painter=painter: painter.name in log)
        painter.finish()
    assert log == [str(number) for number in range(6)] and turns.at_work == turns.waiting == 0


def test_where_no_place_is_left_it_is_said_at_once_and_when_to_come_again():
    turns, log = Turns(1, 3, 20), []
    painters = [Painter(turns, log, str(number), 1.0) for number in range(4)]
    began = time.monotonic()
    with pytest.raises(Busy) as refused:
        turns.enter(1.0)
    assert time.monotonic() - began < 2 and 3 <= refused.value.seconds <= 7  # four, of 1.5 seconds each
    painters[0].finish()
    turns.enter(1.0).leave()
    for painter in painters:
        painter.finish()
    assert all(painter.error is None for painter in painters)


def test_who_would_wait_too_long_is_refused_before_waiting():
    turns, log = Turns(1, 32, 5), []
    painters = [Painter(turns, log, str(number), 3.0) for number in range(3)]
    with pytest.raises(Busy) as refused:
        turns.enter(3.0)
    assert refused.value.seconds > 5
    for painter in painters:
        painter.finish()


def test_who_has_waited_too_long_is_told_to_come_again():
    turns, log = Turns(1, 4, 0.2), []
    first, second = Painter(turns, log, "first"), Painter(turns, log, "second")
    second.join(10)
    assert isinstance(second.error, Busy) and log == ["first"] and turns.waiting == 0
    first.finish()


def test_what_was_begun_waits_for_its_next_turn_as_long_as_it_takes():
    turns, log = Turns(1, 4, 0.1), []
    with turns.enter() as place:
        first = Painter(turns, log, "first")
        threading.Timer(0.5, first.go.set).start()
        with place.turn(0.1, STAY, patient=True):
            assert not first.is_alive() or first.go.is_set()


def test_large_pictures_leave_a_slot_to_small_ones():
    turns, log = Turns(2, 32, 20), []
    large = [Painter(turns, log, f"large {number}", 2 * LARGE) for number in range(2)]
    small = [Painter(turns, log, f"small {number}") for number in range(2)]
    until(lambda: len(log) == 2)
    assert log == ["large 0", "small 0"]
    small[0].finish()
    until(lambda: log[-1] == "small 1")
    large[0].finish()
    until(lambda: log[-1] == "large 1")
    for painter in (*large, *small):
        painter.finish()
    assert turns.at_work == 0


def test_a_small_picture_passes_between_two_tiles_of_a_large_one_where_there_is_one_slot():
    turns, log = Turns(1, 32, 20), []
    large = Painter(turns, log, "large", 2 * LARGE)
    small, other = Painter(turns, log, "small"), Painter(turns, log, "other", 2 * LARGE)
    assert log == ["large"]
    large.tile.set()
    until(lambda: log == ["large", "small"])
    assert not large.between.is_set() and turns.at_work == 1
    small.finish()
    assert large.between.wait(10)
    large.finish()
    until(lambda: log[-1] == "other")  # which did not slip in between
    other.finish()


def test_who_leaves_while_waiting_gives_up_the_place_and_takes_no_turn():
    turns, log, gone = Turns(1, 4, 20), [], threading.Event()

    def interrupt():
        if gone.is_set():
            raise Gone("left")

    first = Painter(turns, log, "first")
    left = Painter(turns, log, "left", interrupt=interrupt)
    last = Painter(turns, log, "last")
    gone.set()
    until(lambda: left.error)
    assert isinstance(left.error, Gone) and turns.waiting == 1
    first.finish()
    until(lambda: log == ["first", "last"])
    last.finish()


def test_the_time_to_stay_away_follows_how_fast_this_machine_is():
    turns = Turns(1, 0, 20)

    def told() -> int:
        with turns.enter(1.0) as place, place.turn(1.0, STAY), pytest.raises(Busy) as refused:
            turns.enter(1.0)
        return refused.value.seconds

    before = told()
    for _ in range(60):  # each took next to no time
        with turns.enter(1.0) as place, place.turn(1.0, STAY):
            pass
    assert told() < before


# Over HTTP ----------------------------------------------------------------------------------------------------------


def test_a_small_photo_cannot_be_made_to_cost_minutes(client, photo):
    said = problem(post(client, content=photo, style_name=STYLE, size=7000), 422, field="size")
    largest = int(re.search(r"at most (\d+) pixels", said).group(1))
    assert (largest - 3) ** 2 * 2 / 3 <= 16e6 <= (largest + 3) ** 2 * 2 / 3
    # A photo's own size is never too large, and neither is a smaller one.
    settings = client.application.extensions["stylizer"].settings
    small = create_app(replace(settings, enlarge_megapixels=0)).server.test_client()
    for size in ("original", 96, 64):
        assert post(small, content=photo, style_name=STYLE, size=size).status_code == 200
    assert "at most 96 pixels" in problem(post(small, content=photo, style_name=STYLE, size=97), 422, field="size")


def test_nothing_is_painted_for_those_who_left_in_the_queue(settings, photo, monkeypatch):
    from stylizer.feedforward import Stylizer

    entered, leave, painted, paint = threading.Event(), threading.Event(), [], Stylizer.paint

    def slow(self, *arguments, **options):
        painted.append(1)
        entered.set()
        assert leave.wait(30)
        return paint(self, *arguments, **options)

    app = create_app(replace(settings, slots=1))
    monkeypatch.setattr(Stylizer, "paint", slow)
    turns = app.server.extensions["stylizer"].turns
    with Served(app.server, app.server.extensions["stylizer.serving"]["limits"]) as served:
        request = form(PATH, b"Connection: close\r\n", content=photo, style_name=STYLE, size=64)
        first = served.connect(request)
        assert entered.wait(30)
        left = [served.connect(request) for _ in range(5)]
        until(lambda: turns.waiting == 5)
        for client in left:
            client.close()
        until(lambda: turns.waiting == 0)
        leave.set()
        assert status(read_all(first)) == 200 and len(painted) == 1


def test_a_wall_that_no_one_reads_keeps_no_painting_waiting_and_gives_its_place_back(settings, photo):
    app = create_app(replace(settings, slots=1, queue_length=1))
    turns = app.server.extensions["stylizer"].turns
    with Served(app.server, app.server.extensions["stylizer.serving"]["limits"]) as served:
        lines = served.connect(form("/api/v1/wall", content=photo, size=320), receive_buffer=2048)
        assert lines.recv(12) == b"HTTP/1.1 200"
        code, _ = served.ask(form(PATH, b"Connection: close\r\n", content=photo, style_name=STYLE, size=64))
        assert code == 200 and turns.taken == 1
        lines.close()
        until(lambda: turns.taken == 0)


def test_a_slot_to_optimise_comes_free_where_its_thread_cannot_start(settings, photo, monkeypatch):
    pytest.importorskip("torch")
    from stylizer.web.api import optimise
    from stylizer.web.jobs import Job

    monkeypatch.setattr(optimise, "_work", lambda *_: lambda **_options: (None, iter([])))
    client, start = create_app(settings).server.test_client(), Job.start
    fields = {"content": photo, "style_name": STYLE, "size": 64, "steps": 1}

    def fail(_self):
        raise RuntimeError("can't start new thread")

    for _ in range(settings.optimise_slots + 1):
        monkeypatch.setattr(Job, "start", fail)
        problem(post(client, "/api/v1/optimise", **fields), 500)
    monkeypatch.setattr(Job, "start", start)
    assert post(client, "/api/v1/optimise", **fields).status_code == 200


def test_streams_say_in_their_last_line_that_the_server_restarts(settings, photo):
    pytest.importorskip("torch")
    app = create_app(settings)
    with Served(app.server, app.server.extensions["stylizer.serving"]["limits"]) as served:
        fields = {"content": photo, "style_name": STYLE, "size": 64, "steps": 1000}
        optimised = served.connect(form("/api/v1/optimise", **fields))
        wall = served.connect(form("/api/v1/wall", content=photo))
        begun = [optimised.recv(65536), wall.recv(65536)]
        served.server.stop()
        said = [first + read_all(client) for first, client in zip(begun, (optimised, wall), strict=True)]
        served.thread.join(20)
        assert not served.thread.is_alive()
    events = [json.loads(line) for line in said[0].split(b"\r\n") if line.startswith(b"{")]
    assert events[-1]["event"] == "error" and events[-1]["problem"]["code"] == "restarting"
    lines = [json.loads(line) for line in said[1].split(b"\r\n") if line.startswith(b"{")]
    assert lines[-1]["problem"]["code"] == "restarting" and lines[-1]["problem"]["status"] == 503


# Seen running -------------------------------------------------------------------------------------------------------


def test_metrics_count_answers_by_route_refusals_by_code_and_what_is_held(settings, photo):
    app = create_app(replace(settings, metrics=True))
    with Served(app.server, **app.server.extensions["stylizer.serving"]) as served:
        fields = {"content": photo, "style_name": STYLE, "size": 64}
        served.ask(form(PATH, b"Connection: close\r\n", **fields))
        served.ask(form(PATH, b"Connection: close\r\n", **fields | {"size": "secret"}))
        served.ask(get("/secret/path"))
        served.ask(b"nonsense\r\n\r\n")
        until(lambda: not served.server.connections)
        code, came = served.ask(get("/metrics"))
    told = dict(line.rsplit(" ", 1) for line in body(came).decode().splitlines() if not line.startswith("#"))
    assert code == 200 and "secret" not in "".join(told)
    assert told['stylizer_requests_total{route="/api/v1/stylize",status="200"}'] == "1.0"
    assert told['stylizer_requests_total{route="none",status="404"}'] == "1.0"
    assert told['stylizer_refusals_total{code="parameter-out-of-bounds"}'] == "1.0"
    assert told['stylizer_refusals_total{code="malformed"}'] == "1.0"
    assert told['stylizer_stage_seconds_count{stage="paint"}'] == "1.0"
    assert told["stylizer_turns_at_work"] == told["stylizer_turns_waiting"] == told["stylizer_body_bytes"] == "0.0"
    assert told["stylizer_photos_kept"] == "1.0" and float(told["stylizer_connections"]) == 1
    assert float(told["process_resident_memory_bytes"]) > 50e6


def test_there_are_no_metrics_where_no_one_asked_for_them(client):
    problem(client.get("/metrics"), 404)


def test_log_lines_of_answers_have_an_id_and_a_route_and_nothing_of_what_was_sent(settings, photo, capfd):
    app = create_app(replace(settings, access_log=True, log_format="json"))
    with Served(app.server, **app.server.extensions["stylizer.serving"]) as served:
        named = b"Connection: close\r\nX-Request-Id: call-7\r\nX-Forwarded-For: 192.0.2.7\r\n"
        served.ask(form(PATH + "?token=secret", named, content=photo, style_name=STYLE, size=64))
        served.ask(get("/secret"))
        served.ask(b"GET / HTTP/1.1\r\nsecret: 1\r\nsecret bad: 2\r\n\r\n")
    lines = capfd.readouterr().err.splitlines()
    first, *others = [json.loads(line) for line in lines if '"stylizer.access"' in line]
    assert (first["id"], first["method"], first["route"], first["status"]) == ("call-7", "POST", PATH, 200)
    assert first["in"] > len(photo) and first["out"] > 1000 and first["ms"] >= first["stages"]["paint"] > 0
    assert [(line["status"], line["route"]) for line in others] == [(404, "none"), (400, "none")]
    assert not re.search(r"secret|192\.0\.2|127\.0\.0|whirling", "".join(lines))


# As it is deployed --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def instances(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    pair = [Gunicorn(folder / f"{name}.log") for name in ("one", "two")]
    for each in pair:
        each.wait_until_ready()
    yield pair
    for each in pair:
        each.close()


def proxy(ports: list[int]) -> tuple[socket.socket, list[int]]:
    """A listener that hands each connection to the next of the ports; and whom it chose."""
    listener, chosen = socket.create_server(("127.0.0.1", 0)), []

    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def accept() -> None:
        for port in itertools.cycle(ports):
            try:
                client, _ = listener.accept()
            except OSError:
                return
            chosen.append(port)
            server = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener, chosen


def ask(port: int, data: bytes) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
        client.sendall(data)
        came = read_all(client)
    return status(came), came


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


def test_two_instances_behind_one_address_serve_one_page_by_turns(instances, photo):
    listener, chosen = proxy([each.port for each in instances])
    port = listener.getsockname()[1]
    # Dash gives every page a name of its own, for jobs that it could stop; there are none here.
    pages = [re.sub(rb'"end_id":"[^"]*"', b"", body(ask(port, get("/"))[1])) for _ in range(2)]
    assert pages[0] == pages[1] and b"<title>Stylizer</title>" in pages[0]
    one, other = (json.loads(body(ask(port, get("/_dash-layout"))[1])) for _ in range(2))
    assert one == other
    # All that one page names, each instance has: a page from one may be dressed by the other.
    names = re.findall(rb'(?:src|href)="(/?(?:assets|_dash-component-suites)/[^"]+)"', pages[0])
    assert len(names) > 5
    for name in names:
        address = "/" + name.decode().lstrip("/").replace("&amp;", "&")
        (first, one), (second, two) = ask(port, get(address)), ask(port, get(address))
        assert first == second == 200 and body(one) == body(two), address
    # A slider dragged: every painting from the other instance, and all alike.
    request = form(PATH, b"Connection: close\r\n", content=photo, style_name=STYLE, size=64, strength=0.5, format="png")
    painted = [np.asarray(Image.open(io.BytesIO(body(ask(port, request)[1])))).astype(int) for _ in range(4)]
    assert all(np.abs(each - painted[0]).mean() < 0.5 for each in painted)
    assert len(set(chosen)) == 2
    listener.close()


def test_slow_sockets_of_every_kind_leave_health_and_painting_alone(instances, photo):
    port = instances[0].port
    script = get("/_dash-component-suites/dash/dcc/dash_core_components.js")
    begun = [b"", b"GET /healthz HTTP/1.1\r\nX-A: ", form(PATH, content=photo, style_name=STYLE)[:-200], script]
    slow = []
    for index in range(64):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.connect(("127.0.0.1", port))
        client.sendall(begun[index % 4])
        slow.append(client)
    for _ in range(3):
        assert instances[0].get("/healthz")[0] == 200
        assert instances[0].post(PATH, content=photo, style_name=STYLE, size=64)[0] == 200
        assert instances[0].get("/")[0] == 200
    for client in slow:
        client.close()


def test_a_crowd_gets_right_pictures_or_is_told_when_to_come_again(instances, photo):
    want = Image.open(io.BytesIO(instances[0].post(PATH, content=photo, style_name=STYLE, size=64)[2]))
    answers = []

    def ask_for_one():
        answers.append(instances[0].post(PATH, content=photo, style_name=STYLE, size=64))

    crowd = [threading.Thread(target=ask_for_one) for _ in range(48)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join(120)
    assert len(answers) == 48 and {code for code, _, _ in answers} <= {200, 429}
    painted = [data for code, _, data in answers if code == 200]
    assert len(painted) >= 34  # two slots, and 32 who may wait
    for data in painted:
        assert np.abs(np.asarray(Image.open(io.BytesIO(data))).astype(int) - np.asarray(want)).mean() < 0.5
    for _, headers, _ in (answer for answer in answers if answer[0] == 429):
        assert 1 <= int(headers["Retry-After"]) <= 120


@pytest.mark.slow
def test_told_to_end_under_load_every_accepted_request_is_answered(instances, photo):
    # The last of this file: of the two instances one is gone afterwards.
    server = instances[1]
    large = pictures.jpeg(pictures.photo(480, 320))
    request = form(PATH, b"Connection: close\r\n", content=large, style_name=STYLE, size=480)
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(8)]
    slow = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    slow.sendall(request[:-1000])
    for client in clients:
        client.sendall(request)
    assert server.get("/healthz")[0] == 200  # so that all are accepted
    seconds = server.terminate()
    came = [read_all(client) for client in clients]
    codes = [status(each) for each in came]
    assert set(codes) <= {200, 503} and 200 in codes
    assert {problem_of(each)["code"] for each in came if status(each) == 503} <= {"restarting"}
    assert problem_of(read_all(slow))["code"] == "restarting"
    assert seconds < 20  # 8 on a machine with nothing else to do
    said = server.log.read_text()
    assert "Traceback" not in said and "SIGKILL" not in said and "127.0.0.1" not in said.split("Listening", 1)[1][200:]
