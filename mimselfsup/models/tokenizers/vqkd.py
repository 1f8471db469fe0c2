"""Vector-quantised knowledge distillation: BEiT v2's tokenizer."""

import torch.nn.functional as F
from mmpretrain.models.selfsup.beit import VQKD
from torch import Tensor

from mimselfsup.registry import MODELS

PUBLISHED_ENCODER = dict(
    arch='base',
    img_size=224,
    patch_size=16,
    out_indices=-1,
    final_norm=True,
    out_type='featmap',
    with_cls_token=True,
    use_abs_pos_emb=True,
    use_rel_pos_bias=False,
    use_shared_rel_pos_bias=False,
    layer_scale_init_value=0.0,
)


@MODELS.register_module()
class VQKDTokenizer(VQKD):
    """mmpretrain's ``VQKD`` (same state dict), asked for codes.

    Asking it changes nothing in it, and any grid will do; the parent's own way counts codes in its buffers, across
    processes, and takes every grid for a square. It has no decoder to pixels: it was trained to give features of CLIP.

    Args:
        encoder_config: of the ``BEiTViT`` inside; the published one, ViT-B/16 at 224 px, if not given.
        num_embed: number of codes.
        kwargs: the parent's.

    Source: BEiT v2, arXiv 2208.06366.
    """

    origin = (
        "it is vqkd_encoder.pth, which mmpretrain's BEiT v2 config takes from "
        'https://download.openmmlab.com/mmselfsup/1.x/target_generator_ckpt/vqkd_encoder.pth'
    )
    not_needed = ('decoder.', 'decode_task_layer.', 'teacher_model.', 'scaling_layer.')  # of the authors' file

    def __init__(
        self, encoder_config: dict | None = None, num_embed: int = 8192, quantize_kmeans_init: bool = False, **kwargs
    ) -> None:
        super().__init__(
            dict(encoder_config or PUBLISHED_ENCODER),
            num_embed=num_embed,
            quantize_kmeans_init=quantize_kmeans_init,
            **kwargs,
        )
        self.num_codes = num_embed
        self.stride = tuple(self.encoder.patch_embed.projection.kernel_size)

    def codes(self, pixels: Tensor) -> Tensor:
        """RGB in 0..255, (B, 3, H, W) -> (B, h, w) int64 on the grid of the encoder."""
        features = self.encoder(pixels / 127.5 - 1)[0]  # (B, C, h, w)
        queries = F.normalize(self.encode_task_layer(features.permute(0, 2, 3, 1)), dim=-1)
        vectors = self.quantize.embedding.weight  # (K, D)
        return (vectors.square().sum(1) - 2 * queries @ vectors.T).argmin(-1)
