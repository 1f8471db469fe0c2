"""iBOT, ViT-L/16, ImageNet-1k, 250 epochs, masks in blocks. Published: 78.0 k-NN, 81.0 linear, 84.8 fine-tuned.

What is not published of its settings is as for ViT-B.
"""

_base_ = './ibot_vit-base-p16_16xb64-amp-coslr-400e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

model = dict(backbone=dict(arch='large'))
_, param_scheduler, train_cfg = adamw_cosine(
    epochs=250, batch_size=1024, base_lr=7.5e-4, min_lr=2e-6 * 256 / 1024, **_base_.recipe
)
