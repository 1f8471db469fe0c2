"""SemanticMIM's linear probe, on MaskFeat: the mean of the patches after block 7. Published: 59.7; MaskFeat 33.5."""

_base_ = './semanticmim-maskfeat-cls_vit-base-p16_8xb128-linear-coslr-100e_in1k.py'

model = dict(feature=dict(_delete_=True, avg=1))
