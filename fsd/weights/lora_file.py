"""LoRA files converted between kohya's form (web UIs, ComfyUI) and peft's (Diffusers), so that all apply the same change."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fsd.errors import MachineError, RecipeError, WeightsError
from fsd.runtime.files import replacing
from fsd.settings import one_of
from fsd.weights.detect import detect
from fsd.weights.lora_layers import LoraLayer, joined, scaled, turned
from fsd.weights.lora_names import Names, names_of
from fsd.weights.lora_read import ADAPTER_METADATA, Layers, read_layers
from fsd.weights.tensors import DTYPE_BYTES, SafetensorsFrame, Target, read_header
from fsd.weights.weight_file import read_weights

FORMS = ("kohya", "peft")
SCALAR = struct.Struct("<f")
_BASE_VERSIONS = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0", "sd3": "sd3", "flux": "flux1"}
"""kohya's names; by them, and by ss_v2, the web UI sorts LoRAs into those that it offers for a model."""
Content = tuple[str, tuple[int, ...], bytes]
"""A tensor's dtype, shape and bytes."""


@dataclass(frozen=True)
class LoraReport:
    """A finished LoRA file: its form, the layout it is for, the number of its layers, and its size."""

    path: Path
    form: str
    layout: str
    layers: int
    size_bytes: int


def convert_lora(
    source: Path, destination: Path, form: str = "", layout: str = "", notes: Mapping[str, str] | None = None
) -> LoraReport:
    """Write the LoRA `source` as `destination`, a .safetensors of the form "kohya" or "peft" (default: the other one).

    layout: "sd1", "sd2", "sdxl", "sd3" or "flux"; as detected by default. notes: more metadata. The change of every layer
    stays the same, but for the rounding where an alpha that differs from the rank is multiplied into peft's matrices.
    RecipeError for a bad name or form, WeightsError naming the file and the keys that do not fit.
    """
    if destination.suffix != ".safetensors":
        raise RecipeError(f"{destination.name} is no .safetensors", "let the name of the LoRA end in .safetensors")
    found = detect(source)
    if found.kind != "lora":
        raise WeightsError(f"{source} is not a LoRA but {found.title or 'of no kind that fsd knows'}", "give a LoRA")
    if not (layout := layout or found.layout):
        raise WeightsError(
            f"nothing in {source} tells which models it is for", "name their family, such as sdxl or flux-dev"
        )
    form = one_of("form", form or ("peft" if found.form == "kohya" else "kohya"), *FORMS)
    tensors, metadata = read_weights(source)
    layers = read_layers(source, tensors, metadata, names_of(layout))
    return write_lora(destination, layers, layout, form, {**metadata, **(notes or {})})


def write_lora(
    destination: Path, layers: Layers, layout: str, form: str, metadata: Mapping[str, str] | None = None
) -> LoraReport:
    """Write layers, by part and Diffusers name, as a LoRA file; it gets its name once it is whole and read back."""
    names = names_of(layout)
    content = _as_kohya(layers, names) if form == "kohya" else _as_peft(layers)
    notes = {key: value for key, value in (metadata or {}).items() if key != ADAPTER_METADATA} | {"format": "pt"}
    notes |= _kohya_notes(content, layout) if form == "kohya" else {ADAPTER_METADATA: json.dumps(_settings(layers))}
    targets = sorted(
        (Target(key, dtype, shape, ()) for key, (dtype, shape, _) in content.items()),
        key=lambda target: (-DTYPE_BYTES[target.dtype], target.key),
    )
    try:
        with replacing(destination) as temporary:
            with temporary.open("wb") as stream:
                stream.write(SafetensorsFrame(targets, notes).head)
                for target in targets:
                    stream.write(content[target.key][2])
            written = {key: (tensor.dtype, tensor.shape) for key, tensor in read_header(temporary)[0].items()}
            if written != {key: value[:2] for key, value in content.items()}:
                raise WeightsError(f"{destination} was not written as it was meant", "report this")
    except OSError as fault:
        what = f"{destination} could not be written: {fault.strerror or fault}"
        raise MachineError(what, "check the disk and the path") from None
    return LoraReport(destination, form, layout, len(layers), destination.stat().st_size)


def _as_kohya(layers: Layers, names: Names) -> dict[str, Content]:
    """Layers that the original code holds in one are joined; alpha is the scale times the rank."""
    made: dict[str, LoraLayer] = {}
    for part, name in layers:
        module, _ = names.find(f"{part}.{name}")
        if module.kohya not in made:
            held = [layers.get((part, one)) for one in module.names]
            made[module.kohya] = joined(held, module) if len(held) > 1 else turned(layers[part, name], module)
    if names.layout.backbone.name == "unet":
        made = _with_one_alpha(made)
    found: dict[str, Content] = {}
    for stem, layer in made.items():
        found |= _matrices(layer, f"{stem}.lora_down.weight", f"{stem}.lora_up.weight")
        found[f"{stem}.alpha"] = ("F32", (), SCALAR.pack(layer.scale * layer.rank))
    return found


def _with_one_alpha(layers: Mapping[str, LoraLayer]) -> dict[str, LoraLayer]:
    """The same changes with the commonest alpha: Diffusers applies one to all layers of a UNet, whatever the file says."""
    usual = Counter(layer.scale * layer.rank for layer in layers.values()).most_common(1)[0][0]
    return {
        stem: layer if layer.scale * layer.rank == usual else scaled(layer, usual / layer.rank)
        for stem, layer in layers.items()
    }


def _as_peft(layers: Layers) -> dict[str, Content]:
    """The scale is multiplied into the upper matrices: loaders that know no alpha then apply the same."""
    found: dict[str, Content] = {}
    for (part, name), layer in layers.items():
        found |= _matrices(scaled(layer, 1), f"{part}.{name}.lora_A.weight", f"{part}.{name}.lora_B.weight")
    return found


def _matrices(layer: LoraLayer, down: str, up: str) -> dict[str, Content]:
    pairs = ((down, layer.down), (up, layer.up))
    return {key: (layer.dtype, tuple(values.shape), values.tobytes()) for key, values in pairs}


def _settings(layers: Layers) -> dict[str, object]:
    """peft's settings for each part, as Diffusers keeps them: every layer's alpha is its rank.

    peft compares the ends of names, so they fit text encoders of transformers before 5.6, which begin "text_model.", too.
    """
    found: dict[str, object] = {}
    for part in sorted({part for part, _ in layers}):
        ranks = {name.removeprefix("text_model."): held.rank for (owner, name), held in layers.items() if owner == part}
        usual = Counter(ranks.values()).most_common(1)[0][0]
        others = {name: rank for name, rank in ranks.items() if rank != usual}
        said = {"r": usual, "lora_alpha": usual, "rank_pattern": others, "alpha_pattern": others,
                "target_modules": sorted(ranks), "use_rslora": False}  # fmt: skip
        found |= {f"{part}.{setting}": value for setting, value in said.items()}
    return found


def _kohya_notes(content: Mapping[str, Content], layout: str) -> dict[str, str]:
    """What web UIs read of a LoRA before they load it."""
    ranks = {shape[0] for key, (_, shape, _) in content.items() if key.endswith(".lora_down.weight")}
    alphas = {SCALAR.unpack(values)[0] for key, (_, _, values) in content.items() if key.endswith(".alpha")}
    return {
        "ss_network_module": "networks.lora",
        "ss_base_model_version": _BASE_VERSIONS[layout],
        "ss_v2": str(layout == "sd2"),
        "ss_network_dim": str(ranks.pop()) if len(ranks) == 1 else "Dynamic",
        "ss_network_alpha": f"{alphas.pop():g}" if len(alphas) == 1 else "Dynamic",
    }
