"""How many tokens a prompt has, and which of its words the text encoder does not read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fsd.errors import WeightsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def open_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a tokenizer folder, never cutting or padding; WeightsError when it cannot be read."""
    try:
        if (folder / "tokenizer.json").is_file():
            from tokenizers import Tokenizer

            found = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            from transformers import CLIPTokenizer

            found = CLIPTokenizer.from_pretrained(folder).backend_tokenizer
    except Exception as error:  # tokenizers raises plain Exception
        raise WeightsError(
            f"{folder} holds no tokenizer that can be read: {error}", "choose the base model again"
        ) from None
    found.no_truncation()
    found.no_padding()
    return found


def marks(tokenizer: Tokenizer) -> int:
    """How many tokens every prompt has beside its words: start and end."""
    return len(tokenizer.encode("").ids)


def count_tokens(tokenizer: Tokenizer, prompt: str, most: int) -> tuple[int, str]:
    """(tokens with start and end, the words from the first one on that is not read whole). most: what is read."""
    encoding = tokenizer.encode(prompt)
    flags = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
    content = [offset for offset, special in flags if not special]
    room = most - (len(encoding.ids) - len(content))
    if len(content) <= room:
        return len(encoding.ids), ""
    first = content[room][0]
    start = first + 1 if prompt[first] == " " else prompt.rfind(" ", 0, first + 1) + 1
    return len(encoding.ids), prompt[start:]
