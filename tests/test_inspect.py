"""`fsd inspect FILE`: what a file is, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sparse import sparse_file

from fsd.__main__ import main
from fsd.runtime import report

UNET = {
    "conv_in.weight": (320, 4, 3, 3),
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 768),
}
FLUX_LORA = {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (4, 3072)}


@pytest.fixture(autouse=True)
def _lines_go_where_they_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_stream", None)


def test_people_are_told_in_a_few_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sparse_file(
        tmp_path / "cup.safetensors", UNET, metadata={"modelspec.title": "A cup", "ss_tag_frequency": "{}"}
    )
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{path}: a model (Stable Diffusion 1), ")
    assert "  family: sd15 (Stable Diffusion 1.5)" in lines
    assert "  prediction: epsilon (usual for its architecture, and nothing says otherwise)" in lines
    assert "  dtype: fp16" in lines
    assert "  web UIs: a1111, forge, forge-neo, comfyui" in lines
    assert "  modelspec.title: A cup" in lines
    assert len(lines) < 12


def test_programs_get_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sparse_file(tmp_path / "style.safetensors", FLUX_LORA)
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: found[name] for name in ("kind", "family", "layout", "form", "prediction")} == {
        "kind": "lora", "family": "", "layout": "flux", "form": "kohya", "prediction": "flow",
    }  # fmt: skip
    assert found["web_uis"] == ["forge", "forge-neo", "comfyui"]
    assert found["size_bytes"] == path.stat().st_size


def test_an_unknown_file_is_no_error_and_a_damaged_one_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(sparse_file(tmp_path / "odd.safetensors", {"a.weight": (2, 2)}))]) == 0
    assert "of no kind that fsd knows" in (said := capsys.readouterr().out) and "looked for a ControlNet" in said
    (tmp_path / "bad.ckpt").write_bytes(b"PK\3\4")
    assert main(["inspect", str(tmp_path / "bad.ckpt"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "weights"
