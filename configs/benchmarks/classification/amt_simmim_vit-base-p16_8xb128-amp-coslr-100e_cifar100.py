"""AMT's fine-tuning after SimMIM on CIFAR-100, by the recipe of ImageNet, which is our assumption.

Published: SimMIM 80.3, AM 85.9, AMT 86.1.
"""

_base_ = [
    '../../_base_/datasets/cifar100_finetune_224.py',
    '../../_base_/classification/vit-base_finetune_amt-simmim.py',
    '../../_base_/classification/runtime.py',
]

model = dict(head=dict(num_classes=100))
