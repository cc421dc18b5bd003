"""What a model predicts, by signals in the order of their weight; none runs the network, one reads one small tensor."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import pstdev

from fsd.weights.evidence import Evidence
from fsd.weights.parts import read_json
from fsd.weights.tensors import DTYPE_BYTES, StoredTensor, damaged

Signal = tuple[str, str]
"""(prediction, why in words)."""
_SPELLINGS = {"v": "v_prediction", "v_prediction": "v_prediction", "v-prediction": "v_prediction",
              "epsilon": "epsilon", "eps": "epsilon", "flow": "flow"}  # fmt: skip
_ALWAYS = {"sd3": "flow", "flux": "flow"}
_USUAL = {"sd1": "epsilon", "sdxl": "epsilon"}
_MARKER = r"^(v_pred|edm_vpred\.sigma_max)$"
_NORM = r"(^|\.)(output_blocks\.11\.1|up_blocks\.3\.attentions\.2)\.transformer_blocks\.0\.norm1\.bias$"
_BORDER = 0.09
_NEAR = 0.01
_MAX_VALUES, _MAX_YAML_BYTES = 1 << 16, 1 << 20
_FORMATS = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i"}


def predicted(evidence: Evidence, layout: str) -> Signal:
    """(prediction, why) of a model of `layout`; ("", "") where nothing tells."""
    return next((found for ask in SIGNALS for found in ask(evidence, layout)), ("", ""))


def _architecture(evidence: Evidence, layout: str) -> Iterator[Signal]:
    if layout in _ALWAYS:
        yield _ALWAYS[layout], "all of its architecture do"


def _scheduler(evidence: Evidence, layout: str) -> Iterator[Signal]:
    """The folder's own setting."""
    path = evidence.path / "scheduler" / "scheduler_config.json"
    if path.is_file() and isinstance(said := read_json(path).get("prediction_type"), str) and said in _SPELLINGS:
        yield _SPELLINGS[said], f"prediction_type {said} in {path.name}"


def _metadata(evidence: Evidence, layout: str) -> Iterator[Signal]:
    """ModelSpec's field, then the names that it and kohya-ss give to SD 2 with v."""
    said = evidence.metadata.get("modelspec.prediction_type", "")
    if said in _SPELLINGS:
        yield _SPELLINGS[said], f"modelspec.prediction_type {said} in the metadata"
    for key, name, prediction in (
        ("modelspec.architecture", "stable-diffusion-v2-768-v", "v_prediction"),
        ("modelspec.architecture", "stable-diffusion-v2-512", "epsilon"),
        ("ss_base_model_version", "sd_v2_v", "v_prediction"),
        ("ss_base_model_version", "sd_v2", "epsilon"),
    ):
        if evidence.metadata.get(key, "").split("/")[0] == name:
            yield prediction, f"{key} {name} in the metadata"


def _markers(evidence: Evidence, layout: str) -> Iterator[Signal]:
    """Keys that stand in a file for nothing else."""
    if found := evidence.find(_MARKER):
        yield "v_prediction", f"the key {found.key}"


def _yaml(evidence: Evidence, layout: str) -> Iterator[Signal]:
    """The configuration that lies beside a file, as the web UI reads it."""
    path = evidence.path.with_suffix(".yaml")
    if evidence.path.is_file() and path.is_file() and path.stat().st_size <= _MAX_YAML_BYTES:
        text = path.read_text(errors="replace")
        match = re.search(r"^\s*\"?parameterization\"?:\s*[\"']?(v|eps)\b", text, re.MULTILINE)
        if match or "LatentDiffusion" in text:
            yield (_SPELLINGS[match[1]] if match else "epsilon"), f"{path.name} beside it"


def _norm(evidence: Evidence, layout: str) -> Iterator[Signal]:
    """SD 2's v models have a wider last norm than its epsilon models (found by ComfyUI; fine-tuning barely moves it)."""
    tensor = evidence.find(_NORM) if layout == "sd2" else None
    if tensor is not None and (values := read_values(tensor)):
        spread = pstdev(values)
        prediction = "v_prediction" if spread > _BORDER else "epsilon"
        close = "; so close to it that a trial picture should decide" if abs(spread - _BORDER) < _NEAR else ""
        side = "above" if spread > _BORDER else "not above"
        yield prediction, f"{tensor.key} spreads by {spread:.3f}, {side} {_BORDER}{close}"


def _steps(evidence: Evidence, layout: str) -> Iterator[Signal]:
    """SD 2's epsilon models were saved at step 875,000; the ones with v later."""
    steps = evidence.metadata.get("global_step", "") if layout == "sd2" else ""
    if steps:
        yield ("epsilon" if steps == "875000" else "v_prediction"), f"global_step {steps}"


def _usual(evidence: Evidence, layout: str) -> Iterator[Signal]:
    if layout in _USUAL:
        yield _USUAL[layout], "usual for its architecture, and nothing says otherwise"


SIGNALS: tuple[Callable[[Evidence, str], Iterator[Signal]], ...] = (
    _architecture, _scheduler, _metadata, _markers, _yaml, _norm, _steps, _usual,
)  # fmt: skip


def read_values(tensor: StoredTensor) -> list[float]:
    """The numbers of one small tensor; none where it is large or of a dtype that this does not read."""
    count = tensor.size_bytes // DTYPE_BYTES[tensor.dtype]
    if count > _MAX_VALUES or tensor.dtype not in (*_FORMATS, "BF16"):
        return []
    with Path(tensor.file).open("rb") as stream:
        stream.seek(tensor.offset)
        content = stream.read(tensor.size_bytes)
    if len(content) != tensor.size_bytes:
        raise damaged(tensor.file, f"it ends inside {tensor.key}")
    if tensor.dtype == "BF16":
        content = b"".join(b"\0\0" + content[at : at + 2] for at in range(0, len(content), 2))
    return list(struct.unpack(f"<{count}{_FORMATS.get(tensor.dtype, 'f')}", content))
