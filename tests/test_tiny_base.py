"""The embedded base model: the wheel is whole and small, loads in stock Diffusers, and draws what it is asked for."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

WHEELS = Path(__file__).parent.parent / "wheels"
PROMPTS = ("heart", "strawberry", "panda", "sunflower", "pizza", "ladybug")


@pytest.fixture(scope="module")
def wheel() -> Path:
    found = sorted(WHEELS.glob("fsd_tiny_base-*-py3-none-any.whl"))
    assert len(found) == 1, found
    return found[0]


@pytest.fixture(scope="module")
def base(wheel, tmp_path_factory):
    """The package, imported from the unpacked wheel whatever is installed."""
    folder = tmp_path_factory.mktemp("tiny_base")
    zipfile.ZipFile(wheel).extractall(folder)
    before = {n: sys.modules.pop(n) for n in list(sys.modules) if n.split(".")[0] == "fsd_tiny_base"}
    sys.path.insert(0, str(folder))
    yield importlib.import_module("fsd_tiny_base")
    sys.path.remove(str(folder))
    for name in [n for n in sys.modules if n.split(".")[0] == "fsd_tiny_base"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture(scope="module")
def judge(base):
    return importlib.import_module("fsd_tiny_base.judge").load_judge()


@pytest.fixture(scope="module")
def pictures(base):
    """One 12-step picture of each of PROMPTS on white, by the stock pipeline in fp32."""
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(
        base.model_folder(), safety_checker=None, requires_safety_checker=False
    ).to(torch.float32)
    pipe.set_progress_bar_config(disable=True)
    texts = [f"a photo of a {p} on a white background" for p in PROMPTS]
    generators = [torch.Generator().manual_seed(i) for i in range(len(texts))]
    return pipe(texts, num_inference_steps=12, guidance_scale=5.0, generator=generators, height=128, width=128).images


def test_sizes(wheel, base):
    assert wheel.stat().st_size <= 14_000_000
    weights = sum(p.stat().st_size for p in base.model_folder().rglob("*.safetensors"))
    assert 15_000_000 < weights <= 20_000_000
    assert (base.judge_folder() / "judge.safetensors").stat().st_size <= 650_000


def test_every_file_has_its_recorded_hash(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/RECORD"))
        rows = list(csv.reader(archive.read(name).decode().splitlines()))
        assert {r[0] for r in rows} == set(archive.namelist())
        for path, digest, size in rows:
            if path != name:
                body = archive.read(path)
                assert (
                    digest == "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
                ), path
                assert int(size) == len(body)
        assert {i.date_time for i in archive.infolist()} == {(2026, 1, 1, 0, 0, 0)}


def test_import_loads_no_torch(base):
    code = "import sys, fsd_tiny_base as b; b.concepts(); b.sources(); print('torch' in sys.modules)"
    folder = str(Path(base.__file__).parent.parent)
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": folder, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "False"


def test_concepts_and_sources(base):
    names = [c["name"] for c in base.concepts()]
    assert len(names) == len(set(names)) >= 100
    assert {"dog", "cat", "robot", "teddy bear", "backpack", "vase"} <= set(names)
    assert all(s["licence"] for s in base.sources())


def test_tokenizer_is_clips(base):
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(base.model_folder() / "tokenizer")
    assert len(tokenizer) == 49408 and tokenizer.model_max_length == 77
    assert tokenizer("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("sks")["input_ids"] == [49406, 48136, 49407]


def test_layout_is_stable_diffusions(base):
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    folder = base.model_folder()
    text = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder")
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae")
    assert text.get_input_embeddings().weight.shape[0] == 49408
    assert len(unet.down_blocks) == len(unet.up_blocks) == 4 and unet.config.in_channels == 4
    assert unet.config.cross_attention_dim == text.config.hidden_size
    mean = vae.encode(torch.zeros(1, 3, 128, 128)).latent_dist.mean
    assert mean.shape == (1, 4, 16, 16)
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert (scheduler["beta_start"], scheduler["beta_end"], scheduler["beta_schedule"]) == (
        0.00085,
        0.012,
        "scaled_linear",
    )


def test_unseen_tokens_differ(base):
    """Every token a user may pick as an identifier has a vector of its own."""
    from transformers import CLIPTextModel

    table = CLIPTextModel.from_pretrained(base.model_folder(), subfolder="text_encoder").get_input_embeddings().weight
    assert len({tuple(row.tolist()) for row in table[48000:49000].float()}) == 1000


def test_draws_what_is_asked(judge, pictures):
    found = judge.name(pictures)
    right = [p in [n for n, _ in f] for p, f in zip(PROMPTS, found, strict=False)]
    assert sum(right) >= 5, list(zip(PROMPTS, [f[0] for f in found], strict=False))
    assert sum(f[0][0] == p for p, f in zip(PROMPTS, found, strict=False)) >= 4


def test_judge_is_deterministic_and_normalised(judge, pictures):
    import numpy as np

    first, second = judge.embed(pictures), judge.embed(pictures)
    assert first.dtype == np.float32 and np.array_equal(first, second)
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert np.allclose(judge.embed([np.asarray(p) for p in pictures]), first)


def test_judge_sees_plain_backgrounds(judge):
    import numpy as np

    plain = [np.full((128, 128, 3), c, np.uint8) for c in judge.colours.values()]
    for image in plain:
        image[30:98, 30:98] = 77
    assert judge.background(plain) == list(judge.colours)
