"""BEiT as SemanticMIM's baseline at toy size: random masking, absolute positions.

Needs the tokenizer that beit/vq-tokenizer_conv-toy-p6_1xb64-coslr-30e_toy.py trains.
"""

_base_ = '../beit/beit_vit-toy-p6_1xb64-coslr-100e_toy.py'

model = dict(
    backbone=dict(position='learned'),
    # 26 of 64 patches.
    masking=dict(_delete_=True, type='RandomMasking', mask_ratio=0.4, count='ceil'),
)
