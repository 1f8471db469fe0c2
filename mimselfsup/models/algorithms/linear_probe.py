"""A linear classifier on a backbone that stays as it is."""

from collections.abc import Mapping

import torch
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from mimselfsup.registry import MODELS

from .frozen_backbone import FrozenBackbone

TOKENS = ('cls', 'avg')
NORMS = (None, 'layer', 'batch')


@MODELS.register_module()
class LinearProbe(FrozenBackbone, ImageClassifier):
    """mmpretrain's classifier, of which only the head is trained.

    Published probes differ in what the head is given. That is said here; ``out_type`` and ``out_indices`` of the
    backbone have no effect. To probe an inner block, build a backbone that ends there, with ``final_norm=False``;
    loading leaves out what lies behind.

    Args:
        backbone: one with ``encode``: MaskedViT, MaskedSwin, RelativeViT, TokenResNet.
        head: a head of mmpretrain; its ``in_channels`` are filled in.
        feature: token -> number of last blocks of which it is taken. 'cls' is the [CLS] token, or the mean of them
            where there are several, 'avg' the mean of the patch tokens; each after the backbone's final norm. What
            several blocks give is concatenated, the last one last, and so are the tokens, in the order of the dict.
        norm: of the feature, without learned parameters: 'batch' (MAE: by the batch of the process in training, by
            running statistics in evaluation; never synchronised), 'layer' (SemanticMIM), or None.
        data_preprocessor, init_cfg: the parent's.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        feature: Mapping[str, int] | None = None,
        norm: str | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        feature = dict(cls=1) if feature is None else dict(feature)
        if not feature or any(token not in TOKENS or blocks < 1 for token, blocks in feature.items()):
            raise ValueError(
                f'LinearProbe: feature={feature}, must say of how many last blocks it takes which of {TOKENS}, such as '
                f'dict(cls=4)'
            )
        if norm not in NORMS:
            raise ValueError(f'LinearProbe: norm={norm!r}, must be one of {NORMS}')
        network = MODELS.build(backbone)
        if 'cls' in feature and not getattr(network, 'with_cls_token', False):
            raise ValueError(f'LinearProbe: {type(network).__name__} has no [CLS] token; set feature=dict(avg=1)')
        if max(feature.values()) > 1 and not hasattr(network, 'encode_last'):
            raise ValueError(
                f'LinearProbe: feature={feature}, but {type(network).__name__} hands out its last block alone'
            )
        width = network.out_channels * sum(feature.values())
        super().__init__(
            network, head={**head, 'in_channels': width}, data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        self.feature = feature
        self.norm = dict(
            batch=lambda: nn.BatchNorm1d(width, eps=1e-6, affine=False),
            layer=lambda: nn.LayerNorm(width, eps=1e-6, elementwise_affine=False),
        ).get(norm, nn.Identity)()

    def extract_feat(self, inputs: Tensor, stage: str = 'neck') -> tuple[Tensor] | Tensor:
        """((B, D),) of (B, 3, H, W), before ``norm`` ('backbone') or after it ('neck'); 'pre_logits': of the head."""
        feature = self._read(inputs)
        if stage == 'backbone':
            return (feature,)
        feature = self.norm(feature)
        return self.head.pre_logits((feature,)) if stage == 'pre_logits' else (feature,)

    @torch.no_grad()
    def _read(self, images: Tensor) -> Tensor:
        blocks = max(self.feature.values())
        found = [self.backbone.encode(images)] if blocks == 1 else self.backbone.encode_last(images, blocks)
        read = dict(cls=lambda tokens: tokens.extra.mean(1), avg=lambda tokens: tokens.patches.mean(1))
        parts = [read[token](each) for token, number in self.feature.items() for each in found[-number:]]
        return torch.cat(parts, dim=1)
