"""CLIP's byte-pair tokenizer, made from the merges file that the open-clip-torch wheel carries, as OpenAI's simple_tokenizer does it."""

import gzip
import zipfile
from functools import lru_cache
from pathlib import Path

DOWNLOADS: list[Path] = [Path("build/tiny_base/downloads")]  # `use` changes it


def use(work: Path) -> None:
    """Takes the wheel from work/downloads."""
    DOWNLOADS[0] = work / "downloads"


def _byte_characters() -> list[str]:
    """The printable character that stands for each byte, in CLIP's order of byte values."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


@lru_cache
def clip_tokenizer():
    """A transformers CLIPTokenizer of 49,408 tokens."""
    from transformers import CLIPTokenizer

    with zipfile.ZipFile(next(DOWNLOADS[0].glob("open_clip_torch-*.whl"))) as wheel:
        lines = gzip.decompress(wheel.read("open_clip/bpe_simple_vocab_16e6.txt.gz")).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    characters = _byte_characters()
    tokens = (
        characters
        + [c + "</w>" for c in characters]
        + ["".join(m) for m in merges]
        + ["<|startoftext|>", "<|endoftext|>"]
    )
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=merges, model_max_length=77)
