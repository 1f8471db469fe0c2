"""The layouts of official codes, by the rules of their names, around networks of timm with random weights."""

import sys
import types
from argparse import Namespace

import pytest
import torch
import torchvision
from mmpretrain.models.backbones import BEiTViT
from torch import nn

from mimselfsup.interchange import convert
from mimselfsup.models.necks.linear_decoder import linear_to_conv
from mimselfsup.registry import MODELS
from mimselfsup.structures import TokenMask

from .foreign import (
    DEPTH,
    HEADS,
    PATCH,
    SIDE,
    WIDTH,
    assert_same,
    beit,
    drawn,
    images,
    our_tokens,
    prefixed,
    randomised,
    swin,
    tokens_of,
    vit,
    with_norms_merged_at_the_end,
    without_head,
)

PATCHES = (SIDE // PATCH) ** 2


def written(folder, **content):
    torch.save(content, folder / 'official.pth')
    return folder / 'official.pth'


def head(seed, prototypes=10, patch_prototypes=None):
    """Of DINO: an MLP and a weight-normed layer, in torch's older names."""
    sizes = {0: (24, WIDTH), 2: (24, 24), 4: (6, 24)}
    state = {}
    for place, size in sizes.items():
        state[f'mlp.{place}.weight'] = drawn(*size, seed=seed + place)
        state[f'mlp.{place}.bias'] = drawn(size[0], seed=seed + place + 10)
    state |= {'last_layer.weight_g': torch.ones(prototypes, 1), 'last_layer.weight_v': drawn(prototypes, 6, seed=seed)}
    if patch_prototypes:
        state |= {
            'last_layer2.weight_g': torch.ones(patch_prototypes, 1),
            'last_layer2.weight_v': drawn(patch_prototypes, 6, seed=seed + 5),
        }
    return state


def self_distillation(folder, parallel=True, masked=False, **content):
    """What main_dino.py and main_ibot.py save: the student inside data parallel training, the teacher bare."""
    networks = dict(student=vit(), teacher=randomised(vit(), seed=7))
    tables = {}
    for name, network in networks.items():
        state = prefixed(without_head(network.state_dict()), 'backbone.')
        state |= prefixed(head(dict(student=20, teacher=40)[name]), 'head.')
        if masked:
            state['backbone.masked_embed'] = drawn(1, WIDTH, seed=9)
        tables[name] = prefixed(state, 'module.') if parallel and name == 'student' else state
    content = dict(optimizer=dict(state={}), epoch=3, args=Namespace(arch='vit_small', patch_size=PATCH)) | content
    return written(folder, **tables, **content), networks


@pytest.mark.parametrize('network', ['teacher', 'student', None])
def test_dino_gives_the_network_that_is_asked_for(tmp_path, network):
    path, networks = self_distillation(tmp_path, dino_loss=dict(center=torch.zeros(1, 10)))
    found = convert(path, network=network, num_heads=HEADS)
    assert (found.family, found.network) == ('dino', network or 'teacher')
    assert found.config['position_resize'] == 'dino'
    assert_same(our_tokens(found.backbone, images()), tokens_of(networks[found.network], images()))
    assert found.entries == ['optimizer', 'epoch', 'args', 'dino_loss']


def test_every_tensor_of_dino_is_converted_or_named(tmp_path):
    path, _ = self_distillation(tmp_path)
    found = convert(path, num_heads=HEADS)
    each = 4 + 12 * DEPTH + 2 + 8  # the first 4 are [CLS], positions and patch embedding
    assert found.num_read == each == len(found.backbone.state_dict()) + len(found.others)
    assert len(found.left_out) == each and all(name.startswith('student: ') for name in found.left_out)


def test_head_of_dino_becomes_our_projector(tmp_path):
    path, _ = self_distillation(tmp_path)
    found = convert(path, num_heads=HEADS)
    sizes = dict(in_channels=WIDTH, num_prototypes=10, hidden=24, bottleneck=6)
    projector = MODELS.build(dict(type='Projector', **sizes)).eval()
    state = {name.removeprefix('projector.'): value for name, value in found.others.items()}
    assert projector.load_state_dict(state, strict=False) == ([], [])
    features, official = drawn(4, WIDTH), head(40)
    hidden = features
    for place in (0, 2, 4):
        hidden = hidden @ official[f'mlp.{place}.weight'].T + official[f'mlp.{place}.bias']
        hidden = nn.functional.gelu(hidden) if place < 4 else nn.functional.normalize(hidden, dim=-1)
    directions = nn.functional.normalize(official['last_layer.weight_v'], dim=-1)
    torch.testing.assert_close(projector.logits(projector(features)), hidden @ directions.T, rtol=0, atol=1e-5)


@pytest.mark.parametrize('shape, family', [('block', 'ibot'), ('attmask_hint', 'attmask')])
def test_ibot_and_attmask_bring_a_mask_token(tmp_path, shape, family):
    path, networks = self_distillation(
        tmp_path, masked=True, args=Namespace(pred_shape=shape), ibot_loss=dict(center=torch.zeros(1, 10))
    )
    found = convert(path, num_heads=HEADS)
    assert found.family == family and found.config['hidden'] == 'replace'
    assert torch.equal(found.backbone.mask_token.flatten(), drawn(1, WIDTH, seed=9).flatten())
    assert_same(our_tokens(found.backbone, images()), tokens_of(networks['teacher'], images()))


@pytest.mark.parametrize('patch_prototypes', [None, 7])
def test_head_for_patches_of_ibot_is_kept_where_it_is_one_of_its_own(tmp_path, patch_prototypes):
    state = head(40, patch_prototypes=patch_prototypes)
    if patch_prototypes is None:  # shared: the same tensors under a second name
        state |= {f'last_layer2.{part}': state[f'last_layer.{part}'] for part in ('weight_g', 'weight_v')}
    table = prefixed(without_head(vit().state_dict()), 'backbone.') | prefixed(state, 'head.')
    found = convert(written(tmp_path, student=table, teacher=table, ibot_loss={}), num_heads=HEADS)
    gains = found.others.get('projector.patch_last_layer.parametrizations.weight.original0')
    if patch_prototypes:
        assert len(gains) == 7
    else:
        assert gains is None
        assert found.left_out['teacher: head.last_layer2.weight_g'].startswith('the same as last_layer')


def test_bare_release_of_dino_is_timms_until_the_user_knows_better(tmp_path):
    torch.save(without_head(vit().state_dict()), tmp_path / 'dino_pretrain.pth')
    found = convert(tmp_path / 'dino_pretrain.pth', num_heads=HEADS)
    assert found.family == 'timm' and 'position_resize' not in found.config
    assert convert(tmp_path / 'dino_pretrain.pth', 'dino', num_heads=HEADS).config['position_resize'] == 'dino'


@pytest.mark.parametrize('network', ['student', 'teacher', None])
def test_mocov3(tmp_path, network):
    networks = dict(base_encoder=vit(), momentum_encoder=randomised(vit(), seed=7))
    state = {}
    for name, encoder in networks.items():
        state |= prefixed(without_head(encoder.state_dict()), f'module.{name}.')
        state[f'module.{name}.head.0.weight'] = drawn(8, WIDTH)
    state['module.predictor.0.weight'] = drawn(8, 8)
    found = convert(written(tmp_path, arch='vit_small', state_dict=state, epoch=300), network=network, num_heads=HEADS)
    assert found.family == 'mocov3' and found.network == (network or 'student')  # the paper evaluates the base
    expected = networks['momentum_encoder' if network == 'teacher' else 'base_encoder']
    assert_same(our_tokens(found.backbone, images()), tokens_of(expected, images()))
    assert 'predictor.0.weight' in found.left_out


def test_small_vit_of_mocov3_has_twelve_heads(tmp_path):
    encoder = without_head(vit(embed_dim=384, num_heads=12, depth=1).state_dict())
    state = prefixed(encoder, 'module.base_encoder.') | prefixed(encoder, 'module.momentum_encoder.')
    assert convert(written(tmp_path, state_dict=state)).config['arch']['num_heads'] == 12


def mae_state(width=32):
    """An encoder and a decoder, both of timm's blocks; and the decoder's as modules."""
    encoder, decoder = vit(), vit(embed_dim=width, num_heads=4, depth=1)
    decoder_state = decoder.state_dict()
    state = without_head(encoder.state_dict())
    state |= {
        'mask_token': drawn(1, 1, width, seed=11),
        'decoder_pos_embed': decoder_state['pos_embed'],
        'decoder_embed.weight': drawn(width, WIDTH, seed=12),
        'decoder_embed.bias': drawn(width, seed=13),
        'decoder_norm.weight': decoder_state['norm.weight'],
        'decoder_norm.bias': decoder_state['norm.bias'],
        'decoder_pred.weight': drawn(3 * PATCH**2, width, seed=14),
        'decoder_pred.bias': drawn(3 * PATCH**2, seed=15),
    }
    blocks = {name: value for name, value in decoder_state.items() if name.startswith('blocks.')}
    return state | prefixed(blocks, 'decoder_'), encoder, decoder


@torch.no_grad()
def test_mae_keeps_its_decoder(tmp_path):
    state, encoder, decoder = mae_state()
    found = convert(written(tmp_path, model=state), num_heads=HEADS)
    assert found.family == 'mae' and found.config['hidden'] == 'drop'
    assert not found.left_out and found.num_read == len(state)
    assert_same(our_tokens(found.backbone, images()), tokens_of(encoder, images()))

    ours = dict(type='TransformerDecoder', in_channels=WIDTH, out_channels=3 * PATCH**2, grid=(4, 4))
    neck = MODELS.build(ours | dict(width=32, depth=1, num_heads=4))
    weights = {name.removeprefix('decoder.'): value for name, value in found.others.items()}
    assert neck.load_state_dict(weights, strict=False) == ([], [])
    masked = torch.zeros(2, PATCHES, dtype=torch.bool)
    masked[:, ::3] = True
    mask = TokenMask(masked)
    tokens = found.backbone.encode(images(), mask)
    # Published order: mask tokens are put into their places, then positions are added to all.
    embedded = torch.cat([tokens.extra, tokens.patches], 1) @ state['decoder_embed.weight'].T
    embedded = embedded + state['decoder_embed.bias']
    whole = state['mask_token'].repeat(2, 1 + PATCHES, 1)
    whole[:, 0] = embedded[:, 0]
    for row in range(2):
        whole[row, 1:][~masked[row]] = embedded[row, 1:]
    hidden = decoder.norm(decoder.blocks(whole + state['decoder_pos_embed']))
    pixels = (hidden @ state['decoder_pred.weight'].T + state['decoder_pred.bias'])[:, 1:]
    expected = torch.stack([pixels[row][masked[row]] for row in range(2)])
    torch.testing.assert_close(neck.eval()(tokens, mask), expected, rtol=0, atol=1e-4)


def test_simmim_vit_has_one_table_and_a_convolution(tmp_path, monkeypatch):
    encoder = beit(use_shared_rel_pos_bias=True)
    state = prefixed(without_head(encoder.state_dict()), 'encoder.')
    state |= {
        'encoder.mask_token': drawn(1, 1, WIDTH, seed=9),
        'encoder.rel_pos_bias.relative_position_index': torch.zeros(17, 17, dtype=torch.int64),
        'decoder.0.weight': drawn(3 * PATCH**2, WIDTH, 1, 1, seed=10),
        'decoder.0.bias': drawn(3 * PATCH**2, seed=11),
    }
    # The file has the configuration of the run as an object of yacs.
    yacs = types.ModuleType('yacs.config')
    yacs.CfgNode = type('CfgNode', (dict,), dict(__module__='yacs.config'))
    monkeypatch.setitem(sys.modules, 'yacs', types.ModuleType('yacs'))
    monkeypatch.setitem(sys.modules, 'yacs.config', yacs)
    config = yacs.CfgNode(MODEL=yacs.CfgNode(TYPE='vit'))
    config.__dict__['__immutable__'] = True
    path = written(tmp_path, model=state, config=config, epoch=799)
    monkeypatch.undo()
    found = convert(path)
    assert (found.family, found.config['position']) == ('simmim', 'shared_relative')
    assert_same(our_tokens(found.backbone, images()), tokens_of(encoder, images()))
    back = linear_to_conv(found.others['decoder.prediction.weight'], 1)
    assert torch.equal(back, state['decoder.0.weight'])
    assert list(found.left_out) == ['encoder.rel_pos_bias.relative_position_index']
    assert found.entries == ['config', 'epoch']


def test_simmim_swin_predicts_cells_of_32_pixels(tmp_path):
    encoder = swin()  # of patches of 2 px, so 16 px to an output token
    state = prefixed(without_head(with_norms_merged_at_the_end(encoder.state_dict())), 'encoder.')
    state |= {
        'encoder.mask_token': drawn(1, 1, 12, seed=9),
        'decoder.0.weight': drawn(3 * 16**2, 96, 1, 1, seed=10),
        'decoder.0.bias': drawn(3 * 16**2, seed=11),
    }
    found = convert(written(tmp_path, model=state), img_size=64)
    assert (found.family, found.config['type']) == ('simmim', 'MaskedSwin')
    assert_same(our_tokens(found.backbone, images(64)), tokens_of(encoder, images(64)))
    back = linear_to_conv(found.others['decoder.prediction.bias'], cells=8)
    assert torch.equal(back, state['decoder.0.bias'])
    assert torch.equal(found.backbone.mask_token, state['encoder.mask_token'])


def test_beit_before_fine_tuning(tmp_path):
    encoder = beit(use_shared_rel_pos_bias=True)
    state = without_head(encoder.state_dict()) | {
        'mask_token': drawn(1, 1, WIDTH, seed=9),
        'lm_head.weight': drawn(20, WIDTH, seed=10),
        'lm_head.bias': drawn(20, seed=11),
        'cls_pt_layers.0.norm1.weight': drawn(WIDTH),
    }
    found = convert(written(tmp_path, model=state))
    assert found.family == 'beit' and found.config['layer_scale_init_value'] > 0
    assert found.pixel_mean == found.pixel_std == (127.5, 127.5, 127.5)
    assert_same(our_tokens(found.backbone, images()), tokens_of(encoder, images()))
    assert torch.equal(found.others['decoder.prediction.weight'], state['lm_head.weight'])
    assert list(found.left_out) == ['cls_pt_layers.0.norm1.weight']


@pytest.mark.parametrize('separate', [False, True])
def test_maskfeat_of_slowfast(tmp_path, separate):
    encoder = vit()
    state = without_head(encoder.state_dict()) | {
        'mask_token': drawn(1, 1, WIDTH, seed=9),
        'pred_head.projections.0.weight': drawn(27, WIDTH, seed=10),
        'pred_head.projections.0.bias': drawn(27, seed=11),
    }
    if separate:
        positions = state.pop('pos_embed')
        state |= dict(pos_embed_class=positions[:, :1], pos_embed_spatial=positions[:, 1:])
    found = convert(written(tmp_path, model_state=state, cfg='MODEL: {}', epoch=1), num_heads=HEADS)
    assert found.family == 'maskfeat' and found.config['hidden'] == 'replace'
    assert_same(our_tokens(found.backbone, images()), tokens_of(encoder, images()))
    assert torch.equal(found.others['decoder.prediction.bias'], state['pred_head.projections.0.bias'])


def our_vit(**settings):
    arch = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=96)
    config = dict(type='MaskedViT', arch=arch, img_size=SIDE, patch_size=PATCH) | settings
    return randomised(MODELS.build(config))


@pytest.mark.parametrize('bias', ['qkv', 'qv'])
def test_semanticmim_has_queries_apart_and_a_second_stack(tmp_path, bias):
    encoder = our_vit(num_cls_tokens=4, hidden='compress', layer_scale_init_value=0.1 if bias == 'qv' else 0)
    second = randomised(our_vit(layer_scale_init_value=0.1 if bias == 'qv' else 0), seed=5)

    def apart(state):
        """As the official code names them; with a bias of queries and values alone in the BEiT variant."""
        split = {}
        for name, value in state.items():
            if '.attn.qkv.' not in name:
                name = name.replace('attn.gamma1.weight', 'gamma_1').replace('ffn.gamma2.weight', 'gamma_2')
                split[name] = value
                continue
            stem, kind = name.split('.qkv.')
            query, key, value = value.chunk(3)
            if bias == 'qv' and kind == 'bias':
                key.zero_()
                split |= {f'{stem}.q_bias': query, f'{stem}.v_bias': value}
            else:
                split |= {f'{stem}.q.{kind}': query, f'{stem}.kv.{kind}': torch.cat([key, value])}
        return split

    state = prefixed(apart(encoder.state_dict()), 'backbone.')
    blocks = {name: value for name, value in second.state_dict().items() if name.startswith('layers.')}
    state |= {f'backbone.extra_{name}': value for name, value in apart(blocks).items()}
    state['backbone.mask_token'] = drawn(1, 1, WIDTH, seed=9)
    state |= {'neck.fc.weight': drawn(27, WIDTH, seed=10), 'neck.fc.bias': drawn(27, seed=11)}
    found = convert(written(tmp_path, state_dict=state, meta=dict(epoch=1)), num_heads=HEADS)
    assert found.family == 'semanticmim' and found.config['num_cls_tokens'] == 4 and not found.left_out
    assert_same(our_tokens(found.backbone, images()), our_tokens(encoder, images()))

    decoder = MODELS.build(dict(type='ProxyDecoder', in_channels=WIDTH, out_channels=27, grid=(4, 4)))
    decoder.bind(found.backbone)
    weights = {name.removeprefix('decoder.'): value for name, value in found.others.items()}
    assert decoder.load_state_dict(weights, strict=False) == ([], [])
    for ours, theirs in zip(decoder.blocks.state_dict().items(), second.layers.state_dict().items(), strict=True):
        assert ours[0] == theirs[0] and torch.equal(ours[1], theirs[1])


MMPRETRAIN = dict(
    classifier=({}, {'head.layers.head.weight': (5, WIDTH)}, {}),
    maskfeat=(dict(hidden='replace'), {'neck.fc.weight': (27, WIDTH)}, {'decoder.prediction.weight': (27, WIDTH)}),
    beit=(
        dict(hidden='replace', position='shared_relative'),
        {'head.cls_head.weight': (9, WIDTH), 'target_generator.x': (1,)},
        {'decoder.prediction.weight': (9, WIDTH)},
    ),
    mae=(
        {},
        {'neck.decoder_blocks.0.ffn.layers.0.0.weight': (6, 5), 'neck.ln1.bias': (5,)},
        {'decoder.decoder_blocks.0.ffn.layers.0.0.weight': (6, 5), 'decoder.ln1.bias': (5,)},
    ),
)


@pytest.mark.parametrize('kind', MMPRETRAIN)
def test_mmpretrain_is_read_with_its_heads(tmp_path, kind):
    settings, heads, expected = MMPRETRAIN[kind]
    network = our_vit(**settings)
    state = prefixed(network.state_dict(), 'backbone.') | {name: drawn(*size) for name, size in heads.items()}
    num_heads = None if settings.get('position') else HEADS
    found = convert(written(tmp_path, state_dict=state, meta=dict(epoch=1)), num_heads=num_heads)
    assert found.family == 'mmpretrain'
    assert_same(our_tokens(found.backbone, images()), our_tokens(network, images()))
    assert {name: tuple(value.shape) for name, value in found.others.items()} == expected
    assert len(found.others) + len([name for name in found.left_out if 'index' not in name]) == len(heads)


@pytest.mark.parametrize('tables', ['shared', 'own'])
def test_beit_of_mmpretrain(tmp_path, tables):
    arch = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=96)
    shared = tables == 'shared'
    settings = dict(use_rel_pos_bias=not shared, use_shared_rel_pos_bias=shared, final_norm=True, out_type='raw')
    network = randomised(BEiTViT(arch, img_size=SIDE, patch_size=PATCH, **settings))
    found = convert(written(tmp_path, state_dict=prefixed(network.state_dict(), 'backbone.')))
    assert found.config['type'] == ('MaskedViT' if shared else 'RelativeViT')
    with torch.no_grad():
        expected = network.double()(images().double())[0]
    assert_same(our_tokens(found.backbone, images()), expected)


def test_resnet_of_torchvision(tmp_path):
    network = torchvision.models.resnet18().eval()
    torch.save(network.state_dict(), tmp_path / 'resnet.pth')
    found = convert(tmp_path / 'resnet.pth')
    assert (found.family, found.config) == ('torchvision', dict(type='TokenResNet', depth=18))
    assert list(found.left_out) == ['fc.weight', 'fc.bias']
    network.fc = nn.Identity()
    with torch.no_grad():
        expected = network(images())
        found = found.backbone.encode(images()).patches.mean(1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_our_self_distillation_has_both_networks(tmp_path):
    networks = dict(teacher=our_vit(), student=randomised(our_vit(), seed=5))
    state = {}
    for name, network in networks.items():
        state |= prefixed(network.state_dict(), f'{name}.backbone.') | {f'{name}.projector.mlp.0.bias': drawn(4)}
    state['loss_function.center'] = drawn(1, 4)
    path = written(tmp_path, state_dict=state)
    for name, network in networks.items():
        found = convert(path, network=name, num_heads=HEADS)
        assert (found.family, found.network, list(found.others)) == ('mimselfsup', name, ['projector.mlp.0.bias'])
        assert_same(our_tokens(found.backbone, images()), our_tokens(network, images()))
