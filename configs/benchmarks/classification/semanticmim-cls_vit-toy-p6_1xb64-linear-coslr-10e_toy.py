"""SemanticMIM's linear probe at toy size, on the mean of 8 proxies; for checkpoints of configs/semanticmim."""

_base_ = './semanticmim-patch_vit-toy-p6_1xb64-linear-coslr-10e_toy.py'

model = dict(backbone=dict(num_cls_tokens=8), feature=dict(_delete_=True, cls=1))
