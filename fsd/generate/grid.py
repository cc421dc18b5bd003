"""Contact sheets: pictures in rows and columns with wrapped labels, readable at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _GREY = "#ffffff", "#1f2328", "#59636e"
_MARGIN_PX = 16
_GAP_PX = 8
_FONT_PX = 15
_LINE_PX = 20
_LABEL_WIDTH_PX = 150


@dataclass(frozen=True)
class Row:
    """A row of a sheet. label: to its left. captions: one below each picture, or none at all."""

    label: str
    pictures: Sequence[Image.Image]
    captions: Sequence[str] = ()


def contact_sheet(rows: Sequence[Row], heads: Sequence[str] = (), title: str = "") -> Image.Image:
    """One RGB picture of all rows. heads: a text above each column.

    Pictures keep their shape; small ones are enlarged, large ones reduced, all to one width.
    """
    shown = [picture for row in rows for picture in row.pictures]
    cell = min(320, max(160, max((picture.width for picture in shown), default=160)))
    left = _MARGIN_PX + (_LABEL_WIDTH_PX + _GAP_PX if any(row.label for row in rows) else 0)
    columns = max([len(row.pictures) for row in rows] + [len(heads), 1])
    width = left + columns * (cell + _GAP_PX) - _GAP_PX + _MARGIN_PX
    strips = [_title_strip(title, width)] if title else []
    strips += [_text_strip(heads, cell, left, width, _INK)] if any(heads) else []
    for row in rows:
        strips.append(_picture_strip(row, cell, left, width))
        strips += [_text_strip(row.captions, cell, left, width, _GREY)] if any(row.captions) else []
    return _stacked(strips, width)


def prompts_by_seeds(prompts: Sequence[str], seeds: Sequence[int], pictures: Sequence[Image.Image]) -> Image.Image:
    """A row for each prompt, a column for each seed. pictures: by prompt, then by seed."""
    count = len(seeds)
    rows = [Row(prompt, pictures[place * count : (place + 1) * count]) for place, prompt in enumerate(prompts)]
    return contact_sheet(rows, [f"seed {seed}" for seed in seeds])


def in_rows(pictures: Sequence[Image.Image], captions: Sequence[str], columns: int = 4) -> Image.Image:
    """Pictures in reading order, each with its caption below."""
    starts = range(0, len(pictures), columns)
    return contact_sheet([Row("", pictures[at : at + columns], captions[at : at + columns]) for at in starts])


def wrap(text: str, width_px: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """The text in lines no wider than width_px; a word too long for a line is cut."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if font.getlength(longer) <= width_px:
            line = longer
            continue
        lines += [line] if line else []
        while font.getlength(word) > width_px and len(word) > 1:
            fits = max(1, max(n for n in range(1, len(word)) if n == 1 or font.getlength(word[:n]) <= width_px))
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    return [*lines, line] if line else lines


def _picture_strip(row: Row, cell: int, left: int, width: int) -> Image.Image:
    shown = [_fitted(picture, cell) for picture in row.pictures]
    height = max((picture.height for picture in shown), default=0)
    font = _font()
    label = wrap(row.label, _LABEL_WIDTH_PX, font)
    strip = Image.new("RGB", (width, max(height, len(label) * _LINE_PX)), _PAPER)
    draw = ImageDraw.Draw(strip)
    draw.multiline_text((_MARGIN_PX, 0), "\n".join(label), _INK, font, spacing=_LINE_PX - _FONT_PX)
    for column, picture in enumerate(shown):
        strip.paste(picture, (left + column * (cell + _GAP_PX), 0))
    return strip


def _text_strip(texts: Sequence[str], cell: int, left: int, width: int, ink: str) -> Image.Image:
    font = _font()
    wrapped = [wrap(text, cell, font) for text in texts]
    strip = Image.new("RGB", (width, max(len(lines) for lines in wrapped) * _LINE_PX), _PAPER)
    draw = ImageDraw.Draw(strip)
    for column, lines in enumerate(wrapped):
        for number, line in enumerate(lines):
            middle = left + column * (cell + _GAP_PX) + cell / 2
            draw.text((middle, number * _LINE_PX), line, ink, font, anchor="ma")
    return strip


def _title_strip(title: str, width: int) -> Image.Image:
    font = _font(_FONT_PX + 3)
    lines = wrap(title, width - 2 * _MARGIN_PX, font)
    strip = Image.new("RGB", (width, len(lines) * (_LINE_PX + 4)), _PAPER)
    for number, line in enumerate(lines):
        ImageDraw.Draw(strip).text((_MARGIN_PX, number * (_LINE_PX + 4)), line, _INK, font)
    return strip


def _stacked(strips: Sequence[Image.Image], width: int) -> Image.Image:
    height = sum(strip.height + _GAP_PX for strip in strips) - _GAP_PX + 2 * _MARGIN_PX
    sheet = Image.new("RGB", (width, height), _PAPER)
    top = _MARGIN_PX
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height + _GAP_PX
    return sheet


def _fitted(picture: Image.Image, cell: int) -> Image.Image:
    height = max(1, round(picture.height * cell / picture.width))
    return picture.convert("RGB").resize((cell, height), Image.Resampling.LANCZOS)


def _font(size_px: int = _FONT_PX) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
