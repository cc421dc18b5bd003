"""Drawing with every kind of model: all modes, ControlNets as folders and files, LoRAs, sessions, inpainting models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from micro import diffusers, make_folder, make_micro_session, torch
from PIL import Image
from pipelines import MAKERS
from safetensors.torch import save_file

from fsd.errors import RecipeError, WeightsError
from fsd.families.samplers import SAMPLERS
from fsd.generate.canvas import size_like
from fsd.generate.drawing import Drawn, _strength, draw, set_sampler
from fsd.generate.opening import Opened, Shelf, model_name, shown_spec
from fsd.generate.placing import place
from fsd.generate.preview import Previewer
from fsd.job import Control, Job, Lora
from fsd.weights.base_folder import base_fingerprint
from fsd.weights.checkpoint import save_checkpoint

LAYOUTS = ("sd1", "sd2", "sdxl", "sd3-large", "flux")


@pytest.fixture(scope="module", params=LAYOUTS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A model of each layout in memory."""
    folder = MAKERS[request.param](tmp_path_factory.mktemp(request.param) / "model")
    return Shelf(folder.parent).get(str(folder))


def pictures(model: Opened, job: Job) -> list[Drawn]:
    return list(draw(model, job, lambda *step: None, lambda: False))


def pixels(model: Opened, **settings: Any) -> np.ndarray:
    job = Job("m", "a cup", **{"steps": 2, "seed": 3, "width_px": 64, "height_px": 64, **settings})
    return np.asarray(pictures(model, job)[0].image).astype(int)


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one - other).max())


def pattern(path: Path) -> str:
    plane = np.add.outer(np.arange(64), np.arange(64)) * 3 % 256
    Image.fromarray(plane.astype(np.uint8)).convert("RGB").save(path)
    return str(path)


def test_every_kind_of_model_draws_in_every_mode(model: Opened, tmp_path: Path) -> None:
    init, mask = pattern(tmp_path / "init.png"), tmp_path / "mask.png"
    Image.fromarray(np.pad(np.full((64, 32), 255, np.uint8), ((0, 0), (0, 32)))).save(mask)
    plain = pixels(model)
    started = pixels(model, mode="img2img", init_image=init, strength=0.6)
    painted = pixels(model, mode="inpaint", init_image=init, mask=str(mask), strength=0.9, mask_blur_px=0)
    assert difference(plain, started) > 3
    start = np.asarray(Image.open(init)).astype(int)
    assert difference(painted[:, 32:], start[:, 32:]) == 0 and difference(painted[:, :32], start[:, :32]) > 3
    assert np.array_equal(plain, pixels(model)), "the same again after other pipelines"


def test_previews_are_pictures_of_every_kind_of_latents(model: Opened, tmp_path: Path) -> None:
    previewer, seen = Previewer(model.pipeline), []

    def tell(done: int, total: int, latents: torch.Tensor, size: tuple[int, int]) -> None:
        assert previewer.write(latents, size, tmp_path / "p.jpg")
        seen.append(Image.open(tmp_path / "p.jpg").size)

    list(draw(model, Job("m", "a cup", steps=2, width_px=64, height_px=96), tell, lambda: False))
    assert len(seen) == 2 and seen[0][1] > seen[0][0]


def controlnet(model: Opened, seed: int = 1) -> Any:
    """A ControlNet for the model whose zero convolutions are not zero."""
    torch.manual_seed(seed)
    if model.family.layout == "flux":
        network = diffusers.FluxControlNetModel(
            in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=32, pooled_projection_dim=24, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
        )  # fmt: skip
    elif model.family.layout == "sd3":
        settings = {**model.backbone.config, "num_layers": 1}
        known = diffusers.SD3ControlNetModel.__init__.__wrapped__.__code__.co_varnames
        network = diffusers.SD3ControlNetModel(**{name: settings[name] for name in settings if name in known})
    else:
        network = diffusers.ControlNetModel.from_unet(
            model.backbone, conditioning_embedding_out_channels=(4, 4, 8, 8), load_weights_from_unet=False
        )
    for name, weight in network.named_parameters():
        if not weight.any() and "bias" not in name:
            weight.data.normal_(0, 0.5)
    return network


def test_controlnets_steer_as_folder_and_as_file(model: Opened, tmp_path: Path) -> None:
    network, image = controlnet(model), pattern(tmp_path / "image.png")
    network.save_pretrained(tmp_path / "net")
    save_file(
        {name: weight.contiguous() for name, weight in network.state_dict().items()}, tmp_path / "net.safetensors"
    )
    plain = pixels(model)
    steered = pixels(model, controls=(Control(str(tmp_path / "net"), image),))
    single = pixels(model, controls=(Control(str(tmp_path / "net.safetensors"), image),))
    assert difference(plain, steered) > 3
    assert difference(steered, single) <= 1
    edges = pixels(model, controls=(Control(str(tmp_path / "net"), image, preprocessor="invert"),))
    assert difference(steered, edges) > 0
    if model.family.backbone == "unet":  # others' pipelines draw the noise after the control's latents
        assert difference(pixels(model, controls=(Control(str(tmp_path / "net"), image, weight=0.0),)), plain) <= 1
    together = pictures(model, Job("m", "a cup", steps=2, seed=2, width_px=64, height_px=64, images=2,
                                   controls=(Control(str(tmp_path / "net"), image),)))  # fmt: skip
    assert difference(np.asarray(together[1].image).astype(int), steered) <= 1
    two = (
        Control(str(tmp_path / "net"), image),
        Control(str(tmp_path / "net.safetensors"), image, preprocessor="canny"),
    )
    assert difference(pixels(model, controls=two), steered) > 0
    if model.family.layout == "sd3":
        with pytest.raises(RecipeError, match="img2img with a ControlNet"):
            pixels(model, mode="img2img", init_image=image, controls=(Control(str(tmp_path / "net"), image),))
    else:
        control = (Control(str(tmp_path / "net"), image),)
        started = pixels(model, mode="img2img", init_image=image, controls=control)
        assert difference(started, pixels(model, mode="img2img", init_image=image)) > 0
    assert np.array_equal(plain, pixels(model))


def test_a_union_controlnet_is_told_what_its_picture_shows(tmp_path: Path) -> None:
    model = Shelf(tmp_path).get(str(MAKERS["sdxl"](tmp_path / "model")))
    plain = controlnet(model)
    known = diffusers.ControlNetUnionModel.__init__.__wrapped__.__code__.co_varnames
    settings = {name: value for name, value in plain.config.items() if name in known}
    torch.manual_seed(1)
    network = diffusers.ControlNetUnionModel(**settings, num_trans_channel=8, num_proj_channel=8)
    for weight in network.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    save_file(
        {name: weight.contiguous() for name, weight in network.state_dict().items()}, tmp_path / "union.safetensors"
    )
    image = pattern(tmp_path / "image.png")
    control = Control(str(tmp_path / "union.safetensors"), image)
    with pytest.raises(RecipeError, match="many kinds of picture"):
        pixels(model, controls=(control,))
    drawn = [pixels(model, controls=(replace(control, mode=mode),)) for mode in ("canny", "depth")]
    assert difference(*drawn) > 0 and difference(drawn[0], pixels(model)) > 0
    pixels(model, mode="img2img", init_image=image, controls=(replace(control, mode="canny"),))


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = make_folder(tmp_path_factory.mktemp("sd1") / "model")
    return Shelf(folder.parent).get(str(folder))


def test_what_is_no_controlnet_for_the_model_is_refused_by_its_header(sd1: Opened, tmp_path: Path) -> None:
    flux = MAKERS["flux"](tmp_path / "flux")
    other = Shelf(tmp_path).get(str(flux))
    controlnet(other).save_pretrained(tmp_path / "net")
    image = pattern(tmp_path / "image.png")
    with pytest.raises(RecipeError, match="not for"):
        pixels(sd1, controls=(Control(str(tmp_path / "net"), image),))
    with pytest.raises(WeightsError, match="is not a ControlNet but a model"):
        pixels(sd1, controls=(Control(str(flux), image),))
    with pytest.raises(WeightsError, match="nowhere"):
        pixels(sd1, controls=(Control(str(tmp_path / "nowhere.safetensors"), image),))


def test_every_sampler_draws_the_same_for_a_seed_in_any_batch(sd1: Opened) -> None:
    for name, flow in SAMPLERS:
        if not flow:
            job = Job("m", "a cup", steps=4, seed=3, width_px=64, height_px=64, sampler=name, images=2)
            two = [np.asarray(drawn.image).astype(int) for drawn in pictures(sd1, job)]
            alone = pixels(sd1, steps=4, seed=4, sampler=name)
            assert difference(two[1], alone) <= 1, name
    with pytest.raises(RecipeError, match="Euler"):
        pixels(sd1, sampler="Elder")


def test_some_of_every_picture_is_made_anew() -> None:
    for steps in range(1, 1000):
        assert int(steps * _strength(0.0, steps)) == 1, steps
        assert int(steps - steps * _strength(0.0, steps)) == steps - 1, steps  # as SD 3's and Flux' pipelines count
        assert _strength(0.75, 4) == 0.75


def test_lcm_draws_with_more_steps_than_it_was_distilled_on(sd1: Opened) -> None:
    for steps, grid in ((50, 50), (51, 100), (101, 125), (150, 200), (999, 1000)):
        set_sampler(sd1.pipeline, sd1.scheduler, "LCM", steps)
        scheduler = sd1.pipeline.scheduler
        scheduler.set_timesteps(steps)
        assert scheduler.config.original_inference_steps == grid and len(scheduler.timesteps) == steps
        assert int(scheduler.timesteps[0]) == 999
    assert pixels(sd1, steps=51, sampler="LCM").shape == (64, 64, 3)


@pytest.mark.parametrize("shape", [(6000, 1), (2, 60000)])
def test_a_size_taken_from_a_picture_can_be_made(shape: tuple[int, int]) -> None:
    for step_px in (8, 16, 64):
        size = size_like(Image.new("L", shape), 1024, step_px)
        assert all(step_px <= side <= 4096 and side % step_px == 0 for side in size)


def test_a_controls_picture_is_cut_or_stretched_as_it_asks(sd1: Opened, tmp_path: Path) -> None:
    left = Image.new("RGB", (128, 64))
    left.paste("white", (0, 0, 32, 64))
    left.save(tmp_path / "wide.png")
    controlnet(sd1).save_pretrained(tmp_path / "net")
    control, seen = Control(str(tmp_path / "net"), str(tmp_path / "wide.png")), []
    job = Job("m", "a cup", steps=1, width_px=64, height_px=64, mode="img2img", init_image=control.image, fit="stretch")
    for fit in ("crop", "stretch"):
        list(
            draw(
                sd1, replace(job, controls=(replace(control, fit=fit),)), lambda *step: None, lambda: False, seen.extend
            )
        )
    cut, stretched = seen
    assert cut.getbbox() is None and stretched.getpixel((0, 0)) == (255, 255, 255)


def test_a_link_shows_neither_its_query_nor_its_user() -> None:
    link = "https://me:pass@bucket.example/some/mug.v2.safetensors?X-Amz-Signature=secret#part"
    assert shown_spec(link) == "https://bucket.example/some/mug.v2.safetensors"
    assert model_name(link) == "mug.v2" and model_name("https://bucket.example/download?key=secret") == "download"
    assert model_name("tiny") == "tiny" and model_name("/models/what?#1.ckpt") == "what?#1"


def test_samplers_of_flows(tmp_path: Path) -> None:
    model = Shelf(tmp_path).get(str(MAKERS["sd3-large"](tmp_path / "model")))
    plain = pixels(model, sampler="")
    assert np.array_equal(plain, pixels(model, sampler="Euler"))
    with pytest.raises(RecipeError, match="predict a flow"):
        pixels(model, sampler="DDIM")


def test_loras_change_the_picture_and_leave_no_trace(sd1: Opened, tmp_path: Path) -> None:
    unet = sd1.pipeline.unet
    weights = {}
    torch.manual_seed(0)
    for name, module in unet.named_modules():
        if name.endswith(("attn1.to_q", "attn2.to_v")):
            flat = "lora_unet_" + name.replace(".", "_")
            rows, reads = module.weight.shape
            weights[f"{flat}.lora_down.weight"] = torch.randn(2, reads)
            weights[f"{flat}.lora_up.weight"] = torch.randn(rows, 2)
            weights[f"{flat}.alpha"] = torch.tensor(2.0)
    save_file(weights, tmp_path / "mug.safetensors")
    plain = pixels(sd1)
    lora = Lora(str(tmp_path / "mug.safetensors"), 0.5)
    changed = pixels(sd1, lora=(lora,))
    assert difference(plain, changed) > 3
    assert difference(pixels(sd1, lora=(Lora(lora.path, 0.25), Lora(lora.path, 0.25))), changed) <= 1
    drawn = pictures(sd1, Job("m", "a cup", lora=(lora,), steps=1, width_px=64, height_px=64))[0]
    assert drawn.infotext.startswith("a cup <lora:mug:0.5>\n") and 'Lora hashes: "mug: ' in drawn.infotext
    broken = {name: value for name, value in weights.items() if "lora_up" not in name}
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(WeightsError):
        pixels(sd1, lora=(lora, Lora(str(tmp_path / "broken.safetensors"))))
    assert np.array_equal(plain, pixels(sd1))


def test_an_inpainting_model_draws_in_every_mode(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    wide = diffusers.UNet2DConditionModel.from_config({**unet.config, "in_channels": 9})
    wide.save_pretrained(folder / "unet")
    model = Shelf(tmp_path).get(str(folder))
    init, mask = pattern(tmp_path / "init.png"), tmp_path / "mask.png"
    Image.new("L", (64, 64), 255).save(mask)
    assert pixels(model).shape == (64, 64, 3)
    assert pixels(model, mode="img2img", init_image=init).shape == (64, 64, 3)
    assert pixels(model, mode="inpaint", init_image=init, mask=str(mask)).shape == (64, 64, 3)


def writer(unet: Any) -> Any:
    return lambda folder: unet.save_pretrained(folder / "unet")


def test_a_sessions_checkpoints_its_base_and_its_newest(micro_model: Path, tmp_path: Path) -> None:
    session = make_micro_session(tmp_path, micro_model, {"text_encoder": 0, "unet": 8})
    facts = {"run": {"base model": base_fingerprint(micro_model)}}
    for step in (4, 8):
        unet = diffusers.UNet2DConditionModel.from_pretrained(micro_model / "unet")
        for weight in unet.parameters():
            weight.data += step * 0.01
        save_checkpoint(session.checkpoints, "unet", step, step == 8, facts, writer(unet))
    shelf = Shelf(tmp_path)
    drawn = {spec: pixels(shelf.get(spec)) for spec in ("cup", "cup@unet-000004", "cup@unet-000008", "cup@base")}
    assert np.array_equal(drawn["cup"], drawn["cup@unet-000008"])
    assert difference(drawn["cup"], drawn["cup@unet-000004"]) > 0 and difference(drawn["cup"], drawn["cup@base"]) > 0
    opened = shelf.get("cup")
    assert (opened.name, opened.native_px) == ("cup+unet-000008", 64) and shelf.get("cup") is opened
    (session.checkpoints / "unet-000008" / "checkpoint.json").touch()
    assert shelf.get("cup") is opened, "the folder is as old as before"
    recipe = json.loads(session.recipe_path.read_text())
    session.recipe_path.write_text(json.dumps(recipe | {"seed": 9}))
    assert shelf.get("cup") is not opened
    with pytest.raises(WeightsError, match="unet-000777"):
        shelf.get("cup@unet-000777")
    with pytest.raises(RecipeError, match="no model 'mug'") as caught:
        shelf.get("mug")
    assert "sessions: cup" in caught.value.hint


@pytest.mark.parametrize(
    ("free_gb", "calls"),
    [
        (24, [("to", "cuda", torch.float16)]),
        (8, [("to", torch.float16), ("model",)]),
        (4, [("to", torch.float16), ("sequential",)]),
    ],
)
def test_a_model_that_does_not_fit_the_gpu_takes_turns_on_it(
    monkeypatch: pytest.MonkeyPatch, free_gb: int, calls: list[Any]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free_gb << 30, 80 << 30))
    done: list[Any] = []
    part = torch.nn.Linear(1 << 15, 1 << 15, bias=False, device="meta")  # 2 GiB in half precision
    stub = SimpleNamespace(
        components={"unet": part, "text_encoder": part, "text_encoder_2": part},
        vae=SimpleNamespace(enable_slicing=lambda: None),
        to=lambda *where: done.append(("to", *where)) or "placed",
        enable_model_cpu_offload=lambda: done.append(("model",)),
        enable_sequential_cpu_offload=lambda: done.append(("sequential",)),
    )
    assert place(stub)
    assert done == calls
