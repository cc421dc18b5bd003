"""What the caption editor says of what it did, and what its script says; in a notebook and in the studio."""

from __future__ import annotations

from fsd.data.caption_bulk import Changed
from fsd.data.undoing import Step
from fsd.errors import foreseen

_BY = {
    "hand": "a change by hand", "replace": "the replacing", "prefix": "the prefix", "tag": "the dropped tag",
    "undo": "the last step", "redo": "the last step",
}  # fmt: skip


def undo_label(word: str, step: Step | None) -> str:
    """What a button for undo or redo tells of what it would do."""
    if step is None:
        return f"{word}: there is nothing"
    return f"{word} {_BY.get(step.by, step.by)}" + (f" ({step.things} files)" if step.things > 1 else "")


def undone(word: str, photos: list[str]) -> str:
    """What an undo or a redo did."""
    return (
        f"{word}: {_listed(photos)}"
        if photos
        else "There is nothing to undo"
        if word == "Undone"
        else "Nothing is left"
    )


def counted(found: Changed) -> str:
    """How often something was found."""
    return f"{_number(found.places, 'place')} in {_number(len(found.photos), 'caption')}{_skipped(found)}"


def changed(done: Changed) -> str:
    """What was done to all captions."""
    if not done.photos:
        return f"No caption changed{_skipped(done)}"
    return f"{_number(len(done.photos), 'caption')} changed{_skipped(done)}; Undo takes it back"


def sentence(fault: Exception) -> str:
    """What went wrong, and what to do; of a fault that nobody foresaw its own words, raised anew where that is no use."""
    known = foreseen(fault)
    if known is None and not isinstance(fault, OSError):
        raise fault
    return (f"{known.message}: {known.hint}" if known.hint else known.message) if known else str(fault)


def dragged(text: str) -> tuple[int, int, int] | None:
    """(left, top, side) as the script says them; None when it says nothing."""
    try:
        left, top, side = (int(number) for number in text.partition(";")[0].split(","))
    except ValueError:
        return None
    return left, top, side


def _skipped(done: Changed) -> str:
    if not done.skipped:
        return ""
    return f"; left out: {_listed([name for name, _ in done.skipped])} ({done.skipped[0][1]})"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 3 else ""
    return ", ".join(names[: 2 if more else 3]) + more
