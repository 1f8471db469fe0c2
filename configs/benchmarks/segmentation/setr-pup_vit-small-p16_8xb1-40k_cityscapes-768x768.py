"""SETR-PUP on Cityscapes, 768 px, 40k iterations of 8 pictures: DeiT-S/16, MST's transfer. Published: 74.04 mIoU.

MST does not say which SETR; the naive and MLA ones are beside this file.

tools/dist_train.sh configs/benchmarks/segmentation/setr-pup_vit-small-p16_8xb1-40k_cityscapes-768x768.py 8 \
    --pretrained CKPT --pretrained-from student
"""

_base_ = 'mmseg::setr/setr_vit-l_pup_8xb1-80k_cityscapes-768x768.py'

# Auxiliary heads on all four taps, the last one included, as in SETR's own code for 12 blocks.
auxiliary_heads = [
    dict(
        type='SETRUPHead',
        in_channels=384,
        channels=256,
        in_index=tap,
        num_classes=19,
        dropout_ratio=0,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        num_convs=2,
        up_scale=4,
        kernel_size=3,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
    )
    for tap in range(4)
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mimselfsup.MaskedViT',
        arch='small',
        img_size=768,
        patch_size=16,
        interpolate_mode='bilinear',
        out_type='featmap',
        out_indices=(4, 7, 9, 11),
        final_norm=False,
    ),
    decode_head=dict(in_channels=384),
    auxiliary_head=auxiliary_heads,
)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=40000, by_epoch=False)]
train_cfg = dict(max_iters=40000, val_interval=4000)
default_hooks = dict(checkpoint=dict(interval=4000))
auto_scale_lr = dict(base_batch_size=8)
