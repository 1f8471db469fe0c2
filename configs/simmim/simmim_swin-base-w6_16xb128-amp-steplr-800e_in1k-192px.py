"""SimMIM, Swin-B window 6, ImageNet-1k at 192 px, 800 epochs. Published: 84.0 fine-tuned at 224 px."""

_base_ = './simmim_swin-base-w6_16xb128-amp-coslr-100e_in1k-192px.py'
from mimselfsup.engine.schedules import adamw_step

optim_wrapper, param_scheduler, train_cfg = adamw_step(
    epochs=800,
    warmup_epochs=10,
    milestones=[700],
    base_lr=1e-4,
    batch_size=2048,
    lr_unit=512,
    betas=(0.9, 0.999),
    warmup_lr=5e-7,
    clip_grad=5.0,
    paramwise_cfg=_base_.no_decay,
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
