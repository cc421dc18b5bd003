"""Contact sheets: every picture is on them, in its place, and labels are wrapped."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFont

from fsd.generate import grid

COLOURS = ("#d02020", "#20a040", "#2050d0", "#e0a020", "#8030a0", "#108080")


def squares(count: int, size: tuple[int, int] = (160, 160)) -> list[Image.Image]:
    return [Image.new("RGB", size, COLOURS[place % len(COLOURS)]) for place in range(count)]


def order_of(sheet: Image.Image) -> list[str]:
    """The colours on a sheet by first appearance, in reading order."""
    rows = np.asarray(sheet).reshape(-1, 3)
    names = {tuple(int(name[at : at + 2], 16) for at in (1, 3, 5)): name for name in COLOURS}
    _, first = np.unique(rows, axis=0, return_index=True)
    return [names[tuple(rows[at])] for at in sorted(first) if tuple(rows[at]) in names]


def test_rows_and_columns_are_in_order() -> None:
    sheet = grid.prompts_by_seeds(["a dog", "a cat"], [0, 1, 2], squares(6))
    assert order_of(sheet) == list(COLOURS)
    assert sheet.width > 3 * 160
    assert sheet.height > 2 * 160


def test_all_pictures_keep_their_shape_and_are_one_width() -> None:
    sheet = grid.contact_sheet([grid.Row("", squares(2, (64, 32)))])
    pixels = np.asarray(sheet)
    red = np.all(pixels == (0xD0, 0x20, 0x20), axis=2)
    assert red.any(axis=0).sum() == 2 * red.any(axis=1).sum() == 160


def test_captions_are_below_their_pictures() -> None:
    plain, captioned = grid.in_rows(squares(5), [""] * 5), grid.in_rows(squares(5), ["a picture of a thing"] * 5)
    assert captioned.height > plain.height
    assert order_of(plain) == list(COLOURS[:5])


@pytest.mark.parametrize("text", ["a photo of sks dog on a table", "x" * 300, "", "  two   words  ", "犬の写真"])
def test_wrapping_keeps_every_letter_and_the_width(text: str) -> None:
    font = ImageFont.load_default(15)
    lines = grid.wrap(text, 150, font)  # type: ignore[arg-type]
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(font.getlength(line) <= 150 for line in lines)


def test_long_labels_make_the_row_higher_not_wider() -> None:
    short = grid.contact_sheet([grid.Row("a", squares(1, (160, 40)))])
    long = grid.contact_sheet([grid.Row("a long label " * 8, squares(1, (160, 40)))])
    assert long.width == short.width
    assert long.height > short.height
