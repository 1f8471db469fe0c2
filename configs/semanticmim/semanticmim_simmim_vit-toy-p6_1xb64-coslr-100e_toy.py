"""SemanticMIM on SimMIM at toy size: 8 proxies, 39 of 64 patches masked, pixels predicted. Not a published combination.

python tools/make_scenes.py data/toy
python tools/train.py configs/semanticmim/semanticmim_simmim_vit-toy-p6_1xb64-coslr-100e_toy.py
"""

_base_ = '../simmim/simmim_vit-toy-p6_1xb64-coslr-100e_toy.py'

model = dict(
    backbone=dict(hidden='compress', num_cls_tokens=8),
    masking=dict(unit=1),
    decoder=dict(_delete_=True, type='ProxyDecoder'),
)
