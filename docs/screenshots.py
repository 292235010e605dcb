"""The README's picture of the page, from the running page: `python docs/screenshots.py`, after weights or looks change.

Needs Chromium (`chromium` on the path) and Playwright.
"""

import io
import shutil
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from stylizer.settings import Settings
from stylizer.web import create_app, serve

TARGET = Path(__file__).parent / "page.jpg"
PORT = 8051
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


def main() -> None:
    app = create_app(Settings())
    ready = threading.Event()
    threading.Thread(target=serve, args=(app, "127.0.0.1", PORT, ready.set), daemon=True).start()
    ready.wait()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        page.goto(f"http://127.0.0.1:{PORT}")
        page.get_by_role("radio", name="The Starry Night").check()
        page.get_by_role("button", name="Transfer").click()
        page.get_by_role("status").filter(has_text="Painted in").wait_for()
        page.get_by_role("slider", name="Compare").focus()
        page.keyboard.press("PageUp")
        page.evaluate("document.activeElement.blur()")
        page.wait_for_load_state("networkidle")
        page.evaluate("window.scrollTo(0, 0)")
        Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(TARGET, quality=88, optimize=True)
        print(f"{TARGET.name}: {TARGET.stat().st_size // 1000} kB")
        browser.close()


if __name__ == "__main__":
    main()
