"""UPerNet on ADE20K after BEiT with random masking, SemanticMIM's baseline. Published: 40.2 mIoU."""

_base_ = './upernet_vit-base-p16_8xb2-160k_ade20k-640x640.py'

model = dict(backbone=dict(layer_scale_init_value=0.1))
