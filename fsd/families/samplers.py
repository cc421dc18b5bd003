"""The samplers by the names that AUTOMATIC1111 gives them, each as a Diffusers scheduler with its options."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches

from fsd.errors import RecipeError


@dataclass(frozen=True)
class Sampler:
    """A way to walk from noise to picture. scheduler: a class of Diffusers; the noise's own figures stay the model's.

    flow: for families that predict a flow; the others cannot be walked so, nor these otherwise. schedule: what
    AUTOMATIC1111 1.9 and later calls the spacing of the steps, beside the sampler. usual: the schedule that it takes
    where "Automatic" is asked.
    """

    title: str
    scheduler: str
    options: dict[str, object] = field(default_factory=dict)
    flow: bool = False
    schedule: str = ""
    usual: str = ""

    @property
    def name(self) -> str:
        """Title and schedule in one, as older web UIs write them: "DPM++ 2M Karras"."""
        return f"{self.title} {self.schedule}".strip()


_EVEN: dict[str, object] = {"timestep_spacing": "linspace"}
"""Steps from the last timestep to the first, both included: k-diffusion's sigmas, so AUTOMATIC1111's."""
_SDE: dict[str, object] = {"algorithm_type": "sde-dpmsolver++"}
_KARRAS: dict[str, object] = {"use_karras_sigmas": True}
_DPM = "DPMSolverMultistepScheduler"

_ALL = (
    Sampler("Euler", "EulerDiscreteScheduler", _EVEN),
    Sampler("Euler a", "EulerAncestralDiscreteScheduler", _EVEN),
    Sampler("Euler", "EulerDiscreteScheduler", _EVEN | _KARRAS, schedule="Karras"),
    Sampler("DPM++ 2M", _DPM, _EVEN, usual="Karras"),
    Sampler("DPM++ 2M", _DPM, _EVEN | _KARRAS, schedule="Karras"),
    Sampler("DPM++ 2M SDE", _DPM, _EVEN | _SDE, usual="Karras"),
    Sampler("DPM++ 2M SDE", _DPM, _EVEN | _SDE | _KARRAS, schedule="Karras"),
    Sampler("DPM2", "KDPM2DiscreteScheduler", _EVEN, usual="Karras"),
    Sampler("DPM2", "KDPM2DiscreteScheduler", _EVEN | _KARRAS, schedule="Karras"),
    Sampler("Heun", "HeunDiscreteScheduler", _EVEN),
    Sampler("LMS", "LMSDiscreteScheduler", _EVEN),
    Sampler("DDIM", "DDIMScheduler"),
    Sampler("PLMS", "PNDMScheduler", {"skip_prk_steps": True}),
    Sampler("UniPC", "UniPCMultistepScheduler"),
    Sampler("LCM", "LCMScheduler"),
    Sampler("Euler", "FlowMatchEulerDiscreteScheduler", flow=True),
)
SAMPLERS: dict[tuple[str, bool], Sampler] = {(sampler.name, sampler.flow): sampler for sampler in _ALL}
"""By name and whether it is for families that predict a flow. Their pipelines give the others' in-step noise no seed."""

_OTHER_NAMES = {
    "k_euler": "Euler", "k_euler_a": "Euler a", "k_heun": "Heun", "k_lms": "LMS", "k_dpmpp_2m": "DPM++ 2M",
    "euler ancestral": "Euler a", "pndm": "PLMS", "dpm++ 2m sde exponential": "DPM++ 2M SDE",
    "eulerdiscrete": "Euler", "eulerancestraldiscrete": "Euler a", "flowmatcheulerdiscrete": "Euler",
}  # fmt: skip
_SAME_SCHEDULES = ("", "automatic", "uniform", "normal", "simple", "sgm uniform", "exponential", "use same schedule")


def sampler_names(flow: bool | None = None) -> list[str]:
    """The names of all samplers, of those for flows or of the others, each once, in the order of the table."""
    return list(dict.fromkeys(name for name, kind in SAMPLERS if flow in (None, kind)))


def get_sampler(name: str, flow: bool) -> Sampler:
    """The sampler of that name; RecipeError naming those that this kind of model can use."""
    if found := SAMPLERS.get((known_name(name), flow)):
        return found
    names = sampler_names(flow)
    kind = "models that predict a flow" if flow else "this kind of model"
    close = get_close_matches(name, names, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    raise RecipeError(f"there is no sampler {name!r} for {kind}", f"{meant}choose one of: {', '.join(names)}")


def known_name(name: str, schedule: str = "") -> str:
    """Our name of a sampler that AUTOMATIC1111 writes with or without its schedule; what is not known stays as it is.

    "Automatic" is the schedule that AUTOMATIC1111 1.9 and later takes by itself: Karras' for DPM++ 2M.
    """
    names = {known.lower(): known for known in sampler_names()}
    plain = names.get(name.lower()) or _OTHER_NAMES.get(name.lower(), name)
    if schedule.lower() == "automatic":
        schedule = next((sampler.usual for sampler in _ALL if sampler.name == plain), "")
    if schedule.lower() in _SAME_SCHEDULES or plain.lower().endswith(f" {schedule.lower()}"):
        return plain
    return names.get(f"{plain} {schedule}".lower(), f"{plain} {schedule}")


def title_and_schedule(name: str) -> tuple[str, str]:
    """A sampler's name as AUTOMATIC1111 1.9 and later writes it: ("DPM++ 2M", "Karras"); "" where it has but one."""
    for sampler in _ALL:
        if sampler.name == name:
            return sampler.title, sampler.schedule or ("Uniform" if sampler.usual else "")
    return name, ""
