"""iBOT, ViT-S/16, a fifth of ImageNet-1k, 100 epochs, masks in blocks. Published: 46.7 k-NN, 56.4 linear."""

_base_ = './ibot_vit-small-p16_4xb60-amp-coslr-100e_in1k.py'

model = dict(momentum=0.99)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(num_local=6)
train_dataloader = dict(dataset=dict(per_class=260, pipeline=train_pipeline))
