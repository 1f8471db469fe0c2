"""DINO at a size that a CPU trains in minutes, on the toy world: 2 views of 48 px and 2 of 24 px."""

_base_ = ['../_base_/datasets/toy_multicrop_48.py', '../_base_/runtime.py']
from mimselfsup.engine.schedules import adamw_cosine

train_dataloader = dict(batch_size=32)
model = dict(
    type='SelfDistillation',
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        type='MaskedViT',
        arch=dict(embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256),
        img_size=48,
        patch_size=8,
        hidden='drop',
        weight_init='trunc_normal',
    ),
    projector=dict(type='Projector', num_prototypes=256, hidden=256, bottleneck=64),
    loss=dict(type='CrossViewLoss', teacher_temp=0.04),
    momentum=0.98,
)
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=12,
    warmup_epochs=1,
    base_lr=16e-3,
    batch_size=32,
    betas=(0.9, 0.999),
    weight_decay=0.04,
    final_weight_decay=0.1,
)
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(checkpoint=dict(interval=4))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='mimselfsup.GradientRulesHook', clip_per_tensor=3.0, frozen=dict(last_layer=1)),
    dict(type='mimselfsup.DistillationMonitorHook'),
    dict(type='mimselfsup.KNNHook', interval=6, feature='cls'),
]
