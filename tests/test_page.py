"""The page, driven as users do: a painting, and what the sliders make of it."""

import io
import threading

import numpy as np
import pictures
import pytest
from browsing import choose, decoded, difference, expect, pixels, settle, shown, transfer, until, upload, upload_photo
from PIL import Image


def test_a_newcomer_gets_a_painting_with_one_click(page, server):
    transfer(page)
    assert difference(shown(page), shown(page, "Original photo")) > 10
    assert len(server.full()) == 1


def test_an_uploaded_photo_is_painted_in_the_chosen_style_at_its_own_size(page, server):
    upload_photo(page)
    choose(page.get_by_role("radio", name="Stained glass"))
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
    chosen = page.get_by_role("radio", checked=True)
    expect(chosen).to_have_count(1)
    for title, name in (("The Starry Night", "starry-night"), ("Whirling night", "whirling-night")):
        choose(page.get_by_role("radio", name=title))
        expect(chosen).to_have_count(1)
        expect(chosen).to_have_value(name)


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
    choose(page.get_by_label("Keep colours"))
    transfer(page)
    sent = server.paintings[-1]
    assert decoded(sent["content"]).shape == (longest // 2, longest, 3)
    assert Image.open(io.BytesIO(sent["answer"])).format == "WEBP"
    assert sent["keep_colors"] == "true"
    assert shown(page).shape == (longest // 2, longest, 3)


def test_the_download_is_the_result_that_is_shown(page):
    upload_photo(page)
    choose(page.get_by_role("radio", name="Whirling night"))
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
    expect(divider).to_be_hidden()  # there is nothing to compare yet
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


# The slider -----------------------------------------------------------------------------------------------------------


def test_nothing_is_painted_before_the_first_transfer(page, server):
    page.get_by_label("Strength").fill("0.5")
    choose(page.get_by_role("radio", name="Whirling night"))
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
    strengths = [float(painting["strength"]) for painting in server.full()]
    assert strengths == sorted(strengths, reverse=True)  # most between are previews, if at all; on a busy machine
    assert strengths[0] == 1 and len(strengths) < 12  # a pause between two keys may be long enough for all of it


def test_an_older_answer_never_replaces_a_newer_one(page, server):
    upload_photo(page)
    transfer(page)
    server.held["0.5"] = threading.Event()
    try:
        slider = page.get_by_label("Strength")
        slider.fill("0.55")
        settle(page)
        slider.fill("0.5")  # its preview hangs in the server,
        until(page, lambda: server.under_way)
        slider.fill("0.05")  # and a newer value is wanted meanwhile
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
    choose(page.get_by_role("radio", name="Stained glass"))
    until(page, lambda: server.full()[-1]["style_name"] == "stained-glass")
    upload_photo(page, pictures.png(pictures.photo(96, 144, seed=3)), "tower.png")
    until(page, lambda: len(server.full()) == 3)
    settle(page)
    assert shown(page).shape == (144, 96, 3)
