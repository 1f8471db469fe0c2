"""Flowers-102, in the views of fine-tuning: `jpg/`, `imagelabels.mat`, `setid.mat`.

2,040 images of its train and val are learned from, validation is on the 6,149 of its test.
"""

_base_ = './imagenet_finetune_224.py'

data_preprocessor = dict(num_classes=102)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='Flowers102',
        data_root='data/flowers102',
        split='trainval',
        pipeline=_base_.train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True, type='Flowers102', data_root='data/flowers102', split='test', pipeline=_base_.test_pipeline
    )
)
test_dataloader = val_dataloader
