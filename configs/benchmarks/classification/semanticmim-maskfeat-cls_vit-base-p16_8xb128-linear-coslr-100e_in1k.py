"""SemanticMIM's linear probe, on MaskFeat: the mean of the 8 proxies after block 7. Published: 52.0; MaskFeat 23.4."""

_base_ = './semanticmim-beit-cls_vit-base-p16_8xb128-linear-coslr-100e_in1k.py'

model = dict(backbone=dict(layer_scale_init_value=0.0))
