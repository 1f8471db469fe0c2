"""A checkpoint that fits a tiny config over a labelled folder."""

import pytest
import torch

from mimselfsup.apis import extract_features, load_config, load_model
from mimselfsup.evaluation.data import build_eval_datasets, build_eval_loader
from tests.test_evaluation.labelled import write_labelled, write_labelled_config


def save_weights(config, path, seed):
    torch.save(dict(state_dict=load_model(config, seed=seed).state_dict()), path)


@pytest.fixture
def setting(tmp_path):
    """Config, checkpoint and data of three classes that overlap, 18 + 9 pictures."""
    root = write_labelled(tmp_path / 'data', noise=100)
    config = write_labelled_config(tmp_path / 'tiny.py', root)
    save_weights(config, tmp_path / 'a.pth', seed=7)
    return config, tmp_path / 'a.pth', root


@pytest.fixture
def features_of(setting):
    """(train, val) of a random initialisation by its seed; 7 is the checkpoint's."""
    config = load_config(setting[0])

    def extract(seed, feature):
        model = load_model(config, seed=seed)
        loaders = [build_eval_loader(dataset, 64, 0) for dataset in build_eval_datasets(config, setting[2])]
        return [extract_features(model, loader, feature, progress=False) for loader in loaders]

    return extract
