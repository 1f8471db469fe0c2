"""Plain vision transformers and BEiT in the names of Hugging Face's transformers."""

import re
from typing import Any

import torch
from torch import Tensor

from .names import NameTable
from .vit import has_own_tables, with_scales_as_beit

# As on the Hub. Version 5 has other names in memory, reads these and writes these.
TRANSFORMERS = NameTable(
    ('cls_token', 'embeddings.cls_token'),
    ('pos_embed', 'embeddings.position_embeddings'),
    ('mask_token', 'embeddings.mask_token'),
    ('patch_embed.projection', 'embeddings.patch_embeddings.projection'),
    ('layers.{}.ln1', 'encoder.layer.{}.layernorm_before'),
    ('layers.{}.attn.query', 'encoder.layer.{}.attention.attention.query'),
    ('layers.{}.attn.key', 'encoder.layer.{}.attention.attention.key'),
    ('layers.{}.attn.value', 'encoder.layer.{}.attention.attention.value'),
    ('layers.{}.attn.proj', 'encoder.layer.{}.attention.output.dense'),
    ('layers.{}.ln2', 'encoder.layer.{}.layernorm_after'),
    ('layers.{}.ffn.layers.0.0', 'encoder.layer.{}.intermediate.dense'),
    ('layers.{}.ffn.layers.1', 'encoder.layer.{}.output.dense'),
    ('layers.{}.gamma_1', 'encoder.layer.{}.lambda_1'),
    ('layers.{}.gamma_2', 'encoder.layer.{}.lambda_2'),
    (
        'layers.{}.attn.relative_position_bias_table',
        'encoder.layer.{}.attention.attention.relative_position_bias.relative_position_bias_table',
    ),
    (
        'rel_pos_bias.relative_position_bias_table',
        'encoder.relative_position_bias.relative_position_bias_table',
    ),
    ('ln1', 'layernorm'),
    ('ln2', 'pooler.layernorm'),
)
_IN_MEMORY = (  # of version 5: regular expressions, and what they stand for on the Hub
    (r'^layers\.', 'encoder.layer.'),
    (r'\.attention\.q_proj\.', '.attention.attention.query.'),
    (r'\.attention\.k_proj\.', '.attention.attention.key.'),
    (r'\.attention\.v_proj\.', '.attention.attention.value.'),
    (r'\.attention\.o_proj\.', '.attention.output.dense.'),
    (r'\.mlp\.fc1\.', '.intermediate.dense.'),
    (r'\.mlp\.fc2\.', '.output.dense.'),
    (r'^(encoder\.layer\.\d+)\.relative_position_bias\.', r'\1.attention.attention.relative_position_bias.'),
    (r'^shared_position_bias\.', 'encoder.relative_position_bias.'),
)


def from_transformers(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """-> names of mmpretrain's transformers, and the names that are unknown."""
    on_the_hub = {}
    for name, value in state.items():
        for pattern, ending in _IN_MEMORY:
            name = re.sub(pattern, ending, name)
        on_the_hub[name] = value
    ours, unknown = TRANSFORMERS.to_ours(on_the_hub)
    for name in [name for name in ours if name.endswith('.attn.query.weight')]:
        attn = name.removesuffix('.query.weight')
        parts = [ours.pop(f'{attn}.{part}.weight') for part in ('query', 'key', 'value')]
        ours[f'{attn}.qkv.weight'] = torch.cat(parts)
        if f'{attn}.key.bias' in ours:
            biases = [ours.pop(f'{attn}.{part}.bias') for part in ('query', 'key', 'value')]
            ours[f'{attn}.qkv.bias'] = torch.cat(biases)
        elif f'{attn}.query.bias' in ours:
            ours[f'{attn}.q_bias'] = ours.pop(f'{attn}.query.bias')
            ours[f'{attn}.v_bias'] = ours.pop(f'{attn}.value.bias')
    return ours, unknown


def facts_of_config(config: dict[str, Any]) -> dict[str, Any]:
    """What config.json says that shapes do not."""
    facts = dict(
        num_heads=config.get('num_attention_heads'),
        eps=config.get('layer_norm_eps'),
        img_size=config.get('image_size'),
    )
    return {name: value for name, value in facts.items() if isinstance(value, int | float)}


def to_transformers(
    state: dict[str, Tensor], settings: dict[str, Any], eps: float
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, str]]:
    """MaskedViT's or RelativeViT's state -> tensors, config.json (of ViTModel or BeitModel), and what is left out.

    ``settings`` is the config of the backbone. Raises ValueError for what transformers' two models cannot be.
    """
    state, left_out = dict(state), {}
    for name in list(state):
        if name.endswith('relative_position_index'):
            del state[name]
            left_out[name] = 'an index table, which transformers computes'
    own, shared = has_own_tables(state), 'rel_pos_bias.relative_position_bias_table' in state
    scaled = any('gamma' in name for name in state)
    is_beit = own or shared or scaled
    if 'cls_token' not in state or state['cls_token'].shape[1] != 1:
        raise ValueError("transformers' ViT has one [CLS] token, this backbone another number; write --to timm")
    if 'pre_norm.weight' in state or 'layers.0.attn.qkv.weight' not in state:
        raise ValueError("transformers' ViT has no norm before the first block; write --to timm")
    if not is_beit and 'ln1.weight' not in state:
        raise ValueError("transformers' ViT has a norm after the last block, this backbone has none; write --to timm")
    config = _config(state, settings, eps)
    if is_beit:
        if 'ln1.weight' in state and 'ln2.weight' in state:
            raise ValueError("transformers' BEiT has one norm, after the last block or after pooling; this has both")
        config |= dict(
            model_type='beit',
            architectures=['BeitModel'],
            use_absolute_position_embeddings='pos_embed' in state,
            use_relative_position_bias=own,
            use_shared_relative_position_bias=shared,
            use_mask_token='mask_token' in state,
            use_mean_pooling='ln2.weight' in state,
            layer_scale_init_value=0.1 if scaled else 0.0,
        )
    elif 'ln2.weight' in state:
        raise ValueError("transformers' ViT has no norm after pooling; write --to timm")
    split: dict[str, Tensor] = {}
    for name, value in with_scales_as_beit(state).items():
        if '.attn.qkv.' in name:
            stem, _, kind = name.rpartition('.qkv.')
            for part, piece in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                if is_beit and part == 'key' and kind == 'bias':
                    if piece.any():
                        left_out[f'{name}[keys]'] = 'it cancels in the softmax, and BEiT has none'
                    continue
                split[f'{stem}.{part}.{kind}'] = piece.clone()
        elif name.endswith(('.q_bias', '.v_bias')):
            part = 'query' if name.endswith('q_bias') else 'value'
            split[f'{name.rpartition(".")[0]}.{part}.bias'] = value
        else:
            split[name] = value
    renamed, unknown = TRANSFORMERS.to_theirs(split)
    if unknown:
        raise ValueError(f'no name in transformers for {", ".join(unknown)}')
    return renamed, config, left_out


def _config(state: dict[str, Tensor], settings: dict[str, Any], eps: float) -> dict[str, Any]:
    arch, image, patch = settings['arch'], settings['img_size'], settings['patch_size']
    if isinstance(image, tuple) or isinstance(patch, tuple):
        raise ValueError(f"transformers' ViT is square, img_size={image} and patch_size={patch} are not")
    return dict(
        model_type='vit',
        architectures=['ViTModel'],
        hidden_size=arch['embed_dims'],
        num_hidden_layers=arch['num_layers'],
        num_attention_heads=arch['num_heads'],
        intermediate_size=arch['feedforward_channels'],
        hidden_act='gelu',
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        layer_norm_eps=eps,
        image_size=image,
        patch_size=patch,
        num_channels=settings['in_channels'],
        qkv_bias=any(name.endswith(('qkv.bias', 'q_bias')) for name in state),
    )
