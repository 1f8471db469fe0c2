"""BrokenImagesHook: the report, what counts, when the run stops, and what resuming keeps."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from PIL import Image

from mimselfsup.datasets import ImageFolder
from mimselfsup.engine.hooks import BrokenImagesHook, broken_images


class DataSet(list):
    max_broken = 0.1

    def __init__(self, count: int = 30, allowed: int = 3) -> None:
        super().__init__(range(count))
        self.broken_allowed = allowed


def runner(work_dir: Path, dataset=None, iteration: int = 0):
    lines: list[tuple[str, str]] = []
    logger = SimpleNamespace(
        warning=lambda text: lines.append(('warning', text)), info=lambda text: lines.append(('info', text))
    )
    loader = SimpleNamespace(dataset=DataSet() if dataset is None else dataset)
    return SimpleNamespace(work_dir=str(work_dir), train_dataloader=loader, iter=iteration, logger=logger, lines=lines)


def batch(*reports: list[tuple[str, str]] | None) -> dict:
    samples = [DataSample(metainfo={} if report is None else dict(broken=report)) for report in reports]
    return dict(inputs=torch.zeros(len(reports)), data_samples=samples)


def started(run, **options) -> BrokenImagesHook:
    hook = BrokenImagesHook(**options)
    hook.before_train(run)
    return hook


def report(folder: Path) -> list[str]:
    return (folder / 'broken_images.tsv').read_text().splitlines()


def test_each_image_is_reported_and_counted_once(tmp_path):
    run = runner(tmp_path)
    hook = started(run)
    hook.after_train_iter(run, 0, batch(None, [('/a.jpg', 'empty file (0 bytes)')], [('/b.jpg', 'no such file')]))
    hook.after_train_iter(run, 1, batch([('/a.jpg', 'empty file (0 bytes)'), ('/c.jpg', 'x')]))
    hook.after_train_iter(run, 2, batch([('/a.jpg', 'x')], None))
    assert report(tmp_path) == ['/a.jpg\tempty file (0 bytes)', '/b.jpg\tno such file', '/c.jpg\tx']
    warnings = [text for level, text in run.lines if level == 'warning']
    assert len(warnings) == 3 and warnings[0].endswith('/a.jpg: empty file (0 bytes)')
    hook.after_train(run)
    assert run.lines[-1] == ('info', f'3 of 30 images could not be read: {tmp_path}/broken_images.tsv')


def test_stops_at_the_first_image_beyond_the_limit(tmp_path):
    run = runner(tmp_path)
    hook = started(run)
    for i in range(3):
        hook.after_train_iter(run, i, batch([(f'/{i}.jpg', 'empty')]))
    with pytest.raises(ValueError) as caught:
        hook.after_train_iter(run, 3, batch([('/3.jpg', 'empty')]))
    message = str(caught.value)
    assert '4 of 30 images could not be read, more than max_broken=0.1 allows (3)' in message
    assert f'{tmp_path}/broken_images.tsv' in message and '/0.jpg: empty' in message
    assert 'train_dataloader.dataset.max_broken' in message
    assert len(report(tmp_path)) == 4  # the one too many is named as well


def test_the_limit_is_the_data_sets_also_inside_a_wrapper(tmp_path):
    wrapped = SimpleNamespace(dataset=DataSet(count=5, allowed=0))
    run = runner(tmp_path, wrapped)
    hook = started(run)
    with pytest.raises(ValueError, match=r'1 of 5 images .*allows \(0\)'):
        hook.after_train_iter(run, 0, batch([('/a.jpg', 'x')]))
    unlimited = runner(tmp_path, list(range(5)))
    hook = started(unlimited)
    for i in range(5):
        hook.after_train_iter(unlimited, i, batch([(f'/{i}.jpg', 'x')]))


def test_new_run_starts_the_report_anew_and_resumed_one_goes_on(tmp_path):
    first = runner(tmp_path)
    hook = started(first)
    for i in range(3):
        hook.after_train_iter(first, i, batch([(f'/{i}.jpg', 'x')]))

    resumed = runner(tmp_path, iteration=10)
    hook = started(resumed)
    hook.after_train_iter(resumed, 10, batch([('/1.jpg', 'x')]))
    assert len(report(tmp_path)) == 3 and resumed.lines == []
    with pytest.raises(ValueError, match='4 of 30'):
        hook.after_train_iter(resumed, 11, batch([('/3.jpg', 'x')]))
    with pytest.raises(ValueError, match='4 of 30'):
        started(runner(tmp_path, iteration=20))
    started(runner(tmp_path, DataSet(allowed=4), iteration=20))

    fresh = runner(tmp_path)
    hook = started(fresh)
    assert not (tmp_path / 'broken_images.tsv').exists()
    hook.after_train(fresh)
    assert fresh.lines == [('info', 'all images that were met could be read (30 in the data set)')]


def test_processes_share_the_report_and_the_limit(tmp_path, monkeypatch):
    runs = [runner(tmp_path), runner(tmp_path)]
    hooks = [started(run, interval=5) for run in runs]
    hooks[0].after_train_iter(runs[0], 0, batch([('/a.jpg', 'x')], [('/b.jpg', 'x')]))
    hooks[1].after_train_iter(runs[1], 0, batch([('/a.jpg', 'x')], [('/c.jpg', 'x')]))
    assert report(tmp_path) == ['/a.jpg\tx', '/b.jpg\tx', '/c.jpg\tx']
    # The first learns of /c.jpg at its next look, and the fourth stops whoever meets it.
    runs[0].iter = 3
    hooks[0].after_train_iter(runs[0], 3, batch(None))
    assert '/c.jpg' not in hooks[0].reasons
    runs[0].iter = 4
    hooks[0].after_train_iter(runs[0], 4, batch(None))
    assert list(hooks[0].reasons) == ['/a.jpg', '/b.jpg', '/c.jpg']
    assert runs[0].lines[-1][1].endswith('/c.jpg: x')
    with pytest.raises(ValueError, match='4 of 30'):
        hooks[1].after_train_iter(runs[1], 5, batch([('/d.jpg', 'x')]))
    runs[0].iter = 9
    with pytest.raises(ValueError, match='4 of 30'):
        hooks[0].after_train_iter(runs[0], 9, batch(None))


def test_only_the_main_process_removes_an_old_report(tmp_path, monkeypatch):
    (tmp_path / 'broken_images.tsv').write_text('/old.jpg\tx\n')
    monkeypatch.setattr(broken_images, 'is_main_process', lambda: False)
    started(runner(tmp_path))
    assert report(tmp_path) == ['/old.jpg\tx']


def test_a_line_that_is_being_written_is_left_for_later(tmp_path):
    run = runner(tmp_path, iteration=1)
    path = tmp_path / 'broken_images.tsv'
    path.write_text('/a.jpg\tx\n/b.j')
    hook = started(run, interval=1)
    assert list(hook.reasons) == ['/a.jpg']
    with path.open('a') as file:
        file.write('pg\ty\n')
    hook.after_train_iter(run, 1, batch(None))
    assert hook.reasons == {'/a.jpg': 'x', '/b.jpg': 'y'}


def test_any_file_name_is_one_line(tmp_path):
    run = runner(tmp_path)
    hook = started(run)
    hook.after_train_iter(run, 0, batch([('/a\tb\nc\udce9é.jpg', 'line\nline')]))
    hook.after_train_iter(run, 1, batch([('/a\tb\nc\udce9é.jpg', 'line\nline')]))
    assert report(tmp_path) == ['/a\\tb\\nc\\udce9é.jpg\tline\\nline']
    assert len(hook.reasons) == 1


@pytest.mark.parametrize(
    'data', [None, {}, [torch.zeros(2)], dict(inputs=1, data_samples=None), dict(data_samples=[1])]
)
def test_other_batches_are_left_alone(tmp_path, data):
    run = runner(tmp_path)
    hook = started(run)
    hook.after_train_iter(run, 0, data)
    assert not (tmp_path / 'broken_images.tsv').exists()


def test_wrong_arguments():
    with pytest.raises(ValueError, match='must be a file name without folders'):
        BrokenImagesHook(report='a/b.tsv')
    with pytest.raises(ValueError, match='interval=0'):
        BrokenImagesHook(interval=0)


class Mean(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=(self.scale * torch.stack(list(inputs)).float()).mean())


def train(root: Path, work_dir: Path, epochs: int, resume: bool = False, **dataset) -> None:
    pipeline = [dict(type='mimselfsup.LoadImage'), dict(type='mmpretrain.PackInputs')]
    Runner(
        model=Mean(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=ImageFolder(root, pipeline=pipeline, **dataset),
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
        custom_hooks=[dict(type='mimselfsup.BrokenImagesHook')],
        resume=resume,
        randomness=dict(seed=0),
        experiment_name=f'{work_dir.name}-{epochs}',
    ).train()


def test_in_a_training_run(tmp_path, caplog):
    logging.getLogger('mmengine').propagate = False
    root, work_dir = tmp_path / 'images', tmp_path / 'work'
    root.mkdir()
    for i in range(12):
        Image.new('RGB', (8, 8)).save(root / f'{i:02d}.png')
    (root / '04.png').write_bytes(b'')
    expected = f'{root}/04.png\tempty file (0 bytes)'
    train(root, work_dir, epochs=2)  # one is always tolerated
    assert report(work_dir) == [expected]
    (root / '07.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'2 of 12 images could not be read, more than max_broken=0\.01 allows \(1\)'):
        train(root, work_dir, epochs=3, resume=True)
    assert report(work_dir)[0] == expected and report(work_dir)[1].startswith(f'{root}/07.png\tnot an image')
    train(root, work_dir, epochs=3, resume=True, max_broken=0.2)
    assert len(report(work_dir)) == 2
