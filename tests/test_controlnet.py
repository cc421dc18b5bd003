"""ControlNets: the table, the names, and what is taken in, from a hub that is a server of this machine."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("diffusers")

import bad_server
from controlnets import KINDS, narrow, outline
from hub_stand_in import Hub, hub_server
from sparse import sparse_file

from fsd.errors import DownloadError, FsdError, MachineError, RecipeError, WeightsError
from fsd.families import FAMILIES, controlnets, get_family
from fsd.families.controlnet import STUDIO, ControlNet, tagged_name
from fsd.families.controlnets import CONTROLNETS, choose_controlnet, tasks
from fsd.families.family import WEB_UIS, RemoteFile, Source
from fsd.families.preprocessors import PREPROCESSORS, Preprocessor, Weights
from fsd.runtime import files
from fsd.webui.controlnet import HEAD, add_controlnet, check_controlnet, list_controlnets, rows
from fsd.weights import links
from fsd.weights.detect import detect

FAMILY = {"sd1": "sd15", "sd2": "sd21", "sdxl": "sdxl", "sd35-large": "sd35-large", "flux": "flux-dev", "tiny": "tiny"}
LORA = {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 768)}
MODEL = {
    "model.diffusion_model.input_blocks.0.0.weight": (1, 4, 3, 3),
    "model.diffusion_model.x.attn2.to_k.weight": (1, 768),
}


def told_by_name(name: str) -> str:
    """The family that sd-webui-controlnet takes a ControlNet for: its published rule, written anew."""
    if any(f"sd{version}" in name.lower() for version in (14, 15, 16)):
        return "sd1"
    if "sd21" in name or "2.1" in name:
        return "sd2"
    return "sdxl" if "xl" in name.lower() else ""


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("sd15", "canny depth openpose softedge lineart lineart_anime scribble mlsd normal seg inpaint tile shuffle ip2p"),
        ("sd15-inpainting", "canny depth openpose softedge lineart lineart_anime scribble mlsd normal seg inpaint tile "
         "shuffle ip2p"),
        ("sd21", "canny depth openpose softedge lineart scribble normal seg color"),
        ("sd21-base", "canny depth openpose softedge lineart scribble normal seg color"),
        ("sdxl", "canny depth openpose softedge lineart lineart_anime scribble mlsd normal seg inpaint tile recolor"),
        ("sd35-large", "canny depth blur"),
        ("sd35-large-turbo", "canny depth blur"),
        ("sd35-medium", ""),
        ("flux-dev", "canny depth openpose softedge gray tile blur"),
        ("flux-schnell", "canny depth openpose softedge gray tile blur"),
        ("tiny", ""),
    ],
)  # fmt: skip
def test_each_family_has_its_tasks(family: str, expected: str) -> None:
    assert sorted(tasks(get_family(family))) == sorted(expected.split())
    assert all(one.family == get_family(family).controlnets for one in list_controlnets(family))


def test_sd15_has_all_fourteen_in_half_precision() -> None:
    names = [one.name for one in list_controlnets("sd15")]
    assert len(names) == 14 and all(name.endswith("_fp16.safetensors") for name in names)
    assert (
        "control_v11f1p_sd15_depth_fp16.safetensors" in names and "control_v11f1e_sd15_tile_fp16.safetensors" in names
    )


@pytest.mark.parametrize("one", CONTROLNETS, ids=[one.name for one in CONTROLNETS])
def test_a_name_tells_its_family_to_the_web_ui(one: ControlNet) -> None:
    assert told_by_name(one.name.rpartition(".")[0]) == (one.family if one.family in ("sd1", "sd2", "sdxl") else "")


@pytest.mark.parametrize("one", CONTROLNETS, ids=[one.name for one in CONTROLNETS])
def test_a_record_is_sound(one: ControlNet) -> None:
    assert one.family in {family.controlnets for family in FAMILIES.values()}
    assert one.tasks and set(one.tasks) <= set(PREPROCESSORS)
    assert one.web_uis and set(one.web_uis) <= {*WEB_UIS, STUDIO}
    assert not {"a1111", "forge"} & set(one.web_uis) or one.family in ("sd1", "sd2", "sdxl")
    runs = {web_ui for family in FAMILIES.values() if family.controlnets == one.family for web_ui in family.web_uis}
    assert set(one.web_uis) <= {*runs, STUDIO}
    assert not one.made_by or one.preprocessor.name == one.made_by
    check_weights(one)


def check_weights(file: Weights) -> None:
    assert file.size_bytes > 10**5 and re.fullmatch(r"|[0-9a-f]{64}", file.sha256)
    assert len({source.repository for source in file.sources}) == len(file.sources) >= 1
    first = file.source.file
    assert first and (first.sha256, first.size_bytes or file.size_bytes) == (file.sha256, file.size_bytes)
    for source in file.sources:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", source.repository)
        assert source.file and not source.file.name.startswith("/") and source.file.sha256 in ("", file.sha256)


def test_preprocessors_are_sound() -> None:
    for known in PREPROCESSORS.values():
        for one in known:
            assert bool(one.folder) == bool(one.weights)
            for file in one.weights:
                check_weights(file)
    assert all(not PREPROCESSORS[task][0].weights for task in ("canny", "inpaint", "tile", "lineart"))
    assert PREPROCESSORS["openpose"][0].weights[0].name == "body_pose_model.pth"


def test_no_two_files_share_a_name_or_a_hash() -> None:
    every = [*CONTROLNETS, *{file for known in PREPROCESSORS.values() for one in known for file in one.weights}]
    assert len({file.name for file in every}) == len(every)
    hashes = [file.sha256 for file in every if file.sha256]
    assert len(set(hashes)) == len(hashes) > 25


def test_unions_come_first_but_not_where_a_web_ui_cannot_use_them() -> None:
    sdxl, flux = get_family("sdxl"), get_family("flux-schnell")
    assert {choose_controlnet(sdxl, task).name for task in ("canny", "depth", "pose", "hed", "tile", "inpaint")} == {
        "xinsir_union_promax_sdxl.safetensors"
    }
    assert choose_controlnet(sdxl, "canny", "forge").name == "xinsir_canny_sdxl.safetensors"
    assert choose_controlnet(flux, "canny").name == "flux_union_pro_2.0.safetensors"
    assert choose_controlnet(flux, "tile", STUDIO).name == "flux_union_instantx.safetensors"
    sd35 = get_family("sd35-large")
    original = choose_controlnet(sd35, "canny", "comfyui")
    assert [source.repository.split("/")[0] for source in original.sources] == ["stabilityai", "Comfy-Org"]
    assert STUDIO in choose_controlnet(sd35, "canny").web_uis


@pytest.mark.parametrize(
    ("family", "task", "web_ui", "says", "hint"),
    [
        ("sd15", "", "", "there is no ControlNet task ''", "choose one of: canny, depth"),
        ("sd15", "\0" * 9, "", "there is no ControlNet task", "choose one of: canny, depth"),
        ("sd15", "cany", "", "there is no ControlNet task 'cany'", "choose one of: canny, depth"),
        (
            "sd35-large",
            "openpose",
            "",
            "knows no ControlNet for openpose of Stable Diffusion 3.5 Large",
            "canny, depth, blur",
        ),
        (
            "sd35-medium",
            "canny",
            "",
            "of Stable Diffusion 3.5 Medium",
            "give a ControlNet of your own: a file or a link",
        ),
        ("flux-dev", "canny", "a1111", "canny of FLUX.1 [dev] that a1111 can use", "a file or a link"),
        ("sd99", "canny", "", "no model family 'sd99'", "choose one of"),
    ],
)
def test_what_there_is_not_is_said_with_what_there_is(
    tmp_path: Path, family: str, task: str, web_ui: str, says: str, hint: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        add_controlnet(task, family, tmp_path / "models", web_ui=web_ui)
    assert says in caught.value.message and hint in caught.value.hint
    assert not (tmp_path / "models").exists()


def test_the_list_in_rows() -> None:
    shown = rows(list_controlnets("sdxl"))
    assert [len(row) for row in shown] == [len(HEAD)] * len(shown)
    assert shown[0][:4] == [
        "sdxl",
        "canny, depth, openpose and 9 more",
        "xinsir_union_promax_sdxl.safetensors",
        "2.51 GB",
    ]
    assert "softedge_hed (29.4 MB)" in rows(list_controlnets("sd21"))[2]
    assert len(list_controlnets()) == len(CONTROLNETS)


@pytest.mark.parametrize("name", [
    "mine.safetensors", "sd15_mine.safetensors", "my-sdxl.pth", "control_sd21 v2.1.ckpt", "XL.safetensors",
    "SD14SD15sd21xl.safetensors", "flux-xlabs.safetensors", "a.b.c.safetensors",
])  # fmt: skip
def test_any_name_can_be_tagged(name: str) -> None:
    for kind in FAMILY:
        tagged = tagged_name(name, kind)
        told = told_by_name(tagged.rpartition(".")[0])
        assert told == {"tiny": "sd1", "flux": "", "sd35-large": ""}.get(kind, kind)
        assert tagged.endswith(Path(name).suffix) and tagged_name(tagged, kind) == tagged
        assert tagged == name or told_by_name(name.rpartition(".")[0]) != told


# --- headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_controlnet_is_recognised_by_its_header_and_fits_its_family_alone(tmp_path: Path, name: str) -> None:
    kind = name.split(" ")[0]
    path = sparse_file(tmp_path / "sd15_sd21_xl_flux.safetensors", outline(name))
    found = detect(path)
    assert (found.kind, FAMILIES[found.family].controlnets) == ("controlnet", kind)
    for family in FAMILIES.values():
        if family.controlnets == kind:
            check_controlnet(path, family.name)
        else:
            with pytest.raises(RecipeError, match=rf"is made for .*, not for {re.escape(family.title)}"):
                check_controlnet(path, family.name)


NO_CONTROLNETS = [
    (LORA, "not a ControlNet but a LoRA (Stable Diffusion 1)"),
    (MODEL, "not a ControlNet but a model (Stable Diffusion 1)"),
    ({"body.0.in_conv.weight": (4, 4)}, "not a ControlNet but a T2I or IP adapter"),
    ({"some.weight": (2, 2)}, "of no kind that fsd knows"),
    ({"controlnet_blocks.0.weight": (1, 1536), "transformer_blocks.0.attn.to_q.weight": (1, 1536),
      "pos_embed_input.proj.weight": (1, 16, 2, 2)}, "a ControlNet (Stable Diffusion 3 Medium), which fits no family of fsd"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "says"), NO_CONTROLNETS, ids=["lora", "model", "adapter", "unknown", "sd3"])
def test_what_is_no_controlnet_is_refused_with_what_it_is(tmp_path: Path, keys: dict, says: str) -> None:
    path = sparse_file(tmp_path / "control_v11p_sd15_canny.safetensors", keys)
    with pytest.raises(WeightsError) as caught:
        add_controlnet(str(path), "sd15", tmp_path / "models")
    assert says in caught.value.message and caught.value.hint
    assert path.is_file() and not (tmp_path / "models").exists()


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control_sd15.pth"
    path.write_bytes(pickle.dumps({"control_model.input_hint_block.0.weight": os.system}))
    with pytest.raises(WeightsError):
        add_controlnet(str(path), "sd15", tmp_path / "models")
    assert not (tmp_path / "models").exists()


# --- a file of one's own ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FAMILY)
def test_a_file_of_ones_own_gets_its_tag(tmp_path: Path, kind: str) -> None:
    path = narrow(kind, tmp_path / "edges.safetensors")
    found = add_controlnet(str(path), FAMILY[kind], tmp_path / "models")
    assert found.name == tagged_name("edges.safetensors", kind)
    assert found.read_bytes() == path.read_bytes()
    before = found.stat()
    assert add_controlnet(str(path), FAMILY[kind], tmp_path / "models") == found
    assert found.stat() == before and [*(tmp_path / "models").iterdir()] == [found]


def test_another_familys_file_is_refused_by_its_header_not_its_name(tmp_path: Path) -> None:
    path = narrow("sdxl", tmp_path / "control_v11p_sd15_canny.safetensors")
    (tmp_path / "models").mkdir()
    with pytest.raises(RecipeError) as caught:
        add_controlnet(str(path), "sd15", tmp_path / "models")
    assert (
        "control_v11p_sd15_canny.safetensors is made for Stable Diffusion XL base 1.0, not for" in caught.value.message
    )
    assert [*(tmp_path / "models").iterdir()] == []
    found = add_controlnet(str(path), "sdxl", tmp_path / "models")
    assert told_by_name(found.stem) == "sdxl"


def test_a_file_that_lies_there_already_is_renamed_and_none_is_overwritten(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    found = add_controlnet(str(narrow("sd1", models / "mine.safetensors")), "sd15", models)
    assert [path.name for path in models.iterdir()] == ["mine_sd15.safetensors"]
    assert add_controlnet(str(found), "sd15", models) == found
    other = narrow("sd1 as published", tmp_path / "mine.safetensors")
    with pytest.raises(RecipeError, match=r"mine_sd15\.safetensors is there already, and it is another ControlNet"):
        add_controlnet(str(other), "sd15", models)


def test_a_diffusers_folder_lends_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "my-edges"
    folder.mkdir()
    narrow("sdxl", folder / "diffusion_pytorch_model.safetensors")
    assert add_controlnet(str(folder), "sdxl", tmp_path / "models").name == "my-edges_sdxl.safetensors"
    with pytest.raises(RecipeError, match="there is no file"):
        add_controlnet(str(tmp_path / "nothing.safetensors"), "sdxl", tmp_path / "models")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = narrow("sd1", tmp_path / "cut_sd15.safetensors")
    os.truncate(path, path.stat().st_size - 7)
    with pytest.raises(WeightsError, match="truncated"):
        add_controlnet(str(path), "sd15", tmp_path / "models")
    assert not (tmp_path / "models").exists()


# --- disks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two disks, or Drive: no file can have a second name."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("no_links")
def test_a_copy_is_read_back_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = narrow("sd1", tmp_path / "edges_sd15.safetensors")
    real = files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: "00" * 32)
    with pytest.raises(MachineError, match="does not keep what is written"):
        add_controlnet(str(path), "sd15", tmp_path / "models")
    assert [*(tmp_path / "models").iterdir()] == []
    monkeypatch.setattr(files, "sha256", real)
    found = add_controlnet(str(path), "sd15", tmp_path / "models")
    assert found.read_bytes() == path.read_bytes() and not found.samefile(path)


# --- from the hub ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    yield from hub_server(tmp_path / "hub", tmp_path / "cache", monkeypatch)


def offer(hub: type[Hub], repository: str, name: str) -> Path:
    """A ControlNet at the hub, called as the hub calls them all."""
    folder = hub.folder / repository
    folder.mkdir(parents=True, exist_ok=True)
    return narrow(name, folder / "diffusion_pytorch_model.safetensors")


def listed(monkeypatch: pytest.MonkeyPatch, kind: str, file: Path, *owners: str, sha256: str = "") -> ControlNet:
    """The table with one record: the family's own for canny, from OWNER/name."""
    name, size_bytes = "diffusion_pytorch_model.safetensors", file.stat().st_size
    sources = tuple(Source(f"{owner}/name", file=RemoteFile(name, None, sha256)) for owner in owners or ("owner",))
    known = next((one for one in CONTROLNETS if one.family == kind and "canny" in one.tasks), CONTROLNETS[0])
    made = replace(known, family=kind, sources=sources, size_bytes=size_bytes, sha256=sha256)
    monkeypatch.setattr(controlnets, "CONTROLNETS", (made,))
    return made


@pytest.mark.parametrize("name", KINDS)
def test_a_controlnet_is_fetched_once_and_saved_under_its_name(
    tmp_path: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    kind = name.split(" ")[0]
    served = offer(hub, "owner/name", name)
    record = listed(monkeypatch, kind, served)
    found = add_controlnet("canny", FAMILY[kind], tmp_path / "models")
    assert (found.name, found.read_bytes()) == (record.name, served.read_bytes())
    said = capsys.readouterr().out
    assert "preprocessor: canny" in said and re.search(r"in all, and .* are free", said)
    asked = len(hub.asked)
    assert add_controlnet("canny", FAMILY[kind], tmp_path / "models") == found
    assert len(hub.asked) == asked and capsys.readouterr().out == ""
    assert [*(tmp_path / "models").iterdir()] == [found]


def test_preprocessor_weights_come_along_to_where_the_web_ui_looks(
    tmp_path: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = listed(monkeypatch, "sd1", offer(hub, "owner/name", "sd1"))
    (hub.folder / "owner" / "name" / "net.pth").write_bytes(b"weights")
    sources = (Source("owner/name", file=RemoteFile("net.pth", 7, hashlib.sha256(b"weights").hexdigest())),)
    helper = Preprocessor("depth_midas", "midas", (Weights("net.pth", 7, "", sources),))
    monkeypatch.setitem(PREPROCESSORS, "canny", (helper,))
    monkeypatch.setattr(controlnets, "CONTROLNETS", (record,))
    add_controlnet("canny", "sd15", tmp_path / "models")
    assert not (tmp_path / "annotators").exists()
    place = tmp_path / "annotators" / "midas" / "net.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"cut")
    add_controlnet("canny", "sd15", tmp_path / "models", tmp_path / "annotators")
    assert place.read_bytes() == b"weights"
    asked = len(hub.asked)
    add_controlnet("canny", "sd15", tmp_path / "models", tmp_path / "annotators")
    assert len(hub.asked) == asked


def test_no_space_is_said_before_a_byte_is_fetched(
    tmp_path: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(monkeypatch, "sd1", offer(hub, "owner/name", "sd1"))
    usage = type(shutil.disk_usage(tmp_path))(10**10, 10**10 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(MachineError, match=r"no space in .*: .* in all, and 1\.0 KB are free"):
        add_controlnet("canny", "sd15", tmp_path / "models")
    assert hub.asked == [] and not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("status", "code", "says", "hint"),
    [
        (401, "GatedRepo", "wants a token for owner/name", "accept its licence at https://huggingface.co/owner/name"),
        (403, "GatedRepo", "licence is not accepted", "accept its licence at https://huggingface.co/owner/name"),
    ],
)
def test_a_licence_to_accept_is_said_and_the_next_source_tried(
    tmp_path: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch, status: int, code: str, says: str, hint: str
) -> None:
    served = offer(hub, "owner/name", "sd35-large")
    hub.refused["owner"] = (status, code)
    listed(monkeypatch, "sd35-large", served)
    with pytest.raises(DownloadError) as caught:
        add_controlnet("canny", "sd35-large", tmp_path / "models")
    assert says in caught.value.message and hint in caught.value.hint
    assert not (tmp_path / "models").exists()
    offer(hub, "copy/name", "sd35-large")
    listed(monkeypatch, "sd35-large", served, "owner", "copy")
    assert add_controlnet("canny", "sd35-large", tmp_path / "models").is_file()


def test_a_damaged_file_is_refused_deleted_and_another_source_tried(
    tmp_path: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = offer(hub, "owner/name", "sd1")
    whole = served.read_bytes()
    listed(monkeypatch, "sd1", served)
    os.truncate(served, len(whole) - 100)
    with pytest.raises(WeightsError, match="truncated"):
        add_controlnet("canny", "sd15", tmp_path / "models")
    assert not (tmp_path / "models").exists()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size > 1000]
    offer(hub, "copy/name", "sd1")
    listed(monkeypatch, "sd1", served, "owner", "copy")
    assert add_controlnet("canny", "sd15", tmp_path / "models").read_bytes() == whole


def test_a_file_of_another_hash_or_family_is_refused(
    tmp_path: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = offer(hub, "owner/name", "sdxl")
    listed(monkeypatch, "sdxl", served, sha256="00" * 32)
    with pytest.raises(DownloadError, match="not what it should be"):
        add_controlnet("canny", "sdxl", tmp_path / "models")
    listed(monkeypatch, "sd1", served)
    with pytest.raises(RecipeError, match="is made for Stable Diffusion XL"):
        add_controlnet("canny", "sd15", tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_what_was_left_damaged_in_the_folder_is_fetched_again(
    tmp_path: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served = offer(hub, "owner/name", "sd1")
    record = listed(monkeypatch, "sd1", served)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / record.name).write_bytes(served.read_bytes()[:-9])
    assert add_controlnet("canny", "sd15", tmp_path / "models").read_bytes() == served.read_bytes()
    assert "truncated; it is fetched again" in capsys.readouterr().out


@pytest.mark.parametrize(
    "what",
    [
        "owner/name",
        "https://huggingface.co/owner/name",
        "https://huggingface.co/owner/name/blob/main/diffusion_pytorch_model.safetensors",
    ],
)
def test_a_link_of_ones_own_is_called_after_its_repository(tmp_path: Path, hub: type[Hub], what: str) -> None:
    served = offer(hub, "owner/name", "sdxl")
    found = add_controlnet(what, "sdxl", tmp_path / "models")
    assert (found.name, found.read_bytes()) == ("owner_name_sdxl.safetensors", served.read_bytes())
    with pytest.raises(FsdError, match="is made for Stable Diffusion XL"):
        add_controlnet(what, "sd15", tmp_path / "models")
    assert [*(tmp_path / "models").iterdir()] == [found]


def test_a_page_of_civitai_brings_its_controlnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("FSD_HOME", str(tmp_path / "home"))
    served = narrow("sdxl", tmp_path / "edges.safetensors")
    with bad_server.bad_server() as site:
        monkeypatch.setattr(links, "CIVITAI", site.url)
        url = site.on("/edges", bad_server.file(served.read_bytes()))
        entry = {"type": "Model", "name": served.name, "downloadUrl": url}
        record = {"id": 77, "modelId": 5, "model": {"type": "Controlnet"}, "files": [entry]}
        site.on("/api/v1/model-versions/77", bad_server.status(200, json.dumps(record).encode()))
        made = add_controlnet(f"{site.url}/models/5?modelVersionId=77", "sdxl", tmp_path / "models")
    assert (made.name, made.read_bytes()) == ("edges_sdxl.safetensors", served.read_bytes())
