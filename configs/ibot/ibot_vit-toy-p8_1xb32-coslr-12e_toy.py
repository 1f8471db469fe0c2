"""iBOT with block-wise masking at toy size."""

_base_ = '../dino/dino_vit-toy-p8_1xb32-coslr-12e_toy.py'

model = dict(
    backbone=dict(hidden='replace'),
    patch_loss=dict(type='MaskedPatchLoss', teacher_temp=0.04),
    masking=dict(type='BlockMasking', mask_ratio=(0.1, 0.5), mask_prob=0.5, exact=False, min_block=4),
)
