"""Runs of a stage for the tests: in this process, copied before they begin, told to stop, killed."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from kills import SERVER, run_to_call

from fsd.data.session import Session, open_session_folder
from fsd.runtime import files
from fsd.runtime.files import sha256
from fsd.train import lora, metrics, text_encoder, unet
from fsd.train.batch import Batches
from fsd.train.prepare import run_stage

BUILD = {"text_encoder": text_encoder.build, "unet": unet.build, "lora": lora.build}
FULL = ("text_encoder", "unet")
HERE = Path(__file__).parent


def train(session: Session, stage: str = "unet", *options: str) -> dict[str, Any]:
    """A stage to its end in this process; what its process would give back. Its plot takes more time than its steps."""
    AcceleratorState._reset_state(reset_partial_state=True)  # as in a process of its own
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "draw_loss", _draw_nothing)
        return run_stage([str(session.folder), *options], stage, BUILD[stage])


def _draw_nothing(path: Path, destination: Path) -> Path:
    files.write_bytes(destination, b"a plot")
    return destination


def final_hashes(session: Session) -> list[str]:
    folders = [session.checkpoints / "text_encoder-000006/text_encoder", session.checkpoints / "unet-000008/unet"]
    return [sha256(file) for folder in folders for file in sorted(folder.iterdir())]


def copy_of(session: Session, name: str) -> Session:
    folder = session.folder.parent / name
    shutil.copytree(session.folder, folder)
    return open_session_folder(folder)


def kill_at(session: Session, where: str, call_number: int, stage: str) -> None:
    """Train a stage in a process that is killed (SIGKILL) at the N-th call of a function: package.module:Class.method."""
    output = session.folder.parent / "killed.log"
    killed = SERVER.Process(target=run_to_call, args=(where, call_number, stage, str(session.folder), str(output)))
    killed.start()
    killed.join(600)
    assert killed.exitcode == -signal.SIGKILL, output.read_text()


@contextmanager
def stopping_at(step: int) -> Iterator[None]:
    """Have SIGTERM come while the batch of a step (from 0) is made."""
    real = Batches.at

    def at(self: Batches, at_step: int, device: torch.device) -> object:
        if at_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, at_step, device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "at", at)
        yield
