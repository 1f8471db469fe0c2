"""What every target generator is: a function of images, of which nothing is trained."""

import torch
from torch import Tensor, nn

from mimselfsup.structures import TokenSubset


class BaseTarget(nn.Module):
    """What is to be predicted of every patch of the grid that is masked.

    A subclass sets ``out_channels``, the numbers that a decoder predicts of one patch, and answers images (B, 3, H, W),
    normalised, with (B, N, P) values or with (B, N) classes. It holds no trained parameter, draws no random number and
    adds nothing to a checkpoint.

    Args:
        patch_size: (h, w) pixels of one patch token; the algorithm fills it in from the backbone.
    """

    out_channels: int

    def __init__(self, patch_size: tuple[int, int]) -> None:
        super().__init__()
        self.patch_size = tuple(patch_size)
        self.register_buffer('mean', None, persistent=False)
        self.register_buffer('std', None, persistent=False)

    def bind(self, data_preprocessor: nn.Module) -> None:
        """Remembers how the images were normalised, for targets that are defined on pixels in 0..255."""
        if getattr(data_preprocessor, '_enable_normalize', False):
            self.mean, self.std = data_preprocessor.mean.clone(), data_preprocessor.std.clone()

    def raw_pixels(self, images: Tensor) -> Tensor:
        """Normalised images as pixels in 0..255."""
        return images if self.mean is None else images * self.std + self.mean

    def normalised(self, pixels: Tensor) -> Tensor:
        """The inverse of :meth:`raw_pixels`."""
        return pixels if self.mean is None else (pixels - self.mean) / self.std

    def fill_in(self, target: Tensor, predicted: Tensor, masked: TokenSubset) -> Tensor:
        """``target`` of all patches with the predictions (B, M, P) in the places of the masked ones."""
        if masked.valid is not None:
            predicted = torch.where(masked.valid.unsqueeze(-1), predicted, masked.gather(target))
        index = masked.index.unsqueeze(-1).expand_as(predicted)
        return target.scatter(1, index, predicted.to(target.dtype))

    def to_pixels(self, target: Tensor, images: Tensor) -> Tensor:
        """A target of every patch as a picture (B, 3, H, W), in the units and the size of ``images``."""
        raise ValueError(f'{type(self).__name__}: its targets cannot be shown as a picture')

    def statistics(self, target: Tensor) -> dict[str, Tensor]:
        """What a log should tell about the targets of a batch, beside the loss."""
        return {}
