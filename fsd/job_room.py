"""Room for a whole job, asked for before anything of it is made, with the sizes of all that is to come."""

from __future__ import annotations

from pathlib import Path

from fsd.data.concept import photos_of
from fsd.data.folder import Session, is_session
from fsd.families import get_family
from fsd.job_orders import JobFile, recipe_with
from fsd.needs import family_found, family_of, recipe_for
from fsd.recipe import Recipe
from fsd.runtime.space import Need, need_room, pictures_need
from fsd.weights import checkpoint
from fsd.weights.base_model import find_base_model
from fsd.weights.model import base_parts
from fsd.weights.sizes import ckpt_needs


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
    recipe = recipe_with(job, recipe_for(own, family, base_model, job.resolution_px, "", False)).checked()
    need_room(_needs(job, session, recipe, base))


def _needs(job: JobFile, session: Session, recipe: Recipe, base: Path) -> list[Need]:
    from fsd.data.counting import count_photos, photo_bytes
    from fsd.train.room import class_images_need, stage_needs

    there = photos_of(session.instance_images) + photos_of(session.held_out_images)
    count = count_photos(job.photos, there, exactly=False) if job.photos else len(there)
    needs = [Need("photos", session.folder, photo_bytes(job.photos, there))] if job.photos else []
    stages = [one for one in checkpoint.STAGES if one in job.stages and getattr(recipe, one).steps]
    needs += [class_images_need(session, recipe)] if stages else []
    for stage in stages:
        needs += stage_needs(session, recipe, stage, base, photos=count)
    if "save_ckpt" in job.stages:
        needs += ckpt_needs(session.folder, base_parts(base), get_family(recipe.family).layout, job.ckpt.dtype)
    if "generate" in job.stages:
        pictures = 2 * max(1, len(job.pictures.prompts)) * job.pictures.images  # each is in the grid, too
        needs.append(pictures_need("pictures", session.samples, pictures, recipe.resolution_px, recipe.resolution_px))
    return needs
