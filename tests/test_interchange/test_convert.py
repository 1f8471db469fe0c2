"""What is refused, what is reported, what a file may say, and how files are written."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from mimselfsup.engine.checkpoint import BrokenCheckpointError, CheckpointError, load_pretrained
from mimselfsup.interchange import convert, save
from mimselfsup.interchange.architecture import vit_config
from mimselfsup.interchange.literals import read_literals
from mimselfsup.interchange.names import shortened
from mimselfsup.models.backbones import MaskedViT

from .foreign import (
    HEADS,
    PATCH,
    SIDE,
    WIDTH,
    assert_same,
    beit,
    drawn,
    images,
    our_tokens,
    swin,
    tokens_of,
    vit,
    without_head,
)


def written(folder, content, name='file.pth'):
    torch.save(content, folder / name)
    return folder / name


def test_an_unknown_file_is_refused_with_all_its_names(tmp_path):
    state = {f'trunk.{i}.gate.weight': torch.ones(1) for i in range(12)} | dict(temperature=torch.ones(1))
    with pytest.raises(CheckpointError) as error:
        convert(written(tmp_path, dict(model=state)))
    assert "not recognised; its names under 'model' are trunk.{0-11}.gate.weight (12), temperature" in str(error.value)


def test_a_file_without_weights_names_its_entries(tmp_path):
    with pytest.raises(CheckpointError, match='no table of weights; its entries are epoch, optimizer'):
        convert(written(tmp_path, dict(epoch=1, optimizer={})))
    with pytest.raises(CheckpointError, match='holds no table of weights but a list'):
        convert(written(tmp_path, [1]))


def test_unknown_weights_are_refused_unless_they_are_named(tmp_path):
    """Normed queries, say: leaving them out would be another network."""
    state = vit().state_dict() | {f'blocks.{i}.attn.q_norm.weight': drawn(16) for i in range(2)}
    path = written(tmp_path, state)
    with pytest.raises(CheckpointError, match=r'unknown \(2\): blocks\.\{0-1\}\.attn\.q_norm\.weight \(2\); without'):
        convert(path, num_heads=HEADS)
    with pytest.raises(CheckpointError, match=r'unknown \(1\): blocks\.1\.attn'):
        convert(path, num_heads=HEADS, allow_unknown=['blocks.0.attn.q_norm'])
    found = convert(path, num_heads=HEADS, allow_unknown=['blocks.0.attn.q_norm', 'blocks.1.'])
    assert [name for name, why in found.left_out.items() if 'unknown' in why] == [
        f'blocks.{i}.attn.q_norm.weight' for i in range(2)
    ]


@pytest.mark.parametrize('absent', ['blocks.1.mlp.fc2.bias', 'pos_embed', 'patch_embed.proj.weight', 'norm.bias'])
def test_a_backbone_with_a_hole_is_refused(tmp_path, absent):
    state = vit().state_dict()
    del state[absent]
    with pytest.raises(CheckpointError):
        convert(written(tmp_path, state), num_heads=HEADS)


def test_heads_are_not_guessed(tmp_path):
    path = written(tmp_path, vit().state_dict())
    with pytest.raises(CheckpointError, match=r'num(ber of attention)? ?heads.*--num-heads'):
        convert(path)
    with pytest.raises(CheckpointError, match='num_heads=5 does not fit: the width is 48'):
        convert(path, num_heads=5)
    with pytest.raises(CheckpointError, match=r'num_heads=4.*tables of relative positions for 3'):
        convert(written(tmp_path, beit(use_rel_pos_bias=True).state_dict()), num_heads=4)


@pytest.mark.parametrize('width, depth, heads', [(192, 12, 3), (384, 12, 6), (768, 12, 12), (1280, 32, 16)])
def test_usual_sizes_have_their_usual_heads(width, depth, heads):
    state = {f'layers.{i}.ffn.layers.0.0.weight': torch.empty(4 * width, width, device='meta') for i in range(depth)}
    state |= {
        'patch_embed.projection.weight': torch.empty(width, 3, 14, 16, device='meta'),
        'cls_token': torch.empty(1, 1, width, device='meta'),
        'pos_embed': torch.empty(1, 257, width, device='meta'),
    }
    config = vit_config(state, {})
    assert config['arch']['num_heads'] == heads
    assert (config['patch_size'], config['img_size']) == ((14, 16), (224, 256))


def test_the_wrong_network_or_source_is_refused(tmp_path):
    path = written(tmp_path, vit().state_dict())
    with pytest.raises(ValueError, match='timm has one network there, no student'):
        convert(path, network='student', num_heads=HEADS)
    with pytest.raises(ValueError, match="network='pupil', must be one of teacher, student"):
        convert(path, network='pupil')
    with pytest.raises(ValueError, match="source='dinov9', must be auto or one of attmask"):
        convert(path, 'dinov9')
    with pytest.raises(CheckpointError, match=r'taken for simmim, has no backbone'):
        convert(path, 'simmim')


def test_the_account_is_complete(tmp_path):
    state = vit().state_dict()
    lines = str(convert(written(tmp_path, dict(model=state, epoch=3)), num_heads=HEADS)).splitlines()
    assert lines[0] == 'recognised: timm'
    assert lines[1] == f'converted: {len(state) - 2} tensors'
    assert lines[2].startswith('backbone: MaskedViT(arch={')
    assert lines[3].endswith('(ImageNet, by default)')
    assert lines[4:] == [
        'resized: nothing', 'left out, head of another task: head.weight, head.bias', 'not weights: epoch'
    ]  # fmt: skip


def test_positions_are_resized_for_the_size_asked_for(tmp_path):
    network = vit()
    found = convert(written(tmp_path, network.state_dict()), num_heads=HEADS, img_size=64)
    assert found.resized == ['pos_embed'] and found.config['img_size'] == 64
    own = convert(tmp_path / 'file.pth', num_heads=HEADS).backbone
    # The backbone resizes for other images anyway, by the same rule.
    assert_same(our_tokens(found.backbone, images(64)), our_tokens(own, images(64)))
    with pytest.raises(CheckpointError, match='img_size=60: the sides must be multiples of 8'):
        convert(tmp_path / 'file.pth', num_heads=HEADS, img_size=60)
    relative = written(tmp_path, beit(use_rel_pos_bias=True).state_dict())
    with pytest.raises(CheckpointError, match='tables of relative positions are not resized'):
        convert(relative, img_size=64)


def test_positions_of_an_oblong_image_need_its_size(tmp_path):
    network = vit(img_size=(32, 40))
    path = written(tmp_path, network.state_dict())
    with pytest.raises(CheckpointError, match=r'20 positions are those of no square image; give its size'):
        convert(path, num_heads=HEADS)
    with pytest.raises(CheckpointError, match=r'img_size=64: 20 positions'):
        convert(path, num_heads=HEADS, img_size=64)
    for size in ((32, 40), (32, 48)):  # the latter with [CLS] has as many positions as 5 x 5 patches without
        network = vit(img_size=size)
        found = convert(written(tmp_path, network.state_dict()), num_heads=HEADS, img_size=size)
        picture = torch.randn(1, 3, *size)
        assert_same(our_tokens(found.backbone, picture), tokens_of(network, picture))


def test_windows_of_several_sizes_are_refused(tmp_path):
    path = written(tmp_path, swin(img_size=32).state_dict())  # timm shrinks windows to small maps
    with pytest.raises(CheckpointError, match=r'windows of one size, this one of \[4, 4, 4, 2\] tokens'):
        convert(path)


CONFIG = """
data_preprocessor = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True)
harm = __import__('os').mkdir({marker!r})
model = dict(
    type='MaskedImageModeling',
    backbone=dict(type='os.mkdir', arch=dict(embed_dims=48, num_heads=3), position_resize='dino', img_size=32))
"""


def test_a_training_file_says_what_shapes_do_not_and_nothing_of_it_runs(tmp_path):
    text = CONFIG.format(marker=str(tmp_path / 'ran'))
    state = {f'backbone.{name}': value for name, value in tiny().state_dict().items()}
    content = dict(state_dict=state | {'decoder.x': drawn(1)}, meta=dict(cfg=text, epoch=1))
    found = convert(written(tmp_path, content))
    assert found.family == 'mimselfsup' and not (tmp_path / 'ran').exists()
    assert found.config['type'] == 'MaskedViT' and found.config['arch']['num_heads'] == 3
    assert found.config['position_resize'] == 'dino'
    assert (found.pixel_mean, found.pixel_std, found.pixels_from) == ((1, 2, 3), (4, 5, 6), 'the file')


def tiny():
    arch = dict(embed_dims=WIDTH, num_layers=1, num_heads=HEADS, feedforward_channels=96)
    return MaskedViT(arch, img_size=SIDE, patch_size=PATCH)


@pytest.mark.parametrize(
    'backbone',
    [dict(arch=dict(num_heads='3')), dict(arch='small'), dict(arch=['x']), 'MaskedViT', dict(norm_cfg=dict(eps='x'))],
)
def test_nonsense_in_a_file_is_passed_over(tmp_path, backbone):
    path = written(tmp_path, dict(state_dict=tiny().state_dict(), meta=dict(backbone=backbone)))
    if backbone == dict(arch='small'):  # 6 heads, which divide the width as well
        assert convert(path).config['arch']['num_heads'] == 6
    else:
        with pytest.raises(CheckpointError, match='--num-heads'):
            convert(path)


def test_literals_are_read_and_calls_are_not():
    text = 'a = dict(b=[1, -2.5, (True, None)], c={"d": "e"})\nf = open("x")\nfor g in h: pass\ni = dict(**j)\nk = 3'
    assert read_literals(text) == dict(a=dict(b=[1, -2.5, [True, None]], c=dict(d='e')), k=3)
    assert read_literals('a = (') == read_literals('\0') == {}


@pytest.mark.parametrize('name', ['ours.pth', 'ours.safetensors'])
def test_ours_are_written_for_pretrained_and_with_what_they_need(tmp_path, name):
    """Reading them again needs no number of heads, and --pretrained takes them as they are."""
    first = convert(written(tmp_path, vit().state_dict()), num_heads=HEADS)
    save(first, tmp_path / name, 'mimselfsup')
    again = convert(tmp_path / name)
    assert again.family == 'mmpretrain' and again.config == first.config
    for key, value in first.backbone.state_dict().items():
        assert torch.equal(again.backbone.state_dict()[key], value)
    if name.endswith('.pth'):
        model = torch.nn.Module()
        model.backbone = MaskedViT(first.config['arch'], img_size=SIDE, patch_size=PATCH)
        load_pretrained(model, tmp_path / name)
        assert_same(our_tokens(model.backbone.eval(), images()), our_tokens(first.backbone, images()))
        assert torch.load(tmp_path / name, weights_only=True)['meta']['converted_from'] == 'timm'


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    found = convert(written(tmp_path, vit().state_dict()), num_heads=HEADS)
    out = tmp_path / 'out.safetensors'
    save(found, out, 'timm')
    before = out.read_bytes()
    monkeypatch.setattr(os, 'fsync', lambda descriptor: (_ for _ in ()).throw(OSError('disk full')))
    with pytest.raises(OSError, match='disk full'):
        save(found, out, 'mimselfsup')
    assert out.read_bytes() == before and sorted(os.listdir(tmp_path)) == ['file.pth', 'out.safetensors']


def test_torn_and_absent_files(tmp_path):
    save_file(without_head(vit().state_dict()), tmp_path / 'whole.safetensors')
    (tmp_path / 'torn.safetensors').write_bytes((tmp_path / 'whole.safetensors').read_bytes()[:-9])
    with pytest.raises(BrokenCheckpointError, match=r'torn\.safetensors is torn'):
        convert(tmp_path / 'torn.safetensors')
    for name in ('absent.safetensors', 'absent.pth'):
        with pytest.raises(FileNotFoundError, match='does not exist'):
            convert(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r'has no model\.safetensors'):
        convert(tmp_path)


def test_notes_of_other_programs_in_safetensors_do_no_harm(tmp_path):
    for note in ('[1]', 'no json', '{"backbone": 3}'):
        save_file(without_head(vit().state_dict()), tmp_path / 'x.safetensors', {'mimselfsup': note})
        assert convert(tmp_path / 'x.safetensors', num_heads=HEADS).family == 'timm'


def test_safetensors_has_the_note_of_its_backbone(tmp_path):
    found = convert(written(tmp_path, vit().state_dict()), num_heads=HEADS)
    save(found, tmp_path / 'timm.safetensors', 'timm')
    import safetensors

    with safetensors.safe_open(tmp_path / 'timm.safetensors', 'pt') as file:
        assert json.loads(file.metadata()['mimselfsup'])['backbone']['arch']['num_heads'] == HEADS
    assert load_file(tmp_path / 'timm.safetensors').keys() == without_head(vit().state_dict()).keys()


def test_names_are_shortened_without_losing_any():
    names = ['a', 'b.0.c.1', 'b.3.c.1', 'b.2.c.1', 'd7']
    assert shortened(names) == ['a', 'b.{0-3}.c.1 (3)', 'd7']
