"""The commands as a user types them: kill -9 and resume, several processes, errors in one line."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.test_engine.tiny import read_losses, write_config, write_images

ROOT = Path(__file__).parents[2]

KILL = """
import os
import re
import runpy
import signal

from mmengine.hooks import Hook

from mimselfsup.registry import HOOKS


@HOOKS.register_module()
class KillMinus9(Hook):
    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        first_start = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') == '0'
        last_rank = runner.rank == runner.world_size - 1
        if runner.iter + 1 == int(os.environ.get('KILL_AT', 0)) and first_start and last_rank:
            os.kill(os.getpid(), signal.SIGKILL)
"""
EXTRA = """
custom_imports = dict(imports=['kill_minus_9'], allow_failed_imports=False)
custom_hooks = [dict(type='KillMinus9')]
"""
WITHIN_AN_EPOCH = EXTRA + "default_hooks['checkpoint'] = dict(type='CheckpointHook', interval=3, by_epoch=False)\n"


class Project:
    """A folder with a tiny config, its images and a hook that kills the process that runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = write_images(folder / 'images')
        write_config(folder / 'by_epoch.py', EXTRA)
        write_config(folder / 'within_an_epoch.py', WITHIN_AN_EPOCH)
        (folder / 'kill_minus_9.py').write_text(KILL)

    def start(self, command: list, *args: str, kill_at: int = 0, restarts: int = 0) -> subprocess.CompletedProcess:
        env = {
            **os.environ,
            'PYTHONPATH': f'{ROOT}{os.pathsep}{self.folder}',
            'PYTHON': sys.executable,
            'OMP_NUM_THREADS': '1',
            'KILL_AT': str(kill_at),
            'MAX_RESTARTS': str(restarts),
            'CUDA_VISIBLE_DEVICES': '',
        }
        return subprocess.run(
            [*command, '--data', 'images', *args],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=180,
        )

    def losses(self, name: str) -> dict[int, float]:
        return read_losses(self.folder / name)


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp('project'))


def one(config: str) -> list:
    return [sys.executable, str(ROOT / 'tools/train.py'), config]


def several(config: str, processes: int) -> list:
    return [str(ROOT / 'tools/dist_train.sh'), config, str(processes)]


@pytest.fixture(scope='module')
def never_killed(project):
    done = project.start(one('by_epoch.py'), '--work-dir', 'whole')
    assert done.returncode == 0, done.stderr[-3000:]
    losses = project.losses('whole')
    assert sorted(losses) == list(range(1, 13))
    return losses


def test_killed_within_an_epoch_and_resumed(project, never_killed):
    """The weights of iteration 6 of 12, the second of its epoch of 4, are what it continues from."""
    killed = project.start(one('within_an_epoch.py'), '--work-dir', 'killed', kill_at=8)
    assert killed.returncode == -9
    assert sorted(project.losses('killed')) == list(range(1, 9))
    for path in (project.folder / 'killed').glob('*/vis_data/scalars.json'):
        path.unlink()
    done = project.start(one('within_an_epoch.py'), '--work-dir', 'killed', '--resume')
    assert done.returncode == 0, done.stderr[-3000:]
    resumed = project.losses('killed')
    assert sorted(resumed) == list(range(7, 13))
    assert resumed == {step: never_killed[step] for step in resumed}


@pytest.fixture(scope='module')
def two_never_killed(project):
    done = project.start(several('by_epoch.py', 2), '--work-dir', 'whole2', '--cfg-options', *HALF)
    assert done.returncode == 0, done.stderr[-3000:]
    losses = project.losses('whole2')
    assert sorted(losses) == list(range(1, 13))
    return losses


HALF = ['train_dataloader.batch_size=2', 'train_dataloader.num_workers=1', 'train_dataloader.sampler.batches_of=2']


def test_two_processes_killed_and_resumed(project, two_never_killed):
    arguments = ['--work-dir', 'killed2', '--cfg-options', *HALF]
    killed = project.start(several('by_epoch.py', 2), *arguments, kill_at=7)
    assert killed.returncode != 0
    assert 4 < max(project.losses('killed2')) < 12
    for path in (project.folder / 'killed2').glob('*/vis_data/scalars.json'):
        path.unlink()
    done = project.start(several('by_epoch.py', 2), '--resume', *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    resumed = project.losses('killed2')
    assert sorted(resumed) == list(range(5, 13))
    assert resumed == {step: two_never_killed[step] for step in resumed}


def test_two_processes_start_again_by_themselves(project, two_never_killed):
    arguments = ['--work-dir', 'restarted', '--cfg-options', *HALF]
    done = project.start(several('by_epoch.py', 2), *arguments, kill_at=7, restarts=1)
    assert done.returncode == 0, done.stderr[-3000:]
    assert project.losses('restarted') == two_never_killed


def test_two_processes_end_with_one_set_of_weights_and_near_one_process(project, never_killed, two_never_killed):
    weights = torch.load(project.folder / 'whole2' / 'epoch_3.pth', weights_only=True)
    assert weights['meta']['data_order']['processes'] == 2
    # Same samples per step; the masks of the two ranks are other draws, so the losses agree up to that noise.
    gaps = [abs(two_never_killed[step] - never_killed[step]) for step in never_killed]
    assert 0 < sum(gaps) / len(gaps) < 0.1, gaps


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['none.py'], 'error: config none.py does not exist'),
        (['by_epoch.py', '--data', 'nowhere'], 'error: .*nowhere'),
        (['by_epoch.py', '--cfg-options', 'model.backbone.patchsize=4'], "error: .*no argument 'patchsize'"),
        (['by_epoch.py', '--pretrained', 'none.pth'], 'error: --pretrained none.pth: no such file'),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(project, arguments, message, capsys, monkeypatch):
    """In this process, which is what main() is for: four starts would take half a minute."""
    monkeypatch.chdir(project.folder)
    monkeypatch.syspath_prepend(str(project.folder))
    monkeypatch.delenv('MIMSELFSUP_DEBUG', raising=False)
    config, *rest = arguments
    data = [] if '--data' in rest else ['--data', 'images']
    monkeypatch.setattr(sys, 'argv', ['train.py', config, *data, *rest])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1 and re.search(message, lines[0])


@pytest.mark.parametrize('processes', ['0', 'two'])
def test_dist_train_refuses_what_is_no_number(project, processes):
    done = project.start([str(ROOT / 'tools/dist_train.sh'), 'by_epoch.py', processes])
    assert done.returncode == 2 and f'PROCESSES_PER_NODE={processes}, must be' in done.stderr
