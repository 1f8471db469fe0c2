"""AttMask's linear probe on what its ablations trained on: the first 260 images of each class."""

_base_ = './attmask_vit-small-p16_2xb1024-linear-coslr-100e_in1k.py'

train_dataloader = dict(dataset=dict(per_class=260))
