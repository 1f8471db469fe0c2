"""MST's linear probe of its ablations: the last [CLS] of ViT-S. Published: 73.9 (100 epochs), 76.3 (300).

tools/dist_train.sh configs/benchmarks/classification/mst_vit-small-p16_8xb128-linear-coslr-100e_in1k.py 8 \
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
    feature=dict(cls=1),
    head=dict(type='LinearClsHead', num_classes=1000),
)
# Printed as the rate of 1024 images, without a rule for other batches; the schedule is not printed.
optim_wrapper, param_scheduler, train_cfg = sgd_cosine(epochs=100, base_lr=2.4e-4, batch_size=1024, lr_unit=1024)
auto_scale_lr = dict(base_batch_size=1024)
