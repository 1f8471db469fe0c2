"""MaskFeat as SemanticMIM's baseline at toy size: random masking, HOG with weighted votes."""

_base_ = '../maskfeat/maskfeat_vit-toy-p6_1xb64-coslr-100e_toy.py'

model = dict(
    # 26 of 64 patches.
    masking=dict(_delete_=True, type='RandomMasking', mask_ratio=0.4, count='ceil'),
    target=dict(gaussian_window=6),  # one cell wide, as there is one a patch
)
