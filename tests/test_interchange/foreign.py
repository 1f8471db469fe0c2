"""Small networks of other libraries, with random weights everywhere, and their features."""

import copy
import re

import torch
from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

SIDE, PATCH, WIDTH, DEPTH, HEADS = 32, 8, 48, 2, 3
SIZES = dict(img_size=SIDE, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, num_classes=5)


def randomised(network, seed=0):
    """In eval mode, every parameter and running statistic drawn, so that no zero or one hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = 0.3 if parameter.ndim > 1 else 0.2
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    network.eval()  # mmpretrain's returns nothing
    return network


def vit(**settings):
    return randomised(VisionTransformer(**SIZES | settings))


def beit(**settings):
    defaults = dict(use_rel_pos_bias=False, use_abs_pos_emb=False, init_values=0.1, global_pool='token')
    return randomised(Beit(**SIZES | defaults | settings))


def swin(**settings):
    sizes = dict(img_size=64, patch_size=2, embed_dim=12, depths=(2, 1, 1, 1), num_heads=(2, 2, 3, 4), window_size=4)
    return randomised(SwinTransformer(**sizes | dict(num_classes=5) | settings))


def images(side=SIDE, number=2):
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def tokens_of(network, pictures):
    """(B, extra + N, D) of a network of timm, after its norm; in float64, as all that is compared."""
    found = copy.deepcopy(network).double().forward_features(pictures.double())
    return found.flatten(1, 2) if isinstance(network, SwinTransformer) else found


@torch.no_grad()
def our_tokens(backbone, pictures):
    tokens = copy.deepcopy(backbone).double().encode(pictures.double())
    return torch.cat([tokens.extra, tokens.patches], dim=1)


def prefixed(state, prefix):
    return {f'{prefix}{name}': value for name, value in state.items()}


def without_head(state):
    return {name: value for name, value in state.items() if not name.startswith('head.')}


def with_norms_merged_at_the_end(state):
    """timm's Swin -> the authors': merging stands in the stage before, and the head has no 'fc'."""
    moved = {}
    for name, value in state.items():
        name = re.sub(r'^layers\.(\d+)\.downsample', lambda found: f'layers.{int(found[1]) - 1}.downsample', name)
        moved[name.replace('head.fc.', 'head.')] = value
    return moved


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


def drawn(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
