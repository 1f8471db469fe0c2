"""SemanticMIM on MaskFeat at toy size, 8 proxies.

python tools/make_scenes.py data/toy
python tools/train.py configs/semanticmim/semanticmim_maskfeat_vit-toy-p6_1xb64-coslr-100e_toy.py
"""

_base_ = './maskfeat-random_vit-toy-p6_1xb64-coslr-100e_toy.py'

model = dict(
    backbone=dict(hidden='compress', num_cls_tokens=8),
    # 39 of 64 patches.
    masking=dict(mask_ratio=0.6),
    decoder=dict(_delete_=True, type='ProxyDecoder'),
)
