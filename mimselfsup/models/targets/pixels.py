"""Pixels as what is to be predicted (MAE, SimMIM)."""

import torch
from torch import Tensor

from mimselfsup.registry import MODELS

from .base import BaseTarget


def patchify(images: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, N, p * p * C); inside a patch the order is row, column, channel (fastest)."""
    batch, channels, height, width = images.shape
    patch_h, patch_w = patch_size
    cut = images.view(batch, channels, height // patch_h, patch_h, width // patch_w, patch_w)
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatchify(patches: Tensor, grid: tuple[int, int], patch_size: tuple[int, int]) -> Tensor:
    """The inverse of :func:`patchify`: (B, N, p * p * C) of a grid (h, w) -> (B, C, H, W)."""
    batch, _, length = patches.shape
    patch_h, patch_w = patch_size
    cut = patches.view(batch, *grid, patch_h, patch_w, length // (patch_h * patch_w))
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, grid[0] * patch_h, grid[1] * patch_w)


@MODELS.register_module()
class PixelTarget(BaseTarget):
    """The normalised pixels of each patch.

    Args:
        patch_size: (h, w) pixels of one patch token; the algorithm fills it in from the backbone.
        normalize: standardise each patch with its own mean and variance (MAE's ``norm_pix_loss``); variance with
            divisor n - 1 and 1e-6 inside the root, as in MAE's released code.
    """

    def __init__(self, patch_size: tuple[int, int], normalize: bool = False) -> None:
        super().__init__(patch_size)
        self.normalize = normalize
        self.out_channels = 3 * self.patch_size[0] * self.patch_size[1]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, p * p * 3)."""
        patches = patchify(images, self.patch_size)
        if self.normalize:
            mean, std = self._statistics(patches)
            patches = (patches - mean) / std
        return patches

    def to_pixels(self, predicted: Tensor, images: Tensor) -> Tensor:
        """Predictions for every patch (B, N, p * p * 3) as an image (B, 3, H, W) in the units of ``images``.

        A standardised patch gets back the mean and variance of the true one, which the model was never asked
        for: the usual way to show such reconstructions.
        """
        if self.normalize:
            mean, std = self._statistics(patchify(images, self.patch_size))
            predicted = predicted * std + mean
        grid = images.shape[-2] // self.patch_size[0], images.shape[-1] // self.patch_size[1]
        return unpatchify(predicted, grid, self.patch_size)

    @staticmethod
    def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        return mean, (variance + 1e-6).sqrt()
