"""The maps that a run makes, keeps and resumes from."""

import gzip
import json
import random
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmpretrain.models import SelfSupDataPreprocessor
from PIL import Image
from torch.utils.data import DataLoader

from mimselfsup.datasets import ImageFolder
from mimselfsup.datasets.transforms import CROP_META_KEYS, MULTI_CROP_META_KEYS
from mimselfsup.engine.hooks.bank_refresh import BankRefreshHook, WholeImages, share
from mimselfsup.engine.hooks.checkpoint import CheckpointHook
from mimselfsup.engine.runner import EpochLoop, Runner
from mimselfsup.models.algorithms import BaseAlgorithm
from mimselfsup.models.backbones import MaskedViT
from mimselfsup.models.saliency import AttentionBank
from mimselfsup.registry import HOOKS, MODELS

ARCH = dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=12)
MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
PIPELINE = [
    dict(type='mimselfsup.SeedSample'),
    dict(type='mimselfsup.LoadImage'),
    dict(type='mimselfsup.RandomResizedCrop', scale=16, crop_ratio_range=(0.3, 1.0), backend='pillow'),
    dict(type='mmpretrain.RandomFlip', prob=0.5),
    dict(type='mmpretrain.PackInputs', meta_keys=CROP_META_KEYS),
]
MULTI_CROP_PIPELINE = [
    dict(type='mimselfsup.SeedSample'),
    dict(type='mimselfsup.LoadImage'),
    dict(type='mimselfsup.MultiCrop', global_size=16, local_size=8, num_local=2),
    dict(type='mmpretrain.PackInputs', meta_keys=MULTI_CROP_META_KEYS),
]


@MODELS.register_module()
class _Weighted(BaseAlgorithm):
    """Learns from saliency in the plainest way, and remembers it: enough to see that maps reach the step."""

    def __init__(self, bank: dict | None = None) -> None:
        super().__init__(SelfSupDataPreprocessor(mean=MEAN, std=STD, to_rgb=True))
        self.backbone = MaskedViT(ARCH, img_size=16, patch_size=4, out_type='cls_token', drop_path_rate=0.2)
        self.saliency = AttentionBank(image_size=16, **(bank or {}))
        self.seen = []

    def init_weights(self) -> None:
        generator = torch.Generator().manual_seed(0)
        for parameter in self.backbone.parameters():
            parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)

    def loss(self, inputs, data_samples):
        saliency = self.saliency(inputs, data_samples, (4, 4))
        self.seen.append(saliency)
        tokens = self.backbone.encode(inputs).patches.square().mean(-1)
        weights = torch.rand_like(tokens) if saliency is None else saliency
        return dict(loss_weighted=(tokens * weights).mean())


@HOOKS.register_module()
class _Attach(Hook):
    def before_train(self, runner):
        runner.model.saliency.attach()


@pytest.fixture
def folder(tmp_path):
    """Seven pictures of several shapes, and a broken one as the fourth of the sorted list."""
    root = tmp_path / 'data'
    root.mkdir()
    generator = np.random.default_rng(0)
    for index, shape in enumerate([(16, 16), (30, 20), (20, 40), None, (24, 24), (16, 32), (50, 18), (33, 21)]):
        if shape is None:
            (root / f'{index}.png').write_bytes(b'not a picture')
            continue
        coarse = generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(shape, Image.Resampling.BICUBIC).save(root / f'{index}.png')
    return root


class _Logger:
    def __init__(self):
        self.lines = []

    def info(self, line):
        self.lines.append(line)

    warning = info


def stand_in(folder, work_dir, epoch=0, iteration=None, hooks=(), **bank) -> SimpleNamespace:
    """What the hook needs of a runner."""
    model = _Weighted(bank)
    model.init_weights()
    dataset = ImageFolder(folder, pipeline=PIPELINE)
    loader = DataLoader(dataset, batch_size=4, sampler=DefaultSampler(dataset, False), collate_fn=default_collate)
    return SimpleNamespace(
        model=model,
        train_dataloader=loader,
        train_loop=object.__new__(EpochLoop),
        work_dir=str(work_dir),
        logger=_Logger(),
        epoch=epoch,
        iter=epoch * len(loader) if iteration is None else iteration,
        hooks=list(hooks),
        optim_wrapper=OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)),
    )


def start(runner, **arguments) -> BankRefreshHook:
    hook = BankRefreshHook(**{'interval': 2, 'batch_size': 3, 'num_workers': 0, **arguments})
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    return hook


def expected_maps(model, folder) -> np.ndarray:
    """By hand: the picture as Pillow reads and resizes it, in RGB, normalised; min-max of the mean class row."""
    maps = []
    for path in sorted(folder.iterdir()):
        try:
            picture = Image.open(path).convert('RGB').resize((16, 16), Image.Resampling.BICUBIC)
        except OSError:
            maps.append(np.ones((4, 4)))
            continue
        pixels = (np.asarray(picture, dtype=np.float32) - MEAN) / STD
        model.backbone.eval()
        with torch.no_grad():
            image = torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]
            row = model.backbone.encode(image, cls_attention=True).cls_attention[0].mean(0)
        maps.append(((row - row.min()) / (row.max() - row.min())).view(4, 4).numpy())
    return np.stack(maps)


# ------------------------------------------------------------------------------------------------ making


def test_maps_are_those_of_whole_pictures_and_broken_ones_are_uniform(folder, tmp_path):
    runner = stand_in(folder, tmp_path, epoch=2)
    start(runner)
    maps = np.load(tmp_path / 'saliency_bank' / 'epoch_0002.npy')
    assert maps.dtype == np.float16 and maps.shape == (8, 4, 4)
    np.testing.assert_allclose(maps, expected_maps(runner.model, folder), atol=1e-3)
    assert (maps[3] == 1).all() and maps[[0, 1, 2, 4, 5, 6, 7]].std(axis=(1, 2)).min() > 0.1
    about = json.loads((tmp_path / 'saliency_bank' / 'epoch_0002.json').read_text())
    assert (about['epoch'], about['images'], about['map_size']) == (2, 8, [4, 4])
    assert about['settings'] == dict(image_size=[16, 16], normalize='mean_then_minmax')
    with gzip.open(next((tmp_path / 'saliency_bank').glob('images_*')), 'rt') as listing:
        assert listing.read().split() == [f'{index}.png' for index in range(8)]
    assert '1 images of this process cannot be read' in runner.logger.lines[-1]


def test_a_pipeline_of_many_views_gets_the_same_maps(folder, tmp_path):
    runner = stand_in(folder, tmp_path, epoch=2)
    runner.train_dataloader = DataLoader(ImageFolder(folder, pipeline=MULTI_CROP_PIPELINE))
    start(runner)
    maps = np.load(tmp_path / 'saliency_bank' / 'epoch_0002.npy')
    np.testing.assert_allclose(maps, expected_maps(runner.model, folder), atol=1e-3)


def test_nothing_else_is_touched_by_a_refresh(folder, tmp_path):
    runner = stand_in(folder, tmp_path, epoch=2)
    runner.model.backbone.train()
    runner.model.backbone.layers[0].eval()
    modes = [module.training for module in runner.model.modules()]
    weights = {key: value.clone() for key, value in runner.model.state_dict().items()}
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    start(runner, num_workers=1)
    assert [module.training for module in runner.model.modules()] == modes
    assert all(torch.equal(value, weights[key]) for key, value in runner.model.state_dict().items())
    assert all(parameter.grad is None for parameter in runner.model.parameters())
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


def test_shares_cover_every_row_once_and_order_of_the_rows_does_not_matter(folder, tmp_path):
    for count, world_size in ((8, 3), (2, 4), (1_281_167, 32)):
        rows = [row for rank in range(world_size) for row in share(count, rank, world_size)]
        assert rows == list(range(count))
        sizes = [len(share(count, rank, world_size)) for rank in range(world_size)]
        assert max(sizes) - min(sizes) <= 1
    runner = stand_in(folder, tmp_path / 'one', epoch=2)
    start(runner)
    # The same by three processes, one after the other, the last one first.
    other = stand_in(folder, tmp_path / 'three', epoch=2)
    hook = BankRefreshHook(2, 3, 0)
    hook.before_train(other)
    info = hook._info(other.model.saliency, 2, 8)
    path = hook._store.path(2)
    hook._store.begin(path, info)
    images = WholeImages(other.train_dataloader.dataset, (16, 16))
    for rank in (2, 1, 0):
        hook._write_share(path, other.model, images, share(8, rank, 3), 0, rank)
    hook._store.commit(path, info, (str(i) for i in range(8)))
    np.testing.assert_allclose(np.load(path), np.load(runner.model.saliency.path), atol=1e-3)


def _process(rank, folder, work_dir):
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'file://{work_dir}/meet', rank=rank, world_size=2)
    runner = stand_in(folder, work_dir, epoch=2)
    start(runner, num_workers=0)
    read = runner.model.saliency.read(np.arange(8))
    torch.save(read, f'{work_dir}/read_{rank}.pt')
    torch.distributed.destroy_process_group()


def test_two_processes_make_the_maps_together_and_both_read_all(folder, tmp_path):
    context = torch.multiprocessing.get_context('fork')
    processes = [context.Process(target=_process, args=(rank, folder, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    runner = stand_in(folder, tmp_path / 'alone', epoch=2)
    start(runner)
    alone = runner.model.saliency.read(np.arange(8))
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f'read_{rank}.pt'), alone, atol=1e-3, rtol=0)


def test_diverged_weights_leave_the_maps_as_they_were(folder, tmp_path):
    runner = stand_in(folder, tmp_path, epoch=2)
    hook = start(runner)
    before = np.load(runner.model.saliency.path)
    next(runner.model.backbone.parameters()).data.fill_(float('nan'))
    runner.epoch, runner.iter = 4, 8
    with pytest.raises(ValueError, match='the training has diverged'):
        hook.before_train_epoch(runner)
    assert not (tmp_path / 'saliency_bank' / 'epoch_0004.npy').exists()
    np.testing.assert_array_equal(np.load(runner.model.saliency.path), before)


# ------------------------------------------------------------------------------------------ keeping, resuming


def kept(work_dir) -> list[int]:
    return sorted(int(path.stem.split('_')[1]) for path in (work_dir / 'saliency_bank').glob('epoch_*.npy'))


@pytest.mark.parametrize(
    ('saving', 'keep', 'expected'),
    [
        (dict(interval=1, max_keep_ckpts=2), None, [6, 8]),
        (dict(interval=2, max_keep_ckpts=2), None, [4, 6, 8]),
        (dict(interval=1, max_keep_ckpts=-1), None, [2, 4, 6, 8]),
        (dict(interval=4, max_keep_ckpts=2, by_epoch=False), None, [4, 6, 8]),
        (dict(interval=1, max_keep_ckpts=2, save_best='auto', rule='less'), None, [2, 4, 6, 8]),
        (None, None, [6, 8]),
        (dict(interval=1, max_keep_ckpts=-1), 1, [8]),
    ],
)
def test_old_maps_go_when_no_checkpoint_needs_them(folder, tmp_path, saving, keep, expected):
    runner = stand_in(folder, tmp_path, epoch=2, hooks=[CheckpointHook(**saving)] if saving else [])
    hook = start(runner, keep=keep)
    for runner.epoch in range(3, 9):
        runner.iter = 2 * runner.epoch
        hook.before_train_epoch(runner)
    assert kept(tmp_path) == expected
    assert len(list((tmp_path / 'saliency_bank').glob('epoch_*.json'))) == len(expected)
    assert len(list((tmp_path / 'saliency_bank').glob('images_*'))) == 1


def test_resuming_opens_the_last_refresh_and_makes_none(folder, tmp_path):
    first = stand_in(folder, tmp_path, epoch=2)
    start(first)
    stored = first.model.saliency.path
    written = stored.stat().st_mtime_ns
    (tmp_path / 'saliency_bank' / 'epoch_0004.npy.tmp').write_bytes(b'half')
    for epoch, iteration in ((3, 6), (3, 7), (2, 5)):
        runner = stand_in(folder, tmp_path, epoch=epoch, iteration=iteration)
        start(runner)
        assert runner.model.saliency.path == stored and stored.stat().st_mtime_ns == written
    assert not list((tmp_path / 'saliency_bank').glob('*.tmp'))
    # Where an epoch begins with a refresh it is made again.
    start(stand_in(folder, tmp_path, epoch=2))
    assert stored.stat().st_mtime_ns > written


def test_resuming_without_the_maps_is_an_error_that_says_where_they_are_missing(folder, tmp_path):
    with pytest.raises(ValueError, match=r'epoch_0002.npy is missing.*copy the folder saliency_bank/'):
        start(stand_in(folder, tmp_path, epoch=3))
    start(stand_in(folder, tmp_path, epoch=2))
    (tmp_path / 'saliency_bank' / 'epoch_0002.json').unlink()
    with pytest.raises(ValueError, match=r'no description beside it \(complete files in the folder'):
        start(stand_in(folder, tmp_path, epoch=3))


def test_other_settings_than_those_of_the_maps_are_an_error(folder, tmp_path):
    start(stand_in(folder, tmp_path, epoch=2))
    with pytest.raises(ValueError, match='normalize=mean_then_minmax, the config says normalize=minmax_per_head'):
        start(stand_in(folder, tmp_path, epoch=3, normalize='minmax_per_head'))


def test_changed_data_are_an_error_that_names_the_change(folder, tmp_path):
    start(stand_in(folder, tmp_path, epoch=2))
    shutil.copy(folder / '0.png', folder / '05.png')
    (folder / '7.png').unlink()
    with pytest.raises(ValueError, match=r'1 images are new \(such as 05.png\), 1 images are gone .*7.png'):
        start(stand_in(folder, tmp_path, epoch=3))
    (folder / '05.png').rename(folder / '7.png')
    start(stand_in(folder, tmp_path, epoch=3))  # the names are as they were
    moved = folder.rename(folder.parent / 'elsewhere')
    start(stand_in(moved, tmp_path, epoch=3))  # wherever the folder lies


def test_another_order_of_the_same_images_is_noticed(folder, tmp_path):
    listing = tmp_path / 'list.txt'
    listing.write_text('\n'.join(f'data/{index}.png' for index in range(8)))
    start(stand_in(listing, tmp_path, epoch=2))
    listing.write_text('\n'.join(f'data/{index}.png' for index in [1, 0, *range(2, 8)]))
    with pytest.raises(ValueError, match=r'the same images in another order \(2 at another index\)'):
        start(stand_in(listing, tmp_path, epoch=3))


def test_allow_new_takes_maps_by_path_and_uniform_ones_for_the_rest(folder, tmp_path):
    first = stand_in(folder, tmp_path, epoch=2)
    start(first)
    old = np.load(first.model.saliency.path)
    shutil.copy(folder / '0.png', folder / '05.png')
    (folder / '7.png').unlink()
    for _ in range(2):  # made once, then found
        runner = stand_in(folder, tmp_path, epoch=3, allow_new=True)
        start(runner)
        maps = runner.model.saliency.read(np.arange(8)).numpy()
        np.testing.assert_array_equal(maps[[0, 2, 3, 4, 5, 6, 7]], old[[0, 1, 2, 3, 4, 5, 6]])
        assert (maps[1] == 1).all()
        assert any('1 of 8 images have uniform maps' in line for line in runner.logger.lines)
    np.testing.assert_array_equal(np.load(first.model.saliency.path), old)  # still there for the old data


# ------------------------------------------------------------------------------------------------ whole runs


def config(folder, work_dir, epochs=5, **changes) -> Config:
    values = dict(
        default_scope='mimselfsup',
        work_dir=str(work_dir),
        model=dict(type='_Weighted'),
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='EpochSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
            dataset=dict(type='ImageFolder', data_root=str(folder), pipeline=PIPELINE, max_broken=1.0),
        ),
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
        custom_hooks=[dict(type='BankRefreshHook', interval=2, batch_size=8)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False, max_keep_ckpts=-1)),
        randomness=dict(seed=3),
        env_cfg=dict(mp_cfg=dict(mp_start_method='fork')),
        log_level='WARNING',
        experiment_name=work_dir.name,
    )
    return Config({**values, **changes})


def test_a_killed_run_resumes_to_the_saliency_and_the_weights_of_one_that_was_not(folder, tmp_path):
    whole = Runner.from_cfg(config(folder, tmp_path / 'whole'))
    whole.train()
    steps = whole.model.seen
    assert len(steps) == 10
    assert all(step is None for step in steps[:4])
    assert all(step is not None and step.shape == (4, 16) for step in steps[4:])
    final = whole.model.state_dict()
    for name, iteration in (('within', 5), ('boundary', 8), ('first', 4)):
        work_dir = tmp_path / name
        shutil.copytree(tmp_path / 'whole', work_dir)
        checkpoint = work_dir / f'iter_{iteration}.pth'
        bank = work_dir / 'saliency_bank'
        if iteration == 8:  # killed while the maps of epoch 4 were written: only those of epoch 2 are whole
            (bank / 'epoch_0004.npy').rename(bank / 'epoch_0004.npy.tmp')
            (bank / 'epoch_0004.json').unlink()
        resumed = Runner.from_cfg(config(folder, work_dir, resume=True, load_from=str(checkpoint)))
        resumed.train()
        assert len(resumed.model.seen) == 10 - iteration
        for got, expected in zip(resumed.model.seen, steps[iteration:], strict=True):
            assert torch.equal(got, expected)
        assert all(torch.equal(value, final[key]) for key, value in resumed.model.state_dict().items())
        np.testing.assert_array_equal(
            np.load(bank / 'epoch_0004.npy'), np.load(tmp_path / 'whole/saliency_bank/epoch_0004.npy')
        )


def test_refreshing_without_using_the_maps_leaves_the_training_as_it_was(folder, tmp_path):
    unused = dict(type='_Weighted', bank=dict(start_epoch=100))
    with_hook = Runner.from_cfg(config(folder, tmp_path / 'with', 3, model=unused))
    with_hook.train()
    without = config(folder, tmp_path / 'without', 3, model=unused)
    without.custom_hooks = [dict(type='_Attach')]
    plain = Runner.from_cfg(without)
    plain.train()
    assert with_hook.model.saliency.path is not None and plain.model.saliency.path is None
    for key, value in plain.model.state_dict().items():
        assert torch.equal(value, with_hook.model.state_dict()[key])


# ------------------------------------------------------------------------------------------------ errors


def test_what_cannot_work_is_refused_before_training(folder, tmp_path):
    runner = stand_in(folder, tmp_path)
    runner.train_loop = object()
    with pytest.raises(ValueError, match='counts epochs'):
        start(runner)
    runner = stand_in(folder, tmp_path)
    runner.model.saliency = None
    with pytest.raises(ValueError, match='there is no AttentionBank to fill'):
        start(runner)
    with pytest.raises(ValueError, match='interval=0, must be at least 1'):
        BankRefreshHook(interval=0)


@pytest.mark.parametrize(
    ('index', 'change', 'message'),
    [
        (2, dict(type='mmpretrain.RandomResizedCrop'), 'does not record its crops'),
        (4, dict(meta_keys=('sample_idx', 'flip', 'flip_direction')), r"drops \['crop_box', 'crop_source'\]"),
        (4, dict(meta_keys=('sample_idx', 'crop_box', 'crop_source')), r"drops \['flip', 'flip_direction'\]"),
    ],
)
def test_a_pipeline_that_loses_the_crop_is_refused_before_training(folder, tmp_path, index, change, message):
    runner = stand_in(folder, tmp_path)
    pipeline = [dict(step) for step in PIPELINE]
    pipeline[index].update(change)
    runner.train_dataloader = DataLoader(ImageFolder(folder, pipeline=pipeline))
    with pytest.raises(ValueError, match=message):
        start(runner)


def test_many_views_have_to_be_recorded_too(folder, tmp_path):
    runner = stand_in(folder, tmp_path)
    for meta_keys, lacking in (
        (CROP_META_KEYS, r"\['crop_boxes', 'flips'\]"),
        (('crop_boxes', 'flips', 'crop_source'), r"\['sample_idx'\]"),
    ):
        pipeline = [*MULTI_CROP_PIPELINE[:3], dict(type='mmpretrain.PackInputs', meta_keys=meta_keys)]
        runner.train_dataloader = DataLoader(ImageFolder(folder, pipeline=pipeline))
        with pytest.raises(ValueError, match=f'drops {lacking}; .*transforms.MULTI_CROP_META_KEYS'):
            start(runner)
