"""DINO's linear probe at toy size: SGD on the [CLS] tokens of four blocks."""

_base_ = './mae_vit-toy-p6_1xb64-linear-coslr-10e_toy.py'
from mimselfsup.engine.schedules import sgd_cosine

model = dict(
    feature=dict(cls=4),
    norm=None,
    head=dict(init_cfg=dict(_delete_=True, type='Normal', layer='Linear', std=0.01)),
)
optim_wrapper, param_scheduler, train_cfg = sgd_cosine(epochs=10, base_lr=0.1, batch_size=64)
optim_wrapper.update(_delete_=True)
