"""The toy world of tools/make_scenes.py, or any folder of small pictures: 2 views of 48 px and 2 of 24 px."""

_base_ = './imagenet_multicrop_224.py'

data_preprocessor = dict(
    blur_radius=(0.02, 0.43),  # of 48 px what (0.1, 2) is of 224
    # Without colours there is little left that so small a network learns in minutes: with the published jitter its
    # features separate classes no better than before training.
    jitter_prob=0.0,
    grayscale_prob=0.0,
)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(global_size=48, global_scale=(0.5, 1.0), local_size=24, local_scale=(0.2, 0.5), num_local=2)
train_dataloader = dict(batch_size=64, num_workers=2, dataset=dict(data_root='data/toy', pipeline=train_pipeline))
