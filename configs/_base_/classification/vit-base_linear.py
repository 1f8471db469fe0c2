"""MAE's linear probe of ViT-B: the last [CLS], standardised by the batch, a linear layer; LARS, 90 epochs."""

_base_ = []
from mimselfsup.engine.schedules import lars_cosine

model = dict(
    type='mimselfsup.LinearProbe',
    backbone=dict(type='mimselfsup.MaskedViT', arch='base', img_size=224, patch_size=16),
    feature=dict(cls=1),
    norm='batch',
    head=dict(type='LinearClsHead', num_classes=1000, init_cfg=dict(type='TruncNormal', layer='Linear', std=0.01)),
)
optim_wrapper, param_scheduler, train_cfg = lars_cosine(epochs=90, warmup_epochs=10, base_lr=0.1, batch_size=16384)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=16384)
