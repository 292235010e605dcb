"""The HTTP API, as its callers meet it: answers, bounds, and every bad input with its own status and words."""

import base64
import gzip
import io
import json
import re
import threading
from dataclasses import replace

import numpy as np
import pictures
import pytest
from PIL import Image
from studying import random_study

from stylizer import studies
from stylizer.web.gate import HEALTH

STYLE = "whirling-night"


def post(client, path="/api/v1/stylize", **fields):
    """A multipart POST; bytes become files, lists are repeated."""
    data = {}
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        data[name] = [(io.BytesIO(each), "p", "image/png") if isinstance(each, bytes) else str(each) for each in values]
    return client.post(path, data=data, content_type="multipart/form-data")


def opened(response) -> Image.Image:
    assert response.status_code == 200, response.get_data(as_text=True)[:300]
    image = Image.open(io.BytesIO(response.data))
    image.load()
    return image


@pytest.fixture(scope="module")
def photo() -> bytes:
    return pictures.jpeg(pictures.photo(96, 64))


def problem(response, status: int, code: str | None = None, field: str | None = None) -> str:
    """The problem document's detail, once its form is right."""
    assert response.status_code == status, response.get_data(as_text=True)[:300]
    assert response.mimetype == "application/problem+json"
    body = json.loads(response.data)
    assert {"type", "title", "status", "detail", "code"} <= set(body) and body["status"] == status
    assert code is None or body["code"] == code
    assert field is None or body["field"] == field
    assert "Traceback" not in response.get_data(as_text=True)
    return body["detail"]


# What it does -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("format", "mime"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_a_photo_comes_back_painted_in_the_format_asked_for(client, photo, format, mime):
    response = post(client, content=photo, style_name=STYLE, format=format)
    image = opened(response)
    assert image.size == (96, 64) and image.format == mime
    assert response.headers["Cache-Control"] == "no-store"
    assert "paint;dur=" in response.headers["Server-Timing"]
    assert not image.getexif() and "icc_profile" not in image.info


def test_the_answer_is_what_the_engine_paints(client, stylizer, photo):
    answered = opened(post(client, content=photo, style_name=STYLE, strength=0.5))
    assert pictures.near(answered, stylizer.stylize(photo, STYLE, strength=0.5))


def test_files_names_and_vectors_are_mixed_with_their_weights_in_that_order(client, stylizer, photo):
    painting = pictures.png(pictures.painting())
    vector = [0.1] * 100
    response = post(
        client,
        content=photo,
        style=painting,
        style_name=["kintsugi", STYLE],
        style_vector=json.dumps(vector),
        weight=[4, 3, 2, 1],
    )
    mixed = stylizer.mix([painting, "kintsugi", STYLE, vector], [4, 3, 2, 1])
    assert pictures.near(opened(response), stylizer.stylize(photo, mixed))


@pytest.mark.slow
def test_size_defaults_to_the_photos_own_and_to_1024_for_larger_ones(client, photo):
    large = pictures.jpeg(pictures.photo(1280, 320))
    assert opened(post(client, content=photo, style_name=STYLE)).size == (96, 64)
    assert opened(post(client, content=large, style_name=STYLE)).size == (1024, 256)
    assert opened(post(client, content=large, style_name=STYLE, size="original")).size == (1280, 320)
    assert opened(post(client, content=photo, style_name=STYLE, size=192)).size == (192, 128)


def test_alpha_survives_png_and_is_laid_on_white_in_jpeg(client):
    assert opened(post(client, content=pictures.rgba_png(), style_name=STYLE)).mode == "RGBA"
    assert opened(post(client, content=pictures.rgba_png(), style_name=STYLE, format="jpeg")).mode == "RGB"


@pytest.mark.parametrize("kept", ["keep_colors", "keep_light"])
def test_keeping_colours_or_light_changes_the_answer(client, photo, kept):
    free, kept = (
        opened(post(client, content=photo, style_name="stained-glass", **{kept: keep})) for keep in ("false", "true")
    )
    assert not pictures.near(free, kept, levels=3)


def test_a_painting_becomes_a_vector_that_paints_the_same(client, photo):
    painting = pictures.png(pictures.painting())
    body = post(client, "/api/v1/vectors", style=painting).get_json()
    assert len(body["vector"]) == 100 and body["model"].startswith("predictor-mobilenet-v2@")
    by_file = post(client, content=photo, style=painting)
    by_vector = post(client, content=photo, style_vector=json.dumps(body["vector"]))
    assert pictures.near(opened(by_file), opened(by_vector))


def test_the_gallery_is_listed_and_every_style_has_a_sample(client):
    styles = client.get("/api/v1/styles").get_json()
    assert len(styles) >= 16 + 60 and set(styles[0]) == {"name", "title", "artist", "year", "kind"}
    assert {style["kind"] for style in styles} == {"original", "master"}
    for style in styles[::20]:
        assert opened(client.get(f"/api/v1/styles/{style['name']}/sample.webp")).format == "WEBP"
    problem(client.get("/api/v1/styles/nope/sample.webp"), 404, "unknown-style")
    assert max(opened(client.get(f"/api/v1/styles/{STYLE}/picture.webp")).size) == 240
    assert "only originals have a picture" in problem(client.get("/api/v1/styles/starry-night/picture.webp"), 404)


def test_the_server_says_that_it_lives_and_that_it_is_ready(client):
    assert client.get("/healthz").data == b"ok\n"
    assert re.fullmatch(rb"ready: predictor-\S+@\w{12} transformer-\S+@\w{12}\n", client.get("/readyz").data)


def test_openapi_describes_every_route_and_the_docs_need_no_script(client, app):
    spec = client.get("/api/v1/openapi.json").get_json()
    rules = {
        rule.rule.replace("<", "{").replace(">", "}")
        for rule in app.server.url_map.iter_rules()
        if rule.rule.startswith("/api/") or rule.rule in HEALTH
    }
    assert set(spec["paths"]) == rules - {"/api/v1/openapi.json", "/api/docs"}
    page = client.get("/api/docs").get_data(as_text=True)
    assert "/api/v1/stylize" in page and "<script" not in page
    assert all(
        f"id='{code}'" in page for code in spec["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    )


def test_every_answer_carries_the_security_headers(client):
    for path in ("/", "/api/v1/styles", "/nope", "/assets/sample.jpg"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "'unsafe-eval'" not in policy and "http" not in policy
        assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
        assert headers["X-Content-Type-Options"] == "nosniff" and "Set-Cookie" not in headers


def test_text_travels_compressed_where_the_client_takes_that_and_pictures_as_they_are(client):
    plain, packed = (client.get("/_dash-layout", headers={"Accept-Encoding": each}) for each in ("identity", "gzip"))
    assert packed.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
    assert json.loads(gzip.decompress(packed.data)) == plain.json and 5 * len(packed.data) < len(plain.data)
    assert "Content-Encoding" not in client.get("/assets/sample.jpg", headers={"Accept-Encoding": "gzip"}).headers


# The wall -----------------------------------------------------------------------------------------------------------


def tiles(response) -> list[dict]:
    assert response.status_code == 200, response.get_data(as_text=True)[:300]
    return [json.loads(line) for line in response.data.splitlines()]


def test_a_wall_paints_a_photo_in_every_style_of_the_gallery_in_order(client, stylizer):
    photo = pictures.jpeg(pictures.photo(300, 200))
    response = post(client, "/api/v1/wall", content=photo, size=64)
    wall = tiles(response)
    assert response.mimetype == "application/x-ndjson" and response.headers["Cache-Control"] == "no-store"
    assert [tile["style"] for tile in wall] == list(stylizer.gallery)
    assert [tile["index"] for tile in wall] == list(range(len(wall)))
    pixels = [Image.open(io.BytesIO(base64.b64decode(tile["picture"]))) for tile in wall]
    assert {(tile.format, tile.size) for tile in pixels} == {("WEBP", (64, 43))}
    assert len({tile.tobytes() for tile in pixels}) == len(wall)


def test_a_tile_shows_what_a_painting_of_its_size_shows_be_it_by_name_or_by_vector(client, stylizer, photo):
    name = "embroidered-garden"  # which has no study
    vector = json.dumps(stylizer.style_vector(name).tolist())
    wall = tiles(post(client, "/api/v1/wall", content=photo, style_name=[STYLE, name], style_vector=[vector]))
    assert [tile["style"] for tile in wall] == [STYLE, name, None]
    tile, named, by_vector = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(each["picture"]))).convert("RGB")) for each in wall
    )
    assert pictures.near(named, by_vector) and not pictures.near(tile, named, levels=8)
    assert np.abs(tile - np.asarray(stylizer.stylize(photo, STYLE), float)).mean() < 8  # WebP's loss, no more


def test_a_wall_takes_more_studies_than_a_mix_takes_styles(client, stylizer, photo):
    count = stylizer.settings.max_styles + 1
    own = [studies.dump(random_study(stylizer, seed, rank=1, size=0.2)) for seed in range(count)]
    wall = tiles(post(client, "/api/v1/wall", content=photo, style=own, size=64))
    assert [tile["index"] for tile in wall] == list(range(len(own))) and {tile["style"] for tile in wall} == {None}
    assert len({tile["picture"] for tile in wall}) == len(own)


def test_a_wall_encodes_its_photo_once_for_each_height_of_brushwork(settings, photo, stylizer, monkeypatch):
    from stylizer.runtimes import OpenVinoRuntime
    from stylizer.web import create_app

    encoded, encode = [], OpenVinoRuntime.encode
    monkeypatch.setattr(OpenVinoRuntime, "encode", lambda *given: encoded.append(1) or encode(*given))
    client = create_app(settings).server.test_client()
    names = [STYLE, "the-night-watch", "batik", "girl-with-a-pearl-earring"]
    heights = {stylizer.brush_height(stylizer.gallery[name].vector) for name in names}
    assert 1 < len(heights) < len(names)
    for _ in range(2):
        assert len(tiles(post(client, "/api/v1/wall", content=photo, style_name=names))) == len(names)
        assert len(encoded) == len(heights)


def test_a_wall_is_painted_as_it_is_read_and_ends_when_its_reader_goes(app, photo, monkeypatch):
    from stylizer.feedforward import Stylizer

    painted, paint = [], Stylizer.paint
    monkeypatch.setattr(Stylizer, "paint", lambda *arguments, **named: painted.append(1) or paint(*arguments, **named))
    data = {"content": (io.BytesIO(photo), "p", "image/jpeg")}
    response = app.server.test_client().post("/api/v1/wall", data=data, buffered=False)
    for count in (1, 2):
        assert json.loads(next(response.response))["index"] == count - 1
        assert len(painted) <= count + 1
    response.close()
    assert len(painted) <= 3


def test_a_wall_under_way_leaves_room_for_a_painting(settings, photo):
    from stylizer.web import create_app

    server = create_app(replace(settings, slots=1, queue_seconds=2)).server
    data = {"content": (io.BytesIO(photo), "p", "image/jpeg")}
    wall = server.test_client().post("/api/v1/wall", data=data, buffered=False)
    next(wall.response)  # its reader now takes all the time it likes
    assert opened(post(server.test_client(), content=photo, style_name=STYLE))
    wall.close()


def test_a_wall_that_fails_half_way_says_so_in_its_last_line(app, photo, monkeypatch):
    from stylizer.feedforward import Stylizer

    paint, painted = Stylizer.paint, []

    def fail_at_the_second(*arguments, **named):
        painted.append(1)
        if len(painted) == 2:
            raise RuntimeError("secret detail")
        return paint(*arguments, **named)

    monkeypatch.setattr(Stylizer, "paint", fail_at_the_second)
    first, last = tiles(post(app.server.test_client(), "/api/v1/wall", content=photo))
    assert first["index"] == 0 and last["problem"]["code"] == "internal" and "secret" not in str(last)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"size": 63}, "size"),
        ({"size": 321}, "size"),
        ({"size": "original"}, "size"),
        ({"size": "9" * 5000}, "size"),
        ({"style_name": "nope"}, "style_name"),
        ({"style_name": [STYLE] * 201}, "style_name"),
        ({"style_vector": "[1]"}, "style_vector"),
        ({"strength": 1}, "strength"),
    ],
)
def test_a_wall_out_of_bounds_is_refused_before_anything_is_painted(client, photo, fields, field):
    problem(post(client, "/api/v1/wall", content=photo, **fields), 422, field=field)


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "status", "code"),
    [
        (lambda: b"", 400, "empty"),
        (pictures.text, 415, "unsupported-picture"),
        (pictures.svg, 415, "unsupported-picture"),
        (pictures.pdf, 415, "unsupported-picture"),
        (lambda: pictures.png_header(20000, 20000), 422, "picture-out-of-bounds"),
        (pictures.big_flat_png, 422, "picture-out-of-bounds"),
        (lambda: pictures.png(pictures.photo(31, 64)), 422, "picture-out-of-bounds"),
        (lambda: pictures.png(pictures.photo(40, 900)), 422, "picture-out-of-bounds"),
        (pictures.half_jpeg, 422, "broken-picture"),
    ],
    ids=["empty file", "text", "svg", "pdf", "20000 px header", "9400 px", "31 px", "ratio 22", "half a jpeg"],
)
def test_a_bad_picture_is_refused_with_its_status_and_the_server_lives_on(client, photo, make, status, code):
    assert problem(post(client, content=make(), style_name=STYLE), status, code)
    assert problem(post(client, content=photo, style=make()), status, code)
    assert opened(post(client, content=photo, style_name=STYLE)).size == (96, 64)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"strength": "NaN"}, "strength"),
        ({"strength": 2}, "strength"),
        ({"strength": "abc"}, "strength"),
        ({"strength": ""}, "strength"),
        ({"size": "big"}, "size"),
        ({"size": 31}, "size"),
        ({"size": 99999}, "size"),
        ({"keep_colors": "perhaps"}, "keep_colors"),
        ({"format": "bmp"}, "format"),
        ({"weight": [1, 2]}, "weight"),
        ({"weight": "x"}, "weight"),
        ({"style_name": "nope"}, "style_name"),
        ({"style_name": "../app"}, "style_name"),
        ({"style_vector": json.dumps([0] * 99)}, "style_vector"),
        ({"style_vector": "{}"}, "style_vector"),
        ({"style_vector": "[" + "NaN," * 99 + "NaN]"}, "style_vector"),
        ({"style_vector": "[" * 5000}, "style_vector"),
        ({"colour": "red"}, "colour"),
        ({"style_name": [STYLE] * 6}, "style"),
    ],
)
def test_a_parameter_out_of_bounds_is_named(client, photo, fields, field):
    assert problem(post(client, content=photo, **{"style_name": STYLE, **fields}), 422, field=field)


def test_an_unknown_style_lists_what_there_is(client, photo):
    assert "stained-glass" in problem(post(client, content=photo, style_name="cubism"), 422, "unknown-style")


def test_no_style_and_no_photo_are_said(client, photo):
    assert "no style" in problem(post(client, content=photo), 422, field="style")
    assert "content is missing" in problem(post(client, style_name=STYLE), 422, field="content")
    assert "2 files" in problem(post(client, content=[photo, photo], style_name=STYLE), 422, field="content")


@pytest.mark.parametrize("path", ["/api/v1/stylize", "/api/v1/wall", "/api/v1/vectors"])
def test_an_empty_or_malformed_body_is_a_400(client, path):
    problem(client.post(path), 400, "empty")
    problem(client.post(path, data=b"", content_type="multipart/form-data; boundary=x"), 400, "empty")
    problem(client.post(path, data=b"{}", content_type="application/json"), 400, "malformed")
    problem(client.post(path, data=b"--x\r\ncut short", content_type="multipart/form-data; boundary=x"), 400)


def test_a_body_over_the_cap_is_a_413(settings, photo):
    from stylizer.web import create_app

    client = create_app(replace(settings, max_body_bytes=20_000)).server.test_client()
    detail = problem(post(client, content=b"\xff\xd8\xff" + bytes(30_000), style_name=STYLE), 413, "too-many-bytes")
    assert "MiB" in detail
    assert opened(post(client, content=photo, style_name=STYLE))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_painted_upright(client, orientation):
    fields = {"style_name": STYLE, "strength": 0.5}
    painted = opened(post(client, content=pictures.oriented_jpeg(orientation), **fields))
    upright = opened(post(client, content=pictures.png(pictures.corners()), **fields))
    assert pictures.near(painted, upright, levels=3)  # what JPEG loses
    turns = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_180)
    assert not any(pictures.near(painted.transpose(turn), upright, levels=20) for turn in turns)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [pictures.garbage_icc_jpeg, pictures.cmyk_jpeg, pictures.grey16_png, pictures.palette_png, pictures.animated_gif],
)
def test_odd_but_good_pictures_are_painted(client, make):
    opened(post(client, content=make(), style_name=STYLE))


def test_unknown_paths_and_methods_are_problems_too(client):
    problem(client.get("/nope"), 404)
    problem(client.get("/api/v1/nope"), 404)
    response = client.get("/api/v1/stylize")
    problem(response, 405)
    assert "POST" in response.headers["Allow"]


def test_a_busy_server_says_when_to_come_again(settings, photo, monkeypatch):
    from stylizer.feedforward import Stylizer
    from stylizer.web import create_app

    server = create_app(replace(settings, slots=1, queue_seconds=0.05)).server
    entered, leave, paint = threading.Event(), threading.Event(), Stylizer.paint

    def slow(self, *arguments, **options):
        entered.set()
        assert leave.wait(10)
        return paint(self, *arguments, **options)

    monkeypatch.setattr(Stylizer, "paint", slow)
    first = threading.Thread(target=lambda: post(server.test_client(), content=photo, style_name=STYLE))
    first.start()
    assert entered.wait(10)
    response = post(server.test_client(), content=photo, style_name=STYLE)
    leave.set()
    first.join()
    problem(response, 429, "busy")
    assert int(response.headers["Retry-After"]) >= 1
    assert opened(post(server.test_client(), content=photo, style_name=STYLE))


def test_a_fault_of_ours_is_a_500_without_a_trace_or_the_input(app, photo, monkeypatch, caplog):
    from stylizer.feedforward import Stylizer

    def fail(*_arguments, **_options):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Stylizer, "paint", fail)
    detail = problem(post(app.server.test_client(), content=photo, style_name=STYLE), 500, "internal")
    assert "secret" not in detail


def test_uploads_stay_in_memory(client, monkeypatch):
    import tempfile

    def refuse(*_arguments, **_options):
        raise AssertionError("a picture was about to be written to disk")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    noise = np.random.default_rng(0).integers(0, 255, (640, 640, 3), dtype=np.uint8)
    assert len(pictures.png(noise)) > 2**20
    opened(post(client, content=pictures.png(noise), style_name=STYLE, size=64))
