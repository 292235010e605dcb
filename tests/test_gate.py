"""What is let in: hosts, other websites' requests, paths and methods, Dash's endpoints, forms before their pictures."""

import io
import json
import logging
import threading
from dataclasses import replace

import pictures
import pytest
from test_api import STYLE, opened, post, problem

from stylizer import Stylizer, images
from stylizer.parameters import VECTOR_BOUND
from stylizer.web import create_app, device, gate, samples
from stylizer.web.api import form
from stylizer.web.api.fields import make_forms

STYLIZE = "/api/v1/stylize"


@pytest.fixture(scope="module")
def photo() -> bytes:
    return pictures.jpeg(pictures.photo(96, 64))


def ask(client, path="/api/v1/styles", method="GET", host: str | None = "localhost", **headers):
    environ = {"HTTP_HOST": host} if host is not None else {}
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.open(path, method=method, environ_overrides=environ, headers=headers)


# Hosts and websites -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8050",
        "127.0.0.1:8050",
        "[::1]:8050",
        "[::1]",
        "10.1.2.3",
        "stylizer:8050",
        "LOCALHOST",
        "stylizer-abc123-ew.a.run.app",
        "painter.localhost",
        "192.168.1.5:80",
        "localhost.",
    ],
)
def test_the_server_answers_under_addresses_local_names_and_those_of_cloud_run(client, host):
    assert ask(client, host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8050",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "run.app",
        "evilrun.app",
        "1.2.3",
        "x.run.app.evil.example",
        "run.app.",
        "127.0.0.1.nip.io",
    ],
)
def test_under_the_name_of_a_website_it_does_not_answer_and_says_which_setting_would_allow_it(client, host):
    assert "STYLIZER_ALLOWED_HOSTS" in problem(ask(client, host=host), 421, "unknown-host")
    problem(ask(client, STYLIZE, "POST", host=host), 421)
    assert ask(client, "/healthz", host=host).status_code == 200  # load balancers call it what they like


@pytest.mark.parametrize("host", ["", "a b", "a/b", "[::1", "user@localhost", "localhost:port", "ä", "x" * 300, ":80"])
def test_a_request_that_names_no_host_is_a_400(client, host):
    problem(ask(client, host=host), 400, "malformed")


def test_the_owner_allows_names_or_all(settings):
    own = create_app(replace(settings, allowed_hosts="Paint.example.org, *.example.com")).server.test_client()
    assert ask(own, host="paint.example.org").status_code == ask(own, host="a.b.example.com:443").status_code == 200
    assert ask(own, host="127.0.0.1").status_code == 200
    for other in ("example.org", "example.com", "a.run.app"):
        problem(ask(own, host=other), 421)
    any_name = create_app(replace(settings, allowed_hosts="*")).server.test_client()
    assert ask(any_name, host="evil.example").status_code == 200


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        ({"Origin": "http://localhost"}, False),
        ({"Sec_Fetch_Site": "same-origin"}, False),
        ({"Sec_Fetch_Site": "none"}, False),
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://localhost:9000"}, True),
        ({"Sec_Fetch_Site": "cross-site"}, True),
        ({"Sec_Fetch_Site": "same-site"}, True),
        ({"Sec_Fetch_Site": "odd"}, True),
        # behind a proxy that asks by another name, browsers still say that it was our page
        ({"Sec_Fetch_Site": "same-origin", "Origin": "https://paint.example.org"}, False),
        ({"Sec_Fetch_Site": "cross-site", "Origin": "http://localhost"}, True),
        ({"Origin": "http://[bad"}, True),
    ],
)
def test_a_post_from_another_websites_page_is_refused_and_one_by_a_program_is_not(client, headers, foreign):
    for path in (STYLIZE, "/api/v1/wall", "/api/v1/vectors", "/api/v1/optimise"):
        response = ask(client, path, "POST", **headers)
        problem(response, *((403, "foreign-site") if foreign else (400, "empty")))
    assert ask(client, **headers).status_code == 200  # reading is no harm: other websites do not see the answer


# Paths and methods --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", "TRACE"])
@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/nope/",
        "/api/v1/nope",
        "/api/v1/stylize/",
        "/a//b",
        "/index.html",
        "/.env",
        "/api/v1/styles/a/b/c",
        "/_dash-update-component",
        "/_reload-hash",
        "/_favicon.ico",
        "/_dash-nope",
        "/x" * 2000,
    ],
)
def test_where_there_is_nothing_every_method_is_a_404(client, path, method):
    response = ask(client, path, method)
    assert response.status_code == 404
    if method != "HEAD":
        assert len(problem(response, 404)) < 300


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/", "GET HEAD"),
        (STYLIZE, "POST"),
        ("/api/v1/optimise", "GET HEAD POST"),
        ("/healthz", "GET HEAD"),
        ("/api/v1/styles/whatever/sample.webp", "GET HEAD"),
        ("/_dash-layout", "GET HEAD"),
        ("/robots.txt", "GET HEAD"),
        ("/assets/studio.css", "GET HEAD"),
        ("/device/manifest.json", "GET HEAD"),
    ],
)
def test_where_there_is_something_other_methods_are_a_405_that_says_which_there_are(client, path, methods):
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "BREW"} - set(methods.split()):
        response = ask(client, path, method)
        problem(response, 405)
        assert response.headers["Allow"] == ", ".join(methods.split())
    options = ask(client, path, "OPTIONS")
    assert options.status_code == 204 and options.headers["Allow"] == ", ".join([*methods.split(), "OPTIONS"])


def test_what_browsers_and_crawlers_ask_for_unasked_is_there(client):
    assert b"Disallow: /api/" in ask(client, "/robots.txt").data
    icon = ask(client, "/favicon.ico")
    assert icon.mimetype == "image/svg+xml" and b"<svg" in icon.data


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b"", b"\xff", b'{"output":"x.y","inputs":3}', b"[" * 10000])
def test_dash_is_asked_for_no_callback_whatever_is_sent(client, body, caplog):
    response = client.post("/_dash-update-component", data=body, content_type="application/json")
    problem(response, 404)
    assert not caplog.records


@pytest.mark.parametrize(
    "path",
    [
        "os/x.js",
        "dash/nope.js",
        "dash/../app.py",
        "dash/%00.js",
        "a/b/c/d",
        "dash_html_components/x.v1m1.js",
        "dash/dash-renderer/build/nope.v4_4_1m1.min.js",
        "..%2f/x",
    ],
)
def test_components_that_the_page_does_not_have_are_404(client, path, caplog):
    problem(client.get(f"/_dash-component-suites/{path}"), 404)
    problem(client.get(f"/assets/{path}"), 404)
    assert not caplog.records


def test_what_the_page_needs_of_dash_is_there(client):
    page = client.get("/").get_data(as_text=True)
    scripts = [part.split('"')[0] for part in page.split('src="')[1:]]
    assert len(scripts) > 10
    for path in (*scripts, "/_dash-layout", "/_dash-dependencies"):
        assert client.get(path).status_code == 200, path


# Forms --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fields(settings):
    return make_forms(settings)[STYLIZE]


def send(client, body: bytes, boundary="b", path=STYLIZE):
    return client.post(path, data=body, content_type=f"multipart/form-data; boundary={boundary}")


def part(name: str, value: bytes = b"1", more: bytes = b"", file: str | None = None) -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
    return b"--b\r\nContent-Disposition: " + disposition.encode() + b"\r\n" + more + b"\r\n" + value + b"\r\n"


END = b"--b--\r\n"


@pytest.mark.parametrize("count", [form.MAX_PARTS, 1000, 100_000])
def test_too_many_parts_are_called_that(client, photo, count):
    body = part("content", photo, file="p") + part("weight") * count + END
    assert str(form.MAX_PARTS) in problem(send(client, body), 413, "too-many-parts")


def test_as_many_parts_as_a_wall_can_have_are_taken(client, photo):
    fields = {"content": photo, "size": 64, "style_name": ["nope", *[STYLE] * 199]}
    problem(post(client, "/api/v1/wall", **fields), 422, "unknown-style")


def test_too_many_paintings_are_refused_before_one_is_decoded_and_as_soon_as_they_are_seen(
    client, photo, fields, monkeypatch
):
    monkeypatch.setattr(images, "decode", lambda *_: pytest.fail("a picture was decoded"))
    said = problem(post(client, content=photo, style=[photo] * 24), 422, field="style")
    assert "at most 5" in said
    problem(post(client, content=photo, style=[photo] * 3, style_name=[STYLE] * 3), 422, field="style")
    problem(post(client, content=photo, style=photo, weight=[1, 2]), 422, field="weight")
    problem(post(client, content=photo, style=photo, style_name="nope", weight=[1, 2]), 422, field="style_name")

    class Endless(io.RawIOBase):
        def __init__(self):
            self.sent = 0

        def read(self, size=-1):
            self.sent += 1
            return part("style", photo, file="p")

    stream = Endless()
    with pytest.raises(form.ParameterError, match="at most 5"):
        list(form.read_parts(stream, "b", fields))
    assert stream.sent <= 8


@pytest.mark.slow
def test_paintings_are_decoded_one_by_one_and_dropped(client, photo, monkeypatch):
    decode, alive = images.decode, []

    def counted(data, settings, name="picture", *rest, **more):
        picture = decode(data, settings, name, *rest, **more)
        if name == "style":
            import gc
            import weakref

            gc.collect()
            assert not [each for each in alive if each() is not None], "the painting before is still held"
            alive.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(images, "decode", counted)
    paintings = [pictures.png(pictures.painting(64 + 8 * index, 64)) for index in range(4)]
    opened(post(client, content=photo, style=paintings))
    assert len(alive) == 4


@pytest.mark.parametrize("field", ["strength", "size", "style_scale", "keep_colors", "format"])
def test_a_field_that_comes_once_is_refused_when_it_comes_twice(client, photo, field):
    said = problem(post(client, content=photo, style_name=STYLE, **{field: ["1", "1"]}), 422, field=field)
    assert "2 times" in said


def test_a_text_where_a_file_belongs_and_a_file_where_a_text_belongs_are_refused_by_name(client, photo):
    assert "as text" in problem(post(client, content="../../etc/passwd", style_name=STYLE), 422, field="content")
    assert "as a file" in problem(post(client, content=photo, style_name=photo), 422, field="style_name")
    assert "unknown" in problem(post(client, content=photo, colour=photo), 422, field="colour")


@pytest.mark.parametrize("field", ["style_name", "style_vector", "strength", "format", "size", "keep_colors", "weight"])
def test_a_long_text_is_neither_parsed_nor_repeated(client, photo, field):
    for length, most in ((form.MAX_TEXT + 1, 200), (2_000_000, 200), (form.MAX_TEXT, 2800)):
        fields = {"style_name": STYLE, field: "1" * length}
        assert len(problem(post(client, content=photo, **fields), 422, field=field)) < most
    assert len(problem(post(client, content=photo, style_name=STYLE, colour="x" * 8000), 422)) < 200


@pytest.mark.parametrize(
    "body",
    [
        part("x" * (form.MAX_NAME + 1)) + END,
        part("") + END,
        b"--b\r\n\r\n1\r\n" + END,
        b"--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n" + END,
        b"--b\r\nX: y\r\n\r\n1\r\n" + END,
        part("strength", more=b"X: y\r\n" * 20) + END,
        part("strength", more=b"X: " + b"y" * 9000 + b"\r\n") + END,
        part("strength", more=b"X: " + b"y" * 1_000_000 + b"\r\n") + END,
        part("strength", more=b"X: y\r\n" * 99999) + END,
        part("strength", more=b"X: \xff\r\n") + END,
        b"-" * 100_000,
        b"x" * 100_000 + part("strength") + END,
        part("strength"),
        part("strength")[:-20],
        b"--c--\r\n",
        b"\r\n" * 50_000,
        part("strength") + END + b"z" * 100_000,
    ],
    ids=[
        "long name",
        "empty name",
        "no headers",
        "no name",
        "no disposition",
        "20 lines",
        "9 kB line",
        "1 MB line",
        "100,000 lines",
        "no UTF-8",
        "dashes",
        "100 kB before",
        "no end",
        "cut",
        "other boundary",
        "line ends",
        "100 kB after",
    ],
)
def test_a_form_that_does_not_read_as_one_is_a_400_in_few_words(client, body):
    assert len(problem(send(client, body), 400)) < 250


@pytest.mark.parametrize("boundary", ["", "x" * (form.MAX_BOUNDARY + 1), '"ä"', "x" * 7000])
def test_a_boundary_that_is_none_is_a_400(client, boundary):
    problem(send(client, part("strength") + END, boundary), 400, "malformed")
    problem(client.post(STYLIZE, data=END, content_type="multipart/form-data"), 400, "malformed")


@pytest.mark.parametrize("filling", [b"\r", b"\n", b"\r\n--", b"-", b"x--b", b"\r\n--b"])
def test_a_file_full_of_what_parts_end_with_is_read_in_no_time_and_as_it_is(fields, filling):
    data = filling * (1_000_000 // len(filling))
    if filling == b"\r\n--b":
        data = data.replace(b"b", b"c")
    body = part("content", data, file="p") + part("size", b"64") + END
    found = dict(form.read_parts(io.BytesIO(body), "b", fields))
    assert found["content"].read() == data and found["size"] == "64"


def test_parts_come_out_as_they_went_in_wherever_the_stream_is_cut(fields):
    body = part("content", bytes(range(256)) * 300, file="p") + part("style_name", "Ä".encode())
    body += part("weight") * 3 + END

    class Drops(io.BytesIO):
        def read(self, _size=-1):
            return super().read(7)

    for stream in (io.BytesIO(body), Drops(body)):
        (_, file), *texts = form.read_parts(stream, "b", fields)
        assert file.read() == bytes(range(256)) * 300
        assert texts == [("style_name", "Ä"), *[("weight", "1")] * 3]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([10**400] * 100),
        f"[{','.join(['1e400'] * 100)}]",
        f"[{','.join(['3e38'] * 100)}]",
        f"[{','.join([str(VECTOR_BOUND + 1)] * 100)}]",
        "[" * 8000,
        "[[1,2],[3]]",
        '{"a":1}',
        '"abc"',
        "null",
        "",
        json.dumps([True] * 100),
        json.dumps(["1"] * 100),
        json.dumps([[]] * 100),
        json.dumps([None] * 100),
        "[NaN" + ",1" * 99 + "]",
        f"[{'9' * 4500}]",
        json.dumps([[0] * 100]),
        "[1,]",
        "1" * 100,
        "Infinity",
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.parametrize("path", [STYLIZE, "/api/v1/wall"])
def test_a_vector_out_of_bounds_is_refused_in_few_words(client, photo, path, text):
    assert len(problem(post(client, path, content=photo, style_vector=text), 422, field="style_vector")) < 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strength", "1_0"),
        ("strength", "١"),
        ("strength", "1e400"),
        ("strength", " 1"),
        ("size", "1_00"),
        ("size", "٦٤"),
        ("size", "9" * 5000),
        ("size", "64.0"),
        ("size", "-64"),
        ("style_scale", "1e-9"),
        ("style_scale", "inf"),
        ("weight", "1e308"),
        ("weight", "-1"),
        ("weight", "0"),
        ("keep_colors", "maybe"),
    ],
)
def test_a_number_out_of_bounds_is_refused_before_a_picture_is_decoded(client, photo, monkeypatch, field, value):
    monkeypatch.setattr(Stylizer, "style_vector", lambda *_: pytest.fail("work was begun"))
    monkeypatch.setattr(images, "decode", lambda *_: pytest.fail("a picture was decoded"))
    assert len(problem(post(client, content=photo, style=photo, **{field: value}), 422, field=field)) < 200


def test_two_weights_beyond_all_floats_are_refused_where_they_gave_shares_of_nothing(client, photo):
    fields = {"style_name": [STYLE, "kintsugi"], "weight": ["1e308", "1e308"]}
    problem(post(client, content=photo, **fields), 422, field="weight")


# Tiles --------------------------------------------------------------------------------------------------------------


def test_a_tiles_address_changes_with_all_that_decides_it(stylizer, settings, tmp_path, monkeypatch):
    style = stylizer.gallery[STYLE]
    made = {samples.SampleTiles(stylizer).version(style)}

    def changed(**values):
        other = Stylizer.__new__(Stylizer)
        other.__dict__.update(stylizer.__dict__ | values)
        made.add(samples.SampleTiles(other).version(style))

    changed(coarser=stylizer.coarser + 1)
    changed(roughness=stylizer.roughness + 1)
    changed(settings=replace(settings, transformer="plain"))
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / samples.SAMPLE).write_bytes(pictures.jpeg(pictures.photo(96, 64)))
    changed(settings=replace(settings, assets=assets))
    made.add(samples.SampleTiles(stylizer).version(replace(style, vector=style.vector + 1)))
    for name in ("SAMPLE_SIDE", "TILE_QUALITY"):
        monkeypatch.setattr(samples, name, getattr(samples, name) + 1)
        changed()
    assert len(made) == 8
    monkeypatch.undo()
    changed(settings=replace(settings, predictor="inception-v3"))  # tiles are painted by vectors
    assert len(made) == 8


def test_the_page_asks_for_tiles_by_their_version_and_a_wrong_one_is_not_kept(client, app, stylizer):
    address = samples.SampleTiles(stylizer).address(stylizer.gallery[STYLE])
    assert address in json.dumps(client.get("/_dash-layout").get_json())
    right = client.get(f"/{address}")
    assert right.status_code == 200 and "immutable" in right.headers["Cache-Control"]
    wrong = client.get(f"/{address[:-1]}{'0' if address[-1] != '0' else '1'}")
    problem(wrong, 404)
    assert wrong.headers["Cache-Control"] == "no-store"
    bare = client.get(f"/{address.partition('?')[0]}")
    assert bare.data == right.data and bare.headers["Cache-Control"] == "no-cache"


# What is told and logged --------------------------------------------------------------------------------------------


def test_a_fault_of_ours_is_one_line_in_the_log_without_what_was_sent(client, photo, monkeypatch, caplog):
    def fail(*_arguments, **_options):
        try:
            raise ValueError("secret cause")
        except ValueError as cause:
            raise RuntimeError("secret detail") from cause

    monkeypatch.setattr(Stylizer, "paint", fail)
    with caplog.at_level(logging.DEBUG):
        detail = problem(post(client, path=f"{STYLIZE}?secret=1", content=photo, style_name=STYLE), 500, "internal")
    (record,) = caplog.records
    line = caplog.text.strip()
    assert "\n" not in line and "secret" not in line + detail and record.exc_info is None
    assert f"{STYLIZE}: RuntimeError at " in line and "test_gate.py" in line and "stylize" in line


def test_why_a_server_is_not_ready_stands_in_the_log_as_it_says(settings, monkeypatch, caplog):
    client = create_app(settings).server.test_client()
    monkeypatch.setattr(Stylizer, "paint", lambda *_: 1 / 0)
    assert "log" in problem(client.get("/readyz"), 503, "not-ready")
    assert "ZeroDivisionError" in caplog.text


def test_what_is_worked_out_once_is_worked_out_once_by_however_many_that_ask():
    entered, leave, calls = threading.Event(), threading.Event(), []

    @device.once
    def work(name: str) -> str:
        calls.append(name)
        if name == "slow":
            entered.set()
            assert leave.wait(20)
        return name.upper()

    results = []
    threads = [threading.Thread(target=lambda: results.append(work("slow"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert entered.wait(20)
    assert work("quick") == "QUICK"  # waits for no other name's work
    leave.set()
    for thread in threads:
        thread.join(20)
    assert results == ["SLOW"] * 4 and calls == ["slow", "quick"]


def test_the_description_states_the_bounds(client):
    paths = client.get("/api/v1/openapi.json").get_json()["paths"]
    content = paths[STYLIZE]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert content["weight"]["items"]["maximum"] == 1e6 and content["style"]["maxItems"] == 5
    assert "from -100 to 100" in content["style_vector"]["description"]
    assert set(paths) >= gate.HEALTH


def test_every_answer_is_one_that_the_description_has(client, photo):
    spec = client.get("/api/v1/openapi.json").get_json()
    codes = spec["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    answers = [
        ("/api/v1/styles/{name}/sample.webp", "get", client.get("/api/v1/styles/nope/sample.webp")),
        ("/api/v1/styles/{name}/sample.webp", "get", client.get(f"/api/v1/styles/{STYLE}/sample.webp?v=0")),
        ("/api/v1/styles/{name}/picture.webp", "get", client.get("/api/v1/styles/starry-night/picture.webp")),
        ("/api/v1/styles", "get", ask(client, host="evil.example")),
        ("/api/v1/styles", "get", ask(client, host="")),
        (STYLIZE, "post", ask(client, STYLIZE, "POST", Origin="null")),
        (STYLIZE, "post", client.post(STYLIZE)),
        (STYLIZE, "post", post(client, content=pictures.text(), style_name=STYLE)),
        (STYLIZE, "post", post(client, content=photo)),
        (STYLIZE, "post", send(client, part("weight") * 999 + END)),
    ]
    for path, method, response in answers:
        described = spec["paths"][path][method]["responses"]
        assert str(response.status_code) in described and response.get_json(force=True)["code"] in codes
    for response in (client.get("/nope"), client.get(STYLIZE)):
        assert response.get_json(force=True)["code"] in codes
