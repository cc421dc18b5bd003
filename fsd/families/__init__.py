"""The families of models: a table of frozen records. A new family is a new record in it."""

from __future__ import annotations

from fsd.errors import RecipeError, meant
from fsd.families.family import ModelFamily
from fsd.families.flux import FLUX_DEV, FLUX_SCHNELL
from fsd.families.sd1 import SD15, SD15_INPAINTING
from fsd.families.sd2 import SD21, SD21_BASE
from fsd.families.sd3 import SD35_LARGE, SD35_LARGE_TURBO, SD35_MEDIUM
from fsd.families.sdxl import SDXL
from fsd.families.tiny import TINY

_ALL = (
    *(TINY, SD15, SD15_INPAINTING, SD21_BASE, SD21, SDXL),
    *(SD35_LARGE, SD35_LARGE_TURBO, SD35_MEDIUM, FLUX_DEV, FLUX_SCHNELL),
)
FAMILIES: dict[str, ModelFamily] = {family.name: family for family in _ALL}


def get_family(name: str) -> ModelFamily:
    """The family called `name`; RecipeError listing the known names otherwise."""
    if name in FAMILIES:
        return FAMILIES[name]
    raise RecipeError(
        f"there is no model family {name!r}", f"{meant(name, FAMILIES)}choose one of: {', '.join(FAMILIES)}"
    )


def family_from(repository: str) -> str:
    """The name of the family that has this hub repository among its sources; "" if none has."""
    for family in FAMILIES.values():
        if repository.partition("@")[0] in (source.repository for source in family.sources):
            return family.name
    return ""
