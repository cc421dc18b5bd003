"""What a picture looks like before it is done: its latents through a linear map, which the model's own VAE gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from fsd.runtime import files

_SIDE_PX = 256
_PATCHES = 8


class Previewer:
    """Writes previews of one model's latents. Nothing is written where its VAE gives no useful map."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._map = _fit(pipeline)

    def write(self, latents: torch.Tensor, size: tuple[int, int], path: Path) -> bool:
        """Write the first picture of a batch as a small JPEG; whether it was. size: of the picture in pixels."""
        if self._map is None:
            return False
        if latents.ndim == 3:  # Flux keeps four latents in one
            latents = self._pipeline._unpack_latents(latents, size[1], size[0], self._pipeline.vae_scale_factor)
        plane = latents[0].float().cpu()
        plane = plane / max(1.0, float(plane.std()))  # still full of noise, which is larger than any picture
        pixels = torch.einsum("chw,cd->hwd", torch.cat([plane, torch.ones_like(plane[:1])]), self._map)
        image = Image.fromarray((pixels.nan_to_num().clamp(0, 1) * 255).to(torch.uint8).numpy())
        image.thumbnail((_SIDE_PX, _SIDE_PX))
        scale = max(1, round(min(size) / 2 / min(image.size)))
        with files.replacing(path) as temporary:
            image.resize((image.width * scale, image.height * scale)).save(temporary, format="JPEG", quality=80)
        return True


@torch.inference_mode()
def _fit(pipeline: Any) -> torch.Tensor | None:
    """The matrix [channels + 1, 3] that gives RGB (0 to 1) from latents, by least squares over coloured patches."""
    vae, factor = pipeline.vae, pipeline.vae_scale_factor
    if next(vae.parameters()).is_meta:
        return None
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((4, 3, _PATCHES, _PATCHES), generator=generator)
    pixels = torch.nn.functional.interpolate(coarse, scale_factor=2 * factor, mode="bilinear")
    kind, upcast = vae.dtype, vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False)
    vae.to(torch.float32) if upcast else None
    latents = vae.encode((pixels * 2 - 1).to(pipeline._execution_device, vae.dtype)).latent_dist.mode().float().cpu()
    vae.to(kind) if upcast else None
    latents = (latents - (vae.config.shift_factor or 0)) * vae.config.scaling_factor
    seen = torch.nn.functional.avg_pool2d(pixels, pixels.shape[-1] // latents.shape[-1])
    rows = latents.movedim(1, -1).flatten(0, 2)
    found = torch.linalg.lstsq(torch.cat([rows, torch.ones(len(rows), 1)], 1), seen.movedim(1, -1).flatten(0, 2))
    return found.solution if found.solution.isfinite().all() else None
