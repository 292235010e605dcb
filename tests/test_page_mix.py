"""Mixing, undo and the strip of tries, in a real browser."""

import re

import numpy as np
import pictures
from browsing import (
    FULL,
    add_style,
    choose,
    decoded,
    difference,
    expect,
    settle,
    shown,
    transfer,
    until,
    upload,
    upload_photo,
)


def test_two_styles_are_weighed_by_a_slider_that_repaints(page, server, stylizer):
    data = pictures.png(pictures.photo(160, 104))
    upload_photo(page, data)
    choose(page.get_by_role("radio", name="Whirling night"))
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
    assert [each["weights"] for each in server.paintings if each["format"] != FULL]  # a preview came before
    page.get_by_role("button", name="Remove Stained glass").click()
    until(page, lambda: server.full()[-1]["names"] == ["whirling-night"])
    settle(page)
    assert pictures.near(shown(page), alone)
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
    page.keyboard.press("ArrowLeft")  # along the lower edge, to the third: the first stays out
    until(page, lambda: 0 < server.full()[-1]["weights"][2] < 0.5)
    assert server.full()[-1]["weights"][0] == 0
    for name in names[2:]:
        add_style(page, name)
    expect(page.get_by_role("button", name="Add a style")).to_be_disabled()  # five are the most
    until(page, lambda: server.full()[-1]["weights"] == [0.2] * 5)
    box = page.locator("#pad").bounding_box()  # the first corner is on top
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
    choose(page.get_by_role("radio", name="Batik"))
    expect(first).to_contain_text("Batik")
    expect(page.locator("#style-caption")).to_have_text("Batik + Stained glass")
    page.get_by_role("button", name="Add a style").click()
    expect(page.locator("#slot-2")).to_contain_text("Choose a style")
    upload(page, "Style picture", pictures.png(pictures.painting(300, 260)), "grandmother.png")
    expect(page.locator("#slot-2")).to_contain_text("grandmother")


# Tries ----------------------------------------------------------------------------------------------------------------


def test_undo_redo_and_the_strip_bring_back_earlier_tries_with_their_mix_and_photo(page, server):
    first = pictures.png(pictures.photo(160, 104))
    upload_photo(page, first)
    choose(page.get_by_role("radio", name="Whirling night"))
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
    assert count in (4, 5)  # equal shares were one more, if they were done in time
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#photo-caption")).to_contain_text("harbour")
    settle(page)
    page.keyboard.press("Control+z")
    expect(page.locator("#strength-value")).to_have_text("100 %")
    settle(page)
    assert pictures.near(shown(page), mixed)
    assert page.get_by_role("slider", name="Balance").input_value() == "0.8"
    page.get_by_role("button", name="Redo").click()
    expect(page.locator("#strength-value")).to_have_text("50 %")
    settle(page)
    page.get_by_role("button", name="Try 1: Whirling night, 100 %").click()
    expect(page.locator("#style-caption")).to_have_text("Whirling night")
    settle(page)
    assert page.get_by_role("radio", checked=True).get_attribute("value") == "whirling-night"
    assert (server.full()[-1]["names"], server.full()[-1]["strength"]) == (["whirling-night"], "1")
    assert tries.count() == count  # nothing was added: they had been there
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
