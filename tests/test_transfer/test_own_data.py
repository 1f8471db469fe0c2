"""The examples of docs/transfer.md for data of one's own, as they stand there."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from mimselfsup.engine.launch import load_config, prepare_config

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'transfer.md'
NAMES = ['nut', 'bolt', 'washer']
SIDE = 64


@pytest.fixture
def examples():
    section = PAGE.read_text().partition('### Your own data')[2].partition('\n## ')[0]
    return [block.partition('```')[0] for block in section.split('```python\n')[1:]]


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Reads an example in a folder of its own, whose data lie in data/mine."""
    monkeypatch.chdir(tmp_path)

    def prepare(text):
        Path('mine.py').write_text(text)
        cfg = prepare_config(load_config('mine.py'), Namespace(config='mine.py', work_dir='run'))
        init_default_scope(cfg.default_scope)
        return cfg, {name: DATASETS.build(cfg[f'{name}_dataloader'].dataset) for name in ('train', 'val', 'test')}

    return prepare


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)


def test_annotations_of_coco(examples, prepared, tmp_path):
    root = tmp_path / 'data' / 'mine'
    box = [8, 8, 40, 40]
    polygon = [8, 8, 48, 8, 48, 48, 8, 48]
    for split in ('train', 'val'):
        picture(root / 'images' / f'{split}.jpg')
        images = [dict(id=1, file_name=f'{split}.jpg', height=SIDE, width=SIDE)]
        objects = [
            dict(id=1, image_id=1, category_id=7, bbox=box, area=1600, iscrowd=0, segmentation=[polygon]),
        ]
        categories = [dict(id=place, name=name) for place, name in zip((3, 5, 7), NAMES, strict=True)]
        (root / f'{split}.json').write_text(json.dumps(dict(images=images, annotations=objects, categories=categories)))
    cfg, sets = prepared(examples[0])
    assert cfg.model.roi_head.bbox_head.num_classes == cfg.model.roi_head.mask_head.num_classes == 3
    for name, found in sets.items():
        sample = found[0]
        assert list(found.metainfo['classes']) == NAMES and sample['inputs'].shape[0] == 3
        if name != 'train':  # there it may be cut off
            assert sample['data_samples'].gt_instances.labels.tolist() == [2]


@pytest.mark.parametrize(('example', 'first'), [(1, 1), (2, 0)])
def test_label_maps(examples, prepared, tmp_path, example, first):
    root = tmp_path / 'data' / 'mine'
    labels = np.full((SIDE, SIDE), 255, np.uint8)
    labels[8:], labels[40:] = first, first + 2
    for split in ('training', 'validation'):
        picture(root / 'images' / split / 'a.jpg')
        (root / 'annotations' / split).mkdir(parents=True)
        Image.fromarray(labels).save(root / 'annotations' / split / 'a.png')
    (root / 'classes.txt').write_text('\n'.join(NAMES))
    cfg, sets = prepared(examples[example])
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 3
    for found in sets.values():
        values = found[0]['data_samples'].gt_sem_seg.data.unique().tolist()
        assert list(found.metainfo['classes']) == NAMES and {*values} <= {0, 2, 255}
    assert sets['val'][0]['data_samples'].gt_sem_seg.data[0, ::16, 0].tolist() == [255, 0, 0, 2]
    shutil.rmtree(root / 'annotations')
    with pytest.raises(FileNotFoundError, match='lacks annotations/training/'):
        prepared(examples[example])
