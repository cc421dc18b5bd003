"""The loss: mean squared error, with the class images weighed beside the photos."""

from __future__ import annotations

from torch import Tensor


def dreambooth_loss(predicted: Tensor, target: Tensor, weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """The scalar loss of a batch: photos' mean plus weighted class images' mean (Ruiz et al. 2022, equation 2).

    predicted, target: (B, C, H, W). weights: (B,) float32, each row's share: 1/photos, or prior weight/class images.
    mask: (B, 1, H, W) float32, how much each place counts; all alike without it.
    """
    error = (predicted.float() - target.float()).square()
    if mask is not None:
        error = error * mask
    return (error.mean(dim=(1, 2, 3)) * weights).sum()
