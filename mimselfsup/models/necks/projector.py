"""From an image feature to a distribution over prototypes (DINO, iBOT, MST)."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from mimselfsup.registry import MODELS

NORMS = (None, 'BN', 'SyncBN')
LOCAL_BN = ('running', 'batch', 'joint')


@MODELS.register_module()
class Projector(BaseModule):
    """An MLP to a bottleneck of unit length, and prototypes that are compared with it.

    With v the L2-normalised bottleneck, the logit of prototype k is g_k <w_k / ||w_k||, v>; the layer of the
    prototypes has no bias. It is called in two steps, because a loss may need logits of few of the vectors
    or of their mean only: :meth:`forward` gives v, :meth:`logits` and :meth:`patch_logits` the rest.

    Args:
        in_channels: from the backbone, by the algorithm.
        num_prototypes: K; 65536 in DINO, 8192 in iBOT.
        hidden, bottleneck, num_layers: of the MLP; 1 layer is a linear map to the bottleneck.
        norm_last_layer: the gains g stay at 1 (DINO's recommendation for ViT-B); False trains them.
        norm: 'BN' or 'SyncBN' after each hidden linear layer (MST), None in DINO and iBOT. Every global view is then
            a batch of its own, so that no statistic sees an image twice.
        local_bn: with ``norm``, how local views are normalised. 'running': by the running statistics of the global
            views (MST's rule as we read it); 'batch': by their own, which leave no trace; 'joint': all views, the
            global ones too, are one batch, and it counts (an ordinary BN).
        patch_prototypes: number of prototypes of a layer of their own for patches, None to share that of the
            images (iBOT's better variant).

    Source: DINO, arXiv 2104.14294, appendix C; iBOT, arXiv 2111.07832; MST, arXiv 2106.05656, section 3.
    """

    def __init__(
        self,
        in_channels: int,
        num_prototypes: int = 65536,
        hidden: int = 2048,
        bottleneck: int = 256,
        num_layers: int = 3,
        norm_last_layer: bool = True,
        norm: str | None = None,
        local_bn: str = 'running',
        patch_prototypes: int | None = None,
    ) -> None:
        super().__init__()
        for name, value, allowed in (('norm', norm, NORMS), ('local_bn', local_bn, LOCAL_BN)):
            if value not in allowed:
                raise ValueError(f'Projector: {name}={value!r}, must be one of {allowed}')
        for name, value in (('num_prototypes', num_prototypes), ('num_layers', num_layers)):
            if value < 1:
                raise ValueError(f'Projector: {name}={value}, must be at least 1')
        self.local_bn = local_bn
        self.num_prototypes = num_prototypes
        layers: list[nn.Module] = []
        widths = [in_channels, *[hidden] * (num_layers - 1)]
        for before, after in pairwise(widths):
            layers.append(nn.Linear(before, after))
            if norm is not None:
                # BatchNorm1d by its class name: mmcv's 'BN' is the 2-D one.
                layers.append(build_norm_layer(dict(type='BN1d' if norm == 'BN' else norm), after)[1])
            layers.append(nn.GELU())
        self.mlp = nn.Sequential(*layers, nn.Linear(widths[-1], bottleneck))
        self.norms = norm is not None
        self.last_layer = _prototypes(bottleneck, num_prototypes, norm_last_layer)
        self.patch_last_layer = None
        self.num_patch_prototypes = num_prototypes
        if patch_prototypes is not None:
            self.patch_last_layer = _prototypes(bottleneck, patch_prototypes, norm_last_layer)
            self.num_patch_prototypes = patch_prototypes

    def init_weights(self) -> None:
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        # Directions keep the default initialisation of a linear layer, gains start at 1.

    def forward(self, features: Tensor, views: int = 1, local_features: Tensor | None = None) -> Tensor:
        """(R, D) and (L, D) -> (R + L, bottleneck), of length 1.

        ``features`` are those of ``views`` views, one after the other; ``local_features`` of local views.
        """
        if not self.norms or self.local_bn == 'joint':
            if local_features is not None:
                features = torch.cat([features, local_features])
            return F.normalize(self.mlp(features), dim=-1, eps=1e-12)
        hidden = [self.mlp(view) for view in features.chunk(views)]
        if local_features is not None:
            with self._local_statistics():
                hidden.append(self.mlp(local_features))
        return F.normalize(torch.cat(hidden), dim=-1, eps=1e-12)

    def logits(self, vectors: Tensor) -> Tensor:
        """(..., bottleneck) -> (..., K), of images."""
        return self.last_layer(vectors)

    def patch_logits(self, vectors: Tensor) -> Tensor:
        """(..., bottleneck) -> (..., K), of patches."""
        return (self.patch_last_layer or self.last_layer)(vectors)

    def summed_patch_logits(self, vectors: Tensor) -> Tensor:
        """(..., bottleneck) -> (K,), float32: the sum of the patch logits of all vectors, without computing them.

        The layer is linear, so the logits of the summed vectors are meant: one row instead of N of them.
        """
        layer = self.patch_last_layer or self.last_layer
        with torch.autocast(vectors.device.type, enabled=False):
            return F.linear(vectors.flatten(0, -2).sum(0, dtype=torch.float32), layer.weight.float())

    @contextmanager
    def _local_statistics(self) -> Iterator[None]:
        """Within the block, norms leave their running statistics alone; see ``local_bn``."""
        norms = [layer for layer in self.mlp if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        before = [(norm.training, norm.momentum) for norm in norms]
        for norm in norms:
            if self.local_bn == 'running':
                norm.eval()
            else:
                norm.momentum = 0.0
        try:
            yield
        finally:
            for norm, (training, momentum) in zip(norms, before, strict=True):
                norm.training, norm.momentum = training, momentum


def _prototypes(bottleneck: int, number: int, norm: bool) -> nn.Linear:
    layer = weight_norm(nn.Linear(bottleneck, number, bias=False))
    gains = layer.parametrizations.weight.original0
    gains.data.fill_(1.0)
    gains.requires_grad_(not norm)
    return layer
