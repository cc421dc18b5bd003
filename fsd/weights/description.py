"""What a model file is, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fsd.families import FAMILIES
from fsd.runtime.files import size_bytes
from fsd.runtime.report import human_bytes
from fsd.weights.detect import Detected, detect

DTYPE_TITLES = {
    "F64": "fp64",
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "F8_E4M3": "fp8 (e4m3)",
    "F8_E5M2": "fp8 (e5m2)",
}
HIGHLIGHTS = (
    *("modelspec.title", "modelspec.author", "modelspec.date", "modelspec.architecture", "modelspec.trigger_phrase"),
    *(
        "ss_output_name",
        "ss_base_model_version",
        "ss_sd_model_name",
        "ss_network_dim",
        "ss_network_alpha",
        "global_step",
    ),
)
"""The metadata that people ask for; what a trainer wrote about each picture is left out."""
MAX_TEXT = 200
_FITTING_ANY = ("lora", "embedding")
"""Kinds that go with every family of their layout."""


def describe(path: Path) -> dict[str, Any]:
    """What `path` is as JSON: the fields of `Detected`, its size, the metadata worth showing, and who opens it."""
    found = detect(path)
    highlights = {key: found.metadata[key][:MAX_TEXT] for key in HIGHLIGHTS if found.metadata.get(key)}
    facts = asdict(found) | {"metadata": highlights}
    return {"path": str(path), "size_bytes": size_bytes(path)} | facts | {"web_uis": web_uis(found)}


def web_uis(found: Detected) -> list[str]:
    """The web UIs that run its family; of what fits several families, those that run them all. Empty: not known.

    A family's record says nothing of ControlNets: no web UI but ComfyUI has them for all that it runs.
    """
    records = [FAMILIES[found.family]] if found.family and found.kind in ("model", *_FITTING_ANY) else []
    if not records and found.layout and found.kind in _FITTING_ANY:
        records = [family for family in FAMILIES.values() if family.layout == found.layout]
    return [
        name for name in (records[0].web_uis if records else ()) if all(name in record.web_uis for record in records)
    ]


def in_lines(facts: dict[str, Any]) -> str:
    """What `describe` found, one fact a line."""
    known = facts["kind"] != "unknown"
    title = facts["title"] if known else "of no kind that fsd knows"
    prediction = facts["prediction"]
    why = next(
        (text.removeprefix(f"{prediction}: ") for text in facts["signals"] if text.startswith(f"{prediction}:")), ""
    )
    clues = [text for text in facts["signals"] if not prediction or not text.startswith(f"{prediction}:")]
    parts = ", ".join(facts["parts"]) + (", averaged (EMA) weights beside them" if facts["ema"] else "")
    rows = [
        ("family", _family(facts)),
        ("prediction", f"{prediction} ({why})" if why else prediction),
        ("form", facts["form"]),
        ("dtype", ", ".join(DTYPE_TITLES.get(dtype, dtype) for dtype in facts["dtypes"])),
        ("parts", parts),
        ("web UIs", ", ".join(facts["web_uis"])),
        *facts["metadata"].items(),
        *(("recognised by" if known else "", clue) for clue in clues),
    ]
    head = f"{facts['path']}: {title}, {human_bytes(facts['size_bytes'])}"
    return "\n".join([head, *(f"  {name}: {text}" if name else f"  {text}" for name, text in rows if text)])


def _family(facts: dict[str, Any]) -> str:
    name, layout = facts["family"], facts["layout"]
    if name:
        return f"{name} ({FAMILIES[name].title})"
    return f"none of fsd's records; laid out as {layout}" if layout else ""
