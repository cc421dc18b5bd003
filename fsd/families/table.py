"""The families as a table: the same rows for `fsd families` and for the README."""

from __future__ import annotations

from collections.abc import Iterable

from fsd.families import FAMILIES
from fsd.families.family import ModelFamily

HEAD = ["family", "model", "px", "predicts", "tokens", "full", "LoRA", "web UIs", "licence"]


def rows(families: Iterable[ModelFamily]) -> list[list[str]]:
    """A row of texts for each family, under HEAD."""
    return [
        [
            family.name,
            family.title,
            str(family.native_px),
            family.prediction,
            "+".join(str(encoder.tokens) for encoder in family.text_encoders),
            _memory(family, "full"),
            _memory(family, "lora"),
            ", ".join(family.web_uis),
            family.licence + (" (gated)" if family.gated else ""),
        ]
        for family in families
    ]


def notes() -> list[str]:
    """What the columns mean, a line each."""
    return [
        "full, LoRA: GPU memory in GB, of any trainer's leanest setting (fsd's: `fsd plan`), ~ reckoned; - cannot be trained so.",
        "gated: accept the licence on the hub once and set HF_TOKEN.",
    ]


def markdown() -> str:
    """All families as a Markdown table with its notes."""
    table = [HEAD, ["---"] * len(HEAD), *rows(FAMILIES.values())]
    return "\n".join([*("| " + " | ".join(row) + " |" for row in table), "", *("- " + note for note in notes())])


def _memory(family: ModelFamily, name: str) -> str:
    method = family.method(name)
    return f"{'~' * method.estimate}{method.memory_gb:g}" if method else "-"
