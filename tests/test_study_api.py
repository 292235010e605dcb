"""POST /api/v1/study, on tiny pictures and with our own loss network: the stream, its bounds, and its slot."""

import base64
import io
import json
import threading
import time
from dataclasses import replace

import pictures
import pytest
from PIL import Image
from test_api import post, problem

from stylizer import studies
from stylizer.web import create_app

pytest.importorskip("torch")
PATH = "/api/v1/study"
SMALL = {"steps": 3}
LONG = {"steps": 1000}


@pytest.fixture(scope="module")
def painting() -> bytes:
    return pictures.png(pictures.painting(96, 96))


@pytest.fixture(scope="module")
def content() -> bytes:
    return pictures.png(pictures.photo(96, 72))


@pytest.fixture(autouse=True)
def alone():
    """A test leaves no work behind: there is one slot."""
    yield
    until(lambda: not any(thread.name == "job" for thread in threading.enumerate()))


def until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def events(response) -> list[dict]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.data.splitlines()]


def opened(event: dict) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(event["picture"])))


@pytest.mark.slow
def test_the_last_line_holds_a_study_that_paints_the_photo_as_it_was_shown(client, stylizer, painting, content):
    told = events(post(client, PATH, style=painting, content=content, **SMALL))
    steps = {event["step"] for event in told if event["event"] == "progress"}
    assert steps == {0, 1, 2, 3} and all(event["steps"] == 3 for event in told)
    result = told[-1]
    assert result["event"] == "result" and result["late"] is False and result["losses"]["style"] > 0
    data = base64.b64decode(result["study"])
    study = studies.parse(data)
    assert study.origin == stylizer.fingerprint and study.added().any()
    assert opened(result).format == "JPEG" and opened(result).size == (96, 72)
    painted = post(client, "/api/v1/stylize", content=content, style=data, size="original")
    assert pictures.near(Image.open(io.BytesIO(painted.data)), opened(result), levels=6)  # of JPEG


@pytest.mark.slow
def test_an_original_is_studied_by_its_name_and_shown_on_the_sample(client):
    result = events(post(client, PATH, style_name="kintsugi", steps=1))[-1]
    assert result["event"] == "result" and max(opened(result).size) == 384


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"steps": 3}, "style", "no painting came; send one"),
        ({"style_name": "starry-night"}, "style_name", "is not stored: send one as style"),
        ({"style_name": "kintsugi", "steps": 0}, "steps", "steps is 0"),
        ({"style_name": "kintsugi", "steps": 1001}, "steps", "from 1 to 1000"),
        ({"style_name": "kintsugi", "rate": 1}, "rate", "unknown field"),
        ({"style_name": "kintsugi", "content": b"nothing"}, None, "not a picture"),
    ],
)
def test_what_cannot_be_studied_is_said(client, fields, field, says):
    response = post(client, PATH, **fields)
    assert says in problem(response, 422 if field else 415, field=field)


@pytest.mark.slow
def test_a_second_study_is_told_to_come_again_and_a_client_who_leaves_frees_the_slot(app, painting):
    client = app.server.test_client()
    reader = client.post(PATH, data={"style": (io.BytesIO(painting), "x"), **LONG}, buffered=False)
    next(reader.response)
    busy = post(client, PATH, style=painting, **SMALL)
    problem(busy, 429, "busy")
    assert int(busy.headers["Retry-After"]) >= 1
    reader.close()
    until(lambda: post(client, PATH, style=painting, steps=1).status_code == 200)


@pytest.mark.slow
def test_when_its_seconds_are_over_the_study_so_far_is_the_result(settings, painting):
    client = create_app(replace(settings, optimise_seconds=0.0)).server.test_client()
    result = events(post(client, PATH, style=painting, **LONG))[-1]
    assert result["event"] == "result" and result["late"] is True and result["step"] < 1000
    assert studies.parse(base64.b64decode(result["study"]))


def test_with_the_plain_transformer_there_are_no_studies(settings, painting):
    client = create_app(replace(settings, transformer="plain")).server.test_client()
    assert "separable transformer" in problem(post(client, PATH, style=painting, **SMALL), 422)
