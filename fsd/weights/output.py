"""A weight file that gets its name once it is whole and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fsd.errors import MachineError, RecipeError, WeightsError
from fsd.runtime.files import make_folder, replacing, sha256
from fsd.runtime.space import Need, need_room
from fsd.weights.ckpt_zip import STORAGES, CkptFrame
from fsd.weights.stream import write_tensors
from fsd.weights.tensors import DTYPE_BYTES, SafetensorsFrame, StoredTensor, Target
from fsd.weights.weight_file import read_weights

DTYPES = {"fp16": "F16", "bf16": "BF16", "fp32": "F32"}
FRAMES: dict[str, Any] = {".safetensors": SafetensorsFrame, ".ckpt": CkptFrame}
Tell = Callable[[int], object]


def silent(size_bytes: int) -> None:
    """Tell nobody how far it is."""


@dataclass(frozen=True)
class Converted:
    """What was made: one file, or a Diffusers folder.

    tensors: how many it holds. left_out: the source tensors that it does not. sidecar: the .yaml beside it, for web
    UIs that want one. lacks: the parts of a folder that are still to be put there.
    """

    path: Path
    size_bytes: int
    tensors: int
    left_out: tuple[str, ...] = ()
    sidecar: Path | None = None
    lacks: tuple[str, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the file, by which web UIs and model sites know it; reads all of it when first asked for."""
        return sha256(self.path)


def check_name(destination: Path) -> None:
    """RecipeError unless the name ends as a single file's must."""
    if destination.suffix not in FRAMES:
        what = f"{destination.name} is neither a .safetensors nor a .ckpt"
        raise RecipeError(what, "let the name end in one of them")


def dtype_named(name: str | None) -> str | None:
    """The dtype as safetensors calls it, None for "as stored"; RecipeError for an unknown one."""
    if name is not None and name not in DTYPES:
        hint = f"choose one of: {', '.join(DTYPES)}, or leave it as stored"
        raise RecipeError(f"dtype is {name!r}", hint)
    return DTYPES.get(name or "")


def widest(sources: Iterable[StoredTensor]) -> str:
    """The dtype with the most bytes."""
    return max((source.dtype for source in sources), key=lambda name: DTYPE_BYTES[name])


def write_file(
    destination: Path, targets: Sequence[Target], metadata: dict[str, str], tell: Tell = silent
) -> list[Target]:
    """Write targets, widest dtype first, to a file that is only replaced once the new one has been read back.

    Returns them in the file's order. MachineError when the disk is full or fails, WeightsError when what was written
    is not what was meant, or cannot be: no tensors, or a dtype that a `.ckpt` does not know.
    """
    ordered = sorted(targets, key=lambda target: -DTYPE_BYTES[target.dtype])
    if not ordered:
        raise WeightsError(f"there are no tensors to write to {destination}", "give a model")
    unknown = {target.dtype for target in ordered} - set(STORAGES)
    if destination.suffix == ".ckpt" and unknown:
        what = f"a .ckpt cannot hold {', '.join(sorted(unknown))}"
        raise WeightsError(what, "choose fp16, bf16 or fp32, or a .safetensors")
    frame = FRAMES[destination.suffix](ordered, metadata)
    with disk_faults(destination):
        make_folder(destination.parent)
        need_room([Need(destination.name, destination.parent, frame.offsets[-1] + ordered[-1].size_bytes)])
        with replacing(destination) as temporary:
            write_tensors(temporary, frame, ordered, tell)
            _check(temporary, destination, ordered)
    return ordered


@contextmanager
def disk_faults(destination: Path) -> Iterator[None]:
    """What the operating system says against writing becomes a MachineError that names `destination`."""
    try:
        yield
    except OSError as fault:
        what = f"{destination} could not be written: {fault.strerror or fault}"
        raise MachineError(what, "check the disk and the path") from None


def _check(written: Path, destination: Path, targets: Sequence[Target]) -> None:
    """WeightsError unless the file, opened anew, holds exactly `targets`; their values were compared while written."""
    found = {key: (tensor.dtype, tensor.shape) for key, tensor in read_weights(written)[0].items()}
    meant = {target.key: (target.dtype, target.shape) for target in targets}
    if found != meant:
        wrong = sorted(key for key in found.keys() | meant.keys() if found.get(key) != meant.get(key))
        raise WeightsError(f"{destination} was not written as it was meant: {', '.join(wrong[:5])}", "report this")
