"""AUTOMATIC1111's API on the studio's engine, so that the tools made for it work: /sdapi/v1/... and /controlnet/...

Fields that mean nothing here are taken and have no effect; values that cannot be done are refused, with the reason.
Of the options only sd_model_checkpoint does something; others are kept for whoever asks.
"""

from __future__ import annotations

import tempfile
import threading
import traceback
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsd.errors import FsdError, Interrupted, MachineError, WeightsError
from fsd.infotext import parse
from fsd.job import Job
from fsd.webui import api_answers as answers
from fsd.webui.api_pictures import decoded, encoded, keep_picture, png_texts
from fsd.webui.api_requests import Img2Img, Refused, Txt2Img, job_of, read_request
from fsd.webui.choices import named
from fsd.webui.engine import Engine, Picture

if TYPE_CHECKING:
    from fastapi import APIRouter

_FIXED = {"CLIP_stop_at_last_layers": (1,), "sd_vae": ("Automatic", "None", "")}
"""Options that cannot be changed here, with the values that say so."""
_STATUS: dict[type, int] = {Interrupted: 503, MachineError: 500, FsdError: 422}


class Api:
    """What the routes do. Each method takes and returns plain JSON values, and raises FsdErrors."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._options: dict[str, Any] = {
            "samples_save": True, "samples_format": "png", "CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic",
            "live_previews_enable": True, "enable_pnginfo": True, "sd_checkpoint_hash": "",
        }  # fmt: skip
        self._model = ""

    def make(self, kind: type[Txt2Img], body: Any) -> dict[str, Any]:
        """Do a request; one that is interrupted has the pictures that were whole by then."""
        request: Txt2Img = read_request(kind, body)
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
        return self._model or self._engine.models()[0].spec

    def options(self) -> dict[str, Any]:
        """All options with their values."""
        chosen = answers.find_model(self.model(), self._engine.models())
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
        found = answers.find_model(name, self._engine.models())
        if found:
            return found.spec
        raise Refused(404, f"model {name!r} not found", hint="GET /sdapi/v1/sd-models lists what there is")


def api_router(engine: Engine) -> APIRouter:
    """The routes, to be included in a FastAPI app; who may use them is the proxy's matter."""
    from fastapi import APIRouter, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import JSONResponse

    api, router = Api(engine), APIRouter()

    def route(method: str, path: str, work: Any) -> None:
        async def answer(request: Any) -> Any:
            try:
                body: Any = await _body(request)
                return JSONResponse(await run_in_threadpool(work, body))
            except Exception as fault:
                return JSONResponse(*error_answer(fault))

        answer.__annotations__["request"] = Request
        router.add_api_route(path, answer, methods=[method])

    for method, path, work in _routes(engine, api):
        route(method, path, work)
    return router


def error_answer(fault: Exception) -> tuple[dict[str, Any], int]:
    """(AUTOMATIC1111's error object, the HTTP status): 422 for what cannot be done, 404 for a model that is not there."""
    status = next((status for kind, status in _STATUS.items() if isinstance(fault, kind)), 500)
    detail: Any = getattr(fault, "message", "")
    if isinstance(fault, Refused):
        status = fault.status
        wrong = [{"loc": ["body", *name.split(".")], "msg": text, "type": "value_error"} for name, text in fault.fields]
        detail = wrong or fault.message
    if isinstance(fault, WeightsError) and fault.message.startswith("there is no"):
        status = 404
    if not isinstance(fault, FsdError):
        traceback.print_exception(fault)
    kind = "HTTPException" if isinstance(fault, Refused) else type(fault).__name__
    return {"error": kind, "detail": detail, "body": "", "errors": str(fault)}, status


async def _body(request: Any) -> Any:
    """A request's JSON, or the values in its address."""
    if request.method == "GET" or not await request.body():
        return dict(request.query_params)
    try:
        return await request.json()
    except ValueError as fault:
        raise Refused(422, f"the request is not JSON: {fault}", [("", "not JSON")]) from None


def _check_fixed(options: dict[str, Any]) -> None:
    wrong = [(name, f"{options[name]!r}: this web UI has only {known[0]!r}") for name, known in _FIXED.items()
             if options.get(name) is not None and options[name] not in known]  # fmt: skip
    if wrong:
        raise Refused(422, "; ".join(f"{name} {text}" for name, text in wrong), wrong)


def _routes(engine: Engine, api: Api) -> list[tuple[str, str, Any]]:
    """(method, path, what is done with the request's body or query)."""

    def listed(choices: Any) -> Any:
        return lambda _: [{"name": one.path.stem, "alias": one.path.stem, "path": str(one.path), "metadata": {}}
                          for one in choices()]  # fmt: skip

    def shown(query: dict[str, Any]) -> dict[str, Any]:
        return answers.progress(engine.state(), query.get("skip_current_image", "false").lower() != "true")

    def nets(_: Any) -> dict[str, Any]:
        return {"model_list": [one.path.stem for one in engine.controlnets() if one.path]}

    v1, scripts = "/sdapi/v1", {"txt2img": ["controlnet"], "img2img": ["controlnet"]}
    empty: dict[str, Any] = {
        "cmd-flags": {}, "upscalers": [], "sd-vae": [], "hypernetworks": [], "face-restorers": [], "prompt-styles": [],
        "script-info": [], "latent-upscale-modes": [], "embeddings": {"loaded": {}, "skipped": {}},
    }  # fmt: skip
    return [
        ("POST", f"{v1}/txt2img", lambda body: api.make(Txt2Img, body)),
        ("POST", f"{v1}/img2img", lambda body: api.make(Img2Img, body)),
        ("GET", f"{v1}/sd-models", lambda _: [answers.model(choice) for choice in engine.models()]),
        ("GET", f"{v1}/options", lambda _: api.options()),
        ("POST", f"{v1}/options", api.set_options),
        ("GET", f"{v1}/progress", shown),
        ("GET", f"{v1}/samplers", lambda _: answers.samplers()),
        ("GET", f"{v1}/schedulers", lambda _: answers.schedulers()),
        ("GET", f"{v1}/loras", listed(engine.loras)),
        ("GET", f"{v1}/scripts", lambda _: scripts),
        ("GET", f"{v1}/memory", lambda _: answers.memory()),
        ("POST", f"{v1}/interrupt", lambda _: engine.cancel() or {}),
        ("POST", f"{v1}/skip", lambda _: engine.cancel() or {}),
        ("POST", f"{v1}/png-info", api.png_info),
        ("POST", f"{v1}/unload-checkpoint", lambda _: engine.clear() or {}),
        *(("POST", f"{v1}/{name}", lambda _: None) for name in ("refresh-checkpoints", "refresh-loras", "refresh-vae")),
        ("POST", f"{v1}/reload-checkpoint", lambda _: {}),
        *(("GET", f"{v1}/{name}", lambda _, value=value: value) for name, value in empty.items()),
        ("GET", "/controlnet/version", lambda _: {"version": 3}),
        ("GET", "/controlnet/model_list", nets),
        ("GET", "/controlnet/module_list", lambda _: answers.control_modules()),
        ("GET", "/controlnet/settings", lambda _: {"control_net_unit_count": 3}),
    ]
