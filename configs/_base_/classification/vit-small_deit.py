"""Fine-tuning of ViT-S as DeiT is transferred: [CLS], no layer decay, an almost flat rate, repeated augmentation."""

_base_ = []
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mimselfsup.MaskedViT',
        arch='small',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        out_type='cls_token',
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=384,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
)
recipe = dict(warmup_epochs=5, lr_unit=512, layer_decay=1.0, min_lr=1e-5, warmup_lr=1e-6)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(epochs=500, base_lr=7.5e-6, batch_size=900, **recipe)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
train_cfg.update(val_interval=50)
auto_scale_lr = dict(base_batch_size=900)
# An average is kept beside the network that is trained, validated and tested.
average = [dict(type='EMAHook', momentum=4e-5, evaluate_on_ema=False, evaluate_on_origin=True)]
