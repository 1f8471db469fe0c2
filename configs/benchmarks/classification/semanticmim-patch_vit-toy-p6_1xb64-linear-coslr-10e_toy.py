"""SemanticMIM's linear probe at toy size: AdamW on the mean of the patches after block 2 of 4, normed."""

_base_ = './mae_vit-toy-p6_1xb64-linear-coslr-10e_toy.py'
from mimselfsup.engine.schedules import adamw_cosine

model = dict(
    backbone=dict(arch=dict(num_layers=2), final_norm=False),
    feature=dict(_delete_=True, avg=1),
    norm='layer',
    head=dict(init_cfg=dict(std=0.02)),
)
optim_wrapper, param_scheduler, train_cfg = adamw_cosine(
    epochs=10,
    warmup_epochs=0,
    base_lr=4e-3,
    batch_size=64,
    lr_unit=64,
    betas=(0.9, 0.999),
    weight_decay=1e-4,
    paramwise_cfg={},
)
optim_wrapper.update(_delete_=True)
