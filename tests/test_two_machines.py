"""Two machines on one session that see each other's lock too late: each keeps its own, and none replaces the other's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsd.data.session import Session, create
from fsd.runtime.lock_record import LOCK_NAME
from fsd.weights import checkpoint

ROOT = Path(__file__).parents[1]
MACHINE = """
import json, socket, sys
from pathlib import Path
from fsd.data import lock
from fsd.data.session import open_session_folder, writing
from fsd.errors import FsdError
from fsd.runtime.spool.local_first import working
from fsd.runtime.spool.spool import Spool
from fsd.weights import checkpoint

socket.gethostname = lambda: sys.argv[1]
lock.TOUCH_SECONDS = 0.02
session = open_session_folder(sys.argv[2])

def save(spool, step):
    def write(folder):
        (folder / "weights.safetensors").write_text(f"{sys.argv[1]} {step}")
    place = working(session.checkpoints)
    spool.add(f"checkpoints/{checkpoint.save_checkpoint(place, 'unet', step, False, {}, write).name}", keep=1)
    spool.work()
    lock.need_turn()

def answer(line):
    spool = Spool(session.folder, pause=lambda _: None)
    try:
        save(spool, int(line)) if line.strip().isdigit() else spool.work()
        fault = ""
    except FsdError as error:
        fault = str(error)
    print("!" + json.dumps({"fault": fault, "items": [[i.name, i.state, i.at, i.why] for i in spool.items()]}), flush=True)

try:
    with writing(session):
        print("!{}", flush=True)
        for line in sys.stdin:
            if line == "end\\n":
                break
            answer(line)
except FsdError as error:
    print("!" + json.dumps({"fault": str(error)}), flush=True)
print("!{}", flush=True)
for line in sys.stdin:
    answer(line)
"""


class Machine:
    """A machine with its own disk and its own mount of the Drive, on which all is as on the Drive but the lock."""

    def __init__(self, name: str, top: Path, session: Session) -> None:
        self.folder = top / name / "drive" / "dog"
        self.folder.mkdir(parents=True)
        for path in session.folder.iterdir():
            (self.folder / path.name).symlink_to(path)
        command = [sys.executable, "-c", MACHINE, name, str(self.folder)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"FSD_LOCAL": str(top / name / "local")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self.opened = self.answer()

    def answer(self) -> dict[str, object]:
        """What it answers, less what it says before."""
        while not self.line().startswith("!"):
            pass
        return dict(json.loads(self.said.pop()[1:]))

    def line(self) -> str:
        assert self.process.stdout
        self.said.append(self.process.stdout.readline())
        assert self.said[-1], "the machine is gone"
        return self.said[-1]

    def does(self, line: str) -> dict[str, object]:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def sees(self, other: Machine) -> None:
        """From now on Drive shows it the other's lock."""
        os.replace(self.folder / LOCK_NAME, self.folder.with_name("its own"))
        (self.folder / LOCK_NAME).symlink_to(other.folder / LOCK_NAME)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return create(tmp_path / "google", "dog")


@pytest.fixture
def machines(tmp_path: Path, session: Session) -> Iterator[tuple[Machine, Machine]]:
    both = Machine("one", tmp_path, session), Machine("two", tmp_path, session)
    yield both
    for machine in both:
        machine.process.communicate(timeout=30)


def on_drive(session: Session) -> dict[str, str]:
    """Everything under a checkpoint's name, each proven whole, and who made it."""
    found = {path.name: checkpoint.verify_checkpoint(path).folder for path in session.checkpoints.iterdir()}
    return {name: (folder / "weights.safetensors").read_text() for name, folder in sorted(found.items())}


def test_two_that_never_see_each_others_lock_lose_nothing(session: Session, machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    assert (one.opened, two.opened) == ({}, {})  # both believe that they write alone
    one.does("1")
    answer = two.does("1")
    made = on_drive(session)
    beside = next(name for name in made if name != "unet-000001")
    assert made == {"unet-000001": "one 1", beside: "two 1"}
    assert answer["items"] == [["checkpoints/unet-000001", "written to Drive", f"checkpoints/{beside}", ""]]
    assert f"this machine's lies beside it as checkpoints/{beside}" in "".join(two.said)
    for step in ("2", "3", "4"):
        one.does(step)
    two.does("9")
    made = on_drive(session)
    assert {"unet-000003": "one 3", "unet-000004": "one 4", "unet-000009": "two 9"}.items() <= made.items()
    one.does("20")  # its own older ones go, the other's stay
    assert on_drive(session) == {
        "unet-000004": "one 4", beside: "two 1", "unet-000009": "two 9", "unet-000020": "one 20"
    }  # fmt: skip


def test_the_one_that_sees_the_others_lock_stops_and_keeps_its_own(
    session: Session, machines: tuple[Machine, Machine]
) -> None:
    one, two = machines
    one.does("1")
    two.does("2")
    one.sees(two)
    while "IS NOW ALSO WRITTEN by process" not in one.line():
        pass
    answer = one.does("3")
    assert "session 'dog' is now written by process" in str(answer["fault"])
    assert "on two, too: this run stops" in str(answer["fault"])
    assert answer["items"][-1][:3] == ["checkpoints/unet-000003", "local", ""]  # type: ignore[index]
    assert "on two writes the session now" in answer["items"][-1][3]  # type: ignore[index]
    two.does("3")
    assert on_drive(session) == {"unet-000001": "one 1", "unet-000002": "two 2", "unet-000003": "two 3"}
    one.does("end")  # it lets go of no lock that is not its own
    assert (two.folder / LOCK_NAME).exists()
    two.does("end")
    (one.folder / LOCK_NAME).unlink()  # Drive shows it that the other has ended
    answer = one.does("sync")
    assert answer["fault"] == ""
    made = on_drive(session)
    assert made.pop(Path(answer["items"][-1][2]).name) == "one 3"  # type: ignore[index]
    assert {"unet-000002": "two 2", "unet-000003": "two 3"}.items() <= made.items()
