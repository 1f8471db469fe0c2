"""A harmless payload in a checkpoint, in each order in which the two packages can be imported."""

import subprocess
import sys

import pytest
import torch

LOAD = """
from mmengine.runner.checkpoint import CheckpointLoader
try:
    CheckpointLoader.load_checkpoint({path!r}, map_location='cpu')
except Exception as error:
    print('refused by', type(error).__module__)
"""


class Payload:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (self.trace, 'w')


@pytest.mark.parametrize(
    'imports',
    [
        'import mimselfsup',
        'import mimselfsup, sys, mmengine.runner\nassert "mimselfsup.engine" not in sys.modules',
        'import mmengine.runner, mimselfsup',
    ],
    ids=['guard first', 'guard, then mmengine', 'mmengine, then guard'],
)
def test_importing_the_package_is_enough(tmp_path, imports):
    trace = tmp_path / 'payload_ran'
    path = str(tmp_path / 'evil.pth')
    torch.save(dict(state_dict={}, extra=Payload(str(trace))), path)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', imports + LOAD.format(path=path)], capture_output=True, text=True
    )
    assert 'refused by mimselfsup.engine.checkpoint' in done.stdout, done.stdout + done.stderr
    assert not trace.exists()


def test_the_payload_would_run_without_it(tmp_path):
    """Guards the test above: the payload works, and MMEngine alone lets it."""
    trace = tmp_path / 'payload_ran'
    path = str(tmp_path / 'evil.pth')
    torch.save(dict(state_dict={}, extra=Payload(str(trace))), path)
    subprocess.run([sys.executable, '-W', 'ignore', '-c', LOAD.format(path=path)], capture_output=True)
    assert trace.exists()


def test_guarding_twice_leaves_one_guard():
    code = (
        'import sys, mimselfsup\n'
        'from mimselfsup.loading_guard import _RedirectOnImport, guard_loading\n'
        'guard_loading()\n'
        'print(sum(isinstance(finder, _RedirectOnImport) for finder in sys.meta_path))'
    )
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout == '1\n'
