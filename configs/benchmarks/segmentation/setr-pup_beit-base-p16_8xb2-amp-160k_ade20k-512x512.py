"""SETR-PUP on ADE20K, 512 px, after BEiT: its paper's task layer. Published, 800 epochs of pre-training: 45.6 mIoU.

The paper's settings were not released: mmseg's head for SETR-PUP, the optimizer of BEiT's UPerNet.
"""

_base_ = './upernet_beit-base-p16_8xb2-amp-160k_ade20k-512x512.py'

head = dict(
    type='SETRUPHead',
    channels=256,
    in_channels=768,
    num_classes=150,
    dropout_ratio=0,
    norm_cfg=dict(type='SyncBN', requires_grad=True),
    kernel_size=3,
    align_corners=False,
)
model = dict(
    backbone=dict(out_indices=(4, 7, 9, 11)),
    neck=None,
    decode_head=dict(
        head, _delete_=True, in_index=3, num_convs=4, up_scale=2, loss_decode=dict(type='CrossEntropyLoss')
    ),
    auxiliary_head=[
        dict(
            head,
            in_index=tap,
            num_convs=2,
            up_scale=4,
            loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
        )
        for tap in range(3)
    ],
)
