"""Makes the maps of an AttentionBank, and makes them again as the encoder learns."""

import copy
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import Compose, Resize
from mmengine.dataset import BaseDataset
from mmengine.dist import barrier, get_dist_info
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.datasets.transforms import PackInputs
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from mimselfsup.models.saliency import AttentionBank
from mimselfsup.models.saliency.map_store import MapsInfo, MapStore, describe_change, fingerprint
from mimselfsup.models.saliency.teacher import eval_mode
from mimselfsup.registry import HOOKS

from .generators import generators_untouched
from .run_state import model_of

FOLDER = 'saliency_bank'


@HOOKS.register_module()
class BankRefreshHook(Hook):
    """Fills ``model.saliency``, an :class:`AttentionBank`, before every epoch e > 0 that ``interval`` divides.

    Each image of the training data is loaded as for training, but resized as a whole and not augmented, and
    shown to the current encoder in eval mode; each process does its share. The maps of a refresh go to
    ``<work_dir>/saliency_bank/epoch_0040.npy`` and count only when the file is complete.

    Resuming gives what the uninterrupted run had: at an epoch that begins with a refresh it is made again, from
    the same weights; elsewhere the file of the last refresh is read, a missing one is a ValueError. Nothing
    else of the training is touched: modes and the states of all random generators are put back.

    Args:
        interval: in epochs.
        batch_size: images per process.
        num_workers: loader processes per process; those of the training unless given.
        keep: how many refreshes stay on the disk. Unless given: as many as any of the checkpoints that are kept
            may need to be resumed from.
    """

    def __init__(
        self, interval: int = 40, batch_size: int = 256, num_workers: int | None = None, keep: int | None = None
    ) -> None:
        for name, value in (('interval', interval), ('batch_size', batch_size), ('keep', keep)):
            if value is not None and value < 1:
                raise ValueError(f'BankRefreshHook: {name}={value}, must be at least 1')
        self.interval = interval
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.keep = keep

    # -------------------------------------------------------------------------------------- when

    def before_train(self, runner: Runner) -> None:
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                f'BankRefreshHook counts epochs, but the training loop is {type(runner.train_loop).__name__}: '
                f'use train_cfg=dict(by_epoch=True, max_epochs=...)'
            )
        model = model_of(runner)
        bank = getattr(model, 'saliency', None)
        if not isinstance(bank, AttentionBank):
            raise ValueError(
                f'BankRefreshHook: the saliency of {type(model).__name__} is {type(bank).__name__}, there is no '
                f"AttentionBank to fill: set model.saliency=dict(type='AttentionBank'), or leave the hook out"
            )
        dataset = runner.train_dataloader.dataset
        check_pipeline(dataset)
        bank.bind(model.backbone)
        bank.attach()
        bank.close()
        self._store = MapStore(Path(runner.work_dir) / FOLDER)
        self._fingerprint = fingerprint(image_paths(dataset))
        if get_dist_info()[0] == 0:
            self._store.remove_unfinished()
        barrier()

    def before_train_epoch(self, runner: Runner) -> None:
        bank = model_of(runner).saliency
        bank.epoch = runner.epoch
        last = runner.epoch // self.interval * self.interval
        if last == 0:
            return
        within_epoch = runner.iter > runner.epoch * len(runner.train_dataloader)
        if runner.epoch == last and not within_epoch:
            self.refresh(runner)
        elif bank.path is None:
            self._open_last(runner, bank, last)

    # -------------------------------------------------------------------------------------- making

    def refresh(self, runner: Runner) -> None:
        """Makes the maps of all images with the encoder as it is, and lets the bank read them."""
        model, dataset = model_of(runner), runner.train_dataloader.dataset
        bank, rank, world_size = model.saliency, *get_dist_info()
        info = self._info(bank, runner.epoch, len(dataset))
        path = self._store.path(runner.epoch)
        started = time.perf_counter()
        runner.logger.info(f'saliency bank: maps of {info.images} images, before epoch {runner.epoch + 1}, to {path}')
        if rank == 0:
            self._store.begin(path, info)
        barrier()
        rows = share(info.images, rank, world_size)
        workers = runner.train_dataloader.num_workers if self.num_workers is None else self.num_workers
        with generators_untouched(), runner.optim_wrapper.optim_context(model):
            broken = self._write_share(path, model, WholeImages(dataset, bank.image_size), rows, workers, rank)
        barrier()
        if rank == 0:
            self._store.commit(path, info, image_paths(dataset))
        barrier()
        bank.open(path, (info.images, *info.map_size))
        if rank == 0:  # the new file is complete: only now older ones may go
            self._store.remove_before(self._oldest_needed(runner))
        spent = time.perf_counter() - started
        unreadable = f'; {broken} images of this process cannot be read, their maps are uniform' if broken else ''
        runner.logger.info(
            f'saliency bank: done in {timedelta(seconds=round(spent))}, {info.images / spent:.0f} images/s{unreadable}'
        )

    def _write_share(self, path: Path, model, images: Dataset, rows: range, workers: int, rank: int) -> int:
        bank = model.saliency
        device = next(model.parameters()).device
        loader = DataLoader(
            Subset(images, rows),
            batch_size=self.batch_size,
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=device.type == 'cuda',
        )
        broken_count = 0
        bar = tqdm(total=len(rows), desc='saliency bank', unit='img', disable=rank != 0, mininterval=1)
        with bar, eval_mode(model), torch.no_grad(), self._store.open_for_writing(path) as writer:
            for indices, inputs, broken in loader:
                inputs = model.data_preprocessor(dict(inputs=inputs, data_samples=None), False)['inputs']
                maps = bank.compute(model.backbone, inputs)
                if not maps.isfinite().all():
                    raise ValueError(
                        f'saliency bank: the attention to image {indices[0]} or one of the {len(indices) - 1} '
                        f'after it is NaN or infinite; the training has diverged. Stored maps stay as they were'
                    )
                maps[torch.tensor(broken, device=maps.device)] = 1
                writer.write(indices, maps.cpu().numpy())
                broken_count += sum(broken)
                bar.update(len(indices))
        return broken_count

    # -------------------------------------------------------------------------------------- reading

    def _open_last(self, runner: Runner, bank: AttentionBank, epoch: int) -> None:
        store, dataset, path = self._store, runner.train_dataloader.dataset, self._store.path(epoch)
        now = self._info(bank, epoch, len(dataset))
        stored = store.read_info(path)
        for key, value in dict(map_size=now.map_size, **now.settings).items():
            was = stored.map_size if key == 'map_size' else stored.settings.get(key)
            if was != value:
                raise ValueError(
                    f'{path} was made with {key}={was}, the config says {key}={value}: resume with the former, or '
                    f'from a checkpoint at the end of an epoch before the refresh'
                )
        if stored.fingerprint != now.fingerprint:
            adapted = store.path(epoch, now)
            if get_dist_info()[0] == 0:
                self._adapt(runner, bank, path, stored, adapted, now)
            barrier()
            path = adapted
        bank.open(path, (now.images, *now.map_size))
        runner.logger.info(f'saliency bank: {now.images} maps from {path}')

    def _adapt(
        self, runner: Runner, bank: AttentionBank, path: Path, stored: MapsInfo, adapted: Path, now: MapsInfo
    ) -> None:
        """Writes maps for another list of images: by path where there is one, uniform where not."""
        dataset = runner.train_dataloader.dataset
        before, paths = self._store.listing(stored), list(image_paths(dataset))
        change = describe_change(before, paths, stored.images)
        if not bank.allow_new:
            raise ValueError(
                f'{path} was made from other images than the training data ({dataset.data_root}) hold now: '
                f'{change}. Give back the data set as it was; or set model.saliency.allow_new=True to go on, with '
                f'uniform maps for what is new until the next refresh'
            )
        row_of = {name: row for row, name in enumerate(before or [])}
        rows = [row_of.get(name, -1) for name in paths]
        runner.logger.warning(
            f'saliency bank: the training data have changed since {path} was made: {change}. Until the next '
            f'refresh {rows.count(-1)} of {len(paths)} images have uniform maps'
        )
        if self._store.is_complete(adapted):
            return
        old = self._store.open(path, stored)
        self._store.begin(adapted, now)
        with self._store.open_for_writing(adapted) as writer:
            for first in range(0, len(rows), 4096):
                some = np.array(rows[first : first + 4096])
                maps = np.array(old[np.maximum(some, 0)])
                maps[some < 0] = 1
                writer.write(range(first, first + len(some)), maps)
        self._store.commit(adapted, now, paths)

    def _info(self, bank: AttentionBank, epoch: int, images: int) -> MapsInfo:
        return MapsInfo(epoch, images, bank.map_size, self._fingerprint, bank.settings)

    def _oldest_needed(self, runner: Runner) -> int:
        """Epoch of the oldest refresh to keep, now that the one of this epoch is complete."""
        epoch = runner.epoch
        if self.keep is not None:
            return epoch - (self.keep - 1) * self.interval
        reach = 1  # epochs from the oldest checkpoint that is kept until now
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.interval > 0:
                if hook.max_keep_ckpts <= 0 or getattr(hook, 'save_best', None):
                    return 0
                span = hook.max_keep_ckpts * hook.interval
                reach = max(reach, span if hook.by_epoch else -(-span // len(runner.train_dataloader)))
        return max(epoch - reach, 0) // self.interval * self.interval


def share(count: int, rank: int, world_size: int) -> range:
    """The rows of process ``rank``: neighbours, so that processes write to different pages of the file."""
    return range(count * rank // world_size, count * (rank + 1) // world_size)


def image_paths(dataset: BaseDataset) -> Iterator[str]:
    """Path of each image, by index, below the root of the data set, so that a moved folder is still the same."""
    root = Path(getattr(dataset, 'source', None) or getattr(dataset, 'data_root', None) or '/')
    root = f'{root.parent if root.is_file() else root}'.rstrip('/') + '/'  # a file lists images
    for index in range(len(dataset)):
        yield str(dataset.get_data_info(index).get('img_path', index)).removeprefix(root)


def check_pipeline(dataset: Dataset) -> None:
    """Raises ValueError if the training data cannot have maps, or its pipeline does not say what was cropped."""
    if not isinstance(dataset, BaseDataset):
        raise ValueError(
            f'BankRefreshHook: {type(dataset).__name__} has no single list of images to have maps by index: '
            f'train on one data set, such as ImageFolder'
        )
    transforms = list(dataset.pipeline.transforms)
    crops = [each for each in transforms if hasattr(each, 'records')]
    if not crops:
        raise ValueError(
            'AttentionBank: the training pipeline does not record its crops; use '
            "dict(type='mimselfsup.RandomResizedCrop', ...), which takes the arguments of mmpretrain's, or MultiCrop"
        )
    wanted = {'sample_idx', *crops[0].records}
    if any('Flip' in type(each).__name__ for each in transforms):
        wanted |= {'flip', 'flip_direction'}
    for transform in transforms:
        lacking = wanted - set(getattr(transform, 'meta_keys', wanted))
        if lacking:
            names = 'MULTI_CROP_META_KEYS' if 'crop_boxes' in wanted else 'CROP_META_KEYS'
            raise ValueError(
                f'AttentionBank: {type(transform).__name__} of the training pipeline drops {sorted(lacking)}; '
                f'give it meta_keys=mimselfsup.datasets.transforms.{names}'
            )


class WholeImages(Dataset):
    """``dataset`` as (index, uint8 image (3, H, W), whether it is broken): loaded as there, then only resized."""

    def __init__(self, dataset: BaseDataset, size: tuple[int, int]) -> None:
        loading = [each for each in dataset.pipeline.transforms if type(each).__name__.startswith('Load')]
        if not loading:
            raise ValueError('BankRefreshHook: the training pipeline has no transform that loads (LoadImage)')
        self.dataset = copy.copy(dataset)
        resize = Resize(scale=size[::-1], keep_ratio=False, backend='pillow', interpolation='bicubic')
        pack = PackInputs(meta_keys=('sample_idx', 'img_path', 'broken'))
        self.dataset.pipeline = Compose([*loading, resize, pack])

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor, bool]:
        sample = self.dataset[index]
        return index, sample['inputs'], bool(sample['data_samples'].get('broken'))


def _collate(samples: list) -> tuple[list[int], torch.Tensor, list[bool]]:
    indices, images, broken = zip(*samples, strict=True)
    return list(indices), torch.stack(images), list(broken)
