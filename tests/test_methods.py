"""Every family by every method, on its tiny shape: what was learned, what the file does, and going on exactly."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import diffusers
import pytest
import torch
from micro import MICRO_PX, draw_photos
from pipelines import MAKERS
from runs import stopping_at, train
from safetensors.torch import load_file

from fsd.data.photos import add_photos
from fsd.data.session import Session, open_session, open_session_folder
from fsd.errors import Interrupted
from fsd.families import FAMILIES
from fsd.generate.models import open_model
from fsd.recipe import Recipe
from fsd.train import loop
from fsd.train.batch import Batches
from fsd.train.network import network_of
from fsd.weights.backbone import backbone_part
from fsd.weights.lora_file import convert_lora
from fsd.weights.lora_stage import LORA_FILE

SHAPES = {
    "sd15": "sd1", "sd21": "sd2", "sdxl": "sdxl", "sd35-large": "sd3-large", "sd35-medium": "sd3-medium",
    "flux-dev": "flux",
}  # fmt: skip
CASES = [(family, stage) for family in SHAPES for stage in ("text_encoder", "unet", "lora")
         if FAMILIES[family].method({"unet": "full"}.get(stage, stage))]  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def model(family: str) -> Path:
        if family not in made:
            made[family] = MAKERS[SHAPES[family]](tmp_path_factory.mktemp(family) / "model")
        return made[family]

    return model


@pytest.fixture
def session_of(
    tmp_path: Path, models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Session]:
    def make(family: str, stage: str, **settings: object) -> Session:
        monkeypatch.setitem(FAMILIES, family, replace(FAMILIES[family], allowed_px=(64, 2048), usual_px=(64, 2048)))
        session = open_session(tmp_path, "cup", create=True)
        add_photos(session, draw_photos(tmp_path / "photos", 3))
        recipe = Recipe(
            family=family, base_model=str(models(family)), class_word="cup", resolution_px=MICRO_PX,
            method="lora" if stage == "lora" else "full",
        )  # fmt: skip
        some = {"text_encoder.steps": 0, "unet.steps": 0, "save.every_steps": 100, "samples.at_end": False}
        session.save_recipe(recipe.changed(**some | {f"{stage}.steps": 6, f"{stage}.learning_rate": 1e-2} | settings))
        return session

    return make


def result_of(session: Session, stage: str) -> dict[str, torch.Tensor]:
    folder = session.checkpoints / f"{stage}-000006"
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{path.parent.name}.{name}": tensor for path in files for name, tensor in load_file(path).items()}


@pytest.mark.parametrize(("family", "stage"), CASES)
def test_it_trains_and_goes_on_with_the_same_bits(session_of: Callable[..., Session], family: str, stage: str) -> None:
    session = session_of(family, stage)
    stopped = open_session_folder(shutil.copytree(session.folder, session.folder.with_name("stopped")))
    assert train(session, stage)["loss"] > 0
    with stopping_at(2), pytest.raises(Interrupted):
        train(stopped, stage)
    assert (stopped.checkpoints / f"{stage}-000003/optimizer.safetensors").is_file()
    assert train(stopped, stage)["from_step"] == 3
    whole, again = result_of(session, stage), result_of(stopped, stage)
    assert whole.keys() == again.keys()
    assert [name for name, tensor in whole.items() if not torch.equal(tensor, again[name])] == []


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[loop.Stage]:
    """The stages that are trained, with their modules as training leaves them."""
    found: list[loop.Stage] = []
    real = loop.train
    monkeypatch.setattr(loop, "train", lambda stage, run, start: (found.append(stage), real(stage, run, start))[1])
    return found


@pytest.mark.parametrize(("family", "stage"), CASES)
def test_the_loss_falls_on_a_fixed_batch(
    session_of: Callable[..., Session], watched: list[loop.Stage], family: str, stage: str
) -> None:
    session = session_of(family, stage, **{f"{stage}.steps": 15, "schedule": "constant"})
    losses: list[float] = []
    real = Batches.at
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "at", lambda self, step, device: real(self, 0, device))
        patch.setattr(loop, "finite_mean", lambda some, *_: losses.extend(float(loss) for loss in some) or losses[-1])
        train(session, stage)
    assert len(losses) == 15
    assert min(losses[-3:]) < 0.98 * losses[0]


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize("form", ["kohya", "peft"])
def test_a_lora_file_does_in_diffusers_what_it_did_in_training(
    session_of: Callable[..., Session], watched: list[loop.Stage], family: str, form: str, tmp_path: Path
) -> None:
    if form == "kohya" and FAMILIES[family].layout in ("sd3", "flux"):
        pytest.skip("Diffusers reads no kohya files of SD 3, and of Flux only those of its full width")
    settings = {"lora.rank": 3, "lora.alpha": 5, "lora.rank_stabilized": family == "sdxl"}
    session = session_of(family, "lora", **settings)
    train(session, "lora")
    model = Path(session.recipe().base_model)
    file = tmp_path / "cup.safetensors"
    convert_lora(session.checkpoints / "lora-000006" / LORA_FILE, file, form, FAMILIES[family].layout)
    network, part = network_of(model), backbone_part(model)
    theirs = diffusers.DiffusionPipeline.from_pretrained(model)
    torch.manual_seed(5)
    given = network.encode(theirs, ["a cup"])
    noisy, t = torch.randn(1, theirs.vae.config.latent_channels, 8, 8), torch.tensor([400.0])
    with torch.no_grad():
        base = network.predict(getattr(theirs, part), noisy, t, given)
        trained = watched[0].trained[part].eval()
        ours = network.predict(trained, noisy, t, given)
        trained.disable_adapters()
        off = network.predict(trained, noisy, t, given)
        theirs.load_lora_weights(tmp_path, weight_name=file.name)
        applied = network.predict(getattr(theirs, part), noisy, t, given)
        opened = open_model(session, session.recipe(), "").pipeline
        baked = network.predict(getattr(opened, part), noisy, t, given)
    assert torch.equal(off, base) or (off - base).abs().max() < 1e-6
    assert (ours - base).abs().max() > 1e-3
    assert (applied - ours).abs().max() < 1e-4
    assert (baked - ours).abs().max() < 1e-4
