"""MaskFeat, ViT-B/16, ImageNet-1k, 300 epochs. Published: 83.6 fine-tuned (paper), 83.4 (mmpretrain).

tools/dist_train.sh configs/maskfeat/maskfeat_vit-base-p16_8xb256-amp-coslr-300e_in1k.py 8 --data DIR
"""

_base_ = ['../_base_/datasets/imagenet_maskfeat_224.py', '../_base_/runtime.py']
from mimselfsup.engine.schedules import adamw_cosine

model = dict(
    type='MaskedImageModeling',
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        type='MaskedViT',
        arch='base',
        img_size=224,
        patch_size=16,
        hidden='replace',
        position='learned',
        weight_init='trunc_normal',
    ),
    # 78 of 196 patches.
    masking=dict(type='BlockMasking', mask_ratio=78 / 196, min_block=15),
    decoder=dict(type='LinearDecoder'),
    # mmpretrain's MaskFeat, and SemanticMIM's, weigh the votes: gaussian_window=16.
    target=dict(type='HOGTarget', cell=8, bins=9, gaussian_window=0),
    loss=dict(type='MaskedRegressionLoss', criterion='l2'),
)
# The gradients are nearly always longer than this: rate and clipping belong together.
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=300,
    warmup_epochs=30,
    base_lr=1.6e-3,
    batch_size=2048,
    lr_unit=2048,
    betas=(0.9, 0.999),
    min_lr=1e-6,
    warmup_lr=1e-6,
    clip_grad=0.02,
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
auto_scale_lr = dict(base_batch_size=2048)
