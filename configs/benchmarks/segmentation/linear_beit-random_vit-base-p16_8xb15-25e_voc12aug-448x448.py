"""Linear segmentation on PascalVOC after BEiT with random masking, SemanticMIM's baseline. Published: 23.8 mIoU."""

_base_ = './linear_vit-base-p16_8xb15-25e_voc12aug-448x448.py'

model = dict(backbone=dict(layer_scale_init_value=0.1))
