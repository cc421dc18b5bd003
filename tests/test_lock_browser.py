"""The lock in a real Chromium: its pages, its cookie, and another site of this machine that tries to use that.

Screenshots go to FSD_SCREENSHOTS if set. Skipped where there is no Chromium.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import pytest

pytest.importorskip("aiohttp")
if reason := browser.why_not():
    pytest.skip(reason, allow_module_level=True)

from playwright.sync_api import expect
from upstream import PATIENCE_S, SECRET_PAGE, Upstream

from fsd.webui.lock.process import ProxyProcess, start_proxy

SECRET = SECRET_PAGE.decode()
OPEN_SOCKET = """url => new Promise(done => {
    const socket = window.socket = new WebSocket(url)
    window.ended = new Promise(gone => { socket.onclose = () => gone("closed") })
    socket.onopen = () => socket.send("hello")
    socket.onmessage = message => done(message.data)
    socket.onerror = () => done("refused")
})"""


@pytest.fixture(scope="module")
def web_ui() -> Iterator[Upstream]:
    served = Upstream()
    yield served
    served.stop()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Upstream]:
    """Another site of this machine: browsers send it, and from it, every cookie of 127.0.0.1."""
    served = Upstream()
    yield served
    served.stop()


@pytest.fixture(scope="module")
def proxy(web_ui: Upstream) -> Iterator[ProxyProcess]:
    running = start_proxy("Test UI")
    yield running
    running.stop()


@pytest.fixture
def lock(proxy: ProxyProcess, web_ui: Upstream) -> str:
    """The lock's address."""
    proxy.set_upstream(web_ui.port)
    web_ui.forget()
    return f"http://127.0.0.1:{proxy.port}"


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    with browser.page_of(chromium, browser.DESK) as opened:
        opened.set_default_timeout(PATIENCE_S * 1000)
        yield opened


@pytest.fixture
def mine(page: Any, lock: str, proxy: ProxyProcess) -> Any:
    """A page that is logged in and shows the web UI."""
    page.goto(lock + proxy.login_path())
    expect(page.locator("body")).to_have_text(SECRET)
    assert page.url == f"{lock}/"
    return page


def socket_of(lock: str) -> str:
    return lock.replace("http", "ws") + "/test/socket"


@pytest.mark.parametrize(
    ("size", "dark", "background"),
    [(browser.DESK, False, "rgb(244, 244, 245)"), (browser.PHONE, True, "rgb(24, 24, 27)")],
    ids=["desk-light", "phone-dark"],
)
def test_the_login_page(
    size: dict[str, int], dark: bool, background: str, chromium: Any, lock: str, proxy: ProxyProcess
) -> None:
    with browser.page_of(chromium, size, dark) as page:
        page.goto(f"{lock}/?view=gallery")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background, "its style is allowed"
        assert browser.overflow_px(page) == 0 and page.asked == []
        assert page.locator("button").bounding_box()["height"] >= 44
        field = page.get_by_label("Login link or password")
        expect(field).to_be_focused()
        if folder := os.environ.get("FSD_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"login-{size['width']}.png")
        field.fill("wrong")
        field.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("That is not right")
        page.get_by_label("Login link or password").fill(lock + proxy.login_path())
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("body")).to_have_text(SECRET)
        assert page.url == f"{lock}/?view=gallery" and page.evaluate("document.cookie") == ""


def test_the_waiting_page_loads_itself_again(mine: Any, lock: str, proxy: ProxyProcess, web_ui: Upstream) -> None:
    proxy.set_upstream(None)
    mine.goto(lock)
    expect(mine.get_by_role("status")).to_contain_text("Test UI is starting")
    proxy.set_upstream(web_ui.port)
    expect(mine.locator("body")).to_have_text(SECRET, timeout=PATIENCE_S * 1000)


def test_logging_out_ends_what_runs(mine: Any, lock: str, web_ui: Upstream) -> None:
    assert mine.evaluate(OPEN_SOCKET, socket_of(lock)) == "hello"
    assert web_ui.seen[-1].target == "/test/socket" and not web_ui.seen[-1].header("Cookie"), "the cookie is the lock's"
    other = mine.context.new_page()
    other.goto(f"{lock}/fsd/logout")
    expect(other.get_by_role("alert")).to_have_text("You are logged out.")
    assert mine.evaluate("window.ended") == "closed" and web_ui.left.wait(PATIENCE_S)
    assert mine.context.cookies() == []
    web_ui.forget()
    mine.reload()
    expect(mine.get_by_label("Login link or password")).to_be_visible()
    assert mine.evaluate(OPEN_SOCKET, socket_of(lock)) == "refused" and web_ui.seen == []


def test_another_site_of_this_machine_gets_nothing(mine: Any, lock: str, web_ui: Upstream, elsewhere: Upstream) -> None:
    other = mine.context.new_page()
    other.goto(f"http://127.0.0.1:{elsewhere.port}/")
    assert "fsd-session" in elsewhere.seen[-1].header("Cookie")[0], "the browser does send the cookie along"
    web_ui.forget()
    for mode in ("cors", "no-cors"):
        for method in ("GET", "POST"):
            asked = other.evaluate(
                "([url, method, mode]) => fetch(url, {method, mode, credentials: 'include'})"
                ".then(answer => answer.type, () => 'refused')",
                [f"{lock}/sdapi/v1/options", method, mode],
            )
            assert asked == ("refused" if mode == "cors" else "opaque"), "nothing can be read"
    assert other.evaluate(OPEN_SOCKET, socket_of(lock)) == "refused"
    other.evaluate(
        "url => new Promise(done => { const frame = document.createElement('iframe');"
        " frame.onload = done; frame.src = url; document.body.append(frame) })",
        f"{lock}/",
    )
    assert SECRET not in other.frames[1].content()
    with other.expect_navigation():
        other.evaluate(
            "url => { const form = document.createElement('form'); form.method = 'post'; form.action = url;"
            " document.body.append(form); form.submit() }",
            f"{lock}/sdapi/v1/options",
        )
    expect(other.locator("body")).to_contain_text("Another site asked for this")
    reached = {seen.target for seen in web_ui.seen} - {"/favicon.ico"}  # the lock's own page asks for its icon
    assert reached == set(), "none of it reached the web UI"
    mine.reload()
    expect(mine.locator("body")).to_have_text(SECRET)


def test_another_site_cannot_log_its_visitor_out(mine: Any, lock: str, elsewhere: Upstream) -> None:
    other = mine.context.new_page()
    other.goto(f"http://127.0.0.1:{elsewhere.port}/")
    with other.expect_navigation():
        other.evaluate("url => { location.href = url }", f"{lock}/fsd/logout")
    expect(other.locator("p")).to_have_text("Log out of this browser?")
    mine.reload()
    expect(mine.locator("body")).to_have_text(SECRET)
    other.get_by_role("button", name="Log out").click()
    expect(other.get_by_role("alert")).to_have_text("You are logged out.")
    mine.reload()
    expect(mine.get_by_label("Login link or password")).to_be_visible()
