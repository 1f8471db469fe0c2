"""UPerNet at toy size, after SemanticMIM on MaskFeat or SimMIM: 8 [CLS] tokens."""

_base_ = './upernet_vit-toy-p6_1xb8-300i_ade20k_toy.py'

model = dict(backbone=dict(num_cls_tokens=8))
