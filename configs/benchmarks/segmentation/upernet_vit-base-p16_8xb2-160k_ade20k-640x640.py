"""UPerNet on ADE20K, 640 px, 160k iterations of 16 pictures: ViT-B/16 with absolute positions, as SemanticMIM.

tools/dist_train.sh configs/benchmarks/segmentation/upernet_vit-base-p16_8xb2-160k_ade20k-640x640.py 8 --pretrained CKPT
"""

_base_ = 'mmseg::beit/beit-base_upernet_8xb2-160k_ade20k-640x640.py'

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='mimselfsup.MaskedViT',
        arch='base',
        img_size=640,
        patch_size=16,
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
        final_norm=False,
        drop_path_rate=0.1,
    ),
)
optim_wrapper = dict(
    constructor='mimselfsup.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=0.9),
)
auto_scale_lr = dict(base_batch_size=16)
