"""Training of a tokenizer, before any masking: images through few codes and back."""

import torch.nn.functional as F
from torch import Tensor

from mimselfsup.models.tokenizers import code_perplexity
from mimselfsup.registry import MODELS

from .base import BaseAlgorithm


@MODELS.register_module()
class VectorQuantizedAutoencoder(BaseAlgorithm):
    """A :class:`~mimselfsup.models.tokenizers.VQTokenizer` that learns to give images back from their codes.

    Args:
        tokenizer: the VQTokenizer. In a checkpoint its names begin with ``tokenizer.``, as TokenTarget expects.
        commitment: weight of the squared distance between what the encoder says and the code that it gets.
        data_preprocessor: must not normalise; a tokenizer reads RGB in 0..255.

    Source: VQ-VAE, arXiv 1711.00937, with codes of norm 1 as in ViT-VQGAN, arXiv 2110.04627.
    """

    def __init__(
        self,
        tokenizer: dict,
        commitment: float = 0.25,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if getattr(self.data_preprocessor, '_enable_normalize', False):
            raise ValueError(
                'VectorQuantizedAutoencoder: data_preprocessor normalises, but a tokenizer reads pixels in 0..255; '
                'leave out its mean and std'
            )
        self.tokenizer = MODELS.build(tokenizer)
        self.commitment = commitment

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'):
        """As the other algorithms'; mode 'tensor': the codes (B, h, w), in a tuple of one."""
        if mode == 'tensor':
            return (self.tokenizer.codes(inputs),)
        return super().forward(inputs, data_samples, mode)

    def loss(self, images: Tensor, data_samples: list | None = None) -> dict[str, Tensor]:
        """``images`` (B, 3, H, W), RGB in 0..255."""
        codebook = self.tokenizer.codebook
        queries = self.tokenizer.encode(images)  # (B, h, w, D), of norm 1
        codes = codebook.nearest(queries)
        vectors = codebook.vectors[codes]
        distance = (queries - vectors).square().sum(-1).mean()
        if self.training:
            codebook.update(queries.detach().flatten(0, 2), codes.flatten())
        # The decoder sees codes; its gradient goes past the choice of them, which has none, to the encoder.
        decoded = self.tokenizer.reconstruct(queries + (vectors - queries).detach())
        return dict(
            loss_reconstruction=F.mse_loss(decoded / 127.5, images / 127.5),
            loss_commitment=self.commitment * distance,
            code_perplexity=code_perplexity(codes, self.tokenizer.num_codes),
        )
