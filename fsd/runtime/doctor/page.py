"""The doctor's page: whether training and the web UI would work, the next steps, and everything that was found."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fsd import __version__
from fsd.runtime.doctor.finding import BOTH, TRAINING, WEB_UI, Findings, Problem, wrapped
from fsd.runtime.report import Result

EXIT_CODES = {(True, True): 0, (False, False): 1, (True, False): 3, (False, True): 4}
"""By whether training and the web UI would work."""
_TITLES = {TRAINING: "training", WEB_UI: "web UI"}


class Examined(Result):
    """A doctor's page. exit_code: 0 training and the web UI would work, 1 neither, 3 training alone, 4 the web UI alone."""

    exit_code: int = 0


def page(sections: list[Findings]) -> Examined:
    """The page with these sections, and what it says as figures."""
    problems = [problem for section in sections for problem in section.problems]
    works = {job: not any(job in problem.stops for problem in problems) for job in BOTH}
    made = datetime.now(UTC)
    limits = {job: "; ".join(section.limits[job] for section in sections if job in section.limits) for job in BOTH}
    steps = _steps(problems)
    lines = [
        line for job in BOTH for line in wrapped(f"{_TITLES[job]:12}{_verdict(steps, job, limits[job])}", " " * 12)
    ]
    lines += ["", *_as_lines(steps)]
    for section in sections:
        lines += ["", *section.as_lines()]
    lines += ["", f"made by fsd doctor, fsd {__version__}, {made:%Y-%m-%d %H:%M} UTC"]
    lines += ["Paste this page into a bug report as it is: it holds no secrets."]
    figures: dict[str, Any] = {section.title.replace(" ", "_"): section.figures for section in sections}
    figures |= {f"{job}_would_work": works[job] for job in BOTH} | {f"{job}_limit": limits[job] for job in BOTH}
    figures["problems"] = [{"what": p.what, "next_step": p.next_step, "stops": list(p.stops)} for p in problems]
    made_page = Examined("\n".join(lines), fsd=__version__, made=made.isoformat(timespec="seconds"), **figures)
    made_page.exit_code = EXIT_CODES[works[TRAINING], works[WEB_UI]]
    return made_page


def _steps(problems: list[Problem]) -> list[tuple[str, list[Problem]]]:
    """The next steps, what stops something first; problems that one step mends stand together."""
    steps: dict[str, list[Problem]] = {}
    for problem in sorted(problems, key=lambda problem: -len(problem.stops)):
        steps.setdefault(problem.next_step, []).append(problem)
    return list(steps.items())


def _verdict(steps: list[tuple[str, list[Problem]]], job: str, limit: str) -> str:
    """Whether a job would work, and how far, and else the steps that it waits for."""
    numbers = [str(number) for number, (_, several) in enumerate(steps, 1) if any(job in one.stops for one in several)]
    if not numbers:
        return f"would work{f', but {limit}' if limit else ''}"
    *first, last = numbers
    return f"WOULD NOT WORK before step{'s'[: bool(first)]} {', '.join(first)}{' and ' * bool(first)}{last}"


def _as_lines(steps: list[tuple[str, list[Problem]]]) -> list[str]:
    """The steps with their reasons, numbered; those that stop nothing stand apart."""
    lines = [] if steps else ["next steps: none, all is well"]
    title = ""
    for number, (step, several) in enumerate(steps, start=1):
        before, title = title, "next steps" if any(one.stops for one in several) else "worth doing"
        if title != before:
            lines += [""] * bool(before) + [title]
        lines += wrapped(f"  {number}. {step}", "   ")
        lines += [line for one in several for line in wrapped(f"     because {one.what}", "  ")]
    return lines
