"""What Google holds, asked of a stand-in for the Drive API on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from fsd.errors import MachineError
from fsd.runtime import colab
from fsd.runtime.spool import safe
from fsd.runtime.spool.google_drive import GoogleDrive
from fsd.runtime.spool.spool import Spool
from fsd.runtime.spool.state import CONFIRMED, WRITTEN

MD5 = hashlib.md5(b"weights").hexdigest()
TREE = {
    ("root", "Fast-Dreambooth"): [{"id": "twin"}, {"id": "suite"}],  # Drive allows two folders of one name
    ("suite", "it's \\ one"): [{"id": "session"}],
    ("session", "dog.safetensors"): [{"id": "file", "md5Checksum": MD5}],
    ("team", "dog.safetensors"): [{"id": "file", "md5Checksum": MD5}],
}


class Stand(ThreadingHTTPServer):
    """The Drive API: `tree` by (parent, name), `status` for all answers, the `tokens` it was asked with."""

    tree = TREE
    status: list[int]
    tokens: list[str]


class Answers(BaseHTTPRequestHandler):
    server: Stand

    def do_GET(self) -> None:
        self.server.tokens.append(self.headers["Authorization"])
        status = self.server.status.pop(0) if self.server.status else 200
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = json.dumps(self._drives(asked) if url.path == "/drives" else self._files(asked)).encode()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body if status == 200 else b'{"error": "told"}')

    def _drives(self, asked: dict[str, str]) -> dict[str, object]:
        if "pageToken" not in asked:
            return {"drives": [{"id": "other", "name": "Other"}], "nextPageToken": "2"}
        return {"drives": [{"id": "team", "name": "Team photos"}]}

    def _files(self, asked: dict[str, str]) -> dict[str, object]:
        for (parent, name), rows in self.server.tree.items():
            quoted = name.replace("\\", "\\\\").replace("'", "\\'")
            if asked["q"] == f"name = '{quoted}' and '{parent}' in parents and trashed = false":
                return {"files": rows}
        return {"files": []}

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stand]:
    monkeypatch.setattr(colab, "MOUNT_POINT", tmp_path / "drive")
    server = Stand(("127.0.0.1", 0), Answers)
    server.status, server.tokens = [], []
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def asking(stand: Stand) -> GoogleDrive:
    tokens = iter(["secret-1", "secret-2", "secret-3"])
    return GoogleDrive(lambda: next(tokens), f"http://127.0.0.1:{stand.server_port}")


@pytest.mark.parametrize(
    ("inner", "md5", "has"),
    [
        ("MyDrive/Fast-Dreambooth/it's \\ one/dog.safetensors", MD5, True),
        ("MyDrive/Fast-Dreambooth/it's \\ one/dog.safetensors", "0" * 32, False),
        ("MyDrive/Fast-Dreambooth/it's \\ one/cat.safetensors", MD5, False),
        ("MyDrive/nowhere/dog.safetensors", MD5, False),
        ("Shareddrives/Team photos/dog.safetensors", MD5, True),
        ("Shareddrives/Unknown/dog.safetensors", MD5, False),
    ],
)
def test_a_file_is_found_by_its_path(stand: Stand, inner: str, md5: str, has: bool) -> None:
    assert asking(stand).has(colab.MOUNT_POINT / inner, md5) is has


def test_a_token_that_ran_out_is_renewed_once(stand: Stand) -> None:
    stand.status = [401]
    google = asking(stand)
    path = colab.MOUNT_POINT / "Shareddrives/Team photos/dog.safetensors"
    assert google.has(path, MD5)
    assert stand.tokens[:2] == ["Bearer secret-1", "Bearer secret-2"]
    stand.status = [401, 401]
    with pytest.raises(MachineError, match="answered 401") as caught:
        google.has(path, MD5)
    assert "allow the access" in caught.value.hint


@pytest.mark.parametrize("status", [403, 429, 500])
def test_an_answer_that_is_none_is_no_confirmation(stand: Stand, status: int) -> None:
    stand.status = [status]
    with pytest.raises(MachineError, match=f"answered {status}") as caught:
        asking(stand).has(colab.MOUNT_POINT / "MyDrive/a", MD5)
    assert "secret" not in str(caught.value) + repr(caught.value)


def test_no_token_is_one_clear_error(stand: Stand) -> None:
    def refuse() -> str:
        raise RuntimeError("Error: credential propagation was unsuccessful\nmore")

    google = GoogleDrive(refuse, f"http://127.0.0.1:{stand.server_port}")
    with pytest.raises(MachineError, match="no access to the Drive API: Error: credential propagation") as caught:
        google.has(colab.MOUNT_POINT / "MyDrive/a", MD5)
    assert len(str(caught.value).splitlines()) == 2
    assert stand.tokens == []


def test_an_address_that_does_not_answer(stand: Stand) -> None:
    google = GoogleDrive(lambda: "secret", "http://127.0.0.1:1")
    with pytest.raises(MachineError, match="could not be asked"):
        google.has(colab.MOUNT_POINT / "MyDrive/a", MD5)


def test_the_spool_reaches_the_highest_level_through_it(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    session = colab.MOUNT_POINT / "MyDrive" / "Fast-Dreambooth" / "it's \\ one"
    session.mkdir(parents=True)
    spool = Spool(session, confirm=asking(stand).has, pause=lambda _: None)
    assert spool.local is not None and spool.local.is_relative_to(tmp_path / "cache")
    spool.local.mkdir(parents=True)
    (spool.local / "dog.safetensors").write_bytes(b"weights")
    spool.add("dog.safetensors")
    stand.status = [500]
    spool.work()
    assert [(item.state, "answered 500" in item.why) for item in spool.items()] == [(WRITTEN, True)]
    assert safe.wait(spool) == CONFIRMED
    state = (spool.local / ".spool.json").read_text()
    assert "secret" not in state and MD5 in state
