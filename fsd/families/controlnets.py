"""The ControlNets that fsd knows, by family. A new one is a new row; sizes and hashes are as several projects pin them."""

from __future__ import annotations

from fsd.errors import RecipeError, meant
from fsd.families.controlnet import EVERYWHERE, STUDIO, ControlNet
from fsd.families.family import ModelFamily
from fsd.families.preprocessors import PREPROCESSORS, places

_SD15 = "comfyanonymous/ControlNet-v1-1_fp16_safetensors/control_{}_fp16.safetensors"
_SD15_ROWS = (
    ("canny", "v11p_sd15_canny", 722_601_100, "8932b66e15aae835b3490dbf989f56c253104cee08a88bf21283762f557c9f10"),
    ("depth", "v11f1p_sd15_depth", 722_601_100, "1c4a79aa52fb63f607cb9ff479ea5aa1923b6ceb21267bd14b69bd05d7b617be"),
    ("openpose", "v11p_sd15_openpose", 722_601_100, "4003c1da17b0e4ba444e02140e1c0d83bb24b79e4dcfd613c3a554d38f0f89c7"),
    ("softedge", "v11p_sd15_softedge", 722_601_100, "e78fea5b4599fec2ecd7e3f14b171feb290b88200c95d569ec0ff59a19bc3478"),
    ("lineart", "v11p_sd15_lineart", 722_601_100, "10559106d1bb8196298b7a81565ede9279295d2b2df15165b9dbe189994def56"),
    ("inpaint", "v11p_sd15_inpaint", 723_000_000, "677a4fe351edecd40cd0d7cc210a8686b59d4e55207317f12319ef746a7a5a89"),
    ("tile", "v11f1e_sd15_tile", 722_601_104, "2f31868eedb243a77932e3c63907a6ba0a2058b6d65b5c27b89ee1b7f618ea33"),
    ("scribble", "v11p_sd15_scribble", 723_000_000, ""),
    ("mlsd", "v11p_sd15_mlsd", 723_000_000, ""),
    ("normal", "v11p_sd15_normalbae", 723_000_000, ""),
    ("seg", "v11p_sd15_seg", 723_000_000, ""),
    ("lineart_anime", "v11p_sd15s2_lineart_anime", 723_000_000, ""),
    ("shuffle", "v11e_sd15_shuffle", 723_000_000, ""),
    ("ip2p", "v11e_sd15_ip2p", 723_000_000, ""),
)


def _sd15(task: str, stem: str, size_bytes: int, sha256: str) -> ControlNet:
    first = _SD15.format(stem)
    name = first.rpartition("/")[2]
    sources = places(size_bytes, sha256, first, f"ckpt/ControlNet-v1-1/{name}")
    return ControlNet(name, size_bytes, sha256, sources, "sd1", (task,))


_SD21_ROWS = (
    ("canny", "canny", ""), ("depth", "depth", ""), ("softedge", "hed", "softedge_hed"), ("scribble", "scribble", ""),
    ("openpose", "openposev2", ""), ("lineart", "lineart", ""), ("seg", "ade20k", ""), ("normal", "normalbae", ""),
    ("color", "color", ""), ("depth", "zoedepth", "depth_zoe"), ("openpose", "openpose", ""),
)  # fmt: skip


def _sd21(task: str, ending: str, made_by: str) -> ControlNet:
    name = f"control_v11p_sd21_{ending}.safetensors"
    sources = places(728_000_000, "", f"thibaud/controlnet-sd21/{name}")
    return ControlNet(
        name, 728_000_000, "", sources, "sd2", (task,), ("a1111", "forge", "comfyui", STUDIO), made_by=made_by
    )


_HUB = "diffusion_pytorch_model.safetensors"


def _one(
    family: str, task: str, name: str, size_bytes: int, sha256: str, same: str, others: str = "",
    web_uis: tuple[str, ...] = EVERYWHERE, made_by: str = "",
) -> ControlNet:  # fmt: skip
    sources = places(size_bytes, sha256, same, others)
    return ControlNet(name, size_bytes, sha256, sources, family, (task,), web_uis, made_by=made_by)


def _xinsir(task: str, sha256: str) -> ControlNet:
    """One of Xinsir's, all of one size; the hub calls each of them the same."""
    same = f"xinsir/controlnet-{task}-sdxl-1.0/{_HUB}"
    size_bytes = 2_502_139_104 if sha256 else 2_502_000_000
    return _one("sdxl", task, f"xinsir_{task}_sdxl.safetensors", size_bytes, sha256, same)


_SDXL_UNION = (
    *("canny", "depth", "openpose", "softedge", "scribble", "lineart", "lineart_anime", "mlsd"),
    *("normal", "seg", "tile", "inpaint"),
)
_PROMAX = "9fae2e50cb431bfcbe05822b59ec2228df545ef27f711dea8949e9f4ed9f7cdc"
_SDXL = (
    ControlNet(
        "xinsir_union_promax_sdxl.safetensors", 2_513_342_408, _PROMAX,
        places(
            2_513_342_408, _PROMAX, "xinsir/controlnet-union-sdxl-1.0/diffusion_pytorch_model_promax.safetensors",
            f"brad-twinkl/controlnet-union-sdxl-1.0-promax/{_HUB}",
        ),
        "sdxl", _SDXL_UNION, ("a1111", "comfyui", STUDIO),
    ),
    _xinsir("openpose", "b8524e557a7df60d081f5d4a0eb109967d107df217943bf88c2d99b9ebcc06c5"),
    _xinsir("scribble", "b3e4ac47bc814019d50dc842f579301440deb6d8f09ee1b91a30f527ace1b852"),
    _xinsir("tile", "9f23ba7be22bf8796c12565e00ea4b287acac982cdf384d368a8b18b6990e011"),
    _xinsir("canny", ""),
    _xinsir("depth", ""),
    _one(
        "sdxl", "lineart", "mistoline_sdxl_fp16.safetensors", 2_502_000_000, "",
        "TheMistoAI/MistoLine/mistoLine_fp16.safetensors",
    ),
    _one(
        "sdxl", "recolor", "sai_xl_recolor_256lora.safetensors", 774_000_000, "",
        "lllyasviel/sd_control_collection/sai_xl_recolor_256lora.safetensors",
        "stabilityai/control-lora/control-LoRAs-rank256/control-lora-recolor-rank256.safetensors",
        ("a1111", "forge", "forge-neo", "comfyui"),
    ),
)  # fmt: skip

_SD35_ROWS = (
    ("canny", "4bc5cf949f6501a4bd125c6c1190e8fba0f1471f5ce36e9ebd1114867abedd4c"),
    ("depth", "d6ded6aa4f60eda74ae48a8fdc1a9fa11b36f05488975916f1ecd4834fddffd0"),
    ("blur", "43d71c6f570d93e04a2d00711c530c74dcd7eef5d322efaab967c2d8296854dc"),
)


def _sd35(task: str, sha256: str) -> ControlNet:
    name = f"sd3.5_large_controlnet_{task}.safetensors"
    same = f"stabilityai/stable-diffusion-3.5-controlnets/{name} "
    same += f"Comfy-Org/stable-diffusion-3.5-controlnets_ComfyUI_repackaged/split_files/controlnet/{name}"
    return _one("sd35-large", task, name, 8_654_590_644, sha256, same, web_uis=("comfyui",))


def _sd35_diffusers(task: str) -> ControlNet:
    name = f"sd3.5_large_controlnet_{task}_diffusers.safetensors"
    same = f"stabilityai/stable-diffusion-3.5-large-controlnet-{task}/{_HUB}"
    return _one("sd35-large", task, name, 8_610_000_000, "", same, web_uis=(STUDIO,))


def _xlabs(task: str, word: str, made_by: str = "") -> ControlNet:
    name = f"flux-{word}-controlnet-v3.safetensors"
    same = f"XLabs-AI/flux-controlnet-collections/{name} XLabs-AI/flux-controlnet-{word}-v3/{name}"
    return _one("flux", task, name, 1_490_000_000, "", same, web_uis=("comfyui",), made_by=made_by)


_UNION_PRO = "9d03f63f36206bab2f36aed5cfedc8693c2881397534e9d5f9ae9a0a41362517"
_INSTANTX = "2cd23f9da9f2f24d75ded22c0c2596782312aa0b88e05076b4b8621a0b1fa9d1"
_FLUX = (
    ControlNet(
        "flux_union_pro_2.0.safetensors", 4_281_779_224, _UNION_PRO,
        places(4_281_779_224, _UNION_PRO, f"Shakker-Labs/FLUX.1-dev-ControlNet-Union-Pro-2.0/{_HUB}"),
        "flux", ("canny", "softedge", "depth", "openpose", "gray"), ("comfyui", STUDIO),
    ),
    *(_xlabs("canny", "canny"), _xlabs("depth", "depth"), _xlabs("softedge", "hed", "softedge_hed")),
    ControlNet(
        "flux_union_instantx.safetensors", 6_600_000_000, _INSTANTX,
        places(6_600_000_000, _INSTANTX, f"InstantX/FLUX.1-dev-Controlnet-Union/{_HUB}"),
        "flux", ("canny", "tile", "depth", "blur", "openpose", "gray"), ("comfyui", STUDIO),
    ),
)  # fmt: skip

CONTROLNETS = (
    *(_sd15(*row) for row in _SD15_ROWS),
    *(_sd21(*row) for row in _SD21_ROWS),
    *_SDXL,
    *(_sd35_diffusers(task) for task, _ in _SD35_ROWS),
    *(_sd35(*row) for row in _SD35_ROWS),
    *_FLUX,
)
"""Of several for one task the first is taken; a union of many tasks comes before the single ones."""

OTHER_WORDS = {
    "pose": "openpose", "hed": "softedge", "pidinet": "softedge", "segmentation": "seg", "ade20k": "seg",
    "normalbae": "normal", "normalmap": "normal", "lineart-anime": "lineart_anime", "anime": "lineart_anime",
    "straight": "mlsd", "pix2pix": "ip2p", "sketch": "scribble", "upscale": "tile",
    "segment": "seg", "repaint": "inpaint", "hardedge": "canny",
}  # fmt: skip
"""What tasks are also called."""


def find_controlnets(family: ModelFamily, task: str = "", web_ui: str = "") -> list[ControlNet]:
    """The ControlNets that fit a family; task, web_ui: only those for it, "" for any."""
    task = OTHER_WORDS.get(task, task)
    fits = [one for one in CONTROLNETS if one.family == family.controlnets]
    return [one for one in fits if task in ("", *one.tasks) and web_ui in ("", *one.web_uis)]


def choose_controlnet(family: ModelFamily, task: str, web_ui: str = "") -> ControlNet:
    """The ControlNet for a task; RecipeError with what is possible where there is none."""
    word = OTHER_WORDS.get(task, task)
    if word not in PREPROCESSORS:
        raise RecipeError(
            f"there is no ControlNet task {task!r}", meant(task, PREPROCESSORS) + _instead(family, web_ui)
        )
    if found := find_controlnets(family, word, web_ui):
        return found[0]
    where = f" that {web_ui} can use" if find_controlnets(family, word) else ""
    raise RecipeError(f"fsd knows no ControlNet for {word} of {family.title}{where}", _instead(family, web_ui))


def tasks(family: ModelFamily, web_ui: str = "") -> list[str]:
    """The tasks that the family has a ControlNet for."""
    return list(dict.fromkeys(task for one in find_controlnets(family, "", web_ui) for task in one.tasks))


def _instead(family: ModelFamily, web_ui: str) -> str:
    known = ", ".join(tasks(family, web_ui))
    own = "give a ControlNet of your own: a file or a link"
    return f"choose one of: {known}; or {own}" if known else own
