"""AMT's fine-tuning after SimMIM on Tiny ImageNet, by the recipe of ImageNet, which is our assumption.

Published: SimMIM 74.0, AM 78.8, AMT 75.8.
"""

_base_ = [
    '../../_base_/datasets/tiny_imagenet_finetune_224.py',
    '../../_base_/classification/vit-base_finetune_amt-simmim.py',
    '../../_base_/classification/runtime.py',
]

model = dict(head=dict(num_classes=200))
