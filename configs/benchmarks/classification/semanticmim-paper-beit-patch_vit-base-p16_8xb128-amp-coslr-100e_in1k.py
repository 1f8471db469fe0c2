"""SemanticMIM's fine-tuning as its paper's table prints it: no warm-up, hardly any decay, plain crops, nothing else.

The table repeats that of the linear probe, and is likely a slip; the file without -paper follows the code.
"""

_base_ = [
    '../../_base_/datasets/imagenet_probe_bicubic_224.py',
    '../../_base_/classification/vit-base_finetune.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(
    backbone=dict(num_cls_tokens=8, layer_scale_init_value=0.1),
    head=dict(
        loss=dict(_delete_=True, type='CrossEntropyLoss'), init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02)
    ),
)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=100,
    warmup_epochs=0,
    base_lr=4e-3,
    batch_size=1024,
    lr_unit=1024,
    layer_decay=1.0,
    weight_decay=1e-4,
    min_lr=0.0,
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
