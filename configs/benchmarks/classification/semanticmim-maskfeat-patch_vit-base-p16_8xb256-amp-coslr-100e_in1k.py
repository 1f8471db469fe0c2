"""SemanticMIM's fine-tuning after MaskFeat, as its code's: the mean of the patches. Published: 83.6; MaskFeat 83.0."""

_base_ = [
    '../../_base_/datasets/imagenet_finetune_224.py',
    '../../_base_/classification/vit-base_finetune.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(
    backbone=dict(num_cls_tokens=8),
    head=dict(init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5, bias=2e-5)),
)
train_dataloader = dict(batch_size=256)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=100, warmup_epochs=20, base_lr=8e-3, batch_size=2048, lr_unit=2048, layer_decay=0.65
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=2048)
