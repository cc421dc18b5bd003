"""Launching a web UI: ready when it is, never asked before, explained when it dies, ended whole, its link kept."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.cookiejar import CookieJar
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
from micro import parts_of
from stand_in_server import FATAL, PHASES, STAND_IN, install_stand_in, server
from upstream import Upstream

from fsd.data.session import Session
from fsd.errors import MachineError, RecipeError, SessionError
from fsd.webui import running
from fsd.webui.launch import launch_webui
from fsd.webui.lock.process import start_proxy
from fsd.webui.logs import Log, fatal_of, phase_of, redacted
from fsd.webui.running import WebUI
from fsd.webui.server import Server, free_port, status_of
from fsd.webui.supervisor import Supervisor
from fsd.webui.tunnels import TUNNELS, TunnelKind
from fsd.webui.tunnels.tunnel import Tunnel
from fsd.weights.ckpt import save_ckpt


def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something is true; fail if it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


class Told(list[object]):
    """The ports that a supervisor tells."""


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., tuple[Supervisor, Told]]]:
    made: list[Supervisor] = []

    def supervise(scenario: str, *ports: int) -> tuple[Supervisor, Told]:
        told, wanted = Told(), list(ports)
        found = Supervisor(
            lambda port: server(scenario, wanted.pop(0) if wanted else port, tmp_path),
            tmp_path / "logs" / "it.log",
            told.append,
        )
        made.append(found)
        return found, told

    yield supervise
    for one in made:
        one.stop()


def test_it_is_ready_when_it_answers(supervise, capsys: pytest.CaptureFixture[str]) -> None:
    ui, told = supervise("ready")
    ui.start()
    (port,) = told
    assert status_of(f"http://127.0.0.1:{port}/internal/ping") == 200
    assert capsys.readouterr().out == "  starting\n  loading none.safetensors\n"
    ui.stop()
    assert status_of(f"http://127.0.0.1:{port}/internal/ping") == 0


def test_it_is_not_asked_before_it_is_ready(supervise) -> None:
    ui, told = supervise("slow")
    ui.start()
    assert told


def test_the_stand_in_dies_of_a_request_in_the_window(supervise) -> None:
    """The control: without the rule above the launch fails."""
    port = free_port()
    ui, told = supervise("slow", port)
    asking = threading.Event()

    def ask() -> None:
        while not asking.is_set():
            status_of(f"http://127.0.0.1:{port}/internal/ping")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        with pytest.raises(MachineError, match="asked too early"):
            ui.start()
    finally:
        asking.set()
        thread.join()
    assert told == []


@pytest.mark.parametrize(
    ("scenario", "message", "hint"),
    [
        ("killed", "the system killed it, most often for want of main memory", "smaller model"),
        ("clone refused", "Stable Diffusion could not be fetched", "check the network"),
        ("numpy", "its packages do not fit", "install again"),
        ("cuda memory", "the GPU's memory is full", "medvram"),
        ("no gpu", r"it ended \(exit code 1\)", "read its last lines"),
    ],
)
def test_it_says_why_it_died(supervise, scenario: str, message: str, hint: str) -> None:
    ui, told = supervise(scenario)
    with pytest.raises(MachineError, match=message) as caught:
        ui.start()
    assert hint in caught.value.hint
    assert "Launching Web UI with arguments" in caught.value.message
    assert told == []


def test_a_port_that_was_taken_meanwhile_is_given_up(supervise, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        ui, told = supervise("ready", taken)
        ui.start()
    assert told != [taken]
    assert "its port was taken meanwhile" in capsys.readouterr().out


def test_a_death_later_is_said_and_mended_once(supervise, capsys: pytest.CaptureFixture[str]) -> None:
    ui, told = supervise("ready")
    ui.start()
    status_of(f"http://127.0.0.1:{told[0]}/stand-in/die?how=killed")
    until(lambda: len(told) == 3)
    assert told[1] is None
    assert status_of(f"http://127.0.0.1:{told[2]}/internal/ping") == 200
    assert "the system killed it" in capsys.readouterr().out
    status_of(f"http://127.0.0.1:{told[2]}/stand-in/die?how=cuda+memory")
    until(ui.ended.is_set)
    out = capsys.readouterr().out
    assert "the GPU's memory is full" in out
    assert "call restart()" in out
    ui.restart()
    assert isinstance(told[-1], int)


def test_restart_is_another_process_and_stop_is_for_good(supervise) -> None:
    ui, told = supervise("ready")
    ui.start()
    ui.restart()
    assert told[1] is None
    assert isinstance(told[2], int)
    ui.stop()
    with pytest.raises(MachineError, match="was stopped"):
        ui.restart()


@pytest.mark.parametrize("scenario", ["daemon", "stubborn"])
def test_stop_leaves_nothing(supervise, scenario: str) -> None:
    ui, told = supervise(scenario)
    ui.start()
    pids = [int(line.split()[1]) for line in ui.tail(99) if line.startswith("daemon")]
    assert all(alive(pid) for pid in pids)
    ui.stop()
    assert not any(alive(pid) for pid in pids)
    assert status_of(f"http://127.0.0.1:{told[0]}/") == 0


def test_stop_does_not_wait_for_a_fork_that_holds_the_pipe(supervise) -> None:
    ui, told = supervise("ready")
    ui.start()
    held = os.dup(ui._life._child.stdin.fileno())
    try:
        ui.stop()
        assert ui._life._child.returncode == 128 + signal.SIGTERM, "it ended by itself, and was not killed"
        assert status_of(f"http://127.0.0.1:{told[0]}/") == 0
    finally:
        os.close(held)


def test_a_restart_that_fails_is_its_end_and_one_that_works_forgets_it(supervise, monkeypatch) -> None:
    ui, told = supervise("ready")
    ui.start()
    make = ui._make
    ui._make = lambda port: replace(make(port), command=(sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(MachineError, match=r"Stand-in: it ended \(exit code 3\)"):
        ui.restart()
    assert ui.ended.is_set() and ui.fault and told[-1] is None
    ui._make = make
    ui.restart()
    assert not ui.ended.is_set() and ui.fault is None
    assert status_of(f"http://127.0.0.1:{told[-1]}/internal/ping") == 200


def test_a_lock_that_cannot_be_told_of_a_death_is_the_end(tmp_path: Path) -> None:
    told = Told()

    def at_port(port: int | None) -> None:
        told.append(port)
        if port is None:
            raise MachineError("the proxy has ended")

    ui = Supervisor(lambda port: server("ready", port, tmp_path), tmp_path / "it.log", at_port)
    ui.start()
    status_of(f"http://127.0.0.1:{told[0]}/stand-in/die?how=killed")
    assert ui.ended.wait(20)
    assert str(ui.fault) == "the proxy has ended" and len(told) == 2


def test_what_does_not_answer_through_the_lock_does_not_run_on(tmp_path: Path) -> None:
    told = Told()

    def at_port(port: int | None) -> None:
        told.append(port)
        if len(told) == 3:
            raise MachineError("not through the lock")

    ui = Supervisor(lambda port: server("ready", port, tmp_path), tmp_path / "it.log", at_port)
    ui.start()
    with pytest.raises(MachineError, match="not through the lock"):
        ui.restart()
    assert ui.ended.is_set() and status_of(f"http://127.0.0.1:{told[2]}/internal/ping") == 0


PARENT = """
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from stand_in_server import server
from fsd.webui.supervisor import Supervisor
ui = Supervisor(lambda port: server("daemon", port, Path({folder!r})), Path({folder!r}) / "it.log", lambda port: None)
ui.start()
if {fork!r} and os.fork() == 0:
    signal.pause()
print("started", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("fork", [False, True])
def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path, fork: bool) -> None:
    tests = Path(__file__).parent
    code = PARENT.format(tests=str(tests), root=str(tests.parent), folder=str(tmp_path), fork=fork)
    command = [sys.executable, "-c", code]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdout is not None
    while parent.stdout.readline().strip() != "started":
        assert parent.poll() is None
    children = below(parent.pid)
    daemon = next(int(line.split()[1]) for line in (tmp_path / "it.log").read_text().splitlines() if "daemon" in line)
    assert children
    assert alive(daemon)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    forked = {pid for pid in children if alive(pid) and os.getpgid(pid) == parent.pid}
    assert bool(forked) == fork
    try:
        until(lambda: not any(alive(pid) for pid in {*children, daemon} - forked))
    finally:
        if fork:
            os.killpg(parent.pid, signal.SIGKILL)


# --- lines -----------------------------------------------------------------------------------------------------------


def test_secrets_do_not_reach_the_log(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    lines = [
        "Launching Web UI with arguments: --gradio-auth me:geheim1 --api-auth=me:geheim2 --ngrok-token geheim3 --xformers",
        "GET /?token=geheim4&x=1", "Authorization: Basic Z2VoZWltNTpnZWhlaW01", "https://me:geheim6@example.org/",
        '{"password": "geheim7"}', "using hf_geheim8geheim8geheim8geheim8",
    ]  # fmt: skip
    os.write(writing, ("\n".join(lines) + "\n").encode())
    os.close(writing)
    log = Log(tmp_path / "it.log")
    assert len(list(log.follow(reading))) == len(lines)
    os.close(reading)
    kept = (tmp_path / "it.log").read_text()
    assert "geheim" not in kept + "".join(log.tail(99))
    assert "Z2VoZWltN" not in kept
    assert "--xformers" in kept
    assert (
        redacted("Calculating sha256 for /a/token.safetensors: 12") == "Calculating sha256 for /a/token.safetensors: 12"
    )


def test_a_bar_is_kept_as_it_was_left_and_the_log_before_too(tmp_path: Path) -> None:
    for number in range(2):
        reading, writing = os.pipe()
        os.write(writing, f"run {number}\r\n10%\r100%\nlast".encode())
        os.close(writing)
        seen = list(Log(tmp_path / "it.log").follow(reading))
        os.close(reading)
        assert seen == [f"run {number}", "10%", "100%", "last"]
    assert (tmp_path / "it.log").read_text() == "run 1\n100%\nlast\n"
    assert (tmp_path / "it.log.1").read_text() == "run 0\n100%\nlast\n"


def test_a_log_that_cannot_be_written_is_said_once_and_read_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(tmp_path / "it.log")
    log.path.mkdir()  # stands for a full disk
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\nthree")
    os.close(writing)
    assert list(log.follow(reading)) == log.tail(9) == ["one", "two", "three"]
    os.close(reading)
    assert capsys.readouterr().out.count("misses lines from here on: Is a directory") == 1


def test_a_folder_that_cannot_hold_a_log_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"the log .*it\.log cannot be written: Not a directory"):
        Log(tmp_path / "file" / "logs" / "it.log")


def test_records_are_filled_in_and_the_first_wins() -> None:
    assert phase_of("Loading weights [ab] from /x/y.ckpt", PHASES) == "loading y.ckpt"
    assert phase_of("anything", PHASES) == ""
    lines = ["Couldn't clone CLIP.", "numpy.dtype size changed"]
    assert fatal_of(lines, FATAL) == FATAL[0]
    found = fatal_of(lines[:1], FATAL)
    assert found is not None
    assert found.message == "CLIP could not be fetched"


# --- the whole chain -------------------------------------------------------------------------------------------------


class Machine:
    """A machine on which the stand-in is installed as AUTOMATIC1111, or nothing is."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, monkeypatch
        self.model = folder / "models" / "my.safetensors"
        monkeypatch.setenv("FSD_WEBUI_HOME", str(folder / "software"))
        monkeypatch.setattr("fsd.webui.install.find_installed", lambda flavor: None)

    def install(self, scenario: str) -> None:
        install_stand_in(scenario, self.folder / "app", self.patch)

    def launch(self, model: str = "", tunnel: str = "none", **more: Any) -> WebUI:
        return launch_webui(model, tunnel, root=str(self.folder), **more)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    before = below(os.getpid())
    yield Machine(tmp_path, monkeypatch)
    if running._current:
        running._current.stop()
    until(lambda: below(os.getpid()) <= before)  # nothing is left, whatever happened


def below(process: int) -> set[int]:
    children = [
        int(pid) for path in Path(f"/proc/{process}/task").glob("*/children") for pid in path.read_text().split()
    ]
    return {pid for pid in children if alive(pid)}


def get(url: str, headers: dict[str, str] | None = None, opener: Any = None) -> tuple[int, str]:
    opener = opener or build_opener()
    try:
        with opener.open(Request(url, headers=headers or {}), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()


def open_link(link: str, opener: Any = None) -> tuple[int, str]:
    """What a browser gets at a login link, whose page posts the token."""
    url, _, token = link.partition("?")
    opener = opener or build_opener(HTTPCookieProcessor(CookieJar()))
    try:
        with opener.open(url, token.encode(), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()


def test_the_whole_chain(machine: Machine, micro_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_ckpt(parts_of(micro_model), machine.model)
    machine.install("ready")
    with machine.launch(str(machine.model), flags="--theme dark") as ui:
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "web UI: AUTOMATIC1111 1.10.1"
        assert "  --use-cpu all: there is no GPU: slow, but it draws" in said
        assert "  model: my.safetensors (Stable Diffusion 1.5)" in said
        assert f"AUTOMATIC1111 is ready: {ui.url}" in said
        assert f"log in (this link opens once): {ui.login_link}" in said
        assert said.index("  starting Python and PyTorch") < said.index(f"AUTOMATIC1111 is ready: {ui.url}")
        assert get(ui.url)[0] == 401
        assert get(f"{ui.url}/sdapi/v1/cmd-flags")[0] == 401
        browser = build_opener(HTTPCookieProcessor(CookieJar()))
        assert "<gradio-app>" in open_link(ui.login_link, browser)[1]
        assert open_link(ui.login_link)[0] == 401, "it opens once"
        assert "<gradio-app>" in open_link(ui.new_login_link())[1]

        basic = {"Authorization": "Basic " + base64.b64encode(f"{ui.user}:{ui.password}".encode()).decode()}
        seen = json.loads(get(f"{ui.url}/sdapi/v1/cmd-flags", basic)[1])
        assert {"--api", "--server-name=127.0.0.1", "--no-download-sd-model", "--ckpt", "--data-dir"} < set(
            seen["argv"]
        )
        assert seen["argv"][-2] == "--port"
        assert "--theme" in seen["argv"]
        assert Path(seen["argv"][seen["argv"].index("--ckpt") + 1]).samefile(machine.model)
        assert seen["environment"]["MPLBACKEND"] == "Agg"
        everything = json.dumps(seen) + repr(ui) + ui.logs(500) + "".join(map(str, processes()))
        assert ui.password not in everything
        assert ui.login_link.partition("token=")[2] not in everything

        before = seen["argv"][-1]
        ui.restart()
        assert "<gradio-app>" in get(ui.url, opener=browser)[1], "who was logged in still is"
        assert json.loads(get(f"{ui.url}/sdapi/v1/cmd-flags", basic)[1])["argv"][-1] != before
        assert "Startup time" in ui.logs(1)
        assert "Startup time" in (machine.folder / "WebUI" / "a1111" / "logs" / "webui.log").read_text()
        assert ui.login_link in ui._repr_html_()
    assert get_nothing(ui.url)
    assert "stopped" in repr(ui)
    with pytest.raises(MachineError, match="does not run any more"):
        ui.new_login_link()


def processes() -> list[bytes]:
    """Command lines and environments of all our children."""
    found = []
    for pid in below(os.getpid()):
        for name in ("cmdline", "environ"):
            with suppress(OSError):
                found.append(Path(f"/proc/{pid}/{name}").read_bytes())
    return found


def get_nothing(url: str) -> bool:
    return status_of(url) == 0


@pytest.mark.parametrize(
    ("scenario", "message", "hint"),
    [
        ("killed", "AUTOMATIC1111: the system killed it", "more memory"),
        ("clone refused", r"it could not clone Stable Diffusion\.", "run the installation again"),
        ("numpy", "an extension replaced its NumPy", "run the installation again"),
        ("cuda memory", "the GPU's memory is full", "--medvram"),
        ("no gpu", "PyTorch cannot use a GPU here", "choose a runtime with a GPU"),
    ],
)
def test_what_the_flavor_knows_of_deaths(
    machine: Machine, micro_model: Path, scenario: str, message: str, hint: str
) -> None:
    save_ckpt(parts_of(micro_model), machine.model)
    machine.install(scenario)
    with pytest.raises(MachineError, match=message) as caught:
        machine.launch(str(machine.model))
    assert hint in caught.value.hint
    assert "its last lines:\n    " in caught.value.message


def test_a_model_that_does_not_load_is_said_and_the_web_ui_stays(
    machine: Machine, micro_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_ckpt(parts_of(micro_model), machine.model)
    machine.install("broken model")
    with machine.launch(str(machine.model)) as ui:
        assert ui.running
        assert "note: the model file is broken; what to do: look at what the file is" in capsys.readouterr().out


def test_a_second_launch_ends_the_first(machine: Machine, micro_model: Path) -> None:
    save_ckpt(parts_of(micro_model), machine.model)
    machine.install("ready")
    first = machine.launch(str(machine.model))
    second = machine.launch()
    assert not first.running
    assert second.running
    assert get_nothing(first.url)


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[Callable[..., WebUI]]:
    """The stand-in behind the lock, without a launch."""
    made: list[WebUI] = []

    def start(port: int = 0, tunnel: str = "none") -> WebUI:
        made.append(
            WebUI("It", lambda at: server("ready", at, tmp_path), "/internal/ping", tmp_path / "l", tunnel, port)
        )
        return made[-1]

    yield start
    for one in made:
        one.stop()


def test_ctrl_c_ends_the_wait_also_when_it_did_not_wake_it(stand_in: Callable[..., WebUI]) -> None:
    ui = stand_in()
    waiter = threading.Timer(0.5, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT))
    stopper = threading.Timer(30, ui.stop)
    waiter.start(), stopper.start()
    with pytest.raises(KeyboardInterrupt):
        ui.wait()
    assert ui.running
    stopper.cancel()


def test_without_its_lock_nothing_runs_on(stand_in: Callable[..., WebUI], capsys: pytest.CaptureFixture[str]) -> None:
    ui = stand_in()
    port = ui._supervisor._life.server.port
    assert ui.running and ui.fault is None
    ui._proxy._child.kill()
    assert ui._supervisor.ended.wait(20)
    with pytest.raises(MachineError, match="the proxy has ended"):
        ui.wait()
    until(lambda: "It was stopped, as its lock is gone" in capsys.readouterr().out)
    assert not ui.running and "the proxy has ended" in str(ui.fault) and "stopped" in repr(ui)
    assert ui._watch and ui._watch.url == "" and status_of(f"http://127.0.0.1:{port}/internal/ping") == 0
    with pytest.raises(MachineError, match="does not run any more"):
        ui.new_login_link()
    with pytest.raises(MachineError, match="was stopped"):
        ui.restart()


def test_one_that_died_leaves_neither_lock_nor_port(
    stand_in: Callable[..., WebUI], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr(running, "_current", None)
    first = running.replace_current(lambda: stand_in(port))
    first._supervisor._revived = time.monotonic()
    status_of(f"http://127.0.0.1:{first._supervisor._life.server.port}/stand-in/die?how=killed")
    until(lambda: not first.running)
    assert first._proxy.is_running
    second = running.replace_current(lambda: stand_in(port))
    assert second.running and not first._proxy.is_running


def test_only_our_own_lock_is_taken_for_it(stand_in: Callable[..., WebUI]) -> None:
    ui, other = stand_in(), start_proxy("Somebody else's")
    try:
        ui._check(ui.url)
        for url in (f"http://127.0.0.1:{other.port}", f"http://127.0.0.1:{ui._supervisor._life.server.port}"):
            with pytest.raises(MachineError, match="not as the lock does"):
                ui._check(url)
        with pytest.raises(MachineError, match="does not answer, not as"):
            ui._check(f"http://127.0.0.1:{free_port()}")
    finally:
        other.stop()


def test_a_port_counts_when_it_answers_through_the_lock(stand_in: Callable[..., WebUI]) -> None:
    ui = stand_in()
    with pytest.raises(MachineError, match=r"It does not answer through the lock \(HTTP status 503\)"):
        ui._at_port(free_port())


def test_stopping_while_the_tunnel_opens_closes_it(
    stand_in: Callable[..., WebUI], monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, closed = threading.Event(), threading.Event()

    def opener(over: threading.Event) -> Tunnel:
        opening.set()
        assert over.wait(20)
        closed.set()
        raise MachineError("it was closed")

    monkeypatch.setitem(TUNNELS, "none", TunnelKind("none", "a slow one", lambda port, address: opener))
    registered: list[Callable[[], None]] = []
    monkeypatch.setattr(running.atexit, "register", registered.append)

    def stop() -> None:
        assert opening.wait(20)
        registered[0]()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(MachineError, match="was closed"):
        stand_in()
    thread.join()
    assert closed.is_set()


def test_what_we_send_with_a_question_goes_nowhere_else() -> None:
    asked = Upstream()
    try:
        assert status_of(f"http://127.0.0.1:{asked.port}/test/redirect", {"Authorization": "Basic x"}) == 302
        assert [seen.target for seen in asked.seen] == ["/test/redirect"]
    finally:
        asked.stop()


def test_a_port_can_be_fixed_and_a_lost_tunnel_is_shown(machine: Machine, micro_model: Path) -> None:
    save_ckpt(parts_of(micro_model), machine.model)
    machine.install("ready")
    port = free_port()
    with machine.launch(str(machine.model), port=port) as ui:
        assert ui.url == f"http://127.0.0.1:{port}"
        assert ui.fault is None
        assert ui._watch is not None
        ui._watch.fault = MachineError("the relay <is> gone", "another tunnel may work")
        assert "without its tunnel" in repr(ui)
        assert "its tunnel was given up: the relay &lt;is&gt; gone" in ui._repr_html_()
        assert ui.login_link not in ui._repr_html_()
        with pytest.raises(MachineError, match="was given up: the relay <is> gone"):
            ui.new_login_link()


def test_nothing_starts_for_a_wish_that_cannot_be_met(
    machine: Machine, micro_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "start_proxy", lambda *_: pytest.fail("it was started"))
    for wish, kind, message in [
        ({"ui": "a1112"}, RecipeError, "ui is 'a1112'"),
        ({"tunnel": "wormhole"}, RecipeError, "tunnel is 'wormhole'"),
        ({"port": 80}, RecipeError, "port is 80"),
        ({"flags": "--share"}, RecipeError, "past the lock"),
        ({"model": "nobody"}, RecipeError, "there is no model 'nobody'"),
        ({"model": "sd15", "ui": "a1111"}, MachineError, "AUTOMATIC1111 is not installed here"),
        ({"model": "flux-dev", "ui": "a1111"}, RecipeError, "a1111 cannot run FLUX"),
    ]:
        with pytest.raises(kind, match=message):
            machine.launch(**wish)
    machine.install("ready")
    with pytest.raises(RecipeError, match="no model is chosen, and there is none in"):
        machine.launch(ui="a1111")
    with pytest.raises(SessionError, match="no trained model yet"):
        machine.launch("cup", ui="a1111")


def test_the_studio_is_there_when_nothing_else_is(
    machine: Machine, micro_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def studio_server(root: Path, port: int, model: str) -> Server:
        asked.append((root, model))
        return server("ready", port, machine.folder)

    monkeypatch.setitem(sys.modules, "fsd.webui.studio.server", SimpleNamespace(studio_server=studio_server))
    with machine.launch("sd15"):
        assert "web UI: the studio (no other web UI is installed)" in capsys.readouterr().out
        assert asked[-1] == (machine.folder, "sd15")
        assert (machine.folder / "WebUI" / "studio" / "logs" / "webui.log").is_file()
    machine.install("ready")
    with machine.launch("flux-dev"):
        assert asked[-1] == (machine.folder, "flux-dev")
    save_ckpt(parts_of(micro_model), machine.model)
    monkeypatch.chdir(machine.model.parent)
    with machine.launch(machine.model.name, ui="studio"):
        assert asked[-1] == (machine.folder, str(machine.model)), "it runs in another folder"


def test_colab_asks_for_paid_units(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsd.runtime.colab.in_colab", lambda: True)
    with pytest.raises(RecipeError, match="Colab forbids web UIs on its free tier") as caught:
        machine.launch("sd15")
    assert "'Generate'" in caught.value.hint
    assert "paid_units" in caught.value.hint
    with pytest.raises(RecipeError, match="ui is 'x'"):
        machine.launch("sd15", ui="x", paid_units=True)


IN_A_TERMINAL = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
sys.path[:0] = [{tests!r}, {root!r}]
from stand_in_server import server
sys.modules["fsd.webui.studio.server"] = SimpleNamespace(
    studio_server=lambda root, port, model: server("ready", port, Path.cwd()))
from fsd.__main__ import main
sys.exit(main(["webui", "launch", "--model", "sd15", "--ui", "studio", "--tunnel", "none", "--root", ".", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("as_json", [True, False])
def test_in_a_terminal_it_runs_until_ctrl_c(tmp_path: Path, as_json: bool) -> None:
    code = IN_A_TERMINAL.format(tests=str(STAND_IN.parent), root=str(STAND_IN.parents[1]))
    command = [sys.executable, "-c", code, *(["--json"] if as_json else [])]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    child = subprocess.Popen(command, cwd=tmp_path, **streams)  # type: ignore[call-overload]
    people = child.stderr if as_json else child.stdout
    said = []
    while (line := people.readline()) and "Ctrl-C ends it" not in line:
        said.append(line)
    assert any(line.startswith("programs log in to its API by HTTP Basic: user fsd, --show-p") for line in said), said
    assert any("log in (this link opens once): http://127.0.0.1:" in line for line in said), (said, child.stderr)
    child.stdin.write("\n")  # Enter
    child.stdin.flush()
    another = people.readline()
    assert another.startswith("log in (this link opens once): http") and another not in said
    children = below(child.pid)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 0
    assert not any(alive(pid) for pid in children)
    if as_json:
        result = json.loads(out)
        assert result["url"].startswith("http://127.0.0.1:")
        assert result["ui"] == "Stand-in"
        assert "token" not in out
