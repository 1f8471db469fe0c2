"""CIFAR-10 at 224 px, in the views of fine-tuning.

`cifar-10-batches-py/` below the root. Validation is on the test images.
"""

_base_ = './imagenet_finetune_224.py'

data_preprocessor = dict(num_classes=10)
# The data set hands out pixels, not paths.
load = [dict(type='mimselfsup.ReverseChannels')]
train_pipeline = [_base_.train_pipeline[0], *load, *_base_.train_pipeline[2:]]
test_pipeline = [*load, *_base_.test_pipeline[1:]]
train_dataloader = dict(
    dataset=dict(
        _delete_=True, type='CIFAR10', data_root='data/cifar10', split='train', download=False, pipeline=train_pipeline
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CIFAR10',
        data_root='data/cifar10',
        split='test',
        download=False,
        test_mode=True,
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
