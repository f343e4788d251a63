"""A real browser with a real cloud and a real receiver."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.desk import Desk, desk, receiver
from tests.support.ports import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: make test installs it")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """The browser of a file's tests; each test has a separate context.

    Playwright has an event loop on this thread while it runs, and other tests in this process need their own.
    """
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium: install chromium, or google-chrome")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def receiver_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a receiver."""
    with receiver(tmp_path_factory.mktemp("receiver")) as url:
        yield url


@pytest.fixture(scope="session")
def dead_url() -> str:
    """A URL where nothing listens."""
    return f"http://127.0.0.1:{free_port()}/"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A cloud that the tests of a file share."""
    with desk(tmp_path_factory.mktemp("cloud")) as started:
        yield started


@pytest.fixture(scope="module")
def modules(browser: "Browser", cloud: Desk) -> Iterator["Page"]:
    """The page, opened once, for tests of functions that do not change it."""
    page = browser.new_page()
    page.goto(cloud.url)
    yield page
    page.close()


@pytest.fixture
def page(browser: "Browser", cloud: Desk) -> Iterator["Page"]:
    """A newly opened page; it must not log, throw, or load anything from other hosts."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(10_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "warning" else None)
    page.on("request", lambda request: None if request.url.startswith(cloud.url) else wrong.append(request.url))
    page.goto(cloud.url)
    # The first frame names the state.
    sync_api.expect(page).not_to_have_title("DT Cloud")
    yield page
    context.close()
    assert wrong == []
