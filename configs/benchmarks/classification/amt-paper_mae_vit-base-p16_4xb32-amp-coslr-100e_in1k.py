"""AMT's fine-tuning after MAE, as its paper says.

MAE's rate and decay, [CLS]. The README's is the file without -paper.
"""

_base_ = './amt_mae_vit-base-p16_4xb32-amp-coslr-100e_in1k.py'
from mimselfsup.engine.schedules import adamw_layer_decay

model = dict(backbone=dict(out_type='cls_token', final_norm=True))
optim_wrapper, param_scheduler, train_cfg = adamw_layer_decay(
    epochs=100, warmup_epochs=5, base_lr=5e-4, batch_size=1024, layer_decay=0.65, accumulate=8
)
optim_wrapper.update(type='mimselfsup.AutocastOptimWrapper')
