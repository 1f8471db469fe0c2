"""AttMask's linear probe: DINO's with five times the rate. Published, 100 epochs: iBOT 74.4, Hint 76.1."""

_base_ = './dino_vit-small-p16_8xb128-linear-coslr-100e_in1k.py'
from mimselfsup.engine.schedules import sgd_cosine

train_dataloader = dict(batch_size=1024)
optim_wrapper, param_scheduler, train_cfg = sgd_cosine(epochs=100, base_lr=5e-3, batch_size=2048)
auto_scale_lr = dict(base_batch_size=2048)
