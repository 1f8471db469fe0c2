"""UPerNet on ADE20K, 640 px: BEiT that was fine-tuned on ImageNet. Published: 53.08 mIoU, fine-tuned on 22k (mmseg)."""

_base_ = './upernet_vit-base-p16_8xb2-160k_ade20k-640x640.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mimselfsup.RelativeViT',
        arch='base',
        img_size=640,
        patch_size=16,
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
        drop_path_rate=0.1,
    ),
)
optim_wrapper = dict(type='mimselfsup.AutocastOptimWrapper')
