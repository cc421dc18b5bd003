"""What is taught to a BLIP-2: its Q-Former's weights and, if wanted, a LoRA on its language model, as one small file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fsd.captioner.opening import Captioner
from fsd.errors import WeightsError
from fsd.runtime import report
from fsd.train.cache import weights_key

ADAPTER = "captioner/adapter.safetensors"
"""Where it lies in a checkpoint."""
_LORA_TARGETS = {"opt": ["q_proj", "v_proj"], "t5": ["q", "v"]}


class Queries(nn.Module):
    """BLIP-2's learned queries as a module, so that they are trained as other weights are."""

    def __init__(self, tokens: nn.Parameter) -> None:
        super().__init__()
        self.tokens = tokens


def learning_parts(captioner: Captioner, rank: int, seed: int) -> dict[str, nn.Module]:
    """The parts that learn, by label, in float32 and with gradients; everything else is frozen.

    rank: of a LoRA on the language model, which changes nothing yet and is drawn from the seed alone (0: none).
    """
    model = captioner.model
    model.requires_grad_(False)
    parts: dict[str, nn.Module] = {
        "qformer": model.qformer,
        "language_projection": model.language_projection,
        "queries": Queries(model.query_tokens),
    }
    for part in parts.values():
        part.float().requires_grad_(True)
    if rank:
        parts["language_model"] = _with_lora(model.language_model, rank, seed)
    return parts


def _with_lora(language_model: Any, rank: int, seed: int) -> nn.Module:
    from peft import LoraConfig

    targets = _LORA_TARGETS[language_model.config.model_type]
    torch.manual_seed(seed)
    language_model.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, init_lora_weights=True))
    for weight in language_model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    found: nn.Module = language_model
    return found


def write_adapter(weights: dict[str, Tensor], folder: Path, facts: dict[str, Any], half: bool) -> None:
    """Write the weights (by label and name) into a checkpoint's folder. half: in float16, which is enough to use them.

    facts: "base model", the fingerprint of the captioner that they belong to, and "rank".
    """
    path = folder / ADAPTER
    path.parent.mkdir()
    kept = {name: (weight.half() if half else weight).contiguous().cpu() for name, weight in weights.items()}
    save_file(kept, path, metadata={"fsd": json.dumps(facts, sort_keys=True)})


def read_facts(file: Path) -> dict[str, Any]:
    """What `write_adapter` noted; WeightsError when the file is none of its."""
    try:
        with safe_open(file, "pt") as opened:
            found: dict[str, Any] = json.loads((opened.metadata() or {})["fsd"])
    except (SafetensorError, OSError, KeyError, ValueError) as fault:
        raise WeightsError(f"{file} holds nothing that was taught to a captioner: {fault}", "teach it again") from None
    return found


def load_adapter(parts: dict[str, nn.Module], file: Path) -> None:
    """Take back what `write_adapter` wrote."""
    weights = {
        f"{label}.{name}": weight for label, part in parts.items() for name, weight in part.named_parameters()
        if weight.requires_grad
    }  # fmt: skip
    saved = load_file(file)
    if saved.keys() != weights.keys():
        odd = sorted(saved.keys() ^ weights.keys())[0]
        raise WeightsError(f"{file} does not fit this captioner: {odd}", "choose the captioner that it was taught to")
    for name, weight in weights.items():
        weight.data.copy_(saved[name])


def take_adapter(captioner: Captioner, checkpoint: Path, folder: Path) -> bool:
    """Have a captioner say what was taught to it, if it was to this one, whose folder is given; whether it was."""
    file = checkpoint / ADAPTER
    facts = read_facts(file)
    if facts["base model"] != captioner_key(folder):
        report.say(f"{checkpoint.name} was taught to another captioner: this one says what it came with")
        return False
    load_adapter(learning_parts(captioner, int(facts["rank"]), seed=0), file)
    captioner.model.language_projection.to(captioner.dtype)  # in which transformers hands it the Q-Former's vectors
    captioner.model.eval().requires_grad_(False)
    report.say(f"with what was taught to it: {checkpoint.name}")
    return True


def captioner_key(folder: Path) -> str:
    """What tells a captioner's weights from others."""
    return hashlib.sha256(json.dumps(weights_key(folder)).encode()).hexdigest()[:16]
