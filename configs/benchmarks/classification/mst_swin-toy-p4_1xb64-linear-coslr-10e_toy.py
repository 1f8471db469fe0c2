"""Linear probe of a Swin at toy size: SGD on the mean of its last map."""

_base_ = './dino_vit-toy-p6_1xb64-linear-coslr-10e_toy.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mimselfsup.MaskedSwin',
        arch=dict(embed_dims=48, depths=[2, 2], num_heads=[2, 4]),
        img_size=48,
        out_indices=(1,),
        stage_cfgs=dict(block_cfgs=dict(window_size=4)),
    ),
    feature=dict(_delete_=True, avg=1),
)
