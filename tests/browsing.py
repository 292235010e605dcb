"""A real browser on the page, as users have it: headless Chromium, which reaches nothing but the test's own server."""

import base64
import io
import re
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pictures
import pytest
from flask import Response, request
from PIL import Image
from serving import Served

from stylizer.settings import Settings
from stylizer.studies import SUFFIX
from stylizer.styles import LIST, STUDIES, VECTORS, read_gallery
from stylizer.web import create_app
from stylizer.weights import CHECKSUMS

playwright_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make install")
expect = playwright_api.expect
expect.set_options(timeout=90_000)  # a machine with other work; what is right appears at once all the same

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine: apt-get install chromium", allow_module_level=True)

FLAGS = (
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--force-prefers-reduced-motion",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
FULL = "png"  # the format of full paintings; previews are jpeg


# A part of the gallery: every photo is painted in all of it, which takes its time on a small machine.
STYLES = (
    "whirling-night",
    "stained-glass",
    "woodcut-valley",
    "rainy-boulevard",
    "sunflower-field",
    "neon-currents",
    "kintsugi",
    "batik",
    "great-wave",
    "starry-night",
    "the-scream",
    "melencolia",
    "sunflowers",
    "almond-blossom",
    "wheat-field-with-cypresses",
    "poplars",
    "la-grande-jatte",
    "suprematism",
)


def small_gallery(folder: Path) -> Settings:
    """Settings with this part of the gallery alone, its list written to a folder."""
    settings = Settings()
    _, *entries = (settings.styles / LIST).read_text(encoding="utf-8").split("[[style]]")
    kept = [entry for entry in entries if re.search(r'name = "(.*)"', entry).group(1) in STYLES]
    (folder / LIST).write_text("".join(f"[[style]]{entry}" for entry in kept), encoding="utf-8")
    for file in (VECTORS, CHECKSUMS, *(f"{name}.webp" for name in STYLES)):
        if (settings.styles / file).exists():  # of the masters there is no picture
            shutil.copy(settings.styles / file, folder)
    (folder / STUDIES).mkdir()
    for name in STYLES:
        study = settings.styles / STUDIES / f"{name}{SUFFIX}"
        if study.exists():
            shutil.copy(study, folder / STUDIES)
    return replace(settings, styles=folder)


class Server:
    """The application on a free port, and a record of the paintings that it was asked for."""

    def __init__(self, settings: Settings):
        self.paintings: list[dict] = []  # {strength, names, weights, ..., content, answer}, by time
        self.held: dict[str, threading.Event] = {}  # strength: that painting waits for the event
        self.refusals: list[int] = []  # statuses to answer next, in place of a painting
        self.walls: list[dict] = []  # {content, names, vectors} of the walls asked for
        self.under_way: set[int] = set()  # threads that paint
        self.app = create_app(settings)
        self.styles = settings.styles
        self.gallery = read_gallery(settings.styles)
        self.app.server.before_request(self._before)
        self.app.server.after_request(self._record)
        self.app.server.teardown_request(lambda _error: self.under_way.discard(threading.get_ident()))
        self._http = Served(self.app.server, self.app.server.extensions["stylizer.serving"]["limits"])
        self.url = self._http.url

    def _before(self):
        if request.path == "/api/v1/wall":
            content = request.files["content"].read()
            request.files["content"].seek(0)
            lists = {"names": request.form.getlist("style_name"), "vectors": request.form.getlist("style_vector")}
            self.walls.append({"content": content, **lists})
        if request.path == "/api/v1/stylize":
            self.under_way.add(threading.get_ident())
            if request.form.get("strength") in self.held:
                self.held[request.form["strength"]].wait(120)
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
        self._http.close()


def upload(page, label: str, data: bytes, name: str, type: str = "image/png") -> None:
    page.get_by_label(label).set_input_files({"name": name, "mimeType": type, "buffer": data})


def upload_photo(page, data: bytes | None = None, name: str = "harbour.png") -> None:
    upload(page, "Photo", pictures.png(pictures.photo(160, 104)) if data is None else data, name)
    expect(page.locator("#photo-caption")).to_contain_text(name.split(".")[0])


def transfer(page) -> None:
    """Press Transfer and wait until the result is there in full."""
    page.get_by_role("button", name="Transfer").click()
    expect(page.get_by_role("status")).to_contain_text("Painted in", timeout=60_000)
    expect(page.locator("#result-frame")).to_have_attribute("aria-busy", "false")


def settle(page) -> None:
    """Wait until nothing has been under way for longer than the page waits for a slider to come to rest."""
    quiet = 0
    while quiet < 8:
        page.wait_for_timeout(50)
        quiet = 0 if page.locator("#result-frame[aria-busy=true]").count() else quiet + 1


def until(page, condition, seconds: float = 60) -> None:
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


def pixels(locator) -> np.ndarray:
    return decoded(locator.screenshot())


STATE = 'const { state } = await import("/assets/page/state.js");'  # for scripts that tests evaluate


def state(page, of: str):
    """What the page's shared state holds, by an expression of `state`."""
    return page.evaluate(f"async () => {{ {STATE} return {of}; }}")


def tile(page, name: str):
    return page.locator(f".tiles input[value='{name}'] + label img").first


def choose(mark) -> None:
    """Not Playwright's `check`, which wants the mark at once: Dash sets it a moment later."""
    mark.click()
    expect(mark).to_be_checked()


def add_style(page, name: str) -> None:
    page.get_by_role("button", name="Add a style").click()
    choose(page.get_by_role("radio", name=name))
