"""The studio's engine and its drawing process: pictures, batches, samplers, masks, ControlNets, LoRAs, cancel, death."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from micro import diffusers, torch
from PIL import Image

from fsd import infotext
from fsd.errors import FsdError, MachineError, RecipeError, WeightsError
from fsd.generate.images import saved_text
from fsd.webui.engine import Engine, Job, Picture, Progress

FEW = {"steps": 2, "width_px": 64, "height_px": 64, "seed": 5}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine for all tests here, with a root of its own."""
    made = Engine(tmp_path_factory.mktemp("root"))
    yield made
    made.stop()


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def make(engine: Engine, job: Job) -> list[Picture]:
    return [event for event in engine.run(job) if isinstance(event, Picture)]


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one - other).max())


def test_euler_is_a_plain_diffusers_pipeline_with_automatic1111s_euler(engine: Engine) -> None:
    job = Job("tiny", "a red cup", "blurry", steps=4, guidance=7.0, seed=1, width_px=64, height_px=64, sampler="Euler")
    made = pixels(make(engine, job)[0].path)
    import fsd_tiny_base

    plain = diffusers.StableDiffusionPipeline.from_pretrained(fsd_tiny_base.model_folder())
    plain.scheduler = diffusers.EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, timestep_spacing="linspace"
    )
    plain.to("cpu", torch.float32).set_progress_bar_config(disable=True)
    drawn = plain(
        "a red cup", negative_prompt="blurry", num_inference_steps=4, guidance_scale=7.0, width=64, height=64,
        generator=torch.Generator().manual_seed(1),
    ).images[0]  # fmt: skip
    assert difference(made, np.asarray(drawn).astype(int)) <= 1
    other = pixels(make(engine, Job(**{**job.__dict__, "seed": 2}))[0].path)
    assert difference(made, other) > 20
