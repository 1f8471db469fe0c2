"""UPerNet on ADE20K after MaskFeat with random masking, SemanticMIM's baseline. Published: 42.6 mIoU."""

_base_ = './upernet_vit-base-p16_8xb2-160k_ade20k-640x640.py'

# The last tap only; of BEiT none is normed.
model = dict(backbone=dict(final_norm=True))
