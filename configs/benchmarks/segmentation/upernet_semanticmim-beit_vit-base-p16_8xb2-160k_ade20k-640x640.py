"""UPerNet on ADE20K after SemanticMIM on BEiT, 8 [CLS] tokens. Published: 44.1 mIoU."""

_base_ = './upernet_beit-random_vit-base-p16_8xb2-160k_ade20k-640x640.py'

model = dict(backbone=dict(num_cls_tokens=8))
