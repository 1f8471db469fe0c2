"""UPerNet on ADE20K, 512 px, ViT-S/16, as iBOT.

Published, most likely after 100 epochs of pre-training: 44.9 mIoU (iBOT), 45.3 (AttMask).

tools/dist_train.sh configs/benchmarks/segmentation/upernet_vit-small-p16_4xb4-amp-160k_ade20k-512x512.py 4 \
    --pretrained CKPT
"""

_base_ = 'mmseg::mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mimselfsup.MaskedViT',
        arch='small',
        img_size=224,
        patch_size=16,
        position_resize='dino',  # of the table of pre-training, for every crop
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
        norm_taps=True,
        drop_path_rate=0.1,
    ),
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384] * 4, channels=384),
    auxiliary_head=dict(in_channels=384),
)
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(
    type='mimselfsup.AutocastOptimWrapper',
    optimizer=dict(lr=3e-5),
    constructor='mimselfsup.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=0.9),
)
auto_scale_lr = dict(base_batch_size=16)
