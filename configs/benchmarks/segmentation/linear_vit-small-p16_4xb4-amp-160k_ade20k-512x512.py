"""iBOT's linear probe of dense features: one linear layer on four frozen blocks of a ViT-S/16, ADE20K at 512 px."""

_base_ = './upernet_vit-small-p16_4xb4-amp-160k_ade20k-512x512.py'
custom_imports = dict(imports=['mimselfsup.transfer.segmentation'], allow_failed_imports=False)

model = dict(
    type='mimselfsup.LinearSegmentor',
    backbone=dict(drop_path_rate=0.0),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=[384] * 4,
        in_index=(0, 1, 2, 3),
        input_transform='resize_concat',
        channels=4 * 384,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
    ),
    auxiliary_head=None,
)
optim_wrapper = dict(
    optimizer=dict(lr=7e-4), constructor='DefaultOptimWrapperConstructor', paramwise_cfg=dict(_delete_=True)
)
