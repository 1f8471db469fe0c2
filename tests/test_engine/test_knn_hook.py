"""The hook sees the training without being felt by it."""

import json
import random
from contextlib import suppress

import mmengine.runner
import numpy as np
import pytest
import torch

from mimselfsup.engine import Runner
from mimselfsup.engine.hooks import knn
from mimselfsup.engine.hooks.knn import KNNHook
from mimselfsup.evaluation.data import build_eval_datasets
from mimselfsup.evaluation.features import encode_features
from mimselfsup.evaluation.knn import knn_classify
from tests.test_evaluation.labelled import write_labelled

from .tiny import read_losses

SPLIT = "train_dataloader['dataset']['split'] = 'train'\n"
HOOK = SPLIT + "custom_hooks = [dict(type='KNNHook', interval=2, ks=(3, 5), workers=0)]\n"
# Dropout, masks and augmentations that nothing seeds: any random number that the hook took would show.
RANDOM = (
    "model['backbone']['drop_rate'] = 0.2\n"
    "del train_dataloader['dataset']['pipeline'][0]\n"
    "train_dataloader['sampler'] = dict(type='mmengine.DefaultSampler', shuffle=True)\n"
)


@pytest.fixture
def data(tmp_path):
    return write_labelled(tmp_path / 'data', val=10, noise=150)


def read_scores(work_dir):
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [line for line in lines if any(key.startswith('knn/') for key in line)]


def train(cfg, runner=Runner):
    runner = runner.from_cfg(cfg)
    runner.train()
    return runner


def test_training_with_the_hook_gives_the_same_losses_and_leaves_the_mode(prepared, data, tmp_path, monkeypatch):
    def drawing(*arguments):
        torch.rand(3), random.random(), np.random.rand()
        return encode_features(*arguments)

    monkeypatch.setattr(knn, 'encode_features', drawing)
    # MMEngine's Runner: ours seeds each iteration, which would hide what the hook does to the generators.
    train(prepared(SPLIT + RANDOM, data=str(data), work_dir=str(tmp_path / 'without')), mmengine.runner.Runner)
    cfg = prepared(RANDOM + HOOK, data=str(data), work_dir=str(tmp_path / 'with'))
    runner = train(cfg, mmengine.runner.Runner)
    without, with_hook = read_losses(tmp_path / 'without'), read_losses(tmp_path / 'with')
    assert len(without) == 12 and with_hook == without
    assert all(module.training for module in runner.model.modules())
    assert len(read_scores(tmp_path / 'with')) == 2


def test_scores_every_interval_and_at_the_end_what_the_formula_gives(prepared, data, tmp_path):
    runner = train(prepared("model['backbone']['drop_rate'] = 0.5\n" + HOOK, data=str(data)))
    scores = read_scores(tmp_path / 'run')
    assert [(line['epoch'], line['step']) for line in scores] == [(2, 8), (3, 12)]  # 18 images, batch 4: 4 each

    model = runner.model.eval()
    found = []
    for dataset in build_eval_datasets(runner.cfg, data):
        loader = torch.utils.data.DataLoader(dataset, 30, collate_fn=lambda rows: rows)
        batch = next(iter(loader))
        inputs = torch.stack([row['inputs'] for row in batch])
        values = encode_features(model, dict(inputs=inputs, data_samples=None), ('avg',))['avg']
        found += [values, torch.cat([row['data_samples'].gt_label for row in batch])]
    expected = knn_classify(*found, ks=(3, 5))
    assert 0 < expected[3]['top1'] < 100
    for k, accuracy in expected.items():
        assert scores[-1][f'knn/top1_k{k}'] == pytest.approx(accuracy['top1'])
        assert scores[-1][f'knn/top5_k{k}'] == pytest.approx(accuracy['top5'])
    assert runner.message_hub.get_scalar('knn/top1_k3').current() == pytest.approx(expected[3]['top1'])


def test_without_labelled_splits_it_is_off(prepared, images, tmp_path):
    train(prepared(HOOK, data=str(images)))
    assert read_scores(tmp_path / 'run') == []
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert log.count('KNNHook: off') == 1 and 'has no folder train/' in log


def test_what_cannot_work_fails_before_the_first_step(prepared, data, tmp_path):
    swin = (
        "model['backbone'] = dict(type='MaskedSwin', img_size=32, arch=dict(embed_dims=8, depths=[1, 1],"
        " num_heads=[1, 2]), out_indices=(1,), window_size=4)\nmodel['decoder'] = dict(type='LinearDecoder')\n"
        "train_dataloader['dataset']['pipeline'][2]['scale'] = 32\n"
        "custom_hooks = [dict(type='KNNHook', interval=2, feature='cls', workers=0)]\n"
    )
    with pytest.raises(ValueError, match=r"no \[CLS\] token; use 'avg'"):
        train(prepared(swin, data=str(data)))
    assert read_losses(tmp_path / 'run') == {}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [(dict(interval=0), 'interval=0'), (dict(interval=1, feature='mean'), "feature='mean'.*cls.*avg")],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        KNNHook(**arguments)


def test_shares_of_several_ranks_give_what_one_process_gives(data, monkeypatch):
    """Two ranks are played one after the other: what they gather is recorded, then handed out."""
    from mmengine.config import Config

    config = Config(dict(model=dict(backbone=dict(img_size=16))))
    datasets = build_eval_datasets(config, data)
    monkeypatch.setattr(knn, 'encode_features', lambda model, batch, kinds: dict(avg=noisy(batch)))

    def noisy(batch):
        return batch['inputs'].float().flatten(1)[:, :40] - 128

    def scores(world_size):
        gathered: list[list] = []
        while True:  # each round completes one more gather, until no rank waits
            played = [Rank(rank, world_size, gathered) for rank in range(world_size)]
            for rank in played:
                monkeypatch.setattr(knn, 'all_gather_object', rank.gather)
                monkeypatch.setattr(knn, 'get_dist_info', rank.info)
                hook = KNNHook(interval=1, ks=(4,), workers=0, batch_size=5)
                hook._datasets = datasets
                runner = FakeRunner()
                with suppress(Rank.Waiting):
                    hook._score(runner)
                    rank.scalars = runner.scalars
            if all(rank.scalars for rank in played):
                return [rank.scalars for rank in played]
            gathered.append([rank.given for rank in played])

    (alone,) = scores(1)
    first, second = scores(2)
    assert first == second == alone and 0 < alone['knn/top1_k4'] < 100


class Rank:
    """One of several processes: gathers what the rounds before have gathered, then waits."""

    class Waiting(Exception): ...

    def __init__(self, rank, world_size, gathered):
        self.info = lambda: (rank, world_size)
        self.gathered = gathered
        self.calls = 0
        self.given = self.scalars = None

    def gather(self, value):
        if self.calls == len(self.gathered):
            self.given = value
            raise self.Waiting
        self.calls += 1
        return self.gathered[self.calls - 1]


class FakeRunner:
    epoch, iter = 0, 1

    def __init__(self):
        self.model = torch.nn.Linear(1, 1)
        self.logger = self.message_hub = self.visualizer = self
        self.scalars = None

    def add_scalars(self, scalars, step):
        self.scalars = scalars

    def info(self, message): ...

    def update_scalar(self, name, value): ...


def test_generators_are_put_back_even_so_the_hook_drew_from_all_of_them():
    from mimselfsup.engine.hooks.generators import generators_untouched

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    with generators_untouched():
        draw()
    after = draw()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    assert after == draw()
