"""iBOT's fine-tuning on Flowers-102, ViT-S: DeiT's recipe for 1000 epochs."""

_base_ = './attmask_vit-small-p16_6xb150-amp-coslr-1000e_flowers102.py'
from mimselfsup.engine.schedules import adamw_layer_decay

train_dataloader = dict(batch_size=96)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=1000, base_lr=7.5e-6, batch_size=768, **_base_.recipe
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
train_cfg.update(val_interval=50)
auto_scale_lr = dict(base_batch_size=768)
