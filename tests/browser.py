"""A real Chromium for tests and for the README's picture: found, opened, pointed at a studio.

python tests/browser.py docs/studio.png [ROOT [MODEL [PROMPT]]] draws the README's picture with a model of yours.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).parent
sys.path[:0] = [] if str(HERE.parent) in sys.path else [str(HERE.parent)]

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAIT_MS = 90_000
_LOCAL = ("127.0.0.1", "localhost", "")


def why_not() -> str:
    """Why no browser can be opened here, "" if one can: Playwright and a Chromium are needed."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return "Playwright is not installed: pip install playwright"
    if chromium():
        return ""
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    return "" if own.exists() else "there is no Chromium: install one, or name it in FSD_CHROMIUM"


def chromium() -> str | None:
    """The Chromium named by FSD_CHROMIUM, else one on the PATH, None for Playwright's own."""
    return os.environ.get("FSD_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=_FLAGS)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def page_of(opened: Any, size: dict[str, int], dark: bool = False) -> Iterator[Any]:
    """A page with cookies of its own. `page.asked` lists what it asked of anybody but this machine."""
    context = opened.new_context(viewport=size, color_scheme="dark" if dark else "light", reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url) if is_outside(request.url) else None)
    try:
        yield page
    finally:
        context.close()


def is_outside(url: str) -> bool:
    """Whether an address leads away from this machine."""
    return urlsplit(url).scheme not in ("data", "blob") and (urlsplit(url).hostname or "") not in _LOCAL


def wait_for_form(page: Any) -> None:
    """Return once the studio's form is there and filled."""
    page.locator("#generate").wait_for()
    page.wait_for_function(
        "document.querySelector('#size input')?.value && document.querySelector('#model input')?.value"
    )


def generate(page: Any, prompt: str, **numbers: float) -> None:
    """Fill the form, press Generate and wait for the pictures. numbers: by the fields' names, such as steps=4."""
    before = page.locator("#made-facts").inner_text()
    page.locator("#prompt textarea").fill(prompt)
    for name, value in numbers.items():
        field = page.locator(f"#{name} input[type=number]")
        field.fill(str(value))
        field.press("Tab")
    page.locator("#generate").click()
    page.wait_for_function(
        "before => { const facts = document.querySelector('#made-facts')?.innerText;"
        " return facts && facts !== before && !document.querySelector('#generate').disabled }",
        arg=before,
    )
    page.wait_for_function(
        "[...document.querySelectorAll('#pictures img')].filter(one => one.offsetParent)"
        ".every(one => one.complete && one.naturalWidth)"
    )


def overflow_px(page: Any) -> int:
    """By how much the page is wider than its window: 0 where nobody has to scroll sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def draw_studio(destination: Path, root: Path, model: str, prompt: str) -> Path:
    """A PNG of the studio on a desk, with four pictures of a model, launched as users launch it."""
    from fsd.webui.launch import launch_webui

    with (
        launch_webui(model, tunnel="none", ui="studio", root=str(root)) as studio,
        browser() as opened,
        page_of(opened, DESK) as page,
    ):
        page.goto(studio.login_link)
        wait_for_form(page)
        generate(page, prompt, images=4, seed=0)
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        page.screenshot(path=destination, animations="disabled")
    return destination


def main() -> None:
    destination, *rest = sys.argv[1:]
    root, model, prompt = [*rest, *("", "tiny", "a photo of a butterfly")[len(rest) :]]
    with tempfile.TemporaryDirectory() as folder:
        draw_studio(Path(destination), Path(root or folder), model, prompt)


if __name__ == "__main__":
    main()
