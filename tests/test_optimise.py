"""POST /api/v1/optimise, on tiny pictures: the stream, its bounds, and slots that come free however a request ends.

The network is a ResNet-18 of random weights, read and checked as a downloaded one is.
"""

import base64
import hashlib
import http.client
import io
import json
import tempfile
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pictures
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from serving import Served
from test_api import post, problem

from stylizer import gatys, images, weights
from stylizer.errors import BrokenPicture
from stylizer.gatys import GatysConfig
from stylizer.networks.backbones import ResNet18
from stylizer.web import create_app
from stylizer.web.api.fields import Field, Number
from stylizer.web.jobs import Job

PATH = "/api/v1/optimise"
STYLE = "whirling-night"
SMALL = {"backbone": "resnet18", "size": 64, "steps": 4}
LONG = SMALL | {"steps": 1000}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The folder of a file that the list of downloads names, checksum and all."""
    folder = tmp_path_factory.mktemp("cache")
    torch.manual_seed(0)
    data = save(ResNet18().state_dict())
    file = f"resnet18-{hashlib.sha256(data).hexdigest()[:8]}.safetensors"
    (folder / file).write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        entry = replace(weights.WEIGHTS["resnet18"], url=f"http://127.0.0.1:9/{file}", file=file)
        patch.setitem(weights.WEIGHTS, "resnet18", entry)
        yield folder


@pytest.fixture(scope="module")
def server(settings, network):
    return create_app(replace(settings, cache=network)).server


@pytest.fixture
def client(server):
    return server.test_client()


@pytest.fixture(autouse=True)
def alone():
    """A test leaves no work behind. A slot that one kept makes the next fail: there is only one."""
    yield
    until(lambda: not any(thread.name == "job" for thread in threading.enumerate()))


@pytest.fixture(scope="module")
def content() -> bytes:
    return pictures.jpeg(pictures.photo(96, 72))


@pytest.fixture(scope="module")
def painting() -> bytes:
    return pictures.png(pictures.painting())


def events(response) -> list[dict]:
    assert response.status_code == 200, response.get_data(as_text=True)[:300]
    return [json.loads(line) for line in response.data.splitlines()]


def of(kind: str, found: list[dict]) -> list[dict]:
    return [event for event in found if event["event"] == kind]


def opened(event: dict) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(event["picture"])))
    image.load()
    return image


def stream(server, content: bytes, **fields):
    """A response that is read line by line."""
    data = {"content": (io.BytesIO(content), "p"), "style_name": STYLE, **fields}
    return server.test_client().post(PATH, data=data, buffered=False)


def until(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def accepted(server, content: bytes) -> bool:
    """Whether there is a slot for one more; it is given back at once."""
    response = stream(server, content, **SMALL)
    response.close()
    assert response.status_code in (200, 429)
    return response.status_code == 200


# What it does -------------------------------------------------------------------------------------------------------


def test_a_photo_is_optimised_step_by_step_and_the_last_line_is_the_result(client, content, painting):
    response = post(client, PATH, content=content, style=painting, **SMALL)
    found = events(response)
    assert response.mimetype == "application/x-ndjson" and response.headers["Cache-Control"] == "no-store"
    assert [event["event"] for event in found].index("result") == len(found) - 1
    steps = {event["step"]: event["losses"] for event in of("progress", found) if event["losses"]}
    assert list(steps) == [0, 1, 2, 3, 4] and {event["steps"] for event in found} == {4}
    assert set(steps[0]) == {"content", "style", "variation", "total"}
    assert steps[4]["total"] < steps[0]["total"]
    assert {(opened(event).format, opened(event).size) for event in of("preview", found)} <= {("JPEG", (64, 48))}
    result = found[-1]
    assert (opened(result).format, opened(result).size) == ("PNG", (64, 48))
    assert result["losses"] == steps[4] and result["step"] == 4 and result["late"] is False


def test_the_result_is_what_python_paints_by_the_same_settings(client, settings, network, content, painting):
    fields = {
        "content_layer": "layer1",
        "style_layers": ["layer1", "layer2"],
        "content_weight": 0.5,
        "style_weight": 30,
        "tv_weight": 0,
        "init": "noise",
        "seed": 7,
        "weight": [3, 1],
    }
    answered = events(post(client, PATH, content=content, style=painting, style_name=STYLE, **fields, **SMALL))[-1]
    config = GatysConfig(
        steps=4,
        content_layers=("layer1",),
        style_layers=("layer1", "layer2"),
        content_weight=0.5,
        style_weight=30.0,
        tv_weight=0.0,
        init="noise",
        seed=7,
    )
    settings = replace(settings, cache=network)
    _, steps = gatys.paint(content, [painting, STYLE], config, settings, backbone="resnet18", shares=[3, 1], size=64)
    *_, step = steps
    assert pictures.near(opened(answered), images.from_tensor(step.picture.numpy()))


def test_size_defaults_to_the_photos_own_and_its_alpha_stays(client):
    result = events(post(client, PATH, content=pictures.rgba_png(), style_name=STYLE, backbone="resnet18", steps=1))[-1]
    assert opened(result).mode == "RGBA" and opened(result).size == Image.open(io.BytesIO(pictures.rgba_png())).size


@pytest.mark.slow
def test_polishing_goes_on_from_a_picture_that_is_sent_or_else_from_the_single_pass(client, stylizer, content):
    still = {"init": "feedforward", "steps": 1, "content_weight": 1e-6, "style_weight": 1e-6, "tv_weight": 0}
    fields = {"content": content, "style_name": STYLE, **SMALL, **still}
    painted = np.asarray(opened(events(post(client, PATH, **fields))[-1])).astype(float)
    assert np.abs(painted - np.asarray(stylizer.stylize(content, STYLE, size=64))).mean() < 8  # one small step away
    start = pictures.corners(200, 150)
    painted = np.asarray(opened(events(post(client, PATH, start=pictures.png(start), **fields))[-1])).astype(float)
    assert np.abs(painted - np.asarray(Image.fromarray(start).resize((64, 48)))).mean() < 8


def test_a_form_is_told_the_networks_their_layers_and_the_bounds(client, settings):
    told = client.get(PATH).get_json()
    networks = {network["name"]: network for network in told["backbones"]}
    assert networks["resnet18"]["state"] == "downloaded" and networks["vgg19"]["state"] == "downloadable"
    assert networks["vgg16"]["megabytes"] == 528 and networks["vgg16"]["content_layers"] == ["relu4_2"]
    assert set(networks["resnet18"]["style_layers"]) < set(networks["resnet18"]["layers"])
    states = [network["state"] for network in told["backbones"]]
    assert states == sorted(states, key=("shipped", "downloaded", "downloadable").index)
    assert told["defaults"]["style_weight"] == GatysConfig.style_weight and told["defaults"]["init"] == "photo"
    assert told["bounds"] == {"steps": 1000, "size": 1024, "seconds": 300.0, "download": False}


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"backbone": "no-such-network"}, "backbone", "choose from"),
        ({"content_layer": "relu4_2"}, "content_layer", "choose from layer1"),
        ({"style_layers": ["layer1", "layer9"]}, "style_layers", "choose from layer1"),
        ({"steps": 0}, "steps", "1 to 1000"),
        ({"steps": 1001}, "steps", "1 to 1000"),
        ({"steps": "9" * 5000}, "steps", "1 to 1000"),
        ({"steps": "ten"}, "steps", "1 to 1000"),
        ({"size": 1025}, "size", "32 to 1024"),
        ({"size": "original"}, "size", "32 to 1024"),
        ({"seed": -1}, "seed", "from 0"),
        ({"seed": 2**32}, "seed", "from 0"),
        ({"content_weight": -1}, "content_weight", "0 or more"),
        ({"style_weight": "NaN"}, "style_weight", "0 or more"),
        ({"tv_weight": "much"}, "tv_weight", "a number"),
        ({"tv_weight": "inf"}, "tv_weight", "0 or more"),
        ({"content_weight": 0, "style_weight": 0, "tv_weight": 0}, "style_weight", "nothing to optimise"),
        ({"init": "grey"}, "init", "noise, photo, feedforward"),
        ({"format": "bmp"}, "format", "png, jpeg, webp"),
        ({"start": b"x"}, "start", "send init=feedforward"),
        ({"strength": 1}, "strength", "unknown field"),
        ({"style_name": "../app"}, "style_name", "choose from"),
        ({"style_name": []}, "style", "send 1 to 5"),
        ({"style_name": [STYLE] * 6}, "style", "send 1 to 5"),
        ({"weight": [1, 2]}, "weight", "1 styles"),
        ({"style_name": "starry-night"}, "style_name", "send one as style, or choose from"),
    ],
)
def test_a_field_out_of_bounds_is_named(client, content, fields, field, says):
    response = post(client, PATH, **{"content": content, "style_name": STYLE, **SMALL, **fields})
    assert says in problem(response, 422, field=field)


def test_a_bad_picture_is_refused_with_its_status(client, content):
    assert problem(post(client, PATH, content=pictures.text(), style_name=STYLE, **SMALL), 415, "unsupported-picture")
    assert problem(post(client, PATH, content=content, style=pictures.half_jpeg(), **SMALL), 422, BrokenPicture.code)
    narrow = pictures.png(pictures.photo(40, 640))
    assert "at size 64" in problem(post(client, PATH, content=narrow, style_name=STYLE, **SMALL), 422)


def test_a_server_without_torch_says_what_to_install(client, content, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    assert "pip install" in problem(post(client, PATH, content=content, style_name=STYLE), 501, "not-installed")
    problem(client.get(PATH), 501, "not-installed")


def test_where_no_folder_can_be_written_only_the_classic_mode_is_away_and_says_why(client, content, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    assert "/tmp" in problem(post(client, PATH, content=content, style_name=STYLE), 501, "not-installed")
    assert post(client, "/api/v1/stylize", content=content, style_name=STYLE).status_code == 200


def test_what_goes_wrong_on_the_way_is_the_last_line(server, client, content, monkeypatch):
    fields, form = {"content": content, "style_name": STYLE, **SMALL}, server.extensions["stylizer"].forms[PATH]
    monkeypatch.setitem(form, "style_weight", Field(Number(0, 1e40), ""))  # beyond float32
    last = events(post(client, PATH, **fields, style_weight=1e39))[-1]
    assert last["event"] == "error" and last["problem"]["code"] == "not-finite"
    last = events(post(client, PATH, **fields, init="feedforward", start=pictures.png(pictures.photo(64, 64))))[-1]
    assert last["problem"]["field"] == "start" and "aspect ratios" in last["problem"]["detail"]


# Networks that are not here yet --------------------------------------------------------------------------------------


def test_a_network_is_fetched_when_it_is_named_and_told_of(settings, network, content, tmp_path, monkeypatch):
    handler = partial(SimpleHTTPRequestHandler, directory=str(network))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as source:
        threading.Thread(target=source.serve_forever, daemon=True).start()
        entry = weights.WEIGHTS["resnet18"]
        url = f"http://127.0.0.1:{source.server_port}/{entry.file}"
        monkeypatch.setitem(weights.WEIGHTS, "resnet18", replace(entry, url=url))
        client = create_app(replace(settings, cache=tmp_path, optimise_download=True)).server.test_client()
        found = events(post(client, PATH, content=content, style_name=STYLE, **SMALL))
        source.shutdown()
    told = [event["download"] for event in found if "download" in event]
    assert told and 0 < told[0]["megabytes"] <= told[0]["of"]
    assert found[-1]["event"] == "result" and (tmp_path / entry.file).exists()


def test_a_server_downloads_nothing_for_visitors_unless_its_owner_says_so(settings, content, tmp_path):
    client = create_app(replace(settings, cache=tmp_path)).server.test_client()
    response = post(client, PATH, content=content, style_name=STYLE, **SMALL)
    assert "stylizer gatys --backbone resnet18" in problem(response, 422, field="backbone")


# Slots --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_more_than_there_are_slots_is_told_to_come_again_and_a_reader_who_leaves_frees_its_own(server, content):
    reader = stream(server, content, **LONG)
    next(reader.response)
    response = stream(server, content, **SMALL)
    assert int(response.headers["Retry-After"]) >= 1
    problem(response, 429, "busy")
    reader.close()
    until(lambda: accepted(server, content))


def test_a_stream_that_no_one_began_to_read_frees_its_slot(server, content):
    stream(server, content, **LONG).close()
    until(lambda: accepted(server, content))


@pytest.mark.slow
def test_a_client_that_hangs_up_frees_its_slot(server, content):
    fields = {"content": content, **{key: str(value).encode() for key, value in (LONG | {"style_name": STYLE}).items()}}
    body = (
        b"".join(
            b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
            % (name.encode(), b'; filename="p"' * (name == "content"), value)
            for name, value in fields.items()
        )
        + b"--x--\r\n"
    )
    with Served(server) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        connection.request("POST", PATH, body, {"Content-Type": "multipart/form-data; boundary=x"})
        response = connection.getresponse()
        assert json.loads(response.readline())["event"] == "progress"
        assert not accepted(server, content)
        response.close()
        connection.close()
        until(lambda: accepted(server, content))


def test_when_its_seconds_are_over_the_picture_so_far_is_the_result(settings, network, content):
    server = create_app(replace(settings, cache=network, optimise_seconds=0.0)).server
    result = events(post(server.test_client(), PATH, content=content, style_name=STYLE, **LONG))[-1]
    assert result["event"] == "result" and result["late"] is True and result["step"] < 1000
    assert opened(result).size == (64, 48)


def test_lines_go_out_while_a_step_is_under_way():
    going, freed = threading.Event(), threading.Event()

    def work(progress, interrupt):
        while not going.is_set():
            time.sleep(0.01)
            interrupt()
        return None, iter([])

    job = Job(work, 10, 60, freed.set)
    job.start()
    lines = job.lines(0.5)
    for _ in range(3):
        assert json.loads(next(lines)) == {"event": "progress", "step": 0, "steps": 10, "losses": {}}
    assert not freed.is_set()
    job.leave()
    assert freed.wait(60)
    assert not of("result", [json.loads(line) for line in lines])


def test_a_step_is_left_in_its_middle(settings, network, content):
    class Enough(Exception):
        pass

    calls, stop_at = [0], [0]

    def interrupt():
        calls[0] += 1
        if calls[0] == stop_at[0]:
            raise Enough

    settings = replace(settings, cache=network)
    _, steps = gatys.paint(
        content, [STYLE], GatysConfig(steps=3), settings, backbone="resnet18", size=64, interrupt=interrupt
    )
    next(steps)
    before = calls[0]
    next(steps)
    of_one_step = calls[0] - before
    assert of_one_step > 40  # modules there, and back
    stop_at[0] = calls[0] + 3 * of_one_step // 4
    with pytest.raises(Enough):
        next(steps)
    assert calls[0] == stop_at[0]
