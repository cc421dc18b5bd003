"""The families that can be trained: a table of frozen records."""

from __future__ import annotations

from difflib import get_close_matches

from fsd.errors import RecipeError
from fsd.families.family import ModelFamily
from fsd.families.sd1 import SD15
from fsd.families.tiny import TINY

FAMILIES: dict[str, ModelFamily] = {family.name: family for family in (SD15, TINY)}


def get_family(name: str) -> ModelFamily:
    """The family called `name`; RecipeError listing the known names otherwise."""
    if name in FAMILIES:
        return FAMILIES[name]
    close = get_close_matches(name, FAMILIES, n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    raise RecipeError(f"there is no model family {name!r}", f"{meant}choose one of: {', '.join(FAMILIES)}")
