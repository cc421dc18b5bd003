"""The verbs, in the order of the work: one per notebook cell and one per `fsd VERB`. This page is the table of contents.

    photos -> session -> crop and captions -> text-encoder stage -> UNet stage -> CKPT -> pictures of your subject

Training and its files are in `training`, the pictures in `pictures`, the whole of it at once in `demo` and `job_file`, all else
in `upkeep`, `models` and `serving`. Nothing here loads torch: each stage that needs it is a child process that reads the
session and writes into it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fsd.data import session as sessions
from fsd.data.session import Session
from fsd.errors import RecipeError, SessionError
from fsd.families import FAMILIES, get_family
from fsd.families.rules import resolution_warning
from fsd.naming import missing_words, name_after_concepts, name_subject, need_known_places
from fsd.needs import base_folder, family_found, family_of, need_photos, opened, recipe_for, wheelhouse_root
from fsd.presets import PRESETS, with_preset
from fsd.runtime import colab, drive, machine, report, wheels
from fsd.runtime.packages import wheel_house
from fsd.runtime.report import Result
from fsd.settings import one_of
from fsd.training import save_ckpt, save_lora, train_lora, train_text_encoder, train_unet
from fsd.weights.base_model import find_base_model

__all__ = [  # noqa: RUF022 - the order of the work
    "setup", "open_session", "choose_base_model", "add_photos", "caption_photos",
    "train_text_encoder", "train_unet", "save_ckpt", "train_lora", "save_lora",
]  # fmt: skip


def setup(profile: str = "", save_wheelhouse: bool = False, root: str = "") -> Result:
    """Check the machine; with a profile, install beside its own packages what it lacks for it.

    profile: train, webui, caption or all (default: only look).
    save_wheelhouse: keep the wheels in one file in Fast-Dreambooth/wheelhouse; the next setup needs no network.
    root: as for open-session.
    """
    if save_wheelhouse and not profile:
        raise RecipeError("a wheelhouse is of one profile, and none was named", "fsd setup train --save-wheelhouse")
    if not profile:
        found = machine.survey()
        return Result(machine.as_text(found), **found)
    place = wheelhouse_root(root, save_wheelhouse)
    house = wheel_house.path_in(place, profile) if place else None
    done = wheels.need_working(wheels.install(profile, house, save_wheelhouse))
    found = machine.survey()
    return Result(f"{machine.in_lines(found)}\n\n{done.as_text()}", machine=found, **done.to_json())


def open_session(name: str, root: str = "") -> Session:
    """Open a session, or make it if there is none of that name.

    name: what the session, and later the model, is called.
    root: the folder that holds Fast-Dreambooth/ (default: My Drive on Colab, else FSD_HOME or the current folder).
    """
    session = opened(name, root)
    if note := missing_words(session):
        report.say(note)
    return session


def choose_base_model(
    session: Session,
    base_model: str = "sd15",
    family: str = "",
    resolution_px: int = 0,
    web_ui: str = "",
    force: bool = False,
) -> Result:
    """Choose and fetch the model to start from.

    base_model: a family ("sd15", or "tiny" to try everything without a download; fsd families lists them), a hub
    repository OWNER/NAME, a folder in Diffusers layout, a .safetensors or .ckpt, or a link (see fsd base-model).
    family: what it is (default: as recognised, else sd15).
    resolution_px: the side of the training pictures (default: the family's own).
    web_ui: a1111, forge, forge-neo or comfyui: refuse a family that it cannot run.
    force: take a resolution that the family was not made for.
    """
    if base_model and base_model not in FAMILIES and os.path.exists(os.path.expanduser(base_model)):
        base_model = str(Path(base_model).expanduser().resolve())  # the session may be used from another folder
    named = family or family_of(base_model)
    if named:  # what is impossible is said before anything is downloaded
        recipe_for(session.recipe(), get_family(named), base_model, resolution_px, web_ui, force)
    folder = find_base_model(base_model, family)
    chosen = family_found(folder, named)
    recipe = recipe_for(session.recipe(), chosen, base_model, resolution_px, web_ui, force)
    if warning := resolution_warning(chosen, recipe.resolution_px):
        report.say(f"note: {warning}")
    session.save_recipe(recipe)
    text = f"base model: {chosen.title}, {recipe.resolution_px} px\n{folder}\n{missing_words(session)}"
    return Result(text.rstrip(), family=chosen.name, folder=str(folder))


def add_photos(
    session: Session,
    photos: str = "",
    identifier: str = "",
    class_word: str = "",
    hold_out: int = 0,
    preset: str = "",
    concept: str = "",
) -> Result:
    """Copy photos into the session and crop them to squares around faces or the subject.

    photos: a folder, a file or a zip (default on Colab: an upload). Yours are never moved or changed. Where photos are
    there already, words alone can be given too, as long as nothing is trained with others.
    identifier: a rare word that will name your subject, such as "sks" or "mafka4".
    class_word: what it is: "dog", "man", "backpack".
    hold_out: how many photos to keep out of training, to score the model with (default: 0).
    preset: "an object", "a face" or "a style": what steps and learning rates are computed for (default: an object).
    concept: of several subjects in one session, the one that these photos show: "10_zwx cat" is a cat called zwx, each photo
    ten times an epoch. Folders of such names among the photos, and the .txt in them, are kept as they are.
    """
    from fsd.data.contact_sheet import contact_sheet
    from fsd.data.crop import crop_photos
    from fsd.data.photos import AddReport
    from fsd.data.photos import add_photos as add

    preset = one_of("preset", preset, *PRESETS) if preset else session.recipe().preset
    before = sessions.describe(session)["photos"]
    named = before > 0 and name_subject(session, identifier, class_word)  # refused before any photo is touched
    if named and not photos and not hold_out:
        added, told = AddReport(), f"prompts say {session.recipe().prompt()!r} now; run it again to add photos, too"
    else:
        added = add(session, drive.place(photos) if photos else colab.upload_photos(), hold_out, concept)
        told = added.text()
    after = sessions.describe(session)["photos"]
    if not after:
        raise SessionError(f"there is no photo to train on: {told}", "give photos in one of those forms")
    name_subject(session, identifier, class_word)
    if not before:
        told += name_after_concepts(session)
    crop_photos(session)
    sheet = contact_sheet(session)
    session.save_recipe(with_preset(session.recipe(), preset, before, after))
    text = "\n".join(filter(None, (told, missing_words(session), str(sheet))))
    return Result(text, picture=sheet, contact_sheet=str(sheet), **added.to_json())


def caption_photos(
    session: Session,
    mode: str = "keep",
    template: str = "",
    captioner: str = "",
    prefix: str = "",
    replace: str = "",
    again: bool = False,
    quantize: str = "auto",
    generation: str = "",
) -> Result:
    """Settle the captions and show, for every photo, the exact prompt it will be trained with.

    mode: "template" and "file name" write a .txt for every photo, from the template or from the photo's name; a .txt
    that you edited stays. "keep" writes none. Photos without a .txt follow what was chosen last, at first the template.
    "blip2" has a model look at each photo without a .txt and write what it sees; run again, it goes on.
    template: such as "photo of {identifier} {class}".
    captioner: for blip2: blip2 (the default), blip2-flan-t5, blip, OWNER/NAME on the hub, or a folder.
    prefix: stands before what it writes, such as "photo of {identifier} {class},".
    replace: words of its and what stands for them, or nothing: "a man=mafka4 man, arafed=".
    again: also photos that have a caption; what they had stays in the history.
    quantize: none, int8 or nf4 (default: the first that fits this machine's memory).
    generation: how it writes, as transformers' GenerationConfig says: "num_beams=5 max_new_tokens=40 min_new_tokens=5
    temperature=0.7 top_p=0.9", or the file of one; kept in the session and used again. A temperature or top_p has words
    drawn, by the session's seed.
    """
    from fsd.captioners import captions_by_model
    from fsd.data.captions import prompt_table, prompt_table_text, write_captions
    from fsd.data.wording import Wording, read_replacements

    need_photos(session)
    given = {"captioner": captioner, "prefix": prefix, "replace": replace, "again": again, "generation": generation}
    if mode != "blip2" and any(given.values()):
        names = ", ".join(name for name, value in given.items() if value)
        raise RecipeError(f"{names}: for the mode blip2 alone, and the mode is {mode!r}", "choose mode=blip2")
    need_known_places("prefix", prefix)
    counted = mode != "blip2" or session.recipe().base_model  # captions alone need no model to be trained
    tokenizer = base_folder(session) / "tokenizer" if counted else None
    more: dict[str, Any] = {}
    if mode == "blip2":
        wording = Wording(prefix, read_replacements(replace))
        told, more = captions_by_model(session, captioner, wording, again, quantize, generation)
    else:
        done = write_captions(session, mode, template)
        told, more = done.text(), {"written": done.written, "kept": done.kept}
    rows = prompt_table(session, tokenizer)
    return Result(f"{told}\n{prompt_table_text(rows)}", prompts=[row.to_json() for row in rows], **more)
