"""AMT's fine-tuning after SimMIM on STL-10, by the recipe of ImageNet, which is our assumption.

Published: SimMIM 92.3, AM 96.5, AMT 96.5.
"""

_base_ = [
    '../../_base_/datasets/stl10_finetune_224.py',
    '../../_base_/classification/vit-base_finetune_amt-simmim.py',
    '../../_base_/classification/runtime.py',
]

model = dict(head=dict(num_classes=10))
