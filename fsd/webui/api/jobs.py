"""A request of AUTOMATIC1111's API as a Job of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fsd.errors import RecipeError
from fsd.families.samplers import known_name, sampler_names
from fsd.infotext import split_lora
from fsd.job import Control, Job, Lora
from fsd.webui.api.requests import Img2Img, Refused, Txt2Img

STEP_PX = 8
MODULES = {
    "none": "none", "": "none", "canny": "canny", "invert": "invert", "invert (from white bg & black line)": "invert"
}  # fmt: skip
"""ControlNet's preprocessors by the names that its extension gives them."""
Fit = Literal["crop", "stretch"]
_FITS: dict[int, Fit] = {0: "stretch", 1: "crop"}
_UNIT_FITS: dict[Any, Fit] = {0: "stretch", "Just Resize": "stretch"}
"""Of a ControlNet unit's own picture; the extension cuts it unless it is told otherwise."""
_FILLS = {0: "surroundings", 1: "original"}
Save = Callable[[str, bool], str]
"""(base64, whether to invert it) -> the path of the picture's file."""


def job_of(request: Txt2Img, model: str, save: Save) -> Job:
    """The job that a request asks for. save: keeps a picture of the request as a file. Refused, as `read_request`."""
    prompt, named = split_lora(request.prompt)
    settings: dict[str, Any] = {
        "model": model,
        "prompt": prompt,
        "negative": request.negative_prompt,
        "lora": tuple(Lora(name, weight) for name, weight in named),
        "steps": request.steps,
        "guidance": request.cfg_scale,
        "seed": request.seed,
        "width_px": _rounded(request.width),
        "height_px": _rounded(request.height),
        "sampler": _sampler(request),
        "images": request.batch_size * request.n_iter,
    }
    if isinstance(request, Img2Img):
        settings |= _pictures(request, save)
    init = request.init_images[0] if isinstance(request, Img2Img) and request.init_images else ""
    settings["controls"] = _controls(request.alwayson_scripts, init, settings.get("fit", "crop"), save)
    try:
        return Job(**settings).checked()
    except RecipeError as fault:
        raise Refused(422, fault.message, [("", fault.message)], fault.hint) from None


def _pictures(request: Img2Img, save: Save) -> dict[str, Any]:
    if not request.init_images:
        raise Refused(404, "Init image not found", hint="send init_images")
    if request.resize_mode not in _FITS or request.inpainting_fill not in _FILLS:
        name = "resize_mode" if request.resize_mode not in _FITS else "inpainting_fill"
        raise Refused(422, f"{name} is not 0 or 1, which are all that this web UI has", [(name, "not 0 or 1")])
    found: dict[str, Any] = {
        "mode": "inpaint" if request.mask else "img2img",
        "init_image": save(str(request.init_images[0]), False),
        "strength": request.denoising_strength,
        "fit": _FITS[request.resize_mode],
    }
    if request.mask:
        found |= {
            "mask": save(request.mask, bool(request.inpainting_mask_invert)),
            "mask_blur_px": request.mask_blur,
            "mask_fill": _FILLS[request.inpainting_fill],
            "mask_padding_px": request.inpaint_full_res_padding if request.inpaint_full_res else None,
        }
    return found


def _controls(scripts: dict[str, Any], init: str, fit: Fit, save: Save) -> tuple[Control, ...]:
    found = []
    for name, script in scripts.items():
        units = script.get("args") if isinstance(script, dict) else None
        if name.lower() != "controlnet" or not isinstance(units, list):
            if units:  # scripts without arguments are off
                raise Refused(422, f"always on script {name} not found", [("alwayson_scripts", f"no {name} here")])
            continue
        found += [
            _control(unit, init, fit, save) for unit in units if isinstance(unit, dict) and unit.get("enabled", True)
        ]
    return tuple(found)


def _control(unit: dict[str, Any], init: str, fit: Fit, save: Save) -> Control:
    """One unit of the ControlNet extension's API; without a picture of its own it follows the one to start from, in its `fit`."""
    module = str(unit.get("module") or "none")
    if module.lower() not in MODULES:
        known = ", ".join(name for name in MODULES if name)
        fault = f"the preprocessor {module!r} is not in this web UI; send the picture that it makes, or use: {known}"
        raise Refused(422, fault, [("alwayson_scripts.controlnet", fault)])
    own = unit.get("image") or unit.get("input_image")
    picture = own or init
    picture = picture.get("image", "") if isinstance(picture, dict) else picture
    model = str(unit.get("model") or "None")
    if model == "None" or not picture:
        fault = "a ControlNet unit has no model" if model == "None" else f"the ControlNet {model} has no image"
        raise Refused(422, fault, [("alwayson_scripts.controlnet", fault)])
    try:
        return Control(
            model,
            save(str(picture), False),
            float(unit.get("weight", 1.0)),
            MODULES[module.lower()],  # type: ignore[arg-type]
            float(unit.get("guidance_start", 0.0)),
            float(unit.get("guidance_end", 1.0)),
            _union_mode(unit),
            _threshold(unit.get("threshold_a"), 100),
            _threshold(unit.get("threshold_b"), 200),
            _UNIT_FITS.get(unit.get("resize_mode"), "crop") if own else fit,
        )
    except (TypeError, ValueError, OverflowError) as fault:
        raise Refused(422, f"a ControlNet unit: {fault}", [("alwayson_scripts.controlnet", str(fault))]) from None


def _union_mode(unit: dict[str, Any]) -> str:
    mode = str(unit.get("union_control_type") or "").lower().replace(" ", "")  # they say "Soft Edge"
    return "" if mode == "unknown" else mode


def _threshold(value: Any, usual: int) -> int:
    """A unit's threshold; below 0 the extension takes the usual one."""
    return usual if value is None or float(value) < 0 else round(float(value))


def _sampler(request: Txt2Img) -> str:
    name = request.sampler_name or request.sampler_index
    known = known_name(name, request.scheduler or "Automatic")
    if known not in sampler_names():
        asked = f"{name} {request.scheduler}".strip()
        raise Refused(400, "Sampler not found", hint=f"there is no {asked!r}; GET /sdapi/v1/samplers lists them")
    return known


def _rounded(side_px: int | None) -> int | None:
    """AUTOMATIC1111 leaves off what does not fill a latent; what is less than one is refused as it is."""
    return side_px // STEP_PX * STEP_PX or side_px if side_px else None
