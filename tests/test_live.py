"""The plot that a notebook shows while training goes on."""

from __future__ import annotations

import os
from pathlib import Path
from queue import Queue

import pytest

from fsd.runtime import live


class Handle:
    """Keeps what a cell is changed to."""

    def __init__(self) -> None:
        self.shown: Queue[dict] = Queue()

    def update(self, content: dict, raw: bool) -> None:
        assert raw
        self.shown.put(content)


def write(path: Path, content: bytes, at_ns: int) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(at_ns, at_ns))


def test_a_picture_is_shown_when_it_is_new_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle, places = Handle(), [tmp_path / "here.png", tmp_path / "drive" / "there.png"]
    monkeypatch.setattr(live, "_handle", lambda: handle)
    monkeypatch.setattr(live, "_LOOK_S", 0.01)
    write(places[0], b"old", 1000)
    with live.shown(places):
        write(places[0], b"first", 2000)
        while (shown := handle.shown.get(timeout=30)) != {"image/png": b"first"}:
            assert shown == {"image/png": b"old"}  # its time is set a moment after its content
        write(places[0], b"second", 3000)
        while handle.shown.get(timeout=30) != {"image/png": b"second"}:
            pass
    last = [handle.shown.get_nowait() for _ in range(handle.shown.qsize())]
    assert last[-1] == {"text/plain": ""}


def test_outside_of_a_notebook_nothing_is_shown(tmp_path: Path) -> None:
    assert live._handle() is None
    with live.shown([tmp_path / "loss.png"]):
        pass
