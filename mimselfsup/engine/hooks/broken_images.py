"""Names, counts and limits the images of a training run that could not be read."""

import os
from collections.abc import Iterator
from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook

from mimselfsup.registry import HOOKS


@HOOKS.register_module()
class BrokenImagesHook(Hook):
    """Writes ``<work_dir>/broken_images.tsv`` and stops a run that meets too many broken images.

    Each line is ``path<TAB>reason``. All processes append to the same file and read what the others wrote, so
    that an image counts once and the limit holds for the whole run (for each node on its own, if nodes do
    not share the work dir). A resumed run goes on with the file, a new one starts it anew.

    The limit comes from the training data set: ``broken_allowed`` of
    :class:`~mimselfsup.datasets.image_folder.ImageFolder` (1% of the images by default, at least one). Other
    data sets, which do not report broken images, have none. Raises ValueError beyond it, on resuming too.

    ``interval``: every so many iterations the main process logs what the other processes found.
    """

    priority = 'NORMAL'

    def __init__(self, report: str = 'broken_images.tsv', interval: int = 50) -> None:
        if not report or os.path.basename(report) != report:
            raise ValueError(f'BrokenImagesHook: report={report!r}, must be a file name without folders')
        if interval < 1:
            raise ValueError(f'BrokenImagesHook: interval={interval}, must be at least 1')
        self.report = report
        self.interval = interval
        self.reasons: dict[str, str] = {}
        self._read_up_to = 0

    def before_train(self, runner) -> None:
        self.path = Path(runner.work_dir) / self.report
        self.reasons.clear()
        self._read_up_to = 0
        dataset = runner.train_dataloader.dataset
        while not hasattr(dataset, 'broken_allowed') and hasattr(dataset, 'dataset'):
            dataset = dataset.dataset
        self.total = len(dataset)
        self.share = getattr(dataset, 'max_broken', None)
        self.allowed = getattr(dataset, 'broken_allowed', None)
        if runner.iter == 0:
            if is_main_process():
                self.path.unlink(missing_ok=True)
            barrier()  # nobody appends before the old file is gone
        else:
            self._read_report()
            self._check_limit()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        found = {
            _one_line(path): _one_line(reason)
            for sample in _samples(data_batch)
            for path, reason in sample.get('broken') or ()
        }
        unknown = found.keys() - self.reasons.keys()
        if not unknown and not (is_main_process() and self.every_n_train_iters(runner, self.interval)):
            return
        new = self._read_report()
        if lines := ''.join(f'{path}\t{found[path]}\n' for path in found if path not in self.reasons):
            # One write with O_APPEND: lines of several processes do not mix.
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, lines.encode())
            finally:
                os.close(descriptor)
            new |= self._read_report()
        self._log(runner, new)
        self._check_limit()

    def after_train(self, runner) -> None:
        self._log(runner, self._read_report())
        if self.reasons:
            runner.logger.info(f'{len(self.reasons)} of {self.total} images could not be read: {self.path}')
        else:
            runner.logger.info(f'all images that were met could be read ({self.total} in the data set)')

    def _read_report(self) -> dict[str, str]:
        """Takes in what any process wrote since the last look; returns the images not known before."""
        try:
            with open(self.path, 'rb') as file:
                file.seek(self._read_up_to)
                data = file.read()
        except FileNotFoundError:
            return {}
        whole, newline, _ = data.rpartition(b'\n')  # another process, or a kill, may be within a line
        self._read_up_to += len(whole) + len(newline)
        new = {}
        for line in whole.decode(errors='replace').splitlines():
            path, _, reason = line.partition('\t')
            if path and path not in self.reasons:
                new[path] = self.reasons[path] = reason
        return new

    def _log(self, runner, new: dict[str, str]) -> None:
        for path, reason in new.items():
            runner.logger.warning(f'broken image, another one is used instead: {path}: {reason}')

    def _check_limit(self) -> None:
        if self.allowed is None or len(self.reasons) <= self.allowed:
            return
        path, reason = next(iter(self.reasons.items()))
        raise ValueError(
            f'{len(self.reasons)} of {self.total} images could not be read, more than '
            f'max_broken={self.share:g} allows ({self.allowed}). {self.path} names each, the first is {path}: '
            f'{reason}. Repair them, delete that file and resume; or allow more: '
            f'--cfg-options train_dataloader.dataset.max_broken=...'
        )


def _samples(data_batch) -> Iterator:
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    for sample in samples or ():
        if hasattr(sample, 'get'):
            yield sample


def _one_line(text: str) -> str:
    """``text`` without tabs, line ends and what is not Unicode, all of which file names may contain."""
    text = text.encode('utf-8', 'backslashreplace').decode()
    return ''.join(
        character if character.isprintable() else character.encode('unicode_escape').decode() for character in text
    )
