"""Trains the AutoencoderKL (4 latent channels, factor 8) on sprites, photograph pieces and dead leaves for a number of minutes."""

import argparse
import json
import time
from pathlib import Path

import data
import numpy as np
import torch
import torch.nn.functional as F
import workers
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor
from training import Budget, Muon, cosine, load_state, part, prefixed, save_state, split

CONFIG = {
    "block_out_channels": (32, 48, 64, 64),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "sample_size": 128,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}


def to_batch(images: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) in -1..1, channels_last."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def gradients(x: torch.Tensor) -> torch.Tensor:
    """Differences along both axes, (N, 3, H-1, 2(W-1)-ish) flattened."""
    return torch.cat([(x[..., 1:, :] - x[..., :-1, :]).flatten(1), (x[..., 1:] - x[..., :-1]).flatten(1)], 1)


def loss_of(out: torch.Tensor, target: torch.Tensor, fraction: float) -> torch.Tensor:
    """Reconstruction loss: L1, pooled L1 and gradient terms that fade out, so that the last third is mostly squared error."""
    error = out - target
    soft = max(0.1, 1 - 1.5 * fraction)
    loss = 3 * error.square().mean() + soft * error.abs().mean()
    if soft > 0.1:
        for factor in (2, 4):
            loss = loss + 0.5 * soft * F.avg_pool2d(error, factor).abs().mean()
        loss = loss + 0.3 * soft * gradients(error).abs().mean()
    return loss


@torch.no_grad()
def psnr_held_out(vae: AutoencoderKL, work: Path) -> dict:
    """PSNR in dB on the held-out photographs: 128-px native grid pieces (mean over pieces; pooled) and whole squares resized to 128 px."""
    import cv2

    photos = data.photo_arrays(work, held_out=True)
    out, errors, wholes = {}, [], []
    for name, photo in photos.items():
        pieces = to_batch(np.stack(data.native_pieces(photo)))
        side = min(photo.shape[:2])
        y, x = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
        whole = to_batch(cv2.resize(photo[y : y + side, x : x + side], (128, 128), interpolation=cv2.INTER_AREA)[None])
        mse = (decode(vae, pieces).clamp(-1, 1) - pieces).div(2).square().flatten(1).mean(1)
        whole_mse = (decode(vae, whole).clamp(-1, 1) - whole).div(2).square().mean()
        out[name] = {
            "pieces": len(pieces),
            "mean_db": round(float((-10 * mse.log10()).mean()), 2),
            "pooled_db": round(float(-10 * mse.mean().log10()), 2),
            "whole_db": round(float(-10 * whole_mse.log10()), 2),
        }
        errors.append(mse)
        wholes.append(whole_mse)
    mse = torch.cat(errors)
    out["all"] = {
        "pieces": len(mse),
        "mean_db": round(float((-10 * mse.log10()).mean()), 2),
        "pooled_db": round(float(-10 * mse.mean().log10()), 2),
        "whole_db": round(float((-10 * torch.stack(wholes).log10()).mean()), 2),
    }
    return out


def decode(vae: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    """The round trip through the mean latents."""
    return vae.decode(vae.encode(images).latent_dist.mean).sample


def train(rank: int, work: Path, minutes: float, rate: float, batch: int, decoder_only: bool) -> None:
    """One worker's training, `batch` crops a step of its own. Resumes by itself.

    Rank 0 checkpoints under work/vae (`decoder_only`: work/decoder) and writes work/vae/model (fp32 Diffusers folder) at the end.
    `decoder_only` goes on from work/vae/model with a frozen encoder: the latents, and so the UNet, stay valid.
    """
    torch.manual_seed(0)
    pool = np.load(work / "pool.npy")
    folder = work / ("decoder" if decoder_only else "vae")
    vae = AutoencoderKL.from_pretrained(work / "vae" / "model") if decoder_only else AutoencoderKL(**CONFIG)
    vae = vae.train().to(memory_format=torch.channels_last)
    vae.set_attn_processor(AttnProcessor())
    if decoder_only:
        for frozen in (vae.encoder, vae.quant_conv):
            frozen.requires_grad_(False)
    hidden, rest = split(
        vae,
        ("encoder.conv_in", "encoder.conv_out", "decoder.conv_in", "decoder.conv_out", "quant_conv", "post_quant_conv"),
    )
    optimizer = Muon(hidden, [(rest, 0.1)])
    average = {k: v.clone() for k, v in vae.state_dict().items()}
    step, spent = 0, 0.0
    if saved := load_state(folder):
        tensors, facts = saved
        vae.load_state_dict(part("model", tensors))
        average = part("average", tensors)
        optimizer.load(part("optimizer", tensors))
        step, spent = facts["step"], facts["spent_s"]
    budget, shown, kept = Budget(minutes, spent), time.monotonic(), time.monotonic()
    rng = np.random.default_rng([step, rank])
    torch.manual_seed(step * 8 + rank)
    names = list(average)
    while (fraction := workers.agreed(budget.fraction)) < 1:
        large = fraction > 0.9 or step % 5 == 0
        size, count = (128, max(1, batch // 4)) if large else (64, batch)
        picks = rng.integers(len(pool), size=count)
        y, x = rng.integers(0, 129 - size, 2)
        images = to_batch(pool[np.sort(picks), y : y + size, x : x + size])
        if rng.random() < 0.5:
            images = images.flip(3)
        with torch.set_grad_enabled(not decoder_only):
            posterior = vae.encode(images).latent_dist
        output = vae.decode(posterior.sample()).sample
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        reconstruction = loss_of(output, images, 1.0 if decoder_only else fraction)
        loss = reconstruction + 2e-4 * min(1, fraction * 4) * kl
        loss.backward()
        workers.average_gradients(optimizer.params)
        torch.nn.utils.clip_grad_norm_(optimizer.params, 2.0, foreach=True)
        optimizer.step(rate * min(1, (step + 1) / 40) * cosine(fraction, 0.1, 0.01))
        step += 1
        keep = min(0.998, (1 + step) / (20 + step))
        state = vae.state_dict()
        torch._foreach_lerp_([average[k] for k in names], [state[k] for k in names], 1 - keep)
        if rank == 0 and time.monotonic() - shown > 20:
            shown = time.monotonic()
            print(
                f"{budget.elapsed_s / 60:.1f} min step {step} {size}px loss {loss.item():.4f} mse-dB {-10 * np.log10((output - images).square().mean().item() / 4):.2f} "
                f"kl {kl.item():.2f}",
                flush=True,
            )
        if rank == 0 and time.monotonic() - kept > 180:
            kept = time.monotonic()
            save_state(
                folder,
                prefixed("model", state) | prefixed("average", average) | prefixed("optimizer", optimizer.state()),
                {"step": step, "spent_s": budget.elapsed_s},
            )
            check(average, work)
    if rank:
        return
    save_state(
        folder,
        prefixed("model", vae.state_dict()) | prefixed("average", average) | prefixed("optimizer", optimizer.state()),
        {"step": step, "spent_s": budget.elapsed_s},
    )
    finished = check(average, work)
    finished.save_pretrained(work / "vae" / "model")
    (work / "vae" / "psnr.json").write_text(json.dumps(psnr_held_out(finished, work), indent=1))


def check(average: dict[str, torch.Tensor], work: Path) -> AutoencoderKL:
    """Prints the held-out figures of the averaged weights and returns that network."""
    vae = AutoencoderKL(**CONFIG)
    vae.load_state_dict(average)
    vae.set_attn_processor(AttnProcessor())
    print("held out", json.dumps(psnr_held_out(vae.eval(), work)), flush=True)
    return vae


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/tiny_base"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=1.5e-2)
    parser.add_argument("--batch", type=int, default=8, help="64-px crops a worker and step")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--decoder-only", action="store_true", help="go on from WORK/vae/model with the encoder frozen")
    args = parser.parse_args()
    workers.start(train, args.workers, args.work, args.minutes, args.rate, args.batch, args.decoder_only)


if __name__ == "__main__":
    main()
