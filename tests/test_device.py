"""On this device: the page paints in the browser, in a worker, and no picture is sent. Faults are put into the worker's
script on its way to the browser, so the code that handles them is the code that users have."""

import base64
import io
import re
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pictures
import pytest
from browsing import (
    CHROMIUM,
    FLAGS,
    choose,
    decoded,
    difference,
    expect,
    settle,
    shown,
    state,
    transfer,
    until,
    upload,
    upload_photo,
)
from flask import request
from PIL import Image
from serving import Served
from studying import random_study

from stylizer import studies
from stylizer.settings import Settings
from stylizer.web import create_app, device
from stylizer.web.page.switch import make_switch

SETTINGS = Settings(device="cpu", precision="f32")
needs_runtime = pytest.mark.skipif(
    not device.has_runtime(SETTINGS), reason="onnxruntime-web is not installed: make device (needs npm)"
)
CLOSE = 1  # of 255: what a browser's picture may differ from the server's, on average
WORKER, PICTURE = "/assets/engines/worker/worker.js", "/assets/engines/worker/picture.js"


class Server:
    """The application on a free port, what was asked of it, and what it is to send in a file's place."""

    def __init__(self):
        self.posts: list[str] = []
        self.requests: list[str] = []
        self.altered: dict[str, callable] = {}  # the end of a path: bytes -> bytes
        self.app = create_app(SETTINGS)
        self.app.server.before_request(self._before)
        self.app.server.after_request(self._after)
        self._http = Served(self.app.server)
        self.url = self._http.url

    def _before(self):
        self.requests.append(request.path)
        if request.method == "POST":
            self.posts.append(request.path)

    def _after(self, response):
        for end, alter in self.altered.items():
            if request.path.endswith(end):
                response.direct_passthrough = False
                response.set_data(alter(response.get_data()))
        return response

    def painting(self, content: bytes, **fields) -> np.ndarray:
        """What the API makes of it, (H, W, 3)."""
        form = {"content": (io.BytesIO(content), "content"), "size": "original", **fields}
        answer = self.app.server.test_client().post("/api/v1/stylize", data=form)
        assert answer.status_code == 200, answer.text
        self.posts.pop()
        return decoded(answer.data)


@pytest.fixture(scope="module")
def device_server():
    server = Server()
    yield server
    server._http.close()


@pytest.fixture
def open_on_device(browser, device_server):
    """Opens the page in a profile of its own, with some part altered, and turns the switch on."""
    contexts = []

    def open_on_device(altered=None, **options):
        device_server.altered = altered or {}
        device_server.posts.clear()
        context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.hosts = set()
        context.on("request", lambda request: page.hosts.add(urlsplit(request.url).hostname))
        page.goto(device_server.url)
        expect(page.locator("#photo-caption")).to_contain_text("sample")
        choose(page.get_by_label("On this device"))
        return page

    yield open_on_device
    for context in contexts:
        assert context.pages[0].hosts <= {"127.0.0.1", None}
        context.close()
    device_server.altered = {}


@pytest.fixture(scope="module")
def studio(browser, device_server):
    """One page that paints on its device, with a photo, for the tests that need nothing special."""
    device_server.altered = {}
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(60_000)
    page.goto(device_server.url)
    expect(page.locator("#photo-caption")).to_contain_text("sample")
    choose(page.get_by_label("On this device"))
    ready(page)
    device_server.posts.clear()
    upload_photo(page)
    transfer(page)
    yield page
    page.context.close()


def ready(page) -> None:
    expect(page.locator("#device-words")).to_contain_text("No picture is sent", timeout=90_000)


def copy_of(page, longest: int = 1024) -> bytes:
    """What the page would send of its photo."""
    return base64.b64decode(
        page.evaluate(
            """async (longest) => {
        const { state } = await import("/assets/page/state.js");
        const { copy_of } = await import("/assets/page/pictures.js");
        const blob = await copy_of(state.photo, longest);
        const bytes = new Uint8Array(await blob.arrayBuffer());
        return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
    }""",
            longest,
        )
    )


def prefix(script: str):
    return lambda data: script.encode() + b"\n" + data


def exactly(data: bytes, old: bytes, new: bytes) -> bytes:
    """What a fault is put into must be there."""
    assert data.count(old) == 1, old
    return data.replace(old, new)


SMALL_PIECES = """async () => {
    const { LADDER } = await import("/assets/engines/device.js");
    for (const way of LADDER) way.whole = 2 ** 18;
}"""


def open_with_small_pieces(open_on_device):
    """The page on a device that paints 512 x 512 pixels in one piece at most."""
    page = open_on_device()
    ready(page)
    page.get_by_label("On this device").uncheck()
    page.evaluate(SMALL_PIECES)
    choose(page.get_by_label("On this device"))
    ready(page)
    return page


# Painting -----------------------------------------------------------------------------------------------------------


@needs_runtime
def test_a_painting_of_the_device_is_the_servers_and_no_picture_is_sent(studio, device_server):
    expected = device_server.painting(copy_of(studio), style_name="rainy-boulevard")
    assert difference(shown(studio), expected) < CLOSE
    expect(studio.locator("#device-words")).to_contain_text("WebAssembly")
    expect(studio.locator("#device-words")).to_contain_text("megapixels per second")
    assert device_server.posts == []


@needs_runtime
def test_dragging_strength_and_keeping_colours_paint_as_the_server_does(studio, device_server):
    slider = studio.get_by_label("Strength")
    slider.fill("0.8")
    slider.fill("0.3")
    settle(studio)
    expected = device_server.painting(copy_of(studio), style_name="rainy-boulevard", strength="0.3")
    assert difference(shown(studio), expected) < CLOSE
    choose(studio.get_by_label("Keep colours"))
    settle(studio)
    kept = device_server.painting(copy_of(studio), style_name="rainy-boulevard", strength="0.3", keep_colors="true")
    assert difference(shown(studio), kept) < CLOSE
    assert difference(kept, expected) > 2 * CLOSE
    assert device_server.posts == []


@needs_runtime
@pytest.mark.parametrize("style_scale", ["0.5", "2"])
def test_a_style_scale_paints_as_the_server_does(studio, device_server, style_scale):
    ours = decoded(
        base64.b64decode(
            studio.evaluate(
                """async (style_scale) => {
        const { state } = await import("/assets/page/state.js");
        const { engine } = await import("/assets/engines/engine.js");
        const { copy_of } = await import("/assets/page/pictures.js");
        const content = await copy_of(state.photo, 1024);
        const fields = { content, style_name: ["great-wave"], size: "original", style_scale, format: "png" };
        const blob = await engine().post("api/v1/stylize", fields);
        const bytes = new Uint8Array(await blob.arrayBuffer());
        return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
    }""",
                style_scale,
            )
        )
    )
    expected = device_server.painting(copy_of(studio), style_name="great-wave", style_scale=style_scale)
    assert difference(ours, expected) < CLOSE


@needs_runtime
@pytest.mark.parametrize(
    ("hidden", "style_scale", "close"),
    [
        (0, 1, 1.5 * CLOSE),
        (255, 1, 1.5 * CLOSE),
        (255, 2, 3 * CLOSE),  # strokes run by what is filled in
    ],
)
def test_a_cut_out_is_painted_as_by_the_server_whatever_is_hidden_under_it(
    studio, device_server, hidden, style_scale, close
):
    ours = studio.evaluate(
        """async ([file, style_scale]) => {
        const { engine } = await import("/assets/engines/engine.js");
        const content = new Blob([Uint8Array.from(atob(file), (each) => each.charCodeAt(0))]);
        const fields = { content, style_name: ["rainy-boulevard"], size: "original", style_scale, format: "png" };
        const blob = await engine().post("api/v1/stylize", fields);
        const bytes = new Uint8Array(await blob.arrayBuffer());
        return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
    }""",
        [base64.b64encode(pictures.cut_out(hidden)).decode(), style_scale],
    )
    sent = pictures.cut_out(128)
    expected = device_server.painting(sent, style_name="rainy-boulevard", style_scale=str(style_scale))
    alpha = np.asarray(Image.open(io.BytesIO(base64.b64decode(ours))).getchannel("A"))
    assert alpha.min() == 0 and alpha.max() == 255
    off = np.abs(decoded(base64.b64decode(ours)).astype(float) - expected).mean(axis=2)
    assert off[alpha == 255].mean() < close and off[(alpha > 127) & (alpha < 255)].mean() < 6 * close


PAINT_BY_STUDY = """async ([photo, study, fields]) => {
    const { engine } = await import("/assets/engines/engine.js");
    const blob_of = (text) => new Blob([Uint8Array.from(atob(text), (each) => each.charCodeAt(0))]);
    const content = blob_of(photo), style = [blob_of(study)];
    try {
        const options = { content, style, size: "original", format: "png", ...fields };
        const blob = await engine().post("api/v1/stylize", options);
        const bytes = new Uint8Array(await blob.arrayBuffer());
        return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
    } catch (error) {
        return error.message;
    }
}"""


def paint_by_study(page, photo: bytes, study: bytes, **fields) -> str:
    """The picture in base64, or what was said in its place."""
    sent = [base64.b64encode(each).decode() for each in (photo, study)]
    return page.evaluate(PAINT_BY_STUDY, [*sent, fields])


@needs_runtime
@pytest.mark.parametrize("rank", [4, 16])
@pytest.mark.parametrize("picture", ["a photo", "a disc"])
def test_a_study_paints_on_the_device_as_on_the_server(studio, device_server, stylizer, picture, rank):
    rgb = pictures.photo(160, 120) if picture == "a photo" else pictures.disc(320, 240, (200, 100), 20)
    study = studies.dump(random_study(stylizer, seed=rank, rank=rank))
    mixed = {"style_name": "great-wave", "weight": ["3", "1"], "strength": "0.7"}
    for fields in ({}, mixed, {"strength": "0.1"}, {"strength": "0"}):
        ours = decoded(base64.b64decode(paint_by_study(studio, pictures.png(rgb), study, **fields)))
        expected = device_server.painting(pictures.png(rgb), style=(io.BytesIO(study), "style"), **fields)
        assert difference(ours, expected) < CLOSE
    without = device_server.painting(pictures.png(rgb), style_name="kintsugi")
    assert difference(ours, without) > 2 * CLOSE


@needs_runtime
def test_a_bad_study_is_refused_on_the_device_in_words(studio, stylizer):
    study = random_study(stylizer)
    nan = study.numbers.copy()
    nan[7] = np.nan
    for data, says in (
        (studies.dump(study)[:-50], "truncated or altered"),
        (studies.dump(study) + bytes(2**18), "too large"),
        (studies.dump(replace(study, origin="0123456789ab")), "was made for transformer 0123456789ab"),
        (studies.dump(replace(study, numbers=nan)), "truncated or altered"),
    ):
        assert says in paint_by_study(studio, pictures.png(pictures.photo(64, 48)), data)


@needs_runtime
def test_the_wall_and_a_mix_with_an_own_painting_come_from_the_device(studio, device_server):
    tile = studio.locator(".tiles input[value='starry-night'] + label img").first
    expect(tile).to_have_attribute("src", re.compile("^blob:"), timeout=60_000)
    own = pictures.png(pictures.painting(640, 480))
    upload(studio, "Style picture", own, "own.png")
    expect(studio.locator("#own label")).to_have_count(1)
    studio.get_by_label("Strength").fill("0.3")
    keep = studio.get_by_label("Keep colours")
    if not keep.is_checked():
        choose(keep)
    settle(studio)
    vector = state(studio, "state.own[0].vector")
    read_there = device_server.painting(copy_of(studio), style=(io.BytesIO(own), "own.png"))
    read_here = device_server.painting(copy_of(studio), style_vector=vector)
    assert difference(read_there, read_here) < 3  # one look at the whole would be 10 off
    expected = device_server.painting(copy_of(studio), style_vector=vector, strength="0.3", keep_colors="true")
    assert difference(shown(studio), expected) < CLOSE
    assert device_server.posts == []


@needs_runtime
def test_a_large_photo_is_painted_in_tiles_that_show_no_seam(open_on_device, device_server):
    page = open_with_small_pieces(open_on_device)
    upload_photo(page, pictures.png(pictures.photo(840, 420)))
    page.get_by_label("Keep colours").uncheck()
    page.get_by_role("button", name="Transfer").click()
    expect(page.get_by_role("status")).to_have_text(re.compile("^Painting piece . of 2…$"))
    transfer(page)
    tiled, whole = shown(page), device_server.painting(copy_of(page), style_name="rainy-boulevard")
    error = np.abs(tiled.astype(float) - whole).mean(axis=(0, 2))  # of each column
    assert error.mean() < 0.015 * 255  # by the statistics of 25 samples; seen 0.010
    step = np.abs(np.diff(tiled.astype(float) - whole, axis=1)).mean(axis=(0, 2))
    border = 420  # the middle of 840: two tiles of 512, whose kept parts meet there
    assert step[border - 1] < 2 * np.median(step) + 0.5
    assert device_server.posts == []


CALM = {
    "one colour": lambda: pictures.blank(96, 64),
    "a disc": lambda: pictures.disc(640, 480, (400, 200), 20),
    "a lamp in the night": lambda: pictures.lamp(480, 400, (300, 150)),
}


@needs_runtime
@pytest.mark.parametrize("calm", CALM)
def test_a_calm_picture_is_the_servers_too(studio, device_server, calm):
    page = pictures.png(CALM[calm]())
    ours = decoded(
        base64.b64decode(
            studio.evaluate(
                """async (page) => {
        const { engine } = await import("/assets/engines/engine.js");
        const content = new Blob([Uint8Array.from(atob(page), (letter) => letter.charCodeAt(0))]);
        const fields = { content, style_name: ["great-wave"], size: "original", format: "png" };
        const blob = await engine().post("api/v1/stylize", fields);
        const bytes = new Uint8Array(await blob.arrayBuffer());
        return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
    }""",
                base64.b64encode(page).decode(),
            )
        )
    )
    assert difference(ours, device_server.painting(page, style_name="great-wave")) < CLOSE


@needs_runtime
def test_in_tiles_a_small_thing_is_found_wherever_it_lies(open_on_device, device_server):
    page = open_with_small_pieces(open_on_device)
    drawn = pictures.disc(1000, 700, (830, 560), 20)
    upload_photo(page, pictures.png(drawn))
    page.get_by_label("Keep colours").uncheck()
    transfer(page)
    assert difference(shown(page), device_server.painting(copy_of(page), style_name="rainy-boulevard")) < 8


@needs_runtime
def test_with_the_network_off_the_page_reloads_and_paints(open_on_device, device_server):
    page = open_on_device()
    expect(page.locator("#device-offline")).to_be_visible(timeout=90_000)
    page.context.set_offline(True)
    asked = len(device_server.requests)
    for _ in range(3):
        page.reload()
        expect(page.get_by_label("On this device")).to_be_checked(timeout=60_000)
        expect(page.locator("#device-words")).to_have_text(re.compile("^Paints here with"), timeout=90_000)
    upload_photo(page)
    transfer(page)
    assert shown(page).shape == (104, 160, 3)
    # The browser looks for another service worker by itself, and the switch to offline does not hold for that.
    assert set(device_server.requests[asked:]) <= {"/service-worker.js"}
    page.context.set_offline(False)
    page.get_by_label("On this device").uncheck()
    expect(page.locator("#device-words")).to_contain_text("server")
    until(page, lambda: page.evaluate("caches.keys()") == [])
    until(page, lambda: not page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('stylizer'))"))


@needs_runtime
def test_nobody_waits_for_a_painting_that_was_given_up_before_it_was_asked_for(studio):
    for engine in ("here", "server"):
        outcome = studio.evaluate(
            """async (which) => {
            const { engine } = await import("/assets/engines/engine.js");
            const { server } = await import("/assets/engines/server.js");
            const chosen = { here: engine(), server }[which];
            const fields = { content: new Blob(["picture"]), style_name: ["batik"] }, signal = AbortSignal.abort("no");
            return chosen.post("api/v1/stylize", fields, { signal }).then(() => "painted", (reason) => reason);
        }""",
            engine,
        )
        assert outcome == "no", engine
    waiting = studio.evaluate("""async () => {
        const { engine } = await import("/assets/engines/engine.js");
        return [...engine().jobs.values()].map(({ path }) => path);
    }""")
    assert "api/v1/stylize" not in waiting


@needs_runtime
@pytest.mark.parametrize("name", ["constructor", "__proto__", "nowhere"])
def test_a_style_is_one_of_the_gallery_whatever_else_bears_its_name(studio, name):
    said = studio.evaluate(
        """async (name) => {
        const { state } = await import("/assets/page/state.js");
        const { engine } = await import("/assets/engines/engine.js");
        const { copy_of } = await import("/assets/page/pictures.js");
        const content = await copy_of(state.photo, 64);
        const fields = { content, style_name: [name], format: "png" };
        return engine().post("api/v1/stylize", fields).then(() => "painted", ({ message }) => message);
    }""",
        name,
    )
    assert said == f"There is no style {name}."


# Faults -------------------------------------------------------------------------------------------------------------


@needs_runtime
def test_a_worker_whose_script_did_not_come_is_started_anew_and_nobody_is_asked(browser, device_server):
    device_server.altered = {}
    context = browser.new_context()
    page, fails = context.new_page(), [True, True]  # as a service worker that is not awake yet makes it
    page.route(f"**{WORKER}", lambda route: route.abort() if fails and fails.pop() else route.continue_())
    page.goto(device_server.url)
    expect(page.locator("#photo-caption")).to_contain_text("sample")
    choose(page.get_by_label("On this device"))
    expect(page.locator("#device-words")).to_have_text(re.compile("^Paints here with WebAssembly"), timeout=90_000)
    assert fails == []
    expect(page.locator("#device-dialog")).to_be_hidden()
    context.close()


@needs_runtime
def test_a_worker_whose_script_never_comes_is_told_of(browser, device_server):
    device_server.altered = {}
    context = browser.new_context()
    page = context.new_page()
    page.route(f"**{WORKER}", lambda route: route.abort())
    page.goto(device_server.url)
    expect(page.locator("#photo-caption")).to_contain_text("sample")
    choose(page.get_by_label("On this device"))
    expect(page.locator("#device-dialog")).to_contain_text("the worker did not start", timeout=60_000)
    context.close()


@needs_runtime
def test_where_the_browser_keeps_nothing_the_device_paints_all_the_same(browser, device_server):
    device_server.altered = {}
    context = browser.new_context()
    context.add_init_script("navigator.serviceWorker.register = async () => { throw new TypeError('no room'); };")
    page, complaints = context.new_page(), []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(device_server.url)
    expect(page.locator("#photo-caption")).to_contain_text("sample")
    choose(page.get_by_label("On this device"))
    ready(page)
    upload_photo(page)
    transfer(page)
    expect(page.locator("#device-offline")).to_be_hidden()
    context.close()
    assert complaints == []


NO_SIMD = {WORKER: prefix("WebAssembly.validate = () => false;")}
FAULTS = {
    "no SIMD": (NO_SIMD, "no WebAssembly SIMD"),
    "altered weights": ({"decoder.onnx": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]}, "altered"),
    "cut weights": ({"decoder.onnx": lambda data: data[: len(data) // 2]}, "truncated or altered"),
    "no runtime": ({"manifest.json": lambda _data: b""}, "this device cannot paint"),
    "no worker": ({WORKER: lambda _data: b"throw new Error('broken');"}, "this device cannot paint"),
}


@needs_runtime
@pytest.mark.parametrize("fault", FAULTS)
def test_where_this_device_cannot_paint_the_server_is_asked_for_first(open_on_device, device_server, fault):
    altered, words = FAULTS[fault]
    page = open_on_device(altered)
    dialog = page.locator("#device-dialog")
    expect(dialog).to_be_visible(timeout=60_000)
    expect(dialog).to_contain_text(re.compile(words, re.IGNORECASE))
    page.get_by_role("button", name="Not now").click()
    page.get_by_role("button", name="Transfer").click()  # asks anew
    expect(dialog).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Not now").click()
    expect(page.locator("#result-note")).to_contain_text("nothing was sent", ignore_case=True)
    assert device_server.posts == []


@needs_runtime
def test_after_a_yes_the_server_paints_what_waited(open_on_device, device_server):
    page = open_on_device(NO_SIMD)
    page.get_by_role("button", name="Not now").click()
    page.get_by_role("button", name="Transfer").click()
    page.get_by_role("button", name="Paint on the server").click()
    expect(page.get_by_role("status")).to_contain_text("Painted in", timeout=60_000)
    assert device_server.posts == ["/api/v1/stylize"]
    expect(page.get_by_label("On this device")).not_to_be_checked()


@needs_runtime
def test_where_memory_is_short_smaller_pieces_are_painted(open_on_device, device_server):
    short = """const { Memory } = WebAssembly;
        WebAssembly.Memory = function (options) { return new Memory({ ...options, maximum: 10000 }); };"""
    page = open_on_device({WORKER: prefix(short)})
    ready(page)
    upload_photo(page, pictures.png(pictures.photo(1200, 1000)))
    transfer(page)
    assert shown(page).std() > 5
    expect(page.locator("#device-words")).to_contain_text("megapixels")
    assert device_server.posts == []


@needs_runtime
def test_a_black_picture_is_never_shown_as_success(open_on_device, device_server):
    colours = b"red = planes[at], green = planes[at + area], blue = planes[at + 2 * area];"
    black = b"red = 0, green = 0, blue = 0;"
    page = open_on_device({PICTURE: lambda data: exactly(data, colours, black)})
    ready(page)
    page.get_by_role("button", name="Transfer").click()
    expect(page.locator("#device-dialog")).to_contain_text("came out black", timeout=60_000)
    assert page.locator("#result").get_attribute("src") is None


@needs_runtime
@pytest.mark.parametrize("loss", ["refused", "lost"])
def test_a_graphics_card_that_fails_is_replaced_by_webassembly(playwright_browser_with_card, device_server, loss):
    """A real WebGPU device, drawn by software, that is taken away while it is tried, or that is never given."""
    script = """Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });
        const give = GPUAdapter.prototype.requestDevice;
        GPUAdapter.prototype.requestDevice = async function (...wanted) {
            if ("%s" === "refused") throw new Error("no device");
            const device = await give.apply(this, wanted);
            setTimeout(() => device.destroy(), 500);
            return device;
        };"""
    device_server.altered = {WORKER: prefix(script % loss)}
    page = playwright_browser_with_card.new_context().new_page()
    page.goto(device_server.url)
    expect(page.locator("#photo-caption")).to_contain_text("sample")
    choose(page.get_by_label("On this device"))
    expect(page.locator("#device-words")).to_contain_text("Paints here with WebAssembly", timeout=120_000)
    expect(page.locator("#device-words")).to_contain_text("lost" if loss == "lost" else "failed")
    device_server.altered = {}
    page.context.close()


@pytest.fixture(scope="module")
def playwright_browser_with_card(browser):
    flags = [flag for flag in FLAGS if flag != "--disable-gpu"]
    card = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
    with_card = browser.browser_type.launch(executable_path=CHROMIUM, args=[*flags, *card])
    yield with_card
    with_card.close()


# What is served -----------------------------------------------------------------------------------------------------


@needs_runtime
def test_what_browsers_download_is_small_checked_and_kept_for_good(client):
    manifest = client.get("/device/manifest.json").get_json()
    assert sum(each["bytes"] for each in manifest["weights"].values()) <= 8.5e6
    for entry in (*manifest["weights"].values(), manifest["gallery"], manifest["runtimes"]["wasm"]["binary"]):
        answer = client.get(f"/{entry['url']}")
        assert device.hashlib.sha256(answer.data).hexdigest() == entry["sha256"]
        assert "immutable" in answer.headers["Cache-Control"]
    binary = manifest["runtimes"]["wasm"]["binary"]
    packed = client.get(f"/{binary['url']}", headers={"Accept-Encoding": "gzip"})
    assert len(packed.data) < binary["bytes"] / 2
    plain = client.get(f"/{binary['url']}", headers={"Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in plain.headers
    assert client.get("/device/000000000000/gallery.json").status_code == 404
    assert client.get("/device/manifest.json?runtime=webgl").status_code == 422


def test_the_page_is_isolated_so_that_webassembly_may_have_threads(client):
    headers = client.get("/").headers
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    policy = headers["Content-Security-Policy"]
    assert "'wasm-unsafe-eval'" in policy and "'unsafe-eval'" not in policy and "worker-src 'self'" in policy


def test_without_the_runtime_the_switch_is_off_and_says_why(tmp_path):
    settings = replace(SETTINGS, browser_runtime=tmp_path)
    app = create_app(settings)
    assert app.server.test_client().get("/device/manifest.json").status_code == 404
    switch = str(make_switch(settings))
    assert "disabled=True" in switch and "npm" in switch
