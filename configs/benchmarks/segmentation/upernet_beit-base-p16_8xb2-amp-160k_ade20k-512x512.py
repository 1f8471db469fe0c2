"""UPerNet on ADE20K, 512 px: BEiT as it is after pre-training. Each block gets a copy of its table of positions."""

_base_ = 'mmseg::mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mimselfsup.RelativeViT',
        arch='base',
        img_size=512,
        patch_size=16,
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
        drop_path_rate=0.1,
    ),
)
optim_wrapper = dict(
    type='mimselfsup.AutocastOptimWrapper',
    optimizer=dict(lr=7e-4),
    constructor='mimselfsup.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=0.65),
)
auto_scale_lr = dict(base_batch_size=16)
