"""Plain vision transformers in the names of torchvision. (Its ResNets have ours.)"""

from typing import Any

from torch import Tensor

from .names import NameTable

TORCHVISION = NameTable(
    ('cls_token', 'class_token'),
    ('pos_embed', 'encoder.pos_embedding'),
    ('patch_embed.projection', 'conv_proj'),
    ('layers.{}.ln1', 'encoder.layers.encoder_layer_{}.ln_1'),
    ('layers.{}.attn.qkv.weight', 'encoder.layers.encoder_layer_{}.self_attention.in_proj_weight'),
    ('layers.{}.attn.qkv.bias', 'encoder.layers.encoder_layer_{}.self_attention.in_proj_bias'),
    ('layers.{}.attn.proj', 'encoder.layers.encoder_layer_{}.self_attention.out_proj'),
    ('layers.{}.ln2', 'encoder.layers.encoder_layer_{}.ln_2'),
    ('layers.{}.ffn.layers.0.0', 'encoder.layers.encoder_layer_{}.mlp.0'),
    ('layers.{}.ffn.layers.1', 'encoder.layers.encoder_layer_{}.mlp.3'),
    ('layers.{}.ffn.layers.0.0', 'encoder.layers.encoder_layer_{}.mlp.linear_1'),  # version 1 of its MLP
    ('layers.{}.ffn.layers.1', 'encoder.layers.encoder_layer_{}.mlp.linear_2'),
    ('ln1', 'encoder.ln'),
)


def to_torchvision(state: dict[str, Tensor], settings: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    left_out = {name: 'only pre-training has it' for name in state if name == 'mask_token'}
    if settings.get('num_cls_tokens', 1) != 1:
        raise ValueError(f"torchvision's ViT has one [CLS] token, this backbone {settings['num_cls_tokens']}")
    renamed, unknown = TORCHVISION.to_theirs({name: value for name, value in state.items() if name not in left_out})
    absent = [name for name in ('class_token', 'encoder.pos_embedding', 'encoder.ln.weight') if name not in renamed]
    if unknown or absent:
        what = f'has no {unknown[0]}' if unknown else f'needs {absent[0]}'
        raise ValueError(f"torchvision's ViT {what}; write --to timm")
    return renamed, left_out
