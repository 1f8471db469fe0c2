"""STL-10 at 224 px, in the views of fine-tuning.

5,000 labelled images in `train/<class>/`, validation on 8,000 in `test/<class>/`.

python tools/convert_dataset.py stl10 stl10_binary data/stl10
"""

_base_ = './imagenet_finetune_224.py'

data_preprocessor = dict(num_classes=10)
train_dataloader = dict(dataset=dict(data_root='data/stl10'))
val_dataloader = dict(dataset=dict(data_root='data/stl10', split='test'))
test_dataloader = val_dataloader
