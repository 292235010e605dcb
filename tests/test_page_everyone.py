"""Every screen and hand: phone, keyboard, names, contrast."""

import re
from pathlib import Path

import pytest
from browsing import add_style, choose, expect, transfer, until, upload_photo


def test_a_phone_shows_everything_without_scrolling_sideways(open_page):
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    upload_photo(page)
    add_style(page, "Whirling night")
    add_style(page, "The Scream")
    transfer(page)
    choose(page.get_by_role("radio", name="Batik"))
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    widths = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]")
    assert max(widths) <= 360
    for control in (
        page.get_by_label("Photo"),
        page.get_by_label("Style picture"),
        page.get_by_label("Strength"),
        page.get_by_label("Size"),
        page.get_by_label("Format"),
        page.get_by_label("Keep colours"),
        page.get_by_role("button", name="Transfer"),
        page.get_by_role("link", name="Download"),
        page.get_by_role("radio", name="Suprematism"),
        page.get_by_role("searchbox"),
        page.locator("#pad"),
        page.get_by_role("button", name="Remove Rainy boulevard"),
        page.get_by_role("slider", name="Mix"),
        page.get_by_role("slider", name="Compare"),
        page.get_by_role("button", name="Copy"),
        page.get_by_role("button", name="Redo"),
    ):
        control.scroll_into_view_if_needed()
        box = control.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["height"] >= 20
    page.get_by_role("radio", name="Suprematism").tap()
    expect(page.locator("#style-caption")).to_contain_text("Suprematism")


def test_the_keyboard_alone_paints(page, server):
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.type"))
        if seen[-1] == "transfer":
            break
        if seen[-1].startswith("_dbcprivate"):
            page.keyboard.press("ArrowRight")
        if seen[-1] == "strength":
            page.keyboard.press("Home")
    assert seen[0] == "studio-tab" and seen[-1] == "transfer"
    controls = ["photo-file", "style-file", "search", "surprise", "strength", "style-scale", "size", "format"]
    assert [each for each in seen if each in controls] == controls
    outline = page.get_by_role("button", name="Transfer").evaluate("(each) => getComputedStyle(each).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    until(page, lambda: server.full())
    assert server.full()[0]["strength"] == "0"
    assert server.full()[0]["style_name"] == "sunflower-field"


AXE = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci")
def test_axe_finds_nothing_serious_in_any_part_of_the_page_in_light_and_dark(page):
    add_style(page, "Whirling night")
    transfer(page)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for tab in ("Studio", "Classic", "About"):
            page.get_by_role("tab", name=tab).click()
            found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
            serious = [
                (theme, tab, rule["id"], [node["html"][:160] for node in rule["nodes"]])
                for rule in found
                if rule["impact"] in ("serious", "critical")
            ]
            assert serious == []


def test_tabs_are_changed_by_arrow_keys_and_show_one_panel(page):
    page.get_by_role("tab", name="Studio").focus()
    for key, name in (("Right", "Classic"), ("Right", "About"), ("Right", "Studio"), ("Left", "About")):
        page.keyboard.press(f"Arrow{key}")
        expect(page.get_by_role("tab", name=name)).to_be_focused()
        expect(page.get_by_role("tab", selected=True)).to_have_text(name)
        assert page.get_by_role("tabpanel").count() == 1
    expect(page.get_by_role("heading", name="Your pictures")).to_be_visible()
    expect(page.get_by_role("img", name="hundred numbers")).to_be_visible()


def test_words_are_readable_in_light_and_dark(page):
    names = ("paper", "card", "mat", "ink", "quiet", "accent", "accent-wash", "on-accent", "edge", "error")
    grounds = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        tokens = page.evaluate(
            """(names) => Object.fromEntries(names.map((name) =>
            [name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()]))""",
            list(names),
        )
        for text in ("ink", "quiet", "accent", "error"):
            for ground in ("paper", "card"):
                assert contrast(tokens[text], tokens[ground]) >= 4.5, (theme, text, ground)
        for ground in ("mat", "accent-wash"):
            assert contrast(tokens["quiet"], tokens[ground]) >= 4.5, (theme, ground)
        assert contrast(tokens["on-accent"], tokens["accent"]) >= 4.5
        assert contrast(tokens["edge"], tokens["paper"]) >= 3  # borders of controls
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
