"""SimMIM, Swin-B window 6, ImageNet-1k at 192 px, 100 epochs. Published: 82.8 fine-tuned at 192 px, 83.5 at 224 px.

tools/dist_train.sh configs/simmim/simmim_swin-base-w6_16xb128-amp-coslr-100e_in1k-192px.py 16 --data DIR
"""

_base_ = ['../_base_/datasets/imagenet_simmim_192.py', '../_base_/runtime.py']
from mimselfsup.engine.schedules import adamw_cosine

model = dict(
    type='MaskedImageModeling',
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(type='MaskedSwin', arch='base', img_size=192, stage_cfgs=dict(block_cfgs=dict(window_size=6))),
    # Units of 32 px on the 4 px grid: 22 of 36 of them, 1408 of 2304 patches.
    masking=dict(type='RandomMasking', mask_ratio=0.6, unit=8, count='ceil'),
    decoder=dict(type='LinearDecoder'),
    target=dict(type='PixelTarget'),
    loss=dict(type='MaskedRegressionLoss', criterion='l1'),
)
no_decay = dict(
    flat_decay_mult=0.0,
    bias_decay_mult=0.0,
    norm_decay_mult=0.0,
    custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0), mask_token=dict(decay_mult=0.0)),
)
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=100,
    warmup_epochs=10,
    base_lr=2e-4,
    batch_size=2048,
    lr_unit=512,
    betas=(0.9, 0.999),
    min_lr=1e-5,
    warmup_lr=1e-6,
    clip_grad=5.0,
    paramwise_cfg=no_decay,
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=2048)
