"""A picture's settings as AUTOMATIC1111 writes them into a PNG: prompt, negative prompt, then a line of names and values.

The prompt may have many lines; values with commas, colons or line breaks are JSON strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NEGATIVE = "Negative prompt:"
_NAME = re.compile(r"\s*(?P<name>[^\W\d_][\w \-/+.]{0,63}?)\s*:\s*")
"""A name of 64 letters at the most: longer ones would be looked for from each of a long text's letters."""
_COMMA = re.compile(r"\s*(,|$)")
_LORA = re.compile(r"<(?:lora|lyco):(?P<name>[^:<>]+)(?::(?P<weight>[-+]?(?:\d+(?:\.\d+)?|\.\d+))(?::[^<>]*)?)?>")
_FEWEST = 3
"""A last line with fewer settings belongs to the prompt."""


@dataclass(frozen=True)
class Infotext:
    """settings: by the names that the web UI gives them ("CFG scale"), all values as texts."""

    prompt: str = ""
    negative: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def write(info: Infotext) -> str:
    """The text of these settings, which `parse` reads back; settings that are empty are left out.

    A line of the prompt that begins as the negative prompt does is put behind the one before it, as it would be read for
    that, here and by AUTOMATIC1111; only a prompt that begins so as a whole is.
    """
    lines = [re.sub(rf"\n(?=[^\S\n]*{NEGATIVE})", " ", info.prompt)]
    if info.negative:
        lines.append(f"{NEGATIVE} {info.negative}")
    lines.append(", ".join(f"{name}: {quoted(value)}" for name, value in info.settings.items() if value != ""))
    return "\n".join(lines)


def parse(text: str) -> Infotext:
    """The settings in such a text, whoever wrote it; one without a line of settings is all prompt."""
    lines = text.replace("\r\n", "\n").strip("\n").split("\n")
    settings = _settings(lines[-1])
    if len(settings) < _FEWEST and "Steps" not in settings:
        settings = {}
    else:
        lines.pop()
    start = next((at for at, line in enumerate(lines) if line.strip().startswith(NEGATIVE)), len(lines))
    negative = "\n".join(lines[start:]).strip()
    return Infotext("\n".join(lines[:start]).strip(), negative.removeprefix(NEGATIVE).strip(), settings)


def quoted(value: object) -> str:
    """The value as it stands in a line: as a JSON string where it holds a comma, a colon, a line break or a quote."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:\n"]', text) or text != text.strip() else text


def with_lora(prompt: str, lora: Mapping[str, float]) -> str:
    """The prompt with a web UI's tag for each LoRA that it does not name yet: "a cup <lora:mug:0.8>"."""
    named = {name for name, _ in split_lora(prompt)[1]}
    return " ".join([prompt, *(f"<lora:{name}:{weight:g}>" for name, weight in lora.items() if name not in named)])


def split_lora(prompt: str) -> tuple[str, list[tuple[str, float]]]:
    """(the prompt without the web UI's LoRA tags, the LoRAs' names with their weights)."""
    found = [(match["name"].strip(), float(match["weight"] or 1)) for match in _LORA.finditer(prompt)]
    if not found:
        return prompt, []
    return re.sub(r"[ \t]{2,}", " ", _LORA.sub("", prompt)).strip(), found


def _settings(line: str) -> dict[str, str]:
    """The names and values of a line; empty as soon as something in it is neither."""
    found: dict[str, str] = {}
    at, end = 0, len(line.rstrip(", "))
    while at < end:
        match = _NAME.match(line, at)
        if not match:
            return {}
        value, at = _value(line, match.end())
        found[match["name"]] = value
    return found


def _value(line: str, start: int) -> tuple[str, int]:
    """(the value that begins there, where the next name begins)."""
    if line.startswith('"', start):
        try:
            value, end = json.JSONDecoder().raw_decode(line, start)
            if comma := _COMMA.match(line, end):
                return value, comma.end()
        except ValueError:
            pass
    end = line.find(",", start)
    end = len(line) if end < 0 else end
    return line[start:end].strip(), end + 1
