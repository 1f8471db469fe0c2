"""AMT's linear probe on Tiny ImageNet. Published: MAE 55.2, AM 59.9, AMT 59.6.

AMT gives no recipe for it: MAE's on ImageNet at 224 px, with batches that so small a set can fill, is our choice.
"""

_base_ = [
    '../../_base_/datasets/tiny_imagenet_probe_224.py',
    '../../_base_/classification/vit-base_linear.py',
    '../../_base_/classification/runtime.py',
]

model = dict(head=dict(num_classes=200))
train_dataloader = dict(batch_size=512)
