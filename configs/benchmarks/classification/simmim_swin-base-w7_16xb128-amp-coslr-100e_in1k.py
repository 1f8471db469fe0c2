"""SimMIM's fine-tuning, Swin-B at 224 px after 100 epochs at 192 px. Published: 83.5.

After 800 epochs the layer decay is 0.8: --cfg-options optim_wrapper.paramwise_cfg.layer_decay_rate=0.8
"""

_base_ = [
    '../../_base_/datasets/imagenet_finetune_224.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(
    type='ImageClassifier',
    backbone=dict(type='mimselfsup.MaskedSwin', arch='base', img_size=224, drop_path_rate=0.1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1024,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
)
find_unused_parameters = True  # the mask token
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=100,
    warmup_epochs=20,
    base_lr=1.25e-3,
    batch_size=2048,
    lr_unit=512,
    layer_decay=0.9,
    min_lr=2.5e-7 * 2048 / 512,
    warmup_lr=2.5e-7 * 2048 / 512,
    clip_grad=5.0,
    custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0)),
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=2048)
