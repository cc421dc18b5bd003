"""What can be asked of a model file without reading its weights: which keys it has, and how large they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fsd.weights.tensors import StoredTensor

MAX_KEY_LENGTH = 300


@dataclass(frozen=True)
class Clue:
    """A pattern that some key must match; that tensor's length along `axis`, or number of axes, must fit where given."""

    pattern: str
    axis: int | None = None
    length: int | None = None
    axes: int | None = None

    def fits(self, tensor: StoredTensor) -> bool:
        """Whether the sizes of a tensor that matches the pattern are those asked for."""
        if self.axes is not None and len(tensor.shape) != self.axes:
            return False
        return self.axis is None or tensor.shape[self.axis :][:1] == (self.length,)


@dataclass(frozen=True)
class Evidence:
    """The tensors of a file (or of a folder's backbone) by key, its metadata, and where it lies."""

    path: Path
    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    _text: str = ""
    _seen: dict[str, StoredTensor | None] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> Evidence:
        """The evidence of these tensors; keys that are longer than any model's are not looked at."""
        lines = {key.replace("\n", " "): tensor for key, tensor in tensors.items() if len(key) <= MAX_KEY_LENGTH}
        return cls(path, lines, metadata, "\n".join(lines))

    def find(self, pattern: str) -> StoredTensor | None:
        """The first tensor whose key matches `pattern` (searched, ^ and $ at the key's ends); each is sought once."""
        if pattern not in self._seen:
            match = _compiled(pattern).search(self._text)
            self._seen[pattern] = self.tensors[self._line(match.start())] if match else None
        return self._seen[pattern]

    def _line(self, at: int) -> str:
        end = self._text.find("\n", at)
        return self._text[self._text.rfind("\n", 0, at) + 1 : len(self._text) if end < 0 else end]

    def matches(self, clues: Iterable[Clue]) -> list[str] | None:
        """Each clue's key and shape, in words; None unless all fit."""
        found = []
        for clue in clues:
            tensor = self.find(clue.pattern)
            if tensor is None or not clue.fits(tensor):
                return None
            found.append(f"{tensor.key} {list(tensor.shape)}")
        return found

    def dtypes(self) -> tuple[str, ...]:
        """The dtypes by the bytes they take, most first; those below a hundredth of the file are left out."""
        sizes: dict[str, int] = {}
        for tensor in self.tensors.values():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size_bytes
        least = sum(sizes.values()) / 100
        return tuple(sorted((name for name, size in sizes.items() if size >= least), key=lambda name: -sizes[name]))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)
