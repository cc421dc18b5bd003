"""Where a LoRA lies in a checkpoint of the stage that trains it."""

from __future__ import annotations

LORA_FILE = "lora/pytorch_lora_weights.safetensors"
"""In Diffusers' form, in fp32, with peft's settings in the header."""
