"""iBOT with AttMask-Hint at toy size: hide what the teacher attends to most, but for some of the very top."""

_base_ = '../ibot/ibot_vit-toy-p8_1xb32-coslr-12e_toy.py'

model = dict(
    masking=dict(_delete_=True, type='AttMask', mode='hint', mask_ratio=(0.1, 0.5), mask_prob=0.5, show_max=0.3),
    saliency=dict(type='EncoderAttention'),
)
