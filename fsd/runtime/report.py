"""The one place that prints: lines for people, progress bars, and the single JSON object for programs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from fsd.errors import missing_package

_stream: TextIO | None = None


def to_standard_error() -> None:
    """From now on lines for people go to standard error, so that standard output holds one JSON object alone."""
    global _stream
    _stream = sys.stderr


def stream() -> TextIO:
    """Where lines for people go: standard output, unless `to_standard_error` was called."""
    return _stream or sys.stdout


def say(line: str) -> None:
    """Print one line for people, at once; above the bars that are being drawn."""
    if drawn := getattr(sys.modules.get("tqdm"), "tqdm", None):
        drawn.write(line, file=stream())
        stream().flush()
    else:
        print(line, file=stream(), flush=True)


def mute() -> None:
    """Say nothing more to people in this process."""
    global _stream
    _stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives


def say_json(value: dict[str, Any]) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def progress(label: str, total: int | None, done: int = 0, unit: str = " steps", quiet: bool = False) -> Any:
    """A tqdm bar on the people's stream: rate, time left; `set_postfix` adds figures such as the loss.

    total: None where it is not known. unit: " steps", or "B" for bytes, which are then counted in KB, MB and GB.
    quiet: draw none.
    MachineError without tqdm, which is all that fsd itself needs.
    """
    try:
        from tqdm import tqdm
    except ModuleNotFoundError as fault:
        raise missing_package(fault) from None

    return tqdm(
        desc=label,
        total=total,
        initial=done,
        file=stream(),
        mininterval=0.5,
        dynamic_ncols=True,
        unit=unit,
        unit_scale=unit == "B",
        smoothing=0.1,
        disable=quiet,
    )


def table(rows: list[list[str]], head: list[str]) -> str:
    """Rows of texts as aligned columns under their heads."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def human_bytes(size_bytes: int) -> str:
    """A size in the unit that fits: 1.5 MB is 1,500,000 bytes."""
    size = float(size_bytes)
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def human_seconds(seconds: float) -> str:
    """A time for people: "40 s", "25 min", "3 h 10 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Result(dict[str, Any]):
    """What a verb gives back: its figures as a dictionary, a text for people, and a picture that notebooks show."""

    def __init__(self, text: str, picture: Path | None = None, **figures: Any) -> None:
        super().__init__(figures)
        self.text = text
        self.picture = picture

    def __repr__(self) -> str:
        return self.text

    def _repr_png_(self) -> bytes | None:
        return self.picture.read_bytes() if self.picture and self.picture.suffix == ".png" else None
