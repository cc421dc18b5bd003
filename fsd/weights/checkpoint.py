"""Training checkpoints: folders that are whole or not there, verified before they are trusted.

Those of a session on Drive lie in two places, on the local disk first (see `local_first`); readers look in both.
CHECKPOINTS/STAGE-000500/ holds checkpoint.json (written last), the trained parts in Diffusers layout (fp32) and
optimizer.safetensors. checkpoint.json lists every file with its size and SHA-256.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsd.errors import MachineError, WeightsError
from fsd.recipe import TITLES
from fsd.runtime import files
from fsd.runtime.sealing import MANIFEST, discard, rename_over, seal
from fsd.runtime.spool.turn import places

OPTIMIZER = "optimizer.safetensors"
_NAME = re.compile(rf"({'|'.join(TITLES)})-(\d{{6,}})")


@dataclass(frozen=True)
class Checkpoint:
    """A saved moment of a stage. done: it is the stage's last step. facts: what the trainer adds, plain JSON values."""

    folder: Path
    stage: str
    step: int
    done: bool
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    def parts(self) -> dict[str, Path]:
        """The folders of the model's parts that are its stage's result, by name."""
        there = [path for path in self.folder.iterdir() if (path / "config.json").is_file()]
        return {path.name: path for path in there if path.name.startswith(self.stage)}

    @property
    def weights_sha256(self) -> dict[str, str]:
        """The SHA-256 of each file but the optimizer's state, as its list says."""
        return weights_sha256(self.folder)


def weights_sha256(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a checkpoint but the optimizer's state, as its list says."""
    listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    return {name: listed[name]["sha256"] for name in sorted(listed) if name != OPTIMIZER}


def checkpoint_name(stage: str, step: int) -> str:
    """The folder name of a stage's checkpoint at a step: "unet-000500"."""
    return f"{stage}-{step:06d}"


def save_checkpoint(
    checkpoints: Path, stage: str, step: int, done: bool, facts: dict[str, Any], write: Callable[[Path], None]
) -> Checkpoint:
    """Save a checkpoint whose files `write(folder)` makes; it has its name only once all is on the disk and read back.

    Raises MachineError when the disk is full or does not return what was written; older checkpoints are untouched.
    """
    return begin_checkpoint(checkpoints, stage, step, done, facts, write)()


def begin_checkpoint(
    checkpoints: Path, stage: str, step: int, done: bool, facts: dict[str, Any], write: Callable[[Path], None]
) -> Callable[[], Checkpoint]:
    """Have `write(folder)` make a checkpoint's files, and return the rest of `save_checkpoint`: all the waiting for disks.

    The rest reads nothing but these files; what they were made of may change meanwhile.
    """
    files.make_folder(checkpoints)
    files.clear_temporary(checkpoints)
    final = checkpoints / checkpoint_name(stage, step)
    temporary = files.temporary_beside(final)

    def finish() -> Checkpoint:
        with _whole_or_nothing(temporary, final):
            seal(temporary, {"format": 1, "stage": stage, "step": step, "done": done, "facts": facts})
            rename_over(temporary, final)
            return verify_checkpoint(final)

    with _whole_or_nothing(temporary, final):
        temporary.mkdir()
        write(temporary)
    return finish


@contextmanager
def _whole_or_nothing(temporary: Path, final: Path) -> Iterator[None]:
    try:
        yield
    except BaseException as fault:
        shutil.rmtree(temporary, ignore_errors=True)
        if not isinstance(fault, OSError):
            raise
        raise MachineError(
            f"the checkpoint {final.name} could not be saved in {final.parent}: {fault}",
            "free some space and run the same command again; the checkpoint before it is untouched",
        ) from fault


def verify_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`, every file read and compared; WeightsError naming the first fault otherwise."""
    hint = "use another one; without a name the newest whole one of its stage is used"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        listed = manifest["files"]
        for name, expected in listed.items():
            file = folder / name
            if not file.is_file() or file.stat().st_size != expected["size_bytes"]:
                raise WeightsError(f"checkpoint {folder.name} is damaged: {name} is missing or has another size", hint)
            if files.sha256(file) != expected["sha256"]:
                raise WeightsError(f"checkpoint {folder.name} is damaged: {name} has another SHA-256", hint)
        return Checkpoint(folder, manifest["stage"], manifest["step"], manifest["done"], manifest["facts"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise WeightsError(f"checkpoint {folder.name} is damaged: {MANIFEST} cannot be read ({fault})", hint) from fault


def list_checkpoints(checkpoints: Path, stage: str) -> list[Path]:
    """The folders that carry a checkpoint's name, oldest step first; their content is not looked at.

    One a name: the local one where it is both on the local disk and on Drive.
    """
    return list({folder.name: folder for folder in _copies(checkpoints, stage)}.values())


def named_checkpoint(checkpoints: Path, name: str, say: Callable[[str], None]) -> Checkpoint | None:
    """The checkpoint of a name, or None; one whole copy is enough, and WeightsError names the fault of the last one."""
    left = [folder for stage in TITLES for folder in _copies(checkpoints, stage) if folder.name == name]
    while left:
        try:
            return verify_checkpoint(left.pop())
        except WeightsError as fault:
            if not left:
                raise
            say(f"{fault.message}; taking the copy in {left[-1].parent}")
    return None


def newest_checkpoint(checkpoints: Path, stage: str, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint of a stage that is whole, or None; each damaged one passed over is said.

    Where it is both on the local disk and on Drive, one whole copy is enough.
    """
    return _newest_of(_copies(checkpoints, stage), say)


def _newest_of(left: list[Path], say: Callable[[str], None]) -> Checkpoint | None:
    """The last of these folders that is whole, or None."""
    left = [*left]
    while left:
        try:
            return verify_checkpoint(left.pop())
        except WeightsError as fault:
            say(f"{fault.message}; " + (f"going back to {left[-1].name}" if left else "there is none before it"))
    return None


def _copies(checkpoints: Path, stage: str) -> list[Path]:
    """The folders of a stage's checkpoints in all places, oldest step first; within a step the local one last."""
    found = [folder for place in places(checkpoints.parent, checkpoints.name) for folder in _named(place, stage)]
    return sorted(found, key=step_of)  # which keeps the order of places within a step


def _named(place: Path, stage: str) -> list[Path]:
    """The folders in one place that carry the name of a checkpoint of a stage, oldest step first."""
    if not place.is_dir():
        return []
    named = [folder for folder in place.iterdir() if (match := _NAME.fullmatch(folder.name)) and match[1] == stage]
    return sorted(named, key=step_of)


def step_of(folder: Path) -> int:
    """The step that a checkpoint's folder is called by."""
    return int(folder.name.rpartition("-")[2])


def is_done(checkpoints: Path, stage: str) -> bool:
    """Whether the newest checkpoint of a stage says that it is the last; its files are not looked at."""
    for folder in reversed(_copies(checkpoints, stage)):
        try:
            return bool(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["done"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return False


def is_superseded(checkpoints: Path, name: str) -> bool:
    """Whether this one place has a checkpoint of that stage with that step or a later one; only its presence is asked."""
    stage, step = name.rpartition("-")[0], step_of(Path(name))
    return any((folder / MANIFEST).is_file() and step_of(folder) >= step for folder in _named(checkpoints, stage))


def superseded(checkpoints: Path, stage: str, say: Callable[[str], None]) -> tuple[Checkpoint | None, list[Path]]:
    """The newest whole checkpoint of a stage in this one place, and the folders of all others, which can go."""
    there = _named(checkpoints, stage)
    newest = _newest_of(there, say)
    return newest, [folder for folder in there if newest and folder != newest.folder]


def prune(checkpoints: Path, stage: str, keep: int) -> list[str]:
    """Delete all but the newest `keep` checkpoints of a stage in this one place; return the deleted names."""
    gone = _named(checkpoints, stage)[:-keep]
    for folder in gone:
        discard(folder)
    return [folder.name for folder in gone]


def drop_optimizer(checkpoint: Checkpoint) -> int:
    """Delete a checkpoint's optimizer state, keeping its weights; return the bytes freed."""
    state = checkpoint.folder / OPTIMIZER
    if not state.exists():
        return 0
    freed = state.stat().st_size
    manifest = json.loads((checkpoint.folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"].pop(state.name, None)
    files.write_json(checkpoint.folder / MANIFEST, manifest)  # first: a crash here leaves an unlisted file, no damage
    state.unlink()
    return freed
