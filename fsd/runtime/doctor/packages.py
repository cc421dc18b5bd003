"""The installed packages against their ranges, and what `fsd setup` would install. Nothing is imported, no network."""

from __future__ import annotations

from fsd.errors import MachineError
from fsd.runtime.doctor.finding import BOTH, TRAINING, WEB_UI, Findings
from fsd.runtime.doctor.image import typed
from fsd.runtime.packages.requirements import parsed
from fsd.runtime.wheels import SetupPlan, plan_setup

JOBS = {TRAINING: "train", WEB_UI: "webui"}
"""What is asked about -> the profile of `fsd setup` with its packages."""
OPTIONAL = {
    "bitsandbytes": "8-bit AdamW, with which more fits into a GPU",
    "pillow-heif": "photos in an iPhone's format",
    "pyngrok": "the ngrok tunnel",
    "uv": "installing AUTOMATIC1111 or Forge; the studio does without",
}
"""Packages whose absence stops nothing: what they are for."""
_SHOWN = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "huggingface-hub", "numpy", "gradio")


def look_at_packages(section: Findings) -> None:
    """Add each job's packages: how many are as they should be, which are not, and the versions that matter most."""
    told: set[str] = set()
    listed: list[str] = []
    for job, profile in JOBS.items():
        try:
            plan = plan_setup(profile)
        except MachineError as fault:
            section.problem(fault.message, fault.hint, *BOTH)
            return
        if job == TRAINING:
            versions = [f"{name} {plan.found[name].version}" for name in _SHOWN if name in plan.found]
            section.say("versions", _in_lines(versions, 3) or "none of those that matter is installed")
        total = len(plan.profile.requirements)
        section.figures[profile] = {
            "requirements": list(plan.profile.requirements),
            "as_they_should_be": plan.reused,
            "out_of_range": plan.outdated,
            "to_install": list(plan.missing),
        }
        section.say(profile, f"{len(plan.reused)} of {total} packages are as they should be")
        new = [line for line in plan.missing if line not in listed]
        more = f"those and {', '.join(new)}" if listed and new else ", ".join(new) or "those"
        if plan.missing:
            section.say("", f"fsd setup {profile} would install {more}")
        listed += new
        _add_problems(section, plan, job, told)


def _add_problems(section: Findings, plan: SetupPlan, job: str, told: set[str]) -> None:
    """Add what is missing and was not told of another job yet. The web UI needs all that training needs."""
    new = [line for line in plan.missing if line not in told]
    told |= set(new)
    jobs = BOTH if job == TRAINING else (job,)
    step = typed(f"fsd setup {plan.profile.name}")
    stops = [line for line in new if _name(line) not in OPTIONAL]
    absent = [_name(line) for line in stops if _name(line) not in plan.outdated]
    if absent:
        section.problem(f"{', '.join(absent)} {'are' if absent[1:] else 'is'} not installed", step, *jobs)
    for line in stops:
        if _name(line) in plan.outdated:
            section.problem(_fault(line, plan), step, *jobs)
    for line in new:
        if use := OPTIONAL.get(_name(line)):
            section.problem(f"{_fault(line, plan)} ({use})", step)


def _fault(line: str, plan: SetupPlan) -> str:
    name = _name(line)
    if name in plan.outdated:
        return f"{name} is {plan.outdated[name]}, not {line.removeprefix(name)}"
    return f"{name} is not installed"


def _name(line: str) -> str:
    found = parsed(line)
    return found.name if found else line


def _in_lines(parts: list[str], count: int) -> str:
    """The parts, so many a line."""
    return "\n".join(", ".join(parts[at : at + count]) for at in range(0, len(parts), count))
