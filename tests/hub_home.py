"""The hub as it takes files: repositories made, small files in the commit, large ones by git-lfs, and told what it holds."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hub_stand_in import COMMIT, Hub

LARGE_BYTES = 2000


class Home(Hub):
    """public: those repositories are. lose: so many bytes of each large file never arrive. sent: the paths that came."""

    public: set[str]
    lose = 0
    sent: list[str]

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.lstrip("/").removeprefix("api/models/")
        if path.count("/") == 1 and self.admitted(path):
            shown = {"id": path, "sha": COMMIT, "private": path not in self.public, "siblings": []}
            self.answer(json.dumps(shown).encode(), 200 if (self.folder / path).is_dir() else 404)
        elif path.count("/") > 1:
            super().do_GET()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path.lstrip("/")
        self.asked.append((self.command, path))
        self.tokens.add(self.headers.get("Authorization", ""))
        if path == "api/repos/create":
            self.create(json.loads(body))
        elif path == "api/validate-yaml":
            self.answer(b'{"errors": [], "warnings": []}')
        elif path.endswith("/objects/batch"):
            self.answer(json.dumps(self.batch(json.loads(body))).encode())
        else:
            repository, _, wanted = path.removeprefix("api/models/").rpartition("/main")[0].rpartition("/")
            self.answer(json.dumps(getattr(self, wanted.replace("-", "_"))(self.folder / repository, body)).encode())

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        (self.folder / ".large").mkdir(exist_ok=True)
        (self.folder / ".large" / self.path.rpartition("/")[2]).write_bytes(content[: len(content) - self.lose])
        self.answer(b"{}")

    def admitted(self, repository: str) -> bool:
        status, code = self.refused.get(repository.partition("/")[0], (200, ""))
        if status != 200:
            self.refuse(status, code)
        return status == 200

    def create(self, asked: dict[str, Any]) -> None:
        repository = f"{asked['organization']}/{asked['name']}"
        assert asked.get("private") is True or asked.get("visibility") == "private"
        if self.admitted(repository):
            there = (self.folder / repository).is_dir()
            (self.folder / repository).mkdir(parents=True, exist_ok=True)
            self.answer(
                json.dumps({"url": f"http://{self.headers['Host']}/{repository}"}).encode(), 409 if there else 200
            )

    def batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        address = f"http://{self.headers['Host']}/upload/"
        rows = [one | {"actions": {"upload": {"href": address + one["oid"]}}} for one in asked["objects"]]
        return {"transfer": "basic", "objects": rows}

    def preupload(self, folder: Path, body: bytes) -> dict[str, Any]:
        files = json.loads(body)["files"]
        modes = {file["path"]: "lfs" if file["size"] > LARGE_BYTES else "regular" for file in files}
        return {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]}

    def commit(self, folder: Path, body: bytes) -> dict[str, Any]:
        for row in map(json.loads, body.splitlines()):
            if row["key"] in ("file", "lfsFile"):
                path = folder / row["value"]["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                large = row["key"] == "lfsFile"
                stored = (self.folder / ".large" / row["value"]["oid"]).read_bytes() if large else b""
                path.write_bytes(stored if large else base64.b64decode(row["value"]["content"]))
                self.sent.append(row["value"]["path"])
        place = f"http://{self.headers['Host']}/{folder.relative_to(self.folder)}"
        return {"commitUrl": f"{place}/commit/{COMMIT}", "commitOid": COMMIT}

    def paths_info(self, folder: Path, body: bytes) -> list[dict[str, Any]]:
        asked = [folder / path for path in parse_qs(body.decode())["paths"]]
        return [self.row(folder, path) for path in asked if path.is_file()]

    def row(self, folder: Path, path: Path) -> dict[str, Any]:
        content = path.read_bytes()
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        row = {"type": "file", "path": str(path.relative_to(folder)), "size": len(content), "oid": git}
        oid = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return row | {"oid": "0" * 40, "lfs": oid} if len(content) > LARGE_BYTES - self.lose else row
