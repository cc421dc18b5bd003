"""What models look like from outside, as ordered tables: the first record whose clues all fit is what a file is.

Key names: the code bases that the files come from (CompVis, Stability AI, Black Forest Labs, Diffusers, kohya-ss).
"""

from __future__ import annotations

from dataclasses import dataclass

from fsd.weights.evidence import Clue


@dataclass(frozen=True)
class Kind:
    """What a file holds. article: how a sentence names it. looked_for: the keys of `pattern`, in words."""

    name: str
    article: str
    pattern: str
    looked_for: str


_LORA = r"[._]lora[._]?(down|up|mid|A|B|linear_layer)\b|\.(hada_w1_[ab]|lokr_w1|oft_blocks)\b|_lora\.(down|up)\."
_CONTROL = (
    r"(^|\.)(input_hint_block|controlnet_cond_embedding|controlnet_blocks|controlnet_x_embedder|pos_embed_input|"
    r"controlnet_down_blocks|control_add_embedding|lora_controlnet)\b"
)
_INSIDE = r"^(model\.diffusion_model\.|diffusion_model\.|unet\.|transformer\.)?"
_UNET = _INSIDE + r"(input_blocks\.0\.0|conv_in)\.weight$"
_TRANSFORMER = _INSIDE + r"(joint_|double_|single_|transformer_)?blocks\.\d+\."

KINDS = (
    Kind("controlnet", "a ControlNet", _CONTROL, "input_hint_block, controlnet_cond_embedding, controlnet_blocks"),
    Kind("lora", "a LoRA", _LORA, "lora_down and lora_up, lora_A and lora_B"),
    Kind("adapter", "a T2I or IP adapter", r"^(adapter\.)?body\.0\.|^ip_adapter\.|^image_proj\.", "body.0, ip_adapter"),
    Kind("model", "a model", f"{_UNET}|{_TRANSFORMER}", "input_blocks, conv_in, joint_blocks, double_blocks"),
    Kind("vae", "a VAE", r"^(first_stage_model\.|vae\.)?decoder\.conv_in\.weight$", "decoder.conv_in"),
    Kind(
        "text_encoder",
        "a text encoder",
        r"(^|\.)(encoder\.layers\.0\.self_attn\.|encoder\.block\.0\.layer\.0\.|transformer\.resblocks\.0\.)",
        "encoder.layers, encoder.block, transformer.resblocks",
    ),
    Kind("embedding", "an embedding", r"^(emb_params|string_to_param\..*|clip_[gl]|<.*>)$", "emb_params, clip_g"),
)
"""A ControlNet comes first because some hold LoRA keys, and a whole model before the parts that it holds."""


@dataclass(frozen=True)
class Network:
    """One architecture. families: (a name in FAMILIES, a word), the first whose word is in the file's prediction,
    title or name (or is empty); none where no record fits. kinds: of files that this record can be about."""

    title: str
    layout: str
    clues: tuple[Clue, ...]
    families: tuple[tuple[str, str], ...] = ()
    kinds: tuple[str, ...] = ("model", "lora", "controlnet")
    inpainting: bool = False


def _context(width: int) -> Clue:
    """The width of the text that a UNet's cross-attention reads, from its weight or its LoRA's lower half."""
    return Clue(r"attn2[._]\S*to_k(?!\S*(?:up|lora_B))\S*(weight|down)$", 1, width)


def _inputs(count: int) -> Clue:
    return Clue(r"(^|model\.|unet\.)(input_blocks\.0\.0|conv_in)\.weight$", 1, count)


def _joint(width: int) -> Clue:
    """The width of SD 3's blocks, under either name, from a weight or its LoRA's lower half."""
    names = r"joint_blocks[._]\d+[._](x|context)_block[._](attn[._]qkv|mlp[._]fc1)"
    diffusers = r"(^|\.)transformer_blocks\.\d+\.(attn\.(to_|add_)[qkv](_proj)?|ff(_context)?\.net\.0\.proj)"
    return Clue(rf"({names}|{diffusers})\S*?(?<!lora_up)(?<!lora_B)(?<!lora\.up)\.weight$", 1, width)


def _control_blocks(width: int) -> Clue:
    """The width of the layers by which a ControlNet of a transformer adds to it, the transformer's own."""
    return Clue(r"(^|\.)controlnet_blocks\.\d+\.weight$", 1, width)


_FLUX = Clue(r"(double_blocks|single_blocks|single_transformer_blocks)[._]\d+[._]")
_SD3 = Clue(r"joint_blocks[._]\d+[._]|(^|\.)pos_embed(_input)?\.proj\.weight$")
_GUIDANCE = Clue(r"(guidance_in|guidance_embedder)[._]")
_ADDED = Clue(r"(label_emb|add_embedding)[._]")
_FIRST_OF_32 = Clue(r"(?<!embedding\.)conv_in\.weight$|input_blocks\.0\.0\.weight$", 0, 32)
_TEN_LAYERS = Clue(r"blocks\.\S*transformer_blocks\.9\.")
_DUAL = Clue(r"joint_blocks[._]\d+[._]x_block[._]attn2[._]|(^|\.)transformer_blocks\.\d+\.attn2\.(to_q|norm_q)\b")
_CLIP_G = Clue(r"lora_te2_text_model_|^text_encoder_2\.(text_model\.)?encoder\.layers\.|^clip_g$")
_T5 = Clue(r"lora_te\d?_encoder_block_|^text_encoder_[23]\.encoder\.block\.|^t5xxl$")
_MODEL, _CONTROLNET, _REST = ("model",), ("controlnet",), ("lora", "embedding")
_SD2 = (("sd21", "v_prediction"), ("sd21-base", "epsilon"))
_FLUX_NAMED = (("flux-schnell", "schnell"), ("flux-dev", "dev"))


def _image_width(width: int) -> Clue:
    return Clue(r"(img_in|(?<!controlnet_)x_embedder)\.weight$", 1, width)


def _text_width(width: int) -> Clue:
    """The width of a LoRA's first text encoder, or of an embedding's vectors."""
    lora = r"^(lora_te1?_|text_encoder\.)\S*self_attn\S*(down|lora_A)\.weight$"
    return Clue(rf"{lora}|^emb_params$|^string_to_param\.|^<.*>$", -1, width)


NETWORKS = (
    Network("Chroma", "", (Clue(r"distilled_guidance_layer"),)),
    Network("Playground 2.5", "", (Clue(r"^edm_mean$"),)),
    Network("FLUX.2", "", (Clue(r"double_stream_modulation"),)),
    Network("HunyuanVideo", "", (Clue(r"individual_token_refiner"),)),
    Network("FLUX.1 Fill", "flux", (_FLUX, _image_width(384)), kinds=_MODEL, inpainting=True),
    Network("FLUX.1 Depth or Canny", "flux", (_FLUX, _image_width(128)), kinds=_MODEL),
    Network("FLUX.1 dev", "flux", (_FLUX, _GUIDANCE), (("flux-dev", ""),), _MODEL),
    Network("FLUX.1 schnell", "flux", (_FLUX,), (("flux-schnell", ""),), _MODEL),
    Network("Qwen-Image", "", (Clue(r"transformer_blocks\.\d+\.img_mlp\."),), kinds=_CONTROLNET),
    Network("FLUX.1", "flux", (_FLUX,), (("flux-dev", ""),), _CONTROLNET),
    Network("FLUX.1", "flux", (Clue(r"controlnet_x_embedder"),), (("flux-dev", ""),), _CONTROLNET),
    Network("FLUX.1", "flux", (_FLUX,), _FLUX_NAMED),
    Network("Stable Diffusion 3.5 Large", "sd3", (_control_blocks(2432),), (("sd35-large", ""),), _CONTROLNET),
    Network(
        "Stable Diffusion 3.5 Large", "sd3", (_joint(2432),), (("sd35-large-turbo", "turbo"), ("sd35-large", "")),
    ),
    Network("Stable Diffusion 3.5 Medium", "sd3", (_joint(1536), _DUAL), (("sd35-medium", ""),)),
    Network("Stable Diffusion 3 Medium", "sd3", (_SD3, _joint(1536)), kinds=("model", "controlnet")),
    Network("Stable Diffusion 3 or 3.5 Medium", "sd3", (_joint(1536),), (("sd35-medium", "3.5"),), ("lora",)),
    Network("FLUX.1", "flux", (_joint(3072),), _FLUX_NAMED),
    Network("Stable Diffusion 3 of another size", "sd3", (_SD3,)),
    Network("Kolors", "", (_ADDED, Clue(r"encoder_hid_proj\.weight$")), kinds=_CONTROLNET),
    Network("SDXL refiner", "sdxl", (_ADDED, _context(1280)), kinds=_MODEL),
    Network("SDXL inpainting", "sdxl", (_ADDED, _context(2048), _inputs(9)), kinds=_MODEL, inpainting=True),
    Network("SDXL pix2pix", "sdxl", (_ADDED, _context(2048), _inputs(8)), kinds=_MODEL),
    Network("SDXL", "sdxl", (_ADDED, _context(2048), _TEN_LAYERS), (("sdxl", ""),), _MODEL),
    Network("a smaller SDXL (SSD-1B, Vega)", "sdxl", (_ADDED, _context(2048)), kinds=_MODEL),
    Network("SDXL", "sdxl", (_context(2048),), (("sdxl", ""),)),
    Network("SDXL", "sdxl", (_ADDED,), (("sdxl", ""),), _CONTROLNET),
    Network("Stable Diffusion 2.1 unCLIP", "", (_ADDED, _context(1024)), kinds=_MODEL),
    Network("Stable Diffusion x4 upscaler", "", (_context(1024), _inputs(7)), kinds=_MODEL),
    Network("Stable Diffusion 2 inpainting", "sd2", (_context(1024), _inputs(9)), kinds=_MODEL, inpainting=True),
    Network("Stable Diffusion 2 depth", "sd2", (_context(1024), _inputs(5)), kinds=_MODEL),
    Network("Stable Diffusion 2", "sd2", (_context(1024),), (("sd21", ""),), _CONTROLNET),
    Network("Stable Diffusion 2", "sd2", (_context(1024),), _SD2),
    Network("Stable Diffusion 1 inpainting", "sd1", (_context(768), _inputs(9)), (("sd15-inpainting", ""),), _MODEL,
            inpainting=True),
    Network("InstructPix2Pix (Stable Diffusion 1)", "sd1", (_context(768), _inputs(8)), kinds=_MODEL),
    Network("Stable Diffusion 1", "sd1", (_context(768),), (("sd15", ""),)),
    Network("the fsd tiny base", "sd1", (_context(64), _FIRST_OF_32),
            (("tiny", ""),), ("model", "controlnet")),
    Network("SDXL of another size", "sdxl", (_ADDED,)),
    Network("Stable Diffusion 2 of another size", "sd2", (Clue(r"\.proj_in\.weight$", axes=2),)),
    Network("Stable Diffusion 1 of another size", "sd1", (Clue(r"\.proj_in\.weight$", axes=4),)),
    Network("Stable Diffusion 3", "sd3", (_CLIP_G, _T5), kinds=_REST),
    Network("FLUX.1", "flux", (_T5,), kinds=_REST),
    Network("SDXL", "sdxl", (_CLIP_G,), (("sdxl", ""),), _REST),
    Network("Stable Diffusion 2", "sd2", (_text_width(1024),), _SD2, _REST),
    Network("Stable Diffusion 1", "sd1", (_text_width(768),), (("sd15", ""),), _REST),
    Network("CLIP-L", "", (Clue(r"token_embedding\.weight$", 1, 768),), kinds=("text_encoder",)),
    Network("OpenCLIP-H", "", (Clue(r"token_embedding\.weight$", 1, 1024),), kinds=("text_encoder",)),
    Network("OpenCLIP-bigG", "", (Clue(r"token_embedding\.weight$", 1, 1280),), kinds=("text_encoder",)),
    Network("T5-XXL", "", (Clue(r"(shared|embed_tokens)\.weight$", 1, 4096),), kinds=("text_encoder",)),
    Network("Stable Diffusion 1, 2 or SDXL", "", (Clue(r"decoder\.conv_in\.weight$", 1, 4),), kinds=("vae",)),
    Network("Stable Diffusion 3 or FLUX.1", "", (Clue(r"decoder\.conv_in\.weight$", 1, 16),), kinds=("vae",)),
)  # fmt: skip

SAID = (
    ("Stable Diffusion 1", "sd_v1", "stable-diffusion-v1"),
    ("Stable Diffusion 2", "sd_v2", "stable-diffusion-v2"),
    ("SDXL", "sdxl", "stable-diffusion-xl"),
    ("Stable Diffusion 3", "sd3", "stable-diffusion-3"),
    ("FLUX.1", "flux", "flux-1"),
)
"""(a record's title, how kohya's ss_base_model_version and ModelSpec's architecture begin): for what tells by no layer."""

UNKNOWN_NETWORK = Network("of no architecture that fsd knows", "", ())

PARTS = (
    ("unet", "", _UNET),
    ("transformer", "", _TRANSFORMER),
    ("vae", "", r"^(first_stage_model|vae)\."),
    ("text_encoder", "", r"^(cond_stage_model\.|conditioner\.embedders\.0\.|text_encoders\.clip_l\.)"),
    ("text_encoder_2", "", r"^(conditioner\.embedders\.1\.|text_encoders\.clip_g\.)"),
    ("text_encoder_2", "flux", r"^text_encoders\.t5xxl\."),
    ("text_encoder_3", "sd3", r"^text_encoders\.t5xxl\."),
)
"""(part as a Diffusers folder calls it, the only layout where that is so, keys in a single file)."""
