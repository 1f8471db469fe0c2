"""iBOT with AttMask-High at toy size: hide what the teacher attends to most."""

_base_ = '../ibot/ibot_vit-toy-p8_1xb32-coslr-12e_toy.py'

model = dict(
    masking=dict(_delete_=True, type='AttMask', mode='high', mask_ratio=(0.1, 0.5), mask_prob=0.5),
    saliency=dict(type='EncoderAttention'),
)
