"""AMT's fine-tuning after MAE on STL-10, by the recipe of ImageNet, which is our assumption.

Published: MAE 96.5, AM 97.4, AMT 97.5.
"""

_base_ = [
    '../../_base_/datasets/stl10_finetune_224.py',
    '../../_base_/classification/vit-base_finetune.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(head=dict(num_classes=10))
train_dataloader = dict(batch_size=32)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=100, warmup_epochs=5, base_lr=1e-3, batch_size=1024, layer_decay=0.75, accumulate=8
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
