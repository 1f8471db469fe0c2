"""iBOT with random masking at toy size."""

_base_ = './ibot_vit-toy-p8_1xb32-coslr-12e_toy.py'

model = dict(masking=dict(_delete_=True, type='RandomMasking', mask_ratio=(0.1, 0.5), mask_prob=0.5))
