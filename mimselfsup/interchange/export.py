"""From a backbone of ours to files of other libraries."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from . import swin, vit
from .architecture import USUAL_EPS
from .convert import Conversion, left_out_lines
from .files import SAFETENSORS, write_folder, write_weights
from .huggingface import to_transformers
from .torchvision import to_torchvision

TARGETS = ('mimselfsup', 'timm', 'torchvision', 'huggingface')
_SUFFIXES = ('.pth', '.pt', '.bin', SAFETENSORS)


@dataclass
class Export:
    """Tensors in another library's names. ``use`` says how it makes a network of them."""

    tensors: dict[str, Tensor]
    use: str
    left_out: dict[str, str]
    config: dict[str, Any] | None = None  # of transformers

    def __str__(self) -> str:
        return '\n'.join([f'written: {len(self.tensors)} tensors', f'use: {self.use}', *left_out_lines(self.left_out)])


def export(conversion: Conversion, to: str) -> Export:
    """``to``: one of ``TARGETS``. Raises ValueError for a backbone that cannot be expressed there."""
    if to not in TARGETS:
        raise ValueError(f'to={to!r}, must be one of {", ".join(TARGETS)}')
    state, config = conversion.backbone.state_dict(), conversion.config
    kind = config['type']
    if to == 'mimselfsup':
        tensors = {f'backbone.{name}': value for name, value in state.items()} | conversion.others
        return Export(tensors, '--pretrained, or model.init_cfg with prefix="backbone."', {})
    others = dict.fromkeys(conversion.others, 'no part of the backbone')
    if kind == 'TokenResNet':
        if to == 'huggingface':
            raise ValueError('transformers is written for vision transformers, not for a ResNet; use torchvision')
        return Export(state, f'{to}: resnet{config["depth"]}, without its head', others)
    if kind == 'MaskedSwin':
        if to != 'timm':
            raise ValueError(f'a Swin is written for timm, not for {to}')
        tensors, left_out = swin.to_timm(state)
        return Export(tensors, _timm_swin(config), others | left_out)
    eps = _epsilon(conversion.backbone)
    if to == 'huggingface':
        tensors, model, left_out = to_transformers(state, config, eps)
        use = f'transformers.{model["architectures"][0]}.from_pretrained(FOLDER, add_pooling_layer=False)'
        if model.get('use_mean_pooling'):
            use = use.replace(', add_pooling_layer=False', '')
        return Export(tensors, use, others | left_out, model)
    if to == 'torchvision':
        tensors, left_out = to_torchvision(state, config)
        return Export(tensors, _torchvision_vit(config, eps), others | left_out)
    if config.get('num_cls_tokens', 1) != 1:
        raise ValueError(f"timm's transformers have one [CLS] token, this backbone {config['num_cls_tokens']}")
    tensors, left_out = vit.to_timm(state)
    return Export(tensors, _timm_vit(tensors, config, eps), others | left_out)


def save(conversion: Conversion, path: str | os.PathLike, to: str) -> Export:
    """Writes :func:`export`'s tensors: a folder for 'huggingface', else a .pth, .pt, .bin or .safetensors file."""
    made = export(conversion, to)
    path = Path(path)
    if to == 'huggingface':
        if path.suffix in _SUFFIXES or path.is_file():
            raise ValueError(f'{path}: transformers reads folders; give the name of one')
        write_folder(path, made.tensors, made.config or {})
        return made
    if path.suffix not in _SUFFIXES:
        raise ValueError(f'{path}: must end in one of {", ".join(_SUFFIXES)}')
    meta = dict(
        backbone=_plain(conversion.config),
        pixel_mean=list(conversion.pixel_mean),
        pixel_std=list(conversion.pixel_std),
        converted_from=conversion.family,
    )
    write_weights(path, made.tensors, meta, 'state_dict' if to == 'mimselfsup' else '')
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _epsilon(backbone: nn.Module) -> float:
    return next((module.eps for module in backbone.modules() if isinstance(module, nn.LayerNorm)), USUAL_EPS)


def _call(name: str, settings: Mapping[str, Any]) -> str:
    return f'{name}({", ".join(f"{key}={value!r}" for key, value in settings.items())})'


def _timm_vit(tensors: Mapping[str, Tensor], config: Mapping[str, Any], eps: float) -> str:
    arch = config['arch']
    settings = dict(
        img_size=config['img_size'],
        patch_size=config['patch_size'],
        embed_dim=arch['embed_dims'],
        depth=arch['num_layers'],
        num_heads=arch['num_heads'],
        mlp_ratio=arch['feedforward_channels'] / arch['embed_dims'],
        num_classes=0,
    )
    if config['in_channels'] != 3:
        settings['in_chans'] = config['in_channels']
    if not any(name.endswith(('qkv.bias', 'q_bias')) for name in tensors):
        settings['qkv_bias'] = False
    if config.get('layer_scale_init_value'):
        settings['init_values'] = config['layer_scale_init_value']
    own = 'blocks.0.attn.relative_position_bias_table' in tensors
    shared = 'rel_pos_bias.relative_position_bias_table' in tensors
    pooled = 'fc_norm.weight' in tensors
    if own or shared:
        settings |= dict(
            use_abs_pos_emb='pos_embed' in tensors,
            use_rel_pos_bias=own,
            use_shared_rel_pos_bias=shared,
            global_pool='avg' if pooled else 'token',
        )
        return _call('timm.models.beit.Beit', settings)
    if 'cls_token' not in tensors:
        settings |= dict(class_token=False, global_pool='avg', fc_norm=pooled)
    elif pooled:
        settings['global_pool'] = 'avg'
    if 'norm_pre.weight' in tensors:
        settings['pre_norm'] = True
    call = _call('timm.models.vision_transformer.VisionTransformer', settings)
    return call if eps == USUAL_EPS else f'{call[:-1]}, norm_layer=partial(LayerNorm, eps={eps:g}))'


def _timm_swin(config: Mapping[str, Any]) -> str:
    arch = config['arch']
    settings = dict(
        img_size=config['img_size'],
        patch_size=config['patch_size'],
        embed_dim=arch['embed_dims'],
        depths=tuple(arch['depths']),
        num_heads=tuple(arch['num_heads']),
        window_size=config['window_size'],
        num_classes=0,
    )
    return _call('timm.models.swin_transformer.SwinTransformer', settings)


def _torchvision_vit(config: Mapping[str, Any], eps: float) -> str:
    arch = config['arch']
    settings = dict(
        image_size=config['img_size'],
        patch_size=config['patch_size'],
        num_layers=arch['num_layers'],
        num_heads=arch['num_heads'],
        hidden_dim=arch['embed_dims'],
        mlp_dim=arch['feedforward_channels'],
    )
    return f'{_call("torchvision.models.VisionTransformer", settings)} with heads=Identity()'
