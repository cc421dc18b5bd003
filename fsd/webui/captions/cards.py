"""What the caption editor shows of a photo, as HTML: the picture with its square, how long the prompt is, and from where."""

from __future__ import annotations

from html import escape
from pathlib import Path

from fsd.data.caption_editor import CaptionEditor, Row
from fsd.data.crop import Crop
from fsd.errors import SessionError
from fsd.webui.captions.thumbnails import LARGE_PX, SMALL_PX, data_uri

_FROM = {"caption": "", "template": "follows the template", "file name": "follows its file name"}
_MARK_SHARE = 0.75
"""Where in the meter the last token that is read lies."""


def picture_html(path: Path, crop: Crop | None = None, note: str = "") -> str:
    """A photo with its square, small; what is wrong with it where it cannot be read. note: on a label in its corner."""
    label = f"<span class='fsd-note'>{escape(note)}</span>" if note else ""
    return f"<div class='fsd-picture'>{label}{_frame(path, SMALL_PX, _square(crop, '') if crop else '')}</div>"


def row_picture(row: Row) -> str:
    """The picture of a row: its concept is on its label, and whether it is held out."""
    concept = row.prompt.concept if row.prompt else ""
    return picture_html(row.path, row.crop, "held out" if row.held_out else concept)


def crop_html(path: Path, crop: Crop, group: str) -> str:
    """A photo, large, whose square can be dragged. group: of the inputs that hear of it; see `script`."""
    facts = f"data-width='{crop.size[0]}' data-height='{crop.size[1]}' data-group='{escape(group)}'"
    told = "The square that training sees: drag it, or its corners; arrow keys move it, + and - change its size"
    more = (
        f"tabindex='0' role='application' aria-label='{told}'",
        "".join(f"<b class='fsd-corner {c}'></b>" for c in ("nw", "ne", "sw", "se")),
    )
    seen = "onload=\"this.closest('.fsd-crop').scrollIntoView({block: 'nearest'})\""
    return f"<div class='fsd-crop' {facts}>{_frame(path, LARGE_PX, _square(crop, *more), seen)}</div>"


def facts_html(editor: CaptionEditor, row: Row, saved: str = "", fault: str = "") -> str:
    """Below a caption: its name, the tokens with the mark at the last that is read, what is not read, and the notes."""
    fault = fault or row.fault
    if fault or row.prompt is None:
        return _top(row, "") + f"<div class='fsd-lost' role='alert'>{escape(fault)}</div>"
    meter = _meter(editor.tokens(row.prompt), editor.most_tokens, row.prompt.over) if editor.tokenizer else ""
    lost = f"<div class='fsd-lost'>not read: <q>{escape(row.prompt.lost)}</q></div>" if row.prompt.over else ""
    quiet = [_FROM[row.prompt.source], *row.prompt.notes]
    notes = "".join(f"<div class='fsd-quiet'>{escape(note)}</div>" for note in quiet if note)
    return _top(row, saved) + meter + lost + notes


def prompt_of(row: Row) -> str:
    """What a photo without a caption is trained with: shown where its caption would be."""
    return row.prompt.prompt if row.prompt and row.prompt.source != "caption" else ""


def _top(row: Row, saved: str) -> str:
    mark = f"<span class='fsd-saved' role='status'>{escape(saved)}</span>" if saved else ""
    return f"<div class='fsd-top'><span class='fsd-name' title='{escape(row.photo)}'>{escape(row.photo)}</span>{mark}</div>"


def _meter(tokens: int, most: int, over: bool) -> str:
    share = min(1.0, tokens / most * _MARK_SHARE)
    full = " fsd-over" if over else ""
    told = f"{tokens} of {most} tokens"
    bar = f"<span class='fsd-bar'><i style='width:{share:.1%}'></i><u style='left:{_MARK_SHARE:.0%}'></u></span>"
    return f"<div class='fsd-meter{full}' title='{told}' aria-label='{told}'>{bar}<span>{tokens} / {most}</span></div>"


def _frame(path: Path, side_px: int, inside: str, more: str = "") -> str:
    try:
        source = data_uri(path, side_px)
    except SessionError as fault:
        return f"<div class='fsd-broken'>{escape(fault.message)}</div>"
    return (
        f"<div class='fsd-frame'><img src='{source}' alt='{escape(path.name)}' draggable='false' {more}>{inside}</div>"
    )


def _square(crop: Crop, more: str, inside: str = "") -> str:
    (left, top, side), (width, height) = crop.box, crop.size
    places = {"left": left / width, "top": top / height, "width": side / width, "height": side / height}
    style = ";".join(f"{name}:{share:.3%}" for name, share in places.items())
    return f"<div class='fsd-square' style='{style}' {more}>{inside}</div>"
