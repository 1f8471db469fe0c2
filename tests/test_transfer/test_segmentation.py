"""The segmentation configs, full and toy, and what they need beside mmseg."""

import ast
import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from sklearn.metrics import confusion_matrix
from torch import nn

from mimselfsup.datasets.label_maps import read_label_map
from mimselfsup.datasets.scenes import write_scenes
from mimselfsup.engine import Runner
from mimselfsup.engine.launch import load_config, mend_known_traps, prepare_config
from mimselfsup.engine.validation import check_config
from mimselfsup.models.backbones import MaskedViT
from mimselfsup.registry import DATASETS, MODELS
from mimselfsup.transfer import segmentation

from ..test_engine.tiny import read_losses
from ..test_models.conftest import TINY, randomise

FOLDER = Path(__file__).resolve().parents[2] / 'configs' / 'benchmarks' / 'segmentation'
CONFIGS = sorted(FOLDER.glob('*.py'))
TOYS = [path for path in CONFIGS if path.stem.endswith('_toy')]
FULL = [path for path in CONFIGS if path not in TOYS]
LINEAR = FOLDER / 'linear_vit-toy-p6_1xb16-10e_voc_toy.py'
UPERNET = FOLDER / 'upernet_vit-toy-p6_1xb8-300i_ade20k_toy.py'


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('segmentation') / 'world'
    layouts = ('ade20k', 'cityscapes', 'voc')
    write_scenes(root, num_train=24, num_val=10, size=64, num_objects=(1, 2), workers=1, layouts=layouts, quiet=True)
    return root


@pytest.fixture(autouse=True)
def quick_start(monkeypatch):
    """What a run writes about itself takes longer than these runs."""
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, False))
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)


def prepared(path, world, work_dir, **arguments):
    """As from the command line, two iterations of four pictures long."""
    cfg = load_config(path)
    root = world / next(name for name in ('ade20k', 'cityscapes', 'voc') if name in path.stem)
    loaders = [cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader]
    for loader in loaders:
        loader.update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.batch_size = 4
    cfg.val_dataloader.dataset.indices = 3
    for part in cfg.train_dataloader.dataset.get('datasets', []):
        part.indices = 4
    if cfg.train_cfg.get('max_iters'):
        cfg.train_cfg.update(max_iters=2, val_interval=2)
    else:
        cfg.train_cfg.update(max_epochs=1)
    cfg.default_hooks.checkpoint.update(interval=-1, save_best=None, save_last=False)
    cfg.default_hooks.logger.interval = 1
    cfg.auto_scale_lr.enable = False
    cfg.visualizer.name = str(work_dir)  # mmseg's name would be that of the run before, and of its folder
    for entry, value in arguments.pop('options', {}).items():
        cfg.merge_from_dict({entry: value})
    return prepare_config(cfg, Namespace(work_dir=str(work_dir), data=str(root), **arguments))


@pytest.mark.parametrize('path', TOYS, ids=lambda path: path.stem)
def test_toy_config_trains_and_is_scored(path, world, tmp_path):
    runner = Runner.from_cfg(prepared(path, world, tmp_path))
    model = runner.model
    used = set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda _, name=name: used.add(name))
    frozen = isinstance(model, segmentation.LinearSegmentor)
    modes, before = [], {}

    def look(backbone, _):
        modes.append(backbone.training)
        if len(modes) == 1:
            before.update({name: value.clone() for name, value in backbone.state_dict().items()})

    model.backbone.register_forward_pre_hook(look)
    runner.train()
    # Distributed training stops at a parameter without a gradient.
    assert used == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    moved = [name for name, value in model.backbone.state_dict().items() if not torch.equal(value, before[name])]
    assert bool(moved) != frozen and modes[:2] == [not frozen] * 2
    assert len(read_losses(tmp_path)) == 2 and np.isfinite(list(read_losses(tmp_path).values())).all()
    scores = [json.loads(line) for line in next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert all(0 <= scores[-1][name] <= 100 for name in ('mIoU', 'mAcc', 'aAcc'))


def test_resumed_run_is_the_run_that_was_never_stopped(world, tmp_path):
    options = {'train_cfg.max_iters': 4, 'default_hooks.checkpoint.interval': 2, 'train_cfg.val_interval': 4}
    whole = Runner.from_cfg(prepared(UPERNET, world, tmp_path / 'whole', options=options))
    whole.train()
    (tmp_path / 'stopped').mkdir()
    (tmp_path / 'whole' / 'iter_2.pth').rename(tmp_path / 'stopped' / 'iter_2.pth')
    resumed = Runner.from_cfg(prepared(UPERNET, world, tmp_path / 'stopped', options=options, resume='auto'))
    resumed.train()
    losses = read_losses(tmp_path / 'whole')
    assert read_losses(tmp_path / 'stopped') == {step: losses[step] for step in (3, 4)}


def build(path, **changes):
    cfg = load_config(path)
    cfg.merge_from_dict(changes)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(cfg.model)


@pytest.mark.parametrize('path', FULL, ids=lambda path: path.stem)
def test_full_config_is_sound_and_its_name_says_what_it_is(path):
    cfg = load_config(path)
    mend_known_traps(cfg)
    check_config(cfg)
    device = 'cpu' if 'swin' in path.stem else 'meta'  # a schedule of Swin is read from a tensor
    with torch.device(device):
        model = build(path)
    assert hasattr(model.backbone, 'get_layer_depth')
    assert 'mask_token' not in dict(model.backbone.named_parameters())
    # <head>_<method>_<encoder>_<GPUs>xb<batch>[-amp]-<length>_<data>-<height>x<width>
    *_, schedule, data = path.stem.split('_')
    gpus, batch = map(int, schedule.split('-')[0].split('xb'))
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size) == (batch, gpus * batch)
    assert ('amp' in schedule.split('-')) == (cfg.optim_wrapper.type == 'mimselfsup.AutocastOptimWrapper')
    length = schedule.split('-')[-1]
    asked = dict(e=lambda: cfg.train_cfg.max_epochs, k=lambda: cfg.train_cfg.max_iters / 1000)[length[-1]]()
    assert asked == int(length[:-1])
    size = tuple(map(int, data.split('-')[-1].split('x')))
    assert tuple(cfg.model.data_preprocessor.size) == size
    if cfg.model.test_cfg.mode == 'slide':
        assert tuple(cfg.model.test_cfg.crop_size) == size
        assert next(step for step in cfg.train_pipeline if step.type == 'RandomCrop').crop_size == size
    heads = [cfg.model.decode_head, *_list(cfg.model.get('auxiliary_head'))]
    assert {head.num_classes for head in heads} == {dict(ade20k=150, cityscapes=19, voc12aug=21)[data.split('-')[0]]}


# As published. Learning rate, layer decay, weight decay, warm-up, channels of the head, taps, stride of the windows,
# weights of the auxiliary losses, images per step, [CLS] tokens, layer scale at the start, drop path, norm of the taps.
PUBLISHED = """
upernet_vit-base-p16_8xb2-160k_ade20k-640x640                       3e-5 0.9  0.05 1500 768 (3,5,7,11) 426 [0.4] 16 1 0   0.1 'none'
upernet_beit-random_vit-base-p16_8xb2-160k_ade20k-640x640           3e-5 0.9  0.05 1500 768 (3,5,7,11) 426 [0.4] 16 1 0.1 0.1 'none'
upernet_semanticmim-beit_vit-base-p16_8xb2-160k_ade20k-640x640      3e-5 0.9  0.05 1500 768 (3,5,7,11) 426 [0.4] 16 8 0.1 0.1 'none'
upernet_maskfeat-random_vit-base-p16_8xb2-160k_ade20k-640x640       3e-5 0.9  0.05 1500 768 (3,5,7,11) 426 [0.4] 16 1 0   0.1 'last'
upernet_semanticmim-maskfeat_vit-base-p16_8xb2-160k_ade20k-640x640  3e-5 0.9  0.05 1500 768 (3,5,7,11) 426 [0.4] 16 8 0   0.1 'last'
upernet_beit-base-p16_8xb2-amp-160k_ade20k-640x640                  3e-5 0.9  0.05 1500 768 (3,5,7,11) 426 [0.4] 16 1 0.1 0.1 'none'
upernet_beit-base-p16_8xb2-amp-160k_ade20k-512x512                  7e-4 0.65 0.05 1500 768 (3,5,7,11) 341 [0.4] 16 1 0.1 0.1 'none'
upernet_vit-small-p16_4xb4-amp-160k_ade20k-512x512                  3e-5 0.9  0.05 1500 384 (3,5,7,11) 341 [0.4] 16 1 0   0.1 'all'
linear_vit-small-p16_4xb4-amp-160k_ade20k-512x512                   7e-4 None 0.05 1500 1536 (3,5,7,11) 341 []   16 1 0   0   'all'
setr-pup_beit-base-p16_8xb2-amp-160k_ade20k-512x512                 7e-4 0.65 0.05 1500 256 (4,7,9,11) 341 [0.4,0.4,0.4] 16 1 0.1 0.1 'none'
setr-pup_vit-small-p16_8xb1-40k_cityscapes-768x768                  1e-2 None 0    0    256 (4,7,9,11) 512 [0.4,0.4,0.4,0.4] 8 1 0   0   'none'
setr-naive_vit-small-p16_8xb1-40k_cityscapes-768x768                1e-2 None 0    0    256 (2,5,8,11) 512 [0.4,0.4,0.4] 8 1 0   0   'none'
setr-mla_vit-small-p16_8xb1-40k_cityscapes-768x768                  2e-3 None 0    0    512 (2,5,8,11) 512 [0.4,0.4,0.4,0.4] 8 1 0   0   'none'
"""  # noqa: E501


@pytest.mark.parametrize('row', PUBLISHED.strip().splitlines(), ids=lambda row: row.split()[0])
def test_published_settings(row):
    name, *values = row.split()
    lr, layer_decay, decay, warmup, channels, taps, stride, auxiliary, images, cls_tokens, scale, drop_path, norm = map(
        ast.literal_eval, values
    )
    path = FOLDER / f'{name}.py'
    cfg = load_config(path)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (lr, decay)
    assert cfg.optim_wrapper.get('paramwise_cfg', {}).get('layer_decay_rate') == layer_decay
    assert (optimizer.type, optimizer.get('betas')) == (('AdamW', (0.9, 0.999)) if warmup else ('SGD', None))
    *warm, poly = cfg.param_scheduler
    assert [(step.begin, step.end, step.start_factor) for step in warm] == ([(0, warmup, 1e-6)] if warmup else [])
    expected = (1.0, 0.0) if warmup else (0.9, 1e-4)
    assert (poly.power, poly.eta_min, poly.begin, poly.end) == (*expected, warmup, cfg.train_cfg.max_iters)
    assert cfg.train_cfg.max_iters == (160000 if warmup else 40000)
    with torch.device('meta'):
        model = build(path)
    assert model.decode_head.channels == channels
    assert tuple(model.backbone.out_indices) == taps
    assert tuple(model.test_cfg.stride) == (stride, stride)
    heads = getattr(model, 'auxiliary_head', [])
    heads = list(heads) if isinstance(heads, nn.ModuleList | list) else [heads]
    assert [head.loss_decode.loss_weight for head in heads] == auxiliary
    assert cfg.auto_scale_lr.base_batch_size == images
    assert model.backbone.num_extra_tokens == cls_tokens
    assert cfg.model.backbone.get('drop_path_rate', 0) == drop_path
    gammas = [value for key, value in model.backbone.named_parameters() if 'gamma' in key]
    assert bool(gammas) == bool(scale) and cfg.model.backbone.get('layer_scale_init_value', scale) == scale
    normed = (model.backbone.final_norm, getattr(model.backbone, 'norm_taps', False))
    assert normed == dict(none=(False, False), last=(True, False), all=(True, True))[norm]
    pixels = [step for step in cfg.train_pipeline if step.type in ('RandomResize', 'RandomCrop')]
    assert pixels[0].ratio_range == (0.5, 2.0) and pixels[1].cat_max_ratio == 0.75
    side = cfg.model.data_preprocessor.size[0]
    assert pixels[0].scale == ((2049, 1025) if 'cityscapes' in name else (4 * side, side))
    if 'upernet' in name:
        assert (model.auxiliary_head.in_index, model.decode_head.dropout_ratio) == (2, 0.1)
    if name.startswith('linear'):
        assert model.decode_head.dropout is None
    if 'cityscapes' in name:
        assert cfg.optim_wrapper.paramwise_cfg.custom_keys == {'head': dict(lr_mult=10.0)}


def test_published_settings_of_linear_segmentation_on_voc():
    for name, tokens, scale in (
        ('linear_vit-base', 1, 0),
        ('linear_beit-random_vit-base', 1, 0.1),
        ('linear_semanticmim-beit_vit-base', 8, 0.1),
        ('linear_semanticmim-maskfeat_vit-base', 8, 0),
    ):
        path = FOLDER / f'{name}-p16_8xb15-25e_voc12aug-448x448.py'
        cfg = load_config(path)
        optimizer = cfg.optim_wrapper.optimizer
        assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.01, 0.9, 0)
        assert (cfg.auto_scale_lr.base_batch_size, cfg.train_cfg.max_epochs) == (120, 25)
        (steps,) = cfg.param_scheduler
        assert (steps.milestones, steps.gamma) == ([10, 20], 0.1)
        assert cfg.default_hooks.checkpoint.save_best == 'mIoU'
        lists = [part.ann_file.split('/')[-1] for part in cfg.train_dataloader.dataset.datasets]
        assert lists == ['train.txt', 'aug.txt']
        with torch.device('meta'):
            model = build(path)
        # The sixth block is the last, without a norm behind it.
        assert (len(model.backbone.layers), list(model.backbone.out_indices), model.backbone.final_norm) == (
            6,
            [5],
            False,
        )
        assert model.backbone.num_extra_tokens == tokens
        assert any('gamma' in key for key, _ in model.backbone.named_parameters()) == bool(scale)
        trained = {key: tuple(value.shape) for key, value in model.named_parameters() if value.requires_grad}
        assert trained == {'decode_head.conv_seg.weight': (21, 768, 1, 1), 'decode_head.conv_seg.bias': (21,)}
        assert model.decode_head.dropout is None


def test_swin_recipe_is_mmsegs():
    """All but the class of the backbone and where its weights come from."""
    from mmengine.config import Config

    ours = load_config(FOLDER / 'upernet_swin-tiny-w7_8xb2-160k_ade20k-512x512.py')
    theirs = Config.fromfile(
        Path(segmentation.mmcv.__file__).parents[1]
        / 'mmseg/.mim/configs/swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'
    )

    def strip(node):
        if isinstance(node, dict):
            return {key: strip(value) for key, value in node.items() if key != '_scope_'}
        return [strip(each) for each in node] if isinstance(node, list | tuple) else node

    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'val_dataloader'):
        assert strip(ours[key]) == strip(theirs[key]), key
    for key in ('decode_head', 'auxiliary_head', 'data_preprocessor', 'test_cfg'):
        assert strip(ours.model[key]) == strip(theirs.model[key]), key
    assert ours.model.backbone.drop_path_rate == theirs.model.backbone.drop_path_rate


def _list(heads):
    return heads if isinstance(heads, list) else [] if heads is None else [heads]


# ------------------------------------------------------------------------------------------ features and taps


@pytest.mark.parametrize('settings', [dict(), dict(num_cls_tokens=3), dict(position_resize='dino')])
def test_normed_taps_are_the_features_of_evaluation(settings):
    """What k-NN and probes read of each block, as maps, at a size that is not that of pre-training."""
    backbone = randomise(
        MaskedViT(
            TINY, img_size=32, patch_size=8, out_type='featmap', out_indices=(0, 1, 2), norm_taps=True, **settings
        )
    ).eval()
    images = torch.randn(2, 3, 40, 24)
    with torch.no_grad():
        taps, blocks = backbone(images), backbone.encode_last(images, 3)
    for tap, tokens in zip(taps, blocks, strict=True):
        assert tap.shape == (2, 48, 5, 3)
        torch.testing.assert_close(tap.flatten(2).transpose(1, 2), tokens.patches)
    with pytest.raises(ValueError, match='norm_taps=True applies the final norm; remove final_norm=False'):
        MaskedViT(TINY, img_size=32, patch_size=8, norm_taps=True, final_norm=False)


def test_taps_of_a_segmentor_are_the_features_of_the_checkpoint_it_is_filled_from(world, tmp_path):
    """`--pretrained` of eight [CLS] tokens, to the last tap; and of a linear probe, to the output of an inner block."""
    pretrained = MODELS.build(
        dict(
            type='mimselfsup.MaskedViT',
            arch=dict(embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256),
            img_size=48,
            patch_size=6,
            hidden='replace',
            num_cls_tokens=8,
        )
    )
    randomise(pretrained).eval()
    file = tmp_path / 'pretrained.pth'
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value in pretrained.state_dict().items()}), file)
    images = torch.randn(2, 3, 72, 72)
    with torch.no_grad():
        last = pretrained.encode(images).patches
        second = pretrained.layers[1](pretrained.layers[0](pretrained._enter(images)[0]))[:, 8:]

    # The table of positions is resized to 72 px when it is loaded, in pre-training's encoder when it is used.
    options = {'model.backbone.final_norm': True, 'model.backbone.drop_path_rate': 0.0}
    path = FOLDER / 'upernet_semanticmim_vit-toy-p6_1xb8-300i_ade20k_toy.py'
    cfg = prepared(path, world, tmp_path / 'upernet', options=options, pretrained=str(file))
    features = Runner.from_cfg(cfg).model.eval().backbone(images)
    torch.testing.assert_close(features[-1].flatten(2).transpose(1, 2), last, rtol=1e-4, atol=1e-4)
    options = {'model.backbone.num_cls_tokens': 8}
    cfg = prepared(LINEAR, world, tmp_path / 'linear', options=options, pretrained=str(file))
    (features,) = Runner.from_cfg(cfg).model.extract_feat(images)
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), second, rtol=1e-4, atol=1e-4)


# --------------------------------------------------------------------------------------- linear segmentation


@pytest.fixture
def linear(world):
    """A probe at 96 px of weights far from zero, and its data sets."""
    cfg = load_config(LINEAR)
    for part in cfg.train_dataloader.dataset.datasets:
        part.data_root = str(world / 'voc')
    cfg.val_dataloader.dataset.data_root = str(world / 'voc')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
        model.init_weights()
        nn.init.normal_(model.decode_head.conv_seg.weight)
        return model.eval(), DATASETS.build(cfg.train_dataloader.dataset), DATASETS.build(cfg.val_dataloader.dataset)


def test_linear_segmentation_is_scored_at_its_own_size_from_one_confusion_matrix(linear, world):
    from mmseg.evaluation import IoUMetric

    model, _, data = linear
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = data.metainfo
    count = np.zeros((11, 11))
    for index in range(len(data)):
        batch = pseudo_collate([data[index]])
        with torch.no_grad():
            (sample,) = model.val_step(batch)
            pixels = F.interpolate(batch['inputs'][0][None].float()[:, [2, 1, 0]], (96, 96))  # 96 px already
            mean, std = (
                torch.tensor(each).view(1, 3, 1, 1) for each in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
            )
            tokens = model.backbone((pixels - mean) / std)[0]
            logits = model.decode_head.conv_seg(F.interpolate(tokens, (96, 96), mode='bilinear'))
        metric.process({}, [sample.to_dict()])
        assert sample.pred_sem_seg.data.shape == sample.gt_sem_seg.data.shape == (1, 96, 96)
        predicted = logits.argmax(1)[0].numpy()
        assert (sample.pred_sem_seg.data[0].numpy() == predicted).mean() > 0.999  # ties
        path = world / 'voc' / 'SegmentationClass' / f'{Path(sample.img_path).stem}.png'
        # The label of the pixel of the file below the centre of each pixel; every third centre is between two.
        centres = (np.arange(96) + 0.5) * 64 / 96
        either = [(centres + nudge).astype(int) for nudge in (-1e-6, 1e-6)]
        labels, whole = sample.gt_sem_seg.data[0].numpy(), read_label_map(path)
        assert np.any([labels == whole[rows][:, columns] for rows in either for columns in either], axis=0).all()
        counted = labels != 255
        assert 0 < counted.mean() < 1
        predicted = sample.pred_sem_seg.data[0].numpy()
        count += confusion_matrix(labels[counted], predicted[counted], labels=range(11))
    hit = np.diag(count)
    with np.errstate(invalid='ignore'):
        iou = hit / (count.sum(0) + count.sum(1) - hit)
    scores = metric.evaluate(len(data))
    assert scores['mIoU'] == pytest.approx(100 * np.nanmean(iou), abs=0.01)
    assert scores['aAcc'] == pytest.approx(100 * hit.sum() / count.sum(), abs=0.01)


def test_loss_of_linear_segmentation_is_that_of_features_resized_to_its_grid(linear):
    """mmseg resizes logits, the recipe resizes features: with one linear layer that is the same."""
    model, data, _ = linear
    torch.manual_seed(0)
    batch = model.data_preprocessor(pseudo_collate([data[0], data[-1]]), True)
    labels = torch.cat([sample.gt_sem_seg.data for sample in batch['data_samples']])
    assert labels.shape == (2, 24, 24) and batch['inputs'].shape == (2, 3, 96, 96)
    with torch.no_grad():
        ours = model(**batch, mode='loss')['decode.loss_ce']
        tokens = F.interpolate(model.backbone(batch['inputs'])[0], (24, 24), mode='bilinear')
        expected = F.cross_entropy(model.decode_head.conv_seg(tokens), labels.long(), ignore_index=255)
    torch.testing.assert_close(ours, expected)
    assert (labels == 255).any()


def test_backbone_of_a_linear_segmentor_stays_in_eval_mode_and_says_if_it_is_random(linear, caplog):
    model, _, _ = linear
    model.backbone.drop_after_pos.p = 0.9
    model.train()
    assert model.training and model.decode_head.training and not model.backbone.training
    images = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(model.extract_feat(images)[0], model.extract_feat(images)[0])
    assert not model.extract_feat(images)[0].requires_grad
    assert isinstance(model.train(False), segmentation.LinearSegmentor)


def test_labels_follow_the_crop():
    """A picture whose pixels say where they are, with its own coordinates as labels."""
    rows, columns = np.mgrid[:64, :64]
    results = dict(
        img=np.stack([rows, columns, rows], -1).astype(np.uint8) * 4,
        gt_seg_map=rows.astype(np.uint8) * 4,
        seg_fields=['gt_seg_map'],
    )
    crop = segmentation.RandomResizedCropWithLabels(scale=(32, 48), crop_ratio_range=(0.3, 0.5), backend='pillow')
    np.random.seed(0)
    out = crop.transform(results)
    assert out['gt_seg_map'].shape == out['img'].shape[:2] == out['img_shape'] == (32, 48)
    difference = out['gt_seg_map'].astype(int) - out['img'][..., 0]
    assert np.abs(difference).max() <= 4  # half a pixel of the source, four grey values a pixel
    assert out['crop_box'][2] < 64

    out['gt_seg_map'][0, 0] = 200
    small = segmentation.ResizeLabels((12, 8)).transform(dict(out))
    wanted = F.interpolate(torch.from_numpy(out['gt_seg_map'])[None, None].float(), (8, 12), mode='nearest')
    np.testing.assert_array_equal(small['gt_seg_map'], wanted[0, 0].numpy())
    assert small['img'].shape[:2] == (32, 48)

    # A picture that was turned by its EXIF entry, and its label map that was not.
    turned = dict(results, gt_seg_map=results['gt_seg_map'].T, seg_map_path='x.png', img_path='x.jpg')
    with pytest.raises(ValueError, match=r'x\.png has \(\d+, \d+\) pixels \(height, width\), its picture x\.jpg'):
        crop.transform(turned)


def test_data_of_other_classes_than_the_heads_are_refused(world, tmp_path):
    for root, classes, message in (
        (world / 'voc', 21, r'voc/classes.txt has 11 classes \(background, barred_arrow, .*num_classes=21'),
        (tmp_path, 21, r'classes.txt does not exist: one name of a class a line.*--layouts ade20k cityscapes voc'),
    ):
        with pytest.raises(ValueError, match=message):
            segmentation.SegmentationFileDataset(data_root=str(root), num_classes=classes)
    data = segmentation.SegmentationFileDataset(
        data_root=str(world / 'ade20k'),
        num_classes=11,
        reduce_zero_label=True,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
    )
    assert data.metainfo['classes'] == ('background', *(world / 'classes.txt').read_text().split())
    assert len(data) == 10 and len(data.metainfo['palette']) == 11
