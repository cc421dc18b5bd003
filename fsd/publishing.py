"""A model on its way to its second home: its CKPT, a card, and the pictures made with it. Photos are never among them."""

from __future__ import annotations

from pathlib import Path

from fsd.data.session import Session
from fsd.errors import WeightsError
from fsd.needs import base_folder, need_training
from fsd.runtime import report
from fsd.runtime.report import Result
from fsd.runtime.spool.local_first import working
from fsd.stage import save_stage
from fsd.weights.model import MARK, TrainedModel, trained_model
from fsd.weights.model_card import model_card
from fsd.weights.second_home import SecondHome, Sent
from fsd.weights.weight_file import read_weights


def publish(session: Session, repository: str) -> Result:
    """What `upkeep.publish` does; nothing is written before the hub has said that it takes files."""
    need_training(session)
    home = SecondHome(repository)
    recipe = session.recipe()
    model = trained_model(base_folder(session), session.checkpoints, recipe, report.say)
    ckpt = _ckpt_of(session, model) or _written(session)
    samples = {f"samples/{path.parent.name}.png": path for path in sorted(session.samples.glob("*/grid.png"))}
    card = model_card(session.name, recipe, ckpt.name, model.as_text(recipe), tuple(samples))
    sent = home.send({ckpt.name: ckpt, **samples, "README.md": card.encode()})
    return Result(_as_text(repository, sent), repository=repository, files=[one.to_json() for one in sent])


def _ckpt_of(session: Session, model: TrainedModel) -> Path | None:
    """The CKPT of exactly this model, by what its metadata says: the one under the session's name, else any."""
    names = {path.name: path for folder in (session.folder, working(session.folder)) for path in _ckpts(folder)}
    for path in sorted(names.values(), key=lambda path: (path.stem != session.name, path.suffix == ".ckpt", path.name)):
        try:
            if read_weights(path)[1].get(MARK) == model.mark:
                return path
        except WeightsError:
            continue
    return None


def _ckpts(folder: Path) -> list[Path]:
    return Session(folder).ckpt_files() if folder.is_dir() else []


def _written(session: Session) -> Path:
    """The CKPT, written now: on the local disk where it is on its way to Drive."""
    path = Path(save_stage(session, "safetensors", "fp16", "")["ckpt"])
    local = working(session.folder) / path.name
    return local if local.is_file() else path


def _as_text(repository: str, sent: list[Sent]) -> str:
    rows = [
        [one.name, report.human_bytes(one.size_bytes), one.sha256, "was there" if one.there_already else "sent"]
        for one in sent
    ]
    table = report.table(rows, ["file", "size", "SHA-256", "confirmed by the hub"])
    return f"https://huggingface.co/{repository} (private)\n{table}"
