"""The lock's decisions: targets, addresses, origins, tries, tokens, sessions, headers. No network, no waiting."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress

import pytest
from web_ui_paths import CLOSED_PATHS, PATHS

from fsd.errors import MachineError
from fsd.webui.lock import address, paths, tries
from fsd.webui.lock.address import Address
from fsd.webui.lock.guard import SESSION_S, TOKEN_S, Guard
from fsd.webui.lock.headers import to_client, to_upstream
from fsd.webui.lock.origin import is_from_elsewhere
from fsd.webui.lock.request import Asked, Refused

PASSWORD, TOKEN = "the-password", "the-token"
LOCAL, PUBLIC = "127.0.0.1:7000", "some-words.trycloudflare.com"
HTTP, HTTPS = Address("http", LOCAL), Address("https", PUBLIC)


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(clock: Clock) -> Guard:
    made = Guard("fsd", sha256(PASSWORD), 7000, clock)
    made.add_token(sha256(TOKEN))
    made.add_public(f"https://{PUBLIC}")
    return made


def asked(target: str = "/", method: str = "GET", host: str = LOCAL, peer: str = "127.0.0.1", **headers: str) -> Asked:
    pairs = [("Host", host), *((name.replace("_", "-"), value) for name, value in headers.items())]
    return Asked(method, target, pairs, peer)


def basic(password: str, user: str = "fsd") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def refused(guard: Guard, request: Asked) -> Refused:
    with pytest.raises(Refused) as caught:
        guard.admit(request)
    return caught.value


# targets


@pytest.mark.parametrize("target", [
    "/../etc/passwd", "/a/../b", "/a/..", "/.", "/a/./b", "/%2e%2e/a", "/%2E./a", "/a/%2e", "/..;/a", "/a/..;x=1/b",
    "/file=../webui.py", "/file=%2e%2e/a", "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/%252e%252e/a", "/a%25%32%66",
    "/a%252fb", "//evil.example/", "///", "http://evil.example/", "https://127.0.0.1/", "*", "", "evil.example:443",
    "/a%00b", "/a%0d%0aX: y", "/a%0a", "/a%7f", "/a b", "/a\tb", "/ä", "/%ff", "/%c0%ae%c0%ae/a", "/%", "/a%2", "/a%zz",
    "/a#b", "/?a#b", "/%ef%bc%8e%ef%bc%8e/a", "/．．/a", "/a?b\x00", "/?a b", "/a\r\nHost: b",
])  # fmt: skip
def test_a_target_that_can_be_read_in_two_ways_is_refused(target: str) -> None:
    with pytest.raises(paths.BadTarget):
        paths.read_path(target)


@pytest.mark.parametrize(("target", "path"), [
    ("/", "/"), ("/a%20b.png?x=%2F..%2F", "/a b.png"), ("/file=/data/x//%C3%BC.png", "/file=/data/x//ü.png"),
    ("/100%25.png", "/100%.png"), ("/a...b/..c/d..", "/a...b/..c/d.."),
    ("/gradio_api/file=/tmp/a.b", "/gradio_api/file=/tmp/a.b"),
    ("/?next=//evil", "/"), ("/a'(b)!*,;:@&=+$~", "/a'(b)!*,;:@&=+$~"),
])  # fmt: skip
def test_ordinary_targets_are_read(target: str, path: str) -> None:
    assert paths.read_path(target) == path


def test_what_is_closed_stays_closed_however_it_is_written() -> None:
    assert [path for path in CLOSED_PATHS if not paths.is_closed(paths.read_path(path.partition("?")[0]))] == []
    for path in ("/", "/internal/ping", "/internal/progress", "/sdapi/v1/txt2img", "/gradio_api/info", "/docs.png"):
        assert not paths.is_closed(path)


@pytest.mark.parametrize("target", [
    "//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "/%2f/evil.example", "javascript:alert(1)",
    "/\t/evil.example", "/a\r\nSet-Cookie: x", "evil", "", "/fsd/login?next=/", "/fsd/logout", "/docs", "/./", "/..//evil",
])  # fmt: skip
def test_logging_in_leads_to_this_host_only(target: str) -> None:
    assert paths.safe_next(target) == "/"


def test_logging_in_leads_to_where_one_wanted_to_go() -> None:
    assert paths.safe_next("/gallery?page=2") == "/gallery?page=2"


# addresses


@pytest.mark.parametrize("host", ["127.0.0.1:7000", "localhost", "LOCALHOST:7000", "[::1]:7000", "10.0.0.7:80"])
def test_this_machine_is_http(host: str) -> None:
    found = address.resolve(host, False, [HTTPS])
    assert found == Address("http", host.lower().removesuffix(":80"))


@pytest.mark.parametrize("host", [
    "evil.example", "127.0.0.1.evil.example", f"{PUBLIC}.evil.example", f"evil-{PUBLIC}", f"{PUBLIC}:8443", "8.8.8.8", "",
    "127.0.0.1@evil", "a b", "localhost/x", "127.1", "0x7f000001", f"{PUBLIC},evil.example", "::1", "localhost.evil",
])  # fmt: skip
def test_a_host_that_is_not_ours_is_none(host: str) -> None:
    assert address.resolve(host, False, [HTTPS]) is None


def test_a_tunnel_that_changes_host_means_the_newest_public_address() -> None:
    older = Address("https", "older.example")
    assert address.resolve("localhost:7000", True, [older, HTTPS]) == HTTPS
    assert address.resolve("older.example", True, [older, HTTPS]) == older
    assert address.resolve(f"{PUBLIC.upper()}:443", False, [HTTPS]) == HTTPS
    assert address.resolve(LOCAL, True, []) == Address("http", LOCAL)


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a.example", "https://", "https://a/b", "https://u:p@a", "https://a?b", "//a", "https://["]
)
def test_a_public_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(MachineError, match="is not the address of a host"):
        address.parse(url)


def test_an_unknown_host_gets_nothing_without_the_password(guard: Guard) -> None:
    assert refused(guard, asked(host="evil.example")).status == 421
    value = guard.log_in(TOKEN, "owner", HTTP)
    assert refused(guard, asked(host="evil.example", Cookie=f"fsd-session-7000={value}")).status == 421
    visitor = guard.admit(asked(host="evil.example", Authorization=basic(PASSWORD)))
    assert visitor.by_password and visitor.address == Address("http", LOCAL)


def test_no_forwarded_host_is_believed(guard: Guard) -> None:
    assert refused(guard, asked(host="evil.example", X_Forwarded_Host=PUBLIC)).status == 421
    assert guard.admit(asked(X_Forwarded_Host="evil.example")).address == HTTPS


def test_older_public_addresses_stay_known(guard: Guard) -> None:
    guard.add_public("https://newer.example")
    assert guard.admit(asked(host=PUBLIC)).address == HTTPS


# origins

OWN = "https://ours.example"


@pytest.mark.parametrize(("method", "headers", "by_cookie"), [
    ("POST", {}, True),
    ("DELETE", {}, True),
    ("GET", {"upgrade": "WebSocket"}, True),
    ("POST", {"origin": "https://evil.example"}, True),
    ("POST", {"origin": "http://ours.example"}, True),
    ("POST", {"origin": "https://ours.example.evil.example"}, True),
    ("POST", {"origin": "https://ours.example:444"}, True),
    ("POST", {"origin": "null"}, True),
    ("GET", {"origin": "https://evil.example"}, True),
    ("GET", {"origin": "null"}, True),
    ("OPTIONS", {"origin": "https://evil.example"}, True),
    ("POST", {"origin": "https://evil.example", "sec-fetch-site": "same-origin"}, True),
    ("POST", {"sec-fetch-site": "same-site"}, True),
    ("POST", {"sec-fetch-site": "none"}, True),
    ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, True),
    ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, True),
    ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, True),
    ("GET", {"upgrade": "websocket", "sec-fetch-site": "cross-site", "sec-fetch-mode": "websocket"}, True),
    ("POST", {"origin": "https://evil.example"}, False),
    ("POST", {"sec-fetch-site": "cross-site"}, False),
])  # fmt: skip
def test_what_another_site_asks_for_is_told_apart(method: str, headers: dict[str, str], by_cookie: bool) -> None:
    assert is_from_elsewhere(method, headers, OWN, by_cookie)


@pytest.mark.parametrize(("method", "headers", "by_cookie"), [
    ("GET", {}, True),
    ("POST", {}, False),
    ("GET", {"upgrade": "websocket"}, False),
    ("POST", {"origin": OWN}, True),
    ("GET", {"upgrade": "websocket", "origin": OWN}, True),
    ("POST", {"origin": OWN, "sec-fetch-site": "same-origin"}, True),
    ("POST", {"origin": "null", "sec-fetch-site": "same-origin"}, True),
    ("GET", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, True),
    ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, True),
    ("GET", {"sec-fetch-site": "same-origin", "sec-fetch-dest": "image"}, True),
])  # fmt: skip
def test_what_our_own_page_or_a_person_asks_for_passes(method: str, headers: dict[str, str], by_cookie: bool) -> None:
    assert not is_from_elsewhere(method, headers, OWN, by_cookie)


# tokens and sessions


def test_a_token_opens_one_session_and_says_so_the_second_time(guard: Guard) -> None:
    value = guard.log_in(TOKEN, "owner", HTTP)
    assert len(base64.urlsafe_b64decode(value + "=")) == 32
    assert not guard.admit(asked(Cookie=f"fsd-session-7000={value}")).is_stranger
    with pytest.raises(Refused, match="has been used"):
        guard.log_in(TOKEN, "owner", HTTP)


def test_a_token_and_a_session_end(guard: Guard, clock: Clock) -> None:
    value = guard.log_in(TOKEN, "owner", HTTP)
    guard.add_token(sha256("another"))
    clock.now += TOKEN_S + 1
    with pytest.raises(Refused, match="has ended"):
        guard.log_in("another", "owner", HTTP)
    cookie = asked(Cookie=f"fsd-session-7000={value}")
    assert not guard.admit(cookie).is_stranger
    clock.now += SESSION_S
    assert guard.admit(cookie).is_stranger


def test_logging_out_ends_the_session_that_did_it_and_no_other(guard: Guard) -> None:
    guard.add_token(sha256("second"))
    first, second = (asked(Cookie=f"fsd-session-7000={guard.log_in(token, 'a', HTTP)}") for token in (TOKEN, "second"))
    session = guard.admit(first).session
    assert session
    guard.log_out(session)
    assert guard.admit(first).is_stranger
    assert not guard.admit(second).is_stranger


def test_cookies_are_as_closed_as_the_address_allows(guard: Guard) -> None:
    over_https = guard.set_cookie(HTTPS, "value")
    assert over_https.startswith("__Host-fsd-session=value; Path=/; ")
    assert {"HttpOnly", "SameSite=Lax", "Secure"} < set(over_https.split("; "))
    assert "Domain" not in over_https
    plain = guard.set_cookie(Address("http", LOCAL), "value")
    assert plain.startswith("fsd-session-7000=value; ") and "Secure" not in plain and "HttpOnly" in plain
    assert "Max-Age=0" in guard.set_cookie(HTTPS, "")


def test_over_https_only_the_cookie_that_no_neighbour_can_plant_counts(guard: Guard) -> None:
    plain, value = guard.log_in(TOKEN, "owner", HTTP), guard.log_in(PASSWORD, "owner", HTTPS)
    assert guard.admit(asked(host=PUBLIC, Cookie=f"fsd-session-7000={value}")).is_stranger
    assert guard.admit(asked(host=PUBLIC, Cookie=f"__Host-fsd-session={plain}")).is_stranger, "it was sent in clear"
    assert not guard.admit(
        asked(host=PUBLIC, Cookie=f"x=1; __Host-fsd-session=wrong; __Host-fsd-session={value}")
    ).is_stranger


@pytest.mark.parametrize("path", PATHS)
def test_without_a_right_cookie_or_password_everybody_is_a_stranger(guard: Guard, path: str) -> None:
    for sent in ({}, {"Cookie": "fsd-session-7000=x; __Host-fsd-session=x"}, {"X-Forwarded-User": "fsd"}):
        with suppress(Refused):
            assert guard.admit(asked(path, **sent)).is_stranger


@pytest.mark.parametrize("value", [
    basic("wrong"), basic(PASSWORD, "other"), basic(""), "Basic", "Basic \xe9", "Basic \udcff",
    "Basic !!!", f"Bearer {PASSWORD}", PASSWORD, "Basic //8=",
    basic(PASSWORD).replace("Basic", "Digest"), basic(PASSWORD) + "x", base64.b64encode(b"fsd:" + PASSWORD.encode()).decode(),
])  # fmt: skip
def test_only_the_very_password_is_right(guard: Guard, value: str) -> None:
    assert guard.admit(asked(Authorization=value)).is_stranger


def test_the_password_is_right_for_programs_without_an_origin(guard: Guard) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert guard.admit(asked("/sdapi/v1/txt2img", method, Authorization=basic(PASSWORD))).by_password
    other = asked("/sdapi/v1/txt2img", "POST", Authorization=basic(PASSWORD), Origin="https://evil.example")
    assert refused(guard, other).status == 403


def test_nothing_secret_is_kept_or_shown(guard: Guard) -> None:
    value = guard.log_in(TOKEN, "owner", HTTP)
    request = asked(f"/?token={TOKEN}", Cookie=f"fsd-session-7000={value}", Authorization=basic(PASSWORD))
    shown = repr(vars(guard)) + repr(request) + repr(guard.admit(request)) + repr(guard.admit(request).session)
    for secret in (TOKEN, PASSWORD, value, basic(PASSWORD)[6:]):
        assert secret not in shown


# wrong tries


def test_wrong_passwords_have_to_wait_longer_and_longer_but_never_for_ever(guard: Guard, clock: Clock) -> None:
    waits = []
    for _ in range(tries.FREE_TRIES):
        assert guard.admit(asked(Authorization=basic("wrong"))).is_stranger
    for _ in range(9):
        refusal = refused(guard, asked(Authorization=basic("wrong")))
        assert refusal.status == 429
        waits.append(refusal.wait_s)
        clock.now += refusal.wait_s
        assert guard.admit(asked(Authorization=basic("wrong"))).is_stranger
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert refused(guard, asked(Authorization=basic("wrong"))).text.endswith("Wait for 60 seconds.")
    assert guard.admit(asked(Authorization=basic(PASSWORD))).by_password, "the right one never waits"
    clock.now += 59
    assert refused(guard, asked(Authorization=basic("wrong"))).text.endswith("Wait for 1 second.")


def test_many_clients_together_are_slowed_as_well(guard: Guard, clock: Clock) -> None:
    looked_at = 0
    for number in range(3000):
        clock.now += 0.01
        with suppress(Refused):
            guard.admit(asked(Authorization=basic("wrong"), X_Forwarded_For=f"spoofed, 10.0.{number}.1"))
            looked_at += 1
    assert looked_at <= tries.ALL_TRIES + 30 * tries.ALL_TRIES_A_SECOND


def test_nobody_can_lock_the_owner_out(guard: Guard) -> None:
    program = asked(Authorization=basic(PASSWORD), peer="10.0.1.1")
    for number in range(500):
        for _ in range(3):
            with pytest.raises(Refused):
                guard.log_in(f"wrong {number}", f"10.0.{number}.1", HTTP)
    assert guard.admit(program).by_password, "a program waits for no stranger, the first time neither"
    assert guard.log_in(PASSWORD, "10.0.1.1", HTTP), "nor does a person at the form"
    value = guard.log_in(TOKEN, "10.0.1.1", HTTP)
    for _ in range(20):
        cookie = asked(peer="10.0.1.1", Cookie=f"fsd-session-7000={value}", Authorization=basic("wrong"))
        assert not guard.admit(cookie).is_stranger, "a cookie is never slowed, whatever else is sent"


def test_a_client_may_be_one_of_any_number() -> None:
    counted = tries.Tries(lambda: 0.0)
    for number in range(tries.MOST_CLIENTS + 100):
        counted.wrong(str(number))
    assert len(vars(counted)["_wrong"]) == tries.MOST_CLIENTS


def test_what_a_client_writes_into_its_own_name_is_not_its_name(guard: Guard) -> None:
    for number in range(tries.FREE_TRIES):
        guard.admit(asked(Authorization=basic("wrong"), X_Forwarded_For=f"spoofed {number}, 203.0.113.9"))
    assert refused(guard, asked(Authorization=basic("wrong"), X_Forwarded_For="other, 203.0.113.9")).status == 429


def test_the_login_form_is_slowed_too(guard: Guard) -> None:
    said = []
    for _ in range(tries.FREE_TRIES + 1):
        with pytest.raises(Refused) as caught:
            guard.log_in("wrong", "somebody", HTTP)
        said.append(caught.value.status)
    assert said == [401] * tries.FREE_TRIES + [429]


def test_sessions_and_tokens_are_bounded(guard: Guard) -> None:
    for number in range(300):
        guard.log_in(PASSWORD, "owner", HTTP)
        guard.add_token(sha256(str(number)))
    assert len(vars(guard)["_sessions"]) == 256
    assert len(vars(guard)["_tokens"]) == 64


# requests as a whole


@pytest.mark.parametrize(("request_", "status"), [
    (asked(method="CONNECT"), 405), (asked(method="TRACE"), 405), (asked(method="PROPFIND"), 405),
    (asked("/a/../b"), 400), (asked("http://127.0.0.1/"), 400), (asked(Transfer_Encoding="gzip, chunked"), 400),
    (asked(Transfer_Encoding="identity"), 400), (asked(HOST=LOCAL), 400), (asked(host="a b"), 421), (Asked("GET", "/", []), 400),
    (asked(Authorization="a", AUTHORIZATION="b"), 400), (asked(Origin="http://a", ORIGIN=f"http://{LOCAL}"), 400),
])  # fmt: skip
def test_a_request_that_contradicts_itself_is_refused(guard: Guard, request_: Asked, status: int) -> None:
    assert refused(guard, request_).status == status


# headers


def test_the_upstream_gets_no_credentials_and_no_claims() -> None:
    given = [
        ("Host", "spoofed"), ("X-Forwarded-Host", "evil.example"), ("x-forwarded-proto", "ftp"), ("X-Forwarded-For", "1.2.3.4"),
        ("Forwarded", "host=evil"), ("X-Original-URL", "/docs"), ("X-Rewrite-URL", "/docs"), ("X_Forwarded_Host", "evil"),
        ("X-HTTP-Method-Override", "DELETE"), ("X-Real-IP", "1.2.3.4"), ("CF-Connecting-IP", "1.2.3.4"), ("Via", "1.1 a"),
        ("X-Gradio-Server", "http://evil"), ("Connection", "keep-alive, X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "5"),
        ("TE", "trailers"), ("Upgrade", "h2c"), ("Proxy-Authorization", "Basic x"), ("Authorization", basic(PASSWORD)),
        ("Cookie", "theirs=1; fsd-session-7000=s; __Host-fsd-session=s"), ("Cookie", "FSD-session-1=s; also=2"),
        ("Accept", "*/*"), ("Range", "bytes=0-1"), ("Content-Length", "5"), ("x-gradio-user", "app"),
    ]  # fmt: skip
    assert to_upstream(given, HTTPS) == [
        ("Accept", "*/*"), ("Range", "bytes=0-1"), ("x-gradio-user", "app"), ("Cookie", "theirs=1; also=2"),
        ("Host", PUBLIC), ("X-Forwarded-Host", PUBLIC), ("X-Forwarded-Proto", "https"),
    ]  # fmt: skip


@pytest.mark.parametrize(("given", "sent"), [
    ("", "private"), ("public, max-age=60", "private, max-age=60"), ("max-age=60, s-maxage=600", "private, max-age=60"),
    ("no-store", "no-store"), ("Private, max-age=1", "Private, max-age=1"), ("no-cache", "private, no-cache"),
    ("public, immutable", "private, immutable"),
])  # fmt: skip
def test_no_cache_that_others_share_keeps_an_answer(given: str, sent: str) -> None:
    headers = [("Cache-Control", given)] if given else []
    assert to_client([*headers, ("CDN-Cache-Control", "public")]) == [("Cache-Control", sent)]
