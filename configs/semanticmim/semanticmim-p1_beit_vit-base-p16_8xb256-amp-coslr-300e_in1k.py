"""SemanticMIM's ablation on BEiT: one proxy, the ordinary [CLS] token, as the released config has it."""

_base_ = './semanticmim_beit_vit-base-p16_8xb256-amp-coslr-300e_in1k.py'

model = dict(backbone=dict(num_cls_tokens=1))
