"""Looking closely, what it costs, and sharing a style, in a real browser."""

import base64
import json
import math
import re
import struct
import threading
import zlib

import numpy as np
import pictures
from browsing import (
    STATE,
    add_style,
    choose,
    difference,
    expect,
    pixels,
    settle,
    shown,
    state,
    transfer,
    until,
    upload,
    upload_photo,
)

# Zoom and pan ------------------------------------------------------------------------------------------------------


def view(page) -> dict:
    """{zoom, x, y} of the result, as the style sheet has it: x and y in CSS pixels."""
    return page.locator("#result-frame").evaluate("""(frame) => {
        const property = (name, initial) => parseFloat(frame.style.getPropertyValue(name) || initial);
        return { zoom: property("--zoom", 1), x: property("--x", 0), y: property("--y", 0) };
    }""")


def centre(page) -> tuple[float, float]:
    box = page.locator("#result-frame").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_result_is_zoomed_and_moved_by_keys_buttons_wheel_and_pointer_and_fits_again(page):
    expect(page.get_by_role("button", name="Zoom in")).to_be_hidden()
    upload_photo(page, pictures.png(pictures.photo(300, 200)))
    transfer(page)
    whole = pixels(page.locator("#result-frame"))
    page.get_by_role("button", name="Zoom in").click()
    assert view(page)["zoom"] == 1.5
    frame = page.locator("#result-frame")
    frame.focus()
    page.keyboard.press("+")
    assert view(page)["zoom"] == 2.25
    page.keyboard.press("ArrowRight")
    assert view(page)["x"] == -80  # the picture goes left, and what is right of it comes
    assert difference(pixels(frame), whole) > 5
    x, y = centre(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y - 20, steps=3)
    page.mouse.up()
    assert (view(page)["x"], view(page)["y"]) == (-50, -20)
    page.mouse.move(x, y + 400, steps=1)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -200)
    until(page, lambda: view(page)["zoom"] > 2.3)
    page.mouse.wheel(0, 5000)
    until(page, lambda: view(page) == {"zoom": 1, "x": 0, "y": 0})
    assert page.get_by_role("button", name="Zoom out").is_disabled()

    def twice() -> bool:
        page.wait_for_timeout(600)  # so that no tap belongs to an earlier one
        page.mouse.dblclick(x - 50, y)
        return view(page)["zoom"] >= 2

    until(page, twice)  # a busy machine may take too long between the two
    page.keyboard.press("0")
    assert view(page)["zoom"] == 1


def test_zooming_about_a_point_keeps_that_point_in_place_and_never_shows_beyond_the_picture(page):
    upload_photo(page, pictures.png(pictures.photo(300, 200)))
    transfer(page)
    box = page.locator("#result-frame").bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    until(page, lambda: view(page)["zoom"] > 1)
    left = page.locator("#result").bounding_box()
    assert box["x"] - 8 <= left["x"] <= box["x"] + 0.5
    frame = page.locator("#result-frame")
    frame.focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    image = page.locator("#result").bounding_box()
    assert abs(image["x"] + image["width"] - box["x"] - box["width"]) < 1


def test_the_divider_still_compares_when_zoomed_and_a_pinch_zooms(open_page):
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    upload_photo(page, pictures.png(pictures.photo(300, 200)))
    transfer(page)
    frame = page.locator("#result-frame")
    frame.scroll_into_view_if_needed()
    x, y = centre(page)
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, apart: float) -> None:
        points = [{"x": x - apart, "y": y}, {"x": x + apart, "y": y}] if kind != "touchEnd" else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 30)
    for apart in (40, 50, 60, 75, 90):
        fingers("touchMove", apart)
    fingers("touchEnd", 0)
    until(page, lambda: view(page)["zoom"] > 2)
    painted = pixels(frame)
    page.get_by_role("slider", name="Compare").focus()
    page.keyboard.press("End")
    middle = (slice(20, -60), slice(60, -60))
    assert difference(pixels(frame)[middle], painted[middle]) > 10


# What it costs -----------------------------------------------------------------------------------------------------


def test_the_cost_is_said_before_running_and_grows_with_the_size(page):
    cost = page.locator("#size-cost")
    upload_photo(page, pictures.png(pictures.photo(1400, 700)))
    per_pixel = state(page, "state.page.bytes_per_pixel")
    for size in (512, 1024):
        page.get_by_label("Size").select_option(str(size))
        megabytes = 10 * math.ceil(size * size / 2 * per_pixel / 1e7)
        expect(cost).to_have_text(re.compile(rf"^about \d+(\.\d)? s, {megabytes} MB of the server’s memory$"))


def test_a_long_painting_says_what_is_left_and_can_be_cancelled(page, server):
    upload_photo(page)
    transfer(page)
    before = shown(page)
    page.evaluate(f"""async () => {{
        {STATE}
        const {{ learn_pace, megapixels }} = await import("/assets/page/cost.js");
        for (const size of [384, 1024]) learn_pace(megapixels(state.photo, size, 1).in_all, 40);
    }}""")
    server.held["0.35"] = threading.Event()
    try:
        page.get_by_label("Strength").fill("0.35")
        expect(page.locator("#elapsed")).to_have_text(re.compile(r"^\d+ s, about 3\d s left$"))
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("status")).to_have_text("Cancelled")
        expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
        settle(page)
        assert np.array_equal(shown(page), before)
    finally:
        server.held.pop("0.35").set()


# Surprise and style codes ------------------------------------------------------------------------------------------


def test_a_surprise_is_painted_at_once_from_the_gallery(page, server):
    upload_photo(page)
    page.get_by_role("button", name="Surprise me").click()
    until(page, lambda: server.full())
    settle(page)
    assert 1 <= len(server.full()[-1]["names"]) <= 3 and set(server.full()[-1]["names"]) <= set(server.gallery)
    assert abs(sum(server.full()[-1]["weights"]) - 1) < 0.001
    page.get_by_role("button", name="Surprise me").click()
    until(page, lambda: len(server.full()) > 1)


def test_a_surprise_is_never_the_style_that_is_there_already(page, server):
    upload_photo(page)
    names = list(server.gallery)
    share = (names.index("rainy-boulevard") + 0.5) / len(names)  # would choose what the page begins with, alone
    page.evaluate(f"Math.random = () => {share}")
    page.get_by_role("button", name="Surprise me").click()
    until(page, lambda: server.full())
    assert server.full()[0]["names"] != ["rainy-boulevard"]


def test_a_link_to_what_the_page_begins_with_is_painted_too(open_page, server):
    page = open_page()
    code = code_of(page)
    page.goto(f"{server.url}#{code}")
    page.reload()
    until(page, lambda: server.full())


def code_of(page) -> str:
    if not page.get_by_label("Style code").is_visible():
        page.get_by_text("Share this style").click()
    return page.get_by_label("Style code").input_value()


def test_a_style_code_carries_mix_strength_and_colours_to_another_page(open_page, server):
    page = open_page()
    upload_photo(page)
    for name in ("Whirling night", "Stained glass"):
        add_style(page, name)
    page.get_by_role("slider", name="Mix").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.get_by_label("Strength").fill("0.6")
    choose(page.get_by_label("Keep colours"))
    transfer(page)
    painted, picture = server.full()[-1], shown(page)
    code = code_of(page)
    assert re.fullmatch(r"style1\.[\w-]{50,120}", code)
    other = open_page()
    upload_photo(other)
    code_of(other)
    other.get_by_label("Style code").fill(code)
    until(other, lambda: len(server.full()) > 1)
    settle(other)
    again = server.full()[-1]
    assert [again[key] for key in ("names", "strength", "keep_colors")] == [
        painted[key] for key in ("names", "strength", "keep_colors")
    ]
    assert np.abs(np.subtract(again["weights"], painted["weights"])).max() < 0.001
    assert difference(shown(other), picture) < 1
    linked = open_page(f"{server.url}#{code}")  # and as a link
    until(linked, lambda: len(server.full()) > 2)
    assert server.full()[-1]["names"] == painted["names"]


def test_a_code_of_an_own_style_carries_its_numbers_and_neither_name_nor_picture(open_page, server):
    page = open_page()
    upload_photo(page)
    upload(page, "Style picture", pictures.png(pictures.painting(300, 260)), "grandmother.png")
    expect(page.get_by_role("radio", name="grandmother")).to_be_checked()
    transfer(page)
    code = code_of(page)
    assert len(code) < 320
    other = open_page(f"{server.url}#{code}")
    until(other, lambda: len(server.full()) > 1)
    one, same = (np.array(json.loads(painting["style_vector"])) for painting in (server.full()[0], server.full()[-1]))
    assert np.abs(one - same).max() < 1e-3 * np.abs(one).max()
    expect(other.get_by_role("radio", name="Shared style")).to_have_count(1)


def test_a_code_that_cannot_be_read_says_why_and_changes_nothing(page, server):
    code = code_of(page)
    field, note = page.get_by_label("Style code"), page.locator("#code-note")
    for wrong, words in (
        ("hello", "not a complete style code"),
        (code[:-3], "damaged"),
        (code[:12] + ("A" if code[12] != "A" else "B") + code[13:], "damaged"),
        (code.replace("style1", "style7"), "version 7"),
    ):
        field.fill(wrong)
        field.press("Enter")
        expect(note).to_contain_text(words)
    expect(page.locator("#style-caption")).to_have_text("Rainy boulevard")
    assert server.paintings == []


# Links and codes that nobody's page wrote ---------------------------------------------------------------------------


def part(name: str | bytes, weight: int = 10000) -> bytes:
    name = name if isinstance(name, bytes) else name.encode()
    return struct.pack(">HB", weight, len(name)) + name


def numbers(scale: float, weight: int = 10000) -> bytes:
    """An own style: all numbers are `scale` times 32767."""
    return struct.pack(">HBIf100h", weight, 0, 0, scale, *[32767] * 100)


def code_with(*parts: bytes, strength: int = 100, scale: int = 100, count: int | None = None) -> str:
    """A style code in whose checksum nothing is wrong."""
    body = bytes([strength, scale, 0, len(parts) if count is None else count]) + b"".join(parts)
    whole = body + struct.pack(">I", zlib.crc32(body))
    return "style1." + base64.urlsafe_b64encode(whole).decode().rstrip("=")


BATIK = part("batik")
BAD_CODES = {
    "strength": (code_with(BATIK, strength=255), "its strength is 255 %; it must be from 0 % to 100 %"),
    "small strokes": (code_with(BATIK, scale=20), "its strokes are 0.2 times as large; they must be 0.5 to 2 times"),
    "large strokes": (code_with(BATIK, scale=255), "its strokes are 2.55 times"),
    "none": (code_with(), "it has no styles"),
    "seven": (code_with(*[BATIK] * 7), "it mixes 7 styles, but a mix has at most 5"),
    "no weight": (code_with(part("batik", 0), part("kintsugi", 0)), "its weights must be from 0 to 1"),
    "weight": (code_with(part("batik", 65535)), "its weights must be from 0 to 1"),
    "unknown": (code_with(part("mona-lisa")), "this gallery has no style mona-lisa"),
    "prototype": (code_with(part("__proto__")), "this gallery has no style __proto__"),
    "constructor": (code_with(BATIK, part("constructor")), "this gallery has no style constructor"),
    "method": (code_with(part("toString")), "this gallery has no style toString"),
    "infinite": (code_with(numbers(float("inf"))), "the numbers of its own styles must be from −100 to 100"),
    "not a number": (code_with(numbers(float("nan"))), "the numbers of its own styles"),
    "beyond": (code_with(numbers(1001 / 32767)), "the numbers of its own styles"),
    "more than it says": (code_with(BATIK, BATIK, count=1), "damaged"),
    "less than it says": (code_with(BATIK, count=255), "damaged"),
    "no text": (code_with(part(b"\xff\xfe")), "damaged"),
    "long": ("style1." + "A" * 5000, "too long for a style code"),
    "words": ("somewhere", "not a complete style code"),
}


def test_a_bad_link_says_in_words_what_is_wrong_and_the_page_works_on(open_page, server):
    phone = {"viewport": {"width": 390, "height": 844}}
    page = open_page(f"{server.url}#{BAD_CODES['prototype'][0]}", **phone)
    note = page.locator("#code-note")
    expect(note).to_be_in_viewport()  # though the part of the page is closed at first, and far down
    expect(note).to_have_text("This code cannot be painted: this gallery has no style __proto__.")
    for code, words in BAD_CODES.values():
        page.evaluate("(code) => { location.hash = code; }", code)
        expect(note).to_contain_text(words)
    field = page.get_by_label("Style code")
    for code, words in BAD_CODES.values():
        field.fill(code)
        field.press("Enter")
        expect(note).to_contain_text(words)
    expect(page.locator("#style-caption")).to_have_text("Rainy boulevard")
    assert server.paintings == [] and page.locator("#own label").count() == 0
    field.fill(code_with(part("batik", 2500), numbers(0.5 / 32767, 7500), strength=40, scale=141))
    field.press("Enter")
    until(page, lambda: server.full())
    settle(page)
    painted = server.full()[-1]
    assert (painted["style_name"], painted["strength"], painted["weights"]) == ("batik", "0.4", [0.25, 0.75])
    assert json.loads(painted["style_vector"]) == [0.5] * 100
    expect(note).to_have_text("This code was made with other weights: it may look different here.")
    page.get_by_label("Strength").fill("0.6")
    choose(page.get_by_role("radio", name="Kintsugi"))
    page.get_by_role("button", name="Remove Shared style").click()
    expect(note).to_have_text("")


def test_a_link_is_opened_where_the_sample_photo_is_missing(desktop, server):
    page = desktop.new_page()
    page.route("**/sample.jpg*", lambda route: route.abort())
    page.goto(f"{server.url}#{code_with(BATIK)}")
    expect(page.locator("#style-caption")).to_have_text("Batik")
    page.close()
