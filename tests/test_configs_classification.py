"""Probes and fine-tuning: every config is checked and built, what is published stands in it, and toy ones are run."""

import ast
import json
import pickle
import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.datasets import CIFAR10
from PIL import Image

from mimselfsup.engine import Runner
from mimselfsup.engine.launch import load_config, mend_known_traps, prepare_config
from mimselfsup.engine.validation import check_config
from mimselfsup.models import LinearProbe, MaskedSwin, MaskedViT, RelativeViT
from mimselfsup.registry import DATASETS, HOOKS, MODELS, TRANSFORMS

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'configs/benchmarks/classification'
CONFIGS = sorted(FOLDER.glob('*.py'))
CLASSES = dict(in1k=1000, cifar10=10, cifar100=100, stl10=10, flowers102=102, toy=10) | {'tiny-imagenet': 200}


@pytest.fixture(autouse=True)
def scope_of_other_tests():
    """A Runner leaves its default scope behind, and the one of these configs is mmpretrain's."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


def read(path):
    cfg = load_config(path)
    mend_known_traps(cfg)
    return cfg


def small(model: dict) -> dict:
    """A narrow network of two blocks in place of up to 32, with the parts and the switches of the config."""
    backbone, head = model['backbone'], model['head']
    kind = backbone['type'].split('.')[-1]
    if kind == 'MaskedSwin':
        backbone.update(arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]))
        width = 64
    else:
        blocks = max(2, *model.get('feature', {}).values()) if 'feature' in model else 2
        backbone.update(arch=dict(embed_dims=16, num_layers=blocks, num_heads=2, feedforward_channels=16))
        width = 16
    if 'neck' in model and 'in_channels' in model['neck']:
        model['neck'].update(in_channels=width)
    elif 'in_channels' in head:
        head.update(in_channels=width)
    return model


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_keys_parts_and_name(path):
    cfg = read(path)
    check_config(cfg)
    is_toy = 'toy' in path.stem
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for hook in cfg.custom_hooks:
            HOOKS.build(hook)
        for step in (*cfg.train_pipeline, *cfg.test_pipeline):
            TRANSFORMS.build(step)
        model = cfg.model.to_dict() | dict(data_preprocessor=cfg.data_preprocessor.to_dict())
        if not is_toy:  # the widths that a config states have to be its backbone's
            network = MODELS.get(model['backbone']['type'])
            arch = model['backbone']['arch']
            zoo = network.arch_zoo[arch] if isinstance(arch, str) else arch
            stated = model.get('neck', {}).get('in_channels', model['head'].get('in_channels'))
            width = zoo['embed_dims'] * (8 if network is MaskedSwin else 1)
            assert stated in (None, width)
            model = small(model)
        model = MODELS.build(model)

    sizes = {cfg.model.backbone.img_size, cfg.train_pipeline[2].scale, cfg.test_pipeline[-2].crop_size}
    assert len(sizes) == 1 and cfg.test_pipeline[-3].scale == round(sizes.pop() * 256 / 224)
    assert cfg.train_dataloader.dataset.pipeline == cfg.train_pipeline
    assert cfg.val_dataloader == cfg.test_dataloader and cfg.val_dataloader.dataset.pipeline == cfg.test_pipeline

    found = re.fullmatch(
        r'[a-z-]+(?:_mae|_simmim)?_(?:vit|swin)-[a-z0-9-]+_(\d+)xb(\d+)(-amp)?(-linear)?-coslr-(\d+)e_'
        r'([a-z0-9]+|tiny-imagenet)(-\d+pct|-192px)?',
        path.stem,
    )
    gpus, batch, amp, linear, epochs, data, variant = found.groups()
    assert cfg.train_dataloader.batch_size == int(batch)
    accumulate = cfg.optim_wrapper.get('accumulative_counts', 1)
    images = int(gpus) * int(batch) * accumulate
    # Small sets cannot fill MAE's batch; the rate is scaled.
    assert cfg.auto_scale_lr.base_batch_size == images or (linear and data != 'in1k' and not is_toy)
    assert bool(amp) == (cfg.optim_wrapper.type == 'mimselfsup.AutocastOptimWrapper')
    assert bool(linear) == isinstance(model, LinearProbe) == ('LinearProbe' in cfg.model.type)
    assert cfg.train_cfg.max_epochs == int(epochs) == cfg.param_scheduler[-1].end
    assert cfg.data_preprocessor.num_classes == model.head.num_classes == CLASSES[data]
    if variant and variant.endswith('pct'):
        dataset = cfg.train_dataloader.dataset
        share = {'-1pct': '1percent', '-10pct': '10percent'}.get(variant)
        assert dataset.get('ann_file') == (share and f'meta/train_{share}.txt')
        assert (dataset.get('per_class') == 260) == (variant == '-20pct')
    # Mixed labels and a loss that takes them come together; a probe is trained on plain pictures.
    mixes = 'batch_augments' in cfg.data_preprocessor
    plain = bool(linear) or '-paper-' in path.stem
    assert mixes == (cfg.model.head.get('loss', {}).get('type') == 'LabelSmoothLoss') == (not plain)
    assert ('RandAugment' in str(cfg.train_pipeline)) == (not plain)
    repeated = cfg.train_dataloader.sampler.type == 'RepeatAugSampler'
    assert repeated == (cfg.model.backbone.get('arch') == 'small' and not linear and data + (variant or '') != 'in1k')


def test_the_readme_links_to_every_config_and_to_nothing_else():
    linked = re.findall(r'\]\(([^)/]+\.py)\)', (FOLDER / 'README.md').read_text())
    assert sorted(linked) == sorted(set(linked)) == [path.name for path in CONFIGS]


# As published: learning rate of a batch, images of that batch, warm-up, lowest rate, layer decay, drop path, decay of
# the weights, longest gradient, what is pooled.
TUNED = """
mae_vit-base-p16_8xb128-amp-coslr-100e_in1k                            2e-3    1024 5  1e-6 0.65 0.1 0.05 None avg
mae_vit-large-p16_8xb128-amp-coslr-50e_in1k                            4e-3    1024 5  1e-6 0.75 0.2 0.05 None avg
mae_vit-huge-p14_8xb128-amp-coslr-50e_in1k                             4e-3    1024 5  1e-6 0.75 0.3 0.05 None avg
amt_mae_vit-base-p16_4xb32-amp-coslr-100e_in1k                         4e-3    1024 5  1e-6 0.75 0.1 0.05 None avg
amt_mae_vit-base-p16_4xb32-amp-coslr-100e_stl10                        4e-3    1024 5  1e-6 0.75 0.1 0.05 None avg
amt-paper_mae_vit-base-p16_4xb32-amp-coslr-100e_in1k                   2e-3    1024 5  1e-6 0.65 0.1 0.05 None cls
simmim_vit-base-p16_16xb128-amp-coslr-100e_in1k                        5e-3    2048 20 1e-6 0.65 0.1 0.05 5.0  avg
simmim_swin-base-w7_16xb128-amp-coslr-100e_in1k                        5e-3    2048 20 1e-6 0.9  0.1 0.05 5.0  avg
amt_simmim_vit-base-p16_16xb128-amp-coslr-100e_in1k                    5e-3    2048 20 1e-6 0.65 0.1 0.05 5.0  cls
amt_simmim_vit-base-p16_8xb128-amp-coslr-100e_tiny-imagenet            2.5e-3  1024 20 5e-7 0.65 0.1 0.05 5.0  cls
beit_vit-base-p16_8xb128-amp-coslr-100e_in1k                           4e-3    1024 20 1e-6 0.65 0.1 0.05 None avg
ibot_vit-small-p16_8xb128-amp-coslr-200e_in1k                          4e-3    1024 20 1e-6 0.75 0.1 0.05 None cls
ibot_vit-base-p16_8xb128-amp-coslr-100e_in1k                           4e-3    1024 20 1e-6 0.65 0.2 0.05 None cls
ibot_vit-large-p16_8xb128-amp-coslr-50e_in1k                           4e-3    1024 5  1e-6 0.75 0.4 0.05 None cls
maskfeat_vit-base-p16_8xb256-amp-coslr-100e_in1k                       8e-3    2048 20 1e-6 0.65 0.1 0.05 None avg
semanticmim-beit-patch_vit-base-p16_8xb128-amp-coslr-100e_in1k         4e-3    1024 20 1e-6 0.65 0.1 0.05 None avg
semanticmim-beit-cls_vit-base-p16_8xb128-amp-coslr-100e_in1k           4e-3    1024 20 1e-6 0.65 0.1 0.05 None cls
semanticmim-maskfeat-patch_vit-base-p16_8xb256-amp-coslr-100e_in1k     8e-3    2048 20 1e-6 0.65 0.1 0.05 None avg
semanticmim-paper-beit-patch_vit-base-p16_8xb128-amp-coslr-100e_in1k   4e-3    1024 0  0    1.0  0.1 1e-4 None avg
attmask_vit-small-p16_6xb150-amp-coslr-500e_cifar10                    1.32e-5 900  5  1e-5 1.0  0.1 0.05 None cls
attmask_vit-small-p16_6xb150-amp-coslr-1000e_flowers102                1.32e-5 900  5  1e-5 1.0  0.1 0.05 None cls
ibot_vit-small-p16_8xb96-amp-coslr-1000e_cifar100                      1.13e-5 768  5  1e-5 1.0  0.1 0.05 None cls
ibot_vit-small-p16_8xb128-amp-coslr-1000e_in1k-1pct                    1e-5    1024 5  1e-5 1.0  0.1 0.05 None cls
"""


@pytest.mark.parametrize('row', TUNED.strip().splitlines(), ids=lambda row: row.split()[0])
def test_published_settings_of_fine_tuning(row):
    name, *values, pooled = row.split()
    lr, images, warmup, lowest, decay, drop_path, weight_decay, clip = map(ast.literal_eval, values)
    cfg = read(FOLDER / f'{name}.py')
    wrapper, backbone = cfg.optim_wrapper, cfg.model.backbone
    assert wrapper.optimizer.lr == pytest.approx(lr, rel=0.005) and cfg.auto_scale_lr.base_batch_size == images
    *first, cosine = cfg.param_scheduler
    assert [each.end for each in first] == [warmup] * bool(warmup) and cosine.begin == warmup
    assert cosine.eta_min_ratio * wrapper.optimizer.lr == pytest.approx(lowest)
    assert (wrapper.optimizer.weight_decay, wrapper.get('clip_grad', {}).get('max_norm')) == (weight_decay, clip)
    assert wrapper.paramwise_cfg.layer_decay_rate == decay and backbone.drop_path_rate == drop_path
    if 'neck' in cfg.model and 'Pooling' in cfg.model.neck.type:
        found = 'avg'
    else:
        found = dict(avg_featmap='avg', cls_token='cls')[backbone.out_type]
        # The norm after pooling is a new one, and the old one is only there for [CLS].
        assert backbone.get('final_norm', 'Relative' not in backbone.type) == (found == 'cls')
    assert found == pooled


# Optimizer, learning rate, images, epochs, warm-up, weight decay, feature, norm.
PROBED = """
mst_vit-small-p16_8xb128-linear-coslr-100e_in1k                        SGD   2.4e-4 1024  100 0  0    cls=1       None
mst_swin-tiny-w7_8xb128-linear-coslr-100e_in1k                         SGD   2.4e-4 1024  100 0  0    avg=1       None
dino_vit-small-p16_8xb128-linear-coslr-100e_in1k                       SGD   4e-3   1024  100 0  0    cls=4       None
dino_vit-base-p16_8xb128-linear-coslr-100e_in1k                        SGD   4e-3   1024  100 0  0    cls=1,avg=1 None
attmask_vit-small-p16_2xb1024-linear-coslr-100e_in1k                   SGD   4e-2   2048  100 0  0    cls=4       None
mae_vit-base-p16_32xb512-amp-linear-coslr-90e_in1k                     LARS  6.4    16384 90  10 0    cls=1       batch
mae_vit-large-p16_32xb512-amp-linear-coslr-50e_in1k                    LARS  6.4    16384 50  10 0    cls=1       batch
amt_vit-base-p16_4xb512-amp-linear-coslr-90e_in1k                      LARS  6.4    16384 90  10 0    cls=1       batch
amt_vit-base-p16_1xb512-amp-linear-coslr-90e_stl10                     LARS  6.4    16384 90  10 0    cls=1       batch
semanticmim-beit-cls_vit-base-p16_8xb128-linear-coslr-100e_in1k        AdamW 4e-3   1024  100 0  1e-4 cls=1       layer
semanticmim-maskfeat-patch_vit-base-p16_8xb128-linear-coslr-100e_in1k  AdamW 4e-3   1024  100 0  1e-4 avg=1       layer
"""


@pytest.mark.parametrize('row', PROBED.strip().splitlines(), ids=lambda row: row.split()[0])
def test_published_settings_of_probes(row):
    name, optimizer, lr, images, epochs, warmup, weight_decay, feature, norm = row.split()
    cfg = read(FOLDER / f'{name}.py')
    found = cfg.optim_wrapper.optimizer
    assert found.type.split('.')[-1] == optimizer
    assert (found.lr, found.weight_decay) == pytest.approx((float(lr), float(weight_decay)))
    assert (cfg.auto_scale_lr.base_batch_size, cfg.train_cfg.max_epochs) == (int(images), int(epochs))
    *first, cosine = cfg.param_scheduler
    assert [each.end for each in first] == [int(warmup)] * bool(int(warmup)) and cosine.eta_min == 0
    # SGD's rate moves once per epoch, the others' at every iteration.
    assert cosine.get('convert_to_iter_based', False) == (optimizer != 'SGD')
    assert ','.join(f'{token}={blocks}' for token, blocks in cfg.model.feature.items()) == feature
    assert str(cfg.model.get('norm')) == norm
    bilinear = cfg.train_pipeline[2].interpolation == 'bilinear'
    assert bilinear == (optimizer == 'SGD')
    assert cfg.model.backbone.get('drop_path_rate', 0) == 0
    if norm == 'layer':
        backbone = cfg.model.backbone
        assert (backbone.arch.num_layers, backbone.final_norm, backbone.num_cls_tokens) == (7, False, 8)


# ------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """10 classes of 4 pictures to learn from and 1 to classify, each of the colour of its class."""
    root = tmp_path_factory.mktemp('toy')
    rng = np.random.default_rng(0)
    for label in range(10):
        for split, count in (('train', 4), ('val', 1)):
            folder = root / split / f'class{label}'
            folder.mkdir(parents=True)
            for index in range(count):
                noise = rng.integers(0, 40, (64, 64, 3))
                pixels = noise + rng.permuted([25 * label, 250 - 25 * label, 60])[[0, 1, 2]] // 2
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f'{index}.png')
    (root / 'meta').mkdir()
    (root / 'meta/train_10percent.txt').write_text(
        ''.join(f'class{k}/{i}.png {k}\n' for k in range(10) for i in range(2))
    )
    return root


def prepared(config: Path, root: Path, work_dir: Path, *, training: bool = True, batch: int = 10, **options):
    cfg = load_config(config)
    quick = dict(num_workers=0, batch_size=batch)
    cfg.merge_from_dict(dict(train_dataloader=quick, val_dataloader=quick, test_dataloader=quick))
    cfg.train_dataloader.dataset.indices = 2 * batch
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
    cfg.merge_from_dict(options.pop('cfg_options', {}))
    args = Namespace(config=str(config), data=str(root), work_dir=str(work_dir), **options)
    cfg.experiment_name = f'{config.stem}-{work_dir.name}'
    return prepare_config(cfg, args, training)


@pytest.mark.parametrize('path', [path for path in CONFIGS if 'toy' in path.stem], ids=lambda path: path.stem)
def test_toy_configs_run_and_test(path, world, tmp_path):
    cfg = prepared(path, world, tmp_path / 'run')
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        backbone = MODELS.build(cfg.model.backbone)
        backbone.init_weights()
    torch.save(
        dict(state_dict={f'backbone.{key}': value for key, value in backbone.state_dict().items()}), tmp_path / 'p.pth'
    )
    cfg = prepared(path, world, tmp_path / 'run', pretrained=str(tmp_path / 'p.pth'))
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    frozen = [
        torch.equal(value, backbone.state_dict()[key]) for key, value in runner.model.backbone.state_dict().items()
    ]
    assert all(frozen) == isinstance(runner.model, LinearProbe)
    report = json.loads((tmp_path / 'run/validation.json').read_text())
    assert report['last']['epoch'] == 1 and 0 <= report['best']['accuracy/top1'] <= 100
    assert 'best_accuracy/top1' in next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text()

    if not path.stem.startswith('mae_'):  # one of each class of model is enough
        return
    cfg = prepared(path, world, tmp_path / 'test', training=False)
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg[key] = None
    cfg.load_from = str(tmp_path / 'run/epoch_1.pth')
    tester = Runner.from_cfg(cfg)
    tester.strict_load = True
    assert tester.test()['accuracy/top1'] == report['last']['accuracy/top1']


def test_rates_of_the_layers_of_a_fine_tuned_vit():
    cfg = read(FOLDER / 'mae_vit-base-p16_8xb128-amp-coslr-100e_in1k.py')
    backbone = MaskedViT(
        dict(embed_dims=16, num_layers=12, num_heads=2, feedforward_channels=16),
        img_size=16,
        patch_size=8,
        out_type='avg_featmap',
        final_norm=False,
    )
    model = torch.nn.Module()
    model.backbone, model.head = backbone, torch.nn.Linear(16, 2)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        from mmengine.optim import build_optim_wrapper

        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(each): name for name, each in model.named_parameters()}
    found = {names[id(each)]: group['lr'] for group in groups for each in group['params']}
    assert found.keys() == set(names.values())  # the fixed positions of MAE are trained now
    for name, layer in (
        ('pos_embed', 0),
        ('layers.0.attn.qkv.weight', 1),
        ('layers.11.ln2.bias', 12),
        ('ln2.weight', 13),
    ):
        assert found[f'backbone.{name}'] == pytest.approx(2e-3 * 0.65 ** (13 - layer))
    assert found['head.bias'] == 2e-3


def test_a_fine_tuned_beit_starts_from_the_table_that_its_pre_training_shared():
    cfg = read(FOLDER / 'beit_vit-base-p16_8xb128-amp-coslr-100e_in1k.py')
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=16)
    settings = dict(img_size=32, patch_size=16, layer_scale_init_value=cfg.model.backbone.layer_scale_init_value)
    trained = MaskedViT(arch, hidden='replace', position='shared_relative', **settings).eval()
    for parameter in trained.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        tuned = MODELS.build(cfg.model.backbone | dict(arch=arch, img_size=32)).eval()
    assert isinstance(tuned, RelativeViT)
    from mimselfsup.engine.checkpoint import load_weights

    load_weights(tuned, trained.state_dict(), allow_missing=('ln2.',))
    images = torch.randn(2, 3, 32, 32)
    trained.final_norm, trained.out_type = False, 'raw'  # BEiT averages what no norm has seen
    expected = tuned.ln2(trained(images)[-1][:, 1:].mean(1))
    torch.testing.assert_close(tuned(images)[-1], expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """CIFAR-10's files, with 12 and 10 pictures of one colour each: picture i is all red, green or blue by i % 3."""
    folder = tmp_path / 'data/cifar-10-batches-py'
    folder.mkdir(parents=True)
    names = [name for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list)]
    for name, count in zip(names, (12, 12, 12, 12, 12, 10), strict=True):
        pixels = np.zeros((count, 3, 32, 32), dtype=np.uint8)
        pixels[np.arange(count), np.arange(count) % 3] = 250
        with open(folder / name, 'wb') as file:
            pickle.dump(dict(data=pixels.reshape(count, -1), labels=[index % 10 for index in range(count)]), file)
    monkeypatch.setattr(CIFAR10, '_check_integrity', lambda self: True)
    return tmp_path / 'data'


@pytest.mark.parametrize('name', ['amt_vit-base-p16_1xb512-amp-linear-coslr-90e_cifar10'])
def test_cifar_arrives_with_its_colours_in_order(name, cifar10):
    cfg = read(FOLDER / f'{name}.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        preprocessor = MODELS.build(cfg.data_preprocessor)
        for dataset in (cfg.train_dataloader.dataset, cfg.val_dataloader.dataset):
            dataset = DATASETS.build(dataset | dict(data_root=str(cifar10)))
            for index in range(3):
                inputs = preprocessor(dict(inputs=dataset[index]['inputs'][None]))['inputs'][0]
                assert inputs.shape == (3, 224, 224) and inputs.mean((1, 2)).argmax() == index


def test_deits_recipe_runs_with_repeated_augmentation_and_an_average_beside_it(cifar10, tmp_path):
    path = FOLDER / 'attmask_vit-small-p16_6xb150-amp-coslr-500e_cifar10.py'
    arch = dict(_delete_=True, embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
    model = dict(backbone=dict(arch=arch), head=dict(in_channels=16))
    options = dict(model=model, optim_wrapper=dict(optimizer=dict(lr=100.0)))  # else two steps are too short to see
    runner = Runner.from_cfg(prepared(path, cifar10, tmp_path / 'run', batch=6, cfg_options=options))
    indices = list(runner.build_dataloader(runner.cfg.train_dataloader).sampler)
    assert len(indices) == 12 and len(set(indices)) == 4  # an epoch sees a third of the pictures, three times each
    runner.train()
    saved = torch.load(tmp_path / 'run/epoch_1.pth', weights_only=True)
    # MMEngine saves the average where others look for weights, and swaps the two back when it loads them.
    average, weight = saved['state_dict']['head.fc.weight'], saved['ema_state_dict']['module.head.fc.weight']
    assert torch.equal(weight, runner.model.head.fc.weight) and not torch.equal(weight, average)
    runner.model.head.fc.weight.data.zero_()
    runner.load_checkpoint(str(tmp_path / 'run/epoch_1.pth'))
    assert torch.equal(runner.model.head.fc.weight, weight)
