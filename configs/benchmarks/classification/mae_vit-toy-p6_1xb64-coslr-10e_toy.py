"""MAE's fine-tuning at toy size.

python tools/train.py configs/benchmarks/classification/mae_vit-toy-p6_1xb64-coslr-10e_toy.py --pretrained CKPT
"""

_base_ = [
    '../../_base_/datasets/toy_finetune_48.py',
    '../../_base_/classification/vit-base_finetune.py',
    '../../_base_/classification/runtime.py',
]
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256),
        img_size=48,
        patch_size=6,
        drop_path_rate=0.0,
    ),
    head=dict(num_classes=10, in_channels=64),
)
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=10, warmup_epochs=1, base_lr=2e-3, batch_size=64, lr_unit=64, layer_decay=0.75
)
optim_wrapper.update(_delete_=True)
auto_scale_lr = dict(base_batch_size=64)
