"""UPerNet on ADE20K after SemanticMIM on MaskFeat, 8 [CLS] tokens. Published: 45.7 mIoU."""

_base_ = './upernet_maskfeat-random_vit-base-p16_8xb2-160k_ade20k-640x640.py'

model = dict(backbone=dict(num_cls_tokens=8))
