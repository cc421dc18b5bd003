"""Packaging. Base requirements are light; what a job needs is in the extras."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1] for line in (HERE / "fsd/__init__.py").read_text().splitlines() if "__version__" in line
)

PHOTOS = ["pillow>=11.3", "numpy>=1.26", "opencv-python-headless>=4.10", "pillow-heif>=0.18", "tokenizers>=0.20"]
TRAIN = [
    "torch>=2.6",
    "diffusers>=0.37",
    "transformers>=5.0",
    "accelerate>=1.10",
    "peft>=0.17",
    "safetensors>=0.5",
    "huggingface-hub>=1.0",
    "matplotlib>=3.8",
    "bitsandbytes>=0.45",
    *PHOTOS,
]
WEBUI = [*TRAIN, "aiohttp>=3.10", "gradio>=6.0", "pyngrok>=7.2", "uv>=0.10"]
DEMO = [*WEBUI, "fsd-tiny-base==1.0.0"]
TEST = [
    *DEMO,
    *(
        "pytest>=8",
        "pytest-xdist>=3.6",
        "prodigyopt>=1.0",
        "tensorboard>=2.16",
        "nbclient>=0.10",
        "ipykernel>=6.17",
        "ruff>=0.14",
        "mypy>=1.18",
        "scikit-image>=0.25",
        "scikit-learn>=1.6",
        "playwright>=1.50",
        "ipywidgets==7.7.1",  # what Colab has
        "jupyterlab-widgets<2",  # Voila's half of it
        "voila>=0.5",
    ),
]

setup(
    name="fsd",
    version=VERSION,
    description="Ten photos become your own Stable Diffusion model: DreamBooth on Colab, exact resume, one CKPT file.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["fsd", "fsd.*"]),
    package_data={
        "fsd.data": ["*.md", "models/*", "demo_photos/*"],
        "fsd.families.configs": ["*/*.json"],
        "fsd.runtime.packages": ["locks/*.txt"],
        "fsd.webui": ["guest/*.py", "locks/*"],
        "fsd.webui.tunnels": ["*.json"],
    },
    install_requires=["tqdm>=4.66"],
    extras_require={
        "train": TRAIN,
        "caption": TRAIN,
        "webui": WEBUI,
        "demo": DEMO,
        "test": TEST,
    },
    entry_points={"console_scripts": ["fsd=fsd.__main__:main"]},
)
