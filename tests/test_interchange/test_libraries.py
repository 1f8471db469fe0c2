"""transformers and torchvision: names by rule, and their networks where they are installed."""

import copy
import os
import subprocess
import sys

import pytest
import torch
import torchvision

from mimselfsup.interchange import convert, export, save
from mimselfsup.registry import MODELS

from .foreign import DEPTH, HEADS, PATCH, SIDE, WIDTH, assert_same, images, our_tokens, randomised

ARCH = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=96)


def ours(kind='MaskedViT', **settings):
    return randomised(MODELS.build(dict(type=kind, arch=ARCH, img_size=SIDE, patch_size=PATCH) | settings))


def converted(backbone, folder, **settings):
    torch.save(backbone.state_dict(), folder / 'ours.pth')
    return convert(folder / 'ours.pth', **settings)


KINDS = dict(
    plain=dict(),
    masked=dict(hidden='replace'),
    eps=dict(norm_cfg=dict(type='LN', eps=0.1)),
    scaled=dict(layer_scale_init_value=0.1),
    shared=dict(position='shared_relative', layer_scale_init_value=0.1),
    own=dict(kind='RelativeViT', final_norm=True, out_type='raw'),
    own_pooled=dict(kind='RelativeViT', use_abs_pos_emb=True),
)


def a_conversion(kind, folder):
    """The backbone, and what a conversion makes of a file that says what it was trained with."""
    backbone = ours(**KINDS[kind])
    norm = KINDS[kind].get('norm_cfg', {})
    meta = dict(backbone=dict(arch=ARCH, norm_cfg=norm))
    torch.save(dict(state_dict=backbone.state_dict(), meta=meta), folder / 'ours.pth')
    return backbone, convert(folder / 'ours.pth')


def test_names_of_transformers_by_rule(tmp_path):
    """As the Hub has them: google/vit-base-patch16-224 and its kin."""
    _, found = a_conversion('masked', tmp_path)
    tensors = export(found, 'huggingface').tensors
    block = 'encoder.layer.1.'
    dense = (
        'attention.attention.query',
        'attention.attention.key',
        'attention.attention.value',
        'attention.output.dense',
        'intermediate.dense',
        'output.dense',
        'layernorm_before',
        'layernorm_after',
    )
    expected = {f'{block}{name}.{kind}' for name in dense for kind in ('weight', 'bias')}
    assert {name for name in tensors if name.startswith(block)} == expected
    embeddings = ('cls_token', 'mask_token', 'position_embeddings')
    embeddings += ('patch_embeddings.projection.weight', 'patch_embeddings.projection.bias')
    others = {f'embeddings.{name}' for name in embeddings} | {'layernorm.weight', 'layernorm.bias'}
    assert {name for name in tensors if not name.startswith('encoder.')} == others
    fused = found.backbone.layers[1].attn.qkv.weight
    assert torch.equal(tensors[f'{block}attention.attention.key.weight'], fused[WIDTH : 2 * WIDTH])


@pytest.mark.parametrize('kind', KINDS)
def test_round_trip_through_transformers_files(tmp_path, kind):
    backbone, found = a_conversion(kind, tmp_path)
    save(found, tmp_path / 'hub', 'huggingface')
    again = convert(tmp_path / 'hub')
    assert again.family == 'huggingface'
    assert again.config['type'] == found.config['type'] and again.config['arch'] == found.config['arch']
    assert_same(our_tokens(again.backbone, images()), our_tokens(backbone, images()))
    for name, value in backbone.state_dict().items():
        if not (kind in ('scaled', 'shared') and name.endswith('qkv.bias')):  # the key bias, which BEiT lacks
            assert torch.equal(again.backbone.state_dict()[name], value), name


THEIRS = """
import sys, torch, transformers
for folder in sys.argv[1:]:
    config = transformers.AutoConfig.from_pretrained(f'{folder}/hub')
    pooled = dict(add_pooling_layer=bool(getattr(config, 'use_mean_pooling', False)))
    kind = getattr(transformers, config.architectures[0])
    network, info = kind.from_pretrained(f'{folder}/hub', output_loading_info=True, **pooled)
    with torch.no_grad():
        found = network.double()(torch.load(f'{folder}/images.pth').double())
    names = dict(missing=sorted(info['missing_keys']), unexpected=sorted(info['unexpected_keys']))
    torch.save(dict(tokens=found.last_hidden_state, pooled=found.pooler_output, **names), f'{folder}/theirs.pth')
    network.float().save_pretrained(f'{folder}/saved')
    torch.save(network.state_dict(), f'{folder}/memory.pth')
"""


@pytest.mark.skipif('TRANSFORMERS_PATH' not in os.environ, reason='TRANSFORMERS_PATH names no folder with transformers')
def test_transformers_gives_the_same_features(tmp_path):
    """In a process of its own: mmpretrain cannot be imported where transformers 5 is installed.

    pip install --target DIR transformers; TRANSFORMERS_PATH=DIR pytest ...
    """
    backbones = {}
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        backbones[kind], found = a_conversion(kind, tmp_path / kind)
        save(found, tmp_path / kind / 'hub', 'huggingface')
        torch.save(images(), tmp_path / kind / 'images.pth')
    folders = [str(tmp_path / kind) for kind in KINDS]
    path = dict(PYTHONPATH=os.environ['TRANSFORMERS_PATH'], HF_HUB_OFFLINE='1')
    subprocess.run([sys.executable, '-c', THEIRS, *folders], env=os.environ | path, check=True)
    for kind, backbone in backbones.items():
        theirs = torch.load(tmp_path / kind / 'theirs.pth')
        assert theirs['missing'] == []
        assert theirs['unexpected'] == (['embeddings.mask_token'] if kind == 'masked' else [])
        assert_same(theirs['tokens'], our_tokens(backbone, images()))
        if kind == 'own_pooled':
            with torch.no_grad():
                assert_same(theirs['pooled'], copy.deepcopy(backbone).double()(images().double())[0])
        for file in ('saved', 'memory.pth') if kind != 'eps' else ('saved',):  # shapes do not have that
            again = convert(tmp_path / kind / file, num_heads=HEADS)
            assert again.family == 'huggingface'
            assert_same(our_tokens(again.backbone, images()), our_tokens(backbone, images()))


def test_torchvision_gives_the_same_features_both_ways(tmp_path):
    sizes = dict(image_size=SIDE, patch_size=PATCH, num_layers=DEPTH, num_heads=HEADS, hidden_dim=WIDTH, mlp_dim=96)
    network = randomised(torchvision.models.VisionTransformer(**sizes, num_classes=5))
    torch.save(network.state_dict(), tmp_path / 'torchvision.pth')
    found = convert(tmp_path / 'torchvision.pth', num_heads=HEADS)
    assert found.family == 'torchvision' and set(found.left_out) == {'heads.head.weight', 'heads.head.bias'}
    made = export(found, 'torchvision')
    expected = {name: value for name, value in network.state_dict().items() if not name.startswith('heads.')}
    assert made.tensors.keys() == expected.keys()
    assert all(torch.equal(made.tensors[name], value) for name, value in expected.items())
    network.heads = torch.nn.Identity()
    with torch.no_grad():
        assert_same(our_tokens(found.backbone, images())[:, 0], network.double()(images().double()))


@pytest.mark.parametrize(
    'settings, to, message',
    [
        (dict(pre_norm=True), 'huggingface', 'no norm before the first block'),
        (dict(final_norm=False, out_type='raw'), 'huggingface', 'this backbone has none'),
        (dict(with_cls_token=False, out_type='featmap'), 'huggingface', r'one \[CLS\] token'),
        (dict(layer_scale_init_value=0.1), 'torchvision', r'has no layers\.0\.attn\.gamma1\.weight; write --to timm'),
        (dict(final_norm=False, out_type='raw'), 'torchvision', r'needs encoder\.ln\.weight'),
        (dict(num_cls_tokens=2), 'torchvision', r'one \[CLS\] token, this backbone 2'),
    ],
)
def test_what_a_library_cannot_express_is_refused(tmp_path, settings, to, message):
    found = converted(ours(**settings), tmp_path, num_heads=HEADS)
    with pytest.raises(ValueError, match=message):
        export(found, to)


def test_a_swin_is_written_for_timm_alone(tmp_path):
    arch = dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2])
    swin = MODELS.build(dict(type='MaskedSwin', arch=arch, img_size=64, patch_size=2, window_size=4))
    found = converted(swin, tmp_path)
    for to in ('huggingface', 'torchvision'):
        with pytest.raises(ValueError, match=f'written for timm, not for {to}'):
            export(found, to)


def test_a_folder_is_wanted_for_transformers_and_a_file_for_others(tmp_path):
    _, found = a_conversion('plain', tmp_path)
    with pytest.raises(ValueError, match='transformers reads folders'):
        save(found, tmp_path / 'model.safetensors', 'huggingface')
    with pytest.raises(ValueError, match=r'must end in one of \.pth'):
        save(found, tmp_path / 'model.onnx', 'timm')
    assert not (tmp_path / 'model.onnx').exists() and not (tmp_path / 'model.safetensors').exists()
