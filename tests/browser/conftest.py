"""A real Chromium that looks at a real Stoa, and complains about whatever a page complains about."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.stoa import Stack

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; per module, for its event loop must not be there for tests with a database."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser, stack: Stack) -> Iterator[OpenPage]:
    """Open a page of the console in a browser of its own; scripts' errors fail the test."""
    contexts = []
    complaints: list[str] = []

    def open_it(path: str = "/", *, width: int = 1280, locale: str = "en-GB", **more: Any) -> Page:
        size: ViewportSize = {"width": width, "height": 844}
        context = chromium.new_context(viewport=size, locale=locale, **more)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console", lambda said: complaints.append(said.text) if is_complaint(said) else None
        )
        page.goto(stack.console_url + path)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []


def is_complaint(said: Any) -> bool:
    """Errors, but not those of requests: tests ask for wrong forms and stop programs on purpose."""
    return said.type == "error" and "Failed to load resource" not in said.text
