"""What several test files need. All run on the shipped weights, and on pictures that the tests draw themselves."""

import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stylizer.feedforward import Stylizer
from stylizer.settings import Settings

# More to test with, which is not ours to ship: the masters' pictures, Magenta's weights. Without it these tests skip.
SHARED = Path(os.environ.get("TEST_DATA", "no such folder"))


def pytest_collection_modifyitems(items):
    """What drives a browser is marked so; `make quick` leaves it out, and what is marked slow."""
    for item in items:
        if "playwright" in item.fixturenames:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings(device="cpu")


@pytest.fixture(scope="session")
def stylizer(settings) -> Stylizer:
    return Stylizer(settings=settings)


@pytest.fixture(scope="session")
def app(settings):
    from stylizer.web import create_app

    return create_app(settings)


@pytest.fixture
def client(app):
    return app.server.test_client()


# The page in a real browser; browsing.py has what the tests do there ------------------------------------------------


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    import browsing

    server = browsing.Server(browsing.small_gallery(tmp_path_factory.mktemp("styles")))
    yield server
    server.close()


@pytest.fixture(scope="session")
def playwright():
    import browsing

    with browsing.playwright_api.sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright):
    """For profiles of a test's own."""
    import browsing

    browser = playwright.chromium.launch(executable_path=browsing.CHROMIUM, args=list(browsing.FLAGS))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def desktop(playwright, tmp_path_factory):
    """One profile that tests share, on disk: Chromium keeps scripts compiled there, which is a third of opening the
    page. The page itself stores nothing."""
    import browsing

    profile = playwright.chromium.launch_persistent_context(
        tmp_path_factory.mktemp("profile"),
        executable_path=browsing.CHROMIUM,
        args=list(browsing.FLAGS),
        viewport={"width": 1280, "height": 800},
    )
    yield profile
    profile.close()


@pytest.fixture
def open_page(browser, desktop, server):
    """Opens the page; at the end nothing must have left this machine, and the console be clean."""
    import browsing

    server.paintings.clear()
    server.walls.clear()
    pages, hosts, complaints = [], set(), []

    def hear(message):
        # What a refused painting means is said in words on the page; Chromium's console notes the status by itself.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            complaints.append(message.text)

    def missing(answer) -> bool:
        return answer.status >= 400 and answer.request.method == "GET"

    def open_page(url=server.url, **options):
        page = browser.new_page(**options) if options else desktop.new_page()
        pages.append(page)
        page.set_default_timeout(60_000)
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", hear)
        page.on("response", lambda answer: complaints.append(answer.url) if missing(answer) else None)
        page.goto(url)
        browsing.expect(page.locator("#photo-caption")).to_contain_text("sample", timeout=60_000)
        return page

    yield open_page
    for page in pages:
        page.close()
    while server.under_way:
        time.sleep(0.02)  # a painting that no one waits for is none of the next test's
    assert hosts <= {"127.0.0.1", None}  # None: blob addresses, which are the page's own memory
    assert complaints == []


@pytest.fixture
def page(open_page):
    return open_page()
