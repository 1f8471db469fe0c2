"""CIFAR-100 at 224 px, in the views of linear probes.

`cifar-100-python/` below the root. Validation is on the test images.
"""

_base_ = './cifar10_probe_224.py'

data_preprocessor = dict(num_classes=100)
train_dataloader = dict(dataset=dict(type='CIFAR100', data_root='data/cifar100'))
val_dataloader = dict(dataset=dict(type='CIFAR100', data_root='data/cifar100'))
test_dataloader = val_dataloader
