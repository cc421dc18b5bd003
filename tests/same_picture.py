"""One picture twice: asked of a web UI as AUTOMATIC1111's clients ask, and drawn by Diffusers with the same sampler."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
from micro import diffusers, torch
from PIL import Image

from fsd.webui.running import WebUI

PROMPT, OTHER_PROMPT, NEGATIVE = "a red cup on a table", "a blue dog in the snow", "blurry"
STEPS, GUIDANCE, PX = 4, 7.0, 64
CLOSE = 1
"""Of 255: AUTOMATIC1111 cuts where Diffusers rounds."""
FAR = 20


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

    def files(self) -> dict[str, str]:
        """The titles of the checkpoints that are listed, by the names of their files."""
        return {Path(model["filename"]).name: model["title"] for model in self.ask("/sdapi/v1/sd-models")}

    def draw(self, checkpoint: str, **changed: Any) -> Any:
        """The picture as an array of 0..255, H x W x 3."""
        (picture,) = self.draw_all(checkpoint, **changed)
        return picture

    def draw_all(self, checkpoint: str, **changed: Any) -> list[Any]:
        """The picture, and what a ControlNet made of its own picture.

        The checkpoint goes by its whole title: of one that it does not know AUTOMATIC1111 says nothing, and keeps the
        model that it has.
        """
        chosen = {"sd_model_checkpoint": self.files()[checkpoint]}
        body = request(**changed) | {"override_settings": chosen, "override_settings_restore_afterwards": False}
        answer = self.ask("/sdapi/v1/txt2img", body)
        assert Path(json.loads(answer["info"])["sd_model_name"]).name == Path(checkpoint).stem
        return [pixels(image) for image in answer["images"]]


def request(**changed: Any) -> dict[str, Any]:
    """What a client sends for a picture."""
    return {
        "prompt": PROMPT, "negative_prompt": NEGATIVE, "seed": 1, "steps": STEPS, "cfg_scale": GUIDANCE, "width": PX,
        "height": PX, "sampler_name": "Euler", "scheduler": "Automatic", **changed,
    }  # fmt: skip


def pipeline(folder: Path) -> Any:
    """A Diffusers folder as a pipeline in fp32 that draws as AUTOMATIC1111's sampler Euler does."""
    diffusers.utils.logging.disable_progress_bar()
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    made = diffusers.StableDiffusionPipeline.from_pretrained(folder, **none)
    made.scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace"
    )
    made.set_progress_bar_config(disable=True)
    return made.to("cpu", torch.float32)


def guided_by(controlnet: Path, plain: Any) -> Any:
    """Diffusers' own pipeline with the ControlNet in a folder, around the parts of another pipeline."""
    network = diffusers.ControlNetModel.from_pretrained(controlnet).to(torch.float32)
    made = diffusers.StableDiffusionControlNetPipeline(
        **plain.components, controlnet=network, requires_safety_checker=False
    )
    made.set_progress_bar_config(disable=True)
    return made


def drawn(made: Any, prompt: str = PROMPT, seed: int = 1, **more: Any) -> Any:
    """The picture that Diffusers makes, as `Client.draw` gives it."""
    settings = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "width": PX, "height": PX} | more
    generator = torch.Generator().manual_seed(seed)
    return np.asarray(made(prompt, negative_prompt=NEGATIVE, generator=generator, **settings).images[0]).astype(int)


def apart(one: Any, two: Any) -> int:
    """The largest difference of two pictures, of 255."""
    return int(abs(one - two).max())


def pixels(image: str) -> Any:
    """A base64 text as a picture's array."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB")).astype(int)


def as_png(array: Any) -> str:
    """A picture's array as base64."""
    kept = io.BytesIO()
    Image.fromarray(array.astype("uint8")).save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode()


def say(text: str) -> None:
    """A line of the summary; shown with pytest -s."""
    print(f"\n  measured: {text}", end="")
