"""What lies where for a web UI: models, pictures and settings in ROOT/WebUI, and a local folder of links to them.

    ROOT/WebUI/models/{Stable-diffusion,Lora,VAE,ControlNet}/   shared by all web UIs
    ROOT/WebUI/NAME/{outputs,logs}/  config.json  ui-config.json  styles.csv

ROOT may be a Drive, where no links can be made and small files are slow: the web UI itself is shown a folder on the
local disk, the desk, whose entries lead there. Nothing is there twice but what comes from Drive and is read at random.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsd.errors import MachineError
from fsd.runtime import colab, report
from fsd.runtime.files import make_folder, replacing, write_json

PREPROCESSORS = "ControlNetPreprocessor"
MODELS = ("Stable-diffusion", "Lora", "VAE", "ControlNet", PREPROCESSORS)
_PREPROCESSORS_FLAG = {
    "a1111": "--controlnet-annotator-models-path",
    "forge": "--controlnet-preprocessor-models-dir",
}
_OWN = ("Stable-diffusion", "Lora")
"""Where the desk adds links of its own; people's folder of that name is linked inside."""


@dataclass(frozen=True)
class Desk:
    """root: what `home()` gives. name: the web UI's, as in ROOT/WebUI/NAME. folder: the local one."""

    root: Path
    name: str
    folder: Path

    @property
    def kept(self) -> Path:
        """Where this web UI's pictures, settings and logs are kept."""
        return self.root / "WebUI" / self.name

    @property
    def checkpoints(self) -> Path:
        """The local folder in which the web UI looks for checkpoints."""
        return self.folder / "models" / "Stable-diffusion"

    @staticmethod
    def controlnets(root: Path) -> Path:
        """Where ControlNets are kept, for all web UIs."""
        return root / "WebUI" / "models" / "ControlNet"

    @staticmethod
    def preprocessors(root: Path) -> Path:
        """Where the weights of their preprocessors are kept."""
        return root / "WebUI" / "models" / PREPROCESSORS

    @property
    def loras(self) -> Path:
        """The local folder in which it looks for LoRAs."""
        return self.folder / "models" / "Lora"

    def lay_out(self) -> None:
        """Make the folders and the links; links that lead nowhere go."""
        shared = self.root / "WebUI"
        try:
            for folder in (
                *(shared / "models" / name for name in MODELS),
                shared / "embeddings",
                self.kept / "outputs",
            ):
                make_folder(folder)
            for name in _OWN:
                make_folder(self.folder / "models" / name)
                link(shared / "models" / name, self.folder / "models" / name / "yours")
            for folder in sorted((shared / "models").iterdir()):
                if folder.is_dir() and folder.name not in _OWN:
                    link(folder, self.folder / "models" / folder.name)
            link(shared / "embeddings", self.folder / "embeddings")
            link(self.kept / "outputs", self.folder / "outputs")
        except OSError as fault:
            hint = "check permissions and free space, or name another folder as root"
            raise MachineError(f"the web UI's folders cannot be made: {fault}", hint) from None
        for path in [*self.checkpoints.iterdir(), *self.loras.iterdir()]:
            if path.is_symlink() and not path.exists():
                path.unlink()

    def has_checkpoint(self) -> bool:
        """Whether there is any model that the web UI could open."""
        found = (name for _, _, names in os.walk(self.checkpoints, followlinks=True) for name in names)
        return any(Path(name).suffix in (".safetensors", ".ckpt") for name in found)

    def settle(self, values: Mapping[str, Any]) -> None:
        """Put settings into the web UI's own file where people have not chosen them yet."""
        path = self.kept / "config.json"
        try:
            before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            if missing := {name: value for name, value in values.items() if name not in before}:
                write_json(path, before | missing)
        except (OSError, ValueError, TypeError) as fault:
            report.say(f"  {path} is left as it is: {fault}")

    def flags(self, flavor: str) -> list[str]:
        """The arguments that show the web UI its desk."""
        helpers = _PREPROCESSORS_FLAG.get(flavor)
        return [
            *((helpers, str(self.preprocessors(self.root))) if helpers else ()),
            *("--data-dir", str(self.folder)),
            *("--ui-settings-file", str(self.kept / "config.json")),
            *("--ui-config-file", str(self.kept / "ui-config.json")),
            *("--styles-file", str(self.kept / "styles.csv")),
        ]


def link(target: Path, path: Path) -> Path:
    """`path` as a link to `target`, in place of another link; what is no link stays, as somebody put it there."""
    if path.is_symlink():
        if Path(os.readlink(path)) == target.absolute():
            return path
        path.unlink()
    if not path.exists():
        path.symlink_to(target.absolute())
    return path


def put(file: Path, folder: Path, name: str) -> Path:
    """`file` in a folder of the desk under a name: as a link, or as a copy if it lies on Drive; the .yaml beside it too.

    A copy that is there already and as old and large is used. A file of that name that somebody else put there, as a web
    UI does that merges models, is kept under another name.
    """
    place = folder / name
    for source, path in ((file, place), (file.with_suffix(".yaml"), place.with_suffix(".yaml"))):
        if source.is_file() and not on_drive(source):
            _make_room(path)
            link(source, path)
        elif source.is_file() and not _same(source, path):
            _make_room(path)
            report.say(f"  copying {source.name} from Drive ({report.human_bytes(source.stat().st_size)})")
            with replacing(path) as temporary:
                shutil.copy2(source, temporary)
            _note_of(path).write_text(_facts(path), encoding="utf-8")
    return place


def on_drive(file: Path) -> bool:
    """Whether a file lies on a mounted Drive, which is slow to read at random."""
    return colab.MOUNT_POINT in file.resolve().parents


def _make_room(path: Path) -> None:
    """Take a copy of ours out of the way; anything else that is no link moves to another name, which is said."""
    if path.is_symlink() or not path.exists():
        path.unlink(missing_ok=True)
    elif _note_of(path).exists() and _note_of(path).read_text(encoding="utf-8") == _facts(path):
        path.unlink()
    else:
        free = (path.with_name(f"{path.stem} ({number}){path.suffix}") for number in itertools.count(2))
        kept = path.rename(next(name for name in free if not name.exists()))
        report.say(f"  {path} was there already: it is {kept.name} now")


def _note_of(copy: Path) -> Path:
    """The small file that says which copy is ours."""
    return copy.with_name(f".{copy.name}.copied")


def _same(source: Path, copy: Path) -> bool:
    return not copy.is_symlink() and copy.is_file() and _facts(source) == _facts(copy)


def _facts(file: Path) -> str:
    facts = file.stat()
    return f"{facts.st_size} bytes, {int(facts.st_mtime)}"
