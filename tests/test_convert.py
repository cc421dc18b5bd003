"""Every family, both ways: nothing lost, nothing turned, and Diffusers draws the same picture from the single file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from micro import diffusers, torch
from pipelines import MAKERS, make_sdxl, picture
from test_ckpt import tensors_of

from fsd import models
from fsd.errors import FsdError, WeightsError
from fsd.families import FAMILIES
from fsd.families.configs import family_config
from fsd.weights.ckpt import read_file
from fsd.weights.convert import convert
from fsd.weights.detect import Detected
from fsd.weights.folder import layout_of, write_folder
from fsd.weights.keys import entries, get_layout
from fsd.weights.layouts import LAYOUTS
from fsd.weights.metadata import sidecar
from fsd.weights.tensors import read_header

safetensors_torch = pytest.importorskip("safetensors.torch")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {name: make(root / name) for name, make in MAKERS.items()}


def weights_of(folder: Path) -> dict[str, dict]:
    parts = get_layout(layout_of(folder)).names()
    found = {part: tensors_of(folder / part) for part in parts}
    return {part: {name: value for name, value in found[part].items() if "embed_tokens" not in name} for part in parts}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_there_and_back_is_equal_tensor_by_tensor(
    folders: dict[str, Path], tmp_path: Path, name: str, suffix: str
) -> None:
    folder, back = folders[name], tmp_path / "back"
    made = convert(folder, tmp_path / f"model{suffix}")
    assert layout_of(folder) == name.split("-")[0]
    assert made.tensors == len(read_file(made.path))
    assert made.left_out in ((), ("text_encoder_2: encoder.embed_tokens.weight",))
    again = convert(made.path, back, like=folder)
    assert again.lacks == ()
    assert [key.split(".transformer.")[1] for key in again.left_out] in ([], ["encoder.embed_tokens.weight"])
    assert weights_of(back) == weights_of(folder)
    diffusers.DiffusionPipeline.from_pretrained(back)


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "flux"])
def test_diffusers_draws_the_same_picture_from_the_file(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder = folders[name]
    made = convert(folder, tmp_path / "model.safetensors")
    whole = diffusers.DiffusionPipeline.from_pretrained(folder)
    single = type(whole).from_single_file(str(made.path), config=str(folder), local_files_only=True)
    if t5 := getattr(single, "text_encoder_3", None):
        t5.eval()  # Diffusers hands it out of a single file in training mode, with its dropout
    one, two = picture(whole), picture(single)
    assert one.isfinite().all()
    assert one.std() > 0.01
    assert (one - two).abs().max() <= 1e-4


def test_diffusers_draws_the_same_picture_from_a_flux_folder_that_came_back(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """Diffusers' own reader of single Flux files cuts at 3072 rows whatever the width: it cannot read a tiny one."""
    made = convert(folders["flux"], tmp_path / "model.safetensors")
    back = write_folder(made.path, tmp_path / "back", like=folders["flux"]).path
    one, two = (picture(diffusers.FluxPipeline.from_pretrained(folder)) for folder in (folders["flux"], back))
    assert torch.equal(one, two)


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.backbone == "transformer"])
def test_diffusers_own_converter_reads_full_size_keys(family: str) -> None:
    """Every tensor of the real size but one column wide, so that all blocks and all rows are there at little cost."""
    from diffusers.loaders import single_file_utils as theirs

    layout, config = LAYOUTS[FAMILIES[family].layout], family_config(family, "transformer")
    narrow = {
        name: torch.arange(at, at + shape[0], dtype=torch.int32).reshape(-1, *[1] * (len(shape) - 1))
        for at, (name, shape) in enumerate(layout.backbone.outline(config).items())
    }
    file = {
        entry.key: torch.cat([narrow[piece.name][piece.start : piece.start + piece.rows] for piece in entry.pieces])
        for entry in entries(layout, {"transformer": config})
    }
    converters = {
        "sd3": theirs.convert_sd3_transformer_checkpoint_to_diffusers,
        "flux": theirs.convert_flux_transformer_checkpoint_to_diffusers,
    }
    found = converters[layout.name](file)
    assert found.keys() == narrow.keys()
    assert [name for name in narrow if not torch.equal(found[name], narrow[name])] == []


@pytest.mark.parametrize("name", ["sdxl", "flux"])
@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
def test_a_cast_is_torchs_own(folders: dict[str, Path], tmp_path: Path, name: str, dtype: str) -> None:
    whole = safetensors_torch.load_file(convert(folders[name], tmp_path / "whole.safetensors").path)
    made = convert(folders[name], tmp_path / "cast.safetensors", dtype)
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    cast = safetensors_torch.load_file(made.path)
    assert cast.keys() == whole.keys()
    assert all(torch.equal(cast[key], whole[key].to(kind)) for key in whole)
    back = convert(made.path, tmp_path / "back", "fp32", like=folders[name])
    rounded = safetensors_torch.load_file(convert(back.path, tmp_path / "again.safetensors").path)
    assert all(torch.equal(rounded[key], cast[key].float()) for key in whole)


def test_the_original_layouts_turn_what_they_turn(folders: dict[str, Path], tmp_path: Path) -> None:
    """By value, against the tensors of the folder: the traps of every layout."""
    key = "conditioner.embedders.1.model."
    file = safetensors_torch.load_file(convert(folders["sdxl"], tmp_path / "sdxl.safetensors").path)
    clip = safetensors_torch.load_file(folders["sdxl"] / "text_encoder_2" / "model.safetensors")
    assert torch.equal(file[key + "text_projection"], clip["text_projection.weight"].T)
    stem = "text_model.encoder.layers.1.self_attn."
    joined = torch.cat([clip[f"{stem}{letter}_proj.weight"] for letter in "qkv"])
    assert torch.equal(file[key + "transformer.resblocks.1.attn.in_proj_weight"], joined)

    for name, swapped in (("sd3-medium", ["final_layer", "joint_blocks.2.context_block"]), ("flux", ["final_layer"])):
        file = safetensors_torch.load_file(convert(folders[name], tmp_path / f"{name}.safetensors").path)
        found = safetensors_torch.load_file(folders[name] / "transformer" / "diffusion_pytorch_model.safetensors")
        for stem in swapped:
            theirs = (
                "norm_out.linear.weight"
                if stem == "final_layer"
                else "transformer_blocks.2.norm1_context.linear.weight"
            )
            scale, shift = found[theirs].chunk(2)
            assert torch.equal(
                file[f"model.diffusion_model.{stem}.adaLN_modulation.1.weight"], torch.cat([shift, scale])
            )
    names = [
        f"single_transformer_blocks.1.{part}.weight" for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    ]
    joined = torch.cat([found[part] for part in names])
    assert torch.equal(file["model.diffusion_model.single_blocks.1.linear1.weight"], joined)


def test_parts_can_be_left_out_and_lent(folders: dict[str, Path], tmp_path: Path) -> None:
    lean = convert(folders["flux"], tmp_path / "lean.safetensors", without=["vae", "text_encoder", "text_encoder_2"])
    assert all(key.startswith("model.diffusion_model.") for key in read_file(lean.path))
    back = convert(lean.path, tmp_path / "back", like=folders["flux"])
    assert weights_of(back.path) == weights_of(folders["flux"])
    with pytest.raises(WeightsError, match="holds no vae and no text_encoder and no text_encoder_2"):
        convert(lean.path, tmp_path / "other", family="flux-dev")
    alone = convert(
        lean.path, tmp_path / "alone", like=folders["flux"], without=["vae", "text_encoder", "text_encoder_2"]
    )
    index = json.loads((alone.path / "model_index.json").read_text())
    assert index["vae"] == index["tokenizer"] == [None, None] and index["transformer"][1] == "FluxTransformer2DModel"
    assert sorted(path.name for path in alone.path.iterdir()) == ["model_index.json", "scheduler", "transformer"]
    whole = convert(folders["flux"], tmp_path / "whole.safetensors")
    assert read_file(lean.path).keys() < read_file(whole.path).keys()


def test_a_pipeline_without_an_encoder_is_saved_without_it(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "no-t5"
    shutil.copytree(folders["sd3-large"], folder, ignore=shutil.ignore_patterns("text_encoder_3", "tokenizer_3"))
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index))
    made = convert(folder, tmp_path / "model.safetensors")
    assert not any("t5xxl" in key for key in read_file(made.path))
    back = convert(made.path, tmp_path / "back", like=folder)
    assert not (back.path / "text_encoder_3").exists()
    diffusers.StableDiffusion3Pipeline.from_pretrained(back.path, text_encoder_3=None, tokenizer_3=None)


def test_the_configurations_of_a_family_and_what_is_lacking(tmp_path: Path, folders: dict[str, Path]) -> None:
    """The tiny base's own folder, made again from its single file and nothing else."""
    base = pytest.importorskip("fsd_tiny_base").model_folder()
    made = convert(Path(base), tmp_path / "tiny.safetensors")
    bare = write_folder(made.path, tmp_path / "bare", family="tiny")
    assert bare.lacks == ("tokenizer",)
    assert weights_of(bare.path) == weights_of(Path(base))
    lent = write_folder(made.path, tmp_path / "lent", like=Path(base), family="tiny")
    assert lent.lacks == () and (lent.path / "tokenizer" / "tokenizer.json").is_file()
    diffusers.StableDiffusionPipeline.from_pretrained(lent.path)
    index = json.loads((lent.path / "model_index.json").read_text())
    assert index["safety_checker"] == [None, None]


@pytest.mark.parametrize(("prediction", "says"), [("v_prediction", "v"), ("epsilon", "eps")])
def test_sd2_has_its_sidecar(folders: dict[str, Path], tmp_path: Path, prediction: str, says: str) -> None:
    folder = tmp_path / "sd2"
    shutil.copytree(folders["sd2"], folder)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"prediction_type": prediction}))
    made = convert(folder, tmp_path / "model.safetensors")
    assert made.sidecar == tmp_path / "model.yaml"
    settings = pytest.importorskip("yaml").safe_load(made.sidecar.read_text())["model"]["params"]
    assert settings["parameterization"] == says
    assert settings["unet_config"]["params"]["context_dim"] == 24
    assert read_header(made.path)[1]["modelspec.prediction_type"] == says.removesuffix("s") + "silon" * (says == "eps")
    again = convert(made.path, tmp_path / "again.ckpt")
    assert again.sidecar and again.sidecar.read_text() == made.sidecar.read_text()


def test_the_sidecar_of_the_published_models_holds_their_numbers() -> None:
    yaml = pytest.importorskip("yaml")
    configs = {part: family_config("sd21", part) for part in ("unet", "vae")}
    params = yaml.safe_load(sidecar(configs, "v_prediction"))["model"]["params"]
    unet, vae = params["unet_config"]["params"], params["first_stage_config"]["params"]
    assert (params["linear_start"], params["linear_end"], params["scale_factor"]) == (0.00085, 0.012, 0.18215)
    assert unet["attention_resolutions"] == [4, 2, 1] and unet["channel_mult"] == [1, 2, 4, 4]
    assert (unet["num_head_channels"], unet["context_dim"], unet["model_channels"]) == (64, 1024, 320)
    assert unet["use_linear_in_transformer"] is True and params["use_ema"] is False
    assert (vae["ddconfig"]["ch"], vae["ddconfig"]["ch_mult"], vae["embed_dim"]) == (128, [1, 2, 4, 4], 4)


def test_a_failed_file_gets_no_sidecar(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "sd2"
    shutil.copytree(folders["sd2"], folder)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="truncated"):
        convert(folder, tmp_path / "model.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sd2"]


def test_sdxl_that_predicts_v_is_marked(tmp_path: Path) -> None:
    folder = make_sdxl(tmp_path / "sdxl")
    scheduler = folder / "scheduler" / "scheduler_config.json"
    more = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | more))
    for suffix in (".safetensors", ".ckpt"):
        made = convert(folder, tmp_path / f"model{suffix}", "fp16")
        found = read_file(made.path)
        assert found["v_pred"].shape == found["ztsnr"].shape == (0,)
        back = convert(made.path, tmp_path / f"back{suffix[1:]}", like=folder)
        assert back.left_out == ("v_pred", "ztsnr")
    assert torch.load(tmp_path / "model.ckpt", weights_only=True)["state_dict"]["v_pred"].numel() == 0
    assert safetensors_torch.load_file(tmp_path / "model.safetensors")["v_pred"].numel() == 0


def test_bin_weights_are_read_and_run_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(folders["sdxl"], folder)
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        (file,) = (folder / part).glob("*.safetensors")
        torch.save(safetensors_torch.load_file(file), folder / part / f"{STEMS[part[:4]]}.bin")
        file.unlink()
    one, two = (convert(at, tmp_path / f"{at.name}.safetensors") for at in (folder, folders["sdxl"]))
    one, two = (safetensors_torch.load_file(made.path) for made in (one, two))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


STEMS = {"text": "pytorch_model", "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}


def test_ckpt_and_safetensors_are_turned_into_each_other_as_they_are(tmp_path: Path) -> None:
    state = {"a.weight": torch.randn(3, 4), "b": torch.arange(5), "c": torch.randn(2, 2).half()}
    torch.save({"state_dict": state}, tmp_path / "any.ckpt")
    made = convert(tmp_path / "any.ckpt", tmp_path / "any.safetensors")
    again = convert(made.path, tmp_path / "again.ckpt")
    found = torch.load(again.path, weights_only=True)["state_dict"]
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) and found[key].dtype == state[key].dtype for key in state)
    assert read_header(made.path)[1]["fsd.made_from"] == "any.ckpt"
    half = safetensors_torch.load_file(convert(made.path, tmp_path / "half.safetensors", "bf16").path)
    assert [half[key].dtype for key in ("a.weight", "b", "c")] == [torch.bfloat16, torch.int64, torch.bfloat16]


def test_no_torch_no_numpy_and_little_memory(folders: dict[str, Path], tmp_path: Path) -> None:
    """The same dtype both ways, with joined, swapped and turned tensors, in a process of its own."""
    code = """
import sys
from pathlib import Path
from fsd.weights.convert import convert
folder, single, back = map(Path, sys.argv[1:])
convert(folder, single)
convert(single, back, like=folder)
peak_kb = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1]
print(int(peak_kb) / 1000, *(name for name in ("torch", "numpy") if name in sys.modules))
"""
    command = [
        sys.executable,
        "-c",
        code,
        str(folders["sdxl"]),
        str(tmp_path / "m.safetensors"),
        str(tmp_path / "back"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    peak_mb, *loaded = ended.stdout.split()
    assert loaded == []
    assert float(peak_mb) < 60


def test_the_metadata_of_every_layout(folders: dict[str, Path], tmp_path: Path) -> None:
    found = {}
    for name, folder in folders.items():
        metadata = read_header(convert(folder, tmp_path / f"{name}.safetensors").path)[1]
        found[name] = (metadata["modelspec.architecture"], metadata.get("modelspec.prediction_type"))
        assert metadata["fsd.made_from"] == name and len(metadata["fsd.made_from_fingerprint"]) == 64
    assert found == {
        "sd1": ("stable-diffusion-v1", "epsilon"),
        "sd2": ("stable-diffusion-v2-768-v", "v"),
        "sdxl": ("stable-diffusion-xl-v1-base", "epsilon"),
        "sd3-large": ("stable-diffusion-3.5-large", None),
        "sd3-medium": ("stable-diffusion-3.5-medium", None),
        "flux": ("flux-1-dev", None),
    }


def test_the_scheduler_gets_the_prediction_of_the_file(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = convert(folders["sd1"], tmp_path / "model.safetensors")
    back = convert(made.path, tmp_path / "back", like=folders["sd1"], prediction="v_prediction")
    assert (
        json.loads((back.path / "scheduler" / "scheduler_config.json").read_text())["prediction_type"] == "v_prediction"
    )
    monkeypatch.setattr("fsd.weights.folder.require_model", lambda path: Detected("model", "", "sd1", title="a model"))
    with pytest.raises(WeightsError, match="does not know for sure"):
        write_folder(made.path, tmp_path / "other")


def test_bad_requests(folders: dict[str, Path], tmp_path: Path) -> None:
    made = convert(folders["sd1"], tmp_path / "model.safetensors").path
    (tmp_path / "empty").mkdir()
    cases = [
        ((folders["sd1"], tmp_path / "model.pt"), {}, "neither a .safetensors nor"),
        ((folders["sd1"], tmp_path / "model"), {}, "neither a .safetensors nor"),
        ((made, tmp_path / "model.pt"), {}, "neither a .safetensors nor"),
        ((made, made), {}, "its own destination"),
        ((tmp_path / "none", tmp_path / "x.ckpt"), {}, "there is no"),
        ((made, tmp_path / "empty"), {"like": folders["sd1"]}, "already exists"),
        ((made, tmp_path / "x"), {"like": folders["sd1"], "dtype": "int8"}, "dtype is 'int8'"),
        ((made, tmp_path / "x"), {"like": folders["sd1"], "without": ["unet"]}, "unet cannot be left out"),
        ((made, tmp_path / "x.ckpt"), {"without": ["text_encoder_9"]}, "cannot be left out"),
        ((made, tmp_path / "x"), {"like": folders["flux"]}, "do not fit"),
        ((made, tmp_path / "x"), {"family": "sdx"}, "no model family 'sdx'"),
        ((made, tmp_path / "x"), {"like": tmp_path / "empty"}, "not a Diffusers model"),
        ((tmp_path / "empty", tmp_path / "x.ckpt"), {}, "model_index.json"),
    ]
    for arguments, options, says in cases:
        with pytest.raises(FsdError) as caught:
            convert(*arguments, **options)
        assert says in str(caught.value), (says, str(caught.value))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "model.safetensors"]


def test_the_verb(folders: dict[str, Path], tmp_path: Path) -> None:
    done = models.convert(str(folders["sd1"]), str(tmp_path / "model.safetensors"), dtype="fp16")
    assert done["tensors"] == len(read_file(tmp_path / "model.safetensors"))
    assert done["sha256"] in done.text
    back = models.convert(done["path"], str(tmp_path / "back"), like=str(folders["sd1"]), without="vae")
    assert not (tmp_path / "back" / "vae").exists() and back["size_bytes"] > 0
    with pytest.raises(FsdError, match="'fp8'"):
        models.convert(str(folders["sd1"]), str(tmp_path / "model.ckpt"), dtype="fp8")
