"""Trains the judge on real sprites of all three styles, all their names, and photograph pieces, for a number of minutes.

The head has a class for every name and one for every photograph; only the base's concepts are shipped, the rest makes the vector general.
HELD_OUT names are never trained: they measure whether the vector tells unseen subjects apart.
"""

import argparse
import json
from pathlib import Path

import data
import numpy as np
import torch
import torch.nn.functional as F
import workers
from diffusers import AutoencoderKL
from fsd_tiny_base.judge import SIZE_PX, Judge, JudgeNet
from safetensors.torch import save_file
from torch import nn
from train_vae import decode, to_batch
from training import Budget, cosine

HELD_OUT = 60
SCALE = 16.0


def sprite_tensor(sprites: np.ndarray) -> torch.Tensor:
    """uint8 (names, 3, 128, 128, 4) -> uint8 (names, 3, 4, 64, 64), colours times alpha."""
    out = torch.empty(*sprites.shape[:2], 4, SIZE_PX, SIZE_PX, dtype=torch.uint8)
    for row, name in enumerate(sprites):
        full = torch.from_numpy(np.array(name)).permute(0, 3, 1, 2).float()
        full[:, :3] *= full[:, 3:] / 255
        out[row] = F.avg_pool2d(full, 2).round().byte()
    return out


def compose(sprites: torch.Tensor, photos: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Sprites uint8 (N, 4, 64, 64) on plain colours, gradients or photograph pieces, moved, turned and scaled: float (N, 3, 64, 64) in 0..1."""
    n = len(sprites)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(*shape, generator=generator)

    zoom, turn, flip = (
        1 / uniform(0.6, 1.0, n),
        uniform(-0.2, 0.2, n) * (torch.rand(n, generator=generator) < 0.5),
        torch.randint(0, 2, (n,), generator=generator) * 2 - 1,
    )
    matrix = torch.stack(
        [
            torch.stack([zoom * turn.cos() * flip, -zoom * turn.sin(), uniform(-0.25, 0.25, n)], 1),
            torch.stack([zoom * turn.sin() * flip, zoom * turn.cos(), uniform(-0.25, 0.25, n)], 1),
        ],
        1,
    )
    moved = F.grid_sample(
        sprites.float() / 255, F.affine_grid(matrix, (n, 4, SIZE_PX, SIZE_PX), align_corners=False), align_corners=False
    )
    table = torch.tensor(list(data.COLOURS.values())).float() / 255
    plain = table[torch.randint(0, 11, (n,), generator=generator)] + uniform(-0.07, 0.07, n, 3)
    back = plain[:, :, None, None].expand(n, 3, SIZE_PX, SIZE_PX).clone()
    some = torch.rand(n, generator=generator)
    back[some < 0.15] = (
        photos[torch.randint(0, len(photos), (int((some < 0.15).sum()),), generator=generator)].float() / 255
    )
    back[some > 0.85] += uniform(-0.3, 0.3, int((some > 0.85).sum()), 3, 1, 1) * torch.linspace(0, 1, SIZE_PX)
    return (back.clamp(0, 1) * (1 - moved[:, 3:]) + moved[:, :3]).clamp(0, 1)


def weaken(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur, gain, shift and noise, each on some of the pictures, as a small diffusion model's pictures have."""
    n = len(images)
    for factor in (2, 3):
        some = torch.rand(n, generator=generator) < 0.15
        images[some] = F.interpolate(
            F.avg_pool2d(images[some], factor, ceil_mode=True), (SIZE_PX, SIZE_PX), mode="bilinear"
        )
    gain = 1 + 0.25 * (torch.rand(n, 3, 1, 1, generator=generator) * 2 - 1) * (
        torch.rand(n, 1, 1, 1, generator=generator) < 0.6
    )
    shift = 0.1 * (torch.rand(n, 1, 1, 1, generator=generator) * 2 - 1)
    noise = torch.randn(images.shape, generator=generator) * 0.06 * torch.rand(n, 1, 1, 1, generator=generator)
    return (images * gain + shift + noise).clamp(0, 1)


@torch.no_grad()
def round_trips(work: Path, sprites: np.ndarray, each: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scenes of the concepts through the VAE: uint8 (N, 3, 64, 64) and their class numbers."""
    vae = AutoencoderKL.from_pretrained(work / "vae" / "model").eval()
    rng, images, classes = np.random.default_rng(21), [], []
    for concept in range(len(data.concepts())):
        scenes = [
            data.scene(np.asarray(sprites[concept, k % 3]), list(data.COLOURS)[rng.integers(11)], rng)
            for k in range(each)
        ]
        out = decode(vae, to_batch(np.stack(scenes))).clamp(-1, 1)
        images.append(F.avg_pool2d((out + 1) * 127.5, 2).round().byte())
        classes += [concept] * each
    return torch.cat(images), torch.tensor(classes)


def train(work: Path, minutes: float, batch: int) -> None:
    """Trains the judge and writes work/judge/judge.safetensors and judge.json."""
    torch.manual_seed(0)
    generator, rng = torch.Generator().manual_seed(5), np.random.default_rng(5)
    raw = np.load(work / "sprites.npy", mmap_mode="r")
    sprites, known = sprite_tensor(raw), len(data.concepts())
    order = known + np.random.default_rng(9).permutation(len(raw) - known)
    others = np.sort(order[HELD_OUT:])
    photos = data.photo_arrays(work, held_out=False)
    pieces = torch.from_numpy(
        np.stack([data.random_piece(p, rng, SIZE_PX) for p in photos.values() for _ in range(120)])
    ).permute(0, 3, 1, 2)
    passed, passed_class = round_trips(work, raw, each=6)
    net = JudgeNet()
    net.to(memory_format=torch.channels_last)
    head = nn.Parameter(F.normalize(torch.randn(len(raw) + len(photos), 128), dim=1))
    optimizer = torch.optim.AdamW([*net.parameters(), head], 4e-3, (0.9, 0.98), weight_decay=1e-2)
    budget, step = Budget(minutes), 0
    shares = (
        int(batch * 0.45),
        int(batch * 0.27),
        int(batch * 0.13),
        int(batch * 0.15),
    )  # concepts, other names, photographs, through the VAE
    while budget.fraction < 1:
        rows = np.concatenate([rng.integers(known, size=shares[0]), rng.choice(others, shares[1])])
        drawn = compose(
            sprites[torch.from_numpy(rows), torch.from_numpy(rng.integers(3, size=len(rows)))], pieces, generator
        )
        photo = torch.from_numpy(rng.integers(len(pieces), size=shares[2]))
        back = torch.from_numpy(rng.integers(len(passed), size=shares[3]))
        images = weaken(torch.cat([drawn, pieces[photo].float() / 255, passed[back].float() / 255]), generator)
        target = torch.cat([torch.from_numpy(rows), len(raw) + photo // 120, passed_class[back]])
        vectors = net(images.contiguous(memory_format=torch.channels_last))
        logits = vectors @ F.normalize(head, dim=1).T * SCALE
        loss = F.cross_entropy(logits, target, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 50) * cosine(budget.fraction, 0.2, 0.005)
        step += 1
        if step % 100 == 0:
            print(
                f"{budget.elapsed_s / 60:.1f} min step {step} loss {loss.item():.3f} right {(logits.argmax(1) == target).float().mean():.3f}",
                flush=True,
            )
    folder = work / "judge"
    folder.mkdir(exist_ok=True)
    tensors = {
        k: v.half() if v.is_floating_point() else v
        for k, v in net.state_dict().items()
        if not k.endswith("num_batches_tracked")
    }
    tensors |= {k: v for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")}
    save_file(
        {k: v.contiguous() for k, v in tensors.items()}
        | {"head": F.normalize(head[:known], dim=1).half().contiguous()},
        folder / "judge.safetensors",
    )
    facts = {
        "classes": [c["name"] for c in data.concepts()],
        "colours": data.COLOURS,
        "size_px": SIZE_PX,
        "range": "0..1 RGB, area-resized square",
        "widths": (24, 48, 96, 128),
        "vector_size": 128,
        "logit_scale": SCALE,
        "held_out_names": order[:HELD_OUT].tolist(),
    }
    (folder / "judge.json").write_text(json.dumps(facts, indent=1))
    figures = measure(work, raw, order[:HELD_OUT])
    (folder / "figures.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures))


@torch.no_grad()
def measure(work: Path, sprites: np.ndarray, unseen: np.ndarray) -> dict:
    """Held-out figures on fresh 128-px scenes: names right by style, after the VAE, backgrounds, and 1-nearest-neighbour on names never trained."""
    judge, rng = Judge(work / "judge"), np.random.default_rng(77)
    vae = AutoencoderKL.from_pretrained(work / "vae" / "model").eval()
    colours, out = list(data.COLOURS), {}
    for style, style_name in enumerate(data.STYLES):
        picked = [colours[rng.integers(11)] for _ in range(2 * len(judge.classes))]
        scenes = [data.scene(np.asarray(sprites[i // 2, style]), c, rng) for i, c in enumerate(picked)]
        passed = (
            ((decode(vae, to_batch(np.stack(scenes[::2]))).clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()
        )
        truth = [judge.classes[i // 2] for i in range(len(scenes))]
        for label, images, names in (("", scenes, truth), (" through the VAE", passed, truth[::2])):
            found = judge.name(list(images))
            out[style_name + label] = {
                "top1": round(float(np.mean([f[0][0] == t for f, t in zip(found, names, strict=False)])), 4),
                "top5": round(float(np.mean([t in [n for n, _ in f] for f, t in zip(found, names, strict=False)])), 4),
            }
        out[style_name]["background"] = round(
            float(np.mean([a == b for a, b in zip(judge.background(scenes), picked, strict=False)])), 4
        )
    vectors = [
        judge.embed([data.scene(np.asarray(sprites[r, 1]), colours[rng.integers(11)], rng) for r in unseen])
        for _ in range(4)
    ]
    gallery = np.mean(vectors[:3], 0)
    out["unseen names, 1 of 60 by nearest vector"] = round(
        float(np.mean((vectors[3] @ gallery.T).argmax(1) == np.arange(len(unseen)))), 4
    )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/tiny_base"))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    workers.keep_memory()
    train(args.work, args.minutes, args.batch)


if __name__ == "__main__":
    main()
