"""UPerNet on ADE20K, 512 px, Swin-T: mmseg's recipe. Published there: 44.41 mIoU after supervised training.

tools/dist_train.sh configs/benchmarks/segmentation/upernet_swin-tiny-w7_8xb2-160k_ade20k-512x512.py 8 --pretrained CKPT
"""

_base_ = 'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mimselfsup.MaskedSwin',
        arch='tiny',
        with_mask_token=False,
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.3,
    ),
)
auto_scale_lr = dict(base_batch_size=16)
