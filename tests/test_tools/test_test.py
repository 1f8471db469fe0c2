import runpy
import sys
from pathlib import Path

import pytest
import torch

from tests.test_engine.tiny import write_images

ROOT = Path(__file__).parents[2]
CONFIG = """
default_scope = 'mimselfsup'
model = dict(
    type='mmpretrain.ImageClassifier',
    data_preprocessor=dict(
        type="mmpretrain.ClsDataPreprocessor", num_classes=2, mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True),
    backbone=dict(
        type='MaskedViT', img_size=16, patch_size=4, out_type='cls_token',
        arch=dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=48)),
    head=dict(type='mmpretrain.LinearClsHead', num_classes=2, in_channels=24, loss=dict(
        type='mmpretrain.CrossEntropyLoss'), topk=(1,)))
test_dataloader = dict(
    batch_size=4, num_workers=0, collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ImageFolder', data_root='', with_label=True, test_mode=True, pipeline=[
        dict(type='LoadImage'),
        dict(type='mmpretrain.Resize', scale=16),
        dict(type='mmpretrain.PackInputs')]))
test_cfg = dict()
test_evaluator = dict(type='mmpretrain.Accuracy', topk=(1,))
"""


@pytest.fixture
def test_tool(tmp_path, monkeypatch):
    """Runs tools/test.py in ``tmp_path`` and gives its exit code back."""
    for name, count in (('a', 6), ('b', 2)):
        write_images(tmp_path / 'images' / name, count)
    (tmp_path / 'classify.py').write_text(CONFIG)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, 'argv', ['test.py', *arguments])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
        return stopped.value.code

    return run


def save_model(path: Path, favourite: int) -> dict:
    """A classifier that answers ``favourite`` whatever it sees."""
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    from mimselfsup.registry import MODELS

    with DefaultScope.overwrite_default_scope('mimselfsup'):
        model = MODELS.build(Config.fromstring(CONFIG, '.py').model)
    state = model.state_dict()
    state['head.fc.bias'] = torch.tensor([1000.0 * (favourite == 0), 1000.0 * (favourite == 1)])
    torch.save(dict(state_dict=state, meta={}), path)
    return state


@pytest.mark.parametrize(('favourite', 'accuracy'), [(0, '75.0000'), (1, '25.0000')])
def test_it_scores_the_checkpoint_that_was_given(test_tool, tmp_path, favourite, accuracy):
    save_model(tmp_path / 'model.pth', favourite)
    # MMEngine's loggers are global, by a name that has only the second of the start.
    name = f'experiment_name=favourite{favourite}'
    assert test_tool('classify.py', 'model.pth', '--data', 'images', '--work-dir', 'out', '--cfg-options', name) == 0
    log = next((tmp_path / 'out').glob('*/*.log')).read_text()
    assert f'accuracy/top1: {accuracy}' in log


def test_it_never_scores_random_weights(test_tool, tmp_path, capsys):
    state = save_model(tmp_path / 'model.pth', 0)
    del state['head.fc.weight']
    torch.save(dict(state_dict=state), tmp_path / 'holed.pth')
    assert test_tool('classify.py', 'holed.pth', '--data', 'images') == 2
    assert 'lacks head.fc.weight' in capsys.readouterr().err
    (tmp_path / 'pretrain.py').write_text('model = dict(type="X")\n')
    assert test_tool('pretrain.py', 'model.pth') == 2
    assert 'error: pretrain.py has no test_dataloader' in capsys.readouterr().err
