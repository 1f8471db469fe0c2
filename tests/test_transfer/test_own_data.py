"""The examples of docs/transfer.md for data of one's own, as they stand there."""

import json
import re
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from mimselfsup.datasets.sample_errors import SampleError
from mimselfsup.engine.launch import is_user_error, load_config, prepare_config
from mimselfsup.transfer import detection

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


@pytest.fixture
def coco(tmp_path):
    """Changes and writes the annotations of both splits: two pictures, an object on each."""

    def write(change=lambda content: None):
        for split in ('train', 'val'):
            images = [dict(id=n, file_name=f'{split} {n}.jpg', height=SIDE, width=SIDE) for n in (4, 9)]
            whole = dict(bbox=[8, 8, 40, 40], area=1600, iscrowd=0, segmentation=[[8, 8, 48, 8, 48, 48, 8, 48]])
            objects = [dict(id=image['id'] + 1, image_id=image['id'], category_id=7, **whole) for image in images]
            categories = [dict(id=place, name=name) for place, name in zip((3, 5, 7), NAMES, strict=True)]
            content = dict(images=images, annotations=objects, categories=categories)
            for image in images:
                picture(tmp_path / 'data' / 'mine' / 'images' / image['file_name'])
            change(content)
            (tmp_path / 'data' / 'mine' / f'{split}.json').write_text(json.dumps(content))

    return write


def test_annotations_of_coco(examples, prepared, coco):
    coco()
    cfg, sets = prepared(examples[0])
    assert cfg.model.roi_head.bbox_head.num_classes == cfg.model.roi_head.mask_head.num_classes == 3
    for name, found in sets.items():
        sample = found[0]
        assert list(found.metainfo['classes']) == NAMES and sample['inputs'].shape[0] == 3
        if name != 'train':  # there it may be cut off
            assert sample['data_samples'].gt_instances.labels.tolist() == [2]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda c: c['annotations'][1].update(category_id=99), 'annotation 10 has category_id=99, .* 1 of 2 are such'),
        (
            lambda c: c['annotations'][0].update(image_id=1),
            'annotation 5 has image_id=1, which is not among its images',
        ),
        (lambda c: c['images'][1].pop('width'), 'image 9 has no width; 1 are without'),
        (lambda c: c.update(images=[]), '"images" is empty'),
    ],
)
def test_annotations_that_mmdet_would_pass_over(examples, prepared, coco, change, message):
    coco(lambda content: change(content) if 'train' in content['images'][0]['file_name'] else None)
    with pytest.raises(ValueError, match=rf'data/mine/train\.json: {message}'):
        prepared(examples[0])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda c: c['annotations'][1].update(bbox=[30, 30, 60, 60]), '1 of 2 boxes reach beyond their image'),
        (lambda c: c.update(annotations=[]), 'has no annotations: scores will be -1'),
        (lambda c: None, None),
    ],
)
def test_doubtful_annotations_are_a_warning(examples, prepared, coco, monkeypatch, change, message):
    said = []
    monkeypatch.setattr(detection, 'print_log', lambda text, *_: said.append(text))
    coco(lambda content: change(content) if 'val' in content['images'][0]['file_name'] else None)
    prepared(examples[0])
    assert (len(said) == 2 and all(message in each for each in said)) if message else not said  # val and test


def test_pictures_that_are_missing_or_broken(examples, prepared, coco, tmp_path):
    coco()
    path = tmp_path / 'data' / 'mine' / 'images' / 'val 9.jpg'
    path.write_bytes(b'no picture')
    _, sets = prepared(examples[0])
    sets['val'][0]
    with pytest.raises(SampleError, match=r'images/val 9\.jpg: no sample can be made: .*failed to load'):
        sets['val'][1]
    # One line remains of what a worker of a loader makes of it, and the tools print no other.
    loader = DataLoader(sets['val'], num_workers=1, collate_fn=list, batch_size=1)
    with pytest.raises(SampleError) as error:
        list(loader)
    assert str(error.value).startswith('data/mine/images/val 9.jpg: no sample') and '\n' not in str(error.value)
    assert is_user_error(error.value, before_training=False)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r'val 9\.jpg does not exist; it is one of 2 files that .*val\.json'):
        prepared(examples[0])


def write_label_maps(root, first=0, change=lambda labels: labels):
    labels = np.full((SIDE, SIDE), 255, np.uint8)
    labels[8:], labels[40:] = first, first + 2
    for split in ('training', 'validation'):
        for name, drawn in (('a', labels), ('b', change(labels))):
            picture(root / 'images' / split / f'{name}.jpg')
            (root / 'annotations' / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn).save(root / 'annotations' / split / f'{name}.png')
    (root / 'classes.txt').write_text('\n'.join(NAMES))


@pytest.mark.parametrize(('example', 'first'), [(1, 1), (2, 0)])
def test_label_maps(examples, prepared, tmp_path, example, first):
    root = tmp_path / 'data' / 'mine'
    write_label_maps(root, first)
    cfg, sets = prepared(examples[example])
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 3
    for found in sets.values():
        values = found[0]['data_samples'].gt_sem_seg.data.unique().tolist()
        assert list(found.metainfo['classes']) == NAMES and {*values} <= {0, 2, 255}
    assert sets['val'][0]['data_samples'].gt_sem_seg.data[0, ::16, 0].tolist() == [255, 0, 0, 2]
    (root / 'annotations' / 'validation' / 'b.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'validation/b\.png does not exist; it is one of 2 files'):
        prepared(examples[example])
    for path in (root / 'images' / 'validation').iterdir():
        path.rename(path.with_suffix('.jpeg'))
    with pytest.raises(
        FileNotFoundError, match=r'images/validation/\*\.jpg .files there end in \.jpeg: img_suffix says'
    ):
        prepared(examples[example])
    shutil.rmtree(root / 'annotations')
    with pytest.raises(FileNotFoundError, match=r'lacks annotations/training/(.|\n)*classes\.txt +a name a line'):
        prepared(examples[example])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda labels: labels + (labels == 2), r'b\.png has pixels of value 3; label maps of 3 classes have 0 to 2'),
        (lambda labels: labels[:50], r'b\.png has \(50, 64\) pixels \(height, width\), its picture \(64, 64\)'),
        (lambda labels: np.stack([labels] * 3, -1), r'b\.png: 3 channels, label maps have one'),
    ],
)
def test_label_maps_after_the_first_are_looked_into(examples, prepared, tmp_path, change, message):
    write_label_maps(tmp_path / 'data' / 'mine', change=lambda labels: change(labels).astype(np.uint8))
    _, sets = prepared(examples[2])
    for found in sets.values():
        found[0]
        with pytest.raises(SampleError, match=message):
            found[1]


def test_a_value_too_large_is_named_as_it_stands_in_the_file(examples, prepared, tmp_path):
    """mmseg has moved it by one when it is seen, where 0 is void."""
    write_label_maps(tmp_path / 'data' / 'mine', 1, lambda labels: labels + (labels == 3).astype(np.uint8))
    _, sets = prepared(examples[1])
    sets['val'][0]
    with pytest.raises(
        SampleError, match=r'b\.png has pixels of value 4; .* of 3 classes have 1 to 3, and 255 or 0 for'
    ):
        sets['val'][1]


@pytest.mark.parametrize(
    'name', ['mask-rcnn_vitdet-toy-p6_1xb4-lsj-1k_toy', 'cascade-mask-rcnn_vit-toy-p8_1xb4-3e_toy']
)
def test_the_toys_are_a_base_too(examples, prepared, coco, name):
    """MMEngine stamps types of a base by '::' as ours; those of these configs are mmdet's."""
    coco()
    base = re.search(r'detection/(.*)\.py', examples[0]).group(1)
    _, sets = prepared(examples[0].replace(base, name))
    assert sets['val'][0]['data_samples'].gt_instances.labels.tolist() == [2]
