"""Detectors: the configs against the published settings, the small ones in a run, and the parts that data needs."""

import json
import math
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope, init_default_scope

from mimselfsup.datasets.scenes import write_scenes
from mimselfsup.engine import Runner, read_checkpoint
from mimselfsup.engine.launch import load_config, mend_known_traps, prepare_config
from mimselfsup.engine.validation import check_config
from mimselfsup.models.backbones import MaskedSwin, MaskedViT
from mimselfsup.registry import DATASETS, MODELS
from mimselfsup.transfer.hooks import ClassCountsHook, images_per_class
from mimselfsup.transfer.models import FederatedLoss, ViTDet

FOLDER = Path(__file__).resolve().parents[2] / 'configs' / 'benchmarks' / 'detection'
CONFIGS = sorted(FOLDER.glob('*.py'))
TOYS = [path for path in CONFIGS if 'toy' in path.stem]
FULL = [path for path in CONFIGS if 'toy' not in path.stem]


def config_of(beginning):
    (path,) = (path for path in CONFIGS if path.stem.startswith(beginning))
    return load_config(path)


@pytest.fixture(autouse=True)
def scope():
    before = DefaultScope.get_current_instance()
    yield
    init_default_scope(before.scope_name if before else 'mmengine')


@pytest.fixture(scope='module')
def toy_world(tmp_path_factory):
    root = tmp_path_factory.mktemp('world')
    layouts = ('coco', 'lvis')
    write_scenes(root, num_train=20, num_val=10, size=64, num_objects=(1, 3), layouts=layouts, workers=1, quiet=True)
    return root


def of_two_steps(path):
    """The config with two batches of two, and the first two images to evaluate."""
    by_epoch = 'max_epochs' in load_config(path).train_cfg
    wrapped = 'dataset.' if 'toy-lvis' in path.stem else ''
    options = {f'train_dataloader.dataset.{wrapped}indices': 4, 'train_dataloader.batch_size': 2}
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        options[f'{loader}.num_workers'] = 0
    for loader in ('val_dataloader', 'test_dataloader'):
        options |= {f'{loader}.dataset.indices': 2, f'{loader}.batch_size': 2}
    options['train_cfg.max_epochs' if by_epoch else 'train_cfg.max_iters'] = 1 if by_epoch else 2
    options |= dict.fromkeys(('train_cfg.val_interval', 'default_hooks.checkpoint.interval'), 1 if by_epoch else 2)
    return load_config(path, {**options, 'default_hooks.logger.interval': 1})


@pytest.fixture
def plain_text(monkeypatch):
    """MMEngine formats the whole config with yapf for every log, file and checkpoint: most of a short run."""
    monkeypatch.setattr(Config, 'pretty_text', property(repr))


def pretrained_for(backbone, path):
    """A checkpoint of pre-training at the demo's size, with what a detector leaves out."""
    if backbone.type.endswith('MaskedSwin'):
        model = MaskedSwin(backbone.arch, img_size=48, window_size=4, out_indices=(1,))
    else:
        model = MaskedViT(backbone.arch, img_size=48, patch_size=backbone.patch_size, hidden='replace')
    model.init_weights()
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value in model.state_dict().items()}), path)
    return model


@pytest.mark.parametrize('path', TOYS, ids=lambda path: path.stem)
def test_toy_configs_train_and_evaluate(path, toy_world, tmp_path, plain_text):
    cfg = of_two_steps(path)
    cfg.visualizer.name = str(tmp_path)  # it writes the scalars, and one of a known name would be used again
    trained = pretrained_for(cfg.model.backbone, tmp_path / 'pre-training.pth')
    args = dict(data=str(toy_world), pretrained=str(tmp_path / 'pre-training.pth'), work_dir=str(tmp_path / 'run'))
    runner = Runner.from_cfg(prepare_config(cfg, Namespace(config=str(path), **args)))
    backbone = runner.model.backbone
    name = 'layers.1.attn.qkv.weight' if 'vit' in path.stem else 'stages.1.blocks.0.attn.w_msa.qkv.weight'
    before = trained.state_dict()[name]
    assert torch.equal(backbone.state_dict()[name], before)
    unused = {name for name, parameter in runner.model.named_parameters()}
    for parameter_name, parameter in runner.model.named_parameters():
        parameter.register_hook(lambda gradient, name=parameter_name: unused.discard(name))
    runner.train()

    log = [json.loads(line) for line in next((tmp_path / 'run').rglob('scalars.json')).read_text().splitlines()]
    losses = [line['loss'] for line in log if 'loss' in line]
    assert len(losses) == 2 and all(math.isfinite(loss) for loss in losses)
    scores = {key: value for key, value in log[-1].items() if key.endswith(('_mAP', '_AP'))}
    kind, score = ('lvis', 'AP') if 'lvis' in path.stem else ('coco', 'mAP')
    assert set(scores) == {f'{kind}/{what}_{score}' for what in ('bbox', 'segm')}
    assert all(0 <= value <= 1 for value in scores.values())
    assert not torch.equal(backbone.state_dict()[name], before)
    assert not unused  # distributed training would stop at such a parameter
    if 'lvis' in path.stem:
        saved = read_checkpoint(tmp_path / 'run' / 'iter_2.pth')['state_dict']
        dataset = runner.train_dataloader.dataset.dataset
        counts = saved['roi_head.bbox_head.loss_cls.class_counts']
        assert counts.tolist() == images_per_class(dataset, 10).tolist() and counts.sum() > 0


@pytest.mark.parametrize('path', FULL, ids=lambda path: path.stem)
def test_full_configs_are_valid_and_build(path):
    cfg = load_config(path)
    mend_known_traps(cfg)
    check_config(cfg)
    assert cfg.default_scope == 'mmdet'
    assert not cfg.get('pretrained')  # of mmdet's base: the Runner would download it
    init_default_scope('mmdet')
    # Without memory for the weights; Swin's drop path asks for numbers.
    device = 'cpu' if 'swin' in path.stem else 'meta'
    with torch.device(device):
        model = MODELS.build(dict(cfg.model, type=f'mmdet.{cfg.model.type}', _scope_='mmdet'))
    assert all(key not in dict(model.named_parameters()) for key in ('backbone.mask_token', 'backbone.ln1.weight'))
    classes = 1203 if 'lvis' in path.stem else 80
    heads = model.roi_head.bbox_head
    assert {head.num_classes for head in (heads if 'cascade' in path.stem else [heads])} == {classes}


def optimizer(cfg):
    wrapper = cfg.optim_wrapper
    assert wrapper.optimizer.type == 'AdamW' and tuple(wrapper.optimizer.betas) == (0.9, 0.999)
    return wrapper.type, wrapper.optimizer.lr, wrapper.optimizer.weight_decay


def schedule(cfg):
    warmup, steps = cfg.param_scheduler
    assert (warmup.type, warmup.start_factor, warmup.by_epoch, steps.gamma) == ('LinearLR', 0.001, False, 0.1)
    length = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters
    assert steps.end == length and steps.by_epoch == ('max_epochs' in cfg.train_cfg)
    return warmup.end, length, list(steps.milestones)


def steps_of(pipeline):
    return {step['type']: step for step in pipeline}


@pytest.mark.parametrize('variant, drop_path', [('1x', 0.2), ('ms-crop-1x', 0.1)])
def test_settings_of_mst(variant, drop_path):
    cfg = config_of(f'mask-rcnn_swin-tiny-w7_8xb2-{variant}_coco')
    assert optimizer(cfg) == ('OptimWrapper', 1e-4, 0.05)
    without_decay = {key for key, rule in cfg.optim_wrapper.paramwise_cfg.custom_keys.items() if not rule.decay_mult}
    assert without_decay == {'absolute_pos_embed', 'relative_position_bias_table', 'norm'}
    assert schedule(cfg) == (1000, 12, [8, 11])
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr) == (2, dict(enable=True, base_batch_size=16))
    assert cfg.model.backbone.drop_path_rate == drop_path
    training = steps_of(cfg.train_dataloader.dataset.pipeline)
    assert training['RandomFlip']['prob'] == 0.5
    if variant == '1x':
        assert tuple(training['Resize']['scale']) == (1333, 800)
    else:
        whole, cropped = training['RandomChoice']['transforms']
        assert [scale[0] for scale in whole[0]['scales']] == list(range(480, 801, 32))
        assert tuple(steps_of(cropped)['RandomCrop']['crop_size']) == (384, 600)
    assert tuple(steps_of(cfg.test_dataloader.dataset.pipeline)['Resize']['scale']) == (1333, 800)


@pytest.mark.parametrize(
    'name, rate, length, milestones',
    [('90k_coco', 2.5e-5, 90000, [80000, 86667]), ('75k_lvis-v1', 5e-5, 75000, [66667, 72222])],
)
def test_settings_of_amt(name, rate, length, milestones):
    cfg = config_of(f'mask-rcnn_vitdet-base-p16_8xb2-amp-lsj-{name}')
    assert optimizer(cfg) == ('AmpOptimWrapper', rate, 0.1)
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == 0.7
    assert schedule(cfg) == (250, length, milestones)
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size) == (2, 16)
    backbone = cfg.model.backbone
    assert (backbone.window_size, tuple(backbone.global_blocks), backbone.drop_path_rate) == (14, (2, 5, 8, 11), 0.1)
    dataset = cfg.train_dataloader.dataset
    if 'lvis' in name:
        assert (dataset.type, dataset.oversample_thr) == ('ClassBalancedDataset', 1e-3)
        dataset = dataset.dataset
        assert (cfg.model.test_cfg.rcnn.score_thr, cfg.model.test_cfg.rcnn.max_per_img) == (0.02, 300)
        loss = FederatedLoss(**{key: value for key, value in _head(cfg).loss_cls.items() if key != 'type'})
        assert (loss.num_classes, loss.sampled, loss.power) == (1203, 50, 0.5)
    training = steps_of(dataset.pipeline)
    assert tuple(training['RandomResize']['ratio_range']) == (0.1, 2.0)
    assert all(
        tuple(training[step][key]) == (1024, 1024) for step, key in [('RandomCrop', 'crop_size'), ('Pad', 'size')]
    )
    assert tuple(steps_of(cfg.test_dataloader.dataset.pipeline)['Resize']['scale']) == (1024, 1024)
    assert cfg.model.rpn_head.num_convs == 2
    assert {head.norm_cfg.type for head in (_head(cfg), cfg.model.roi_head.mask_head)} == {'mmpretrain.LN2d'}
    assert _head(cfg).type == 'Shared4Conv1FCBBoxHead'


def _head(cfg):
    return cfg.model.roi_head.bbox_head


@pytest.mark.parametrize('size, batch, decay', [('small', 4, 0.8), ('base', 2, 0.75)])
def test_settings_of_ibot(size, batch, decay):
    cfg = config_of(f'cascade-mask-rcnn_vit-{size}')
    assert optimizer(cfg) == ('AmpOptimWrapper', 1e-4, 0.05)
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == decay
    assert schedule(cfg) == (500, 12, [8, 11])
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size) == (batch, 8 * batch)
    backbone, (pyramid, fpn) = cfg.model.backbone, cfg.model.neck
    assert (tuple(backbone.out_indices), backbone.final_norm, backbone.drop_path_rate) == ((3, 5, 7, 11), False, 0.1)
    width = MaskedViT.arch_zoo[size]['embed_dims']
    assert (pyramid.embed_dim, fpn.in_channels, fpn.num_outs) == (width, [width] * 4, 5)
    assert cfg.model.roi_head.stage_loss_weights == [1, 0.5, 0.25]
    assert [stage.assigner.pos_iou_thr for stage in cfg.model.train_cfg.rcnn] == [0.5, 0.6, 0.7]
    for head in cfg.model.roi_head.bbox_head:
        assert (head.num_shared_convs, head.num_shared_fcs, head.norm_cfg.type) == (4, 1, 'SyncBN')
        assert (head.reg_class_agnostic, head.reg_decoded_bbox) == (False, True)
        assert (head.loss_bbox.type, head.loss_bbox.loss_weight) == ('GIoULoss', 10)
    assert 'RandomChoice' in steps_of(cfg.train_dataloader.dataset.pipeline)


def test_layers_learn_at_rates_that_shrink_and_positions_do_not_decay():
    """detectron2's rules, on the wrapper that a run builds: 0.7 per block, tables of relative positions with theirs."""
    cfg = config_of('mask-rcnn_vitdet-base-p16_8xb2-amp-lsj-90k')
    init_default_scope('mmdet')
    model = torch.nn.Module()
    model.backbone = ViTDet(dict(embed_dims=8, num_layers=12, num_heads=2, feedforward_channels=8))
    model.neck = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 1), torch.nn.LayerNorm(8))
    wrapper = build_optim_wrapper(model, ConfigDict({**cfg.optim_wrapper, 'type': 'OptimWrapper'}))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(parameter)]: (group['lr'] / 2.5e-5, group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    expected = {
        'neck.0.weight': (1, 0.1),
        'neck.0.bias': (1, 0.1),
        'neck.1.bias': (1, 0),
        'backbone.layers.11.attn.rel_pos_h': (0.7, 0.1),
        'backbone.layers.0.attn.qkv.bias': (0.7**12, 0.1),
        'backbone.layers.0.ln1.weight': (0.7**12, 0),
        'backbone.patch_embed.projection.weight': (0.7**13, 0.1),
        'backbone.pos_embed': (0.7**13, 0),
    }
    for name, values in expected.items():
        assert found[name] == pytest.approx(values), name


def test_masked_swin_of_a_detector_is_mmdets_swin():
    """The same weights under the same names, windows that do not tile, and stages as small as a window."""
    from mmdet.models.backbones import SwinTransformer

    torch.manual_seed(0)
    backbone = dict(config_of('mask-rcnn_swin-tiny-w7_8xb2-1x').model.backbone, drop_path_rate=0.0)
    ours = MaskedSwin(**{key: value for key, value in backbone.items() if key != 'type'})
    init_default_scope('mmdet')
    theirs = SwinTransformer(convert_weights=False)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    theirs.load_state_dict(ours.state_dict())
    theirs.eval()  # returns None
    ours.eval()
    for size in [(64, 96), (28, 44), (52, 60)]:
        images = torch.randn(1, 3, *size)
        with torch.no_grad():
            for mine, other in zip(ours(images), theirs(images), strict=True):
                torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def dataset_of(toy_world, **options):
    import mimselfsup.transfer.detection  # noqa: F401  registers it

    init_default_scope('mmdet')
    settings = dict(ann_file='annotations/instances_train.json', data_prefix=dict(img=''), num_classes=10, pipeline=[])
    return DATASETS.build(dict(type='mimselfsup.CocoFileDataset', data_root=str(toy_world), **{**settings, **options}))


def test_classes_are_those_of_the_file(toy_world):
    annotations = json.loads((toy_world / 'annotations' / 'instances_train.json').read_text())
    names = [category['name'] for category in annotations['categories']]
    dataset = dataset_of(toy_world)
    assert list(dataset.metainfo['classes']) == names
    category = {each['id']: each['category_id'] for each in annotations['annotations']}
    first = dataset.get_data_info(0)
    of_first = [category[each['id']] - 1 for each in annotations['annotations'] if each['image_id'] == first['img_id']]
    assert [instance['bbox_label'] for instance in first['instances']] == of_first
    assert Path(first['img_path']).is_file()


@pytest.mark.parametrize('key', ['bbox', 'area', 'segmentation'])
def test_annotations_without_what_samples_need_are_named(toy_world, tmp_path, key):
    """mmdet stops in a worker, when the sample's turn comes; a detector without masks needs none."""
    content = json.loads((toy_world / 'annotations' / 'instances_train.json').read_text())
    content['annotations'][3].pop(key)
    content['annotations'][5][key] = None if key != 'segmentation' else []
    where = content['annotations'][3]
    path = tmp_path / 'mine.json'
    path.write_text(json.dumps(content))
    with_masks = [dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    if key == 'segmentation':
        assert len(dataset_of(toy_world, ann_file=str(path))) > 0
    message = f'annotation {where["id"]} of image {where["image_id"]} has no {key}.*; 2 are without'
    with pytest.raises(ValueError, match=message):
        dataset_of(toy_world, ann_file=str(path), pipeline=with_masks)
    whole = dataset_of(toy_world, pipeline=with_masks)
    assert sum(len(whole.get_data_info(index)['instances']) for index in range(len(whole))) > 0


def test_another_number_of_classes_is_named(toy_world):
    with pytest.raises(ValueError, match=r'has 10 classes \(.*num_classes=80, which stands in the data sets and'):
        dataset_of(toy_world, num_classes=80)


def test_images_of_each_class_are_counted(toy_world):
    annotations = json.loads((toy_world / 'annotations' / 'instances_train.json').read_text())['annotations']
    pairs = {(each['category_id'] - 1, each['image_id']) for each in annotations}
    counts = images_per_class(dataset_of(toy_world), 10)
    assert counts.tolist() == [sum(label == each for each, _ in pairs) for label in range(10)]
    with pytest.raises(ValueError, match='num_classes=3'):
        images_per_class(dataset_of(toy_world), 3)


def test_counts_are_for_a_loss_that_wants_them():
    runner = Namespace(model=torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match='the model has no FederatedLoss; remove the hook'):
        ClassCountsHook().before_train(runner)


def test_a_detector_in_ten_lines_as_in_the_documentation(tmp_path):
    """The example of docs/transfer.md: it is valid, and its parts fit together."""
    page = (FOLDER.parents[2] / 'docs' / 'transfer.md').read_text().partition('## Detection')[2]
    (tmp_path / 'example.py').write_text(page.split('```python')[1].split('```')[0])
    cfg = load_config(tmp_path / 'example.py')
    check_config(cfg)
    init_default_scope('mmdet')
    with torch.device('meta'):
        model = MODELS.build(dict(cfg.model, type='mmdet.MaskRCNN', _scope_='mmdet')).eval()
        maps = model.extract_feat(torch.zeros(1, 3, 320, 352))
    assert [tuple(each.shape[1:]) for each in maps] == [
        (256, 80, 88),
        (256, 40, 44),
        (256, 20, 22),
        (256, 10, 11),
        (256, 5, 6),
    ]
