"""Studying one's own painting, in a real browser: its time, its progress, stopping it, its file."""

import re

import numpy as np
import pictures
import pytest
from browsing import choose, decoded, difference, expect, settle, shown, state, until, upload, upload_photo

from stylizer import studies

pytest.importorskip("torch")
PAINTING = pictures.png(pictures.painting(96, 96))


@pytest.fixture
def with_painting(page):
    """The page with a photo, and with an own painting that is chosen."""
    upload_photo(page, pictures.png(pictures.photo(160, 104)))
    upload(page, "Style picture", PAINTING, "my garden.png")
    expect(page.get_by_role("radio", name="my garden")).to_be_checked()
    return page


def study(page, steps: int) -> None:
    state(page, f"state.page.study_steps = {steps}")
    page.get_by_role("button", name="Study this painting").click()


def test_a_study_is_offered_for_ones_own_painting_alone_and_its_time_is_said_first(page):
    expect(page.get_by_role("button", name="Study this painting")).to_be_hidden()
    upload(page, "Style picture", PAINTING, "my garden.png")
    expect(page.get_by_role("button", name="Study this painting")).to_be_visible()
    said = re.compile("^Takes about (a minute|[0-9]+ (s|min)) and comes closer")
    expect(page.locator("#study-words")).to_have_text(said)
    choose(page.get_by_role("radio", name="Stained glass"))
    expect(page.get_by_role("button", name="Study this painting")).to_be_hidden()


def test_a_studied_painting_is_painted_by_its_study_which_can_be_saved_and_dropped_again(
    with_painting, server, stylizer
):
    page = with_painting
    study(page, 3)
    expect(page.get_by_role("progressbar", name="Study")).to_be_visible()
    expect(page.locator("#study-words")).to_contain_text("Studied", timeout=120_000)
    expect(page.get_by_role("button", name="Study it again")).to_be_visible()
    until(page, lambda: server.full() and "style" in server.full()[-1]["files"])
    settle(page)
    with page.expect_download() as saving:
        page.get_by_role("link", name="Save study").click()
    assert saving.value.suggested_filename == "my-garden.study.safetensors"
    data = saving.value.path().read_bytes()
    assert studies.parse(data).added().any()
    painted = server.full()[-1]
    assert difference(decoded(painted["answer"]), shown(page)) == 0
    assert difference(shown(page), np.asarray(stylizer.stylize(painted["content"], data))) < 1
    expect(page.locator("#code-note")).to_contain_text("A code cannot contain your study")
    count = len(server.full())
    upload(page, "Style picture", data, "again.study.safetensors", "application/octet-stream")
    expect(page.get_by_role("radio", name="again")).to_be_checked()
    until(page, lambda: len(server.full()) > count)
    settle(page)
    assert difference(decoded(server.full()[-1]["answer"]), decoded(painted["answer"])) < 1
    expect(page.get_by_role("button", name="Study it")).to_be_hidden()  # its painting is not here


def test_a_study_is_kept_in_the_browser_only_if_asked_and_can_be_forgotten(with_painting, server):
    page = with_painting
    study(page, 1)
    expect(page.locator("#study-words")).to_have_text("Studied. It is gone when you close the page.", timeout=60_000)
    page.reload()
    expect(page.locator("#photo-caption")).to_contain_text("sample")
    page.wait_for_timeout(300)
    assert not state(page, "state.own")
    upload(page, "Style picture", PAINTING, "my garden.png")
    study(page, 1)
    expect(page.locator("#study-words")).to_contain_text("Studied", timeout=60_000)
    choose(page.get_by_label("Keep it in this browser"))
    expect(page.locator("#study-words")).to_have_text("Studied, and kept in this browser.")
    page.reload()
    expect(page.get_by_role("radio", name="my garden")).not_to_be_checked()
    choose(page.get_by_role("radio", name="my garden"))
    expect(page.locator("#study-words")).to_have_text("Studied, and kept in this browser.")
    expect(page.get_by_role("button", name="Study it")).to_be_hidden()
    page.get_by_role("button", name="Transfer").click()
    until(page, lambda: server.full() and "style" in server.full()[-1]["files"])
    settle(page)
    keep = page.get_by_label("Keep it in this browser")
    expect(keep).to_be_checked()
    keep.click()
    expect(keep).not_to_be_checked()
    until(page, lambda: not state(page, "state.own[0].kept"))
    page.wait_for_timeout(300)
    page.reload()
    expect(page.locator("#photo-caption")).to_contain_text("sample")
    page.wait_for_timeout(300)
    assert not state(page, "state.own")


def test_one_that_is_stopped_keeps_what_it_had(with_painting, server):
    page = with_painting
    study(page, 1000)
    stop = page.get_by_role("button", name="Stop here")
    expect(stop).to_be_enabled(timeout=60_000)  # with the first preview there is something to keep
    expect(page.get_by_alt_text("Stylised photo")).to_be_visible()
    expect(page.locator("#study-words")).to_have_text(re.compile(r"^Step \d+ of 1000, about .+ left\.$"))
    stop.click()
    expect(page.locator("#study-words")).to_contain_text("Studied")
    until(page, lambda: server.full() and "style" in server.full()[-1]["files"])


def test_a_damaged_study_is_said_beside_the_wall_and_nothing_is_lost(page, server):
    upload(page, "Style picture", b"\x10" + bytes(7) + b"{}" + bytes(50), "cut.study.safetensors")
    expect(page.locator("#style-note")).to_contain_text("cut.study.safetensors: The study is not a safetensors file")
    expect(page.get_by_role("radio", checked=True)).to_have_attribute("value", "rainy-boulevard")
