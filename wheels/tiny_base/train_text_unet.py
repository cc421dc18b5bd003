"""Trains the text encoder and the UNet together on cached latents of captioned scenes for a number of minutes.

First a short warm-up of the text encoder: linear heads on the mean of its 77 outputs (what a new cross-attention sees) learn to name the concept,
the background colour and the style. Then both train on the noise-prediction loss of Stable Diffusion 1.x (scaled_linear 0.00085 to 0.012, epsilon).
"""

import argparse
import time
from pathlib import Path

import data
import numpy as np
import tokenizer
import torch
import torch.nn.functional as F
import workers
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from train_vae import to_batch
from training import Budget, Muon, cosine, load_state, part, prefixed, save_state, split
from transformers import CLIPTextConfig, CLIPTextModel

UNET = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 64, 96, 128),
    "layers_per_block": 1,
    "attention_head_dim": (1, 2, 3, 4),
    "cross_attention_dim": 64,
    "norm_num_groups": 16,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "projection_dim": 64,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 1,
}
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}
SCENES = 33  # cached scenes a sprite, three on each colour
SHARE_3D = 0.65  # of the training samples; the rest are flat
FREEZE = 0.4  # share of the time after which the text encoder is left as it is
NOISE_OFFSET = 0.2  # standard deviation of the extra noise of each channel's mean


def cache_latents(work: Path, seed: int = 1) -> None:
    """Writes latents.npz: float16 (N, 4, 16, 16) mean latents times the scaling factor, with concept, style and colour numbers."""
    rng = np.random.default_rng(seed)
    vae = AutoencoderKL.from_pretrained(work / "vae" / "model").to(memory_format=torch.channels_last).eval()
    vae.set_attn_processor(AttnProcessor())
    sprites = np.load(work / "sprites.npy", mmap_mode="r")
    colours, rows, latents = list(data.COLOURS), [], []
    for concept in range(len(data.concepts())):
        for style, name in enumerate(data.BASE_STYLES):
            sprite = np.asarray(sprites[concept, data.STYLES.index(name)])
            order = [(k + concept + 5 * style) % 11 for k in range(SCENES)]
            images = np.stack([data.scene(sprite, colours[c], rng) for c in order])
            with torch.no_grad():
                latents.append(vae.encode(to_batch(images)).latent_dist.mean.contiguous().numpy())
            rows += [(concept, style, c) for c in order]
    stacked = np.concatenate(latents)
    factor = 1 / stacked.std()
    np.savez(
        work / "latents.npz", latents=(stacked * factor).astype(np.float16), rows=np.array(rows), scaling_factor=factor
    )


class Captions:
    """Draws captions and gives their compact token ids; `used` are the CLIP ids behind the compact ones."""

    def __init__(self):
        self.tokenizer, self.concepts, self.colours = tokenizer.clip_tokenizer(), data.concepts(), list(data.COLOURS)
        words = [c["name"] for c in self.concepts] + [s for c in self.concepts for s in c["synonyms"]] + self.colours
        words += ["gray", "a photo of a an flat illustration 3d render on background"]
        ids = self.tokenizer(words)["input_ids"]
        self.used = sorted({i for row in ids for i in row} | {49406, 49407})
        self.compact = {i: k for k, i in enumerate(self.used)}
        self.known: dict[str, list[int]] = {}
        self.outputs: dict[str, torch.Tensor] = {}

    def ids(self, texts: list[str]) -> torch.Tensor:
        """Compact ids, int64 (N, 77)."""
        new = sorted({t for t in texts if t not in self.known})
        if new:
            rows = self.tokenizer(new, padding="max_length", max_length=77, truncation=True)["input_ids"]
            self.known |= {t: [self.compact[i] for i in row] for t, row in zip(new, rows, strict=False)}
        return torch.tensor([self.known[t] for t in texts])

    @torch.no_grad()
    def states(self, text: CLIPTextModel, texts: list[str]) -> torch.Tensor:
        """The resting text encoder's outputs, float32 (N, 77, 64), each computed once."""
        new = sorted({t for t in texts if t not in self.outputs})
        if new:
            self.outputs |= dict(zip(new, text(self.ids(new)).last_hidden_state, strict=False))
        return torch.stack([self.outputs[t] for t in texts])

    def draw(self, rows: np.ndarray, rng: np.random.Generator, empty: float = 0.1) -> list[str]:
        """One caption a row of (concept, style, colour); `empty` of them are empty, for classifier-free guidance."""
        return [
            "" if rng.random() < empty else data.caption(self.concepts[c], data.BASE_STYLES[s], self.colours[k], rng)
            for c, s, k in rows
        ]


def token_table(seed: int = 7) -> torch.Tensor:
    """float32 (49408, 64) of random signs times 0.1: every token has its own vector and the table packs to a bit an entry."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (49408, TEXT["hidden_size"]), generator=generator).float().mul_(0.2).sub_(0.1)


def build(captions: Captions) -> tuple[CLIPTextModel, UNet2DConditionModel]:
    """New networks; the text encoder has only the used rows of the token table."""
    torch.manual_seed(0)
    text = CLIPTextModel._from_config(
        CLIPTextConfig(vocab_size=len(captions.used), **TEXT), attn_implementation="eager"
    )
    text.get_input_embeddings().weight.data.copy_(token_table()[captions.used])
    unet = UNet2DConditionModel(**UNET).to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())
    return text, unet


def warm_up(rank: int, text: CLIPTextModel, captions: Captions, rows: np.ndarray, minutes: float) -> None:
    """Teaches the text encoder to keep concept, colour and style readable in the mean of its outputs."""
    torch.manual_seed(1)
    heads = nn.ModuleList([nn.Linear(TEXT["hidden_size"], n) for n in (len(captions.concepts), 12, 2)])
    parameters = [*text.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, 2e-3, (0.9, 0.98), weight_decay=0.0)
    budget, rng, step = Budget(minutes), np.random.default_rng([3, rank]), 0
    while (fraction := workers.agreed(budget.fraction)) < 1:
        batch = rows[rng.integers(len(rows), size=32)]
        texts = captions.draw(batch, rng, empty=0)
        target = torch.from_numpy(batch.copy())
        target[:, 2] = torch.tensor([c if "background" in t else 11 for t, c in zip(texts, batch[:, 2], strict=False)])
        mean = text(captions.ids(texts)).last_hidden_state.mean(1)
        losses = [F.cross_entropy(head(mean), target[:, i]) for head, i in zip(heads, (0, 2, 1), strict=False)]
        optimizer.zero_grad()
        sum(losses).backward()
        workers.average_gradients(parameters)
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * cosine(fraction, 0.5, 0.05)
        step += 1
        if rank == 0 and step % 50 == 0:
            print(f"warm-up {step} concept {losses[0]:.3f} colour {losses[1]:.3f} style {losses[2]:.3f}", flush=True)


def noise_weight(alphas: torch.Tensor) -> torch.Tensor:
    """Loss weight of each of 1000 timesteps: min-SNR-5 above SNR 1 and snr^-0.5 (at most 8) below, so that the noisy steps, where the prompt matters, count."""
    snr = alphas / (1 - alphas)
    return torch.where(snr > 1, snr.clamp(max=5) / snr, snr.rsqrt().clamp(max=8))


def train(rank: int, work: Path, minutes: float, rate: float, batch: int, warm_minutes: float) -> None:
    """One worker's training, `batch` latents a step of its own. Rank 0 checkpoints under work/unet; resumes by itself.

    The averaged weights are what `package.py` ships. After FREEZE of the time the text encoder rests and its outputs are kept.
    """
    tokenizer.use(work)
    cached = np.load(work / "latents.npz")
    latents, rows = torch.from_numpy(cached["latents"]), cached["rows"]
    share = np.where(rows[:, 1] == data.BASE_STYLES.index("3d"), SHARE_3D, 1 - SHARE_3D)
    share = share / share.sum()
    captions = Captions()
    text, unet = build(captions)
    hidden, rest = split(unet)
    optimizer = Muon(hidden, [(rest, 0.1), (list(text.parameters()), 0.1)])

    def live():
        return prefixed("text", text.state_dict()) | prefixed("unet", unet.state_dict())

    step, spent, saved = 0, 0.0, load_state(work / "unet")
    if saved:
        tensors, facts = saved
        text.load_state_dict(part("text", tensors))
        unet.load_state_dict(part("unet", tensors))
        optimizer.load(part("optimizer", tensors))
        average, step, spent = part("average", tensors), facts["step"], facts["spent_s"]
    else:
        warm_up(rank, text, captions, rows, warm_minutes)
        average = {k: v.detach().clone() for k, v in live().items()}
    alphas = DDIMScheduler(**SCHEDULER).alphas_cumprod
    weights = noise_weight(alphas)
    budget, shown, kept, begun = Budget(minutes, spent), time.monotonic(), time.monotonic(), step
    rng, generator = np.random.default_rng([1000 + step, rank]), torch.Generator().manual_seed(8 * (1000 + step) + rank)
    names, recent = list(average), []
    while True:
        fraction = workers.agreed(budget.fraction)
        picks = rng.choice(len(latents), batch, p=share)
        clean = latents[torch.from_numpy(picks)].float()
        noise = torch.randn(clean.shape, generator=generator) + NOISE_OFFSET * torch.randn(
            batch, 4, 1, 1, generator=generator
        )
        t = ((torch.arange(batch) + torch.rand(batch, generator=generator)) * (1000 / batch)).long().clamp(max=999)
        alpha = alphas[t].view(-1, 1, 1, 1)
        noisy = (alpha.sqrt() * clean + (1 - alpha).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        texts = captions.draw(rows[picks], rng)
        states = captions.states(text, texts) if fraction > FREEZE else text(captions.ids(texts)).last_hidden_state
        loss = ((unet(noisy, t, states).sample - noise).square().mean((1, 2, 3)) * weights[t]).mean()
        loss.backward()
        active = [p for p in optimizer.params if p.grad is not None]
        workers.average_gradients(active)
        torch.nn.utils.clip_grad_norm_(active, 1.0, foreach=True)
        optimizer.step(rate * min(1, (step + 1) / 60) * cosine(fraction, 0.3, 0.02))
        step += 1
        recent.append(loss.item())
        if rank == 0 and step % 4 == 0:
            state = live()
            torch._foreach_lerp_(
                [average[k] for k in names], [state[k] for k in names], 1 - min(0.992, (1 + step) / (40 + step))
            )
        if rank == 0 and time.monotonic() - shown > 30:
            shown = time.monotonic()
            speed = (step - begun) * batch * workers.count() / (budget.elapsed_s - spent)
            print(
                f"{budget.elapsed_s / 60:.1f} min step {step} loss {np.mean(recent[-150:]):.4f} {speed:.0f} samples/s",
                flush=True,
            )
        if rank == 0 and (time.monotonic() - kept > 120 or fraction >= 1):
            kept = time.monotonic()
            save_state(
                work / "unet",
                live() | prefixed("average", average) | prefixed("optimizer", optimizer.state()),
                {
                    "step": step,
                    "spent_s": budget.elapsed_s,
                    "batch": batch * workers.count(),
                    "used": captions.used,
                    "scaling_factor": float(cached["scaling_factor"]),
                },
            )
        if fraction >= 1:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/tiny_base"))
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--warm-minutes", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--batch", type=int, default=48, help="latents a worker and step")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if not (args.work / "latents.npz").exists():
        torch.set_num_threads(args.workers)
        cache_latents(args.work)
    workers.start(train, args.workers, args.work, args.minutes, args.rate, args.batch, args.warm_minutes)


if __name__ == "__main__":
    main()
