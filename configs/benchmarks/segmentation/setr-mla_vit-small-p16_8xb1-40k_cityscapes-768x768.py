"""SETR-MLA on Cityscapes, 768 px, 40k iterations of 8 pictures: DeiT-S/16, as MST may have meant it."""

_base_ = 'mmseg::setr/setr_vit-l_mla_8xb1-80k_cityscapes-768x768.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mimselfsup.MaskedViT',
        arch='small',
        img_size=768,
        patch_size=16,
        interpolate_mode='bilinear',
        out_type='featmap',
        out_indices=(2, 5, 8, 11),
        final_norm=False,
    ),
    neck=dict(in_channels=[384] * 4),
)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=40000, by_epoch=False)]
train_cfg = dict(max_iters=40000, val_interval=4000)
default_hooks = dict(checkpoint=dict(interval=4000))
auto_scale_lr = dict(base_batch_size=8)
