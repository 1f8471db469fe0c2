"""As imagenet_probe_224.py, with bicubic crops: the linear probes of MAE, AMT and SemanticMIM."""

_base_ = './imagenet_probe_224.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(interpolation='bicubic')
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
