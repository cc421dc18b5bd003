"""Tunnels against stand-ins of their programs and services; nothing leaves this machine."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from notebook_runner import ROOT, STAND_IN
from tunnel_stand_ins.stage import Checks, Lock, Stage, Urls, alive, block_the_network, serving, wait_until

from fsd.errors import DownloadError, FsdError, MachineError
from fsd.runtime import colab
from fsd.webui import tunnels
from fsd.webui.tunnels import cloudflared, gradio_share, localtunnel, programs
from fsd.webui.tunnels.pace import Pace
from fsd.webui.tunnels.tunnel import Passing
from fsd.webui.tunnels.watch import Watch

PACE = Pace(check_s=20.0, steps=(0.01,), every_s=0.02, strikes=2, first=(0.01, 0.01), again=(0.01,) * 5)
TOKEN = "eyJhIjoiMSIsInQiOiIyIiwicyI6IjMifQ0123456789"
Open = Callable[..., Watch]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing leaves this machine, no program of this machine's owner is found, no secret of theirs is seen."""
    block_the_network(monkeypatch)
    (tmp_path / "bin").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(programs, "programs_folder", lambda: tmp_path / "software")
    monkeypatch.setattr(programs, "machine", lambda: "toaster-sparc")
    for name in ("NGROK_AUTHTOKEN", "NGROK_DOMAIN", cloudflared.TOKEN, cloudflared.HOSTNAME):
        monkeypatch.delenv(name, raising=False)
    yield
    assert list((tmp_path / "tmp").glob("fsd-tunnel-*")) == []


@pytest.fixture
def stage(tmp_path: Path) -> Callable[..., Stage]:
    return lambda name, script="replay.py": Stage(tmp_path / name, tmp_path / "bin", name, script)


@pytest.fixture
def lock() -> Iterator[Lock]:
    with serving(lambda path: (401, b"log in first")) as port:
        yield Lock(port)


@pytest.fixture
def check(lock: Lock) -> Checks:
    return Checks(lock.port)


@pytest.fixture
def urls() -> Urls:
    return Urls()


@pytest.fixture
def opened(lock: Lock, check: Checks, urls: Urls) -> Iterator[Open]:
    """A watch with this test's lock; what it opens is closed."""
    with contextlib.ExitStack() as stack:

        def open_it(wanted: str | list[str], pace: Pace = PACE) -> Watch:
            watch = tunnels.start_watch(wanted, lock, check, urls, pace)
            watch.wait_open()
            stack.callback(watch.close)
            return watch

        yield open_it


def one_line(fault: pytest.ExceptionInfo[FsdError]) -> str:
    """The error as it is shown; what failed and what to do stand in a line each."""
    assert fault.value.hint and "\n" not in fault.value.message and "\n" not in fault.value.hint
    return f"{fault.value.message}; {fault.value.hint}"


def test_a_fork_that_holds_the_pipe_keeps_no_tunnel_open(stage: Any, opened: Open, tmp_path: Path) -> None:
    program = stage("cloudflared")
    program.plays("cloudflared_ok.log")
    watch = opened("cloudflared")
    keeper = int(Path(f"/proc/{program.launch(1)['pid']}/stat").read_text().rpartition(")")[2].split()[1])
    held = os.open(f"/proc/{keeper}/fd/0", os.O_WRONLY)
    try:
        watch.close()
        assert program.ended()
    finally:
        os.close(held)


# --- cloudflared -----------------------------------------------------------------------------------------------------


def test_a_quick_tunnel_opens_is_shown_once_it_answers_and_leaves_nothing(
    stage: Any, opened: Open, lock: Lock, check: Checks, urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = stage("cloudflared")
    program.plays("cloudflared_ok.log")
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    check.fails = lambda url, count: count < 3  # the name is not known everywhere yet
    watch = opened("cloudflared")
    address = "https://four-random-words-1.trycloudflare.com"
    assert (watch.url, watch.kind, urls.next(), lock.public) == (address, "cloudflared", address, [address])
    assert check.asked[:3] == [address] * 3
    given = program.launch(1)
    assert given["arguments"][-2:] == ["--url", f"http://127.0.0.1:{lock.port}"]
    assert given["files"][given["arguments"][2]] == ["no-autoupdate: true\n", 0o600]
    assert "HF_TOKEN" not in given["environment"]
    assert given["environment"]["HOME"] != os.environ["HOME"]
    watch.close()
    assert program.ended() and watch.url == ""


@pytest.mark.parametrize(
    ("play", "said", "launches"),
    [
        ("cloudflared_429.log", r"(?s)429, error 1015.*wait for a quarter of an hour", 1),
        ("cloudflared_1101.log", r"(?s)fault of their own \(1101.*try again", 3),
        ("cloudflared_api.log", r"(?s)cannot be reached.*api\.trycloudflare\.com pass", 3),
        ("cloudflared_no_url.log", r"no address after.*last line: .*Requesting new quick Tunnel", 1),
        ("hang.log", r"no address after .*without a word", 1),
        ("garbage.log", r"ended with exit code 3.*last line: .*\*\*\*", 3),
    ],
)
def test_a_quick_tunnel_that_fails_is_one_clear_line(
    stage: Any, opened: Open, urls: Urls, monkeypatch: pytest.MonkeyPatch, play: str, said: str, launches: int
) -> None:
    monkeypatch.setattr(cloudflared, "URL_S", {"hang.log": 0.3, "cloudflared_no_url.log": 2.5}.get(play, 20.0))
    program = stage("cloudflared")
    program.plays(play)
    with pytest.raises(MachineError, match=said) as fault:
        opened("cloudflared", Pace(first=(0.01, 0.01) if launches == 3 or "429" in play else ()))
    assert all(letter >= " " for letter in one_line(fault)) and "hf_" not in str(fault.value)
    assert len(str(fault.value)) < 700
    assert (program.launches, program.ended(), urls.left) == (launches, True, 0)


def test_a_fault_that_passes_is_tried_again(stage: Any, opened: Open) -> None:
    stage("cloudflared").plays("cloudflared_1101.log", "cloudflared_ok.log")
    assert opened("cloudflared").url == "https://four-random-words-2.trycloudflare.com"


def test_without_udp_it_goes_by_http2_and_stays_so(stage: Any, opened: Open, urls: Urls) -> None:
    program = stage("cloudflared")
    program.plays("cloudflared_no_quic.log", "cloudflared_ok.log")
    opened("cloudflared")
    assert urls.next() == "https://four-random-words-2.trycloudflare.com"
    assert program.launch(2)["arguments"][-2:] == ["--protocol", "http2"]
    program.die(2)
    assert urls.next() == "https://four-random-words-3.trycloudflare.com"
    assert program.launch(3)["arguments"][-2:] == ["--protocol", "http2"]


def test_an_address_that_never_answers_is_not_shown(stage: Any, opened: Open, check: Checks, urls: Urls) -> None:
    program = stage("cloudflared")
    program.plays("cloudflared_ok.log")
    check.fails = lambda url, count: True
    with pytest.raises(MachineError, match=r"did not answer within 0 seconds: OSError: Name or service not known"):
        opened("cloudflared", Pace(check_s=0.05, steps=(0.01,), first=()))
    assert (program.ended(), urls.left, check.asked[0]) == (True, 0, "https://four-random-words-1.trycloudflare.com")


# --- a named Cloudflare tunnel ---------------------------------------------------------------------------------------


def test_a_named_tunnel_hides_its_token(
    stage: Any, opened: Open, lock: Lock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(cloudflared.TOKEN, TOKEN)
    program = stage("cloudflared")
    program.plays("cloudflared_named.log")
    program.values(token=TOKEN, service=f"http://localhost:{lock.port}")
    watch = opened("cloudflared-named:ui.example.com")
    assert watch.url == "https://ui.example.com"
    given = program.launch(1)
    file = given["arguments"][given["arguments"].index("--token-file") + 1]
    assert given["files"][file] == [TOKEN, 0o600] and not Path(file).exists()
    assert TOKEN not in json.dumps([given["arguments"], given["environment"], given["parent"]])
    program.die(1)
    program.launch(2)
    watch.close()
    assert TOKEN not in capsys.readouterr().out + repr(watch) + repr(vars(watch))


@pytest.mark.parametrize("service", ["http://localhost:1", "ssh://localhost:22", "https://localhost:{port}"])
def test_a_named_tunnel_past_the_lock_is_closed_at_once(
    stage: Any, opened: Open, lock: Lock, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    monkeypatch.setenv(cloudflared.TOKEN, TOKEN)
    program = stage("cloudflared")
    program.plays("cloudflared_named.log")
    program.values(token=TOKEN, service=service.format(port=lock.port))
    with pytest.raises(MachineError, match=rf"past fsd's lock at port {lock.port}.*\n.*http://localhost:{lock.port}"):
        opened("cloudflared-named")
    assert program.ended() and lock.public == []


def test_a_named_tunnel_says_what_is_missing(stage: Any, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    program = stage("cloudflared")
    with pytest.raises(MachineError, match=f"needs {cloudflared.TOKEN}") as fault:
        opened("cloudflared-named")
    assert f"set the environment variable {cloudflared.TOKEN}" in one_line(fault)
    monkeypatch.setenv(cloudflared.TOKEN, TOKEN)
    program.plays("cloudflared_bad_token.log")
    with pytest.raises(MachineError, match=f"does not accept {cloudflared.TOKEN}") as fault:
        opened("cloudflared-named")
    assert TOKEN not in one_line(fault) and program.launches == 1


# --- Gradio share ----------------------------------------------------------------------------------------------------

RELAY = [{"host": "127.0.0.1", "port": 7000, "root_ca": "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----"}]


@contextlib.contextmanager
def relay(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes) -> Iterator[None]:
    with serving(lambda path: (status, body)) as port:
        monkeypatch.setattr(gradio_share, "API", f"http://127.0.0.1:{port}/v3/tunnel-request")
        yield


def test_a_share_link_opens_by_the_relay_that_gradio_names(
    stage: Any, opened: Open, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = stage("frpc")
    program.plays("frpc_ok.log")
    with relay(monkeypatch, 200, json.dumps(RELAY).encode()):
        watch = opened("gradio")
    assert watch.url == "https://0a1b2c3d4e5f6a7b1.gradio.live"
    given = program.launch(1)["arguments"]
    assert (
        given[given.index("-l") + 1] == str(lock.port) and given[given.index("--server_addr") + 1] == "127.0.0.1:7000"
    )
    assert program.launch(1)["files"][given[-1]] == [RELAY[0]["root_ca"], 0o600]


@pytest.mark.parametrize(
    ("status", "body", "play", "said"),
    [
        (504, b"", "", r"fault of its own \(504\)"),
        (200, b"[]", "", "something else than a relay"),
        (200, b"<html>\xff", "", "something else than a relay"),
        (200, json.dumps(RELAY).encode(), "frpc_refused.log", "relay does not take this machine"),
        (200, json.dumps(RELAY).encode(), "garbage.log", "ended with exit code 3"),
        (200, json.dumps(RELAY).encode(), "hang.log", "no address after"),
    ],
)
def test_a_share_link_that_fails_is_one_clear_line(
    stage: Any, opened: Open, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, play: str, said: str
) -> None:
    monkeypatch.setattr(gradio_share, "URL_S", 0.3 if play == "hang.log" else 20.0)
    program = stage("frpc")
    program.plays(play or "frpc_ok.log")
    with relay(monkeypatch, status, body), pytest.raises(Passing, match=said) as fault:
        opened("gradio", Pace(first=()))
    one_line(fault)
    assert program.launches == bool(play) and program.ended()


# --- localtunnel -----------------------------------------------------------------------------------------------------


def test_localtunnel_opens_and_says_what_its_page_asks_for(
    stage: Any, opened: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    stage("lt").plays("lt_ok.log")
    assert opened("localtunnel").url == "https://brave-cats-1.loca.lt"
    said = capsys.readouterr().out
    assert "public IP address of this machine" in said and "curl https://loca.lt/mytunnelpassword" in said


@pytest.mark.parametrize(
    ("play", "said"),
    [
        ("lt_refused.log", "relay is down"),
        ("hang.log", r"no address in .* \(it is down: 503"),
        ("garbage.log", "code 3"),
    ],
)
def test_localtunnel_that_fails_is_one_clear_line(
    stage: Any, opened: Open, monkeypatch: pytest.MonkeyPatch, play: str, said: str
) -> None:
    monkeypatch.setattr(localtunnel, "URL_S", 0.3 if play == "hang.log" else 20.0)
    program = stage("lt")
    program.plays(play)
    with pytest.raises(Passing, match=said) as fault:
        opened("localtunnel", Pace(first=()))
    one_line(fault)
    assert program.ended()


def test_localtunnel_is_fetched_once_with_hashes(stage: Any, opened: Open, tmp_path: Path) -> None:
    node, npm = stage("node"), tmp_path / "bin/npm"
    node.plays("lt_ok.log")
    npm.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/npm\nmkdir -p node_modules/localtunnel/bin\n')
    npm.chmod(0o755)
    for _ in range(2):
        opened("localtunnel").close()
    assert (tmp_path / "npm").read_text().splitlines() == ["ci --ignore-scripts --no-audit --no-fund"]
    folder = tmp_path / "software/localtunnel-2.0.2"
    assert node.launch(1)["arguments"][0] == str(folder / "node_modules/localtunnel/bin/lt.js")
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert all(entry["integrity"].startswith("sha512-") for name, entry in packages.items() if name)
    npm.write_text("#!/bin/sh\necho 'npm error code EINTEGRITY' >&2\nexit 1\n")
    (folder / "done").unlink()
    with pytest.raises(MachineError, match="npm could not fetch localtunnel: npm error code EINTEGRITY"):
        opened("localtunnel", Pace(first=()))


def test_localtunnel_without_node_says_so(opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(MachineError, match=r"needs Node\.js"):
        opened("localtunnel")


# --- ngrok, by pyngrok -----------------------------------------------------------------------------------------------


def test_ngrok_is_driven_by_pyngrok_without_showing_its_token(
    stage: Any,
    opened: Open,
    lock: Lock,
    urls: Urls,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NGROK_AUTHTOKEN", TOKEN)
    monkeypatch.setenv("NGROK_DOMAIN", "mine.ngrok-free.dev")
    program = stage("ngrok", "ngrok_agent.py")
    program.plays("ok")
    watch = opened("ngrok")
    assert watch.url == urls.next() == "https://mine.ngrok-free.dev"
    asked = json.loads((program.folder / "asked-1.json").read_text())
    assert (asked["addr"], asked["inspect"]) == (f"http://127.0.0.1:{lock.port}", False)
    given = program.launch(1)
    (config,) = given["files"].values()
    assert json.loads(config[0])["authtoken"] == TOKEN and config[1] == 0o600
    assert TOKEN not in json.dumps([given["arguments"], given["environment"]])
    program.die(1)
    assert urls.next() == "https://mine.ngrok-free.dev" and program.launches == 2
    watch.close()
    assert program.ended()
    said = capsys.readouterr().out
    assert TOKEN not in said and "1 GB and 20,000 requests a month" in said and "warning page" in said


@pytest.mark.parametrize(
    ("play", "said", "passes"),
    [
        ("ERR_NGROK_105", r"does not accept NGROK_AUTHTOKEN \(ERR_NGROK_105\).*\n.*your-authtoken", False),
        ("ERR_NGROK_108", r"no more agents at once.*\n.*dashboard\.ngrok\.com/agents", True),
        ("api:ERR_NGROK_334", r"already online.*\n.*dashboard\.ngrok\.com/endpoints", True),
        ("api:ERR_NGROK_727", r"20,000 a month on the free plan.*\n.*billing", False),
        ("garbage", "ngrok's agent has ended", True),
        ("hang", "ngrok's agent has ended", True),
    ],
)
def test_ngrok_that_fails_is_one_clear_line(
    stage: Any, opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str], play: str, said: str, passes: bool,
) -> None:  # fmt: skip
    monkeypatch.setenv("NGROK_AUTHTOKEN", TOKEN)
    monkeypatch.setattr("fsd.webui.tunnels.ngrok.START_S", 1 if play == "hang" else 20)
    program = stage("ngrok", "ngrok_agent.py")
    program.plays(play)
    with pytest.raises(MachineError, match=said) as fault:
        opened("ngrok", Pace(first=()))
    assert isinstance(fault.value, Passing) == passes
    one_line(fault)
    assert TOKEN not in f"{fault.value}{caplog.text}{capfd.readouterr()}"
    assert program.ended()


def test_ngrok_without_a_token_says_where_to_get_one(stage: Any, opened: Open) -> None:
    stage("ngrok", "ngrok_agent.py")
    with pytest.raises(MachineError, match=r"ngrok needs NGROK_AUTHTOKEN\n.*dashboard\.ngrok\.com"):
        opened("ngrok")


def test_ngrok_ends_with_its_parent(stage: Any, lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGROK_AUTHTOKEN", TOKEN)
    program = stage("ngrok", "ngrok_agent.py")
    program.plays("ok")
    code = (
        "import os, signal, threading; from fsd.webui.tunnels import ngrok\n"
        f"ngrok.ngrok({lock.port}, '')(threading.Event()); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    wait_until(program.ended)
    for left in Path(tempfile.gettempdir()).glob("fsd-tunnel-*"):
        assert stat.S_IMODE(left.stat().st_mode) == 0o700
        subprocess.run(["rm", "-r", str(left)], check=True)


# --- Colab's proxy, none ---------------------------------------------------------------------------------------------


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in, importable as `google.colab`."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "google"}
    for name in before:
        del sys.modules[name]
    monkeypatch.syspath_prepend(STAND_IN)
    import google.colab

    yield google.colab
    for name in [name for name in sys.modules if name.partition(".")[0] == "google"]:
        del sys.modules[name]
    sys.modules.update(before)


def test_colab_shows_a_port_to_its_user(google: Any, opened: Open, lock: Lock, check: Checks, urls: Urls) -> None:
    watch = opened("auto")
    assert (watch.kind, watch.url) == ("colab", f"https://{lock.port}-stand-in.prod.colab.dev")
    assert lock.public == [watch.url] and check.asked[0] == check.here  # from here nobody is signed in


@pytest.mark.parametrize("reply", [None, "", 7, TypeError("'NoneType' object is not subscriptable")])
def test_colab_without_its_page_is_one_clear_error(google: Any, reply: object) -> None:
    google.output._message.replies["eval_js"] = reply
    with pytest.raises(MachineError, match=r"Colab gives no address for port 7860.*\n.*cell of the open notebook"):
        colab.proxied_url(7860)


def test_colab_is_asked_on_the_main_thread_alone(google: Any) -> None:
    google.output._message.replies["eval_js"] = AssertionError("asked")
    caught: list[Exception] = []

    def ask() -> None:
        try:
            colab.proxied_url(7860)
        except MachineError as fault:
            caught.append(fault)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert "only a cell" in str(caught[0])


def test_elsewhere_auto_leaves_everything_on_this_machine(
    opened: Open, lock: Lock, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = opened("auto")
    assert (watch.kind, watch.url, lock.public) == ("none", f"http://127.0.0.1:{lock.port}", [])
    assert "on this machine only" in capsys.readouterr().out
    with pytest.raises(MachineError, match="only Colab shows a port"):
        opened("colab")


# --- which, and onto what --------------------------------------------------------------------------------------------


def test_auto_on_colab_goes_on_to_the_next(
    google: Any, stage: Any, opened: Open, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    google.output._message.replies["eval_js"] = None
    stage("cloudflared").plays("cloudflared_429.log")
    stage("frpc").plays("frpc_ok.log")
    with relay(monkeypatch, 200, json.dumps(RELAY).encode()):
        assert opened("auto").kind == "gradio"
    assert "Cloudflare's quick tunnel: Cloudflare gives out no more" in capsys.readouterr().out


def test_all_that_fail_are_named(stage: Any, opened: Open) -> None:
    stage("cloudflared").plays("cloudflared_429.log")
    stage("lt").plays("lt_refused.log")
    with pytest.raises(MachineError, match=r"no tunnel could be opened .*429.*; localtunnel: .*relay is down"):
        opened(["cloudflared", "localtunnel"])
    with pytest.raises(MachineError, match=r"there is no tunnel 'teleport'\n.*choose: auto, colab"):
        opened("teleport")
    with pytest.raises(MachineError, match="no tunnel is named"):
        opened([])


def test_no_tunnel_opens_but_onto_the_lock(stage: Any, check: Checks, urls: Urls) -> None:
    program = stage("cloudflared")
    program.plays("cloudflared_ok.log")
    with pytest.raises(MachineError, match="not onto a bare port"):
        tunnels.start_watch("cloudflared", 7860, check, urls)  # type: ignore[arg-type]
    with (
        serving(lambda path: (401 if path == "/" else 404, b"")) as port,
        pytest.raises(MachineError, match="lets strangers in"),
    ):
        tunnels.start_watch("cloudflared", Lock(port), check, urls)
    assert program.launches == 0


def test_the_real_lock_is_one(check: Checks, urls: Urls, tmp_path: Path) -> None:
    from fsd.webui.lock.process import start_proxy

    proxy = start_proxy("a test")
    try:
        tunnels.need_lock(proxy)
    finally:
        proxy.stop()


def test_the_guard_of_these_tests_works() -> None:
    with socket.socket() as outwards, pytest.raises(AssertionError, match="was tried"):
        outwards.connect(("192.0.2.1", 443))
    with pytest.raises(AssertionError, match="asked for"):
        socket.create_connection(("api.trycloudflare.com", 443))


# --- watched ---------------------------------------------------------------------------------------------------------


def test_a_tunnel_that_dies_is_opened_again_at_a_new_address(
    stage: Any, opened: Open, lock: Lock, urls: Urls, capsys: pytest.CaptureFixture[str]
) -> None:
    program = stage("cloudflared")
    program.plays("cloudflared_ok.log", "cloudflared_429.log", "cloudflared_ok.log")
    watch = opened(["cloudflared"], Pace(every_s=60, again=(0.01, 0.01)))
    first = urls.next()
    program.die(1)
    second = urls.next()
    assert (first, second) == tuple(f"https://four-random-words-{number}.trycloudflare.com" for number in (1, 3))
    assert watch.url == second and lock.public == [first, second]
    assert "is gone: cloudflared: it ended with exit code 1" in capsys.readouterr().out


def test_another_kind_takes_over(stage: Any, opened: Open, urls: Urls) -> None:
    program, other = stage("cloudflared"), stage("lt")
    program.plays("cloudflared_ok.log", "cloudflared_429.log")
    other.plays("lt_ok.log")
    watch = opened(["cloudflared", "localtunnel"])
    urls.next()
    program.die(1)
    assert urls.next() == "https://brave-cats-1.loca.lt" and watch.kind == "localtunnel"


def test_a_tunnel_that_leads_nowhere_is_replaced(stage: Any, opened: Open, check: Checks, urls: Urls) -> None:
    program = stage("cloudflared")
    program.plays("cloudflared_ok.log")
    check.fails = lambda url, count: "words-1." in url and count > 1
    opened("cloudflared")
    assert (urls.next(), urls.next()) == tuple(f"https://four-random-words-{n}.trycloudflare.com" for n in (1, 2))
    assert not alive(program.launch(1)["pid"])


def test_a_lock_that_is_busy_for_a_moment_keeps_its_link(stage: Any, opened: Open, check: Checks, urls: Urls) -> None:
    program = stage("cloudflared")
    program.plays("cloudflared_ok.log")
    # every second look fails at both ends, those between at none
    check.fails = lambda url, count: count % 2 == 0 if url != check.here else True
    watch = opened("cloudflared")
    wait_until(lambda: check.asked.count(check.here) > 3 * PACE.strikes)
    assert program.launches == 1 and watch.url == urls.next() and watch.fault is None


def test_a_tunnel_onto_a_lock_that_is_gone_is_closed_for_good(
    stage: Any, opened: Open, check: Checks, capsys: pytest.CaptureFixture[str]
) -> None:
    program = stage("cloudflared")
    program.plays("cloudflared_ok.log")
    check.fails = lambda url, count: len(check.asked) > 1
    watch = opened("cloudflared")
    wait_until(lambda: watch.fault)
    assert "the lock does not answer any more" in str(watch.fault) and watch.url == ""
    wait_until(program.ended)
    assert program.launches == 1 and check.asked.count(check.here) == 2
    wait_until(lambda: "closed for good" in capsys.readouterr().out)


def test_a_tunnel_that_cannot_be_opened_again_is_given_up(
    stage: Any, opened: Open, urls: Urls, capsys: pytest.CaptureFixture[str]
) -> None:
    program = stage("cloudflared")
    program.plays("cloudflared_ok.log", "cloudflared_429.log")
    watch = opened("cloudflared")
    urls.next()
    program.die(1)
    wait_until(lambda: watch.fault)
    assert "429" in str(watch.fault) and watch.url == "" and program.launches == 2 + len(PACE.again)
    wait_until(lambda: "runs on without" in capsys.readouterr().out)


def test_closing_does_not_wait_for_what_never_comes(stage: Any, lock: Lock, check: Checks, urls: Urls) -> None:
    program = stage("cloudflared")
    program.plays("hang.log")
    opener = tunnels.TUNNELS["cloudflared"].prepare(lock.port, "")
    watch = Watch([tunnels.Choice(tunnels.TUNNELS["cloudflared"], opener)], lock, check, urls, PACE)
    program.launch(1)
    watch.close()
    assert program.ended() and program.launches == 1 and urls.left == 0


# --- the programs ----------------------------------------------------------------------------------------------------


def test_a_program_is_fetched_checked_and_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"#!/bin/sh\necho right\n"
    builds = {"toaster-sparc": programs.Build("", hashlib.sha256(content).hexdigest())}
    with serving(lambda path: (200, content)) as port:
        builds["toaster-sparc"] = programs.Build(f"http://127.0.0.1:{port}/it", builds["toaster-sparc"].sha256)
        program = programs.Program("tunneller", "1.0", "https://example.com", builds)
        path = programs.find(program)
        assert subprocess.check_output([path]) == b"right\n"
        path.write_bytes(content.replace(b"right", b"wrong"))
        assert subprocess.check_output([programs.find(program)]) == b"right\n"


def test_a_program_that_is_not_what_it_should_be_is_never_there(tmp_path: Path) -> None:
    with serving(lambda path: (200, b"something else")) as port:
        build = programs.Build(f"http://127.0.0.1:{port}/it", "0" * 64)
        with pytest.raises(DownloadError, match="is not what it should be"):
            programs.find(programs.Program("tunneller", "1.0", "https://example.com", {"toaster-sparc": build}))
    assert not list((tmp_path / "software").rglob("tunneller"))


@pytest.mark.parametrize("builds", [{}, {"toaster-sparc": programs.Build("http://127.0.0.1:9/it", "")}])
def test_a_program_without_a_known_sum_is_never_fetched(builds: dict[str, programs.Build]) -> None:
    program = programs.Program("tunneller", "1.0", "https://example.com", builds)
    with pytest.raises(MachineError, match=r"no tunneller here.*toaster-sparc\n.*install it \(https://example\.com\)"):
        programs.need(program)
    with pytest.raises(MachineError):
        programs.find(program)


def test_every_pin_is_whole() -> None:
    for program in (programs.CLOUDFLARED, programs.FRPC, programs.NGROK):
        for build in program.builds.values():
            assert build.url.startswith("https://") and program.version in build.url
            assert len(bytes.fromhex(build.sha256)) == 32
        assert {"linux-amd64", "linux-arm64"} <= set(program.builds)


def test_frpc_is_pinned_as_gradio_pins_it() -> None:
    found = importlib.util.find_spec("gradio")
    assert found and found.origin
    text = Path(found.origin).with_name("tunneling.py").read_text()  # read, as importing Gradio takes seconds
    for build in programs.FRPC.builds.values():
        assert re.search(rf'"{re.escape(build.url)}":\s*"{build.sha256}"', text)
