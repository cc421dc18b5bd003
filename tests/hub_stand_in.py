"""As much of the model hub as downloads need, as a server of this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

constants = pytest.importorskip("huggingface_hub.constants")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Below `folder` the files lie as OWNER/NAME/FILE. refused: status and code by owner. asked: method and path of all."""

    folder: Path
    refused: dict[str, tuple[int, str]]
    asked: list[tuple[str, str]]
    tokens: set[str]

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.asked.append((self.command, path))
        self.tokens.add(self.headers.get("Authorization", ""))
        repository = "/".join(path.removeprefix("api/models/").split("/")[:2])
        asked = path.partition(repository)[2]
        known = (200, "") if (self.folder / repository).is_dir() else (404, "RepoNotFound")
        status, code = self.refused.get(repository.partition("/")[0], known)
        if status != 200:
            self.refuse(status, code)
        elif asked == "/revision/main":
            self.answer(json.dumps({"id": repository, "sha": COMMIT, "siblings": []}).encode())
        elif asked == f"/tree/{COMMIT}":
            self.answer(json.dumps(self.rows(self.folder / repository)).encode())
        elif asked.startswith(("/resolve/main/", f"/resolve/{COMMIT}/")):
            self.send(self.folder / repository / asked.split("/", 3)[3])
        else:
            self.refuse(404, "RevisionNotFound")

    do_HEAD = do_GET

    def rows(self, folder: Path) -> list[dict[str, object]]:
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        names = [(str(file.relative_to(folder)), file.stat().st_size) for file in files]
        return [{"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in names]

    def send(self, file: Path) -> None:
        if not file.is_file():
            self.refuse(404, "EntryNotFound")
            return
        content = file.read_bytes()
        self.answer(content, 200, ETag=f'"{hashlib.sha256(content).hexdigest()}"')

    def refuse(self, status: int, code: str) -> None:
        self.answer(b"{}", status, **{"X-Error-Code": code} if code else {})

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        common = {"Content-Length": str(len(body)), "Content-Type": "application/json", "X-Repo-Commit": COMMIT}
        for name, value in {**common, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def hub_server(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Hub] = Hub
) -> Iterator[type[Hub]]:
    """A hub with what lies below `folder`, asked instead of the real one while the generator waits."""
    handler = type("OneHub", (kind,), {"folder": folder, "refused": {}, "asked": [], "tokens": set()})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    address = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield handler
    running.shutdown()
    running.server_close()
