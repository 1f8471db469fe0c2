"""MST's linear probe at toy size: SGD on the last [CLS]."""

_base_ = './dino_vit-toy-p6_1xb64-linear-coslr-10e_toy.py'

model = dict(feature=dict(cls=1))
