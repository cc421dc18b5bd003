"""Launching a web UI: ready when it is, never asked before, explained when it dies, ended whole, its link kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fsd.errors import MachineError
from fsd.webui.logs import Fatal, Log, Phase, fatal_of, phase_of, redacted
from fsd.webui.server import Server, free_port, status_of
from fsd.webui.supervisor import Supervisor

STAND_IN = Path(__file__).with_name("webui_stand_in.py")
PHASES = (
    Phase(r"^Launching Web UI", "starting"),
    Phase(r"^Loading weights \[\w+\] from .*/(?P<name>[^/]+)$", "loading {name}"),
)
FATAL = (
    Fatal(r"numpy\.dtype size changed", "its packages do not fit", "install again"),
    Fatal(r"Couldn't clone (?P<what>.+)\.", "{what} could not be fetched", "check the network"),
    Fatal(r"CUDA out of memory", "the GPU's memory is full", "medvram"),
    Fatal(r"Stable diffusion model failed to load", "the model is broken", "another model"),
    Fatal(r"Cannot add middleware", "asked too early", "again"),
)


def server(scenario: str, port: int, folder: Path, *arguments: str) -> Server:
    command = (sys.executable, str(STAND_IN), scenario, "--port", str(port), *arguments)
    environment = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
    return Server("Stand-in", command, environment, port, PHASES, r"^Startup time:", FATAL, "/internal/ping", folder)


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


PARENT = """
import sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from test_launch import server
from fsd.webui.supervisor import Supervisor
ui = Supervisor(lambda port: server("daemon", port, Path({folder!r})), Path({folder!r}) / "it.log", lambda port: None)
ui.start()
print("started", flush=True)
time.sleep(600)
"""


def test_nothing_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    tests = Path(__file__).parent
    code = PARENT.format(tests=str(tests), root=str(tests.parent), folder=str(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    while parent.stdout.readline().strip() != "started":
        assert parent.poll() is None
    children = [int(pid) for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
    daemon = next(int(line.split()[1]) for line in (tmp_path / "it.log").read_text().splitlines() if "daemon" in line)
    assert children
    assert alive(daemon)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not any(alive(pid) for pid in [*children, daemon]))


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


def test_records_are_filled_in_and_the_first_wins() -> None:
    assert phase_of("Loading weights [ab] from /x/y.ckpt", PHASES) == "loading y.ckpt"
    assert phase_of("anything", PHASES) == ""
    lines = ["Couldn't clone CLIP.", "numpy.dtype size changed"]
    assert fatal_of(lines, FATAL) == FATAL[0]
    found = fatal_of(lines[:1], FATAL)
    assert found is not None
    assert found.message == "CLIP could not be fetched"
