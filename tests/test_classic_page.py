"""The Classic tab in a real browser, with our own small network: no download."""

from urllib.parse import urlsplit

import pictures
import pytest
from browsing import decoded, expect, upload_photo
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
def tab(browser, classic_server):
    """The tab, its networks there, with a small photo."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, said = context.new_page(), []
    page.set_default_timeout(60_000)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda sent: said.append(sent.url) if urlsplit(sent.url).hostname not in ("127.0.0.1", None)
            else None)  # fmt: skip
    page.goto(classic_server.url)
    expect(page.locator("#photo-caption")).to_contain_text("sample")
    upload_photo(page, pictures.png(pictures.photo(160, 96)))
    page.get_by_role("tab", name="Classic").click()
    expect(page.get_by_role("button", name="Paint", exact=True)).to_be_enabled()
    classic_server.posts.clear()
    yield page
    context.close()
    assert said == []


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
    expect(tab.get_by_label("Network that looks")).to_have_value("small")
    expect(tab.get_by_label("Content layer")).to_have_value("grouped1")
    steps(tab, 6)
    tab.get_by_role("button", name="Paint", exact=True).click()
    expect(tab.locator("#classic-status")).to_contain_text("Done, 6 steps, 160 × 96 px")
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
    tab.evaluate("stylizer.state.engine = { post: async () => { throw new Error('not here'); } }")
    classic_server.posts.clear()
    for button in ("Go on", "Paint anew"):
        tab.get_by_role("button", name=button).click()
        expect(tab.locator("#classic-note")).to_contain_text("no picture is sent")
    assert classic_server.posts == []


def test_polish_goes_on_from_the_studios_result(tab, classic_server):
    tab.get_by_role("tab", name="Studio").click()
    tab.get_by_role("button", name="Transfer").click()
    expect(tab.get_by_role("status").first).to_contain_text("Painted in")
    tab.get_by_role("button", name="Polish").click()
    expect(tab.locator("#classic-status")).to_contain_text("Done, 30 steps")
    expect(tab.get_by_label("Begin with")).to_have_value("studio")
    assert classic_server.posts[-1] == "/api/v1/optimise"
