"""What is kept of a projector where a self-distilled network is fine-tuned on few labels."""

from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from mimselfsup.registry import MODELS


@MODELS.register_module()
class ProjectorStem(BaseModule):
    """The first linear layer of a :class:`~.projector.Projector` and its GELU, under its names: ``mlp.0``.

    iBOT fine-tunes on 1% and 10% of the labels with a classifier on top of it. ``PretrainedNeckHook`` fills it.
    """

    def __init__(self, in_channels: int, hidden: int = 2048) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(in_channels, hidden), nn.GELU())

    def init_weights(self) -> None:
        trunc_normal_(self.mlp[0].weight, std=0.02)
        nn.init.zeros_(self.mlp[0].bias)

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """(B, D) each -> (B, hidden) each."""
        return tuple(self.mlp(each) for each in features)
