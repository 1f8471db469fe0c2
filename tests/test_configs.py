"""Every config that is shipped: its keys are checked, its model is built, and those of toy size take a step."""

from pathlib import Path

import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from mimselfsup.engine.launch import load_config, mend_known_traps
from mimselfsup.engine.validation import check_config
from mimselfsup.registry import HOOKS, MODELS

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(path for path in (ROOT / 'configs').glob('*/*.py') if path.parent.name != '_base_')


def read(path):
    cfg = load_config(path)
    mend_known_traps(cfg)
    return cfg


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_keys_parts_and_name(path):
    cfg = read(path)
    check_config(cfg)
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        for hook in cfg.custom_hooks:
            HOOKS.build(hook)
        pipeline = Compose(cfg.train_dataloader.dataset.pipeline)
        model_cfg = cfg.model.to_dict()
        # Two blocks instead of up to 32: the widths and sizes are what has to fit.
        backbone = model_cfg['backbone']
        if backbone['type'] == 'MaskedViT' and isinstance(backbone['arch'], str):
            from mimselfsup.models import MaskedViT

            backbone['arch'] = dict(MaskedViT.arch_zoo[backbone['arch']], num_layers=2)
        model = MODELS.build(model_cfg)
    crop = next(step for step in pipeline.transforms if type(step).__name__ == 'RandomResizedCrop')
    if hasattr(model.backbone, 'img_size'):
        assert tuple(crop.scale) == tuple(model.backbone.img_size)
    grid = model.backbone.token_grid(tuple(crop.scale))
    masking = model.masking_before or model.masking
    assert 0.59 < masking(grid, 2).masked.float().mean() < 0.76
    # The name says gpus x batch, epochs and whether precision is mixed; the config must agree with it.
    batch = int(path.stem.split('xb')[1].split('-')[0])
    assert cfg.train_dataloader.batch_size == batch
    assert f'-{cfg.train_cfg.max_epochs}e_' in path.stem
    assert ('-amp-' in path.stem) == (cfg.optim_wrapper.type == 'mimselfsup.AutocastOptimWrapper')
    gpus = int(path.stem.split('xb')[0].split('_')[-1])
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch


@pytest.mark.parametrize('path', [path for path in CONFIGS if 'toy' in path.stem], ids=lambda path: path.stem)
def test_toy_models_take_a_step(path):
    cfg = read(path)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    loss = model(torch.randn(4, 3, 48, 48), mode='loss')['loss_reconstruction']
    loss.backward()
    used = [p for p in model.parameters() if p.requires_grad and p.grad is not None]
    assert loss.isfinite() and len(used) > 0.9 * sum(p.requires_grad for p in model.parameters())
