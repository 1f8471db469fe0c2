"""As imagenet_finetune_224.py, with 10% of the training labels: 128,116 images, listed in meta/train_10percent.txt.

python tools/convert_dataset.py subset data/imagenet meta/train_10percent.txt --list 10percent.txt
"""

_base_ = './imagenet_finetune_224.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root='data/imagenet',
        data_prefix='train',
        ann_file='meta/train_10percent.txt',
        pipeline=_base_.train_pipeline,
    )
)
