"""BEiT as SemanticMIM's baseline: random masking and absolute positions, 300 epochs.

Published: [CLS] 31.5 linear, 81.9 fine-tuned; patches 38.7, 82.2.
"""

_base_ = '../beit/beit_vit-base-p16_8xb256-amp-coslr-300e_in1k.py'

model = dict(
    backbone=dict(position='learned'),
    # 79 of 196 patches.
    masking=dict(_delete_=True, type='RandomMasking', mask_ratio=0.4, count='ceil'),
)
# As in BEiT's code where it has absolute positions.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(pos_embed=dict(decay_mult=0.0))))
