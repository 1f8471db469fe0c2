"""What ``--pretrained`` does: the backbone of a pre-training run becomes that of another model."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .reading import CheckpointError, read_anywhere
from .weights import LoadReport, grouped, load_weights, state_dict_of

_PathLike = str | os.PathLike
NETWORKS = ('teacher', 'student')
_SHARED_TABLE = 'rel_pos_bias.relative_position_bias_table'
_TABLE = 'relative_position_bias_table'
_AXES = ('rel_pos_h', 'rel_pos_w')  # in the blocks of a ViTDet; without them it begins at zero
_BLOCK = re.compile(r'(layers|stages|blocks|layer\d)\.\d+(?=\.)')


@dataclass
class SavedBackbone:
    """The backbone in a checkpoint. ``prefix``: where it stands there; ``elsewhere``: the names of all the rest."""

    path: str
    prefix: str
    state: dict[str, Tensor]
    elsewhere: list[str]


@dataclass
class PretrainedReport(LoadReport):
    """A :class:`LoadReport` that reads as a table of what became of a pre-trained backbone."""

    title: str = ''
    shapes: dict[str, str] = field(default_factory=dict)  # of what was resized: 'saved -> model'
    elsewhere: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        resized = ', '.join(f'{name} {self.shapes.get(name, "")}'.rstrip() for name in self.resized[:4])
        if len(self.resized) > 4:
            resized += f', and so {grouped(self.resized[4:])}'
        rest = f'not of this backbone: {grouped(self.elsewhere)}' if self.elsewhere else ''
        rows = [
            ('loaded', len(self.loaded), grouped(self.loaded)),
            ('resized', len(self.resized), resized),
            (
                'left out',
                len(self.left_out) + len(self.elsewhere),
                '; '.join(filter(None, [grouped(self.left_out), rest])),
            ),
            ('new', len(self.missing), f'{grouped(self.missing)}: as initialised'),
        ]
        lines = [f'  {name:<9}{count:>5}  {what}'.rstrip() for name, count, what in rows if count]
        return '\n'.join([self.title, *lines])


def backbone_prefix(state: Mapping[str, Tensor], network: str | None = None) -> str:
    """Where the backbone stands in a checkpoint: under 'backbone.' in that of a whole algorithm, detector or segmentor,
    under 'teacher.backbone.' or 'student.backbone.' in that of self-distillation, under '' in that of a bare backbone.

    ``network``: 'teacher', which the papers evaluate and release, and the default, or 'student'. Raises
    CheckpointError if it is given for a checkpoint that has one network.
    """
    if network is not None and network not in NETWORKS:
        raise CheckpointError(f'--pretrained-from {network}: must be one of {", ".join(NETWORKS)}')
    distilled = f'{network or NETWORKS[0]}.backbone.'
    for prefix in (distilled, *(() if network else ('backbone.',))):
        if any(key.startswith(prefix) for key in state):
            return prefix
    if network is not None:
        raise CheckpointError(
            f'--pretrained-from {network}: the checkpoint has no {distilled}*, it is not one of self-distillation; '
            f'without the option its one network is taken'
        )
    return ''


def read_backbone(path: _PathLike, network: str | None = None) -> SavedBackbone:
    """The backbone in a checkpoint of any method; see :func:`backbone_prefix`."""
    state = state_dict_of(read_anywhere(path), f'checkpoint {path}')
    prefix = backbone_prefix(state, network)
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return SavedBackbone(os.fspath(path), prefix, own, [key for key in state if not key.startswith(prefix)])


def load_pretrained(model: nn.Module, path: _PathLike, network: str | None = None) -> PretrainedReport:
    """Fills ``model.backbone`` from a checkpoint of it, or of anything that has one; see :func:`backbone_prefix`.

    Absolute and relative positions are resized to those of the model. What only pre-training or only the new task has
    may be absent: a mask token, norms of the output, positions within the windows of a detector.

    Raises CheckpointError if the model has no backbone, if anything else of it would keep its random values, or if the
    checkpoint has weights inside its blocks that the model has no place for: that is another network.
    """
    if not isinstance(getattr(model, 'backbone', None), nn.Module):
        raise CheckpointError(f'--pretrained fills model.backbone, but {type(model).__name__} has none')
    backbone = model.backbone
    norms = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    optional = [
        f'{name}.' for name, child in backbone.named_children() if isinstance(child, norms) and name != 'pre_norm'
    ]
    optional += [name for name in backbone.state_dict() if name.endswith(_AXES)]
    try:
        saved = read_backbone(path, network)
        _refuse_positions(backbone, saved.state)
        fitted = fitted_state(backbone, saved.state)
        found = load_weights(
            backbone,
            fitted,
            allow_missing=('mask_token', *optional),
            owner='it',
            check=partial(_refuse_another_network, backbone),
        )
    except CheckpointError as error:
        raise CheckpointError(f'--pretrained {path}: {error}') from error
    shapes = {}
    for name, value in backbone.state_dict().items():
        shared = name.endswith(_TABLE) and name not in saved.state  # of a RelativeViT's blocks: each takes a copy
        before = saved.state.get(_SHARED_TABLE if shared else name)
        if before is not None and before.shape != value.shape:
            shapes[name] = f'{tuple(before.shape)} -> {tuple(value.shape)}'
    source = saved.prefix.rstrip('.') or 'a backbone alone'
    new = [*found.missing, *(name for name in found.loaded if name.endswith(_AXES) and name not in saved.state)]
    dropped = (name for name in saved.state if name not in fitted and not name.endswith('relative_position_index'))
    report = PretrainedReport(
        loaded=[name for name in found.loaded if name not in new],
        resized=[name for name in found.loaded if name in shapes],
        left_out=[*dropped, *found.left_out],
        missing=new,
        title=f'--pretrained {path}: {source} -> model.backbone ({type(backbone).__name__})',
        shapes=shapes,
        elsewhere=saved.elsewhere,
    )
    if hasattr(model, 'after_pretrained'):
        model.after_pretrained()
    return report


def fitting_arguments(backbone: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What would have to change in the config of a ``MaskedViT`` or ``RelativeViT`` for ``state`` to be its weights.

    Only what a downstream config leaves to the pre-training: how many [CLS] tokens there are, which kind of positions,
    layer scale, a bias of queries, keys and values. Empty for other backbones.
    """
    from mimselfsup.models.backbones import MaskedViT, RelativeViT

    own = backbone.state_dict().keys()
    if not isinstance(backbone, MaskedViT | RelativeViT) or not any(key.startswith('layers.0.') for key in state):
        return {}
    changes: dict[str, Any] = {}
    scale = 'layers.0.attn.gamma1.weight' in state or 'layers.0.gamma_1' in state
    if scale != ('layers.0.attn.gamma1.weight' in own or 'layers.0.gamma_1' in own):
        changes['layer_scale_init_value'] = 0.1 if scale else 0.0
    if isinstance(backbone, RelativeViT):
        if ('pos_embed' in state) != ('pos_embed' in own):
            changes['use_abs_pos_emb'] = 'pos_embed' in state
        return changes
    tokens = state['cls_token'].shape[1] if 'cls_token' in state else 0
    if backbone.with_cls_token and tokens not in (0, backbone.num_extra_tokens):
        changes['num_cls_tokens'] = tokens
    if backbone.with_cls_token and not tokens and backbone.out_type != 'cls_token':
        changes |= dict(with_cls_token=False, num_cls_tokens=1)
    kinds = {(True, False): 'shared_relative', (False, True): 'learned'}
    kind = kinds.get((_SHARED_TABLE in state, 'pos_embed' in state))
    if kind and (kind == 'shared_relative') != (backbone.position == 'shared_relative'):
        changes['position'] = kind
    if ('layers.0.attn.qkv.bias' in state) != ('layers.0.attn.qkv.bias' in own):
        changes['qkv_bias'] = 'layers.0.attn.qkv.bias' in state
    return changes


def fitted_state(backbone: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` in the names and sizes of ``backbone``, as far as it differs in positions alone.

    - [CLS] tokens and their positions are left out where the backbone has none. Absolute positions are resized as the
      backbone itself would for an image of another size.
    - Tables of relative positions for another window, square or not, are resized, bicubic; the entries of [CLS] are
      kept, or left out.
      (Those of a RelativeViT, one table per block, are its own affair when it loads.)
    - Relative positions along one axis, as in ViTDet, are resized linearly.
    """
    from mimselfsup.models.backbones import RelativeViT

    fitted, wanted = dict(state), {name: value.shape for name, value in backbone.state_dict().items()}
    if 'pos_embed' in fitted and 'pos_embed' in wanted:
        fitted['pos_embed'] = _resized_positions(backbone, fitted)
    if getattr(backbone, 'num_extra_tokens', None) == 0:
        fitted.pop('cls_token', None)
    for name, shape in wanted.items():
        saved = fitted.get(name)
        if saved is None or saved.shape == shape:
            continue
        if name.endswith(_TABLE) and saved.shape[1] == shape[1] and not isinstance(backbone, RelativeViT):
            window = backbone.get_submodule(name.removesuffix(f'.{_TABLE}')).window_size
            fitted[name] = resize_table(saved, window, with_cls=shape[0] % 2 == 0)  # 3 more than an odd number
        elif name.endswith(_AXES) and saved.shape[1] == shape[1]:
            line = F.interpolate(saved.T.unsqueeze(0).float(), size=shape[0], mode='linear')
            fitted[name] = line[0].T.to(saved.dtype)
        elif name.endswith('relative_position_index'):
            del fitted[name]  # the model's own is right for its own size
    return fitted


def resize_table(table: Tensor, window: tuple[int, int], with_cls: bool) -> Tensor:
    """(distances + 3 or 0, heads) of a square window -> the same of ``window``, by bicubic interpolation of distances.

    As :class:`~mimselfsup.models.backbones.MaskedViT` does for images of another size. (mmpretrain's own resize needs
    a function that SciPy has removed.) The last 3 are of [CLS], kept if it is ``with_cls``. Raises CheckpointError for
    a table of a window that is not square, and where [CLS] is wanted and not there.
    """
    extra = 3 if len(table) % 2 == 0 else 0  # there is an odd number of distances
    side = math.isqrt(len(table) - extra)
    if side**2 + extra != len(table) or (with_cls and not extra):
        raise CheckpointError(
            f'a table of relative positions has {len(table)} entries, the model wants it for {window[0]} x {window[1]} '
            f'patches{" and [CLS]" if with_cls else ""}: only those of square windows can be resized, and entries of '
            f'[CLS] cannot be made up'
        )
    rows, columns = (2 * each - 1 for each in window)
    distances = table[: side**2].T.reshape(1, -1, side, side).float()
    if (rows, columns) != (side, side):
        distances = F.interpolate(distances, size=(rows, columns), mode='bicubic', align_corners=False)
    return torch.cat([distances.flatten(2)[0].T.to(table.dtype), table[side**2 :][: 3 if with_cls else 0]])


def _resized_positions(backbone: nn.Module, state: Mapping[str, Tensor]) -> Tensor:
    from mmpretrain.models.utils import resize_pos_embed

    saved, own = state['pos_embed'], backbone.pos_embed
    extra = state['cls_token'].shape[1] if 'cls_token' in state else 0
    kept = getattr(backbone, 'num_extra_tokens', 0)
    if kept not in (0, extra) or (saved.shape == own.shape and kept == extra):
        return saved
    saved = saved[:, extra - kept :]  # [CLS] first
    if saved.shape == own.shape:
        return saved
    side = math.isqrt(saved.shape[1] - kept)
    if side**2 != saved.shape[1] - kept:
        raise CheckpointError(
            f'pos_embed has {saved.shape[1] - kept} patches, which is no square grid and not that of the model '
            f'({own.shape[1] - kept}); it cannot be resized'
        )
    if getattr(backbone, 'position_resize', 'exact') == 'dino':
        from mimselfsup.models.backbones.positions import resize_positions_as_dino as resize
    else:
        resize = resize_pos_embed
    return resize(saved, (side, side), tuple(backbone.patch_resolution), backbone.interpolate_mode, kept)


def _refuse_positions(backbone: nn.Module, state: Mapping[str, Tensor]) -> None:
    from mimselfsup.models.backbones import RelativeViT

    absolute = 'pos_embed' in state and not any(name.endswith(_TABLE) for name in state)
    if isinstance(backbone, RelativeViT) and absolute:
        tokens = state['cls_token'].shape[1] if 'cls_token' in state else 0
        raise CheckpointError(
            f'it has absolute positions ({tokens} [CLS] tokens), and RelativeViT is for those of BEiT; take a config '
            f"whose backbone is type='mimselfsup.MaskedViT'"
        )


def _refuse_another_network(backbone: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Left out, a weight inside a block would leave another function behind, which loads without a word."""
    own = backbone.state_dict().keys()
    blocks = {found.group() for found in map(_BLOCK.match, own) if found}

    def is_inside(name: str) -> bool:
        block = _BLOCK.match(name)
        return block.group() in blocks if block else name.startswith(('pre_norm.', 'patch_embed.'))

    derived = ('relative_position_index', 'attn_mask')
    inside = sorted(name for name in state.keys() - own if is_inside(name) and not name.endswith(derived))
    if not inside or len(inside) == len(state):
        return
    remedy = ''
    if any(name.endswith(_TABLE) for name in inside):
        remedy = "; a table of relative positions in every block is that of type='mimselfsup.RelativeViT'"
    raise CheckpointError(
        f'it is of another network: {type(backbone).__name__} has no place for {grouped(inside)}, such as '
        f'{inside[0]}{remedy}'
    )
