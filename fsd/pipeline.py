"""The verbs, in the order of the work: one per notebook cell and one per `fsd VERB`. This page is the table of contents.

    photos -> session -> crop and captions -> text-encoder stage -> UNet stage -> CKPT -> pictures of your subject

Nothing here loads torch: each stage that needs it is a child process that reads the session and writes into it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from fsd.data import session as sessions
from fsd.data.lock import writing
from fsd.data.session import Session
from fsd.errors import SessionError
from fsd.families import FAMILIES, get_family
from fsd.families.rules import resolution_warning
from fsd.needs import (
    base_folder,
    counting_up,
    family_found,
    family_of,
    need_photos,
    need_training,
    recipe_for,
    root_folder,
    wheelhouse_root,
)
from fsd.presets import with_preset_steps
from fsd.runtime import colab, files, machine, report, wheels
from fsd.runtime.handover import held
from fsd.runtime.packages import wheel_house
from fsd.runtime.process import run_stage
from fsd.runtime.report import Result
from fsd.runtime.spool.local_first import working
from fsd.runtime.spool.safe import spooling
from fsd.settings import one_of
from fsd.stage import train_stage
from fsd.weights import checkpoint
from fsd.weights.base_model import find_base_model


def setup(profile: str = "", save_wheelhouse: bool = False, root: str = "") -> Result:
    """Check the machine; with a profile, install beside its own packages what it lacks for it.

    profile: train, webui, caption or all (default: only look).
    save_wheelhouse: keep the wheels in one file in Fast-Dreambooth/wheelhouse; the next setup needs no network.
    root: the folder that holds Fast-Dreambooth/, as for open_session.
    """
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
    session = sessions.open_session(root_folder(root), name, create=True)
    report.say(f"session {session.name}: {session.folder}")
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
    text = f"base model: {chosen.title}, {recipe.resolution_px} px\n{folder}"
    return Result(text, family=chosen.name, folder=str(folder))


def add_photos(
    session: Session, photos: str = "", identifier: str = "", class_word: str = "", hold_out: int = 0
) -> Result:
    """Copy photos into the session and crop them to squares around faces or the subject.

    photos: a folder, a file or a zip (default on Colab: an upload). Yours are never moved or changed.
    identifier: a rare word that will name your subject, such as "sks" or "mafka4".
    class_word: what it is: "dog", "man", "backpack".
    hold_out: how many photos to keep out of training, to score the model with (default: 0).
    """
    from fsd.data.contact_sheet import contact_sheet
    from fsd.data.crop import crop_photos
    from fsd.data.photos import add_photos as add

    recipe = session.recipe()
    source = photos or colab.upload_photos()
    before = sessions.describe(session)["photos"]
    added = add(session, source, hold_out=hold_out)
    if not sessions.describe(session)["photos"]:
        raise SessionError(f"there is no photo to train on: {added.text()}", "give photos in one of those forms")
    words = {"identifier": identifier or recipe.identifier, "class_word": class_word or recipe.class_word}
    session.save_recipe(recipe.changed(**words))
    crop_photos(session)
    sheet = contact_sheet(session)
    after = sessions.describe(session)["photos"]
    session.save_recipe(with_preset_steps(session.recipe(), before, after))
    note = "" if words["class_word"] else "\nnote: no class word yet: say what it is, such as dog"
    return Result(f"{added.text()}{note}\n{sheet}", picture=sheet, contact_sheet=str(sheet), **added.to_json())


def caption_photos(session: Session, mode: str = "keep", template: str = "") -> Result:
    """Settle the captions and show, for every photo, the exact prompt it will be trained with.

    mode: "template" and "file name" write a .txt for every photo, from the template or from the photo's name; a .txt
    that you edited stays. "keep" writes none. Photos without a .txt follow what was chosen last, at first the template.
    template: such as "photo of {identifier} {class}".
    """
    from fsd.data.captions import prompt_table, prompt_table_text, write_captions

    need_photos(session)
    done = write_captions(session, mode, template)
    rows = prompt_table(session, base_folder(session) / "tokenizer")
    text = f"{done.text()}\n{prompt_table_text(rows)}"
    return Result(text, prompts=[row.to_json() for row in rows], written=done.written, kept=done.kept)


def train_text_encoder(
    session: Session, steps: int | None = None, learning_rate: float | None = None, fork: bool = False
) -> Result:
    """Stage 1: teach the text encoder your subject's name. Run it again to go on after an interruption.

    steps: how many (default: by the number of photos; 0 skips the stage).
    learning_rate: default 1e-6.
    fork: go on from the last checkpoint although the settings have changed since.
    """
    return train_stage(session, "text_encoder", steps, learning_rate, fork)


def train_unet(
    session: Session, steps: int | None = None, learning_rate: float | None = None, fork: bool = False
) -> Result:
    """Stage 2: teach the UNet what your subject looks like. Run it again to go on after an interruption.

    steps: how many (default: 100 a photo).
    learning_rate: default 2e-6.
    fork: go on from the last checkpoint although the settings have changed since.
    """
    need_photos(session)
    first = session.recipe().text_encoder.steps
    if first and not checkpoint.is_done(session.checkpoints, "text_encoder"):
        hint = "run train_text_encoder first, or run it with 0 steps"
        raise SessionError(f"the text encoder of session {session.name!r} is not trained yet", hint)
    return train_stage(session, "unet", steps, learning_rate, fork)


def save_ckpt(session: Session, format: str = "safetensors", dtype: str = "fp16", step: str = "") -> Result:
    """Write the trained model as one file that web UIs open.

    format: "safetensors", or "ckpt" for tools that know nothing newer.
    dtype: "fp16" (half the size) or "fp32".
    step: one saved step, such as unet-000500 (default: the newest).
    """
    from fsd.weights.ckpt import save_ckpt as save
    from fsd.weights.model import trained_model

    need_training(session)
    recipe = session.recipe()
    model = trained_model(base_folder(session), session.checkpoints, recipe, report.say, step)
    name = f"{session.name}-{step}" if step else session.name
    metadata = {"modelspec.title": session.name, "fsd.recipe": recipe.fingerprint()}
    with writing(session), spooling(session.folder) as spool:
        files.clear_temporary(session.folder)
        file_name = f"{name}.{one_of('format', format, 'safetensors', 'ckpt')}"
        spool.forget(file_name)  # the older one of that name, which it replaces
        saved = save(
            model.parts,
            working(session.folder) / file_name,
            dtype=one_of("dtype", dtype, "fp16", "fp32"),
            metadata=metadata,
            layout=get_family(recipe.family).layout,
        )
        spool.add(file_name)
    size = f"{report.human_bytes(saved.size_bytes)}, {saved.tensors} tensors, SHA-256 {saved.sha256}"
    path = session.folder / file_name
    text = f"{path}\n{model.as_text(recipe)}\n{size}"
    return Result(text, ckpt=str(path), size_bytes=saved.size_bytes, tensors=saved.tensors, sha256=saved.sha256)


def generate(
    session: Session,
    *prompts: str,
    negative: str = "",
    images: int = 1,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    model: str = "",
) -> Result:
    """Make pictures with the trained model, before or after training, and a labelled grid of them.

    prompts: what to draw; {identifier} and {class} are filled in (default: your subject).
    negative: what to avoid.
    images: pictures of each prompt.
    seed: of the first picture of each prompt; the others' count up from it.
    steps, guidance: of the sampler (default: the family's).
    model: "base", a saved step such as unet-000500, or a CKPT file (default: the newest step).
    """
    base_folder(session)  # fetched here where it is missing: the child has no tokens
    recipe = session.recipe()
    family = get_family(recipe.family)
    request = {
        "prompts": [recipe.prompt(prompt) for prompt in prompts or ("",)],
        "negative": negative,
        "seeds": counting_up("images", images, seed),
        "steps": family.sample_steps if steps is None else steps,
        "guidance": family.guidance if guidance is None else guidance,
        "model": model,
    }
    made = run_stage("fsd.generate.sample", str(session.folder), "--request", json.dumps(request))
    count = len(made["images"])
    return Result(f"{count} picture{'s'[: count > 1]}\n{made['grid']}", picture=Path(made["grid"]), **made)


def score(session: Session, seeds: int = 3, dino: str = "", clip: str = "") -> Result:
    """Measure what was learned: likeness to the held-out photos, and what became of other prompts, before and after.

    seeds: pictures of each prompt: your subject's, and 20 without it, on which agreement and drift are measured.
    dino, clip: folders or hub names of the models that look at the pictures (default: the tiny base model's own judge,
    else facebook/dino-vits16 and openai/clip-vit-base-patch32).
    """
    need_training(session)
    base_folder(session)
    request = json.dumps({"seeds": counting_up("seeds", seeds), "dino": dino, "clip": clip})
    found = run_stage("fsd.generate.score", str(session.folder), "--request", request, handed=held())
    return Result(found.pop("table"), picture=Path(found["grid"]), **found)


def demo(root: str = "") -> Result:
    """The whole job on fourteen real photographs and the embedded tiny base model, in a few minutes on a CPU.

    root: where to put its session (default: the current folder).
    """
    from fsd.demo import run_demo

    return run_demo(root)


def run(recipe: str) -> Result:
    """Do a whole job without a notebook, from one JSON file; run again, it goes on where it stopped.

    recipe: the file: session, photos, base_model, identifier, class_word, settings, stages and more.
    """
    from fsd.job_file import run_job

    return run_job(Path(recipe))
