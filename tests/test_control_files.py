"""ControlNets as single files: their keys say how they are built, at full size and in every form that fsd reads."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from controlnets import CLASSES
from micro import diffusers, torch
from PIL import Image
from pipelines import MAKERS, make_flux
from safetensors.torch import save_file

from fsd.errors import RecipeError, WeightsError
from fsd.families import FAMILIES
from fsd.families.configs import family_config
from fsd.families.controlnets import CONTROLNETS
from fsd.generate.control_files import controlnet_settings, read_controlnet
from fsd.generate.controls import control_arguments
from fsd.generate.drawing import draw
from fsd.generate.opening import Opened, Shelf
from fsd.generate.pipelines import PIPELINES
from fsd.job import Control, Job
from fsd.weights.keys import entries, get_layout

FULL = [(name, kind) for name, one in FAMILIES.items() for kind in CLASSES if kind.split()[0] == one.controlnets]


def shapes(network: Any) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


@pytest.mark.parametrize(("family", "kind"), FULL, ids=[" ".join(one) for one in FULL])
def test_the_keys_of_a_file_give_the_network_that_wrote_it(family: str, kind: str) -> None:
    with torch.device("meta"):
        true = CLASSES[kind]()
        backbone = family_config(family, FAMILIES[family].backbone)
        settings = controlnet_settings(type(true), backbone, true.state_dict())
        found = type(true).from_config(settings)
    assert shapes(found) == shapes(true)
    for name in ("joint_attention_dim", "use_pos_embed", "force_zeros_for_pooled_projection", "guidance_embeds"):
        assert found.config.get(name) == true.config.get(name), name


def filled(network: Any) -> Any:
    """The network with noise where it has zeros, so that it is seen."""
    torch.manual_seed(1)
    for name, weight in network.named_parameters():
        if not weight.any() and "bias" not in name:
            weight.data.normal_(0, 0.5)
    return network


def pixels(model: Opened, *controls: Control) -> np.ndarray:
    job = Job("m", "a cup", steps=2, seed=3, width_px=64, height_px=64, controls=controls)
    (drawn,) = draw(model, job, lambda *step: None, lambda: False)
    return np.asarray(drawn.image).astype(int)


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one - other).max())


@pytest.fixture
def image(tmp_path: Path) -> str:
    plane = np.add.outer(np.arange(64), np.arange(64)) * 3 % 256
    Image.fromarray(plane.astype(np.uint8)).convert("RGB").save(tmp_path / "image.png")
    return str(tmp_path / "image.png")


def check_file(model: Opened, network: Any, weights: dict[str, torch.Tensor], image: str, folder: Path) -> None:
    """The file of these weights draws what the network's folder draws, which is not what the model draws alone."""
    network.save_pretrained(folder / "net")
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / "net.safetensors")
    steered = pixels(model, Control(str(folder / "net"), image))
    assert difference(steered, pixels(model)) > 3
    assert difference(steered, pixels(model, Control(str(folder / "net.safetensors"), image))) <= 1


def test_stability_ais_own_for_sd35_large(tmp_path: Path, image: str) -> None:
    """It has no embedding of the picture or the text of its own."""
    model = Shelf(tmp_path).get(str(MAKERS["sd3-large"](tmp_path / "model")))
    config = model.backbone.config
    network = diffusers.SD3ControlNetModel(
        sample_size=4, num_layers=2, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=None,
        caption_projection_dim=16, pooled_projection_dim=config.pooled_projection_dim, pos_embed_max_size=None,
        pos_embed_type=None, use_pos_embed=False, force_zeros_for_pooled_projection=False,
    )  # fmt: skip
    check_file(model, filled(network), network.state_dict(), image, tmp_path)


def test_one_of_flux_dev_helps_schnell_which_knows_no_guidance(tmp_path: Path, image: str) -> None:
    model = Shelf(tmp_path).get(str(make_flux(tmp_path / "model", guidance=False)))
    network = diffusers.FluxControlNetModel(
        in_channels=64, num_layers=1, num_single_layers=0, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=24, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    check_file(model, filled(network), network.state_dict(), image, tmp_path)


def test_the_original_form_of_which_most_files_are(tmp_path: Path, image: str) -> None:
    model = Shelf(tmp_path).get(str(MAKERS["sd1"](tmp_path / "model")))
    network = filled(diffusers.ControlNetModel.from_unet(model.backbone, load_weights_from_unet=False))
    check_file(model, network, original(network, dict(model.backbone.config)), image, tmp_path)


def original(network: Any, unet: dict[str, Any]) -> dict[str, torch.Tensor]:
    """A ControlNet's tensors as its authors call them: a UNet's encoder, and what is put in and taken out."""
    names = {entry.pieces[0].name: entry.key for entry in entries(get_layout("sd1"), {"unet": unet})}
    hints = {f"blocks.{number}": 2 + 2 * number for number in range(6)} | {"conv_in": 0, "conv_out": 14}
    found = {}
    for name, weight in network.state_dict().items():
        layer, _, kind = name.rpartition(".")
        first, _, rest = layer.partition(".")
        own = {
            "controlnet_down_blocks": lambda rest: f"zero_convs.{rest}.0",
            "controlnet_mid_block": lambda rest: "middle_block_out.0",
            "controlnet_cond_embedding": lambda rest: f"input_hint_block.{hints[rest]}",
        }.get(first)
        key = f"{own(rest)}.{kind}" if own else names[name].removeprefix("model.diffusion_model.")
        found[f"control_model.{key}"] = weight
    return found


def test_a_file_that_lacks_something_is_refused_with_its_name(tmp_path: Path) -> None:
    with torch.device("meta"):
        shape = shapes(diffusers.FluxControlNetModel(num_layers=1, num_single_layers=0, attention_head_dim=8,
                                                     num_attention_heads=1, axes_dims_rope=(2, 2, 4)))  # fmt: skip
    weights = {key: torch.zeros(value) for key, value in shape.items() if key != "x_embedder.weight"}
    save_file(weights, tmp_path / "net.safetensors")
    config = {"in_channels": 64, "attention_head_dim": 8, "num_attention_heads": 1, "pooled_projection_dim": 768}
    with pytest.raises(ValueError, match=r"has no x_embedder\.weight, nor 0 others"):
        read_controlnet(tmp_path / "net.safetensors", "flux", {**config, "axes_dims_rope": (2, 2, 4)})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text('{"_class_name": "SparseControlNetModel"}')
    with pytest.raises(WeightsError, match="is a SparseControlNetModel"):
        read_controlnet(tmp_path / "folder", "sd1", {})


def mode_of(layout: str, config: dict[str, Any], mode: str, preprocessor: str = "none") -> Any:
    """The number that a union ControlNet is told."""
    network = SimpleNamespace(config=config)
    model = SimpleNamespace(family=SimpleNamespace(layout=layout))
    kind = getattr(diffusers, PIPELINES[layout].controlled["txt2img"])
    pipeline = kind.__new__(kind)
    object.__setattr__(pipeline, "controlnet", network)
    control: Any = Control("union", "i.png", mode=mode, preprocessor=preprocessor)  # type: ignore[arg-type]
    return control_arguments(model, pipeline, (control,), [None])["control_mode"]  # type: ignore[arg-type]


def test_every_task_of_a_union_in_the_table_is_taken_and_other_words_too() -> None:
    for one in CONTROLNETS:
        if "union" in one.name and len(one.tasks) > 1:
            layout = next(family.layout for family in FAMILIES.values() if family.controlnets == one.family)
            for task in one.tasks:
                if task in {name for mode in PIPELINES[layout].modes for name in mode}:
                    continue
                assert (one.name, task) == ("flux_union_pro_2.0.safetensors", "softedge"), "it is not told its mode"
    xl = {"num_control_type": 8}
    told = {"openpose": 0, "hed": 2, "canny": 3, "hardedge": 3, "mlsd": 3, "segment": 5, "repaint": 7}
    assert {mode: mode_of("sdxl", xl, mode) for mode in told} == told
    assert mode_of("sdxl", xl, "", "canny") == 3 and mode_of("flux", {"num_mode": 10}, "gray") == 5
    for config, mode in ((xl, ""), (xl, "nonsense"), ({"num_control_type": 6}, "inpaint")):
        with pytest.raises(RecipeError, match="reads many kinds of picture") as caught:
            mode_of("sdxl", config, mode)
        assert "lineart" in caught.value.hint
