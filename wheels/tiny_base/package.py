"""Makes the Diffusers folder from the trained weights and packs it with the judge into a wheel, byte for byte the same for the same weights."""

import argparse
import base64
import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import data
import tokenizer
import torch
from safetensors.torch import save_file
from training import load_state, part

HERE = Path(__file__).parent
VERSION = "1.0.0"
DATE = (2026, 1, 1, 0, 0, 0)


def assemble(work: Path) -> Path:
    """Writes work/model, the Diffusers folder in fp16, from work/unet (averaged weights) and work/vae/model."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from train_text_unet import SCHEDULER, TEXT, UNET, token_table
    from transformers import CLIPTextConfig, CLIPTextModel

    tensors, facts = load_state(work / "unet")
    average = part("average", tensors)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=49408, **TEXT))
    table, trained = token_table(), part("text", average)
    name = next(k for k in trained if k.endswith("token_embedding.weight"))
    table[facts["used"]] = trained[name]
    text.load_state_dict(trained | {name: table})
    unet = UNet2DConditionModel(**UNET)
    unet.load_state_dict(part("unet", average))
    vae = AutoencoderKL.from_pretrained(work / "vae" / "model")
    vae.register_to_config(scaling_factor=round(facts["scaling_factor"], 6))
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer.clip_tokenizer(),
        unet=unet,
        scheduler=DDIMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    folder = work / "model"
    shutil.rmtree(folder, ignore_errors=True)
    pipe.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    _older_layout(folder / "text_encoder" / "model.safetensors")
    for path in [*folder.rglob("*.json")]:
        found = json.loads(path.read_text())
        found.pop("_name_or_path", None)
        path.write_text(
            json.dumps(found, separators=(",", ":"), ensure_ascii=False)
            if path.name == "tokenizer.json"
            else json.dumps(found, indent=1) + "\n"
        )
    return folder


def _older_layout(path: Path) -> None:
    """Names the text encoder's tensors `text_model.*`, which every transformers version and every web UI reads."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    named = {k if k.startswith("text_model.") else "text_model." + k: v for k, v in tensors.items()}
    save_file(named, path, {"format": "pt"})


def members(work: Path) -> dict[str, bytes]:
    """Path inside the wheel -> content, without the dist-info."""
    out = {"fsd_tiny_base/" + p.name: p.read_bytes() for p in (HERE / "fsd_tiny_base").glob("*.py")}
    for folder, target in ((work / "model", "model"), (work / "judge", "judge_model")):
        out |= {
            f"fsd_tiny_base/{target}/{p.relative_to(folder).as_posix()}": p.read_bytes()
            for p in folder.rglob("*")
            if p.is_file()
        }
    records = [{k: v for k, v in c.items() if k != "source_name"} for c in data.concepts()]
    out["fsd_tiny_base/concepts.json"] = json.dumps(records, indent=1).encode()
    out["fsd_tiny_base/sources.json"] = (HERE / "sources.json").read_bytes()
    figures = {
        n: json.loads(p.read_text())
        for n, p in (("base", work / "figures.json"), ("vae_psnr", work / "vae" / "psnr.json"))
        if p.exists()
    }
    out["fsd_tiny_base/figures.json"] = json.dumps(
        figures | {"judge": json.loads((work / "judge" / "figures.json").read_text())}, indent=1
    ).encode()
    out.pop("fsd_tiny_base/judge_model/figures.json")
    return out


def metadata() -> dict[str, bytes]:
    """Files of the dist-info folder, RECORD left out."""
    licences = sorted((HERE / "LICENSES").iterdir())
    lines = [
        "Metadata-Version: 2.4",
        "Name: fsd_tiny_base",
        f"Version: {VERSION}",
        "Summary: A tiny Stable Diffusion (128 px, SD 1.x layout) with a judge, for trying and testing fsd",
        "License-Expression: Apache-2.0 AND MIT",
        *[f"License-File: {p.name}" for p in licences],
        "Requires-Python: >=3.10",
        "Provides-Extra: judge",
        *[f'Requires-Dist: {n}; extra == "judge"' for n in ("numpy", "torch", "safetensors")],
    ]
    wheel = "Wheel-Version: 1.0\nGenerator: package.py\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    out = {"METADATA": "\n".join(lines).encode() + b"\n\n" + (HERE / "ABOUT.md").read_bytes(), "WHEEL": wheel.encode()}
    return out | {"licenses/" + p.name: p.read_bytes() for p in licences}


def write_wheel(work: Path, folder: Path) -> Path:
    """Writes fsd_tiny_base-VERSION-py3-none-any.whl into `folder`."""
    info = f"fsd_tiny_base-{VERSION}.dist-info"
    files = members(work) | {f"{info}/{n}": b for n, b in metadata().items()}

    def digest(b):
        return base64.urlsafe_b64encode(hashlib.sha256(b).digest()).rstrip(b"=").decode()

    record = [f"{n},sha256={digest(files[n])},{len(files[n])}" for n in sorted(files)] + [f"{info}/RECORD,,"]
    path = folder / f"fsd_tiny_base-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path.with_suffix(".part"), "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:
        for name, body in [(n, files[n]) for n in sorted(files)] + [
            (f"{info}/RECORD", "\n".join(record).encode() + b"\n")
        ]:
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            wheel.writestr(entry, body)
    path.with_suffix(".part").replace(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/tiny_base"))
    parser.add_argument("--out", type=Path, default=HERE.parent)
    parser.add_argument("--model-only", action="store_true", help="write WORK/model and no wheel")
    args = parser.parse_args()
    tokenizer.use(args.work)
    folder = assemble(args.work)
    weights = sum(p.stat().st_size for p in folder.rglob("*.safetensors"))
    print(f"weights {weights / 1e6:.2f} MB")
    if not args.model_only:
        path = write_wheel(args.work, args.out)
        print(f"{path.name} {path.stat().st_size / 1e6:.2f} MB sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
