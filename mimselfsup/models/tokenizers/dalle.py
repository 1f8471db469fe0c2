"""The encoder of DALL-E's discrete variational auto-encoder: BEiT's tokenizer."""

from mmpretrain.models.selfsup.cae import DALLEEncoder
from torch import Tensor

from mimselfsup.registry import MODELS

LOGIT_LAPLACE_EPSILON = 0.1


@MODELS.register_module()
class DALLETokenizer(DALLEEncoder):
    """mmpretrain's ``DALLEEncoder`` (same state dict), asked for codes.

    A code stands for 8 x 8 pixels: for a ViT with patches of 16 it reads images of half the size. There is no decoder.

    Args:
        vocab_size: number of codes.
        kwargs: the parent's; ``n_hid=256`` and ``n_blk_per_group=2`` are the published network.

    Source: openai/DALL-E; the range of pixels, [0.1, 0.9], is ``map_pixels`` there.
    """

    origin = (
        "it is dalle_encoder.pth, 74 tensors, which mmpretrain's BEiT config takes from "
        'https://download.openmmlab.com/mmselfsup/1.x/target_generator_ckpt/dalle_encoder.pth'
    )
    stride = (8, 8)

    def __init__(self, vocab_size: int = 8192, **kwargs) -> None:
        super().__init__(vocab_size=vocab_size, **kwargs)
        self.num_codes = vocab_size

    def codes(self, pixels: Tensor) -> Tensor:
        """RGB in 0..255, (B, 3, H, W) -> (B, H / 8, W / 8) int64."""
        scaled = (1 - 2 * LOGIT_LAPLACE_EPSILON) * (pixels / 255) + LOGIT_LAPLACE_EPSILON
        return self(scaled).argmax(1)
