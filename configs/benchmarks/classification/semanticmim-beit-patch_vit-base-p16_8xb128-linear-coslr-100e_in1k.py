"""SemanticMIM's linear probe, on BEiT: the mean of the patches after block 7. Published: 48.2; BEiT 38.7."""

_base_ = './semanticmim-beit-cls_vit-base-p16_8xb128-linear-coslr-100e_in1k.py'

model = dict(feature=dict(_delete_=True, avg=1))
