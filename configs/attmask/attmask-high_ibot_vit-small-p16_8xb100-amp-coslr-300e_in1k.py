"""AttMask-High on iBOT, ViT-S/16, ImageNet-1k, 300 epochs. Published: 75.0 k-NN, 77.5 linear."""

_base_ = './attmask-high_ibot_vit-small-p16_4xb60-amp-coslr-100e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(global_scale=(0.32, 1.0), local_scale=(0.05, 0.32))
train_dataloader = dict(batch_size=100, dataset=dict(pipeline=train_pipeline))
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=300, batch_size=800, base_lr=5e-4, min_lr=1e-6 * 256 / 800, **_base_.recipe
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=800)
