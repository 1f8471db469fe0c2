import random

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image

from mimselfsup.evaluation.data import (
    build_eval_datasets,
    build_eval_loader,
    default_data_root,
    eval_pipeline,
    listed_images,
    missing_splits,
)

from .labelled import write_labelled


def make_config(**backbone):
    return Config(dict(model=dict(backbone=dict(type='MaskedViT', **backbone))))


@pytest.mark.parametrize(
    ('backbone', 'edge', 'crop'),
    [({}, 256, (224, 224)), (dict(img_size=192), 219, (192, 192)), (dict(img_size=(32, 48)), 55, (32, 48))],
)
def test_view_keeps_the_ratio_of_256_to_224(backbone, edge, crop):
    steps = {step['type'].split('.')[-1]: step for step in eval_pipeline(make_config(**backbone))}
    assert (steps['ResizeEdge']['scale'], steps['ResizeEdge']['edge']) == (edge, 'short')
    assert tuple(steps['CenterCrop']['crop_size']) == crop


def test_pipeline_of_the_config_goes_first():
    config = make_config(img_size=32)
    config.eval_pipeline = [dict(type='mimselfsup.LoadImage')]
    assert eval_pipeline(config) == [dict(type='mimselfsup.LoadImage')]


def test_view_is_the_resized_centre(tmp_path):
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, 32:96] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / 'wide.png')
    with DefaultScope.overwrite_default_scope('mimselfsup'):
        view = Compose(eval_pipeline(make_config(img_size=28)))(dict(img_path=str(tmp_path / 'wide.png')))
    assert view['inputs'].shape == (3, 28, 28)  # 64 x 128 -> 32 x 64 -> the 28 columns in the middle
    assert view['inputs'].unique(dim=1).shape[1] == 1
    assert view['inputs'][:, 0, 0].tolist() == [0, 0, 255]  # BGR


def test_splits_agree_on_classes_where_val_lacks_some(tmp_path):
    root = write_labelled(tmp_path)
    for path in (root / 'val/blue').iterdir():
        path.unlink()
    (root / 'val/blue').rmdir()
    train, val = build_eval_datasets(make_config(img_size=16), root)
    assert train.metainfo['classes'] == val.metainfo['classes'] == ('blue', 'green', 'red')
    labels = {val.get_data_info(index)['gt_label'] for index in range(len(val))}
    assert labels == {1, 2}


def test_class_that_only_val_has_is_refused(tmp_path):
    root = write_labelled(tmp_path)
    (root / 'val/blue').rename(root / 'val/purple')
    with pytest.raises(ValueError, match="'purple'"):
        build_eval_datasets(make_config(img_size=16), root)


def test_missing_splits_says_what_is_missing(tmp_path):
    assert missing_splits(write_labelled(tmp_path / 'whole')) is None
    assert 'names no data folder' in missing_splits(None)
    (tmp_path / 'train/a').mkdir(parents=True)
    assert missing_splits(tmp_path).endswith('has no folder val/')
    (tmp_path / 'val').mkdir()
    assert missing_splits(tmp_path).endswith('val has no class folders')


def test_default_root_is_that_of_the_training_data_also_when_wrapped():
    inner = dict(type='ImageFolder', data_root='pictures')
    for dataset in (inner, dict(type='RepeatDataset', dataset=inner)):
        assert default_data_root(Config(dict(train_dataloader=dict(dataset=dataset)))) == 'pictures'
    assert default_data_root(Config({})) is None


def test_ranks_share_the_images_and_the_loader_draws_no_global_random_number(tmp_path):
    train, _ = build_eval_datasets(make_config(img_size=16), write_labelled(tmp_path))
    torch.manual_seed(0)
    random.seed(0)
    states = torch.get_rng_state(), random.getstate()
    seen = []
    for rank in range(3):
        for batch in build_eval_loader(train, batch_size=4, workers=0, rank=rank, world_size=3):
            seen += [sample.sample_idx for sample in batch['data_samples']]
    assert seen[:6] == [0, 3, 6, 9, 12, 15]
    assert sorted(seen) == list(range(18))
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]


def paths_of(dataset):
    return ['/'.join(dataset.get_data_info(i)['img_path'].split('/')[-2:]) for i in range(len(dataset))]


def test_a_list_names_training_images_by_class_and_file_or_by_file(tmp_path):
    root = write_labelled(tmp_path / 'data')
    for folder in (root / 'train').iterdir():  # as ImageNet's, names say the class
        for image in folder.iterdir():
            image.rename(folder / f'{folder.name}_{image.name}')
    (tmp_path / 'list.txt').write_text('# a comment\nred/red_3.png\n\n blue_0.png\nred/red_1.png\n')
    train, val = build_eval_datasets(make_config(img_size=16), root, labels=tmp_path / 'list.txt')
    assert paths_of(train) == ['blue/blue_0.png', 'red/red_1.png', 'red/red_3.png']
    assert [train.get_data_info(i)['gt_label'] for i in range(3)] == [0, 2, 2]  # green stays a class
    assert len(val) == 9 and val.metainfo['classes'] == train.metainfo['classes'] == ('blue', 'green', 'red')


def test_a_list_that_does_not_fit_is_refused(tmp_path):
    root = write_labelled(tmp_path / 'data')
    train = build_eval_datasets(make_config(img_size=16), root)[0]
    for text, message in (
        ('red/0.png\nred/77.png\n', "1 of 2 lines name no training image, such as 'red/77.png'"),
        ('0.png\n', "'0.png' is in several classes; write <class>/<file>"),
        ('# nothing\n', 'names no image'),
    ):
        (tmp_path / 'list.txt').write_text(text)
        with pytest.raises(ValueError, match=message):
            listed_images(train, tmp_path / 'list.txt')
    with pytest.raises(ValueError, match=r'nowhere\.txt: not a readable text list'):
        listed_images(train, tmp_path / 'nowhere.txt')


def test_the_first_of_each_class_are_taken_by_sorted_name(tmp_path):
    train, val = build_eval_datasets(make_config(img_size=16), write_labelled(tmp_path / 'data'), per_class=2)
    assert paths_of(train) == [f'{name}/{i}.png' for name in ('blue', 'green', 'red') for i in (0, 1)]
    assert len(val) == 9
