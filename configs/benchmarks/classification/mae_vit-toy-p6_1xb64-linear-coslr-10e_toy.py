"""MAE's linear probe at toy size: LARS on the standardised [CLS].

python tools/train.py configs/benchmarks/classification/mae_vit-toy-p6_1xb64-linear-coslr-10e_toy.py --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/toy_probe_48.py',
    '../../_base_/classification/vit-base_linear.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import lars_cosine

model = dict(
    backbone=dict(
        _delete_=True,
        type='mimselfsup.MaskedViT',
        arch=dict(embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256),
        img_size=48,
        patch_size=6,
    ),
    head=dict(num_classes=10),
)
optim_wrapper, param_scheduler, train_cfg = lars_cosine(
    epochs=10, warmup_epochs=1, base_lr=0.5, batch_size=64, lr_unit=64
)
# MAE's 6.4 is also the rate of the bias, which is not adapted: too much for batches of 64. A larger trust makes up for
# it with the weights.
optim_wrapper['optimizer'].update(eta=0.02)
optim_wrapper.update(_delete_=True)
auto_scale_lr = dict(base_batch_size=64)
