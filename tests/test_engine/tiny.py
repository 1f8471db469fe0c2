"""A MAE of some thousand parameters and a folder of 16 px images: the run that the tests of training start."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

CONFIG = """
_base_ = []
from mimselfsup.engine.schedules import adamw_cosine

default_scope = 'mimselfsup'
model = dict(
    type='MaskedImageModeling',
    data_preprocessor=dict(
        type='mmpretrain.SelfSupDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True),
    backbone=dict(
        type='MaskedViT', img_size=16, patch_size=4, hidden='drop', drop_path_rate=0.1,
        arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)),
    masking=dict(type='RandomMasking', mask_ratio=0.5),
    decoder=dict(type='TransformerDecoder', width=24, depth=1, num_heads=2),
    target=dict(type='PixelTarget'),
    loss=dict(type='MaskedRegressionLoss'))
train_dataloader = dict(
    batch_size=4, num_workers=0, drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='EpochSampler'),
    dataset=dict(
        type='ImageFolder', data_root='',
        pipeline=[
            dict(type='SeedSample'),
            dict(type='LoadImage'),
            dict(type='mmpretrain.RandomResizedCrop', scale=16, backend='pillow', interpolation='bicubic'),
            dict(type='mmpretrain.RandomFlip', prob=0.5),
            dict(type='mmpretrain.PackInputs')]))
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=3, warmup_epochs=1, base_lr=0.05, batch_size=4)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1))
log_processor = dict(window_size=1)
visualizer = dict(type='mmengine.Visualizer', vis_backends=[dict(type='LocalVisBackend')])
"""


def write_images(folder: Path, count: int = 18) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{index:03}.png')
    return folder


def write_config(path: Path, extra: str = '') -> Path:
    path.write_text(CONFIG + extra)
    return path


def read_losses(work_dir: Path) -> dict[int, float]:
    """Iteration (from 1) -> loss, over all starts of the run; a later start overrides what it repeated."""
    losses = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            scalars = json.loads(line)
            if 'loss' in scalars:
                losses[scalars['step']] = scalars['loss']
    return losses
