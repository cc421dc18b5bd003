"""What makes a control image of a photo: names as sd-webui-controlnet 1.1.455 shows them, and the weights they need.

Sizes and hashes: as several public projects pin them. The folders are those that the extension looks in.
"""

from __future__ import annotations

from dataclasses import dataclass

from fsd.families.family import RemoteFile, Source

_ROUNDED = 1_000_000


@dataclass(frozen=True)
class Weights:
    """One file and where it can be had. name: what it is called here. sources: in the order tried.

    size_bytes: whole millions where only the published size is known. sha256: "" where it is not known.
    """

    name: str
    size_bytes: int
    sha256: str
    sources: tuple[Source, ...]

    @property
    def source(self) -> Source:
        """The first of the sources."""
        return self.sources[0]


def places(size_bytes: int, sha256: str, same: str, others: str = "") -> tuple[Source, ...]:
    """Sources from lines of OWNER/NAME/FILE: the same file, to the byte where that is known, then other copies of it."""
    exact = size_bytes if size_bytes % _ROUNDED else None
    found = [_source(line, RemoteFile(_file(line), exact, sha256)) for line in same.split()]
    return (*found, *(_source(line, RemoteFile(_file(line))) for line in others.split()))


def _file(line: str) -> str:
    return line.split("/", 2)[2]


def _source(line: str, file: RemoteFile) -> Source:
    return Source(line.removesuffix(f"/{file.name}"), file=file)


@dataclass(frozen=True)
class Preprocessor:
    """A preprocessor. name: in the web UI's list. folder: below the extension's annotators, "" where weights has none."""

    name: str
    folder: str = ""
    weights: tuple[Weights, ...] = ()

    @property
    def size_bytes(self) -> int:
        """The bytes that its weights take."""
        return sum(weights.size_bytes for weights in self.weights)


def _annotator(name: str, size_bytes: int, sha256: str, *, old: bool = False, same: str = "") -> Weights:
    """A file of the collection that most come from; old: also of the first one."""
    first = same or f"lllyasviel/Annotators/{name}"
    copy = f" lllyasviel/ControlNet/annotator/ckpts/{name}" if old else ""
    return Weights(name, size_bytes, sha256, places(size_bytes, sha256, first + copy))


_HED = _annotator("ControlNetHED.pth", 29_444_406, "5ca93762ffd68a29fee1af9d495bf6aab80ae86f08905fb35472a083a4c7a8fa")
_PIDINET = _annotator(
    "table5_pidinet.pth", 3_000_000, "80860ac267258b5f27486e0ef152a211d0b08120f62aeb185a050acc30da486c"
)
_MIDAS = _annotator(
    "dpt_hybrid-midas-501f0c75.pt", 493_000_000, "501f0c75b3bca7daec6b3682c5054c09b366765aef6fa3a09d03a5cb4b230853",
    old=True,
)  # fmt: skip
_ZOE = _annotator("ZoeD_M12_N.pt", 1_443_406_099, "")
_BODY = _annotator(
    "body_pose_model.pth", 209_267_595, "25a948c16078b0f08e236bda51a385d855ef4c153598947c28c0d47ed94bb746", old=True
)
_HAND = _annotator(
    "hand_pose_model.pth", 147_341_049, "b76b00d1750901abd07b9f9d8c98cc3385b8fe834a26d4b4f0aad439e75fc600", old=True
)
_FACE = _annotator("facenet.pth", 153_718_792, "8beb52e548624ffcc4aed12af7aee7dcbfaeea420c75609fee999fe7add79d43")
_YOLOX = _annotator(
    "yolox_l.onnx", 216_746_733, "7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411",
    same="yzd-v/DWPose/yolox_l.onnx fashn-ai/DWPose/yolox_l.onnx",
)  # fmt: skip
_DWPOSE = _annotator(
    "dw-ll_ucoco_384.onnx", 134_399_116, "724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
    same="yzd-v/DWPose/dw-ll_ucoco_384.onnx fashn-ai/DWPose/dw-ll_ucoco_384.onnx",
)  # fmt: skip
_MLSD = _annotator(
    "mlsd_large_512_fp32.pth", 6_341_481, "5696f168eb2c30d4374bbfd45436f7415bb4d88da29bea97eea0101520fba082", old=True
)
_BAE = _annotator("scannet.pt", 291_000_000, "03dbf1600c51ee3d45c29f77b77bf1a3b7a24c3452dba62a4ae658f37330c209")
_SKETCH = _annotator("sk_model.pth", 17_173_511, "c686ced2a666b4850b4bb6ccf0748031c3eda9f822de73a34b8979970d90f0c6")
_COARSE = _annotator("sk_model2.pth", 17_173_511, "30a534781061f34e83bb9406b4335da4ff2616c95d22a585c1245aa8363e74e0")
_ANIME = _annotator("netG.pth", 217_631_959, "ccabdcc3f5cf3c07cf65d58776acb21df7dfda825cdc70c9766a93fd62bfc488")
_ADE20K = _annotator("250_16_swin_l_oneformer_ade20k_160k.pth", 906_000_000, "")
_UPERNET = _annotator(
    "upernet_global_small.pth", 206_000_000, "bebfa1264c10381e389d8065056baaadbdadee8ddc6e36770d1ec339dc84d970",
    old=True,
)  # fmt: skip

NONE = Preprocessor("none")
PREPROCESSORS = {
    "canny": (Preprocessor("canny"),),
    "depth": (Preprocessor("depth_midas", "midas", (_MIDAS,)), Preprocessor("depth_zoe", "zoedepth", (_ZOE,))),
    "openpose": (
        Preprocessor("openpose_full", "openpose", (_BODY, _HAND, _FACE)),
        Preprocessor("dw_openpose_full", "openpose", (_YOLOX, _DWPOSE)),
    ),
    "softedge": (Preprocessor("softedge_pidinet", "pidinet", (_PIDINET,)), Preprocessor("softedge_hed", "hed", (_HED,))),
    "scribble": (Preprocessor("scribble_pidinet", "pidinet", (_PIDINET,)), Preprocessor("scribble_xdog")),
    "lineart": (Preprocessor("lineart_standard"), Preprocessor("lineart_realistic", "lineart", (_SKETCH, _COARSE))),
    "lineart_anime": (Preprocessor("lineart_anime", "lineart_anime", (_ANIME,)),),
    "mlsd": (Preprocessor("mlsd", "mlsd", (_MLSD,)),),
    "normal": (Preprocessor("normal_bae", "normal_bae", (_BAE,)),),
    "seg": (
        Preprocessor("seg_ofade20k", "oneformer", (_ADE20K,)), Preprocessor("seg_ufade20k", "uniformer", (_UPERNET,)),
    ),
    "inpaint": (Preprocessor("inpaint_only"),),
    "tile": (Preprocessor("tile_resample"),),
    "blur": (Preprocessor("blur_gaussian"),),
    "shuffle": (Preprocessor("shuffle"),),
    "ip2p": (NONE,),
    "color": (Preprocessor("t2ia_color_grid"),),
    "recolor": (Preprocessor("recolor_luminance"),),
    "gray": (Preprocessor("recolor_luminance"),),
}  # fmt: skip
"""What makes the control image for a task: the web UI's own choice first, whose weights are fetched ahead.

The studio makes canny's itself and takes every other control image ready made ("none", "invert").
"""
