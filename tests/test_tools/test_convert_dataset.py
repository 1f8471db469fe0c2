import runpy
import sys
from pathlib import Path

import pytest
from mmpretrain.datasets import CustomDataset
from PIL import Image

TOOL = Path(__file__).parents[2] / 'tools' / 'convert_dataset.py'


@pytest.fixture
def call(capsys, monkeypatch):
    """(exit status, stdout, stderr)"""
    monkeypatch.delenv('MIMSELFSUP_DEBUG', raising=False)

    def run(*words):
        monkeypatch.setattr(sys, 'argv', [TOOL.name, *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name='__main__')
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def world(tmp_path):
    for name in ('n01', 'n02'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        for index in range(3):
            Image.new('RGB', (4, 4)).save(tmp_path / 'train' / name / f'{name}_{index}.JPEG')
    return tmp_path


def listed(world):
    dataset = CustomDataset(data_root=str(world), data_prefix='train', ann_file='meta/few.txt')
    return {
        (info['img_path'].split('/')[-1], info['gt_label']) for info in map(dataset.get_data_info, range(len(dataset)))
    }


def test_a_list_of_file_names_becomes_one_with_labels(call, world):
    (world / 'simclr.txt').write_text('n02_2.JPEG\nn02_0.JPEG\n')  # n01 has none: labels do not shift
    code, out, _ = call('subset', world, 'meta/few.txt', '--list', world / 'simclr.txt')
    assert (code, out) == (0, f'{world}/meta/few.txt: 2 images\n')
    assert listed(world) == {('n02_0.JPEG', 1), ('n02_2.JPEG', 1)}


def test_the_first_of_each_class(call, world):
    assert call('subset', world, 'meta/few.txt', '--per-class', 2)[0] == 0
    expected = {(f'{name}_{index}.JPEG', label) for label, name in enumerate(('n01', 'n02')) for index in (0, 1)}
    assert listed(world) == expected


def test_mistakes_are_one_line(call, world):
    (world / 'simclr.txt').write_text('n07_2.JPEG\n')
    code, _, error = call('subset', world, 'meta/few.txt', '--list', world / 'simclr.txt')
    assert code == 2 and error.count('\n') == 1 and 'n07_2.JPEG' in error
    code, _, error = call('stl10', world, world / 'out')
    assert code == 2 and error.count('\n') == 1 and 'train_X.bin' in error
