"""Learning rates that shrink from the head of a network to its first layer, in every task."""

from collections.abc import Callable

from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from torch import nn

from mimselfsup.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .optim import MergedOptimWrapperConstructor

# What enters the first block, by the last part of its name. Published codes keep these from decaying, by name.
_EMBEDDINGS = ('cls_token', 'mask_token', 'pos_embed', 'absolute_pos_embed')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(MergedOptimWrapperConstructor, LearningRateDecayOptimWrapperConstructor):
    """mmpretrain's layer-wise learning rates, for all that has a ``backbone``: classifiers, detectors, segmentors.

    With L blocks (Swin's are counted through its stages) a parameter of layer i gets ``lr * rate ** (L + 1 - i)``: i is
    0 for the patch embedding, tokens and absolute positions, 1 to L for the blocks (what downsamples after a block of
    Swin is of its layer), and L + 1 for all else: norms of the output, positions that all blocks share, necks, heads.

    ``paramwise_cfg``:

    - ``layer_decay_rate``, 1 by default;
    - ``norm_decay_mult``, ``bias_decay_mult``, ``flat_decay_mult`` (other 1-D parameters): factors of the weight decay,
      each 0 by default;
    - ``custom_keys``: the longest key that is part of a parameter's name decides, with ``decay_mult`` and ``lr_mult``,
      each 1 by default; the rate of the layer is multiplied by the second. Without such a key tokens and absolute
      positions do not decay, wherever in the model the backbone is.

    Parameters of one rate and one decay share a group; see :class:`MergedOptimWrapperConstructor`. One that several
    modules have counts once, under the name that it is met with first.

    Raises ValueError if ``lr`` or ``weight_decay`` is not set, or if the backbone knows no layers.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        without_decay = dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0)
        super().__init__(optim_wrapper_cfg, {**without_decay, **(paramwise_cfg or {})})

    def _validate_cfg(self) -> None:
        for key, value in (('lr', self.base_lr), ('weight_decay', self.base_wd)):
            if value is None:
                raise ValueError(f'optim_wrapper.optimizer.{key} is not set, and layers get factors of it')
        super()._validate_cfg()

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', get_layer_depth: Callable | None = None
    ) -> None:
        super().add_params(params, module, prefix, get_layer_depth=get_layer_depth or _layers_of(module))

    def _merged(self, groups: list[dict]) -> list[dict]:
        custom_keys = self.paramwise_cfg.get('custom_keys', {})
        met: set[int] = set()
        kept = []
        for group in groups:
            name, (parameter,) = group.pop('param_name'), group['params']
            group.pop('layer_id')
            group['lr'] *= group.pop('lr_mult', 1.0)  # of a custom key; the parent leaves it unused
            if name.split('.')[-1] in _EMBEDDINGS and not any(key in name for key in custom_keys):
                group['weight_decay'] = 0.0
            if id(parameter) not in met:
                kept.append(group)
            met.add(id(parameter))
        return super()._merged(kept)


def _layers_of(model: nn.Module) -> Callable[[str], tuple[int, int]]:
    """From a parameter's name to (its layer, the number of layers: L + 2)."""
    backbone = getattr(model, 'backbone', None)
    if not hasattr(backbone, 'get_layer_depth'):
        raise ValueError(
            f'layer_decay_rate needs a model.backbone with get_layer_depth(), and {type(model).__name__}.backbone is '
            f'{type(backbone).__name__}: use MaskedViT, MaskedSwin or RelativeViT, or another constructor'
        )

    def layer_of(name: str) -> tuple[int, int]:
        layer, layers = backbone.get_layer_depth(name, 'backbone.')
        # The backbones know cls_token and pos_embed.
        return (0 if name.removeprefix('backbone.') in _EMBEDDINGS else layer), layers

    return layer_of
