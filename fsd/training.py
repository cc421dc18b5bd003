"""The verbs that train: two stages and one CKPT file, or one stage and a LoRA. Run again, each goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable

from fsd.data.session import Session
from fsd.errors import SessionError
from fsd.give_back import give_back, need_to_give_back
from fsd.needs import need_photos
from fsd.runtime import report
from fsd.runtime.report import Result
from fsd.stage import save_lora_stage, save_stage, train_stage
from fsd.weights import checkpoint


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
    session: Session,
    steps: int | None = None,
    learning_rate: float | None = None,
    fork: bool = False,
    disconnect: bool = False,
) -> Result:
    """Stage 2: teach the UNet what your subject looks like. Run it again to go on after an interruption.

    steps: how many (default: 100 a photo, 500 to 3000).
    learning_rate: default 2e-6.
    fork: go on from the last checkpoint although the settings have changed since.
    disconnect: then write the CKPT too, and give the machine back to Colab once all is on Drive. Not if anything fails.
    """
    need_photos(session)
    need_to_give_back(session, disconnect)
    first = session.recipe().text_encoder.steps
    if first and not checkpoint.is_done(session.checkpoints, "text_encoder"):
        hint = "run train_text_encoder first, or run it with 0 steps"
        raise SessionError(f"the text encoder of session {session.name!r} is not trained yet", hint)
    trained = train_stage(session, "unet", steps, learning_rate, fork)
    return _then_away(session, trained, save_ckpt) if disconnect else trained


def save_ckpt(
    session: Session, format: str = "safetensors", dtype: str = "fp16", step: str = "", disconnect: bool = False
) -> Result:
    """Write the trained model as one file that web UIs open.

    format: "safetensors", or "ckpt" for tools that know nothing newer.
    dtype: "fp16" (half the size) or "fp32".
    step: one saved step, such as unet-000500 (default: the newest).
    disconnect: then give the machine back to Colab, once all is on Drive.
    """
    return _saved(session, lambda: save_stage(session, format, dtype, step), disconnect)


def train_lora(
    session: Session,
    steps: int | None = None,
    learning_rate: float | None = None,
    rank: int | None = None,
    fork: bool = False,
    disconnect: bool = False,
) -> Result:
    """Instead of both stages: teach a LoRA your subject, a small file that changes any model of the family.

    steps: how many (default: 100 a photo).
    learning_rate: default 1e-4.
    rank: how much it can learn, 1 to 1024 (default: 16).
    fork: go on from the last checkpoint although the settings have changed since.
    disconnect: then write its file too, and give the machine back to Colab once all is on Drive. Not if anything fails.
    """
    need_photos(session)
    need_to_give_back(session, disconnect)
    trained = train_stage(session, "lora", steps, learning_rate, fork, rank)
    return _then_away(session, trained, save_lora) if disconnect else trained


def save_lora(session: Session, step: str = "", disconnect: bool = False) -> Result:
    """Write the trained LoRA as one file that web UIs open.

    step: one saved step, such as lora-000500 (default: the newest).
    disconnect: then give the machine back to Colab, once all is on Drive.
    """
    return _saved(session, lambda: save_lora_stage(session, step), disconnect)


def _saved(session: Session, save: Callable[[], Result], disconnect: bool) -> Result:
    """What was saved, with the machine given back afterwards if that is wanted."""
    need_to_give_back(session, disconnect)
    saved = save()
    if disconnect:
        report.say(saved.text)
        give_back(session)
    return saved


def _then_away(session: Session, trained: Result, save: Callable[..., Result]) -> Result:
    """What training gave, without its picture, after its file was written and the machine given back."""
    report.say(trained.text)
    save(session, disconnect=True)
    return Result(trained.text, **trained)  # its picture was on Drive, which is away now
