"""iBOT's fine-tuning, ViT-L. Published: 84.8 (blocks), 85.0 (random)."""

_base_ = './ibot_vit-base-p16_8xb128-amp-coslr-100e_in1k.py'
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(backbone=dict(arch='large', drop_path_rate=0.4), head=dict(in_channels=1024))
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=50, warmup_epochs=5, layer_decay=0.75, **_base_.recipe
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
