"""A small tokenizer to be trained on one's own images: a convolutional auto-encoder with a codebook in the middle."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, broadcast
from mmengine.model import BaseModule
from torch import Tensor, nn

from mimselfsup.registry import MODELS


class Codebook(nn.Module):
    """``num_codes`` unit vectors, each of which follows the mean of what is mapped to it.

    A code that hardly any token is mapped to would never move again; :meth:`update` puts it where a token is. So does
    the first update with all codes, which start at random.

    Args:
        decay: share of a vector that one update keeps.
        revive_below: a code is moved once its share of the tokens, averaged over some 1 / (1 - decay) updates, is below
            this part of an even share; 0 leaves every code where it is.
    """

    def __init__(self, num_codes: int, dims: int, decay: float = 0.99, revive_below: float = 0.1) -> None:
        super().__init__()
        self.decay = decay
        self.revive_below = revive_below
        self.register_buffer('vectors', F.normalize(torch.randn(num_codes, dims), dim=1))
        self.register_buffer('usage', torch.zeros(num_codes))  # share of the tokens, averaged over updates

    def nearest(self, queries: Tensor) -> Tensor:
        """Unit vectors (..., D) -> int64 (...)."""
        return (queries @ self.vectors.T).argmax(-1)

    @torch.no_grad()
    def update(self, queries: Tensor, codes: Tensor) -> None:
        """Moves the vectors after the ``queries`` (T, D), unit vectors, of ``codes`` (T,); those of all processes."""
        counts = torch.zeros_like(self.usage).index_add_(0, codes, torch.ones_like(queries[:, 0]))
        sums = torch.zeros_like(self.vectors).index_add_(0, codes, queries)
        all_reduce(counts)
        all_reduce(sums)
        moved = F.normalize(torch.lerp(F.normalize(sums, dim=1), self.vectors, self.decay), dim=1)
        self.vectors.copy_(torch.where(counts.unsqueeze(1) > 0, moved, self.vectors))
        self.usage.lerp_(counts / counts.sum(), 1 - self.decay)

        even = 1 / len(self.usage)
        dead = self.usage < self.revive_below * even
        drawn = queries[torch.randint(len(queries), (len(dead),), device=queries.device)]
        broadcast(drawn)
        self.vectors.copy_(torch.where(dead.unsqueeze(1), drawn, self.vectors))
        self.usage.masked_fill_(dead, even)


@MODELS.register_module()
class VQTokenizer(BaseModule):
    """Images to codes and back.

    Trained by ``VectorQuantizedAutoencoder``. There is no normalisation over the image inside, so a code depends on its
    patch and the patches next to it alone.

    Args:
        num_codes: size of the vocabulary.
        strides: by which the encoder shrinks the image, step by step; a code stands for their product in pixels, which
            is to be the patch size of the ViT: (3, 2) for 6, (4, 2, 2) for 16.
        width: channels.
        depth: residual blocks at each size.
        code_dims: length of a code's vector; few keep the codes in use.
        decay, revive_below: of the :class:`Codebook`.
    """

    origin = 'tools/train.py makes one from images, with configs/beit/vq-tokenizer_conv-toy-p6_1xb64-coslr-30e_toy.py'

    def __init__(
        self,
        num_codes: int = 512,
        strides: Sequence[int] = (4, 2, 2),
        width: int = 64,
        depth: int = 1,
        code_dims: int = 16,
        decay: float = 0.99,
        revive_below: float = 0.1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_codes = num_codes
        self.stride = (math.prod(strides),) * 2
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = [nn.Conv2d(code_dims, width, 1)]
        channels = 3
        for stride in strides:
            encoder += [nn.Conv2d(channels, width, stride, stride), *(_Residual(width) for _ in range(depth))]
            channels = width
        widths = [width] * (len(strides) - 1) + [width // 2]  # few where the image has its full size
        for stride, channels in zip(reversed(strides), widths, strict=True):
            decoder += [*(_Residual(width) for _ in range(depth)), nn.ConvTranspose2d(width, channels, stride, stride)]
        self.encoder = nn.Sequential(*encoder, nn.ReLU(), nn.Conv2d(width, code_dims, 1))
        self.decoder = nn.Sequential(*decoder, nn.ReLU(), nn.Conv2d(channels, 3, 3, padding=1))
        self.codebook = Codebook(num_codes, code_dims, decay, revive_below)

    def encode(self, pixels: Tensor) -> Tensor:
        """RGB in 0..255, (B, 3, H, W) -> unit vectors (B, h, w, D), not yet those of codes, with gradient."""
        if any(side % stride for side, stride in zip(pixels.shape[-2:], self.stride, strict=True)):
            raise ValueError(
                f'VQTokenizer: images of {pixels.shape[-2]} x {pixels.shape[-1]} pixels, sides must be multiples of '
                f'{self.stride[0]}, the product of its strides'
            )
        features = self.encoder(pixels / 127.5 - 1)
        return F.normalize(features.permute(0, 2, 3, 1).to(self.codebook.vectors.dtype), dim=-1)

    def reconstruct(self, vectors: Tensor) -> Tensor:
        """(B, h, w, D) -> (B, 3, H, W) in 0..255, or beyond where it is not sure."""
        return (self.decoder(vectors.permute(0, 3, 1, 2)) + 1) * 127.5

    def codes(self, pixels: Tensor) -> Tensor:
        """RGB in 0..255, (B, 3, H, W) -> (B, h, w) int64."""
        return self.codebook.nearest(self.encode(pixels))

    def decode(self, codes: Tensor) -> Tensor:
        """(B, h, w) int64 -> RGB in 0..255, (B, 3, H, W)."""
        return self.reconstruct(self.codebook.vectors[codes]).clamp(0, 255)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.branch(features)
