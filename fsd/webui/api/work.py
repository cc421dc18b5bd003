"""What the API's routes do, on plain JSON values."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from fsd.infotext import parse
from fsd.job import Job
from fsd.webui.api import answers
from fsd.webui.api.jobs import job_of
from fsd.webui.api.pictures import decoded, encoded, keep_picture, png_texts
from fsd.webui.api.requests import Refused, Txt2Img, read_request
from fsd.webui.choices import ModelChoice, named
from fsd.webui.engine import Engine, Picture
from fsd.webui.infotext import job_settings

_FIXED = {"CLIP_stop_at_last_layers": (1,), "sd_vae": ("Automatic", "None", "")}
"""Options that cannot be changed here, with the values that say so."""
_SAID = {
    "negative_prompt": "negative", "steps": "steps", "cfg_scale": "guidance", "seed": "seed", "width": "width_px",
    "height": "height_px", "sampler_name": "sampler", "denoising_strength": "strength", "mask_blur": "mask_blur_px",
}  # fmt: skip
"""Fields of a request, by those of a Job that a picture's settings tell."""


class Api:
    """What the routes do. Each method takes and returns plain JSON values, and raises FsdErrors."""

    def __init__(self, engine: Engine, model: str) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._options: dict[str, Any] = {
            "samples_save": True, "samples_format": "png", "CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic",
            "live_previews_enable": True, "enable_pnginfo": True, "sd_checkpoint_hash": "",
        }  # fmt: skip
        self._model = self._first = model

    def models(self) -> list[ModelChoice]:
        """What there is to draw with; what the studio was opened with is first where it lies elsewhere."""
        found = self._engine.models()
        if not self._first or answers.find_model(self._first, found):
            return found
        path = Path(os.path.expanduser(self._first))
        opened = ModelChoice(self._first, path.name, "file", path=path) if os.path.exists(path) else None
        return [opened or ModelChoice(self._first, self._first, "family"), *found]

    def make(self, kind: type[Txt2Img], body: Any) -> dict[str, Any]:
        """Do a request; one that is interrupted has the pictures that were whole by then."""
        request: Txt2Img = read_request(kind, self._with_infotext(body))
        chosen = request.override_settings.get("sd_model_checkpoint")
        model = self._find(str(chosen)) if chosen else self.model()
        _check_fixed(request.override_settings)
        with tempfile.TemporaryDirectory(prefix="fsd-api-") as folder:
            job = job_of(request, model, lambda text, invert: keep_picture(text, invert, Path(folder)))
            self._check_names(job)
            pictures, maps = self._run(job)
        if chosen and body.get("override_settings_restore_afterwards") is False:
            self._model = model
        images = [encoded(picture.path) for picture in pictures] + maps if request.send_images and pictures else []
        if not request.save_images:
            for picture in pictures:
                picture.path.unlink(missing_ok=True)
        return answers.made(request, job, pictures, images, self._engine.state())

    def _run(self, job: Job) -> tuple[list[Picture], list[str]]:
        """(the job's pictures, what its ControlNets saw as base64: clients take them for the sign that it worked)."""
        pictures, maps = [], []
        with closing(self._engine.run(job)) as events:
            for event in events:
                if isinstance(event, Picture):
                    pictures.append(event)
                elif event.controls:
                    maps = [encoded(path) for path in event.controls]
        return pictures, maps

    def model(self) -> str:
        """The model that requests without their own use: the chosen one, else the first that there is."""
        return self._model or self.models()[0].spec

    def options(self) -> dict[str, Any]:
        """All options with their values."""
        chosen = answers.find_model(self.model(), self.models())
        return self._options | {"sd_model_checkpoint": answers.model(chosen)["title"] if chosen else self.model()}

    def set_options(self, body: Any) -> None:
        """Change options; the model is loaded with the next picture. Refused where this web UI cannot do it."""
        if not isinstance(body, dict):
            raise Refused(422, "the options are not a JSON object", [("", "value is not a valid dict")])
        _check_fixed(body)
        model = self._find(str(body["sd_model_checkpoint"])) if body.get("sd_model_checkpoint") else ""
        with self._lock:
            self._model = model or self._model
            self._options |= {name: value for name, value in body.items() if name in self._options}

    def png_info(self, body: Any) -> dict[str, Any]:
        """A picture's settings: as text, and what it says by name."""
        content = decoded(str(body.get("image") or "")) if isinstance(body, dict) else b""
        texts = png_texts(content) if content else {}
        text = texts.pop("parameters", "")
        info = parse(text)
        found = {"Prompt": info.prompt, "Negative prompt": info.negative, **info.settings} if text else {}
        return {"info": text, "items": texts, "parameters": found}

    def _with_infotext(self, body: Any) -> Any:
        """A request with what its `infotext` says of what it leaves open."""
        if not isinstance(body, dict) or not isinstance(body.get("infotext"), str):
            return body
        said = job_settings(body["infotext"], self.models())
        found = {name: said[field] for name, field in _SAID.items() if field in said}
        found["prompt"] = parse(body["infotext"]).prompt  # with its LoRAs, which are read there
        if "model" in said:
            found["override_settings"] = {"sd_model_checkpoint": said["model"]}
        return found | {name: value for name, value in body.items() if value is not None}

    def _check_names(self, job: Job) -> None:
        """Refused for LoRAs and ControlNets that are not in the web UI's folder: a client names none of our files."""
        for lora in job.lora:
            if not named(lora.path, self._engine.loras()):
                raise Refused(404, f"there is no LoRA file {lora.path!r}", hint="GET /sdapi/v1/loras lists them")
        for control in job.controls:
            if not named(control.model, self._engine.controlnets()):
                hint = "GET /controlnet/model_list lists them"
                raise Refused(404, f"there is no ControlNet {control.model!r}", hint=hint)

    def _find(self, name: str) -> str:
        found = answers.find_model(name, self.models())
        if found:
            return found.spec
        raise Refused(404, f"model {name!r} not found", hint="GET /sdapi/v1/sd-models lists what there is")


def _check_fixed(options: dict[str, Any]) -> None:
    wrong = [(name, f"{options[name]!r}: this web UI has only {known[0]!r}") for name, known in _FIXED.items()
             if options.get(name) is not None and options[name] not in known]  # fmt: skip
    if wrong:
        raise Refused(422, "; ".join(f"{name} {text}" for name, text in wrong), wrong)
