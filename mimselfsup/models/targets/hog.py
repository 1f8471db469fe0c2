"""Histograms of oriented gradients as what is to be predicted (MaskFeat)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mimselfsup.registry import MODELS

from .base import BaseTarget

SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))  # along x; its transpose is the one along y
EPSILON = 1e-12


@MODELS.register_module()
class HOGTarget(BaseTarget):
    """The histograms of the cells of each patch, each colour channel by itself.

    In float32, whatever the precision of the run; the border of the image is reflected.

        gx, gy = Sobel(image);  magnitude = |(gx, gy)|;  bin = floor(bins * atan2(gx, gy) / pi) mod bins

    Every pixel of a cell votes for its bin, with its magnitude; the ``bins`` numbers of a cell and channel are then
    divided by their norm. So a scale and a shift of a channel, and with them the normalisation of the images, change
    nothing; a cell without a gradient is all zeros. Neither interpolated votes nor overlapping blocks.

    The order inside a patch is channel, bin, row and column of the cell (fastest), that of mmpretrain's
    ``HOGGenerator``, which this equals where that one is defined, on grids of 14 x 14.

    Args:
        cell: side of a cell in pixels; it divides the patch size, of 16 px into 2 x 2 cells.
        bins: of unsigned orientation.
        gaussian_window: weigh the votes by a Gaussian of this side, in pixels, with half of it as the standard
            deviation, tiled from the corner of the image: 16 in mmpretrain; 0, none, in MaskFeat's own code.

    Source: MaskFeat, arXiv 2112.09133; facebookresearch/SlowFast, slowfast/models/operators.py.
    """

    def __init__(self, patch_size: tuple[int, int], cell: int = 8, bins: int = 9, gaussian_window: int = 0) -> None:
        super().__init__(patch_size)
        if cell < 1 or any(side % cell for side in self.patch_size):
            raise ValueError(
                f'HOGTarget: cell={cell} does not divide patches of {self.patch_size[0]} x {self.patch_size[1]} pixels'
            )
        if bins < 1:
            raise ValueError(f'HOGTarget: bins={bins}, must be at least 1')
        self.cell, self.bins = cell, bins
        self.cells = self.patch_size[0] // cell, self.patch_size[1] // cell  # of one patch
        self.out_channels = 3 * bins * self.cells[0] * self.cells[1]
        sobel = torch.tensor(SOBEL)
        kernels = torch.stack([sobel, sobel.T]).unsqueeze(1).repeat(3, 1, 1, 1)  # (3 channels * 2, 1, 3, 3)
        self.register_buffer('kernels', kernels, persistent=False)
        self.gaussian_window = gaussian_window
        if gaussian_window:
            offset = torch.arange(gaussian_window) - (gaussian_window - 1) / 2
            falloff = torch.exp(-0.5 * (offset / (gaussian_window // 2)) ** 2)
            window = falloff[:, None] * falloff
            self.register_buffer('window', window / window.sum(), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), normalised or not -> (B, N, 3 * bins * cells of a patch), values in [0, 1]."""
        histograms = self.histograms(images).flatten(1, 2)  # (B, 27, rows, columns) of cells
        rows, columns = self.cells
        cut = histograms.unflatten(3, (-1, columns)).unflatten(2, (-1, rows))  # (B, 27, h, rows, w, columns)
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def histograms(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, bins, H / cell, W / cell), each cell of norm 1 or 0."""
        height, width = images.shape[-2:]
        self._check_size(height, width)
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        with torch.autocast(images.device.type, enabled=False):
            padded = F.pad(images, (1, 1, 1, 1), mode='reflect')
            gradients = F.conv2d(padded, self.kernels.to(images.dtype), groups=3)
        gx, gy = gradients.unflatten(1, (3, 2)).unbind(2)
        magnitude = torch.hypot(gx, gy)
        if self.gaussian_window:
            side = self.gaussian_window
            magnitude *= self.window.to(images.dtype).repeat(height // side, width // side)
        # An angle of exactly pi lands in bin 9, which is bin 0, as -pi is.
        chosen = torch.atan2(gx, gy).div_(math.pi).mul_(self.bins).floor_().remainder_(self.bins).to(torch.uint8)

        # A bin at a time: a table of all votes would be ten times the image, and scattered ones add up in another order
        # in each run on a GPU.
        votes = []
        for number in range(self.bins):
            cast = (magnitude * (chosen == number)).unflatten(3, (-1, self.cell)).unflatten(2, (-1, self.cell))
            votes.append(cast.sum((3, 5)))
        return F.normalize(torch.stack(votes, dim=2), dim=2, eps=EPSILON)

    def to_pixels(self, target: Tensor, images: Tensor) -> Tensor:
        grid = images.shape[-2] // self.patch_size[0], images.shape[-1] // self.patch_size[1]
        glyphs = self.glyphs(target, grid).unsqueeze(1).expand(-1, 3, -1, -1)
        return self.normalised(255 * glyphs).to(images.dtype)

    def glyphs(self, target: Tensor, grid: tuple[int, int], side: int | None = None) -> Tensor:
        """(B, N, P) of a ``grid`` (h, w) drawn as (B, height, width) in [0, 1], ``side`` pixels a cell.

        In each cell one line per bin, along the edge and so across the gradient, as bright as its value in the
        histogram, the mean over the channels. Without ``side`` a cell has the size that it has in the image.
        """
        side = side or self.cell
        rows, columns = self.cells
        cut = target.float().unflatten(2, (3, self.bins, rows, columns)).mean(2).clamp(min=0)
        cut = cut.unflatten(1, tuple(grid))  # (B, h, w, bins, rows, columns)
        cells = cut.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)  # (B, bins, rows, columns) of cells
        lines = self._lines(side).to(cells)
        drawn = cells[..., None, None] * lines[:, None, None]  # (B, bins, rows, columns, side, side)
        # Where lines cross, the brightest shows; their sum would be white in the middle of every cell.
        return drawn.amax(1).transpose(2, 3).flatten(3, 4).flatten(1, 2).clamp(max=1)

    def _lines(self, side: int) -> Tensor:
        """(bins, side, side): the line of each bin, at the middle of its range of angles."""
        angle = (torch.arange(self.bins) + 0.5) * math.pi / self.bins
        offset = torch.arange(side) - (side - 1) / 2
        down, right = torch.meshgrid(offset, offset, indexing='ij')
        # The gradient points along (right, down) = (sin, cos) of the angle, see forward.
        sine, cosine = angle.sin().view(-1, 1, 1), angle.cos().view(-1, 1, 1)
        across = (sine * right + cosine * down).abs()
        along = (cosine * right - sine * down).abs()
        return (1.25 - across).clamp(0, 1) * (along < side / 2)

    def _check_size(self, height: int, width: int) -> None:
        tiles = dict(cell=(self.cell, self.cell), patch_size=self.patch_size)
        if self.gaussian_window:
            tiles['gaussian_window'] = (self.gaussian_window, self.gaussian_window)
        for name, (tall, wide) in tiles.items():
            if height % tall or width % wide:
                raise ValueError(
                    f'HOGTarget: images of {height} x {width}, sides must be multiples of {name}: {tall} x {wide}'
                )
