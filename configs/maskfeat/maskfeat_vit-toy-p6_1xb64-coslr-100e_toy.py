"""MaskFeat at a size that a CPU trains in minutes, on the toy world at 48 px.

python tools/make_scenes.py data/toy
python tools/train.py configs/maskfeat/maskfeat_vit-toy-p6_1xb64-coslr-100e_toy.py
"""

_base_ = '../mae/mae_vit-toy-p6_1xb64-coslr-100e_toy.py'

model = dict(
    backbone=dict(hidden='replace', position='learned', weight_init='trunc_normal'),
    # 25 of 64 patches.
    masking=dict(_delete_=True, type='BlockMasking', mask_ratio=0.4, min_block=5),
    decoder=dict(_delete_=True, type='LinearDecoder'),
    # One cell a patch: in one of 3 px nine pixels vote, which nothing around them foretells.
    target=dict(_delete_=True, type='HOGTarget', cell=6),
)
optim_wrapper = dict(clip_grad=dict(max_norm=0.02))
