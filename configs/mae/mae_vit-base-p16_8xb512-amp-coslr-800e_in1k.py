"""MAE, ViT-B/16, ImageNet-1k, 800 epochs. Published: 83.3 fine-tuned, 65.1 linear (mmpretrain).

tools/dist_train.sh configs/mae/mae_vit-base-p16_8xb512-amp-coslr-800e_in1k.py 8 --data DIR
"""

_base_ = ['../_base_/datasets/imagenet_mae_224.py', '../_base_/runtime.py']
from mimselfsup.engine.schedules import adamw_cosine

model = dict(
    type='MaskedImageModeling',
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        type='MaskedViT',
        arch='base',
        img_size=224,
        patch_size=16,
        hidden='drop',
        position='sincos',
        weight_init='xavier',
    ),
    # 147 of 196 patches: MAE keeps floor(0.25 N).
    masking=dict(type='RandomMasking', mask_ratio=0.75, count='ceil'),
    decoder=dict(type='TransformerDecoder', width=512, depth=8, num_heads=16),
    target=dict(type='PixelTarget', normalize=True),
    loss=dict(type='MaskedRegressionLoss', criterion='l2'),
)
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=800, warmup_epochs=40, base_lr=1.5e-4, batch_size=4096, betas=(0.9, 0.95), weight_decay=0.05
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=4096)
