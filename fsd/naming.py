"""The words by which prompts name the subject: missed early, and settled before anything is trained with them."""

from __future__ import annotations

import re

from fsd.data import session as sessions
from fsd.data.captions import prompt_table
from fsd.data.concept import recipes_of
from fsd.data.session import Session
from fsd.errors import RecipeError, SessionError, meant
from fsd.needs import base_folder
from fsd.recipe import Recipe

_PLACES = ("identifier", "class")


def missing_words(session: Session) -> str:
    """A line that says which words are missing and how to give them; "" where prompts name the subject."""
    recipe = session.recipe()
    if recipe.class_word or session.manifest()["prompts"] == "file name":
        return ""
    kinds = "class word" if recipe.identifier != type(recipe).identifier else "identifier and no class word"
    give = "the cell 'Add photos', or fsd add-photos NAME --identifier mafka4 --class-word dog"
    return f"note: no {kinds} yet, so prompts say {recipe.prompt()!r}; give them with {give}"


def need_known_places(what: str, text: str) -> None:
    """RecipeError where a text has a place such as {clas}, which nearly is one that is filled in."""
    for name in re.findall(r"\{(\w+)\}", text):
        if name not in _PLACES and (close := meant(name, _PLACES)):
            raise RecipeError(
                f"{what} has a place {{{name}}}, which nothing fills", f"{close}places: {{identifier}}, {{class}}"
            )


def name_subject(session: Session, identifier: str, class_word: str, fork: bool = False) -> bool:
    """Keep the words that are not empty in the recipe, and tell prompts that were shown anew; whether anything changed.

    fork: also where something is trained by other words. SessionError otherwise, with what to do.
    """
    before = session.recipe()
    recipe = before.changed(
        identifier=identifier or before.identifier, class_word=class_word or before.class_word
    ).checked()
    if recipe == before:
        return False
    if any(sessions.describe(session)["checkpoints"].values()) and not fork:
        raise _is_trained(session, before.identifier, before.class_word)
    session.save_recipe(recipe)
    if (session.logs / "prompts.txt").is_file():
        prompt_table(session, base_folder(session) / "tokenizer")
    return True


def name_after_concepts(session: Session) -> str:
    """Where all photos are of concepts and the subject has no words of its own, give it the first one's, and a line on it."""
    recipe = session.recipe()
    first = recipes_of(session, recipe)[0]
    if (recipe.identifier, recipe.class_word) != (Recipe.identifier, Recipe.class_word) or first == recipe:
        return ""
    name_subject(session, first.identifier, first.class_word)
    return f"\npictures, where no prompt says otherwise, are of the first concept: {first.prompt()!r}"


def _is_trained(session: Session, identifier: str, class_word: str) -> SessionError:
    words = " ".join(filter(None, (identifier, class_word)))
    return SessionError(
        f"session {session.name!r} is trained with its subject called {words!r}, which cannot change any more",
        f"leave the words as they are; or add_photos from {session.instance_images} to a new session; or change_settings, "
        "and fork",
    )
