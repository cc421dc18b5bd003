"""Room for a whole job, asked for before anything of it is made, with the sizes of all that is to come."""

from __future__ import annotations

from pathlib import Path

from fsd.data.concept import photos_of
from fsd.data.folder import Session, is_session
from fsd.families import get_family
from fsd.job_orders import JobFile, recipe_with
from fsd.needs import family_found, family_of, recipe_for
from fsd.presets import with_preset
from fsd.recipe import STAGES, Recipe
from fsd.runtime.space import Need, need_room, pictures_need
from fsd.weights.base_model import find_base_model
from fsd.weights.model import base_parts
from fsd.weights.sizes import ckpt_needs, lora_needs


def need_job_room(job: JobFile, session: Session) -> None:
    """Nothing, once the base model is on this machine and the disks have room for all that the job will write.

    session: need not be there yet. MachineError listing what will be written, RecipeError for settings that the base model
    does not take.
    """
    own = session.recipe() if is_session(session.folder) else Recipe()
    base_model = job.base_model or own.base_model or "sd15"
    base = find_base_model(base_model, job.family)
    same = base_model == own.base_model and not job.family
    family = family_found(base, own.family if same else job.family or family_of(base_model))
    before = len(photos_of(session.instance_images))
    recipe = recipe_for(own, family, base_model, job.resolution_px, "", False)
    recipe = with_preset(recipe, job.preset or own.preset, before, _count(job, session) - job.hold_out)
    need_room(_needs(job, session, recipe_with(job, recipe).checked(), base))


def _there(session: Session) -> list[Path]:
    return photos_of(session.instance_images) + photos_of(session.held_out_images)


def _count(job: JobFile, session: Session) -> int:
    """How many photos there will be, those that are held out with them."""
    from fsd.data.counting import count_photos

    there = _there(session)
    return count_photos(job.photos, there, exactly=False) if job.photos else len(there)


def _needs(job: JobFile, session: Session, recipe: Recipe, base: Path) -> list[Need]:
    from fsd.data.counting import photo_bytes
    from fsd.train.room import class_images_need, stage_needs, trained_numbers

    there, count = _there(session), _count(job, session)
    needs = [Need("photos", session.folder, photo_bytes(job.photos, there))] if job.photos else []
    stages = [one for one in STAGES if one in job.stages and getattr(recipe, one).steps]
    needs += [class_images_need(session, recipe)] if stages else []
    for stage in stages:
        needs += stage_needs(session, recipe, stage, base, photos=count)
    if "save_ckpt" in job.stages:
        needs += ckpt_needs(session.folder, base_parts(base), get_family(recipe.family).layout, job.ckpt.dtype)
    if "save_lora" in job.stages:
        needs += lora_needs(session.folder, trained_numbers(recipe, "lora", base))
    if "generate" in job.stages:
        pictures = 2 * max(1, len(job.pictures.prompts)) * job.pictures.images  # each is in the grid, too
        pictures *= 2 if job.pictures.compare else 1
        needs.append(pictures_need("pictures", session.samples, pictures, recipe.resolution_px, recipe.resolution_px))
    return needs
