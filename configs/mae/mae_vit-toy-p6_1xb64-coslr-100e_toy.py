"""MAE at a size that a CPU trains in minutes, on the toy world at 48 px. Used by `make demo`.

python tools/make_scenes.py data/toy && python tools/train.py configs/mae/mae_vit-toy-p6_1xb64-coslr-100e_toy.py
"""

_base_ = ['../_base_/datasets/toy_48.py', '../_base_/runtime.py']
from mimselfsup.engine.schedules import adamw_cosine

model = dict(
    type='MaskedImageModeling',
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        type='MaskedViT',
        arch=dict(embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=256),
        img_size=48,
        patch_size=6,
        hidden='drop',
        position='sincos',
        weight_init='xavier',
    ),
    masking=dict(type='RandomMasking', mask_ratio=0.75, count='ceil'),
    decoder=dict(type='TransformerDecoder', width=48, depth=1, num_heads=4),
    target=dict(type='PixelTarget', normalize=True),
    loss=dict(type='MaskedRegressionLoss', criterion='l2'),
)
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=100, warmup_epochs=5, base_lr=8e-3, batch_size=64, lr_unit=256, betas=(0.9, 0.95), weight_decay=0.05
)
auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [*_base_.custom_hooks, dict(type='mimselfsup.KNNHook', interval=25)]
