"""What the stand-in for AUTOMATIC1111 answers: what the real one did (recorded/a1111.json), and what lies in its folders.

The recording is that of tests/test_same_picture.py, which tells how it is made.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "recorded" / "a1111.json"


def checkpoints(data: Path) -> list[dict[str, Any]]:
    """What lies in the folder of checkpoints, as AUTOMATIC1111 lists it."""
    walked = os.walk(data / "models" / "Stable-diffusion", followlinks=True)
    files = [Path(folder, name) for folder, _, names in walked for name in names]
    return [
        {
            "title": title(file),
            "model_name": file.stem,
            "hash": None,
            "sha256": None,
            "filename": str(file),
            "config": None,
        }
        for file in sorted(files)
        if file.suffix in (".safetensors", ".ckpt")
    ]


def title(file: Path) -> str:
    return f"{file.name} [5d9c1c0e8f]"


def drawn(request: dict[str, Any]) -> dict[str, Any]:
    """The recorded picture of a request, a grey one of those that were not recorded."""
    chosen = str(request.get("override_settings", {}).get("sd_model_checkpoint", ""))
    info = {"sd_model_name": Path(chosen.partition(" [")[0]).stem}
    known = (one["image"] for one in recorded()["pictures"] if one["request"].items() <= request.items())
    image = next(known, None) or base64.b64encode(png(2000)).decode()
    return {"images": [image], "info": json.dumps(info)}


@cache
def recorded() -> dict[str, Any]:
    """What the real program answered: {"answers": by path, "pictures": [{"request", "image" as base64}]}."""
    content: dict[str, Any] = json.loads(RECORDED.read_text())
    return content


@cache
def png(size_bytes: int) -> bytes:
    """A grey PNG that is at least so large (an uncompressed picture)."""
    side = max(8, int(size_bytes**0.5))
    rows = b"".join(b"\0" + bytes(side) for _ in range(side))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")
