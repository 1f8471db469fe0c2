"""iBOT at AttMask's batch of 240, ViT-S/16, ImageNet-1k, 100 epochs, masks in blocks: the host. Not published."""

_base_ = '../ibot/ibot_vit-small-p16_16xb64-amp-coslr-100e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

model = dict(masking=dict(mask_ratio=(0.1, 0.5)))
train_dataloader = dict(batch_size=60)
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=100, batch_size=240, base_lr=5e-4, min_lr=1e-6 * 256 / 240, **_base_.recipe
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=240)
