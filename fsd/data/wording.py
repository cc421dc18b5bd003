"""From a captioner's words to a caption: what stands before them, and which of them are replaced."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fsd.errors import RecipeError


@dataclass(frozen=True)
class Wording:
    """What becomes of a captioner's words. prefix: stands before them; {identifier} and {class} stay open, as in templates.

    replace: words and what stands in their place, if anything does: whole words in any case, the longest first; what
    was put in is not replaced again.
    """

    prefix: str = ""
    replace: dict[str, str] = field(default_factory=dict)

    def of(self, said: str, filled: str = "") -> str:
        """The caption. filled: the prefix as prompts have it; a captioner that was taught it says it itself."""
        if self.replace:
            instead = {words.lower(): other for words, other in self.replace.items()}
            any_of = "|".join(map(re.escape, sorted(instead, key=len, reverse=True)))
            whole_word = re.compile(rf"(?<!\w)({any_of})(?!\w)", re.IGNORECASE)
            said = whole_word.sub(lambda found: instead.get(found[0].lower(), found[0]), said)
        said = re.sub(r"\s+([,.;])", r"\1", " ".join(said.split())).strip(" ,;")
        prefix = " ".join(self.prefix.split())
        for known in filter(None, (prefix.rstrip(" ,"), filled.rstrip(" ,"))):
            said = re.sub(rf"^{re.escape(known)}(?!\w)[\s,]*", "", said, flags=re.IGNORECASE)
        return f"{prefix}{'' if prefix.endswith(',') or not said else ','} {said}".strip(" ,") if prefix else said


def read_replacements(text: str) -> dict[str, str]:
    """{"a": "b", "c": ""} of "a=b, c="; RecipeError for what is no pair."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        words, equals, instead = (piece.strip() for piece in part.partition("="))
        if not (words and equals):
            raise RecipeError(f"replace has {part!r}, which is no pair", 'such as "a man=mafka4 man, arafed="')
        found[words] = instead
    return found
