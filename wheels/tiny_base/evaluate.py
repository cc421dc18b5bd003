"""Measures the base model: each concept once a seed, "a photo of X on a C background", judged by the judge; and draws a labelled grid.

The metric was fixed before any result was seen: 3 seeds, 25 steps, guidance 5, the shipped scheduler, colours in turn. Random noise is one
generator a picture, so figures do not depend on the batch size.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import data
import numpy as np
import torch
import workers
from diffusers import StableDiffusionPipeline
from fsd_tiny_base.judge import load_judge
from PIL import Image, ImageDraw

GRID_PROMPTS = (
    "a photo of a dog on a blue background",
    "a photo of a cat on a green background",
    "a photo of a robot on a white background",
    "a photo of a rocket on a black background",
    "a photo of a pizza on a grey background",
    "a photo of a guitar on a yellow background",
    "a flat illustration of a fox on a purple background",
    "a flat illustration of a house on a pink background",
    "a 3d render of a teapot on a white background",
    "a photo of a bicycle on an orange background",
    "a photo of a strawberry on a white background",
    "a photo of a panda on a red background",
    "a flat illustration of a car on a green background",
    "a photo of a backpack on a yellow background",
    "a photo of a shoe on a brown background",
    "a photo of a teddy bear on a blue background",
    "a photo of a vase on a white background",
    "a photo of a castle on a black background",
    "a 3d render of a penguin on an orange background",
    "a photo of a crown on a purple background",
    "a photo of a clock on a grey background",
    "a flat illustration of a volcano on a white background",
    "a photo of an owl on a pink background",
    "a photo of a cup on a red background",
)


def pipeline(model: Path) -> StableDiffusionPipeline:
    """The stock pipeline in fp32."""
    pipe = StableDiffusionPipeline.from_pretrained(model, safety_checker=None, requires_safety_checker=False)
    pipe = pipe.to(torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(
    pipe: StableDiffusionPipeline, prompts: list[str], seeds: list[int], steps: int, guidance: float, batch: int = 26
) -> list[np.ndarray]:
    """uint8 (128, 128, 3) pictures, one a prompt."""
    out = []
    for i in range(0, len(prompts), batch):
        generators = [torch.Generator().manual_seed(s) for s in seeds[i : i + batch]]
        found = pipe(
            prompts[i : i + batch],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generators,
            height=128,
            width=128,
            output_type="np",
        ).images
        out += list((found * 255).round().astype(np.uint8))
    return out


def grid(images: list[np.ndarray], labels: list[str], columns: int = 8) -> Image.Image:
    """The pictures with a label under each."""
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * 132, rows * 158), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (image, label) in enumerate(zip(images, labels, strict=False)):
        x, y = i % columns * 132 + 2, i // columns * 158 + 2
        sheet.paste(Image.fromarray(image), (x, y))
        words = label.removeprefix("a ").replace(" background", "").replace("flat illustration", "flat")
        middle = words.rfind(" on ")
        pen.text((x, y + 129), words[:middle], fill="black", font_size=10)
        pen.text((x, y + 141), words[middle + 1 :], fill="black", font_size=10)
    return sheet


def draw_seed(model: Path, seed: int, steps: int, guidance: float) -> list[tuple[int, dict, str, np.ndarray]]:
    """(seed, concept, asked colour, picture) of every concept; one thread, so that seeds run side by side."""
    torch.set_num_threads(1)
    workers.keep_memory()
    concepts, colours = data.concepts(), list(data.COLOURS)
    asked = [colours[(i + 4 * seed) % 11] for i in range(len(concepts))]
    prompts = [
        f"a photo of {c['article']} {c['name']} on {'an' if k[0] in 'aeiou' else 'a'} {k} background".replace("  ", " ")
        for c, k in zip(concepts, asked, strict=False)
    ]
    drawn = draw(pipeline(model), prompts, [seed * 1000 + i for i in range(len(prompts))], steps, guidance)
    return list(zip([seed] * len(drawn), concepts, asked, drawn, strict=False))


def measure(judge, drawn: list[tuple[int, dict, str, np.ndarray]]) -> tuple[dict, list[str]]:
    """(figures in percent, a label a picture)."""
    found, backs = judge.name([d[3] for d in drawn]), judge.background([d[3] for d in drawn])
    rows = [
        {
            "seed": s,
            "name": c["name"],
            "colour": k,
            "first": f[0][0],
            "top1": f[0][0] == c["name"],
            "top5": c["name"] in [n for n, _ in f],
            "background": b == k,
            "seen": b,
        }
        for (s, c, k, _), f, b in zip(drawn, found, backs, strict=False)
    ]

    def share(key, some=rows):
        return round(100 * float(np.mean([r[key] for r in some])), 1)

    figures = {key + "_percent": share(key) for key in ("top1", "top5", "background")}
    figures["pictures"] = len(rows)
    figures["by_seed"] = [
        {k: share(k, [r for r in rows if r["seed"] == s]) for k in ("top1", "top5", "background")}
        for s in sorted({r["seed"] for r in rows})
    ]
    figures["background_by_colour"] = {
        k: share("background", [r for r in rows if r["colour"] == k]) for k in data.COLOURS
    }
    figures["missed"] = [f"{r['name']} -> {r['first']}" for r in rows if not r["top1"]]
    return figures, [f"{r['name']} ({r['first']}) on {r['colour']} ({r['seen']})" for r in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/tiny_base"))
    parser.add_argument("--model", type=Path, help="a Diffusers folder instead of WORK/model")
    parser.add_argument("--judge", type=Path, help="a judge folder instead of WORK/judge")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--grid-only", action="store_true")
    args = parser.parse_args()
    model, start = args.model or args.work / "model", time.monotonic()
    if args.grid_only:
        torch.set_num_threads(args.workers)
        images = draw(pipeline(model), list(GRID_PROMPTS), list(range(len(GRID_PROMPTS))), args.steps, args.guidance)
        grid(images, list(GRID_PROMPTS)).save(args.work / "grid.png")
        return
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool:
        tasks = [pool.submit(draw_seed, model, seed, args.steps, args.guidance) for seed in range(args.seeds)]
        drawn = [row for task in tasks for row in task.result()]
    figures, labels = measure(load_judge(args.judge or args.work / "judge"), drawn)
    figures |= {"steps": args.steps, "guidance": args.guidance, "seconds": round(time.monotonic() - start)}
    grid([d[3] for d in drawn[:104]], labels[:104], 13).save(args.work / "concepts.png")
    (args.work / "figures.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
