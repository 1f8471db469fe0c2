"""SemanticMIM's ablation on BEiT: 70% masked, 138 of 196 patches. Published as a curve, with its peak at about 60%."""

_base_ = './semanticmim_beit_vit-base-p16_8xb256-amp-coslr-300e_in1k.py'

model = dict(masking=dict(mask_ratio=0.7))
