"""Debian's Chromium, driven by Playwright: which one, how it is started, and in which guises a page is looked at."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
"""A sandbox needs rights that a container rarely has, and all that is opened here is ours."""


@dataclass(frozen=True)
class Guise:
    """A screen: its width in pixels, and whether its user likes it dark."""

    width: int
    scheme: str

    @property
    def name(self) -> str:
        return f"{self.width}-{self.scheme}"


GUISES = tuple(Guise(width, scheme) for width in (400, 1280) for scheme in ("light", "dark"))


def program() -> str | None:
    """The browser's path, None where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser for several tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=list(ARGUMENTS), timeout=60_000)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def opened(browser: Browser, guise: Guise, *, javascript: bool = False) -> Iterator[Page]:
    """An empty tab; without JavaScript, unless a test has to look inside."""
    context = browser.new_context(
        viewport={"width": guise.width, "height": 900},
        color_scheme=guise.scheme,  # type: ignore[arg-type]
        java_script_enabled=javascript,
    )
    try:
        page = context.new_page()
        page.set_default_timeout(90_000)
        yield page
    finally:
        context.close()
