"""The caption editor of a session, with the tokenizer of its base model where that is on this machine."""

from __future__ import annotations

from functools import partial

from fsd.captioners import nearest_photos
from fsd.data.caption_editor import CaptionEditor
from fsd.data.session import Session
from fsd.data.tokens import open_tokenizer
from fsd.weights.base_model import base_model_here


def open_editor(session: Session) -> CaptionEditor:
    """The editor; without a base model at hand it counts no tokens, and nothing is fetched."""
    base = base_model_here(session.recipe().base_model)
    folder = base / "tokenizer" if base else None
    tokenizer = open_tokenizer(folder) if folder and folder.is_dir() else None
    return CaptionEditor(session, tokenizer, partial(nearest_photos, session))
