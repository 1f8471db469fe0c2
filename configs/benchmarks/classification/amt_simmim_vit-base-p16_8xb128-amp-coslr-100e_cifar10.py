"""AMT's fine-tuning after SimMIM on CIFAR-10, by the recipe of ImageNet, which is our assumption.

Published: SimMIM 95.0, AM 97.8, AMT 97.7.
"""

_base_ = [
    '../../_base_/datasets/cifar10_finetune_224.py',
    '../../_base_/classification/vit-base_finetune_amt-simmim.py',
    '../../_base_/classification/runtime.py',
]

model = dict(head=dict(num_classes=10))
