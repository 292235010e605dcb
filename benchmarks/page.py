"""What the page costs, measured in headless Chromium: `python benchmarks/page.py` (Playwright and Chromium are needed).

First load in a fresh profile, the wall, slider movements, what they send, and how long the browser's main thread was
blocked (the part beyond 50 ms of every task longer than that). The server runs beside it, on the same cores.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
TILES = 24
WAIT = 300_000  # ms

WATCH = """
window.blocked = 0;
new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) window.blocked += duration - 50;
}).observe({ type: "longtask", buffered: true });
"""
# Three movements 40 ms apart, as of a drag; then the time from the last to the frame that shows its preview.
DRAG = """(value) => new Promise(async (resolve) => {
    const slider = document.getElementById("strength"), result = document.getElementById("result");
    const put = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
    const move = (to) => { put.call(slider, to); slider.dispatchEvent(new Event("input", { bubbles: true })); };
    const pause = (ms) => new Promise((done) => setTimeout(done, ms));
    for (const step of [0.15, 0.1, 0.05]) { move(value + step); await pause(40); }
    const start = performance.now();
    move(value);
    const observer = new MutationObserver(() => {
        const shown = performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/stylize"));
        if (shown.at(-1)?.startTime < start) return;        // that was an earlier movement's
        observer.disconnect();
        requestAnimationFrame(() => resolve(performance.now() - start));
    });
    observer.observe(result, { attributeFilter: ["src"] });
})"""


@contextmanager
def serving():
    """The address of the application, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env={**os.environ, "STYLIZER_PORT": str(port)})
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz")
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def blocked(page: Page) -> float:
    """Milliseconds since this was asked last."""
    return page.evaluate("() => { const { blocked } = window; window.blocked = 0; return blocked; }")


def first_load(page: Page, url: str) -> None:
    received = 0

    def count(event: dict) -> None:
        nonlocal received
        received += event["encodedDataLength"]

    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.on("Network.loadingFinished", count)
    start = time.perf_counter()
    page.goto(url)
    page.wait_for_function("document.getElementById('photo-caption')?.textContent.includes('sample')", timeout=WAIT)
    seconds = time.perf_counter() - start
    page.wait_for_load_state("networkidle", timeout=WAIT)
    print(f"first load         {received / 1e3:.0f} kB, {seconds:.2f} s to readiness, {blocked(page):.0f} ms blocked")


def wall(page: Page, photo: Path) -> None:
    blocked(page)
    page.get_by_label("Photo").set_input_files(photo)
    page.wait_for_function("document.querySelector('.tiles img.waiting')", timeout=WAIT)
    start = time.perf_counter()
    done = "document.querySelectorAll('.tiles img[src^=\"data:\"]').length >= {}"
    page.wait_for_function(done.format(TILES), timeout=WAIT)
    some = time.perf_counter() - start
    page.wait_for_function("!document.querySelector('.tiles img.waiting')", timeout=WAIT)
    every, count = time.perf_counter() - start, page.locator(".tiles img[data-src]").count()
    print(f"wall               {TILES} tiles in {some:.2f} s, {count} in {every:.2f} s, {blocked(page):.0f} ms blocked")


def slider(page: Page, moves: int) -> None:
    sent, received = [], []

    def count(request) -> None:
        if request.url.endswith("/stylize"):
            sent.append(int(request.all_headers()["content-length"]))
            received.append(request.sizes()["responseBodySize"])

    page.get_by_role("button", name="Transfer").click()
    page.get_by_role("status").filter(has_text="Painted in").wait_for(timeout=WAIT)
    idle = "document.getElementById('result-frame').getAttribute('aria-busy') === 'false'"
    delays = []
    page.on("requestfinished", count)
    blocked(page)
    for index in range(moves):
        page.wait_for_function(idle, timeout=WAIT)
        delays.append(page.evaluate(DRAG, round(0.2 + 0.05 * (index % 12), 2)))
    page.wait_for_function(idle, timeout=WAIT)
    previews = sorted(zip(sent, received, strict=True))[: len(sent) - moves]  # the full ones are larger
    middle, worst = statistics.median(delays), max(delays)
    print(f"slider to pixels   {middle:.0f} ms median of {moves} drags, {worst:.0f} ms at most")
    out, back = (statistics.median(each[way] for each in previews) / 1e3 for way in (0, 1))
    print(f"a movement sends   {out:.0f} kB and receives {back:.0f} kB")
    print(f"blocked in a drag  {blocked(page) / moves:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", type=Path, default=ROOT / "assets/sample.jpg")
    parser.add_argument("--moves", type=int, default=20)
    arguments = parser.parse_args()
    with serving() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        # Playwright waits for expressions by eval, which the page's policy forbids
        page = browser.new_page(viewport={"width": 1280, "height": 800}, bypass_csp=True)
        page.set_default_timeout(WAIT)
        page.add_init_script(WATCH)
        first_load(page, url)
        wall(page, arguments.photo)
        slider(page, arguments.moves)
        browser.close()


if __name__ == "__main__":
    main()
