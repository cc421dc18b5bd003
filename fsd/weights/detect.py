"""What a model file or folder is, from its header or pickle index alone: nothing is executed, no network is run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fsd.errors import WeightsError
from fsd.weights.evidence import Evidence
from fsd.weights.networks import KINDS, NETWORKS, PARTS, SAID, UNKNOWN_NETWORK, Kind, Network
from fsd.weights.parts import read_part
from fsd.weights.prediction import predicted
from fsd.weights.weight_file import read_weights

BACKBONES = ("unet", "transformer")
_FOLDER_PARTS = (*BACKBONES, "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
_LORA_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
_NAMING_METADATA = ("modelspec.title", "modelspec.architecture", "ss_base_model_version", "ss_output_name")
_EMA = r"^(model_ema|first_stage_model\.model_ema)\."
_KOHYA = r"^lora_(unet|transformer|te\d?)_"
_SHOWN_KEYS = 5


@dataclass(frozen=True)
class Detected:
    """What a file or folder is, and what it was recognised by.

    kind: "model", "lora", "vae", "controlnet", "adapter", "text_encoder", "embedding" or "unknown". family: a name in
    FAMILIES, or "" where no record fits or several do. layout: "sd1", "sd2", "sdxl", "sd3", "flux" or "". form:
    "single-file", "diffusers", "kohya" or "peft". title: what it is in words. prediction: "epsilon", "v_prediction",
    "flow" or "". dtypes: as safetensors calls them, most bytes first. ema: whether it also holds averaged weights.
    parts: as a Diffusers folder calls them. signals: what was found; of an unknown file, what was looked for.
    """

    kind: str
    family: str = ""
    layout: str = ""
    form: str = ""
    title: str = ""
    prediction: str = ""
    inpainting: bool = False
    dtypes: tuple[str, ...] = ()
    ema: bool = False
    parts: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def detect(path: Path) -> Detected:
    """What the file or Diffusers folder at `path` is; kind "unknown" where nothing fits.

    Reads the header or the pickle index, and at most one small tensor. WeightsError naming the file when it is missing,
    damaged, or would run code.
    """
    evidence, parts = _gather(path)
    kind = next((kind for kind in KINDS if evidence.find(kind.pattern)), None)
    if kind is None:
        return Detected("unknown", dtypes=evidence.dtypes(), signals=_looked_for(evidence), metadata=evidence.metadata)
    network, clues = _network(evidence, kind)
    prediction, why = predicted(evidence, network.layout) if kind.name in ("model", "lora") else ("", "")
    return Detected(
        kind.name,
        _family(evidence, network, prediction),
        network.layout,
        _form(evidence, kind),
        f"{kind.article} ({network.title})",
        prediction,
        network.inpainting,
        evidence.dtypes(),
        evidence.find(_EMA) is not None,
        parts or _parts(evidence, kind, network.layout),
        (*clues, *([f"{prediction}: {why}"] if why else [])),
        evidence.metadata,
    )


def require_model(path: Path) -> Detected:
    """What the model at `path` is; WeightsError saying what else it is when it is none, or of no known layout."""
    found = detect(path)
    if found.kind == "unknown":
        raise WeightsError(f"{path} is of no kind that fsd knows: {'; '.join(found.signals)}", "give a model")
    if found.kind != "model":
        raise WeightsError(f"{path} is not a whole model but {found.title}", "give the model that it belongs to")
    if not found.layout:
        raise WeightsError(f"{path} is {found.title}, which fsd cannot use", "fsd families lists what it can")
    return found


def _gather(path: Path) -> tuple[Evidence, tuple[str, ...]]:
    """(what is known, the parts of a folder); a folder's backbone, or its only part, stands for the whole."""
    if not path.is_dir():
        return Evidence.of(path, *read_weights(path)), ()
    if files := [path / name for name in _LORA_FILES if (path / name).is_file()]:
        return Evidence.of(files[0], *read_weights(files[0])), ()
    parts = tuple(part for part in _FOLDER_PARTS if (path / part / "config.json").is_file())
    backbone = next((path / part for part in BACKBONES if part in parts), path)
    return Evidence.of(path, {tensor.key: tensor for tensor in read_part(backbone)}, {}), parts


def _network(evidence: Evidence, kind: Kind) -> tuple[Network, list[str]]:
    """The first record that fits, and the clues in words; for what fits none, the one that its metadata speaks of."""
    records = [network for network in NETWORKS if kind.name in network.kinds]
    for network in records:
        if (clues := evidence.matches(network.clues)) is not None:
            return network, clues
    for title, *starts in SAID if kind.name == "lora" else ():
        for key, start in zip(("ss_base_model_version", "modelspec.architecture"), starts, strict=True):
            if (said := evidence.metadata.get(key, "")).startswith(start):
                return next(network for network in records if network.title == title), [f"{key} {said} in the metadata"]
    return UNKNOWN_NETWORK, list(_looked_for(evidence))


def _family(evidence: Evidence, network: Network, prediction: str) -> str:
    said = [evidence.metadata.get(key, "") for key in _NAMING_METADATA]
    text = " ".join([prediction, evidence.path.name, *said]).lower()
    return next(
        (name for name, word in network.families if re.search(rf"(?<![a-z]){re.escape(word)}(?![a-z])", text)), ""
    )


def _form(evidence: Evidence, kind: Kind) -> str:
    if kind.name == "lora":
        return "kohya" if evidence.find(_KOHYA) else "peft"
    diffusers = r"^(down_blocks|transformer_blocks|single_transformer_blocks|(en|de)coder\.mid_block|text_model)\b"
    return "diffusers" if evidence.path.is_dir() or evidence.find(diffusers) else "single-file"


def _parts(evidence: Evidence, kind: Kind, layout: str) -> tuple[str, ...]:
    if kind.name == "model":
        return tuple(part for part, only, pattern in PARTS if only in ("", layout) and evidence.find(pattern))
    return (kind.name,) if kind.name == "vae" else ()


def _looked_for(evidence: Evidence) -> tuple[str, ...]:
    keys = list(evidence.tensors)
    shown = ", ".join(keys[:_SHOWN_KEYS]) + (" ..." if len(keys) > _SHOWN_KEYS else "")
    return (
        "looked for " + "; ".join(f"{kind.article} ({kind.looked_for})" for kind in KINDS),
        f"found {len(keys)} tensors: {shown}" if keys else "found no tensors",
    )
