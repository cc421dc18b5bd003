"""AUTOMATIC1111's API on the studio's engine, so that the tools made for it work: /sdapi/v1/... and /controlnet/...

Fields that mean nothing here are taken and have no effect; values that cannot be done are refused, with the reason.
Of the options only sd_model_checkpoint does something; those that clients are known to read are kept, no others.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fsd.errors import FsdError, Interrupted, MachineError, WeightsError
from fsd.webui.api import answers
from fsd.webui.api.requests import Img2Img, Refused, Txt2Img
from fsd.webui.api.work import Api
from fsd.webui.engine import Engine

if TYPE_CHECKING:
    from fastapi import APIRouter

_MOST_WAITING = 100
_REFRESHED = ("refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings")
_STATUS: dict[type, int] = {Interrupted: 503, MachineError: 500, FsdError: 422}


def api_router(engine: Engine, model: str = "") -> APIRouter:
    """The routes, to be included in a FastAPI app; who may use them is the proxy's matter.

    model: what requests that name none are made with; "": the first that there is.
    """
    from anyio import CapacityLimiter, to_thread
    from fastapi import APIRouter, Request
    from fastapi.responses import JSONResponse

    api, router = Api(engine, model), APIRouter()
    waiting = CapacityLimiter(_MOST_WAITING)  # those who wait for pictures hold nobody else up

    def route(method: str, path: str, work: Any) -> None:
        async def answer(request: Any) -> Any:
            try:
                body: Any = await _body(request)
                limiter = waiting if path.endswith("2img") else None
                return JSONResponse(await to_thread.run_sync(work, body, limiter=limiter))
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
        "script-info": [], "latent-upscale-modes": [], "realesrgan-models": [], "extensions": [],
        "embeddings": {"loaded": {}, "skipped": {}},
    }  # fmt: skip
    return [
        ("POST", f"{v1}/txt2img", lambda body: api.make(Txt2Img, body)),
        ("POST", f"{v1}/img2img", lambda body: api.make(Img2Img, body)),
        ("GET", f"{v1}/sd-models", lambda _: [answers.model(choice) for choice in api.models()]),
        ("GET", f"{v1}/options", lambda _: api.options()),
        ("POST", f"{v1}/options", api.set_options),
        ("GET", f"{v1}/progress", shown),
        ("GET", f"{v1}/samplers", lambda _: answers.samplers()),
        ("GET", f"{v1}/schedulers", lambda _: answers.schedulers()),
        ("GET", f"{v1}/loras", listed(engine.loras)),
        ("GET", f"{v1}/scripts", lambda _: scripts),
        ("GET", f"{v1}/memory", lambda _: answers.memory()),
        ("POST", f"{v1}/interrupt", _done(engine.cancel)),
        ("POST", f"{v1}/skip", _done(engine.cancel)),
        ("POST", f"{v1}/png-info", api.png_info),
        ("POST", f"{v1}/unload-checkpoint", _done(engine.clear)),
        *(("POST", f"{v1}/{name}", lambda _: None) for name in _REFRESHED),
        ("POST", f"{v1}/reload-checkpoint", lambda _: {}),
        *(("GET", f"{v1}/{name}", lambda _, value=value: value) for name, value in empty.items()),
        ("GET", "/controlnet/version", lambda _: {"version": 3}),
        ("GET", "/controlnet/model_list", nets),
        ("GET", "/controlnet/module_list", lambda _: answers.control_modules()),
        ("GET", "/controlnet/control_types", lambda _: answers.control_types(nets(None)["model_list"])),
        ("GET", "/controlnet/settings", lambda _: {"control_net_unit_count": 3}),
    ]


def _done(work: Callable[[], None]) -> Any:
    """What a route does that has nothing to tell."""

    def do(_: Any) -> dict[str, Any]:
        work()
        return {}

    return do
