"""iBOT's fine-tuning, ViT-S. Published: 82.3 (800 epochs)."""

_base_ = './ibot_vit-base-p16_8xb128-amp-coslr-100e_in1k.py'
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(backbone=dict(arch='small', drop_path_rate=0.1), head=dict(in_channels=384))
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=200, warmup_epochs=20, layer_decay=0.75, **_base_.recipe
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
