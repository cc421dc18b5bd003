"""The studio's engine and its drawing process: pictures, batches, samplers, masks, ControlNets, LoRAs, cancel, death."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fsd import infotext
from fsd.errors import MachineError, RecipeError, WeightsError
from fsd.generate.images import saved_text
from fsd.generate.worker import Worker, _fault
from fsd.webui.engine import Engine, Job, Lora, Picture, Progress

FEW = {"steps": 2, "width_px": 64, "height_px": 64, "seed": 5}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine for all tests here, with a root of its own."""
    made = Engine(tmp_path_factory.mktemp("root"))
    yield made
    made.stop()


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def make(engine: Engine, job: Job) -> list[Picture]:
    return [event for event in engine.run(job) if isinstance(event, Picture)]


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one - other).max())


def test_a_picture_is_its_seeds_and_says_how_it_was_made(engine: Engine) -> None:
    job = Job("tiny", 'a "red" cup, on\na table', "blurry", guidance=5.0, images=2, sampler="DPM++ 2M Karras", **FEW)
    two = make(engine, job)
    assert [picture.seed for picture in two] == [5, 6]
    alone = make(engine, replace(job, seed=6, images=1))[0]
    assert difference(pixels(two[1].path), pixels(alone.path)) <= 1
    assert difference(pixels(two[0].path), pixels(two[1].path)) > 10
    assert two[0].path.parent.parent == engine.root / "WebUI" / "studio" / "outputs"
    assert saved_text(two[0].path) == two[0].infotext
    info = infotext.parse(two[0].infotext)
    assert (info.prompt, info.negative) == (job.prompt, "blurry")
    named = [
        info.settings[name] for name in ("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model")
    ]
    assert named == ["2", "DPM++ 2M", "Karras", "5.0", "5", "64x64", "tiny"]


def test_what_is_left_open_is_the_familys_own(engine: Engine) -> None:
    settings = infotext.parse(make(engine, Job("tiny", steps=1))[0].infotext).settings
    assert (settings["Size"], settings["CFG scale"], settings["Sampler"]) == ("128x128", "5.0", "DDIM")


def test_progress_counts_the_steps_of_all_pictures_and_shows_what_comes(engine: Engine) -> None:
    shown, done = [], []
    for event in engine.run(Job("tiny", "a cup", steps=4, width_px=64, height_px=64, images=2, sampler="Euler")):
        if isinstance(event, Progress) and event.total:
            done.append((event.done, event.total))
            if event.preview:
                with Image.open(event.preview) as preview:
                    shown.append(preview.size)
    assert done == [(2, 8), (4, 8), (6, 8), (8, 8)]
    assert shown and all(size[0] >= 32 for size in shown)
    assert engine.state().job is None and engine.state().model == "tiny"


def drawn_picture(path: Path, size: tuple[int, int] = (96, 64)) -> str:
    pattern = np.add.outer(np.arange(size[1]), np.arange(size[0]))[..., None] * np.array([1, 2, 0])
    Image.fromarray((pattern % 256).astype(np.uint8)).save(path)
    return str(path)


def test_from_a_picture_little_strength_keeps_it_and_much_does_not(engine: Engine, tmp_path: Path) -> None:
    init = str(tmp_path / "init.png")
    Image.new("RGB", (64, 64), (200, 40, 40)).save(init)
    job = Job("tiny", "a cup", mode="img2img", init_image=init, **{**FEW, "steps": 10})
    near, far = (
        np.abs(pixels(make(engine, replace(job, strength=strength))[0].path) - (200, 40, 40)).mean()
        for strength in (0.0, 1.0)
    )
    assert near < far


def test_painting_leaves_what_is_not_masked(engine: Engine, tmp_path: Path) -> None:
    init, mask = drawn_picture(tmp_path / "init.png"), tmp_path / "mask.png"
    Image.fromarray(np.pad(np.full((16, 16), 255, np.uint8), ((24, 24), (10, 70)))).save(mask)
    job = Job("tiny", "a cup", mode="inpaint", init_image=init, mask=str(mask), mask_blur_px=2, seed=1, steps=2)
    whole = make(engine, replace(job, width_px=96, height_px=64))[0]
    only = make(engine, replace(job, width_px=64, height_px=64, mask_padding_px=4, mask_fill="surroundings"))[0]
    before = pixels(Path(init))
    for made in (pixels(whole.path), pixels(only.path)):
        assert made.shape == before.shape
        assert difference(made[:, 40:], before[:, 40:]) == 0
        assert difference(made[28:36, 14:22], before[28:36, 14:22]) > 5
    assert "Inpaint area: Only masked" in only.infotext and "Denoising strength: 0.75" in whole.infotext


@pytest.mark.parametrize(
    ("job", "kind", "said"),
    [
        (Job("nothing such"), RecipeError, "no model 'nothing such'"),
        (Job("tiny", width_px=100), RecipeError, "width_px is 100, not a multiple of 8"),
        (Job("tiny", sampler="Elder"), RecipeError, "sampler 'Elder'"),
        (Job("tiny", mode="img2img", init_image="/no/such.png"), RecipeError, "cannot be read as a picture"),
        (Job("tiny", steps=0), RecipeError, "steps is 0"),
        (Job("tiny", lora=(Lora("nowhere"),)), WeightsError, "no LoRA file"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_clear_error(engine: Engine, job: Job, kind: type, said: str) -> None:
    with pytest.raises(kind, match=said):
        make(engine, job)
    assert engine.state().job is None


def test_a_cancelled_job_ends_and_the_next_one_is_made(engine: Engine) -> None:
    events = engine.run(Job("tiny", "a cup", steps=999, width_px=64, height_px=64))
    next(event for event in events if isinstance(event, Progress) and event.done > 1)
    engine.cancel()
    assert not [event for event in events if isinstance(event, Picture)]
    events = engine.run(Job("tiny", "a cup", steps=999, width_px=64, height_px=64))
    next(event for event in events if isinstance(event, Progress) and event.done > 1)
    events.close()
    assert len(make(engine, Job("tiny", "a cup", **FEW))) == 1


def test_jobs_wait_their_turn(engine: Engine) -> None:
    first = engine.run(Job("tiny", "a cup", steps=999, width_px=64, height_px=64))
    next(event for event in first if isinstance(event, Progress) and event.done > 1)
    said, made = threading.Event(), []

    def second() -> None:
        for event in engine.run(Job("tiny", "a cup", **FEW)):
            if isinstance(event, Progress) and event.text.startswith("waiting for 1 other job"):
                said.set()
            made.extend([event] if isinstance(event, Picture) else [])

    thread = threading.Thread(target=second)
    thread.start()
    assert said.wait(20) and engine.state().waiting == 1 and not made
    engine.cancel()
    list(first)
    thread.join(60)
    assert len(made) == 1


def test_previews_do_not_pile_up(engine: Engine) -> None:
    for _ in range(2):
        make(engine, Job("tiny", "a cup", steps=4, width_px=64, height_px=64))
    assert engine._previews is not None
    assert len({path.name.partition("-")[0] for path in engine._previews.glob("*.jpg")}) == 1


def test_a_folder_that_takes_no_picture_is_said_before_anything_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")
    said: list[tuple[str, dict[str, Any]]] = []
    worker = Worker(tmp_path, lambda number, event, **facts: said.append((event, facts)))
    order = {"id": 1, "job": asdict(Job("tiny")), "outputs": str(tmp_path / "outputs"), "previews": str(tmp_path)}
    worker.make(order)
    assert [event for event, _ in said] == ["text", "error", "end"] and worker._shelf.opened is None
    assert "pictures cannot be kept in" in said[1][1]["error"] and "Not a directory" in said[1][1]["error"]


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, seed: int) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fsd.generate.worker._free_path", full)
    said: list[tuple[str, dict[str, Any]]] = []
    worker = Worker(tmp_path, lambda number, event, **facts: said.append((event, facts)))
    folders = {"outputs": str(tmp_path / "outputs"), "previews": str(tmp_path)}
    worker.make({"id": 1, "job": asdict(Job("tiny", steps=1, width_px=64, height_px=64)), **folders})
    assert [facts for event, facts in said if event == "error"] == [
        {
            "code": "machine",
            "error": f"pictures cannot be kept in {tmp_path / 'outputs' / date.today().isoformat()}: No space left on device",
            "hint": "free some space there, or let it be written to",
        }
    ]
    other = _fault(OSError(errno.ENOSPC, "No space left on device", "/x"))
    assert other.message == "a file cannot be read or written: No space left on device: /x" and "disk" in other.hint


def test_a_drawing_process_that_is_killed_is_explained_and_started_again(engine: Engine) -> None:
    events = engine.run(Job("tiny", "a cup", steps=999, width_px=64, height_px=64))
    next(event for event in events if isinstance(event, Progress) and event.done > 1)
    os.kill(engine._worker._child.pid, signal.SIGKILL)  # type: ignore[union-attr]
    with pytest.raises(MachineError, match="want of main memory"):
        list(events)
    assert len(make(engine, Job("tiny", "a cup", **FEW))) == 1


def test_the_drawing_process_ends_with_its_parent(engine: Engine) -> None:
    child = engine._worker._child  # type: ignore[union-attr]
    child.stdin.close()  # as when the parent is gone
    assert child.wait(20) == 0
