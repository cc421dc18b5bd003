"""What the lines of AUTOMATIC1111's and Forge's logs mean: how far it is, and what went wrong. Seen, or read in reports."""

from __future__ import annotations

from fsd.webui.logs import Fatal, Phase

_STARTING = (
    Phase(r"^Launching (Web UI|API server) with arguments", "starting Python and PyTorch"),
    Phase(r"^Calculating sha256 for (?P<name>.+):", "reading the model once for its checksum"),
    Phase(r"^Loading weights \[", "loading the model"),
)
_READY = (
    Phase(r"^Running on local URL", "the page is built"),
    Phase(r"^Model loaded in (?P<seconds>[\d.]+)s", "the model is loaded ({seconds} s)"),
    Phase(r"^Startup time: (?P<seconds>[\d.]+)s", "started ({seconds} s)"),
)
A1111_PHASES = (
    *_STARTING,
    Phase(r"^Creating model from config", "building the network"),
    Phase(r"^Applying attention optimization: (?P<kind>[\w-]+)", "attention: {kind}"),
    Phase(r"ControlNet v(?P<version>[\d.]+)", "ControlNet {version} is loaded"),
    *_READY,
)
FORGE_PHASES = (
    *_STARTING,
    Phase(r"^Loading Model: ", "building the network"),
    Phase(r"^ControlNet preprocessor location", "ControlNet is loaded"),
    *_READY,
)

_AGAIN = "run the installation again: it checks everything and repairs what is broken"
_SMALLER = "make smaller pictures or fewer at a time, or start it again with flags that save memory: --medvram"
_MODEL = "look at what the file is with fsd inspect, and convert or download it again"
_FATAL = (
    Fatal(r"No space left on device", "the disk is full", "delete old pictures or models and start it again"),
    Fatal(r"[Aa]ddress already in use", "its port is taken", "start it again: another port is chosen"),
    Fatal(r"Cannot find empty port in range", "its port is taken", "start it again: another port is chosen"),
    Fatal(r"(CUDA out of memory|OutOfMemoryError)", "the GPU's memory is full", _SMALLER),
    Fatal(
        r"Torch is not able to use GPU",
        "PyTorch cannot use a GPU here",
        "choose a runtime with a GPU, or start it for the CPU",
    ),
    Fatal(
        r"CUDA error: no kernel image is available",
        "this GPU is newer than its PyTorch knows",
        "choose another GPU (T4, L4, A100), or use the studio",
    ),
    Fatal(r"(RuntimeError: )?Couldn't (?P<what>(install|clone|checkout|fetch) .+)", "it could not {what}", _AGAIN),
    Fatal(r"No module named '?(?P<name>[\w.]+)", "its package {name} is not installed", _AGAIN),
    Fatal(r"numpy\.dtype size changed", "an extension replaced its NumPy by one that does not fit", _AGAIN),
    Fatal(
        r"Cannot add middleware after an application has started",
        "it was asked for something while it started, and broke",
        "start it again, and open its address only when it is said to be ready",
    ),
    Fatal(
        r"Can't load tokenizer for '?(?P<name>[\w./-]+)",
        "the tokenizer {name} could not be had from the hub",
        "check the network, and start it again",
    ),
    Fatal(
        r"(MetadataIncompleteBuffer|HeaderTooLarge|Error while deserializing header)",
        "the model file is broken",
        _MODEL,
    ),
    Fatal(
        r"Error verifying pickled file from (?P<path>.+?):?$",
        "the model file {path} holds more than weights, or is broken: it was not loaded",
        "convert it to .safetensors with fsd convert",
    ),
    Fatal(r"Failed to recognize model type", "it does not know this kind of model", _MODEL),
    Fatal(r"(No checkpoints found|You do not have any model)", "it found no model", "name a model when you start it"),
    Fatal(
        r"NansException",
        "the network computed no numbers",
        "start it with --no-half-vae, or with --no-half where that does not help",
    ),
    Fatal(r"Stable diffusion model failed to load", "the model could not be loaded", _MODEL),
)
A1111_FATAL = (
    *_FATAL,
    Fatal(r"Error loading script: controlnet\.py", "ControlNet did not load; the rest works", _AGAIN),
    Fatal(
        r"Error running process: .*controlnet\.py",
        "ControlNet failed, so the picture was made without it",
        "choose a ControlNet that fits the model: fsd controlnet list shows them",
    ),
    Fatal(
        r"Cannot recognize the ControlModel",
        "a ControlNet file was not recognised, so the picture was made without it",
        "add one with fsd controlnet add",
    ),
)
FORGE_FATAL = _FATAL
