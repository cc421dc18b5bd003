"""A real Gradio app behind the lock: its page, its queue's stream, an upload and a download, by both addresses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lock_client import PUBLIC, ask, log_in

from fsd.webui.lock.process import ProxyProcess, start_proxy

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def proxy() -> Iterator[ProxyProcess]:
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"}
    app = subprocess.Popen(
        [sys.executable, HERE / "gradio_app.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert app.stdin and app.stdout
    started = start_proxy("Gradio")
    try:
        started.set_public(f"https://{PUBLIC}")
        started.set_upstream(int(next(line for line in app.stdout if line.strip().isdigit())))
        yield started
    finally:
        started.stop()
        app.stdin.close()
        app.kill()
        app.wait()
        app.stdout.close()


@pytest.fixture(params=["http", "https"])
def browser(proxy: ProxyProcess, request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """An origin and what a browser that is logged in there sends."""
    host = PUBLIC if request.param == "https" else f"127.0.0.1:{proxy.port}"
    origin = f"{request.param}://{host}"
    return origin, {"Host": host, "Cookie": log_in(proxy, Host=host), "Origin": origin, "Sec-Fetch-Site": "same-origin"}


def run(proxy: ProxyProcess, headers: dict[str, str], function: str, value: object) -> list[str]:
    """The lines of the stream of events that one call gives."""
    body = json.dumps({"data": [value]})
    called = ask(proxy, f"/gradio_api/call/{function}", "POST", body, headers | {"Content-Type": "application/json"})
    return ask(proxy, f"/gradio_api/call/{function}/{json.loads(called.body)['event_id']}", headers=headers).text.split(
        "\n"
    )


def test_its_page_is_built_for_the_address_that_the_browser_uses(
    proxy: ProxyProcess, browser: tuple[str, dict[str, str]]
) -> None:
    origin, headers = browser
    assert json.loads(ask(proxy, "/config", headers=headers).body)["root"] == origin
    page = ask(proxy, "/", headers=headers | {"Accept": "text/html"})
    assert page.status == 200 and "window.gradio_config" in page.text and f'"root":"{origin}"' in page.text
    assert "127.0.0.1" not in page.text or origin.startswith("http:")


def test_its_queue_streams_and_files_go_both_ways(proxy: ProxyProcess, browser: tuple[str, dict[str, str]]) -> None:
    origin, headers = browser
    assert [line for line in run(proxy, headers, "count", "a") if line.startswith("data: ")] == [
        'data: ["a 0"]', 'data: ["a 1"]', 'data: ["a 2"]', 'data: ["a 2"]',
    ]  # fmt: skip
    content = os.urandom(300_000)
    edge = "----edge"
    form = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="a.bin"\r\n\r\n'.encode() + content
    kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
    sent = ask(proxy, "/gradio_api/upload", "POST", form + f"\r\n--{edge}--\r\n".encode(), headers | kind)
    (path,) = json.loads(sent.body)
    lines = run(proxy, headers, "twice", {"path": path, "meta": {"_type": "gradio.FileData"}})
    (made,) = json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))
    assert made["url"].startswith(f"{origin}/gradio_api/file=")
    assert ask(proxy, made["url"].removeprefix(origin), headers=headers).body == content * 2
