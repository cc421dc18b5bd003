"""Captions a second: fsd's batches beside one photo at a time, and beside the loop that a user of transformers would write.

    python tests/benchmarks/caption.py [--size base] [--photos 28] [--tokens 20] [--work build/captions]

A BLIP-2 with random weights (base: 0.3 thousand million numbers, full: BLIP-2 OPT 2.7B's 3.7), the demo's photos, five beams,
the same tokens for all. Each row is a process of its own, on a GPU if there is one; the table has pictures a second without
loading the model, and the peak memory of the process (on a GPU also of the GPU).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"vision": (32, 2, 2, 64), "text": (32, 2, 2)},
    "base": {"vision": (768, 12, 12, 3072), "text": (768, 12, 12)},
    "full": {"vision": (1408, 39, 16, 6144), "text": (2560, 32, 32)},
}
END = """
import json, resource, torch
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
gpu = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0
json.dump({"seconds": seconds, "peak_mb": peak, "gpu_mb": gpu}, open(result, "w"))
"""
OURS = (
    """
import sys, time
result, session, request = sys.argv[1:]
from fsd.captioner import write
opened = write.open_captioner
def opening(*given, **named):
    global began
    found = opened(*given, **named)
    began = time.perf_counter()
    return found
write.open_captioner = opening
write.main([session, request])
seconds = time.perf_counter() - began
"""
    + END
)
"""RESULT SESSION REQUEST."""
PLAIN = (
    """
import sys, time
from pathlib import Path
import torch
from PIL import Image
from transformers import AutoProcessor, Blip2ForConditionalGeneration, BlipImageProcessorPil, Blip2Processor, AutoTokenizer
result, folder, photos, tokens = sys.argv[1:]
device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.float16 if device == "cuda" else torch.float32
processor = Blip2Processor(BlipImageProcessorPil.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
model = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=dtype).to(device)
began = time.perf_counter()
for path in sorted(Path(photos).glob("*.jpg")):
    image = Image.open(path).convert("RGB")
    inputs = processor(images=image, return_tensors="pt").to(device, dtype)
    ids = model.generate(**inputs, num_beams=5, min_new_tokens=int(tokens), max_new_tokens=int(tokens))
    caption = processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
    path.with_suffix(".txt").write_text(caption)
seconds = time.perf_counter() - began
"""
    + END
)
"""RESULT MODEL PHOTOS TOKENS."""


def build(folder: Path, size: str) -> Path:
    """A BLIP-2 of that size with random weights and the tests' tokenizer."""
    if (folder / "config.json").exists():
        return folder
    import torch
    from tiny_blip import byte_tokenizer
    from transformers import Blip2Config, Blip2ForConditionalGeneration, BlipImageProcessorPil

    torch.manual_seed(0)
    (wide, layers, heads, inner), (text_wide, text_layers, text_heads) = SIZES[size]["vision"], SIZES[size]["text"]
    tokenizer, small = byte_tokenizer(), size == "tiny"
    px = 32 if small else 224
    qformer = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2} if small else {}
    config = Blip2Config(
        vision_config={"hidden_size": wide, "num_hidden_layers": layers, "num_attention_heads": heads,
                       "intermediate_size": inner, "image_size": px, "patch_size": 8 if small else 14},
        qformer_config=qformer,
        text_config={"model_type": "opt", "hidden_size": text_wide, "word_embed_proj_dim": text_wide,
                     "ffn_dim": 4 * text_wide, "num_hidden_layers": text_layers, "num_attention_heads": text_heads,
                     "vocab_size": 512 if small else 50304, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    torch.set_default_dtype(torch.float16 if size == "full" else torch.float32)  # as the real one is stored
    model = Blip2ForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": px, "width": px}).save_pretrained(folder)
    return folder


def make_session(work: Path, count: int) -> Path:
    """A session of so many of the demo's photos, again and again, with squares."""
    from fsd.data.crop import crop_photos
    from fsd.data.session import create

    shutil.rmtree(work / "Fast-Dreambooth", ignore_errors=True)
    session = create(work, "captions")
    photos = sorted((ROOT / "fsd/data/demo_photos").glob("*.jpg"))
    for number in range(count):
        shutil.copy(photos[number % len(photos)], session.instance_images / f"{number:04d}.jpg")
    crop_photos(session)
    return session.folder


def measured(code: str, *arguments: str) -> dict[str, float]:
    """What a process of that code noted."""
    from fsd.runtime.process import child_environment

    result = Path(arguments[0])
    result.unlink(missing_ok=True)
    environment = os.environ | (child_environment() if code == OURS else {}) | {"HF_HUB_OFFLINE": "1"}
    ended = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True)
    if not result.exists():
        sys.exit(f"a run failed:\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}")
    found: dict[str, float] = json.loads(result.read_text())
    return found


def main() -> None:
    from fsd.data.blip2 import CaptionRequest

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--photos", type=int, default=28)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--work", type=Path, default=ROOT / "build/captions")
    asked = parser.parse_args()
    work = asked.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    model = build(work / asked.size, asked.size)
    generation = {"num_beams": 5, "min_new_tokens": asked.tokens, "max_new_tokens": asked.tokens}
    found = {}
    for name, size in (("fsd, batches", 0), ("fsd, one at a time", 1)):
        request = CaptionRequest(str(model), generation=generation, batch_size=size)
        found[name] = measured(
            OURS, str(work / "result.json"), str(make_session(work, asked.photos)), request.to_json()
        )
    photos = make_session(work, asked.photos) / "instance_images"
    found["transformers, as in its manual"] = measured(
        PLAIN, str(work / "result.json"), str(model), str(photos), str(asked.tokens)
    )
    plain = found["transformers, as in its manual"]["seconds"]
    print(f"{'':32}{'pictures/s':>12}{'speed':>8}{'peak MB':>10}{'GPU MB':>10}")
    for name, row in found.items():
        rate, speed = asked.photos / row["seconds"], plain / row["seconds"]
        print(f"{name:32}{rate:12.2f}{speed:8.2f}{row['peak_mb']:10.0f}{row['gpu_mb']:10.0f}")


if __name__ == "__main__":
    main()
