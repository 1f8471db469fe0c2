"""SemanticMIM on BEiT, where what is seen and what is predicted are drawn apart, 60% each: the paper's outlook.

Of 196 patches 118 are seen and 118 predicted, on average 71 of them both and 31 neither. Not published.
"""

_base_ = './semanticmim_beit_vit-base-p16_8xb256-amp-coslr-300e_in1k.py'

model = dict(
    masking=dict(mask_ratio=0.4, count='floor'),
    prediction_masking=dict(type='RandomMasking', mask_ratio=0.6, count='ceil'),
)
