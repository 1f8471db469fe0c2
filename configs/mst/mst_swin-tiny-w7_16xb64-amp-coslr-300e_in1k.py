"""MST, Swin-T window 7, ImageNet-1k, 300 epochs. Not published."""

_base_ = './mst_swin-tiny-w7_16xb64-amp-coslr-100e_in1k.py'
from mimselfsup.engine.schedules import adamw_cosine

_, param_scheduler, train_cfg = adamw_cosine(
    epochs=300, batch_size=1024, base_lr=5e-4, min_lr=1e-6 * 256 / 1024, **_base_.recipe
)
