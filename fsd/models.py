"""Verbs about models, with or without a session: what can be trained, where it comes from, what a file is, and its form."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from fsd.errors import RecipeError
from fsd.families import FAMILIES, get_family
from fsd.families import table as family_table
from fsd.families.family import WEB_UIS
from fsd.runtime import report
from fsd.runtime.report import Result
from fsd.settings import one_of


def families(web_ui: str = "", markdown: bool = False) -> Result:
    """Show the families of models: sizes, memory to train, web UIs, licence.

    web_ui: only those that it runs: a1111, forge, forge-neo or comfyui.
    markdown: as the table of all that is in the README.
    """
    if web_ui:
        one_of("web_ui", web_ui, *WEB_UIS)
    chosen = [family for family in FAMILIES.values() if not web_ui or web_ui in family.web_uis]
    text = report.table(family_table.rows(chosen), family_table.HEAD)
    text = family_table.markdown() if markdown else "\n".join([text, "", *family_table.notes()])
    return Result(text, families=[asdict(family) for family in chosen])


def base_model(spec: str, family: str = "") -> Result:
    """Get a base model: fetch and convert what is not on this machine yet, and show what it is and where.

    spec: a family (fsd families lists them); OWNER/NAME on the hub, with @REVISION if wanted; a Diffusers folder, a
    .safetensors or a .ckpt; or a link: a page or file of the hub or Civitai, a file shared on Google Drive, any http(s)
    link. A download that was cut goes on where it stopped. Models with a licence to accept, and files behind a login,
    need a token: the Colab secret or environment variable HF_TOKEN or CIVITAI_TOKEN.
    family: what a single file is, where it does not tell.
    """
    from fsd.weights.base_model import find_base_model
    from fsd.weights.detect import detect

    folder = find_base_model(spec, family)
    found = detect(folder)
    name = spec if spec in FAMILIES else found.family or family
    title = FAMILIES[name].title if name else found.title
    return Result(f"base model: {title}\n{folder}", family=name, title=title, folder=str(folder))


def convert(
    source: str, destination: str, dtype: str = "", like: str = "", family: str = "", without: str = "",
    prediction: str = "", form: str = "",
) -> Result:  # fmt: skip
    """Convert a model: Diffusers folder to one file, one file to Diffusers folder, .ckpt to .safetensors, LoRA to LoRA.

    source: a Diffusers folder, a .safetensors or a .ckpt, or a LoRA. It stays as it is.
    destination: a name that ends in .safetensors or .ckpt; any other is a new Diffusers folder.
    dtype: fp16, bf16 or fp32 (default: as stored).
    like: for a folder: a Diffusers folder of the same kind, for its settings, its tokenizers and the parts that the
        file has not.
    family: for a folder: whose settings it gets, as in fsd families; for a LoRA: what it is for (default: as recognised).
    without: parts to leave out, such as vae,text_encoder,text_encoder_2.
    prediction: for a folder: epsilon or v_prediction (default: as recognised).
    form: of a LoRA: kohya, for web UIs, or peft, for Diffusers (default: the one it has not).
    """
    from fsd.weights.convert import convert as convert_model
    from fsd.weights.convert import source_bytes
    from fsd.weights.detect import detect
    from fsd.weights.lora_file import convert_lora

    if dtype:
        one_of("dtype", dtype, "fp16", "bf16", "fp32")
    if prediction:
        one_of("prediction", prediction, "epsilon", "v_prediction")
    origin, target = Path(source).expanduser(), Path(destination).expanduser()
    if target.is_file():
        raise RecipeError(f"{target} is there already", "choose another name, or move it away first")
    if detect(origin).kind == "lora":
        lora = convert_lora(origin, target, form, get_family(family).layout if family else "")
        text = f"{lora.path}: LoRA in {lora.form}'s form, {lora.layers} layers, {report.human_bytes(lora.size_bytes)}"
        return Result(text, path=str(lora.path), form=lora.form, layers=lora.layers, size_bytes=lora.size_bytes)
    names = [name.strip() for name in without.split(",") if name.strip()]
    with report.progress(target.name, source_bytes(origin), unit="B") as bar:
        made = convert_model(
            origin, target, dtype or None, Path(like).expanduser() if like else None, family, names, prediction,
            tell=bar.update,
        )  # fmt: skip
    lines = [f"{made.path}: {report.human_bytes(made.size_bytes)}, {made.tensors} tensors"]
    lines += [f"SHA-256 {made.sha256}"] if made.path.is_file() else []
    lines += [f"beside it for web UIs: {made.sidecar.name}"] if made.sidecar else []
    lines += [f"left out: {len(made.left_out)} tensors that no web UI needs"] if made.left_out else []
    if made.lacks:
        lines.append(f"still lacking: {', '.join(made.lacks)}; like=FOLDER takes them from a folder of the same kind")
    return Result(
        "\n".join(lines), path=str(made.path), size_bytes=made.size_bytes, tensors=made.tensors,
        sha256=made.sha256 if made.path.is_file() else "", sidecar=str(made.sidecar or ""),
        left_out=list(made.left_out), lacks=list(made.lacks),
    )  # fmt: skip


def inspect(file: str) -> Result:
    """Show what a model file or folder is: its kind, family, prediction, dtype and parts, and what it was recognised by.

    file: a .safetensors or .ckpt (a model, LoRA, VAE, ControlNet or embedding), or a Diffusers folder. Only its header
    is read, and nothing in it is run.
    """
    from fsd.weights.description import describe, in_lines

    facts = describe(Path(file).expanduser())
    return Result(in_lines(facts), **facts)
