"""SemanticMIM's ablation on BEiT: 16 proxies. Published as a curve, with its peak at 8."""

_base_ = './semanticmim_beit_vit-base-p16_8xb256-amp-coslr-300e_in1k.py'

model = dict(backbone=dict(num_cls_tokens=16))
