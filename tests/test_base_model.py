"""Base models come from a package, a folder or a hub; the hub here is a small server on this machine."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from urllib.parse import urlparse

import pytest

from fsd.errors import DownloadError, FsdError, RecipeError, WeightsError
from fsd.families.family import Source
from fsd.weights import base_model
from fsd.weights.base_model import base_fingerprint, check_folder, find_base_model

constants = pytest.importorskip("huggingface_hub.constants")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
EMPTY_WEIGHTS = b"\x02\0\0\0\0\0\0\0{}"


def make_folder(folder: Path) -> Path:
    for part in base_model.PARTS:
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
    for part in base_model.WEIGHTS:
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        (folder / part / f"{stem}.safetensors").write_bytes(EMPTY_WEIGHTS)
        (folder / part / f"{stem}.fp16.safetensors").write_bytes(EMPTY_WEIGHTS)
        (folder / part / f"{stem}.bin").write_bytes(b"pickle")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (folder / "v1-5-pruned.ckpt").write_bytes(b"large")
    return folder


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download needs."""

    folder: Path
    status: int
    code: str
    asked: list[str]

    def do_GET(self) -> None:
        path = urlparse(self.path).path
        self.asked.append(path)
        if self.status != 200:
            self.answer(b"{}", self.status, {"X-Error-Code": self.code} if self.code else {})
        elif path == "/api/models/owner/name/revision/main":
            self.answer(json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": []}).encode())
        elif path == f"/api/models/owner/name/tree/{COMMIT}":
            files = [file for file in sorted(self.folder.rglob("*")) if file.is_file()]
            names = [(str(file.relative_to(self.folder)), file.stat().st_size) for file in files]
            rows = [{"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in names]
            self.answer(json.dumps(rows).encode())
        elif path.startswith(f"/owner/name/resolve/{COMMIT}/"):
            file = self.folder / path.removeprefix(f"/owner/name/resolve/{COMMIT}/")
            self.answer(file.read_bytes(), 200, {"ETag": f'"{abs(hash(str(file)))}"', "X-Repo-Commit": COMMIT})
        else:
            self.answer(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})

    do_HEAD = do_GET

    def answer(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    handler = type("OneHub", (Hub,), {"folder": make_folder(tmp_path / "hub"), "status": 200, "code": "", "asked": []})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield handler
    running.shutdown()
    running.server_close()


def test_only_what_is_needed_is_fetched_and_only_once(server: type[Hub]) -> None:
    folder = find_base_model("owner/name")
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if not file.is_dir()}
    assert "unet/diffusion_pytorch_model.safetensors" in names
    assert not [name for name in names if "fp16" in name or name.endswith((".bin", ".ckpt"))]
    asked = len(server.asked)
    assert asked
    assert find_base_model("owner/name") == folder
    assert len(server.asked) == asked


def test_a_download_that_was_cut_goes_on(server: type[Hub]) -> None:
    folder = find_base_model("owner/name")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert find_base_model("owner/name") == folder
    assert (folder / "vae" / "diffusion_pytorch_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("status", "code", "says", "hint"),
    [
        (401, "RepoNotFound", "not on the hub, or private", "HF_TOKEN"),
        (401, "", "not on the hub, or private", "HF_TOKEN"),
        (401, "GatedRepo", "licence is not accepted", "accept its licence at https://huggingface.co/owner/name"),
        (403, "GatedRepo", "licence is not accepted", "accept its licence"),
        (404, "RepoNotFound", "not on the hub", "another OWNER/NAME"),
        (404, "RevisionNotFound", "has no revision", "choose one"),
    ],
)
def test_the_hubs_refusals_say_what_to_do(server: type[Hub], status: int, code: str, says: str, hint: str) -> None:
    server.status, server.code = status, code
    with pytest.raises(DownloadError) as caught:
        find_base_model("owner/name")
    assert says in caught.value.message
    assert hint in caught.value.hint


def test_without_a_connection(server: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="cannot be reached"):
        find_base_model("owner/name")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="unset HF_HUB_OFFLINE"):
        find_base_model("owner/name@v2")


def test_the_tiny_base_comes_from_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("fsd_tiny_base")
    package.model_folder = lambda: make_folder(tmp_path / "tiny")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fsd_tiny_base", package)
    assert find_base_model("tiny") == tmp_path / "tiny"
    monkeypatch.setitem(sys.modules, "fsd_tiny_base", None)
    with pytest.raises(DownloadError, match="fsd_tiny_base is not installed"):
        find_base_model("tiny")


def test_a_family_tries_its_sources_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried = []

    def fetch(repository: str, revision: str | None, offline: bool) -> Path:
        tried.append(repository)
        if repository == "gone/model":
            raise DownloadError("gone")
        return make_folder(tmp_path / "found") if not (tmp_path / "found").exists() else tmp_path / "found"

    monkeypatch.setattr(base_model, "_hub_snapshot", fetch)
    assert base_model._from_sources((Source("gone/model"), Source("mirror/model"))) == tmp_path / "found"
    assert tried == ["gone/model", "gone/model", "mirror/model"]
    with pytest.raises(DownloadError, match="gone"):
        base_model._from_sources((Source("gone/model"),))


NO_MODELS = ["sd9", "", "https://civitai.com/models/1", "my/model.safetensors", "model.ckpt", "a/b/c", "../x"]


@pytest.mark.parametrize("spec", NO_MODELS)
def test_what_is_no_base_model_is_refused_before_any_download(
    spec: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(base_model, "_hub_snapshot", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(RecipeError) as caught:
        find_base_model(spec)
    assert caught.value.hint


def test_a_local_folder_is_checked(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    assert find_base_model(str(folder)) == check_folder(folder) == folder
    for change, says in [
        (lambda: shutil.rmtree(folder / "vae"), "no vae"),
        (lambda: (folder / "model_index.json").unlink(), "no model_index.json, vae"),
    ]:
        change()
        with pytest.raises(FsdError, match=says):
            find_base_model(str(folder))
    other = make_folder(tmp_path / "other")
    for file in (other / "unet").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(WeightsError, match=r"only diffusion_pytorch_model\.bin"):
        find_base_model(str(other))
    index = {"weight_map": {"a": "diffusion_pytorch_model-00001-of-00001.safetensors"}}
    (other / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="lacks diffusion_pytorch_model-00001"):
        find_base_model(str(other))


def test_the_fingerprint_is_of_the_weights_alone(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "one")
    first = base_fingerprint(folder)
    shutil.copytree(folder, tmp_path / "two")
    (tmp_path / "two" / "model_index.json").write_text("{}")
    assert base_fingerprint(tmp_path / "two") == first
    file = tmp_path / "two" / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(EMPTY_WEIGHTS + b"\0")
    assert base_fingerprint(tmp_path / "two") != first
    with file.open("r+b") as stream:
        stream.truncate(65 << 20)
        large = base_fingerprint(tmp_path / "two")
        stream.seek((65 << 20) * 10 // 64)
        stream.write(b"x")
    assert base_fingerprint(tmp_path / "two") != large
    shutil.rmtree(folder / "unet")
    assert base_fingerprint(folder) != first
