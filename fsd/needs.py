"""What a verb needs before it can run; what is missing is said with the verb to run first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fsd.data import session as sessions
from fsd.data.concept import photos_of
from fsd.data.lock import need_folder
from fsd.data.prompt import need_no_strays
from fsd.data.session import Session
from fsd.errors import SessionError, WeightsError
from fsd.families import FAMILIES, family_from, get_family
from fsd.families.family import ModelFamily
from fsd.families.rules import can_train, default_method, need_web_ui
from fsd.recipe import Recipe
from fsd.runtime import colab, drive, report
from fsd.weights import checkpoint
from fsd.weights.base_model import find_base_model


class NotOpened:
    """What a notebook holds as its session before one is open: any use of it says which cell comes first."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # notebooks look for _repr_html_ and the like
            raise AttributeError(name)
        raise SessionError("no session is open", "run the cell 'Open session' first: open_session")


def root_folder(root: str) -> Path:
    """The folder that holds Fast-Dreambooth/: the one named, else My Drive on Colab, else FSD_HOME or the current one."""
    return drive.place(root) if root else drive.home()


def opened(name: str, root: str) -> Session:
    """The session of that name, made if there is none, and said where it is."""
    session = sessions.open_session(root_folder(root), name, create=True)
    report.say(f"session {session.name}: {session.folder}")
    return session


def wheelhouse_root(root: str, asked: bool) -> Path | None:
    """The folder whose wheelhouses are used; None where Drive would have to be asked for, and nobody asked for one."""
    at_hand = not colab.in_colab() or drive.state(colab.MOUNT_POINT / drive.MY_DRIVE) == "mounted"
    return root_folder(root) if root or asked or at_hand else None


def need_photos(session: Session) -> None:
    """SessionError unless the session has photos, and no caption of a photo that is not there."""
    need_folder(session.folder)
    if not photos_of(session.instance_images):
        raise SessionError(f"session {session.name!r} has no photos yet", "run add_photos first")
    need_no_strays(session)


def need_base_model(session: Session) -> None:
    """SessionError unless a base model was chosen."""
    if not session.recipe().base_model:
        raise SessionError(f"session {session.name!r} has no base model yet", "run choose_base_model first")


def family_of(base_model: str) -> str:
    """The family of a base model, told by its name or its hub repository; "" when only its weights can tell."""
    return base_model if base_model in FAMILIES else family_from(base_model)


def family_found(folder: Path, named: str) -> ModelFamily:
    """The family of the model in a folder: the one named, else as recognised, else sd15.

    WeightsError when the weights are plainly of another family than the one named.
    """
    from fsd.weights.detect import detect

    found = detect(folder)
    family = get_family(named or found.family or Recipe.family)
    if (found.layout or family.layout, found.inpainting) != (family.layout, family.inpainting):
        raise WeightsError(f"{folder} is {found.title}, not {family.title}", f"name its family: {', '.join(FAMILIES)}")
    return family


def recipe_for(
    recipe: Recipe, family: ModelFamily, base_model: str, resolution_px: int, web_ui: str, force: bool
) -> Recipe:
    """The recipe with another base model; RecipeError with what is possible when it cannot be trained or run so.

    resolution_px: 0 keeps what is set if the family stays, and takes the family's own otherwise.
    """
    if web_ui:
        need_web_ui(family, web_ui)
    px = resolution_px or (recipe.resolution_px if recipe.family == family.name else family.native_px)
    force = force or (recipe.force and (recipe.family, recipe.resolution_px) == (family.name, px))
    method = recipe.method if can_train(family, recipe.method) else default_method(family)
    found = recipe.changed(family=family.name, base_model=base_model, resolution_px=px, force=force, method=method)
    return found.checked()


def base_folder(session: Session) -> Path:
    """The Diffusers folder of the session's base model."""
    need_base_model(session)
    return find_base_model(session.recipe().base_model)


def need_training(session: Session, method: str = "") -> None:
    """SessionError unless the session has a checkpoint of a stage that the recipe wants. method: default, the recipe's."""
    recipe = session.recipe().changed(**({"method": method} if method else {}))
    wanted = [stage for stage in recipe.stages if getattr(recipe, stage).steps]
    if not any(checkpoint.list_checkpoints(session.checkpoints, stage) for stage in wanted):
        raise SessionError(
            f"nothing is trained yet in session {session.name!r}", f"run train_{recipe.stages[-1]} first"
        )


def counting_up(name: str, count: int, first: int = 0) -> list[int]:
    """Seeds, one a picture; SessionError unless their number, an argument called `name`, is 1 to 1000."""
    if not 1 <= count <= 1000:
        raise SessionError(f"{name} is {count}, not 1 to 1000", "give another number")
    return list(range(first, first + count))
