"""SemanticMIM on MaskFeat as its released config has it: 80% masked, 157 of 196 patches. The paper says 60%."""

_base_ = './semanticmim_maskfeat_vit-base-p16_8xb256-amp-coslr-300e_in1k.py'

model = dict(masking=dict(mask_ratio=0.8))
