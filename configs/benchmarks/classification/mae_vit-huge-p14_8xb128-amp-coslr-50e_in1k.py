"""MAE's fine-tuning, ViT-H: higher rates, a weaker decay of them, half the epochs. Published: 86.9."""

_base_ = './mae_vit-base-p16_8xb128-amp-coslr-100e_in1k.py'
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(backbone=dict(arch='huge', patch_size=14, drop_path_rate=0.3), head=dict(in_channels=1280))
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=50, warmup_epochs=5, base_lr=1e-3, batch_size=1024, layer_decay=0.75
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
