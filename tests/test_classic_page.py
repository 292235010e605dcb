"""The Classic tab in a real browser, with our own narrow VGG: no download."""

import re
import time
from urllib.parse import urlsplit

import pictures
import pytest
from browsing import choose, decoded, expect, until, upload_photo
from flask import request
from serving import Served

from stylizer.settings import Settings
from stylizer.web import create_app


@pytest.fixture(scope="module")
def classic_server(tmp_path_factory):
    """The application where no network was downloaded; `posts` are the paths that were posted to."""
    app = create_app(Settings(device="cpu", cache=tmp_path_factory.mktemp("classic")))
    posts = []
    app.server.before_request(lambda: posts.append(request.path) if request.method == "POST" else None)
    with Served(app.server) as server:
        server.posts = posts
        yield server


@pytest.fixture
def open_studio(browser, classic_server):
    """The page with a small photo in it; nothing must leave this machine, and the console be clean."""
    context, said = browser.new_context(viewport={"width": 1280, "height": 900}), []

    def open_studio():
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on(
            "console",
            lambda message: said.append(message.text) if not message.text.startswith("Failed to load") else None,
        )
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request",
            lambda sent: said.append(sent.url) if urlsplit(sent.url).hostname not in ("127.0.0.1", None) else None,
        )
        page.goto(classic_server.url)
        expect(page.locator("#photo-caption")).to_contain_text("sample")
        upload_photo(page, pictures.png(pictures.photo(160, 96)))
        return page

    yield open_studio
    context.close()
    assert said == []


@pytest.fixture
def tab(open_studio, classic_server):
    """The tab, its networks there."""
    page = open_studio()
    page.get_by_role("tab", name="Classic").click()
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()
    classic_server.posts.clear()
    return page


def steps(page, count: int) -> None:
    page.get_by_label("Steps", exact=True).fill(str(count))
    page.keyboard.press("Tab")


def paint_and_pause(page) -> None:
    """300 steps, of which some are done."""
    steps(page, 300)
    page.get_by_role("button", name="Paint", exact=True).click()
    expect(page.get_by_alt_text("Optimised picture")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#classic-status")).to_contain_text("Paused at step")


def test_a_picture_grows_with_its_curve_and_is_downloaded(tab):
    expect(tab.get_by_label("Loss network")).to_have_value("narrow")
    expect(tab.get_by_label("Content layer")).to_have_value("relu4_3")
    steps(tab, 3)
    tab.get_by_role("button", name="Paint", exact=True).click()
    expect(tab.locator("#classic-status")).to_contain_text("Done, 3 steps, 160 × 96 px")
    expect(tab.locator("#loss-curve polyline")).not_to_have_count(0)
    with tab.expect_download() as download:
        tab.locator("#classic-download").click()
    with open(download.value.path(), "rb") as file:
        assert decoded(file.read()).shape == (96, 160, 3)


def test_a_pause_gives_the_place_back_and_going_on_ends_at_the_same_step(tab, classic_server):
    paint_and_pause(tab)
    tab.get_by_role("button", name="Go on").click()
    expect(tab.locator("#classic-status")).to_contain_text("of 300")
    tab.get_by_role("button", name="Cancel").click()
    expect(tab.locator("#classic-status")).to_contain_text("this is the picture so far")
    assert set(classic_server.posts) == {"/api/v1/optimise"} and len(classic_server.posts) > 1


def test_while_the_device_paints_nothing_is_posted_neither_anew_nor_after_a_pause(tab, classic_server):
    paint_and_pause(tab)
    tab.evaluate("""async () => {
        const { use } = await import("/assets/engines/engine.js");
        use({ post: async () => { throw new Error("not here"); } });
    }""")
    classic_server.posts.clear()
    for button in ("Go on", "Paint anew"):
        tab.get_by_role("button", name=button).click()
        expect(tab.locator("#classic-note")).to_contain_text("no picture is sent")
    assert classic_server.posts == []


def test_polish_goes_on_from_the_studios_result(open_studio, classic_server):
    """The tab was never opened, and the server takes its time to say what networks it has."""
    page = open_studio()
    page.route(
        "**/api/v1/optimise",
        lambda route: (time.sleep(0.5), route.continue_()) if route.request.method == "GET" else route.continue_(),
    )
    choose(page.get_by_role("radio", name="Stained glass"))
    page.get_by_role("button", name="Transfer").click()
    expect(page.get_by_role("status").first).to_contain_text("Painted in")
    with page.expect_request(lambda request: request.method == "POST" and request.url.endswith("optimise")) as sent:
        page.get_by_role("button", name="Polish").click()
    form = sent.value.post_data_buffer
    for field, value in ((b"start", b"\x89PNG"), (b"style_name", b"stained-glass"), (b"steps", b"30")):
        assert re.search(rb'name="%s"[^\r]*\r\n(Content-Type[^\r]*\r\n)?\r\n%s' % (field, value), form), field
    expect(page.get_by_label("Start from")).to_have_value("studio")
    expect(page.locator("#classic-style-caption")).to_have_text("Stained glass")
    expect(page.locator("#classic-status")).to_contain_text("of 30")


def test_polish_takes_the_style_that_is_on_show_whatever_was_chosen_since(open_studio):
    page = open_studio()
    choose(page.get_by_role("radio", name="Stained glass"))
    page.get_by_role("button", name="Transfer").click()
    expect(page.get_by_role("status").first).to_contain_text("Painted in")
    page.route("**/api/v1/stylize", lambda route: route.fulfill(status=422, json={"detail": "no", "status": 422}))
    choose(page.get_by_role("radio", name="The Starry Night Vincent van Gogh, 1889"))
    expect(page.locator("#result-note")).to_have_text("No.")
    page.get_by_role("button", name="Polish").click()
    expect(page.locator("#classic-style-caption")).to_have_text("Stained glass")
    expect(page.locator("#classic-status")).to_contain_text("of 30")


def test_polish_is_offered_where_there_is_a_picture_of_the_style_alone(open_studio):
    page = open_studio()
    for name, shown in (("Stained glass", True), ("The Starry Night Vincent van Gogh, 1889", False)):
        choose(page.get_by_role("radio", name=name))
        page.get_by_role("button", name="Transfer").click()
        expect(page.locator("#result-frame")).to_have_attribute("aria-busy", "false")
        expect(page.get_by_role("button", name="Polish")).to_be_visible(visible=shown)


def test_after_the_tab_was_open_photos_are_taken_as_before_and_by_its_own_button_too(tab):
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Change").click()
    tower = pictures.png(pictures.photo(96, 144, seed=3))
    chooser.value.set_files({"name": "tower.png", "mimeType": "image/png", "buffer": tower})
    expect(tab.locator("#classic-photo-caption")).to_have_text("tower, 96 × 144 px")
    tab.get_by_role("tab", name="Studio").click()
    upload_photo(tab, name="second.png")
    tab.get_by_role("button", name="Transfer").click()
    expect(tab.get_by_role("status").first).to_contain_text("Painted in")
    tab.get_by_role("button", name="Polish").click()
    expect(tab.locator("#classic-status")).to_contain_text("of 30")
    expect(tab.locator("#classic-photo-caption")).to_have_text("second, 160 × 104 px")


def test_the_single_pass_that_was_compared_with_is_let_go_of_with_its_picture(tab):
    tab.evaluate("""() => {
        const { revokeObjectURL } = URL;
        window.gone = [];
        URL.revokeObjectURL = (url) => { window.gone.push(url); revokeObjectURL.call(URL, url); };
    }""")
    steps(tab, 1)
    tab.get_by_role("button", name="Paint", exact=True).click()
    expect(tab.locator("#classic-status")).to_contain_text("Done, 1 step")
    before = tab.locator("#classic-before")
    photo = before.get_attribute("src")
    tab.get_by_label("Compare with").select_option("single")
    expect(before).not_to_have_attribute("src", photo)
    single = before.get_attribute("src")
    assert single.startswith("blob:")
    tab.get_by_role("button", name="Paint", exact=True).click()
    until(tab, lambda: {single, photo} <= set(tab.evaluate("window.gone")))


def test_a_server_that_does_not_say_what_it_can_is_told_of_and_asked_again(open_studio):
    page = open_studio()
    refusal = {"status": 503, "code": "not-ready", "detail": "the server is starting"}
    page.route("**/api/v1/optimise", lambda route: route.fulfill(status=503, json=refusal), times=1)
    page.get_by_role("tab", name="Classic").click()
    expect(page.locator("#classic-note")).to_have_text("The server is starting.")
    page.get_by_role("tab", name="Studio").click()
    page.get_by_role("tab", name="Classic").click()
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()
