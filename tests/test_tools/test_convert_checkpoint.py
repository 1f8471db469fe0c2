"""tools/convert_checkpoint.py as a user types it, in this process."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.test_engine.test_checkpoint import Payload
from tests.test_interchange.foreign import HEADS, prefixed, randomised, vit, without_head

TOOL = Path(__file__).parents[2] / 'tools' / 'convert_checkpoint.py'


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    """(exit status, stdout, stderr), in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('MIMSELFSUP_DEBUG', raising=False)

    def run(*words):
        monkeypatch.setattr(sys, 'argv', [TOOL.name, *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name='__main__')
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


@pytest.mark.parametrize('part', ['teacher', 'student'])
def test_through_ours_to_timm(call, tmp_path, part):
    networks = write_dino(tmp_path)
    code, out, _ = call('dino.pth', 'ours.pth', '--part', part, '--num-heads', HEADS)
    other = 'student' if part == 'teacher' else 'teacher'
    assert code == 0 and out.startswith(f'recognised: dino, its {part}\nconverted: 30 tensors\n')
    assert f'left out, the {other} (--part): {other}: backbone.cls_token' in out
    assert 'not weights: epoch\n' in out and out.endswith('file: ours.pth\n')
    code, out, _ = call('ours.pth', 'timm.safetensors', '--to', 'timm')
    assert code == 0 and 'use: timm.models.vision_transformer.VisionTransformer(' in out
    expected, found = without_head(networks[part].state_dict()), load_file('timm.safetensors')
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def write_dino(folder):
    networks = dict(teacher=vit(), student=randomised(vit(), seed=5))
    tables = {name: prefixed(without_head(each.state_dict()), 'backbone.') for name, each in networks.items()}
    torch.save(tables | dict(epoch=7), folder / 'dino.pth')
    return networks


def test_what_is_not_recognised_is_refused_in_one_line_and_nothing_is_written(call, tmp_path):
    torch.save(dict(gate=torch.ones(1)), tmp_path / 'x.pth')
    code, out, err = call('x.pth', 'y.pth')
    assert (code, out) == (2, '')
    assert err == 'error: checkpoint x.pth is not recognised; its names are gate\n'
    assert not (tmp_path / 'y.pth').exists()
    code, _, err = call('absent.pth', 'y.pth')
    assert (code, err) == (2, 'error: checkpoint absent.pth does not exist\n')


def test_a_payload_runs_only_where_the_file_is_trusted(call, tmp_path):
    torch.save(dict(model=vit().state_dict(), extra=Payload(tmp_path / 'ran')), tmp_path / 'x.pth')
    code, _, err = call('x.pth', 'y.pth', '--num-heads', HEADS)
    assert code == 2 and 'was refused' in err and not (tmp_path / 'ran').exists()
    code, _, _ = call('x.pth', 'y.pth', '--num-heads', HEADS, '--trust-checkpoint')
    assert code == 0 and (tmp_path / 'ran').exists()
    assert torch.load(tmp_path / 'y.pth', weights_only=True).keys() == {'state_dict', 'meta'}


def test_for_transformers_a_folder(call, tmp_path):
    torch.save(vit().state_dict(), tmp_path / 'x.pth')
    code, out, _ = call('x.pth', 'hub', '--num-heads', HEADS, '--to', 'huggingface', '--img-size', '64')
    assert code == 0 and 'resized: pos_embed\n' in out
    assert sorted(path.name for path in (tmp_path / 'hub').iterdir()) == ['config.json', 'model.safetensors']
    assert len(load_file(tmp_path / 'hub' / 'model.safetensors')['embeddings.position_embeddings'][0]) == 65
