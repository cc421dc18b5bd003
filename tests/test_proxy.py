"""The lock on the whole chain: a client, the proxy's own process, and a web UI that would serve everything."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
import os
import queue
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web
from lock_client import PAGE, PUBLIC, SOCKET, Answer, Socket, ask, basic, log_in, open_link, own, raw, status_of
from lock_tricks import TRICKS
from upstream import PACKED, PATIENCE_S, SECRET_PAGE, Seen, Upstream
from web_ui_paths import CLOSED_PATHS, PATHS, SOCKET_PATHS

from fsd.errors import MachineError
from fsd.webui.lock import door, patience, process, relay
from fsd.webui.lock.process import ProxyProcess, start_proxy
from fsd.webui.lock.request import Refused

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[ProxyProcess, Upstream]]:
    upstream = Upstream()
    proxy = start_proxy("Test UI")
    proxy.set_public(f"https://{PUBLIC}")
    yield proxy, upstream
    proxy.stop()
    upstream.stop()


@pytest.fixture
def upstream(running: tuple[ProxyProcess, Upstream]) -> Upstream:
    running[1].forget()
    return running[1]


@pytest.fixture
def proxy(running: tuple[ProxyProcess, Upstream], upstream: Upstream) -> ProxyProcess:
    running[0].set_upstream(upstream.port)
    return running[0]


@pytest.fixture
def cookie(proxy: ProxyProcess) -> str:
    return log_in(proxy)


# strangers


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_no_known_path_answers_a_stranger(proxy: ProxyProcess, upstream: Upstream, method: str) -> None:
    found = {}
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE_S)) as connection:
        for path in [*PATHS, *CLOSED_PATHS]:
            connection.request(method, path, b"{}" if method in ("POST", "PUT", "PATCH") else None)
            answer = Answer(connection.getresponse())
            found[path] = answer.status
            assert SECRET_PAGE not in answer.body
            assert answer.status == 400 or method == "HEAD" or json.loads(answer.body) == {"error": "log in first"}
            assert answer.status == 400 or answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert {path for path, status in found.items() if status != 401} == {p for p in PATHS if ".." in p or "%2e" in p}
    assert upstream.seen == []


def test_a_stranger_who_opens_a_page_gets_the_login_page(proxy: ProxyProcess, upstream: Upstream) -> None:
    for path in ("/", "/sdapi/v1/options", "/docs", '/a?"><script>alert(1)</script>'.replace(" ", "")):
        answer = ask(proxy, path, headers=PAGE)
        assert answer.status == 401
        assert "Login link or password" in answer.text
        assert "<script" not in answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert "WWW-Authenticate" not in answer.headers
    assert upstream.seen == []


def test_the_login_page_loads_nothing_and_fits_a_phone(proxy: ProxyProcess) -> None:
    answer = ask(proxy, "/", headers=PAGE)
    assert not re.search(r"https?:|src=|@import|url\(|<script", answer.text)
    assert "width=device-width" in answer.text and "prefers-color-scheme: dark" in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_the_link_page_runs_its_own_script_and_no_other(proxy: ProxyProcess) -> None:
    page = ask(proxy, f"{proxy.login_path()}&next=/%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = page.headers["Content-Security-Policy"]
    assert f"script-src 'sha256-{digest}';" in policy and "frame-ancestors 'none'" in policy
    assert page.headers["X-Frame-Options"] == "DENY" and page.headers["X-Content-Type-Options"] == "nosniff"


def test_what_a_page_asks_for_without_its_cookie_is_answered_with_nothing(
    proxy: ProxyProcess, upstream: Upstream
) -> None:
    answer = ask(proxy, "/manifest.json", headers={"Sec-Fetch-Dest": "manifest", "Sec-Fetch-Site": "same-origin"})
    assert (answer.status, answer.body) == (200, b"{}")
    assert upstream.seen == []


def test_over_https_browsers_are_told_to_stay_there(proxy: ProxyProcess) -> None:
    for headers in (PAGE, {}):
        assert ask(proxy, "/", headers=headers | {"Host": PUBLIC}).headers["Strict-Transport-Security"]
        assert "Strict-Transport-Security" not in ask(proxy, "/", headers=headers).headers


def test_no_answer_names_what_the_lock_is_made_of(proxy: ProxyProcess, cookie: str) -> None:
    broken = raw(proxy, b"GET / HTTP/9.9x\r\n\r\n")
    assert broken.startswith(b"HTTP/1.") and b" 400 " in broken.splitlines()[0]
    assert b"aiohttp" not in broken and b"Python" not in broken
    assert ask(proxy, "/", headers=PAGE).headers["Server"] == "fsd"


def test_a_browsers_script_is_not_told_to_ask_for_a_password(proxy: ProxyProcess) -> None:
    answer = ask(proxy, "/sdapi/v1/options", headers={"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"})
    assert answer.status == 401 and "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize("path", SOCKET_PATHS)
def test_no_websocket_opens_for_a_stranger(proxy: ProxyProcess, upstream: Upstream, path: str) -> None:
    for more in ({}, {"Cookie": "fsd-session-1=x"}, {"Authorization": basic(proxy, "wrong")}):
        answer = ask(proxy, path, headers=SOCKET | more)
        assert answer.status in (401, 429)
    assert upstream.seen == []


# every trick, raw


@pytest.mark.parametrize("request_", TRICKS, ids=range(len(TRICKS)))
def test_no_trick_lets_a_stranger_in(proxy: ProxyProcess, upstream: Upstream, request_: bytes) -> None:
    answer = raw(proxy, request_)
    assert status_of(answer) in (0, 400, 401, 403, 404, 405, 413, 414, 421, 429, 431, 501, 505)
    assert SECRET_PAGE not in answer
    assert upstream.seen == []


def test_a_request_hidden_in_anothers_body_is_a_strangers_too(
    proxy: ProxyProcess, upstream: Upstream, cookie: str
) -> None:
    hidden = "GET /config HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    mine = f"127.0.0.1:{proxy.port}"
    first = f"POST /a HTTP/1.1\r\nHost: {mine}\r\nOrigin: http://{mine}\r\nCookie: {cookie}\r\n"
    for how in (
        f"Content-Length: {len(hidden)}\r\n\r\n{hidden}",
        f"Transfer-Encoding: chunked\r\n\r\n{len(hidden):x}\r\n{hidden}\r\n0\r\n\r\n",
    ):
        upstream.seen.clear()
        assert SECRET_PAGE in raw(proxy, (first + "Connection: close\r\n" + how).encode())
        assert [seen.target for seen in upstream.seen] == ["/a"]
        upstream.seen.clear()
        answer = raw(proxy, (first + "Content-Length: 0\r\n\r\n" + hidden).encode())
        assert [seen.target for seen in upstream.seen] == ["/a"]
        assert b" 401 " in answer


# the owner


def test_a_login_link_works_once_and_leaves_the_address_clean(proxy: ProxyProcess, upstream: Upstream) -> None:
    link = proxy.login_path()
    for looks in ({}, PAGE, {"Sec-Purpose": "prefetch;prerender"}, {"User-Agent": "a messenger's preview"}):
        page = ask(proxy, link, headers=looks)
        assert page.status == 200 and "Set-Cookie" not in page.headers, "a look does not use it up"
        assert f'name="token" value="{link.partition("=")[2]}"' in page.text
    assert ask(proxy, link, "HEAD").status == 200
    answer = open_link(proxy, link)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert answer.headers["Referrer-Policy"] == "no-referrer" and answer.headers["Cache-Control"] == "no-store"
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert ask(proxy, "/", headers={"Cookie": cookie}).body == SECRET_PAGE
    again = open_link(proxy, link, **PAGE)
    assert again.status == 401 and "has been used" in again.text and "Set-Cookie" not in again.headers
    assert ask(proxy, link, headers={"Cookie": cookie}).status == 303, "its owner is not scared by it"
    assert proxy.login_path() != proxy.login_path()


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "/%5cevil", "/%09/evil", "javascript:x"]
)
def test_logging_in_never_leads_elsewhere(proxy: ProxyProcess, target: str) -> None:
    assert open_link(proxy, f"{proxy.login_path()}&next={target}").headers["Location"] == "/"


def test_the_login_page_takes_a_link_or_the_password(proxy: ProxyProcess) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://127.0.0.1:{proxy.port}"}
    link = f"https%3A%2F%2F{PUBLIC}{proxy.login_path().replace('?', '%3F').replace('=', '%3D')}"
    for secret in (link, proxy.login_path().partition("=")[2], proxy.password):
        answer = ask(proxy, "/fsd/login", "POST", f"secret={secret}&next=/gallery", form)
        assert (answer.status, answer.headers["Location"]) == (303, "/gallery")
    assert ask(proxy, "/fsd/login", "POST", "secret=wrong", form | PAGE).status == 401
    assert "Set-Cookie" not in ask(proxy, f"/fsd/login?token={proxy.password}").headers, "a password is no link"
    assert ask(proxy, "/fsd/login", "POST", "secret=x&a=" + "a" * 20_000, form).status == 413
    other = form | {"Origin": "https://evil.example"}
    assert ask(proxy, "/fsd/login", "POST", f"secret={proxy.password}", other).status == 403


def test_logging_out_revokes_the_cookie_and_ends_what_runs(
    proxy: ProxyProcess, upstream: Upstream, cookie: str
) -> None:
    mine = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/test/events", headers=mine)
        events = connection.getresponse()
        assert "Log out of this browser?" in ask(proxy, "/fsd/logout", headers={"Cookie": cookie}).text
        assert ask(proxy, "/fsd/logout", "POST", headers={"Cookie": cookie}).status == 403, (
            "another site could send that"
        )
        answer = ask(proxy, "/fsd/logout", headers=mine | PAGE)
        assert "You are logged out" in answer.text and "Max-Age=0" in answer.headers["Set-Cookie"]
        with pytest.raises(http.client.IncompleteRead):
            events.read()
    assert upstream.left.wait(PATIENCE_S)
    assert ask(proxy, "/", headers=mine).status == 401


def test_closed_paths_are_closed_to_the_owner(proxy: ProxyProcess, upstream: Upstream, cookie: str) -> None:
    assert {path: ask(proxy, path, headers={"Cookie": cookie}).status for path in CLOSED_PATHS} == dict.fromkeys(
        CLOSED_PATHS, 404
    )
    assert upstream.seen == []
    assert ask(proxy, "/internal/ping", headers={"Cookie": cookie}).status == 200


@pytest.mark.parametrize("headers", [
    {}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": f"https://{PUBLIC}"},
])  # fmt: skip
def test_another_site_cannot_use_the_owners_cookie(
    proxy: ProxyProcess, upstream: Upstream, cookie: str, headers: dict[str, str]
) -> None:
    assert ask(proxy, "/sdapi/v1/txt2img", "POST", b"{}", {"Cookie": cookie, **headers}).status == 403
    assert ask(proxy, "/ws", headers=SOCKET | {"Cookie": cookie} | headers).status == 403
    assert upstream.seen == []


def test_programs_come_in_with_the_password(proxy: ProxyProcess, upstream: Upstream) -> None:
    answer = ask(proxy, "/sdapi/v1/txt2img", "POST", b"{}", {"Authorization": basic(proxy)})
    assert answer.body == SECRET_PAGE and "Set-Cookie" not in answer.headers
    assert upstream.seen[0].header("Authorization") == []


def test_wrong_passwords_are_slowed_down(proxy: ProxyProcess, upstream: Upstream) -> None:
    stranger = {"X-Forwarded-For": "203.0.113.9", "Authorization": basic(proxy, "wrong")}
    answers = [ask(proxy, "/", headers=stranger) for _ in range(8)]
    assert [answer.status for answer in answers] == [401] * 5 + [429] * 3
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert ask(proxy, "/", headers={"Cookie": log_in(proxy)}).status == 200
    assert ask(proxy, "/", headers={"Authorization": basic(proxy)}).status == 200


def test_what_is_no_password_at_all_is_a_strangers(proxy: ProxyProcess) -> None:
    lines = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\nConnection: close\r\n".encode()
    assert status_of(raw(proxy, lines + b"Authorization: Basic \xc3\xa9\xff\r\n\r\n")) in (401, 429)


# what the web UI gets and gives


def last(upstream: Upstream) -> Seen:
    return upstream.seen[-1]


def test_the_web_ui_sees_the_address_that_the_browser_uses(
    proxy: ProxyProcess, upstream: Upstream, cookie: str
) -> None:
    spoofed = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "ftp",
        "Forwarded": "host=evil",
        "X-Original-URL": "/docs",
    }
    secure = log_in(proxy, Host=PUBLIC)
    assert secure.startswith("__Host-")
    for host, sent, seen, scheme in (
        (f"127.0.0.1:{proxy.port}", cookie, f"127.0.0.1:{proxy.port}", "http"),
        (f"localhost:{proxy.port}", cookie, f"localhost:{proxy.port}", "http"),
        (PUBLIC, secure, PUBLIC, "https"),
    ):
        ask(proxy, "/a%20b?c=%2F&d=[e]", headers={"Host": host, "Cookie": f"theirs=1; {sent}"})
        assert last(upstream).target == "/a%20b?c=%2F&d=[e]"
        assert last(upstream).header("Host") == last(upstream).header("X-Forwarded-Host") == [seen]
        assert last(upstream).header("X-Forwarded-Proto") == [scheme]
        assert last(upstream).header("Cookie") == ["theirs=1"]
    upstream.seen.clear()
    tunnelled = {"Host": f"localhost:{proxy.port}", "Cookie": secure}
    assert ask(proxy, "/", headers=tunnelled | spoofed).status == 200
    assert last(upstream).header("Host") == last(upstream).header("X-Forwarded-Host") == [PUBLIC]
    assert "evil" not in str(last(upstream)) and "/docs" not in str(last(upstream))


def test_redirects_cookies_and_packed_bodies_are_the_browsers_business(
    proxy: ProxyProcess, upstream: Upstream, cookie: str
) -> None:
    answer = ask(proxy, "/test/redirect", headers={"Cookie": cookie})
    assert (answer.status, answer.headers["Location"]) == (302, "/config")
    assert [seen.target for seen in upstream.seen] == ["/test/redirect"]
    ask(proxy, "/", headers={"Cookie": cookie})
    assert last(upstream).header("Cookie") == [], "what the web UI set is for that browser to keep"
    answer = ask(proxy, "/test/gzip", headers={"Cookie": cookie, "Accept-Encoding": "gzip"})
    assert (answer.headers["Content-Encoding"], answer.body) == ("gzip", PACKED)


def test_answers_stay_out_of_shared_caches_and_of_other_sites(proxy: ProxyProcess, cookie: str) -> None:
    headers = ask(proxy, "/test/headers", headers={"Cookie": cookie}).headers
    assert headers.get_all("Set-Cookie") == ["theirs=1", "also=2"]
    assert headers["Cache-Control"] == "private, max-age=60" and headers["ETag"] == '"kept"'
    for name in ("CDN-Cache-Control", "X-Hop", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"):
        assert name not in headers


def test_bodies_pass_whole_both_ways(proxy: ProxyProcess, cookie: str) -> None:
    headers = own(proxy, cookie)
    big = ask(proxy, "/test/big?bytes=10000128", headers=headers)
    assert big.headers["Content-Length"] == "10000128" and big.body == bytes(range(256)) * 39063
    head = ask(proxy, "/test/big?bytes=1024", "HEAD", headers=headers)
    assert (head.status, head.headers["Content-Length"], head.body) == (200, "1024", b"")
    assert json.loads(ask(proxy, "/test/upload", "POST", bytes(5_000_000), headers).body) == {"bytes": 5_000_000}
    chunks = (b"x" * 100_000 for _ in range(20))
    assert json.loads(ask(proxy, "/test/upload", "POST", chunks, headers).body) == {"bytes": 2_000_000}
    assert json.loads(ask(proxy, "/test/upload", "POST", b"", headers).body) == {"bytes": 0}
    too_large = headers | {"Content-Length": str(5 * 2**30)}
    assert ask(proxy, "/test/upload", "POST", None, too_large).status == 413


def test_a_large_answer_waits_for_a_slow_reader_and_breaks_off_when_its_source_does(
    proxy: ProxyProcess, upstream: Upstream, cookie: str
) -> None:
    size = 64 * 2**20
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", f"/test/big?bytes={size}", headers={"Cookie": cookie})
        answer = connection.getresponse()
        assert answer.read(256) == bytes(range(256))
        status = Path(f"/proc/{proxy._child.pid}/status")
        if status.exists():
            peak_kb = int(re.search(r"VmRSS:\s+(\d+)", status.read_text())[1])  # type: ignore[index]
            assert peak_kb < 150_000, "what the reader has not taken is not held"
        assert answer.read() == bytes(range(256)) * (size // 256 - 1)
        connection.request("GET", "/", headers={"Cookie": cookie})
        assert connection.getresponse().read() == SECRET_PAGE
        connection.request("GET", f"/test/broken?bytes={size}", headers={"Cookie": cookie})
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            connection.getresponse().read()
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", f"/test/big?bytes={size}", headers={"Cookie": cookie})
        connection.getresponse().read(256)
    assert ask(proxy, "/", headers={"Cookie": cookie}).body == SECRET_PAGE


def test_logging_out_ends_a_large_answer_too(proxy: ProxyProcess, cookie: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", f"/test/big?bytes={64 * 2**20}", headers={"Cookie": cookie})
        answer = connection.getresponse()
        assert answer.read(256) == bytes(range(256))
        ask(proxy, "/fsd/logout", "POST", headers=own(proxy, cookie))
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()


def test_an_answer_that_only_names_a_size_ends_at_once(proxy: ProxyProcess, cookie: str) -> None:
    head = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10000000\r\n\r\n"
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        proxy.set_upstream(server.getsockname()[1])
        answering = threading.Thread(target=_answer_once, args=(server, head), daemon=True)
        answering.start()
        answer = ask(proxy, "/file.png", headers={"Cookie": cookie, "If-None-Match": '"it"'})
        answering.join(PATIENCE_S)
    assert (answer.status, answer.body) == (304, b"")


def _answer_once(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with closing(connection):
        connection.recv(65536)
        connection.sendall(answer)


def test_a_body_is_only_asked_for_once_its_sender_is_known(proxy: ProxyProcess, cookie: str) -> None:
    lines = (
        f"POST /test/upload HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
    )
    mine = f"Origin: http://127.0.0.1:{proxy.port}\r\nCookie: {cookie}\r\nConnection: close\r\n"
    for more, first in ((mine, b"HTTP/1.1 100 Continue\r\n"), ("Connection: close\r\n", b"HTTP/1.1 401 ")):
        with closing(socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_S)) as connection:
            connection.sendall(f"{lines}{more}\r\n".encode())
            answer = connection.makefile("rb")
            assert answer.read(len(first)) == first
            if b"100" in first:
                connection.sendall(b"abcd")
                assert b'{"bytes": 4}' in answer.read()


def test_events_come_one_by_one_and_end_when_the_browser_goes(
    proxy: ProxyProcess, upstream: Upstream, cookie: str
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE_S)
    connection.request("GET", "/test/events", headers={"Cookie": cookie})
    events = connection.getresponse()
    for number in range(3):
        upstream.go_on.release()
        assert (events.readline(), events.readline()) == (f"data: {number}\n".encode(), b"\n")
    events.close()
    connection.close()
    assert upstream.left.wait(PATIENCE_S)


def test_an_upload_that_its_sender_gives_up_ends_for_the_web_ui(
    proxy: ProxyProcess, upstream: Upstream, cookie: str
) -> None:
    lines = {"Host": f"127.0.0.1:{proxy.port}", "Content-Length": "100000"} | own(proxy, cookie)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with closing(socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_S)) as connection:
        connection.sendall(f"POST /test/upload HTTP/1.1\r\n{head}\r\nonly a part".encode())
        assert upstream.arrived.wait(PATIENCE_S)
    assert upstream.left.wait(PATIENCE_S)


def test_an_answer_that_breaks_off_is_not_taken_for_whole(proxy: ProxyProcess, cookie: str) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(proxy, "/test/broken", headers={"Cookie": cookie})


# websockets


def test_websockets_pass_texts_bytes_and_close_codes(proxy: ProxyProcess, upstream: Upstream, cookie: str) -> None:
    with closing(Socket(proxy, cookie, **{"Sec-WebSocket-Protocol": "other, chat"})) as opened:
        assert opened.head.startswith("HTTP/1.1 101 ") and "sec-websocket-protocol: chat" in opened.head.lower()
        opened.send(1, "grüße".encode())
        assert opened.receive() == (1, "grüße".encode())
        opened.send(2, bytes(3_000_000))
        assert opened.receive() == (2, bytes(3_000_000))
        opened.send(9, b"ping")
        assert opened.receive() == (10, b"ping")
        opened.send(1, b"close 4321 enough")
        assert opened.receive() == (8, struct.pack("!H", 4321) + b"enough")
    assert last(upstream).header("Origin") == [f"http://127.0.0.1:{proxy.port}"]
    assert cookie not in str(last(upstream))


def test_a_websocket_that_the_browser_closes_closes_for_the_web_ui(
    proxy: ProxyProcess, upstream: Upstream, cookie: str
) -> None:
    with closing(Socket(proxy, cookie)) as opened:
        opened.send(8, struct.pack("!H", 4000) + b"bye")
        assert opened.receive()[0] == 8
    assert upstream.left.wait(PATIENCE_S)
    assert upstream.closed_with == 4000
    upstream.left.clear()
    Socket(proxy, cookie).close()
    assert upstream.left.wait(PATIENCE_S), "going without a word closes it too"


def test_a_websocket_that_the_web_ui_refuses_is_refused(proxy: ProxyProcess, cookie: str) -> None:
    headers = own(proxy, cookie)
    assert ask(proxy, "/no/socket/here", headers=SOCKET | headers).status >= 400


# the web UI comes and goes


def test_people_wait_on_a_page_and_programs_get_503_while_there_is_no_web_ui(
    proxy: ProxyProcess, upstream: Upstream, cookie: str
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        dead_port = taken.getsockname()[1]
    for port, text in ((None, "is starting"), (dead_port, "does not answer")):
        proxy.set_upstream(port)
        page = ask(proxy, "/", headers=PAGE | {"Cookie": cookie})
        assert page.status == 503 and text in page.text and 'http-equiv="refresh"' in page.text
        api = ask(proxy, "/sdapi/v1/options", headers={"Authorization": basic(proxy)})
        assert api.status == 503 and text in json.loads(api.body)["error"] and api.headers["Retry-After"]
        headers = own(proxy, cookie)
        assert ask(proxy, "/ws", headers=SOCKET | headers).status == 503
        assert ask(proxy, "/", headers=PAGE).status == 401
    proxy.set_upstream(upstream.port)
    assert ask(proxy, "/", headers={"Cookie": cookie}).body == SECRET_PAGE


# the process


def test_secrets_are_nowhere_to_be_seen(
    proxy: ProxyProcess, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_not_for_the_proxy")
    other = start_proxy("Other")
    link = other.login_path()
    other.set_upstream(upstream.port)
    cookie = log_in(other)
    raw(other, b"GET /\x00" + other.password.encode() + b" HTTP/1.1\r\n\r\n")
    for headers in ({"Cookie": cookie}, {"Authorization": basic(other)}, {"Authorization": "Basic " + "x" * 9000}):
        ask(other, "/", headers=headers)
    process = Path(f"/proc/{other._child.pid}")
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes() if process.exists() else b""
    other.stop()
    shown += repr((other, vars(other)["_tail"], upstream.seen)).encode()
    assert list(other._tail) == [], "it wrote nothing"
    for secret in (link.partition("=")[2], other.password, basic(other)[6:], cookie.partition("=")[2], "hf_not_for"):
        assert secret.encode() not in shown


def test_a_port_that_is_taken_is_said(proxy: ProxyProcess) -> None:
    with pytest.raises(MachineError, match=f"port {proxy.port} of this machine cannot be used"):
        start_proxy("Second", proxy.port)


def test_it_stops_once_and_says_so_when_it_is_gone(proxy: ProxyProcess) -> None:
    other = start_proxy("Other")
    with pytest.raises(MachineError, match="is not the address"):
        other.set_public("https://a.example/path")
    other._child.kill()
    with pytest.raises(MachineError, match="the proxy has ended"):
        other.login_path()
    other.stop()
    assert not other.is_running and "stopped" in repr(other)


def test_it_says_when_it_was_lost_and_not_when_it_was_stopped() -> None:
    told: queue.Queue[MachineError] = queue.Queue()
    for end in (ProxyProcess.stop, lambda proxy: proxy._child.kill()):
        other = start_proxy("Other", lost=told.put)
        end(other)
    assert "the proxy has ended (exit code -9)" in told.get(timeout=PATIENCE_S).message
    assert told.empty()


def test_one_that_stands_still_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    other = start_proxy("Other")
    try:
        monkeypatch.setattr(process, "_ANSWER_S", 0.05)
        other._child.send_signal(signal.SIGSTOP)
        with pytest.raises(MachineError, match="does not answer within"):
            other._ask({"nonsense": 1})
        monkeypatch.setattr(process, "_ANSWER_S", PATIENCE_S)
        other._child.send_signal(signal.SIGCONT)
        other.set_upstream(None)  # the late answer, an error, is not this one's
        assert other.is_running and open_link(other, other.login_path()).status == 303
    finally:
        other.stop()


def test_it_runs_no_file_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secrets.py").write_text("raise SystemExit('it was run')")
    monkeypatch.chdir(tmp_path)
    other = start_proxy("Other")
    assert other.is_running
    other.stop()


def test_it_listens_on_one_address_alone(proxy: ProxyProcess) -> None:
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", proxy.port), 5)


def test_it_may_hold_as_many_connections_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] - 1, before[1]))
    try:
        other = start_proxy("Other")
        found = resource.prlimit(other._child.pid, resource.RLIMIT_NOFILE)
        other.stop()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found == (before[1], before[1])


def test_who_asks_for_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "HEAD_S", 0.2)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.Response(text="late, but asked for in time")

    async def go() -> tuple[bytes, bytes]:
        runner = web.ServerRunner(patience.PatientServer(answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found = []
        for sent in (b"GET / HTTP/1.1\r\nHost: a", b"GET / HTTP/1.0\r\n\r\n"):
            reader, writer = await asyncio.open_connection(*runner.addresses[0])
            writer.write(sent)
            found.append(await asyncio.wait_for(reader.read(), PATIENCE_S))
            writer.close()
        await runner.cleanup()
        return found[0], found[1]

    half, whole = asyncio.run(go())
    assert half == b"" and whole.endswith(b"late, but asked for in time")


def test_a_body_without_a_length_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "LARGEST_UPLOAD_BYTES", 10)

    async def go() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(bytes(20))
        reader.feed_eof()
        content = SimpleNamespace(readany=lambda: reader.read(5))
        body = relay._Body(SimpleNamespace(content=content, content_length=None))  # type: ignore[arg-type]
        with pytest.raises(ValueError):  # noqa: PT011
            async for _ in body.chunks():
                pass
        assert body.is_too_large

    asyncio.run(go())


def test_a_form_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_FORM_S", 0.05)

    async def go() -> None:
        reader = asyncio.StreamReader()
        content = SimpleNamespace(readany=lambda: reader.read(5))
        with pytest.raises(Refused, match="did not come"):
            await asyncio.wait_for(door._form(SimpleNamespace(content=content)), PATIENCE_S)  # type: ignore[arg-type]

    asyncio.run(go())


PARENT = """
import sys, os, signal
from fsd.webui.lock.process import start_proxy
proxy = start_proxy("Orphan")
print(proxy.port, proxy._child.pid, flush=True)
if sys.argv[1] == "fork" and os.fork() == 0:  # a child of its own keeps the pipe to the proxy open
    print("forked", flush=True)
    signal.pause()
signal.pause()
"""


@pytest.mark.parametrize("how", ["plain", "fork"])
def test_it_dies_with_its_parent_however_that_dies(how: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, how], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    assert parent.stdout is not None
    port, pid = map(int, parent.stdout.readline().split())
    if how == "fork":
        parent.stdout.readline()
    ended = threading.Event()
    watched = os.pidfd_open(pid)
    threading.Thread(target=_wait_for, args=(watched, ended), daemon=True).start()
    parent.kill()
    parent.wait()
    assert ended.wait(PATIENCE_S)
    os.close(watched)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 5)
    if how == "fork":
        os.killpg(parent.pid, 9)
    parent.stdout.close()


def _wait_for(process: int, ended: threading.Event) -> None:
    select.select([process], [], [], PATIENCE_S)
    ended.set()
