"""SimMIM with a two-stage Swin at a size that a CPU trains in minutes, on the toy world at 48 px."""

_base_ = './simmim_vit-toy-p6_1xb64-coslr-100e_toy.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='MaskedSwin',
        arch=dict(embed_dims=48, depths=[2, 2], num_heads=[2, 4]),
        img_size=48,
        out_indices=(1,),
        stage_cfgs=dict(block_cfgs=dict(window_size=4)),
    )
)
