"""DINO's linear probe of ViT-S: the [CLS] tokens of the last four blocks. For DINO, iBOT, and MST's second probe.

Published: DINO 74.6 (100 epochs), 76.1 (300); MST 75.0, 76.9.

tools/dist_train.sh configs/benchmarks/classification/dino_vit-small-p16_8xb128-linear-coslr-100e_in1k.py 8 \
    --data IMAGENET --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/imagenet_probe_224.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import sgd_cosine

model = dict(
    type='mimselfsup.LinearProbe',
    backbone=dict(type='mimselfsup.MaskedViT', arch='small', img_size=224, patch_size=16),
    feature=dict(cls=4),
    head=dict(type='LinearClsHead', num_classes=1000),
)
optim_wrapper, param_scheduler, train_cfg = sgd_cosine(epochs=100, base_lr=1e-3, batch_size=1024)
auto_scale_lr = dict(base_batch_size=1024)
