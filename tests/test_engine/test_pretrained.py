"""What becomes of a pre-trained backbone in another model: sizes, kinds of positions, and what is refused."""

import pytest
import torch
from torch import nn

from mimselfsup.engine.checkpoint import CheckpointError, fitting_arguments, load_pretrained
from mimselfsup.engine.checkpoint.pretrained import fitted_state, resize_table
from mimselfsup.models.backbones import MaskedSwin, MaskedViT, RelativeViT
from mimselfsup.transfer.models import ViTDet

ARCH = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
SWIN = dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])


def shaken(module, seed=0):
    """Random weights everywhere: what an initialisation leaves at zero, or at one, would prove nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module.eval()


def vit(side=16, **kwargs):
    kwargs = dict(out_type='featmap') | kwargs
    return shaken(MaskedViT(ARCH, img_size=side, patch_size=4, **kwargs))


def swin(window, **kwargs):
    return shaken(MaskedSwin(SWIN, img_size=64, window_size=window, **kwargs))


def model_of(backbone):
    model = nn.Module()
    model.backbone = shaken(backbone, seed=9)
    return model


def saved(tmp_path, *parts, **others):
    """A checkpoint with the states of ``parts``, (prefix, module) each, and of ``others``, tensors."""
    state = {f'{prefix}{name}': value for prefix, module in parts for name, value in module.state_dict().items()}
    path = tmp_path / 'run.pth'
    torch.save(dict(state_dict=state | others), path)
    return path


# --------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize('resize', ['exact', 'dino'])
@pytest.mark.parametrize('tokens', [1, 3])
def test_positions_are_resized_as_the_pre_trained_network_would_itself(tmp_path, resize, tokens):
    source = vit(num_cls_tokens=tokens, position_resize=resize)
    model = model_of(vit(side=40, num_cls_tokens=tokens, position_resize=resize))
    report = load_pretrained(model, saved(tmp_path, ('backbone.', source)))
    images = torch.randn(2, 3, 40, 40)
    torch.testing.assert_close(model.backbone(images)[0], source(images)[0])
    assert report.resized == ['pos_embed'] and not report.left_out and not report.missing


def test_a_detector_leaves_cls_tokens_out_and_begins_without_relative_positions(tmp_path):
    source = vit(num_cls_tokens=3)
    model = model_of(ViTDet(ARCH, img_size=32, patch_size=4, input_size=32, window_size=3))
    report = load_pretrained(model, saved(tmp_path, ('backbone.', source)))
    grown = source.positions((8, 8))
    assert torch.equal(model.backbone.pos_embed, grown[:, 3:]) and grown.shape[1] == 67
    tables = [name for name in model.backbone.state_dict() if name.endswith(('rel_pos_h', 'rel_pos_w'))]
    assert len(tables) == 4 and not any(model.backbone.state_dict()[name].any() for name in tables)
    assert sorted(report.missing) == sorted(tables) and report.left_out[0] == 'cls_token'


def test_relative_positions_along_an_axis_are_resized_linearly(tmp_path):
    """From one detector to another of larger windows: a ramp stays a ramp, but for its ends."""
    source, model = (
        ViTDet(ARCH, img_size=32, patch_size=4, input_size=32, window_size=w, global_blocks=()) for w in (2, 4)
    )
    with torch.no_grad():
        source.layers[0].attn.rel_pos_h.copy_(torch.tensor([[0.0], [1.0], [2.0]]).expand(3, 12))
    load_pretrained(model_of(model), saved(tmp_path, ('', source)))
    ramp = model.layers[0].attn.rel_pos_h[:, 5]
    step = 3 / 7
    torch.testing.assert_close(ramp, ((torch.arange(7) + 0.5) * step - 0.5).clamp(0, 2))


@pytest.mark.parametrize(('size', 'entries'), [((32, 32), 228), ((24, 32), 168)])
def test_a_shared_table_is_resized_as_the_pre_trained_network_would_itself(tmp_path, size, entries):
    source, backbone = vit(position='shared_relative'), vit(side=size, position='shared_relative')
    model = model_of(backbone)
    report = load_pretrained(model, saved(tmp_path, ('backbone.', source)))
    images = torch.randn(1, 3, *size)
    torch.testing.assert_close(model.backbone(images)[0], source(images)[0])
    assert report.resized == ['rel_pos_bias.relative_position_bias_table']
    assert f'(52, 2) -> ({entries}, 2)' in str(report)


def test_windows_of_swin_are_resized_and_what_they_say_of_no_distance_stays(tmp_path):
    source, model = swin(3), model_of(swin(5, out_indices=(0, 1, 2, 3), with_mask_token=False))
    report = load_pretrained(model, saved(tmp_path, ('backbone.', source)))
    name = 'stages.0.blocks.0.attn.w_msa.relative_position_bias_table'
    before, after = source.state_dict()[name], model.backbone.state_dict()[name]
    assert len(report.resized) == 4 and (before.shape, after.shape) == ((25, 1), (81, 1))
    torch.testing.assert_close(after[40], before[12])  # the middle of both is the distance 0
    # Norms of the stages are new, but for that of the last, which pre-training has.
    assert sorted(report.missing) == [f'norm{i}.{kind}' for i in range(3) for kind in ('bias', 'weight')]
    assert torch.equal(model.backbone.norm3.weight, source.norm3.weight) and report.left_out == ['mask_token']
    model.backbone(torch.randn(1, 3, 64, 64))  # its own index goes with its own table


def test_resized_tables_keep_constants_and_orientation():
    rows = torch.arange(5.0)[:, None].expand(5, 5)
    table = torch.stack([rows.flatten(), rows.T.flatten(), torch.full((25,), 7.0)], 1)
    grown = resize_table(table, (5, 5), False).T.reshape(3, 9, 9)
    assert torch.allclose(grown[2], torch.tensor(7.0))
    torch.testing.assert_close(grown[0], grown[1].T)
    torch.testing.assert_close(grown[0][:, 3], grown[0][:, 5])
    assert (grown[0].diff(dim=0) > 0).all()
    with_cls = torch.cat([table, torch.tensor([[1.0] * 3, [2.0] * 3, [3.0] * 3])])
    assert torch.equal(resize_table(with_cls, (5, 5), True)[-3:], with_cls[-3:])
    assert torch.equal(resize_table(with_cls, (3, 3), False), table)  # no room for [CLS]
    for wrong, with_cls, message in ((table[:21], False, 'square windows'), (table, True, 'cannot be made up')):
        with pytest.raises(CheckpointError, match=message):
            resize_table(wrong, (2, 3), with_cls)


def test_positions_of_no_square_grid_are_kept_or_refused(tmp_path):
    source = vit(side=(16, 24))
    path = saved(tmp_path, ('backbone.', source))
    model = model_of(vit(side=(16, 24)))
    load_pretrained(model, path)
    assert torch.equal(model.backbone.pos_embed, source.pos_embed)
    with pytest.raises(CheckpointError, match=r'pos_embed has 24 patches, which is no square grid'):
        load_pretrained(model_of(vit(side=32)), path)


# --------------------------------------------------------------------------------- kinds of networks


@pytest.mark.parametrize(
    ('own', 'theirs', 'expected'),
    [
        ({}, {}, {}),
        (dict(hidden='replace'), dict(final_norm=False), {}),
        (dict(position='sincos'), {}, {}),
        (dict(num_cls_tokens=4), {}, dict(num_cls_tokens=4)),
        ({}, dict(num_cls_tokens=4), dict(num_cls_tokens=1)),
        (dict(with_cls_token=False), {}, dict(with_cls_token=False, num_cls_tokens=1)),
        (dict(with_cls_token=False), dict(out_type='cls_token'), {}),  # cannot be had
        (dict(layer_scale_init_value=0.1), {}, dict(layer_scale_init_value=0.1)),
        ({}, dict(layer_scale_init_value=0.1), dict(layer_scale_init_value=0.0)),
        (dict(position='shared_relative'), {}, dict(position='shared_relative')),
        ({}, dict(position='shared_relative'), dict(position='learned')),
        (dict(qkv_bias=False), {}, dict(qkv_bias=False)),
    ],
)
def test_what_the_checkpoint_knows_better_than_the_config(own, theirs, expected):
    """And with it the weights are those of the pre-trained network."""
    source = vit(**own)
    model = vit(**theirs)
    assert fitting_arguments(model, source.state_dict()) == expected
    if theirs.get('out_type') != 'cls_token':
        changed = vit(**{**theirs, **expected})
        assert fitting_arguments(changed, source.state_dict()) == {}


@pytest.mark.parametrize('tokens', [1, 5])
def test_a_detector_takes_any_number_of_cls_tokens_and_either_kind_of_position(tmp_path, tokens):
    detector = dict(img_size=16, patch_size=4, input_size=32, window_size=3)
    assert fitting_arguments(ViTDet(ARCH, **detector), vit(num_cls_tokens=tokens).state_dict()) == {}
    source = vit(position='shared_relative')
    changes = fitting_arguments(ViTDet(ARCH, **detector), source.state_dict())
    assert changes == dict(position='shared_relative')
    model = model_of(ViTDet(ARCH, **detector, **changes))
    load_pretrained(model, saved(tmp_path, ('backbone.', source)))
    name = 'rel_pos_bias.relative_position_bias_table'
    assert torch.equal(model.backbone.state_dict()[name], source.state_dict()[name][:-3])


def test_one_table_for_all_blocks_becomes_one_for_each(tmp_path):
    """As BEiT is fine-tuned; biases of the keys, which softmax ignores, have no place there."""
    source = vit(position='shared_relative', layer_scale_init_value=0.1, final_norm=False)
    options = dict(img_size=16, patch_size=4, out_type='featmap', final_norm=False)
    blank = RelativeViT(ARCH, use_abs_pos_emb=True, layer_scale_init_value=0.0, **options)
    changes = fitting_arguments(blank, source.state_dict())
    assert changes == dict(layer_scale_init_value=0.1, use_abs_pos_emb=False)
    model = model_of(RelativeViT(ARCH, **options, **changes))
    load_pretrained(model, saved(tmp_path, ('backbone.', source)))
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model.backbone(images)[0], source(images)[0], rtol=1e-4, atol=1e-5)

    larger = model_of(RelativeViT(ARCH, **{**options, 'img_size': 24}, **changes))
    report = load_pretrained(larger, tmp_path / 'run.pth')
    assert report.resized == [f'layers.{block}.attn.relative_position_bias_table' for block in (0, 1)]
    assert 'layers.1.attn.relative_position_bias_table (52, 2) -> (124, 2)' in str(report)


@pytest.mark.parametrize(
    ('source', 'model', 'message'),
    [
        (
            lambda: vit(layer_scale_init_value=0.1),
            vit,
            r'another network: MaskedViT has no place for layers\.0-1 \(4\), such as layers\.0\.attn\.gamma1\.weight',
        ),
        (
            lambda: shaken(RelativeViT(ARCH, img_size=16, patch_size=4, use_abs_pos_emb=True)),
            vit,
            r'such as layers\.0\.attn\.q_bias; a table of relative positions in every block is that of '
            r"type='mimselfsup\.RelativeViT'",
        ),
        (
            lambda: vit(num_cls_tokens=8),
            lambda: RelativeViT(ARCH, img_size=16, patch_size=4, use_abs_pos_emb=True),
            r'absolute positions \(8 \[CLS\] tokens\), and RelativeViT is for those of BEiT',
        ),
        (lambda: vit(pre_norm=True), vit, r'has no place for pre_norm \(2\)'),
        (vit, lambda: vit(pre_norm=True), r'has no place for patch_embed\.projection\.bias'),
        (
            lambda: vit(patch_cfg=dict(bias=False)),
            lambda: vit(pre_norm=True),
            r'it does not fill MaskedViT: it lacks pre_norm\.bias',
        ),
        (lambda: swin(3), vit, r'of another network: MaskedViT has no place for patch_embed'),
        (vit, lambda: swin(3), r'it does not fill MaskedSwin: it lacks patch_embed\.norm\.bias'),
        (lambda: nn.Linear(2, 2), vit, 'nothing in it fits MaskedViT: it has bias, weight; the model wants'),
        (vit, lambda: vit(num_cls_tokens=2), r'has 1 \[CLS\] tokens and the model 2'),
    ],
)
def test_another_network_is_refused_and_nothing_is_loaded(tmp_path, source, model, message):
    model = model_of(model())
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_pretrained(model, saved(tmp_path, ('backbone.', source())))
    for name, value in before.items():
        assert torch.equal(model.backbone.state_dict()[name], value), name


def test_a_backbone_that_ends_early_leaves_the_blocks_behind_out(tmp_path):
    source = vit()
    model = model_of(MaskedViT(ARCH | dict(num_layers=1), img_size=16, patch_size=4, out_type='featmap'))
    report = load_pretrained(model, saved(tmp_path, ('backbone.', source)))
    assert {name.split('.')[1] for name in report.left_out} == {'1'}


# --------------------------------------------------------------------------------- teacher or student


def test_the_teacher_unless_the_student_is_asked_for(tmp_path):
    student, teacher = vit(), shaken(vit(), seed=5)
    path = saved(tmp_path, ('student.backbone.', student), ('teacher.backbone.', teacher))
    for network, source in ((None, teacher), ('teacher', teacher), ('student', student)):
        model = model_of(vit())
        load_pretrained(model, path, network)
        assert torch.equal(model.backbone.pos_embed, source.pos_embed)


def test_a_checkpoint_of_one_network_has_no_teacher(tmp_path):
    path = saved(tmp_path, ('backbone.', vit()))
    with pytest.raises(CheckpointError, match=r'--pretrained-from student: .* has no student\.backbone\.\*'):
        load_pretrained(model_of(vit()), path, 'student')
    with pytest.raises(CheckpointError, match='--pretrained-from ema: must be one of teacher, student'):
        load_pretrained(model_of(vit()), path, 'ema')


def test_the_report_can_be_read(tmp_path):
    source = vit(hidden='replace', num_cls_tokens=2)
    path = saved(
        tmp_path, ('student.backbone.', source), ('teacher.backbone.', source), ('teacher.projector.', nn.Linear(2, 2))
    )
    model = model_of(vit(side=32, num_cls_tokens=2, final_norm=False, out_type='avg_featmap'))
    assert str(load_pretrained(model, path)).split('\n') == [
        f'--pretrained {path}: teacher.backbone -> model.backbone (MaskedViT)',
        '  loaded      28  cls_token, pos_embed, patch_embed (2), layers.0-1 (24)',
        '  resized      1  pos_embed (1, 18, 24) -> (1, 66, 24)',
        '  left out    36  ln1 (2), mask_token; not of this backbone: student (31), teacher (2)',
        '  new          2  ln2 (2): as initialised',
    ]


def test_nothing_is_changed_in_the_state_that_was_read():
    source, state = vit(side=32), vit().state_dict()
    before = {name: value.clone() for name, value in state.items()}
    fitted = fitted_state(source, state)
    assert fitted['pos_embed'].shape == (1, 65, 24)
    assert all(torch.equal(value, state[name]) for name, value in before.items())
