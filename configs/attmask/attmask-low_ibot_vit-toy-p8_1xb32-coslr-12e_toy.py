"""iBOT with AttMask-Low at toy size: hide what the teacher attends to least, as a control."""

_base_ = '../ibot/ibot_vit-toy-p8_1xb32-coslr-12e_toy.py'

model = dict(
    masking=dict(_delete_=True, type='AttMask', mode='low', mask_ratio=(0.1, 0.5), mask_prob=0.5),
    saliency=dict(type='EncoderAttention'),
)
