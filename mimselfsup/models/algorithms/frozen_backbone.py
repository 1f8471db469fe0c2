"""What a model is whose backbone stays as it is."""

import logging

from mmengine.logging import print_log
from mmengine.model import BaseModel


class FrozenBackbone(BaseModel):
    """To stand before a classifier or a segmentor among the bases: its backbone has no gradients and never leaves eval
    mode, so neither stochastic depth nor dropout nor running statistics are at work in it."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.backbone.requires_grad_(False)

    def init_weights(self) -> None:
        if not self.backbone.is_init and not self.backbone.init_cfg:  # nothing has filled it or will
            print_log(
                'the backbone, which stays as it is, has random weights, unless a run is resumed: --pretrained CKPT '
                'fills it',
                logger='current',
                level=logging.WARNING,
            )
        super().init_weights()

    def train(self, mode: bool = True) -> 'FrozenBackbone':
        super().train(mode)
        self.backbone.eval()
        return self
