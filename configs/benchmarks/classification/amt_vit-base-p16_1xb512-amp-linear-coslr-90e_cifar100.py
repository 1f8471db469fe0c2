"""AMT's linear probe on CIFAR-100. Published: MAE 65.2, AM 69.9, AMT 68.7.

AMT gives no recipe for it: MAE's on ImageNet at 224 px, with batches that so small a set can fill, is our choice.
"""

_base_ = [
    '../../_base_/datasets/cifar100_probe_224.py',
    '../../_base_/classification/vit-base_linear.py',
    '../../_base_/classification/runtime.py',
]

model = dict(head=dict(num_classes=100))
train_dataloader = dict(batch_size=512)
