"""What the studio shows of a session: how far its training is, its loss, and the samples made on the way."""

from __future__ import annotations

import json
from pathlib import Path

from fsd.data.session import Session, list_sessions
from fsd.errors import FsdError
from fsd.recipe import STAGES
from fsd.weights.checkpoint import list_checkpoints


def session_names(root: Path) -> list[str]:
    """The sessions below `root`, those last trained first."""
    return [session.name for session in sorted(list_sessions(root), key=_touched, reverse=True)]


def find_session(root: Path, name: str) -> Session | None:
    """The session of that name, None if there is none."""
    return next((session for session in list_sessions(root) if session.name == name), None)


def progress_text(session: Session) -> str:
    """How far a session's training is, in Markdown: a line a stage, with its last loss."""
    try:
        recipe = session.recipe()
    except FsdError as fault:
        return f"{fault.message}: {fault.hint}"
    last = last_rows(session.logs / "metrics.jsonl")
    lines = []
    for stage in recipe.stages:
        title = STAGES[stage]
        steps = getattr(recipe, stage).steps
        saved = list_checkpoints(session.checkpoints, stage)
        step = max([int(folder.name.rpartition("-")[2]) for folder in saved] + [last.get(stage, (0, 0.0))[0]])
        loss = f", loss {last[stage][1]:.4f}" if stage in last else ""
        lines.append(
            f"**{title[0].upper()}{title[1:]}**: {step} of {steps} steps{loss}" if steps else f"**{title}**: off"
        )
    return "  \n".join([*lines, f"Prompt: {recipe.prompt()}"])


def last_rows(metrics: Path) -> dict[str, tuple[int, float]]:
    """Step and loss of each stage's last line in metrics.jsonl; a damaged line is passed over."""
    found: dict[str, tuple[int, float]] = {}
    if not metrics.is_file():
        return found
    for line in metrics.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            found[str(row["stage"])] = (int(row["step"]), float(row["loss"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def loss_plot(session: Session) -> Path | None:
    """The loss plot, None while there is none."""
    path = session.logs / "loss.png"
    return path if path.is_file() else None


def sample_grids(session: Session) -> list[tuple[Path, str]]:
    """The grids of training samples with their checkpoints' names, the newest first."""
    grids = [path for path in session.samples.glob("*/grid.png") if path.parent.name.rpartition("-")[0] in STAGES]
    grids.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [(path, path.parent.name) for path in grids]


def _touched(session: Session) -> float:
    places = [session.checkpoints, session.logs, session.folder]
    return max((path.stat().st_mtime for path in places if path.exists()), default=0.0)
