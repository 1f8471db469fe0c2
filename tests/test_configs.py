"""Every config that is shipped: its keys are checked, its model is built, and those of toy size take a step."""

import ast
import math
import re
from pathlib import Path

import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from mimselfsup.datasets.transforms import MultiCrop, RandomResizedCrop
from mimselfsup.engine.launch import load_config, mend_known_traps
from mimselfsup.engine.validation import check_config
from mimselfsup.models import SelfDistillation
from mimselfsup.models.backbones import MaskedViT
from mimselfsup.models.tokenizers.vqkd import PUBLISHED_ENCODER
from mimselfsup.registry import HOOKS, MASKINGS, MODELS

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(path for path in (ROOT / 'configs').glob('*/*.py') if path.parent.name != '_base_')


def read(path):
    cfg = load_config(path)
    mend_known_traps(cfg)
    return cfg


def crop_of(cfg):
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        steps = Compose(cfg.train_dataloader.dataset.pipeline).transforms
    return next(step for step in steps if isinstance(step, RandomResizedCrop | MultiCrop))


def small(model):
    """Two blocks instead of up to 32, few prototypes, few channels in a tokenizer, and no file for it: what has to fit
    is left."""
    target = model.get('target', {})
    if 'checkpoint' in target:
        target.update(checkpoint=None, allow_random=True)
        if target.get('tokenizer', {}).get('type') == 'DALLETokenizer':
            target['tokenizer'].update(n_hid=8)
        if target.get('tokenizer', {}).get('type') == 'VQKDTokenizer':
            arch = dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=24)
            target['tokenizer'].update(encoder_config=dict(PUBLISHED_ENCODER, arch=arch))
    for backbone in (model.get('backbone', {}), target.get('backbone', {})):
        if backbone.get('type') == 'MaskedViT' and isinstance(backbone['arch'], str):
            backbone['arch'] = dict(MaskedViT.arch_zoo[backbone['arch']], num_layers=2)
    if 'projector' in model:
        model['projector'].update(num_prototypes=16)
    return model


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_keys_parts_and_name(path):
    cfg = read(path)
    check_config(cfg)
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        for hook in cfg.custom_hooks:
            HOOKS.build(hook)
        model = MODELS.build(small(cfg.model.to_dict()))
    crop = crop_of(cfg)
    if isinstance(model, SelfDistillation):
        size = (crop.global_size, crop.global_size)
        assert size == tuple(getattr(model.backbone, 'img_size', size))
        grid = model.backbone.token_grid(size)
        model.backbone.token_grid((crop.local_size, crop.local_size))  # an error if patches do not tile it
        if model.masking is not None:
            model.masking(grid, 2, torch.rand(2, grid[0] * grid[1]))  # an error if its units do not tile the grid
    elif hasattr(model, 'tokenizer'):
        assert all(side % stride == 0 for side, stride in zip(crop.scale, model.tokenizer.stride, strict=True))
    else:
        if hasattr(model.backbone, 'img_size'):
            assert tuple(crop.scale) == tuple(model.backbone.img_size)
        grid = model.backbone.token_grid(tuple(crop.scale))
        masking = model.masking_before or model.masking
        blocks = type(masking).__name__ == 'BlockMasking'
        low, high = (0.38, 0.4) if blocks else (0.35, 0.85)
        assert low < masking(grid, 2).masked.float().mean() < high
        if hasattr(model.target, 'frozen') and hasattr(model.target.frozen.network, 'stride'):
            scale = getattr(crop, 'second_scale', crop.scale)
            assert grid == tuple(
                side // step for side, step in zip(scale, model.target.frozen.network.stride, strict=True)
            )
    # The name says gpus x batch, epochs, whether precision is mixed, and more; the config must agree with it.
    batch = int(path.stem.split('xb')[1].split('-')[0])
    assert cfg.train_dataloader.batch_size == batch
    assert f'-{cfg.train_cfg.max_epochs}e_' in path.stem
    assert ('-amp-' in path.stem) == (cfg.optim_wrapper.type == 'mimselfsup.AutocastOptimWrapper')
    gpus = int(path.stem.split('xb')[0].split('_')[-1])
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch
    assert path.stem.endswith('-20pct') == (cfg.train_dataloader.dataset.get('per_class') == 260)
    said = re.match(r'mst-num(\d)-p(\d\d)_', path.stem)
    if said:
        assert (model.masking.num, model.masking.p) == (int(said[1]), int(said[2]) / 100)


@pytest.mark.parametrize('path', [path for path in CONFIGS if 'toy' in path.stem], ids=lambda path: path.stem)
def test_toy_models_take_a_step(path):
    cfg = read(path)
    torch.manual_seed(0)
    model = MODELS.build(small(cfg.model.to_dict()))
    model.init_weights()
    crop, views = crop_of(cfg), torch.randn(4, 3, 48, 48)
    if isinstance(crop, MultiCrop):
        sizes = [crop.global_size] * crop.num_global + [crop.local_size] * crop.num_local
        views = [torch.randn(4, 3, size, size) for size in sizes]
    loss = sum(value for name, value in model(views, mode='loss').items() if 'loss' in name)
    loss.backward()
    used = [p for p in model.parameters() if p.requires_grad and p.grad is not None]
    assert loss.isfinite() and len(used) > 0.9 * sum(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    'path', [path for path in CONFIGS if path.stem.startswith('semanticmim')], ids=lambda path: path.stem
)
def test_semanticmim_is_a_few_entries_on_its_host(path):
    """Recipe, data, target, loss and encoder are those of the baseline beside it; name and comment say what differs."""
    method, host, setting = path.stem.split('_', 2)
    baseline = path.with_name(f'{host}-random_{setting}.py')
    if host == 'simmim':
        baseline = ROOT / f'configs/simmim/simmim_{setting}.py'
    ours, theirs = read(path), read(baseline)
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'auto_scale_lr', 'custom_hooks'):
        assert ours[key] == theirs[key], key
    model, plain = ours.model, theirs.model
    for part in ('target', 'loss', 'data_preprocessor'):
        assert model[part] == plain[part], part
    assert model.decoder == dict(type='ProxyDecoder')
    variant = method.partition('-')[2]
    proxies = int(variant[1:]) if variant.startswith('p') else 8
    assert model.backbone == dict(plain.backbone, hidden='compress', num_cls_tokens=proxies)
    assert model.backbone.position == 'learned'

    grid = (8, 8) if 'toy' in setting else (14, 14)
    hidden = MASKINGS.build(model.masking)(grid, 1).counts['masked'][0]
    ratio = int(variant[1:]) / 100 if variant.startswith('r') else 0.6
    if variant == 'overlap':
        predicted = MASKINGS.build(model.prediction_masking)(grid, 1).counts['masked'][0]
        assert (196 - hidden, predicted) == (118, 118)
    else:
        assert hidden == math.ceil(ratio * grid[0] * grid[1] - 1e-6)
        assert 'prediction_masking' not in model
    said = re.search(r'(\d+) of (196|64) patches', path.read_text())
    if said:
        assert (hidden, grid[0] * grid[1]) == (int(said[1]), int(said[2]))


# As published: learning rate at its peak and at the end, momentum of the average at the start, local views, smallest
# share of a picture that a global one shows, largest gradient of a parameter, epochs in which the last layer is frozen,
# the teacher's last temperature, share of all patches of the global views that is masked.
DISTILLED = """
dino_vit-small-p16_8xb64-amp-coslr-100e_in1k                      1e-3    1e-6 0.996  8 0.4  3.0  1 0.04 0
dino_vit-small-p16_16xb64-amp-coslr-300e_in1k                     2e-3    1e-6 0.996  8 0.4  3.0  1 0.07 0
dino_vit-small-p16_16xb64-amp-coslr-300e_in1k-2x224               2e-3    1e-5 0.996  0 0.14 None 1 0.07 0
dino_vit-small-p16_16xb64-coslr-800e_in1k                         2e-3    1e-5 0.996 10 0.25 None 1 0.07 0
dino_vit-base-p16_32xb32-coslr-400e_in1k                          3e-3    2e-6 0.996 10 0.25 0.3  3 0.07 0
dino_resnet50_8xb64-amp-coslr-100e_in1k                           6e-2    1e-6 0.996  8 0.14 3.0  1 0.04 0
ibot_vit-small-p16_16xb64-amp-coslr-100e_in1k                     2e-3    1e-6 0.996 10 0.25 3.0  1 0.07 0.15
ibot_vit-small-p16_16xb64-amp-coslr-300e_in1k                     2e-3    1e-6 0.996 10 0.32 3.0  1 0.07 0.15
ibot_vit-small-p16_16xb64-amp-coslr-300e_in1k-2x224               2e-3    1e-6 0.996  0 0.14 3.0  1 0.07 0.3
ibot_vit-small-p16_16xb64-amp-coslr-800e_in1k                     2e-3    1e-6 0.996 10 0.25 3.0  1 0.07 0.15
ibot_vit-base-p16_16xb64-amp-coslr-400e_in1k                      3e-3    2e-6 0.996 10 0.32 0.3  3 0.07 0.15
attmask-hint_ibot_vit-small-p16_4xb60-amp-coslr-100e_in1k         4.69e-4 1e-6 0.996 10 0.25 3.0  1 0.07 0.15
attmask-high_ibot_vit-small-p16_8xb100-amp-coslr-300e_in1k        1.56e-3 1e-6 0.996 10 0.32 3.0  1 0.07 0.15
attmask-high_ibot_vit-small-p16_4xb60-amp-coslr-100e_in1k-20pct   4.69e-4 1e-6 0.99   6 0.25 3.0  1 0.07 0.15
ibot-random75_vit-small-p16_4xb60-amp-coslr-100e_in1k-20pct       4.69e-4 1e-6 0.99   6 0.25 3.0  1 0.07 0.375
mst_vit-small-p16_16xb64-amp-coslr-300e_in1k                      2e-3    1e-6 0.996 10 0.25 3.0  1 0.07 0.0125
mst_swin-tiny-w7_16xb64-amp-coslr-100e_in1k                       2e-3    1e-6 0.996 10 0.25 3.0  1 0.07 0.0125
"""


@pytest.mark.parametrize('row', DISTILLED.strip().splitlines(), ids=lambda row: row.split()[0])
def test_published_settings_of_self_distillation(row):
    name, *values = row.split()
    peak, last, momentum, local, smallest, clip, frozen, temperature, share = map(ast.literal_eval, values)
    cfg = read(next(path for path in CONFIGS if path.stem == name))
    model, crop = cfg.model, cfg.train_dataloader.dataset.pipeline[2]
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(peak, rel=0.005)
    warmup, cosine, *decay = cfg.param_scheduler
    assert (warmup.end, cosine.begin, cosine.end) == (10, 10, cfg.train_cfg.max_epochs)
    assert cosine.eta_min == pytest.approx(last)
    if 'resnet' not in name:
        assert (cfg.optim_wrapper.optimizer.weight_decay, decay[0].eta_min_ratio) == (0.04, pytest.approx(10))
    assert model.momentum == momentum
    assert (crop.num_local, crop.global_scale[0]) == (local, smallest)
    assert local == 0 or crop.local_scale == (0.05, smallest)
    rules, _ = [hook for hook in cfg.custom_hooks if 'BrokenImages' not in hook.type]
    assert (rules.clip_per_tensor, rules.frozen) == (clip, dict(last_layer=frozen))
    for loss in (model.loss, model.get('patch_loss', model.loss)):
        assert getattr(loss.teacher_temp, 'end', loss.teacher_temp) == temperature
    masking = model.get('masking')
    if masking is None:
        hidden = 0
    elif masking.type == 'AttentionGuidedMasking':
        hidden = masking.p / masking.num
    else:
        hidden = masking.mask_prob * torch.tensor(masking.mask_ratio).double().mean().item()
    assert hidden == pytest.approx(share, rel=1e-6)
