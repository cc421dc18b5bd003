"""Downloads from a server that misbehaves: no real network, no waiting."""

from __future__ import annotations

import errno
import hashlib
import json
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from bad_server import BadServer, FakeClock, Handler, bad_server, file, page, random_cuts, redirect, status

from fsd.errors import DownloadError, FsdError, MachineError
from fsd.runtime import colab, download, partial, proxies, secrets, web
from fsd.runtime.file_names import LONGEST_BYTES, file_name
from fsd.runtime.partial import Partial
from fsd.runtime.retry import Again, persist
from fsd.runtime.web import origin, sendable, shown

CONTENT = random.Random(0).randbytes(50_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TOKEN = "hf_veryprivate0123456789"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BadServer]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    for name in ("HF_TOKEN", "CIVITAI_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with bad_server() as running:
        yield running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fetch(clock: FakeClock, tmp_path: Path) -> Callable[..., Path]:
    return lambda url, **known: download.fetch(url, tmp_path / "models", clock=clock, **known)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# --- as it should be -------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once(
    server: BadServer, fetch: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.on("/models/a%20model.safetensors?download=true", file(CONTENT))
    path = fetch(url, size_bytes=len(CONTENT), sha256=SHA256.upper(), label="a model")
    assert path.name == "a model.safetensors"
    assert path.read_bytes() == CONTENT
    assert fetch(url) == path
    assert len(server.asked) == 1
    assert len(left_in(path.parent)) == 2  # the file, and what is known of it
    shown_to_people = capsys.readouterr().out
    assert "a model" in shown_to_people and "50.0k/50.0k" in shown_to_people and "B/s" in shown_to_people


def test_a_file_that_was_put_there_is_taken_if_it_is_the_right_one(
    server: BadServer, fetch: Callable[..., Path]
) -> None:
    url = server.on("/x", file(CONTENT))
    path = fetch(url, name="mine.bin")
    assert fetch(server.url + "/y", name="mine.bin", sha256=SHA256) == path
    assert fetch(server.url + "/z", name="mine.bin", size_bytes=50_000) == path
    assert len(server.asked) == 1
    path.write_bytes(b"damaged")
    assert fetch(url, name="mine.bin", sha256=SHA256).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_link_without_any_size_is_taken_as_it_comes(server: BadServer, fetch: Callable[..., Path]) -> None:
    assert fetch(server.on("/a.bin", file(CONTENT, length=None, version=""))).read_bytes() == CONTENT


def test_json(server: BadServer, clock: FakeClock) -> None:
    url = server.on("/api", status(503), status(200, b'{"id": 7}'))
    assert download.fetch_json(url, clock=clock) == {"id": 7}
    assert clock.slept == [1.0]
    with pytest.raises(DownloadError, match="does not answer with JSON"):
        download.fetch_json(server.on("/page", page("<html></html>")), clock=clock)


# --- cuts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_cuts_at_random_bytes(server: BadServer, fetch: Callable[..., Path], clock: FakeClock, seed: int) -> None:
    url = server.on("/a.safetensors", file(CONTENT, cut=random_cuts(seed), reset=bool(seed % 2)))
    assert fetch(url, sha256=SHA256).read_bytes() == CONTENT
    for asked, version in zip(server.sent("Range")[1:], server.sent("If-Range")[1:], strict=True):
        assert not asked or version == '"v1"'
    assert len(clock.slept) == len(server.asked) - 1
    assert len(server.asked) == 1 or any(server.sent("Range"))


def test_another_process_goes_on(server: BadServer, fetch: Callable[..., Path], clock: FakeClock) -> None:
    url = server.on("/a.bin", file(CONTENT, cut=lambda due: 20_000), status(404))
    with pytest.raises(DownloadError, match="404"):
        fetch(url)
    server.on("/a.bin", file(CONTENT))
    assert fetch(url).read_bytes() == CONTENT
    assert server.sent("Range")[-1] == "bytes=20000-"


@pytest.mark.parametrize("version", ["", 'W/"weak"'])
def test_what_has_no_version_is_not_mixed_across_processes(
    server: BadServer, fetch: Callable[..., Path], version: str
) -> None:
    url = server.on("/a.bin", file(CONTENT, cut=lambda due: 20_000, version=version), status(404))
    with pytest.raises(DownloadError):
        fetch(url)
    server.on("/a.bin", file(CONTENT, version=version))
    assert fetch(url).read_bytes() == CONTENT
    assert server.sent("Range")[-1] == ""


def test_a_new_version_is_fetched_from_the_start(server: BadServer, fetch: Callable[..., Path]) -> None:
    new = CONTENT[::-1]
    url = server.on("/a.bin", file(CONTENT, cut=lambda due: 20_000), file(new, version='"v2"'))
    assert fetch(url).read_bytes() == new


def test_a_server_that_stops_for_good(server: BadServer, fetch: Callable[..., Path], clock: FakeClock) -> None:
    url = server.on("/a.bin", file(CONTENT, cut=lambda due: 0))
    with pytest.raises(DownloadError, match="could not be fetched: the connection was cut") as caught:
        fetch(url)
    assert clock.slept == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert caught.value.hint == "run it again later"


def test_a_server_that_drips_is_given_up(server: BadServer, fetch: Callable[..., Path], clock: FakeClock) -> None:
    with pytest.raises(DownloadError, match="the connection was cut"):
        fetch(server.on("/a.bin", file(CONTENT, cut=lambda due: 1)))
    assert len(server.asked) == 100


def test_a_server_that_is_not_there(
    fetch: Callable[..., Path], server: BadServer, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DownloadError, match="cannot be reached") as caught:
        fetch("http://127.0.0.1:9/a.bin", label="a model")
    assert len(clock.slept) == 5
    assert "network works" in caught.value.hint
    said = re.findall(r"a model: 127.0.0.1 cannot be reached \(Connection refused\); (.*)", capsys.readouterr().out)
    assert said == [f"try {turn} of 6 in {2 ** (turn - 2)} s" for turn in range(2, 7)]


def test_a_host_that_swallows_all_that_is_sent_to_it_is_given_up_in_time(clock: FakeClock) -> None:
    began = clock.now

    def once() -> bool:
        clock.now += web.TIMEOUT_S
        raise Again("it does not answer in time")

    with pytest.raises(DownloadError, match="does not answer in time"):
        persist(once, lambda: 0, "a model", clock)
    assert clock.now - began < 200


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("foo bar", "what HTTP_PROXY holds is no proxy's address"),
        ("http://me:hunter2@", "what HTTP_PROXY holds is no proxy's address"),
        ("http://host:port", "what HTTP_PROXY holds is no proxy's address"),
        ("socks5://127.0.0.1:9", "HTTP_PROXY names a proxy of the kind socks5"),
        ("127.0.0.1:9", r"cannot be reached \(Connection refused\) through the proxy of HTTP_PROXY"),
    ],
)
def test_a_proxy_that_is_none_or_refuses(
    fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, proxy: str, said: str
) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(DownloadError, match=said) as caught:
        fetch("http://192.0.2.1/a.bin")
    assert "see that HTTP_PROXY is right" in caught.value.hint
    assert "hunter2" not in str(caught.value)


def test_a_proxy_that_wants_a_login(
    fetch: Callable[..., Path], server: BadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    server.on("http://192.0.2.1/", status(407))
    monkeypatch.setenv("HTTP_PROXY", server.url)
    with pytest.raises(DownloadError, match="the proxy wants a login") as caught:
        fetch("http://192.0.2.1/")
    assert "see that HTTP_PROXY is right" in caught.value.hint


def test_a_host_that_no_proxy_stands_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "foo bar")
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert (proxies.variable("https://example.org/a"), proxies.fault("https://example.org/a")) == ("", "")
    assert proxies.variable("https://example.com/a").upper() == "HTTPS_PROXY"


def test_a_slow_start(server: BadServer, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    second = threading.Event()

    def hang(handler: Handler) -> None:
        second.wait(20)

    def answer(handler: Handler) -> None:
        second.set()
        file(CONTENT)(handler)

    monkeypatch.setattr(web, "TIMEOUT_S", 0.2)
    assert fetch(server.on("/a.bin", hang, answer)).read_bytes() == CONTENT


# --- lies ------------------------------------------------------------------------------------------------------------


def test_a_length_that_is_too_large(server: BadServer, fetch: Callable[..., Path]) -> None:
    url = server.on("/a.bin", file(CONTENT, length=999))
    assert fetch(url, sha256=SHA256).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=r"50999 bytes at 127\.0\.0\.1, not 50000"):
        fetch(server.on("/b.bin", file(CONTENT, length=999)), size_bytes=50_000)


def test_a_length_that_is_too_small(server: BadServer, fetch: Callable[..., Path], tmp_path: Path) -> None:
    url = server.on("/a.bin", file(CONTENT, length=-999))
    with pytest.raises(DownloadError, match=r"49001 bytes at 127\.0\.0\.1, not 50000"):
        fetch(url, size_bytes=50_000)
    with pytest.raises(DownloadError, match="SHA-256"):
        fetch(url, sha256=SHA256)
    assert left_in(tmp_path / "models") == []


def test_no_length_and_another_size(server: BadServer, fetch: Callable[..., Path]) -> None:
    with pytest.raises(DownloadError, match="has 50000 bytes, not 50001"):
        fetch(server.on("/a.bin", file(CONTENT, length=None)), size_bytes=50_001)


def test_another_hash(server: BadServer, fetch: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"SHA-256 is {SHA256}, not 00"):
        fetch(server.on("/a.bin", file(CONTENT)), sha256="00" * 32)
    assert left_in(tmp_path / "models") == []


def test_parts_that_do_not_fit_together_are_fetched_anew(server: BadServer, fetch: Callable[..., Path]) -> None:
    url = server.on("/a.bin", file(CONTENT[::-1], cut=lambda due: 20_000), file(CONTENT))
    assert fetch(url, sha256=SHA256).read_bytes() == CONTENT
    assert server.sent("Range") == ["", "bytes=20000-", ""]


@pytest.mark.parametrize("ranges", ["ignored", "wrong", "none"])
def test_ranges_that_do_not_work(server: BadServer, fetch: Callable[..., Path], ranges: str) -> None:
    cut = file(CONTENT, cut=lambda due: 20_000, ranges=ranges)
    assert fetch(server.on("/a.bin", cut, file(CONTENT, ranges=ranges))).read_bytes() == CONTENT
    with pytest.raises(DownloadError):
        fetch(server.on("/b.bin", cut))
    assert len(server.asked) < 20


@pytest.mark.parametrize("said", ["bytes 20000-49999/70000", "bytes 20000-/x", "nonsense", ""])
def test_a_part_of_something_else(server: BadServer, fetch: Callable[..., Path], said: str) -> None:
    wrong = status(206, CONTENT[20_000:], Content_Range=said)
    url = server.on("/a.bin", file(CONTENT, cut=lambda due: 20_000), wrong, file(CONTENT))
    assert fetch(url).read_bytes() == CONTENT


@pytest.mark.parametrize("empty", [file(b""), file(b"", length=None)])
def test_an_empty_file(server: BadServer, fetch: Callable[..., Path], tmp_path: Path, empty: Any) -> None:
    with pytest.raises(DownloadError, match="is empty"):
        fetch(server.on("/a.bin", empty))
    assert left_in(tmp_path / "models") == []


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "says", "to_do"),
    [
        (401, r"wants a token for the model \(401\)", "signed in"),
        (403, r"licence is not accepted.*\(403\)", "open https://example.org/the-model signed in and accept"),
        (404, r"is not, or no longer, at 127.0.0.1 \(404\)", "open https://example.org/the-model in a browser"),
        (410, "no longer", "from elsewhere"),
        (400, "answers with 400", "open https://example.org/the-model"),
    ],
)
def test_a_refusal_says_what_to_do(
    server: BadServer, fetch: Callable[..., Path], clock: FakeClock, code: int, says: str, to_do: str
) -> None:
    with pytest.raises(DownloadError, match=says) as caught:
        fetch(server.on("/a.bin", status(code)), label="the model", page="https://example.org/the-model")
    assert to_do in caught.value.hint
    assert clock.slept == []


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again(
    server: BadServer, fetch: Callable[..., Path], clock: FakeClock, code: int
) -> None:
    assert fetch(server.on("/a.bin", status(code), status(code), file(CONTENT))).read_bytes() == CONTENT
    assert clock.slept == [1.0, 2.0]
    with pytest.raises(DownloadError, match="many requests" if code == 429 else "answers with a"):
        fetch(server.on("/b.bin", status(code)))


def test_retry_after_is_honoured(server: BadServer, fetch: Callable[..., Path], clock: FakeClock) -> None:
    later = formatdate(clock.now + 30 + 120, usegmt=True)
    url = server.on(
        "/a.bin",
        status(429, Retry_After="30"),
        status(503, Retry_After=later),
        status(429, Retry_After="soon"),
        file(CONTENT),
    )
    fetch(url)
    assert clock.slept == [30.0, 120.0, 4.0]
    with pytest.raises(DownloadError, match="too many requests, and asks for 120 minutes"):
        fetch(server.on("/b.bin", status(429, Retry_After="7200")))


# --- pages -----------------------------------------------------------------------------------------------------------

LOGIN = '<!DOCTYPE html><html><head><title>Sign\nin</title></head><form><input type="password" name="p"></form></html>'
NOTICE = "<html><head><title>Quota exceeded</title></head><body>Too many users</body></html>"
CONFIRM = """<!DOCTYPE html><html><head><title>Virus scan warning</title></head><body>
<form action="/search"><input name="q"></form>
<form id="download-form" action="{action}" method="get"><input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="1a_B&amp;c"><input type="hidden" name="confirm" value="t">
<input type="hidden" name="uuid" value="0-1"></form></body></html>"""


def test_a_login_page_is_recognised(server: BadServer, fetch: Callable[..., Path], tmp_path: Path) -> None:
    for url in (server.on("/a.bin", page(LOGIN)), server.on("/b.bin", redirect("/login?next=b"))):
        server.on("/login", page(NOTICE))
        with pytest.raises(DownloadError, match="asks to sign in before it gives the model") as caught:
            fetch(url, label="the model")
        assert "signed in" in caught.value.hint
    assert left_in(tmp_path / "models") == []


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
def test_a_page_instead_of_a_file(server: BadServer, fetch: Callable[..., Path], kind: str) -> None:
    with pytest.raises(DownloadError, match="web page instead of the model: 'Quota exceeded'"):
        fetch(server.on("/a.bin", status(200, NOTICE.encode(), Content_Type=kind)), label="the model")


def test_the_virus_scan_page_is_confirmed(server: BadServer, fetch: Callable[..., Path]) -> None:
    asks = page(CONFIRM.format(action=f"{server.url}/download?export=download"), Set_Cookie="warned=yes; Path=/")
    headers = {"Content-Disposition": "attachment; filename=\"x\"; filename*=UTF-8''my%20model.safetensors"}
    server.on("/download", file(CONTENT, cut=lambda due: 20_000, headers=headers), file(CONTENT, headers=headers))
    path = fetch(server.on("/uc", asks))
    assert (path.name, path.read_bytes()) == ("my model.safetensors", CONTENT)
    confirmed = [(asked, headers) for asked, headers in server.asked if asked.startswith("/download")]
    assert confirmed[0][0] == "/download?export=download&id=1a_B%26c&confirm=t&uuid=0-1"
    assert confirmed[0][1]["Cookie"] == "warned=yes"
    assert confirmed[1][1]["Range"] == "bytes=20000-"


def test_an_older_virus_scan_page(server: BadServer, fetch: Callable[..., Path]) -> None:
    server.on("/uc2", file(CONTENT))
    asks = page('<html><a id="uc-download-link" href="/uc2?confirm=x&amp;id=1">Download anyway</a></html>')
    assert fetch(server.on("/uc", asks), name="a.bin").read_bytes() == CONTENT
    assert server.asked[-1][0] == "/uc2?confirm=x&id=1"


def test_a_page_cannot_lead_elsewhere(server: BadServer, fetch: Callable[..., Path]) -> None:
    with bad_server() as other:
        other.on("/download", file(CONTENT))
        with pytest.raises(DownloadError, match="web page instead"):
            fetch(server.on("/uc", page(CONFIRM.format(action=other.url + "/download"))))
        assert other.asked == []
    with pytest.raises(DownloadError, match="again and again"):
        fetch(server.on("/uc", page(CONFIRM.format(action="/uc"))))


# --- redirects and tokens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_the_token_does_not_follow_to_another_host(server: BadServer, fetch: Callable[..., Path], code: int) -> None:
    with bad_server() as other:
        url = server.on("/a.bin", redirect("/b.bin", code))
        server.on("/b.bin", redirect(other.on("/c.bin?signature=1", file(CONTENT, cut=random_cuts(1))), code))
        assert fetch(url, token=TOKEN, sha256=SHA256).read_bytes() == CONTENT
        assert set(server.sent("Authorization")) == {f"Bearer {TOKEN}"}
        assert set(other.sent("Authorization")) == {""}
        assert len(other.asked) > 1
        assert not any(TOKEN in f"{asked}" for asked in other.asked)


def test_redirects_end(server: BadServer, fetch: Callable[..., Path]) -> None:
    with pytest.raises(DownloadError, match="leads in circles"):
        fetch(server.on("/a", redirect("/a")))
    assert len(server.asked) == 10


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "", "http://user:word@127.0.0.1/x"])
def test_a_redirect_to_nowhere_good(server: BadServer, fetch: Callable[..., Path], to: str) -> None:
    with pytest.raises(DownloadError):
        fetch(server.on("/a", redirect(to)))
    assert len(server.asked) == 1


def test_a_redirect_never_leaves_https() -> None:
    with pytest.raises(DownloadError, match="not safe"):
        web._next("https://example.org/a", "http://example.org/a")
    assert web._next("http://example.org/a", "https://cdn.example.org/ä") == "https://cdn.example.org/%C3%A4"
    assert origin("https://a.org/x") == origin("https://A.org:443/y") != origin("http://a.org/x")


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 200])
def test_no_error_and_no_line_shows_the_token(
    server: BadServer, fetch: Callable[..., Path], capsys: pytest.CaptureFixture[str], tmp_path: Path, code: int
) -> None:
    answer = page(LOGIN.replace("Sign", TOKEN)) if code == 200 else status(code, TOKEN.encode())
    with pytest.raises(DownloadError) as caught:
        fetch(server.on(f"/a.bin?key={TOKEN}", answer), token=TOKEN)
    said = f"{caught.value}{caught.value.to_json()}{caught.value.__cause__!r}{capsys.readouterr()}"
    assert TOKEN not in said
    assert code != 401 or "does not accept the token" in caught.value.message
    assert not any(TOKEN in path.read_text() for path in (tmp_path / "models").glob(".*"))


def test_tokens_go_to_their_own_hosts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    monkeypatch.setenv("CIVITAI_TOKEN", "c1")
    assert secrets.token_for("https://huggingface.co/a/b/resolve/main/x") == TOKEN
    assert secrets.token_for("https://civitai.com/api/download/models/1") == "c1"
    for other in (
        "http://huggingface.co/a", "https://huggingface.co.evil.org/a", "https://evilhuggingface.co/a",
        "https://example.org/huggingface.co", "https://drive.google.com/uc?id=1", "https://huggingface.co@evil.org/",
    ):  # fmt: skip
        assert secrets.token_for(other) == ""


def test_a_token_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\nX-Header: 1")
    with pytest.raises(MachineError, match="HF_TOKEN holds") as caught:
        secrets.token("HF_TOKEN")
    assert TOKEN not in str(caught.value)


def test_a_token_from_colab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert secrets.token("HF_TOKEN") == ""
    assert "environment variable HF_TOKEN" in secrets.how_to_sign_in("https://huggingface.co/a/b")
    monkeypatch.setattr(colab, "in_colab", lambda: True)
    monkeypatch.setattr(colab, "secret", lambda name: TOKEN)
    assert secrets.token("HF_TOKEN") == TOKEN
    assert "secret HF_TOKEN under the key symbol" in secrets.how_to_sign_in("https://huggingface.co/a/b")


@pytest.mark.parametrize(
    "bad", ["", "ftp://x/y", "https://", "https://a:b@example.org/x", "http://x:99999/", "no link"]
)
def test_what_is_no_link(bad: str, fetch: Callable[..., Path]) -> None:
    with pytest.raises(DownloadError) as caught:
        fetch(bad)
    assert caught.value.hint and "a:b" not in str(caught.value)


def test_addresses() -> None:
    assert sendable(" https://bücher.example/mo del/ä%20b?q=ü&r=1#top ") == (
        "https://xn--bcher-kva.example/mo%20del/%C3%A4%20b?q=%C3%BC&r=1"
    )
    assert shown("https://me:secret@example.org/a?token=secret#secret") == "https://example.org/a"


# --- the disk --------------------------------------------------------------------------------------------------------


def test_no_space_is_said_before_anything_is_taken(
    server: BadServer, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = type(shutil.disk_usage(tmp_path))(10**10, 10**10 - 70_000_000, 70_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert fetch(server.on("/a.bin", file(CONTENT)))
    with pytest.raises(MachineError, match=r"no space in .*b\.bin needs 7\.00 GB more, and 70\.0 MB are free"):
        fetch(server.on("/b.bin", file(CONTENT, length=7_000_000_000 - 50_000)))
    assert not [name for name in left_in(tmp_path / "models") if "partial" in name]


def test_a_disk_that_fills_up(
    server: BadServer, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(partial: Partial, block: bytes) -> None:
        partial._stream = FullStream()  # type: ignore[assignment]
        real(partial, block)

    class FullStream:
        def write(self, block: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    real = Partial.write
    monkeypatch.setattr(Partial, "write", full)
    with pytest.raises(MachineError, match="the disk is full"):
        fetch(server.on("/a.bin", file(CONTENT)))
    assert left_in(tmp_path / "models") == []


def test_a_folder_that_cannot_be_written(server: BadServer, clock: FakeClock, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be written"):
        download.fetch(server.on("/a.bin", file(CONTENT)), tmp_path / "file" / "models", clock=clock)


def test_a_full_disk_names_the_variable_that_it_hangs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    hints = [partial._elsewhere(tmp_path / name / "models") for name in ("home", "cache", "other")]
    assert hints == [f", or set {name} to a folder on a disk with room" for name in ("FSD_HOME", "XDG_CACHE_HOME")] + [
        ""
    ]


def test_one_process_at_a_time(server: BadServer, fetch: Callable[..., Path], tmp_path: Path) -> None:
    url = server.on("/a.bin", file(CONTENT))
    with Partial(tmp_path / "models", url), pytest.raises(DownloadError, match="another process downloads"):
        fetch(url)
    assert fetch(url).read_bytes() == CONTENT


def test_a_stopped_download_goes_on(
    server: BadServer, fetch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    url = server.on("/a.bin", file(CONTENT, cut=lambda due: 30_000), file(CONTENT))
    monkeypatch.setattr(clock, "sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch(url)
    assert fetch(url).read_bytes() == CONTENT
    assert server.sent("Range") == ["", "bytes=30000-"]


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="dream shaper.safetensors"', "dream shaper.safetensors"),
        ("attachment; filename=plain.ckpt", "plain.ckpt"),
        ("inline; FileName = plain.ckpt ; size=3", "plain.ckpt"),
        ("attachment; filename=\"a.bin\"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.ckpt", "naïve €.ckpt"),
        ("attachment; filename*=iso-8859-1'en'%A3.bin; filename=\"b.bin\"", "£.bin"),
        ("attachment; filename*=nonsense''x.bin; filename=b.bin", "b.bin"),
        ('attachment; filename="say \\"hi\\".bin"', "say _hi_.bin"),
        ('attachment; filename="a;b.bin"', "a;b.bin"),
        ('attachment; filename="' + "modèle.bin".encode().decode("latin-1") + '"', "modèle.bin"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\models\\\\x.bin"', "x.bin"),
        ("attachment; filename*=UTF-8''..%2F..%2F.bashrc", "bashrc"),
        ('attachment; filename="a\x00b\r\nc.bin"', "a_b__c.bin"),
        ('attachment; filename=".."', "model.safetensors"),
        ("attachment; filename=", "model.safetensors"),
        ("attachment", "model.safetensors"),
        ("", "model.safetensors"),
    ],
)
def test_names(header: str, name: str) -> None:
    assert file_name(header, "https://x.org/download/128713", "https://x.org/a/model.safetensors?x=y.z") == name


def test_names_that_are_too_long_or_missing() -> None:
    long = file_name(f'attachment; filename="{"ü" * 300}.safetensors"')
    assert long.endswith("ü.safetensors") and len(long.encode()) <= LONGEST_BYTES
    assert file_name("", "https://x.org/", "https://x.org/download/12") == "download"


def test_every_error_is_two_lines(server: BadServer, fetch: Callable[..., Path]) -> None:
    for behaviour in (status(401), status(403), status(404), page(LOGIN), page(NOTICE), file(b""), status(500)):
        with pytest.raises(FsdError) as caught:
            fetch(server.on("/a.bin", behaviour))
        assert len(str(caught.value).splitlines()) == 2
        assert json.dumps(caught.value.to_json())
