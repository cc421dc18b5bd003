"""What cannot work ends in one clear error and an exit code, and nothing that was there is lost."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import runs
from micro import make_micro_session
from runs import copy_of
from safetensors.torch import load_file
from test_cli import Fsd, last_json

from fsd import stage
from fsd.data.session import Session, open_session
from fsd.errors import Interrupted, MachineError
from fsd.recipe import STAGES
from fsd.runtime.files import sha256
from fsd.train import loop, prepare
from fsd.train.batch import Batches
from fsd.train.state import State
from fsd.weights import checkpoint

VERB = {"text_encoder": "train-text-encoder", "unet": "train-unet", "lora": "train-lora"}
ORDER = tuple(STAGES)
STEPS = 6


@pytest.fixture
def session(tmp_path: Path, micro_model: Path) -> Session:
    """Six steps of every stage, saved every other one; the text encoder's are not needed before the UNet's."""
    return make_micro_session(tmp_path, micro_model, dict.fromkeys(ORDER, STEPS))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run in this process, where a test can reach them, and the UNet's does not ask for the one before it."""

    def run_stage(module: str, folder: str, *options: str) -> dict[str, Any]:
        return runs.train(Session(Path(folder)), module.removeprefix("fsd.train."), *options)

    monkeypatch.setattr(stage, "run_stage", run_stage)
    monkeypatch.setattr(checkpoint, "is_done", lambda *_: True)


def content(session: Session) -> dict[str, str]:
    return {str(path): sha256(path) for path in sorted(session.folder.rglob("*")) if path.is_file()}


def saved(session: Session, stage: str) -> list[int]:
    return [int(folder.name[-6:]) for folder in checkpoint.list_checkpoints(session.checkpoints, stage)]


def weights(session: Session, stage: str) -> dict[str, bytes]:
    """Of the last checkpoint; not the files' bytes, for safetensors writes what a header says of itself in any order."""
    folder = session.checkpoints / checkpoint.checkpoint_name(stage, STEPS)
    found = {path: load_file(path) for path in sorted(folder.rglob("*.safetensors"))}
    return {f"{path.name} {key}": tensor.numpy().tobytes() for path in found for key, tensor in found[path].items()}


def one_error(answer: tuple[int, str, str]) -> str:
    """What a verb that failed said: one fault and what to do."""
    code, out, err = answer
    said = [line for line in err.replace("\r", "\n").splitlines() if line.startswith(("fsd: ", "  What to do: "))]
    assert (code, len(said)) == (1, 2), (out, err)
    assert "Traceback" not in out + err
    return "\n".join(said)


# --- refused before anything begins ----------------------------------------------------------------------------------

REFUSED = {
    "negative text-encoder steps": (("train-text-encoder", "cup", "--steps", "-5"), "text_encoder.steps is -5"),
    "negative UNet steps": (("train-unet", "cup", "--steps", "-1"), "unet.steps is -1"),
    "negative LoRA steps": (("train-lora", "cup", "--steps", "-1"), "lora.steps is -1"),
    "rank 0": (("train-lora", "cup", "--rank", "0"), "lora.rank is 0, not 1 to 1024"),
    "a negative rank": (("change-settings", "cup", "lora.rank=-4"), "lora.rank is -4"),
    "a crooked resolution": (
        ("choose-base-model", "cup", "--base-model", "tiny", "--resolution-px", "100"),
        "resolution_px is 100, not a multiple of",
    ),
    "a crooked resolution, set": (("change-settings", "cup", "resolution_px=100"), "resolution_px is 100, not"),
    "no batch": (("change-settings", "cup", "batch_size=0"), "batch_size is 0"),
    "an empty folder": (("add-photos", "cup", "--photos", "empty"), "there are no photos in"),
    "a session without photos": (("train-lora", "bare"), "has no photos yet"),
    "captions of no photo, to train": (("train-lora", "astray"), "without a photo of their name: gone.txt"),
    "captions of no photo, to caption": (("caption-photos", "astray"), "without a photo of their name: gone.txt"),
}


@pytest.mark.parametrize(("line", "fault"), REFUSED.values(), ids=list(REFUSED))
def test_a_bad_setting_is_one_error_and_changes_nothing(
    session: Session,
    tmp_path: Path,
    fsd: Fsd,
    line: tuple[str, ...],
    fault: str,
) -> None:
    (tmp_path / "empty").mkdir()
    bare, astray = open_session(tmp_path, "bare", create=True), copy_of(session, "astray")
    (astray.captions / "gone.txt").write_text("photo of sks cup on a table")
    before = [content(each) for each in (session, bare, astray)]
    assert fault in one_error(fsd(*line))
    code, out, _ = fsd(*line, "--json")
    assert (code, fault in last_json(out)["error"]) == (1, True)
    assert [content(each) for each in (session, bare, astray)] == before


def test_captions_of_photos_that_are_held_out_are_of_a_photo(session: Session, fsd: Fsd) -> None:
    photo = next(session.instance_images.iterdir())
    photo.rename(session.held_out_images / photo.name)
    (session.captions / f"{photo.stem}.txt").write_text("photo of sks cup")
    assert fsd("caption-photos", "cup")[0] == 0


# --- numbers that are none -------------------------------------------------------------------------------------------


@contextmanager
def no_number(at_step: int, kind: str) -> Iterator[None]:
    """Have a step (from 0) have a loss that is no number, or leave weights that are none with a loss that is one."""
    real_at, real_rates = Batches.at, loop._rates

    def at(self: Batches, step: int, device: Any) -> Any:
        found = real_at(self, step, device)
        return [replace(batch, noisy=batch.noisy * float("nan")) for batch in found] if step == at_step else found

    def rates(stage: Any, step: int, recipe: Any) -> dict[str, float]:
        found = real_rates(stage, step, recipe)
        return dict.fromkeys(found, float("inf")) if step == at_step else found

    with pytest.MonkeyPatch.context() as patch:
        if kind == "loss":
            patch.setattr(Batches, "at", at)
        else:
            patch.setattr(loop, "_rates", rates)
        yield


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize(
    ("kind", "step", "fault"), [("loss", 4, "the loss is nan at step 6"), ("weights", 5, "step 6 made weights")]
)
def test_what_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    session: Session,
    fsd: Fsd,
    name: str,
    kind: str,
    step: int,
    fault: str,
) -> None:
    whole = copy_of(session, "whole")
    assert fsd(VERB[name], "whole")[0] == 0
    with no_number(step, kind):
        said = one_error(fsd(VERB[name], "cup"))
    assert fault in said
    assert "lower the learning rate" in said
    assert "the last checkpoint, of step 4," in said
    assert saved(session, name) == [2, 4]
    assert fsd(VERB[name], "cup")[0] == 0
    assert weights(session, name) == weights(whole, name)


@contextmanager
def slow_save(step: int, until: Event, fault: OSError | None = None) -> Iterator[None]:
    """Have the save of a step end only when an event comes, and then fail, if wanted."""
    real = checkpoint.seal

    def seal(folder: Path, manifest: dict[str, Any]) -> None:
        if manifest["step"] == step:
            assert until.wait(60), "nobody waited for the save"
            if fault:
                raise fault
        real(folder, manifest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "seal", seal)
        yield


@pytest.mark.parametrize(("fault", "kept"), [(None, 4), (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 2)])
def test_the_error_names_the_checkpoint_that_is_whole_when_a_save_was_under_way(
    session: Session,
    fsd: Fsd,
    monkeypatch: pytest.MonkeyPatch,
    fault: OSError | None,
    kept: int,
) -> None:
    found, real = Event(), State.kept
    monkeypatch.setattr(State, "kept", lambda self: (found.set(), real(self))[1])
    with no_number(4, "loss"), slow_save(4, found, fault):
        code, out, err = fsd("train-unet", "cup")
    assert f"the last checkpoint, of step {kept}," in one_error((code, out, err))
    assert ("unet-000004 could not be saved" in out) == bool(fault)
    assert saved(session, "unet")[-1] == kept
    assert fsd("train-unet", "cup", "--learning-rate", "1e-4", "--fork")[0] == 0


# --- stopped, and full, in the middle of a save ----------------------------------------------------------------------


@contextmanager
def at_step(wanted: int, do: Callable[[], object]) -> Iterator[None]:
    """Do something while the batch of a step (from 0) is made."""
    real = Batches.at

    def at(self: Batches, step: int, device: Any) -> Any:
        if step == wanted:
            do()
        return real(self, step, device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "at", at)
        yield


def train(session: Session, name: str) -> dict[str, Any]:
    return stage.run_stage(f"fsd.train.{name}", str(session.folder))


def test_stopped_while_a_save_is_under_way_both_are_whole(session: Session) -> None:
    stopped = Event()

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        stopped.set()

    with slow_save(2, stopped), at_step(2, stop), pytest.raises(Interrupted, match="stopped after step 3 of 6"):
        train(session, "unet")
    assert saved(session, "unet") == [2, 3]
    assert train(session, "unet")["from_step"] == 3


def test_stopped_with_a_disk_that_is_full_it_does_not_say_that_all_is_saved(session: Session) -> None:
    ready = Event()
    ready.set()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    stop = lambda: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    with slow_save(3, ready, full), at_step(2, stop), pytest.raises(MachineError, match=r"unet-000003 could not be"):
        train(session, "unet")
    assert train(session, "unet")["from_step"] == 2


def test_no_samples_are_made_of_what_could_not_be_saved(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.save_recipe(session.recipe().changed(samples__every_steps=4))
    asked: list[object] = []
    monkeypatch.setattr(prepare.process, "run_stage", lambda *given: asked.append(given))
    ready = Event()
    ready.set()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with slow_save(4, ready, full), pytest.raises(MachineError, match="unet-000004 could not be saved"):
        train(session, "unet")
    assert (asked, saved(session, "unet")) == ([], [2])
    train(session, "unet")
    assert [given[-1] for given in asked] == ["unet-000004"]


@contextmanager
def full_disk() -> Iterator[Callable[[], None]]:
    """Yield what makes this process unable to write to any file, as if no disk had a byte left."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ORDER)
def test_a_disk_that_fills_at_the_next_checkpoint_costs_only_what_came_after_the_last(
    session: Session,
    fsd: Fsd,
    name: str,
) -> None:
    whole = copy_of(session, "whole")
    assert fsd(VERB[name], "whole")[0] == 0
    with full_disk() as fill, at_step(3, fill):
        code, out, err = fsd(VERB[name], "cup")
    said = one_error((code, out, err))
    assert f"the checkpoint {name}-000004 could not be saved" in said
    assert "free some space and run the same command again; the checkpoint before it is untouched" in said
    assert out.count("the figures cannot be written, training goes on") == 1
    assert [path.name for path in session.checkpoints.iterdir()] == [f"{name}-000002"]
    assert train(session, name)["from_step"] == 2
    assert weights(session, name) == weights(whole, name)


def test_a_disk_that_is_full_before_anything_begins_is_one_error(session: Session, fsd: Fsd) -> None:
    before = content(session)
    with full_disk() as fill:
        fill()
        answer = fsd("train-unet", "cup", "--steps", "4")
    one_error(answer)
    assert content(session) == before
