"""How a captioner writes: settings of transformers' GenerationConfig, as text, as a file, and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fsd.errors import RecipeError, meant

GENERATION = {"num_beams": 5, "max_new_tokens": 40}
"""How captions are written unless settings say otherwise: BLIP-2's paper uses five beams (Li et al. 2023, appendix)."""
_BOUNDS = {
    "num_beams": (1, 64),
    "temperature": (1e-3, 100),
    "top_p": (1e-3, 1),
    "min_new_tokens": (0, 500),
    "max_new_tokens": (1, 500),
}
_REAL = ("temperature", "top_p", "length_penalty", "repetition_penalty")
"""Those that transformers takes as a float only."""
_KNOWN = (
    *_BOUNDS, "do_sample", "top_k", "length_penalty", "repetition_penalty", "no_repeat_ngram_size", "early_stopping",
)  # fmt: skip


def read_generation(text: str, kept: Path) -> dict[str, Any]:
    """Settings of transformers' GenerationConfig: of "num_beams=5 temperature=0.7", or of a file; without text the kept ones.

    A temperature, top_p or top_k means that words are drawn, without beams unless some are asked for. kept: the file of those
    that were used last. RecipeError for what is neither.
    """
    if "=" in text:
        pairs = dict(pair.partition("=")[::2] for pair in text.split())
        for name in pairs.keys() - set(_KNOWN):
            hint = (
                f"{meant(name, _KNOWN)}known are: {', '.join(_KNOWN)}; the file of a GenerationConfig may hold others"
            )
            raise RecipeError(f"there is no generation setting {name!r}", hint)
        drawn = {"do_sample": True, "num_beams": 1} if pairs.keys() & {"temperature", "top_p", "top_k"} else {}
        return _checked({**GENERATION, **drawn, **{name: _plain(value) for name, value in pairs.items()}})
    path = Path(text).expanduser() if text else kept
    if not path.is_file():
        if text:
            raise RecipeError(
                f"there is no file {path}", "give a generation_config.json, or num_beams=5 max_new_tokens=40"
            )
        return dict(GENERATION)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise RecipeError(f"{path} is no JSON: {fault}", "mend or delete the file") from None
    if not isinstance(found, dict):
        raise RecipeError(f"{path} holds no settings", "mend or delete the file")
    return _checked(found)


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, 2 as 2.0 where a float is needed; RecipeError naming each that is out of its bounds.

    Others are transformers' to judge.
    """
    asked = [(name, settings[name], bounds) for name, bounds in _BOUNDS.items() if settings.get(name) is not None]
    wrong = [
        f"{name} is {value!r}, not {low:g} to {high:g}"
        for name, value, (low, high) in asked
        if type(value) not in (int, float) or not low <= value <= high
    ]
    if wrong:
        raise RecipeError(f"captions cannot be written so: {'; '.join(wrong)}", "change the settings of generation")
    return {name: float(value) if name in _REAL and type(value) is int else value for name, value in settings.items()}


def _plain(text: str) -> Any:
    """A value as JSON reads it, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
