"""What goes wrong, and how the page says it."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pictures
from browsing import choose, decoded, expect, settle, shown, transfer, until, upload, upload_photo

BAD_PHOTOS = {
    "text": (pictures.text, "not a picture"),
    "svg": (pictures.svg, "not a picture"),
    "empty": (bytes, "empty"),
    "half": (pictures.half_jpeg, "truncated"),
    "tiny": (lambda: pictures.png(pictures.photo(20, 20)), "at least 32"),
    "thin": (lambda: pictures.png(pictures.photo(900, 40)), "900x40"),
    "huge-header": (pictures.png_header, "20000"),
    "huge": (pictures.big_flat_png, "88 megapixels"),
    "many-bytes": (lambda: bytes(25 * 2**20), "24 MiB"),
}


def test_a_bad_photo_is_told_in_words_beside_the_upload_and_nothing_is_lost(page, server, tmp_path):
    upload_photo(page)
    choose(page.get_by_role("radio", name="Whirling night"))
    page.get_by_label("Strength").fill("0.7")
    note = page.locator(".photo").get_by_role("alert")
    for name, (make, words) in BAD_PHOTOS.items():
        path = tmp_path / f"{name}.png"  # by path: Playwright is slow with megabytes in its own messages
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
    until(page, lambda: server.full()[-1]["strength"] == "0.3", seconds=12)  # not after the waits of 0.6, 15 s
    settle(page)
    assert np.array_equal(shown(page), decoded(server.full()[-1]["answer"]))


def start_server(port: int, styles: Path) -> subprocess.Popen:
    """The application as users start it, in a process of its own."""
    environ = {**os.environ, "STYLIZER_PORT": str(port), "STYLIZER_STYLES": str(styles)}
    process = subprocess.Popen([sys.executable, "app.py"], cwd=Path(__file__).parents[1], env=environ)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") and process
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise TimeoutError("the server did not start")


def test_a_server_killed_in_the_middle_of_a_drag_and_started_again_goes_on_painting(open_page, server):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = start_server(port, server.styles)
    try:
        page = open_page(f"http://127.0.0.1:{port}/")
        upload_photo(page)
        transfer(page)
        slider, status = page.get_by_label("Strength"), page.get_by_role("status")
        slider.focus()
        slider.press("ArrowLeft")
        process.kill()
        process.wait()
        for _ in range(3):
            slider.press("ArrowLeft")
        expect(status).to_contain_text("does not answer")
        process = start_server(port, server.styles)
        slider.press("ArrowLeft")
        expect(status).to_contain_text("Painted in")
        settle(page)
        expect(page.locator(".try[aria-current=true]")).to_have_attribute("title", "Rainy boulevard, 75 %")
        process.kill()
        process.wait()
        slider.press("Home")
        expect(status).to_contain_text("does not answer")
        process = start_server(port, server.styles)
        expect(status).to_contain_text("Painted in")  # by itself, with no movement
    finally:
        process.kill()
        process.wait()


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
