"""The real AUTOMATIC1111 behind our lock: the same pictures as Diffusers makes, from what fsd wrote.

Runs where FSD_A1111 names an installation: a folder in which `FSD_WEBUI_HOME=FOLDER fsd webui-install` has run.
"""

from __future__ import annotations

import base64
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from benchmarks.random_models import random_model
from loras import UNET, add_lora, save
from micro import diffusers, make_folder, parts_of, torch

from fsd.families import get_family
from fsd.webui import sidecar
from fsd.webui.flavors import A1111
from fsd.webui.install import find_installed
from fsd.webui.launch import launch_webui
from fsd.webui.running import WebUI
from fsd.webui.sidecar import write_sidecar
from fsd.weights.ckpt import save_ckpt
from fsd.weights.lora_file import convert_lora
from fsd.weights.parts import read_config
from fsd.weights.tensors import SafetensorsFrame, Target, read_header

np = pytest.importorskip("numpy")
HOME = os.environ.get("FSD_A1111", "")
pytestmark = pytest.mark.skipif(not HOME, reason="FSD_A1111 names no installation of AUTOMATIC1111")
PROMPT, OTHER_PROMPT = "a red cup on a table", "a blue dog in the snow"
STEPS, GUIDANCE, PX = 4, 7.0, 128
CLOSE = 1
"""Of 255: AUTOMATIC1111 cuts where Diffusers rounds."""


def say(text: str) -> None:
    """A line of the summary; shown with pytest -s."""
    print(f"\n  measured: {text}", end="")


class Client:
    """AUTOMATIC1111's API through the lock, with a program's credentials."""

    def __init__(self, webui: WebUI) -> None:
        self.url = webui.url.rstrip("/")
        self.login = base64.b64encode(f"{webui.user}:{webui.password}".encode()).decode()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Basic {self.login}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.url}{path}", content, headers), timeout=600) as answer:
            return json.load(answer)

    def title(self, checkpoint: str) -> str:
        """The whole name of a checkpoint file: of another one AUTOMATIC1111 says nothing, and keeps the model it has."""
        (found,) = (
            model["title"] for model in self.ask("/sdapi/v1/sd-models") if Path(model["filename"]).name == checkpoint
        )
        return str(found)

    def draw(self, checkpoint: str, **changed: Any) -> Any:
        """The picture as an array of 0..255, H x W x 3."""
        (picture,) = self.draw_all(checkpoint, **changed)
        return picture

    def draw_all(self, checkpoint: str, **changed: Any) -> list[Any]:
        """The picture, and what a ControlNet made of its own picture."""
        body = {
            "prompt": PROMPT, "seed": 1, "steps": STEPS, "cfg_scale": GUIDANCE, "width": PX, "height": PX,
            "sampler_name": "Euler", "scheduler": "Automatic",
            "override_settings": {"sd_model_checkpoint": self.title(checkpoint)}, "override_settings_restore_afterwards": False,
        }  # fmt: skip
        answer = self.ask("/sdapi/v1/txt2img", body | changed)
        assert Path(json.loads(answer["info"])["sd_model_name"]).name == Path(checkpoint).stem
        return [pixels(image) for image in answer["images"]]


def pixels(image: str) -> Any:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB")).astype(int)


def apart(one: Any, two: Any) -> int:
    """The largest difference of two pictures, of 255."""
    return int(abs(one - two).max())


def pipeline(folder: Path) -> Any:
    """A Diffusers folder as a pipeline that draws as AUTOMATIC1111's sampler Euler does."""
    made = diffusers.StableDiffusionPipeline.from_pretrained(folder).to(dtype=torch.float32)
    made.scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace"
    )
    made.set_progress_bar_config(disable=True)
    return made


def drawn(made: Any, prompt: str = PROMPT, seed: int = 1, px: int = PX, **more: Any) -> Any:
    """The picture that Diffusers makes, as `Client.draw` gives it."""
    generator = torch.Generator().manual_seed(seed)
    settings = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "width": px, "height": px} | more
    return np.asarray(made(prompt, generator=generator, **settings).images[0]).astype(int)


def without(source: Path, destination: Path, prefix: str) -> None:
    """Copy a .safetensors less the tensors whose keys begin so."""
    tensors, _ = read_header(source)
    kept = [one for key, one in tensors.items() if not key.startswith(prefix)]
    assert 0 < len(kept) < len(tensors)
    content = source.read_bytes()
    frame = SafetensorsFrame([Target(one.key, one.dtype, one.shape, (one,)) for one in kept], {})
    parts = (content[one.offset : one.offset + one.size_bytes] for one in kept)
    destination.write_bytes(frame.head + b"".join(parts))


@pytest.fixture(scope="module")
def base() -> Path:
    """The embedded tiny base, a Diffusers folder."""
    return Path(pytest.importorskip("fsd_tiny_base").model_folder())


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random small model with two layers a block, as SD 1.5 has: web UIs count LoRA layers by that."""
    return make_folder(tmp_path_factory.mktemp("two") / "model", layers=2)


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, two_layers: Path) -> tuple[Path, Any]:
    """A random LoRA on it in kohya's form, and the Diffusers pipeline that has it on."""
    made = pipeline(two_layers)
    add_lora(made.unet, UNET)
    add_lora(made.text_encoder, ["q_proj", "k_proj", "v_proj", "out_proj"])
    folder = tmp_path_factory.mktemp("lora")
    peft_form = save(made.unet, "sd1", folder, made.text_encoder)
    return convert_lora(peft_form, folder / "change.safetensors", "kohya", "sd1").path, made


@pytest.fixture(scope="module")
def webui(
    tmp_path_factory: pytest.TempPathFactory, base: Path, two_layers: Path, lora: tuple[Path, Any]
) -> Iterator[WebUI]:
    """AUTOMATIC1111, launched with the tiny base as one .safetensors; a .ckpt and others are there to choose."""
    root = tmp_path_factory.mktemp("root")
    models, loras = root / "WebUI/models/Stable-diffusion", root / "WebUI/models/Lora"
    models.mkdir(parents=True)
    loras.mkdir()
    (loras / lora[0].name).write_bytes(lora[0].read_bytes())
    tiny = get_family("tiny")
    first = root / "tiny.safetensors"
    save_ckpt(parts_of(base), first, None)
    for name, folder in (("pickled.ckpt", base), ("two.safetensors", two_layers)):
        save_ckpt(parts_of(folder), models / name, None)
        write_sidecar(models / name, tiny, folder)
    without(first, models / "lacking.safetensors", "model.diffusion_model.output_blocks.7.")
    write_sidecar(models / "lacking.safetensors", tiny, base)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FSD_WEBUI_HOME", HOME)
        patch.setenv("HF_HUB_OFFLINE", "1")
        assert find_installed(A1111), f"in {HOME} is no installation of today's pins"
        began = time.monotonic()
        with launch_webui(str(first), "none", "a1111", root=str(root)) as running:
            say(f"ready behind the lock after {time.monotonic() - began:.1f} s")
            yield running
            (Path(HOME) / "last.log").write_text(running.logs(400))


@pytest.fixture(scope="module")
def client(webui: WebUI) -> Client:
    return Client(webui)


def test_both_files_are_listed(client: Client) -> None:
    names = {Path(model["filename"]).name for model in client.ask("/sdapi/v1/sd-models")}
    assert {"tiny.safetensors", "pickled.ckpt"} <= names
    assert client.ask("/sdapi/v1/options")["sd_model_checkpoint"].startswith("tiny.safetensors")


def test_it_draws_what_diffusers_draws_and_nothing_else(client: Client, base: Path) -> None:
    ours, made = client.draw("tiny.safetensors"), pipeline(base)
    same = apart(ours, drawn(made))
    other_prompt, other_seed = apart(ours, drawn(made, OTHER_PROMPT)), apart(ours, drawn(made, seed=2))
    say(f"tiny against Diffusers: {same} of 255; other prompt {other_prompt}, other seed {other_seed}")
    assert same <= CLOSE
    assert min(other_prompt, other_seed) > 20
    other = apart(client.draw("tiny.safetensors", prompt=OTHER_PROMPT), drawn(made, OTHER_PROMPT))
    say(f"the other prompt against Diffusers: {other} of 255")
    assert other <= CLOSE


def test_a_ckpt_draws_what_the_safetensors_draws(client: Client) -> None:
    assert apart(client.draw("pickled.ckpt"), client.draw("tiny.safetensors")) == 0


def test_missing_keys_show_in_the_picture(client: Client) -> None:
    difference = apart(client.draw("lacking.safetensors"), client.draw("tiny.safetensors"))
    say(f"without output_blocks.7: {difference} of 255")
    assert difference > 20


def test_a_lora_in_kohyas_form_does_what_it_does_in_diffusers(
    client: Client, two_layers: Path, lora: tuple[Path, Any]
) -> None:
    plain, file = client.draw("two.safetensors"), lora[0].stem
    ours = client.draw("two.safetensors", prompt=f"{PROMPT} <lora:{file}:1>")
    expected = apart(plain, drawn(pipeline(two_layers))), apart(ours, drawn(lora[1]))
    say(
        f"small model against Diffusers: {expected[0]} of 255; with the LoRA {expected[1]}; it changes {apart(ours, plain)}"
    )
    assert max(expected) <= CLOSE
    assert apart(ours, plain) > 20


def test_controlnet_is_loaded_and_changes_the_picture(client: Client) -> None:
    assert "controlnet" in client.ask("/sdapi/v1/scripts")["txt2img"]
    plain = client.draw("two.safetensors")
    unit = {"enabled": True, "module": "reference_only", "model": "None", "image": as_png(np.flip(plain, 1))}
    guided, *_ = client.draw_all("two.safetensors", alwayson_scripts={"controlnet": {"args": [unit]}})
    say(f"ControlNet's reference_only changes {apart(guided, plain)} of 255")
    assert apart(guided, plain) > CLOSE
    assert apart(client.draw("two.safetensors"), plain) == 0  # what is drawn twice is the same, so it was ControlNet


@pytest.mark.slow
def test_a_controlnet_file_guides_a_model_of_full_size(base: Path, tmp_path: Path) -> None:
    """Random weights: the extension takes ControlNets of SD 1.5's own width alone."""
    folder, file = random_model(tmp_path / "full", "sd15", "F16"), tmp_path / "full.safetensors"
    save_ckpt(parts_of(folder), file, None)
    wake_norms(file)
    configs = {name: read_config(folder / name) for name in ("unet", "vae", "text_encoder")}
    configs = {name: {"norm_num_groups": 32, "layers_per_block": 2} | config for name, config in configs.items()}
    tokenizer = sidecar._write_tokenizer(base, configs["text_encoder"], tmp_path / "tokenizer")
    file.with_suffix(".yaml").write_text(sidecar._small(configs, tokenizer, "epsilon"))
    controlnet = diffusers.ControlNetModel(cross_attention_dim=768)
    for block in [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block]:
        torch.nn.init.normal_(block.weight, std=0.5)
    controlnet.half().save_pretrained(tmp_path / "controlnet")
    kept = tmp_path / "WebUI/models/ControlNet"
    kept.mkdir(parents=True)
    (tmp_path / "controlnet/diffusion_pytorch_model.safetensors").rename(kept / "control_v11p_sd15_random.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FSD_WEBUI_HOME", HOME)
        patch.setenv("HF_HUB_OFFLINE", "1")
        with launch_webui(str(file), "none", "a1111", root=str(tmp_path)) as running:
            client, small = Client(running), {"width": 64, "height": 64, "steps": 2}
            (model,) = client.ask("/controlnet/model_list")["model_list"]
            picture = as_png(np.random.default_rng(0).integers(0, 256, (64, 64, 3)))
            unit = {"enabled": True, "module": "none", "model": model, "image": picture}
            plain = client.draw("full.safetensors", **small)
            guided, *shown = client.draw_all(
                "full.safetensors", **small, alwayson_scripts={"controlnet": {"args": [unit]}}
            )
            (Path(HOME) / "full.log").write_text(running.logs(400))
    say(f"a ControlNet file changes {apart(guided, plain)} of 255")
    assert len(shown) == 1  # no second picture: it was not loaded, though the answer says 200
    assert apart(guided, plain) > CLOSE


def wake_norms(file: Path) -> None:
    """Set the scale of every norm in an fp16 .safetensors to 1: at a random one, near 0, a network hears nothing."""
    tensors, _ = read_header(file)
    with file.open("r+b") as stream:
        for one in tensors.values():
            if len(one.shape) == 1 and one.key.endswith(".weight"):
                stream.seek(one.offset)
                stream.write(np.ones(one.shape, "<f2").tobytes())


def as_png(array: Any) -> str:
    from PIL import Image

    kept = io.BytesIO()
    Image.fromarray(array.astype("uint8")).save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode()
