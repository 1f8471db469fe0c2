"""SimMIM, ViT-B/16, ImageNet-1k, 800 epochs. Published: 83.8 fine-tuned.

tools/dist_train.sh configs/simmim/simmim_vit-base-p16_16xb128-amp-steplr-800e_in1k.py 16 --data DIR
"""

_base_ = ['../_base_/datasets/imagenet_simmim_224.py', '../_base_/runtime.py']
from mimselfsup.engine.schedules import adamw_step

model = dict(
    type='MaskedImageModeling',
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        type='MaskedViT',
        arch='base',
        img_size=224,
        patch_size=16,
        hidden='replace',
        # One table of relative positions for all blocks, as published; 'learned' is what AMT's host uses.
        position='shared_relative',
        weight_init='trunc_normal_rescaled',
        layer_scale_init_value=0.1,
        drop_path_rate=0.1,
    ),
    # Units of 32 px: 30 of 49, 120 of 196 patches.
    masking=dict(type='RandomMasking', mask_ratio=0.6, unit=2, count='ceil'),
    decoder=dict(type='LinearDecoder'),
    target=dict(type='PixelTarget'),
    loss=dict(type='MaskedRegressionLoss', criterion='l1'),
)
no_decay = dict(
    flat_decay_mult=0.0,
    bias_decay_mult=0.0,
    norm_decay_mult=0.0,
    custom_keys=dict(cls_token=dict(decay_mult=0.0), pos_embed=dict(decay_mult=0.0)),
)
optim_wrapper, param_scheduler, train_cfg = adamw_step(
    epochs=800,
    warmup_epochs=10,
    milestones=[700],
    base_lr=1e-4,
    batch_size=2048,
    lr_unit=512,
    betas=(0.9, 0.999),
    warmup_lr=5e-7,
    clip_grad=5.0,
    paramwise_cfg=no_decay,
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=2048)
