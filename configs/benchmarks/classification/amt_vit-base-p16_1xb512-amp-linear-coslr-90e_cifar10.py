"""AMT's linear probe on CIFAR-10. Published: MAE 85.2, AM 89.4, AMT 88.1.

AMT gives no recipe for it: MAE's on ImageNet at 224 px, with batches that so small a set can fill, is our choice.
"""

_base_ = [
    '../../_base_/datasets/cifar10_probe_224.py',
    '../../_base_/classification/vit-base_linear.py',
    '../../_base_/classification/runtime.py',
]

model = dict(head=dict(num_classes=10))
train_dataloader = dict(batch_size=512)
