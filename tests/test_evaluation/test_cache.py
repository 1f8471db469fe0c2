import os

import numpy as np
import torch
from mmengine.config import Config

from mimselfsup.evaluation.cache import FeatureCache, file_hash, listing_hash
from mimselfsup.evaluation.data import build_eval_datasets
from mimselfsup.evaluation.features import Features

from .labelled import write_labelled


def store(cache, key):
    folder = cache.start(key)
    features = torch.arange(6.0).view(3, 2)
    np.save(folder / 'features.npy', features.numpy())
    return Features(features[:2], torch.tensor([4, 5]), ['a', 'b'])


def test_features_come_back_only_under_their_own_key_and_only_when_finished(tmp_path):
    cache = FeatureCache(tmp_path)
    key = dict(weights='one', pipeline=[dict(type='Crop', size=(2, 2))])
    assert cache.load(key) is None
    features = store(cache, key)
    assert cache.load(key) is None  # killed before the end
    cache.finish(key, features)
    loaded = cache.load(key)
    assert torch.equal(loaded.features, features.features)  # without the row of the broken image
    assert torch.equal(loaded.labels, features.labels) and loaded.paths == ['a', 'b']
    assert cache.load(dict(key, weights='two')) is None
    assert cache.load(dict(key, pipeline=[dict(type='Crop', size=(3, 3))])) is None


def test_starting_again_makes_old_features_invalid(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.finish(dict(a=1), store(cache, dict(a=1)))
    cache.start(dict(a=1))
    assert cache.load(dict(a=1)) is None


def test_hash_of_the_listing_changes_with_any_image(tmp_path):
    root = write_labelled(tmp_path / 'data')
    config = Config(dict(model=dict(backbone=dict(img_size=16))))

    def current():
        return listing_hash(build_eval_datasets(config, root)[0])

    before = current()
    assert current() == before
    image = root / 'train/red/0.png'
    os.utime(image, (1, 1))
    touched = current()
    image.rename(image.with_name('renamed.png'))
    renamed = current()
    (root / 'train/red/renamed.png').unlink()
    assert len({before, touched, renamed, current()}) == 4


def test_hash_of_a_file_is_that_of_its_content(tmp_path):
    (tmp_path / 'a').write_bytes(b'weights')
    (tmp_path / 'b').write_bytes(b'weights')
    (tmp_path / 'c').write_bytes(b'weightz')
    assert file_hash(tmp_path / 'a') == file_hash(tmp_path / 'b') != file_hash(tmp_path / 'c')
