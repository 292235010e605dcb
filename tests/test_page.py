"""The page, driven in a real browser as users do: headless Chromium, which reaches nothing but this test's server."""

import base64
import io
import re
import shutil
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import pictures
import pytest
from flask import Response, request
from PIL import Image
from werkzeug.serving import make_server

from stylizer.settings import Settings
from stylizer.web import QuietHandler, create_app

playwright_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make install")
expect = playwright_api.expect
expect.set_options(timeout=30_000)  # a machine with other work; what is right appears at once all the same

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine: apt-get install chromium", allow_module_level=True)

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip
FULL = "png"        # the format of full paintings; previews are jpeg


class Server:
    """The application on a free port, and a record of the paintings that it was asked for."""

    def __init__(self):
        self.paintings: list[dict] = []             # {strength, names, weights, ..., content, answer}, by time
        self.held: dict[str, threading.Event] = {}  # strength: that painting waits for the event
        self.refusals: list[int] = []               # statuses to answer next, in place of a painting
        self.walls: list[dict] = []                 # {content, names, vectors} of the walls asked for
        self.under_way: set[int] = set()            # threads that paint
        self.app = create_app(Settings())
        self.app.server.before_request(self._before)
        self.app.server.after_request(self._record)
        self.app.server.teardown_request(lambda _error: self.under_way.discard(threading.get_ident()))
        self._http = make_server("127.0.0.1", 0, self.app.server, threaded=True, request_handler=QuietHandler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def _before(self):
        if request.path == "/api/v1/wall":
            content = request.files["content"].read()
            request.files["content"].seek(0)
            lists = {"names": request.form.getlist("style_name"), "vectors": request.form.getlist("style_vector")}
            self.walls.append({"content": content, **lists})
        if request.path == "/api/v1/stylize":
            self.under_way.add(threading.get_ident())
            if request.form.get("strength") in self.held:
                self.held[request.form["strength"]].wait(20)
            if self.refusals:
                return Response(status=self.refusals.pop(0), headers={"Retry-After": "0.2"})

    def _record(self, response):
        if request.path == "/api/v1/stylize" and response.status_code == 200 and "strength" in request.form:
            request.files["content"].seek(0)
            sent = {"content": request.files["content"].read(), "name": request.files["content"].filename}
            answer = {"files": list(request.files), "answer": response.data}
            self.paintings.append({**request.form, **sent, **self._mix(), **answer})
        return response

    def _mix(self) -> dict:
        weights = [float(weight) for weight in request.form.getlist("weight")]
        return {"names": request.form.getlist("style_name"), "weights": weights}

    def full(self) -> list[dict]:
        return [painting for painting in self.paintings if painting["format"] == FULL]

    def close(self):
        self._http.shutdown()


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def desktop(browser):
    """A fresh profile. Tests share it, so that scripts come from its cache; the page itself stores nothing."""
    return browser.new_context(viewport={"width": 1280, "height": 800})


@pytest.fixture
def open_page(browser, desktop, server):
    """Opens the page; at the end nothing must have left this machine, and the console be clean."""
    server.paintings.clear()
    server.walls.clear()
    pages, hosts, complaints = [], set(), []

    def hear(message):
        # What a refused painting means is said in words on the page; Chromium's console notes the status by itself.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            complaints.append(message.text)

    def missing(answer) -> bool:
        return answer.status >= 400 and answer.request.method == "GET"

    def open_page(**options):
        page = browser.new_page(**options) if options else desktop.new_page()
        pages.append(page)
        page.set_default_timeout(10_000)
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", hear)
        page.on("response", lambda answer: complaints.append(answer.url) if missing(answer) else None)
        page.goto(server.url)
        expect(page.locator("#photo-caption")).to_contain_text("sample", timeout=10_000)
        return page

    yield open_page
    for page in pages:
        page.close()
    while server.under_way:
        time.sleep(0.02)                        # a painting that no one waits for is none of the next test's
    assert hosts <= {"127.0.0.1", None}         # None: blob addresses, which are the page's own memory
    assert complaints == []


@pytest.fixture
def page(open_page):
    return open_page()


def upload(page, label: str, data: bytes, name: str, type: str = "image/png") -> None:
    page.get_by_label(label).set_input_files({"name": name, "mimeType": type, "buffer": data})


def upload_photo(page, data: bytes | None = None, name: str = "harbour.png") -> None:
    upload(page, "Photo", pictures.png(pictures.photo(160, 104)) if data is None else data, name)
    expect(page.locator("#photo-caption")).to_contain_text(name.split(".")[0])


def transfer(page) -> None:
    """Press Transfer and wait until the result is there in full."""
    page.get_by_role("button", name="Transfer").click()
    expect(page.get_by_role("status")).to_contain_text("Painted in", timeout=20_000)
    expect(page.locator("#result-frame")).to_have_attribute("aria-busy", "false")


def settle(page) -> None:
    """Wait until nothing has been under way for longer than the page waits for a slider to come to rest."""
    quiet = 0
    while quiet < 8:
        page.wait_for_timeout(50)
        quiet = 0 if page.locator("#result-frame[aria-busy=true]").count() else quiet + 1


def until(page, condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        page.wait_for_timeout(20)


def shown(page, alt: str = "Stylised photo") -> np.ndarray:
    """The pixels that the picture on the page shows, (H, W, 3) uint8."""
    url = page.get_by_alt_text(alt).evaluate("""async (image) => {
        await image.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        canvas.getContext("2d").drawImage(image, 0, 0);
        return canvas.toDataURL("image/png");
    }""")
    return decoded(base64.b64decode(url.partition(",")[2]))


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other).mean())


# Painting ----------------------------------------------------------------------------------------------------------


def test_a_newcomer_gets_a_painting_with_one_click(page, server):
    transfer(page)
    assert difference(shown(page), shown(page, "The photo as it is")) > 10
    assert len(server.full()) == 1


def test_an_uploaded_photo_is_painted_in_the_chosen_style_at_its_own_size(page, server):
    upload_photo(page)
    page.get_by_role("radio", name="Stained glass").check()
    transfer(page)
    assert server.full()[-1]["style_name"] == "stained-glass"
    assert shown(page).shape == (104, 160, 3)
    assert difference(shown(page), pictures.photo(160, 104)) > 10
    assert np.array_equal(shown(page), decoded(server.full()[-1]["answer"]))


def test_every_control_has_the_one_name_that_assistive_technology_needs(page):
    for label in ("Photo", "Style picture", "Search styles", "Strength", "Size", "Format", "Keep colours"):
        assert page.get_by_label(label, exact=True).count() == 1, label
    for label in ("Photo", "Style picture", "Strength"):
        assert page.get_by_label(label).count() == 1, label
    assert page.get_by_role("button", name="Transfer").count() == 1
    assert page.get_by_alt_text("Stylised photo").count() == 1
    assert page.get_by_role("slider", name="Strength").get_attribute("aria-valuetext") == "100 %"
    assert page.locator("html").get_attribute("lang") == "en"


def test_styles_are_one_group_in_which_one_is_chosen(page):
    assert page.get_by_role("radio", checked=True).count() == 1
    page.get_by_role("radio", name="The Starry Night").check()
    chosen = page.get_by_role("radio", checked=True)
    assert chosen.count() == 1
    assert chosen.get_attribute("value") == "starry-night"
    page.get_by_role("radio", name="Whirling night").check()
    assert page.get_by_role("radio", checked=True).get_attribute("value") == "whirling-night"


def test_a_photo_leaves_the_browser_upright_and_without_name_or_metadata(page, server):
    upload(page, "Photo", pictures.oriented_jpeg(6, 192, 128), "jane-at-home.jpg", "image/jpeg")
    expect(page.locator("#photo-caption")).to_contain_text("jane-at-home, 192 × 128 px")
    transfer(page)
    sent = server.full()[-1]
    assert sent["name"] == "content"
    assert not Image.open(io.BytesIO(sent["content"])).getexif()
    assert difference(decoded(sent["content"]), pictures.corners(192, 128)) < 4
    assert b"jane" not in sent["content"]


def test_a_transparent_photo_stays_transparent(page, server):
    upload_photo(page, pictures.rgba_png(160, 104), "leaf.png")
    transfer(page)
    alpha = np.asarray(Image.open(io.BytesIO(server.full()[-1]["answer"])).getchannel("A"))
    assert alpha[:, 0].max() == 0 and alpha[:, -1].min() == 255


@pytest.mark.parametrize(("size", "longest"), [("512", 512), ("original", 700)])
def test_a_photo_is_shrunk_to_the_chosen_size_before_it_is_sent(page, server, size, longest):
    upload_photo(page, pictures.png(pictures.photo(700, 350)), "wide.png")
    page.get_by_label("Size").select_option(size)
    page.get_by_label("Format").select_option("webp")
    page.get_by_label("Keep colours").check()
    transfer(page)
    sent = server.paintings[-1]
    assert decoded(sent["content"]).shape == (longest // 2, longest, 3)
    assert Image.open(io.BytesIO(sent["answer"])).format == "WEBP"
    assert sent["keep_colors"] == "true"
    assert shown(page).shape == (longest // 2, longest, 3)


def test_the_download_is_the_result_that_is_shown(page):
    upload_photo(page)
    page.get_by_role("radio", name="Whirling night").check()
    transfer(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "harbour-whirling-night.png"
    with open(download.value.path(), "rb") as file:
        assert np.array_equal(decoded(file.read()), shown(page))


def test_a_format_that_the_browser_cannot_show_is_painted_all_the_same(page, server):
    tiff = pictures.saved(pictures.photo(160, 104), "TIFF")
    upload(page, "Photo", tiff, "scan.tif", "image/tiff")
    expect(page.locator("#photo-note")).to_contain_text("cannot show this format")
    page.get_by_label("Size").select_option("original")
    transfer(page)
    assert server.full()[-1]["content"] == tiff
    assert shown(page).shape == (104, 160, 3)


def test_the_divider_uncovers_the_photo_by_pointer_and_by_keys(page):
    divider = page.get_by_role("slider", name="Compare")
    expect(divider).to_be_hidden()              # there is nothing to compare yet
    upload_photo(page)
    transfer(page)
    frame = page.locator("#result-frame")
    box = frame.bounding_box()
    expect(divider).to_have_attribute("aria-valuenow", "0")
    whole = pixels(frame)
    grip = divider.bounding_box()
    page.mouse.move(grip["x"] + 22, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50, steps=4)
    page.mouse.up()
    expect(divider).to_have_attribute("aria-valuenow", "50")
    half, left, right = pixels(frame), slice(60, box["width"] // 2 - 40), slice(box["width"] // 2 + 40, -20)
    left, right = (slice(int(each.start), int(each.stop)) for each in (left, right))
    assert difference(half[:, left], whole[:, left]) > 10
    assert difference(half[:, right], whole[:, right]) < 1
    for key, value in (("ArrowRight", "55"), ("End", "100"), ("Home", "0"), ("ArrowLeft", "0")):
        page.keyboard.press(key)
        expect(divider).to_have_attribute("aria-valuenow", value)
    assert difference(pixels(frame)[:, left], whole[:, left]) < 1


def pixels(locator) -> np.ndarray:
    return decoded(locator.screenshot())


# The slider --------------------------------------------------------------------------------------------------------


def test_nothing_is_painted_before_the_first_transfer(page, server):
    page.get_by_label("Strength").fill("0.5")
    page.get_by_role("radio", name="Whirling night").check()
    page.wait_for_timeout(600)
    assert server.paintings == []


def test_the_slider_repaints_by_itself_and_the_newest_value_wins(page, server):
    upload_photo(page)
    transfer(page)
    before = shown(page)
    slider = page.get_by_label("Strength")
    slider.focus()
    for _ in range(12):
        slider.press("ArrowLeft")
    expect(page.locator("#strength-value")).to_have_text("40 %")
    until(page, lambda: server.full()[-1]["strength"] == "0.4")
    settle(page)
    assert difference(shown(page), before) > 1
    assert np.array_equal(shown(page), decoded(server.full()[-1]["answer"]))
    assert [painting["strength"] for painting in server.full()] == ["1", "0.4"]     # the rest are previews, if at all


def test_an_older_answer_never_replaces_a_newer_one(page, server):
    upload_photo(page)
    transfer(page)
    server.held["0.5"] = threading.Event()
    try:
        slider = page.get_by_label("Strength")
        slider.fill("0.55")
        settle(page)
        slider.fill("0.5")                      # its preview hangs in the server,
        page.wait_for_timeout(500)
        slider.fill("0.05")                     # and a newer value is wanted meanwhile
        page.wait_for_timeout(300)
    finally:
        server.held.pop("0.5").set()
    until(page, lambda: server.full()[-1]["strength"] == "0.05")
    settle(page)
    assert np.array_equal(shown(page), decoded(server.full()[-1]["answer"]))
    assert server.full()[-1]["strength"] == "0.05"


def test_after_the_first_transfer_another_style_and_another_photo_are_painted_at_once(page, server):
    upload_photo(page)
    transfer(page)
    page.get_by_role("radio", name="Stained glass").check()
    until(page, lambda: server.full()[-1]["style_name"] == "stained-glass")
    upload_photo(page, pictures.png(pictures.photo(96, 144, seed=3)), "tower.png")
    until(page, lambda: len(server.full()) == 3)
    settle(page)
    assert shown(page).shape == (144, 96, 3)


# The wall ----------------------------------------------------------------------------------------------------------


def tile(page, name: str):
    return page.locator(f".tiles input[value='{name}'] + label img").first


def test_the_wall_shows_the_users_photo_in_every_style_what_is_on_the_screen_first(page, server, stylizer):
    sample = page.locator(".tiles img[src*='sample.webp']").count()
    assert 0 < sample < 40 and server.walls == []       # the sample's tiles are ready-made, and loaded when seen
    upload_photo(page, pictures.png(pictures.photo(300, 300)))
    expect(page.locator(".tiles img.waiting")).to_have_count(0, timeout=20_000)
    assert page.locator(".tiles img[src^='data:image/webp']").count() == len(stylizer.gallery)
    (wall,) = server.walls
    assert set(wall["names"]) == set(stylizer.gallery) and set(wall["names"][:2]) <= set(list(stylizer.gallery)[:12])
    assert decoded(wall["content"]).shape == (120, 180, 3)      # cut to the tiles' shape
    painted = tile(page, "kintsugi").get_attribute("src").partition(",")[2]
    small = decoded(wall["content"])
    assert difference(decoded(base64.b64decode(painted)), np.asarray(stylizer.stylize(small, "kintsugi"))) < 12


def test_another_photo_starts_the_wall_anew_and_ends_the_one_under_way(page, server, stylizer):
    upload_photo(page, pictures.png(pictures.photo(300, 200)), "first.png")
    upload_photo(page, pictures.png(255 - pictures.photo(300, 200)), "second.png")
    until(page, lambda: len(server.walls) == 2)
    expect(page.locator(".tiles img.waiting")).to_have_count(0, timeout=20_000)
    painted = decoded(base64.b64decode(tile(page, "batik").get_attribute("src").partition(",")[2]))
    second, first = (np.asarray(stylizer.stylize(decoded(wall["content"]), "batik")) for wall in server.walls[::-1])
    assert difference(painted, second) < 12 < difference(painted, first)


def test_an_own_style_gets_a_tile_of_the_wall(page, server, stylizer):
    upload(page, "Style picture", pictures.png(pictures.painting(300, 260)), "grandmother.png")
    expect(tile(page, "own-1")).to_have_attribute("src", re.compile("^data:image/webp"))
    assert [len(wall["vectors"]) for wall in server.walls] == [1] and server.walls[0]["names"] == []
    upload_photo(page)
    expect(page.locator(".tiles img.waiting")).to_have_count(0, timeout=20_000)
    assert [len(wall["vectors"]) for wall in server.walls[1:]] == [1, 0]        # own ones first, then the gallery
    assert [len(wall["names"]) for wall in server.walls[1:]] == [0, len(stylizer.gallery)]


def test_a_wall_that_cannot_be_painted_leaves_the_sample_there_and_says_so(open_page):
    page = open_page()
    page.route("**/api/v1/wall", lambda route: route.fulfill(status=422, json={"detail": "no room for tiles"}))
    upload_photo(page)
    expect(page.locator("#style-note")).to_contain_text("No room for tiles")
    expect(page.locator(".tiles img.waiting")).to_have_count(0)
    assert "sample.webp" in tile(page, "whirling-night").get_attribute("src")


def test_the_search_filters_by_title_artist_and_year_and_says_how_many_match(page, stylizer):
    search, count = page.get_by_role("searchbox", name="Search styles"), page.locator("#search-count")
    assert count.inner_text() == ""
    search.fill("gogh 1889")
    expect(count).to_have_text(re.compile(rf"^\d of {len(stylizer.gallery)} styles$"))
    seen = page.locator(".tiles .form-check:visible")
    for words in seen.all_inner_texts():
        assert "Gogh" in words and "1889" in words
    assert page.get_by_role("heading", name="Originals").is_hidden()
    search.press("Enter")                       # takes the first match
    chosen = page.get_by_role("radio", checked=True)
    expect(chosen).to_be_focused()
    assert chosen.get_attribute("value") == seen.first.locator("input").get_attribute("value")
    search.fill("durer")                        # without the accent that few keyboards have
    expect(seen.first).to_contain_text("Dürer")
    search.fill("no such style")
    expect(count).to_have_text("No style matches")
    search.fill("")
    expect(seen).to_have_count(len(stylizer.gallery))


# Mixing ------------------------------------------------------------------------------------------------------------


def add_style(page, name: str) -> None:
    page.get_by_role("button", name="Add a style").click()
    page.get_by_role("radio", name=name).check()


def test_two_styles_are_weighed_by_a_slider_that_repaints(page, server, stylizer):
    data = pictures.png(pictures.photo(160, 104))
    upload_photo(page, data)
    page.get_by_role("radio", name="Whirling night").check()
    transfer(page)
    alone = shown(page)
    add_style(page, "Stained glass")
    assert page.get_by_role("radio", checked=True).get_attribute("value") == "stained-glass"
    until(page, lambda: server.full()[-1]["weights"] == [0.5, 0.5])
    balance = page.get_by_role("slider", name="Balance")
    assert balance.get_attribute("aria-valuetext") == "Whirling night 50 %, Stained glass 50 %"
    balance.fill("0.8")
    until(page, lambda: server.full()[-1]["weights"] == [0.2, 0.8])
    settle(page)
    painted = server.full()[-1]
    assert painted["names"] == ["whirling-night", "stained-glass"]
    expected = np.asarray(stylizer.stylize(painted["content"], {"whirling-night": 0.2, "stained-glass": 0.8}))
    assert difference(shown(page), expected) < 1
    assert [each["weights"] for each in server.paintings if each["format"] != FULL]     # a preview came before
    page.get_by_role("button", name="Take out Stained glass").click()
    until(page, lambda: server.full()[-1]["names"] == ["whirling-night"])
    settle(page)
    assert np.array_equal(shown(page), alone)
    expect(balance).to_be_hidden()


def test_three_styles_and_more_are_weighed_on_a_pad_whose_corners_they_are(page, server):
    upload_photo(page)
    transfer(page)
    names = ["Whirling night", "Stained glass", "Kintsugi", "Batik"]
    for name in names[:2]:
        add_style(page, name)
    pad = page.get_by_role("slider", name="Mix")
    equal = pad.get_attribute("aria-valuetext")
    assert equal == "Rainy boulevard 33 %, Whirling night 33 %, Stained glass 33 %"
    pad.focus()
    for key, shares in (("1", [100, 0, 0]), ("3", [0, 0, 100]), ("Home", [33, 33, 33]), ("2", [0, 100, 0])):
        page.keyboard.press(key)
        expect(pad).to_have_attribute("aria-valuetext", re.compile(".*".join(f"{share} %" for share in shares)))
    until(page, lambda: server.full()[-1]["weights"] == [0, 1, 0])
    page.keyboard.press("ArrowLeft")            # along the lower edge, to the third: the first stays out
    until(page, lambda: 0 < server.full()[-1]["weights"][2] < 0.5)
    assert server.full()[-1]["weights"][0] == 0
    for name in names[2:]:
        add_style(page, name)
    expect(page.get_by_role("button", name="Add a style")).to_be_disabled()     # five are the most
    until(page, lambda: server.full()[-1]["weights"] == [0.2] * 5)
    box = page.locator("#pad").bounding_box()   # the first corner is on top
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] - 30, steps=4)
    page.mouse.up()
    until(page, lambda: server.full()[-1]["weights"] == [1, 0, 0, 0, 0])
    assert server.full()[-1]["names"][0] == "rainy-boulevard"


def test_a_slot_of_the_mix_is_chosen_by_its_button_and_refilled_from_the_wall(page):
    add_style(page, "Stained glass")
    first = page.locator("#slot-0")
    assert page.locator("#slot-1").get_attribute("aria-pressed") == "true"
    first.click()
    expect(page.get_by_role("radio", checked=True)).to_have_attribute("value", "rainy-boulevard")
    page.get_by_role("radio", name="Batik").check()
    expect(first).to_contain_text("Batik")
    expect(page.locator("#style-caption")).to_have_text("Batik + Stained glass")
    page.get_by_role("button", name="Add a style").click()
    expect(page.locator("#slot-2")).to_contain_text("Choose a style")
    upload(page, "Style picture", pictures.png(pictures.painting(300, 260)), "grandmother.png")
    expect(page.locator("#slot-2")).to_contain_text("grandmother")


# Tries -------------------------------------------------------------------------------------------------------------


def test_undo_redo_and_the_strip_bring_back_earlier_tries_with_their_mix_and_photo(page, server):
    first = pictures.png(pictures.photo(160, 104))
    upload_photo(page, first)
    page.get_by_role("radio", name="Whirling night").check()
    transfer(page)
    add_style(page, "Stained glass")
    page.get_by_role("slider", name="Balance").fill("0.8")
    until(page, lambda: server.full()[-1]["weights"] == [0.2, 0.8])
    settle(page)
    mixed = shown(page)
    page.get_by_label("Strength").fill("0.5")
    until(page, lambda: server.full()[-1]["strength"] == "0.5")
    settle(page)
    upload_photo(page, pictures.png(pictures.photo(96, 144, seed=3)), "tower.png")
    until(page, lambda: decoded(server.full()[-1]["content"]).shape == (144, 96, 3))
    settle(page)
    tries = page.locator(".try:visible")
    count = tries.count()
    assert count in (4, 5)                      # equal shares were one more, if they were done in time
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#photo-caption")).to_contain_text("harbour")
    settle(page)
    page.keyboard.press("Control+z")
    expect(page.locator("#strength-value")).to_have_text("100 %")
    settle(page)
    assert np.array_equal(shown(page), mixed)
    assert page.get_by_role("slider", name="Balance").input_value() == "0.8"
    page.get_by_role("button", name="Redo").click()
    expect(page.locator("#strength-value")).to_have_text("50 %")
    settle(page)
    page.get_by_role("button", name="Try 1: Whirling night, 100 %").click()
    expect(page.locator("#style-caption")).to_have_text("Whirling night")
    settle(page)
    assert page.get_by_role("radio", checked=True).get_attribute("value") == "whirling-night"
    assert (server.full()[-1]["names"], server.full()[-1]["strength"]) == (["whirling-night"], "1")
    assert tries.count() == count               # nothing was added: they had been there
    expect(tries.first).to_have_attribute("aria-current", "true")


def test_the_result_is_copied_as_a_picture(open_page):
    page = open_page()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    upload_photo(page)
    page.get_by_label("Format").select_option("jpeg")
    transfer(page)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("status")).to_have_text("Copied to the clipboard")
    types = page.evaluate("navigator.clipboard.read().then((items) => items[0].types)")
    assert types == ["image/png"]


# Own styles --------------------------------------------------------------------------------------------------------


def test_an_own_style_becomes_a_chosen_tile_and_is_sent_once(page, server):
    upload_photo(page)
    upload(page, "Style picture", pictures.png(pictures.painting(300, 260)), "grandmother.png")
    expect(page.get_by_role("radio", name="grandmother")).to_be_checked()
    assert page.get_by_role("radio", checked=True).count() == 1
    transfer(page)
    first = shown(page)
    page.get_by_label("Strength").fill("0.2")
    until(page, lambda: server.full()[-1]["strength"] == "0.2")
    settle(page)
    assert difference(shown(page), first) > 1
    for painting in server.paintings:
        assert painting["files"] == ["content"]
        assert painting["style_vector"].count(",") == 99
    upload(page, "Style picture", pictures.png(pictures.painting(300, 260, seed=5)), "uncle.png")
    expect(page.get_by_role("radio", name="uncle")).to_be_checked()
    page.get_by_role("radio", name="grandmother").check()
    assert page.get_by_role("radio", checked=True).count() == 1


def test_files_may_be_dropped_paintings_on_the_gallery_and_photos_anywhere_else(page):
    for place, data, name in (
        (".gallery", pictures.painting(64, 64), "poster"), ("#result-frame", pictures.photo(160, 104), "street"),
    ):  # fmt: skip
        files = page.evaluate_handle("""([data, name]) => {
            const files = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (each) => each.charCodeAt(0));
            files.items.add(new File([bytes], name, { type: "image/png" }));
            return files;
        }""", [base64.b64encode(pictures.png(data)).decode(), f"{name}.png"])
        page.dispatch_event(place, "dragover", {"dataTransfer": files})
        page.dispatch_event(place, "drop", {"dataTransfer": files})
    expect(page.get_by_role("radio", name="poster")).to_be_checked()
    expect(page.locator("#photo-caption")).to_contain_text("street, 160 × 104 px")


# What goes wrong ---------------------------------------------------------------------------------------------------

BAD_PHOTOS = {
    "text": (pictures.text, "not a picture"),
    "svg": (pictures.svg, "not a picture"),
    "empty": (bytes, "empty"),
    "half": (pictures.half_jpeg, "cut short"),
    "tiny": (lambda: pictures.png(pictures.photo(20, 20)), "at least 32"),
    "thin": (lambda: pictures.png(pictures.photo(900, 40)), "900x40"),
    "huge-header": (pictures.png_header, "20000"),
    "huge": (pictures.big_flat_png, "88 megapixels"),
    "many-bytes": (lambda: bytes(25 * 2**20), "24 MiB"),
}


def test_a_bad_photo_is_told_in_words_beside_the_upload_and_nothing_is_lost(page, server, tmp_path):
    upload_photo(page)
    page.get_by_role("radio", name="Whirling night").check()
    page.get_by_label("Strength").fill("0.7")
    note = page.locator(".photo").get_by_role("alert")
    for name, (make, words) in BAD_PHOTOS.items():
        path = tmp_path / f"{name}.png"         # by path: Playwright is slow with megabytes in its own messages
        path.write_bytes(make())
        page.get_by_label("Photo").set_input_files(path)
        expect(note).to_contain_text(f"{name}.png: ")
        expect(note).to_contain_text(words)
        expect(page.locator("#photo-caption")).to_contain_text("harbour")
    upload(page, "Style picture", pictures.text(), "recipe.txt")
    expect(page.locator("#style-note")).to_contain_text("recipe.txt: ")
    transfer(page)
    assert shown(page).shape == (104, 160, 3)
    assert (server.full()[-1]["style_name"], server.full()[-1]["strength"]) == ("whirling-night", "0.7")


def test_a_busy_or_restarting_server_is_asked_again(page, server):
    upload_photo(page)
    server.refusals += [503, 429]
    transfer(page)
    assert server.refusals == []
    assert shown(page).shape == (104, 160, 3)


def test_a_lost_connection_is_told_and_the_next_movement_paints_again(open_page, server):
    page = open_page()
    upload_photo(page)
    transfer(page)
    page.route("**/api/v1/stylize", lambda route: route.abort("connectionrefused"))
    page.get_by_label("Strength").fill("0.6")
    expect(page.get_by_role("status")).to_contain_text("does not answer")
    page.unroute("**/api/v1/stylize")
    page.get_by_label("Strength").fill("0.3")
    until(page, lambda: server.full()[-1]["strength"] == "0.3", seconds=3)      # at once: not after the waits of 0.6
    settle(page)
    assert np.array_equal(shown(page), decoded(server.full()[-1]["answer"]))


def test_work_that_takes_time_is_seen(page, server):
    upload_photo(page)
    server.held["1"] = threading.Event()
    try:
        page.get_by_role("button", name="Transfer").click()
        expect(page.get_by_role("status")).to_have_text("Painting…")
        expect(page.locator("#elapsed")).to_have_text("1 s")
        expect(page.locator("#result-frame .bar")).to_be_visible()
    finally:
        server.held.pop("1").set()
    expect(page.get_by_role("status")).to_contain_text("Painted in")
    expect(page.locator("#result-frame .bar")).to_be_hidden()


# Every screen and hand ---------------------------------------------------------------------------------------------


def test_a_phone_shows_everything_without_scrolling_sideways(open_page):
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    upload_photo(page)
    add_style(page, "Whirling night")
    add_style(page, "The Scream")
    transfer(page)
    page.get_by_role("radio", name="Batik").check()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    widths = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]")
    assert max(widths) <= 360
    for control in (
        page.get_by_label("Photo"), page.get_by_label("Style picture"), page.get_by_label("Strength"),
        page.get_by_label("Size"), page.get_by_label("Format"), page.get_by_label("Keep colours"),
        page.get_by_role("button", name="Transfer"), page.get_by_role("link", name="Download"),
        page.get_by_role("radio", name="Suprematism"), page.get_by_role("searchbox"), page.locator("#pad"),
        page.get_by_role("button", name="Take out Rainy boulevard"), page.get_by_role("slider", name="Mix"),
        page.get_by_role("slider", name="Compare"), page.get_by_role("button", name="Copy"),
        page.get_by_role("button", name="Redo"),
    ):  # fmt: skip
        control.scroll_into_view_if_needed()
        box = control.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["height"] >= 20
    page.get_by_role("radio", name="Suprematism").tap()
    expect(page.locator("#style-caption")).to_contain_text("Suprematism")


def test_the_keyboard_alone_paints(page, server):
    seen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.type"))
        if seen[-1] == "transfer":
            break
        if seen[-1].startswith("_dbcprivate"):
            page.keyboard.press("ArrowRight")
        if seen[-1] == "strength":
            page.keyboard.press("Home")
    assert seen[0] == "photo-file" and seen[1] == "style-file" and seen[-1] == "transfer"
    outline = page.get_by_role("button", name="Transfer").evaluate("(each) => getComputedStyle(each).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    until(page, lambda: server.full())
    assert server.full()[0]["strength"] == "0"
    assert server.full()[0]["style_name"] == "sunflower-field"


def test_words_are_readable_in_light_and_dark(page):
    names = ("paper", "card", "mat", "ink", "quiet", "accent", "accent-wash", "on-accent", "edge", "error")
    grounds = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        tokens = page.evaluate("""(names) => Object.fromEntries(names.map((name) =>
            [name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()]))""", list(names))
        for text in ("ink", "quiet", "accent", "error"):
            for ground in ("paper", "card"):
                assert contrast(tokens[text], tokens[ground]) >= 4.5, (theme, text, ground)
        for ground in ("mat", "accent-wash"):
            assert contrast(tokens["quiet"], tokens[ground]) >= 4.5, (theme, ground)
        assert contrast(tokens["on-accent"], tokens["accent"]) >= 4.5
        assert contrast(tokens["edge"], tokens["paper"]) >= 3        # borders of controls
        painted = page.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor")
        assert tuple(map(int, re.findall(r"\d+", painted))) == channels(tokens["paper"])
        grounds.append(luminance(tokens["paper"]))
    assert grounds[0] > 0.8 and grounds[1] < 0.05


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours #rrggbb."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    values = [value / 255 for value in channels(colour)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[place : place + 2], 16) for place in (1, 3, 5))
