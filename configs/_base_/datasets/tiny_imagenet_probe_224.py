"""Tiny ImageNet at 224 px, in the views of linear probes.

200 classes of 500 images, validation on 10,000 in `val/<class>/`.

python tools/convert_dataset.py tiny-imagenet tiny-imagenet-200 data/tiny-imagenet
"""

_base_ = './imagenet_probe_bicubic_224.py'

data_preprocessor = dict(num_classes=200)
train_dataloader = dict(dataset=dict(data_root='data/tiny-imagenet'))
val_dataloader = dict(dataset=dict(data_root='data/tiny-imagenet'))
test_dataloader = val_dataloader
