"""Which of Diffusers' pipelines makes a picture: by the layout of the model, what is asked, and whether a ControlNet helps."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fsd.errors import RecipeError


@dataclass(frozen=True)
class Pipelines:
    """Names of Diffusers' classes, plain and with a ControlNet ("": there is none). controlnet: the network's class.

    union: (the network's class, what stands before "Pipeline") of ControlNets that read many kinds of picture.
    modes: a union ControlNet's kinds of picture, by their number: the tasks (`fsd.families.controlnets`) of each.
    """

    plain: Mapping[str, str]
    controlled: Mapping[str, str]
    controlnet: str
    union: str = ""
    modes: tuple[tuple[str, ...], ...] = ()


def _three(name: str, inpaint: str = "Inpaint") -> dict[str, str]:
    return {
        "txt2img": f"{name}Pipeline", "img2img": f"{name}Img2ImgPipeline", "inpaint": f"{name}{inpaint}Pipeline"
    }  # fmt: skip


_SD = Pipelines(_three("StableDiffusion"), _three("StableDiffusionControlNet"), "ControlNetModel")
_XL_MODES = (
    ("openpose",), ("depth",), ("scribble", "softedge"), ("canny", "lineart", "lineart_anime", "mlsd"), ("normal",),
    ("seg",), ("tile",), ("inpaint",),
)  # fmt: skip
_FLUX_MODES = (("canny",), ("tile",), ("depth",), ("blur",), ("openpose",), ("gray",), ("lowquality",))
PIPELINES: dict[str, Pipelines] = {
    "sd1": _SD,
    "sd2": _SD,
    "sdxl": Pipelines(
        _three("StableDiffusionXL"), _three("StableDiffusionXLControlNet"), "ControlNetModel",
        "ControlNetUnionModel", _XL_MODES,
    ),
    "sd3": Pipelines(
        _three("StableDiffusion3"), {"txt2img": "StableDiffusion3ControlNetPipeline"}, "SD3ControlNetModel"
    ),
    "flux": Pipelines(_three("Flux"), _three("FluxControlNet"), "FluxControlNetModel", "", _FLUX_MODES),
}  # fmt: skip
"""By layout. Diffusers has no pipeline that starts SD 3 from a picture and follows an ordinary ControlNet."""


def build_pipeline(pipeline: Any, layout: str, mode: str, controlnets: list[Any], union: bool = False) -> Any:
    """The pipeline that does `mode` with the parts of a loaded one, none of them copied or cast.

    RecipeError where Diffusers has none.
    """
    kinds = PIPELINES[layout]
    name = (kinds.controlled if controlnets else kinds.plain).get(mode, "")
    if not name:
        raise RecipeError(f"{mode} with a ControlNet is not possible with this kind of model", "use txt2img with it")
    if union:
        name = name.replace("ControlNet", "ControlNetUnion")
    if type(pipeline).__name__ == name:
        return pipeline
    kind = getattr(importlib.import_module("diffusers"), name)
    network = {"controlnet": controlnets[0] if len(controlnets) == 1 else controlnets} if controlnets else {}
    known = inspect.signature(kind.__init__).parameters
    given = {**pipeline.config, **pipeline.components, **network}
    made = kind(**{key: value for key, value in given.items() if key in known})
    made.set_progress_bar_config(disable=True)
    return made


def accepted(pipeline: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the arguments that this pipeline takes: pipelines that start from a picture have no size, for one."""
    known = inspect.signature(type(pipeline).__call__).parameters
    return {name: value for name, value in arguments.items() if name in known}
