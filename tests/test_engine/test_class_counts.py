"""Data of another number of classes than the config's, with the toy configs of detection and segmentation."""

import json
from pathlib import Path

import pytest

from mimselfsup.engine.class_counts import set_class_counts
from mimselfsup.engine.data_roots import set_data_root
from mimselfsup.engine.launch import load_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'benchmarks'
FOUND = {
    'segmentation/upernet_vit-toy-p6_1xb8-300i_ade20k_toy.py': ['decode_head', 'auxiliary_head'],
    'segmentation/setr-mla_vit-toy-p8_1xb8-300i_cityscapes_toy.py': [
        'decode_head',
        *(f'auxiliary_head.{place}' for place in range(4)),
    ],
    'segmentation/linear_vit-toy-p6_1xb16-10e_voc_toy.py': ['decode_head'],
    'detection/mask-rcnn_vitdet-toy-p6_1xb4-lsj-1k_toy.py': ['roi_head.bbox_head', 'roi_head.mask_head'],
    'detection/mask-rcnn_vitdet-toy-p6_1xb4-lsj-1k_toy-lvis.py': [
        'roi_head.bbox_head',
        'roi_head.bbox_head.loss_cls',
        'roi_head.mask_head',
    ],
    'detection/cascade-mask-rcnn_vit-toy-p8_1xb4-3e_toy.py': [
        *(f'roi_head.bbox_head.{place}' for place in range(3)),
        'roi_head.mask_head',
    ],
}


def write_classes(root: Path, count: int) -> None:
    names = [f'class {number}' for number in range(count)]
    (root / 'classes.txt').write_text('\n'.join(names))
    (root / 'annotations').mkdir(exist_ok=True)
    for name in ('instances_train', 'instances_val', 'lvis_v1_train', 'lvis_v1_val'):
        categories = [
            dict(id=place, name=name, note='"]' * (600_000 if place == 0 else 1)) for place, name in enumerate(names)
        ]
        content = dict(annotations=[dict(caption='{"categories": [')], categories=categories, images=[])
        (root / 'annotations' / f'{name}.json').write_text(json.dumps(content))


def prepared(name: str, root: Path, **options):
    cfg = load_config(CONFIGS / name, options)
    set_data_root(cfg, str(root))
    set_class_counts(cfg)
    return cfg


def lookup(node, key: str):
    for part in key.split('.'):
        node = node[int(part)] if part.isdigit() else node[part]
    return node


@pytest.mark.parametrize('name', FOUND)
def test_the_files_say_how_many_classes_data_and_heads_are_for(name, tmp_path):
    write_classes(tmp_path, 7)
    cfg = prepared(name, tmp_path)
    text = cfg.pretty_text
    old = 11 if 'segmentation' in name else 10
    assert f'num_classes={old}' not in text.split('\nmodel = ')[1].split('\nparam_scheduler')[0]
    for key in FOUND[name]:
        assert lookup(cfg.model, key).num_classes == 7, key
    datasets = cfg.train_dataloader.dataset
    for dataset in [*datasets.get('datasets', [datasets]), cfg.val_dataloader.dataset, cfg.test_dataloader.dataset]:
        assert dataset.get('dataset', dataset).num_classes == 7
    if 'rpn_head' in cfg.model:
        assert cfg.model.rpn_head.get('num_classes', 1) == 1


def test_a_config_of_full_size_takes_data_of_ones_own(tmp_path):
    write_classes(tmp_path, 3)
    name = 'detection/mask-rcnn_vitdet-base-p16_8xb2-amp-lsj-90k_coco.py'
    options = {}
    for loader, split in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        key = f'{loader}_dataloader.dataset'
        options |= {
            f'{key}.type': 'mimselfsup.CocoFileDataset',
            f'{key}.ann_file': f'annotations/instances_{split}.json',
            f'{key}.data_prefix.img': '',
        }
    cfg = prepared(name, tmp_path, **options)
    heads = cfg.model.roi_head
    assert (heads.bbox_head.num_classes, heads.mask_head.num_classes) == (3, 3)
    assert cfg.val_dataloader.dataset.num_classes == 3
    assert 'num_classes' not in cfg.model.rpn_head


def test_a_head_for_another_number_is_named(tmp_path):
    write_classes(tmp_path, 11)
    name = 'segmentation/upernet_vit-toy-p6_1xb8-300i_ade20k_toy.py'
    with pytest.raises(ValueError, match=r'model\.auxiliary_head\.num_classes=30, but train_dataloader.* has 11 class'):
        prepared(name, tmp_path, **{'model.auxiliary_head.num_classes': 30})


def test_heads_are_compared_with_data_sets_whose_classes_are_known(tmp_path):
    name = 'segmentation/upernet_vit-base-p16_8xb2-160k_ade20k-640x640.py'
    prepared(name, tmp_path)
    with pytest.raises(ValueError, match=r'model\.decode_head\.num_classes=151, but .*\(ADE20KDataset\) has 150 class'):
        prepared(name, tmp_path, **{'model.decode_head.num_classes': 151})
    own = {f'{loader}_dataloader.dataset.metainfo': dict(classes=('a', 'b')) for loader in ('train', 'val', 'test')}
    heads = {'model.decode_head.num_classes': 2, 'model.auxiliary_head.num_classes': 2}
    prepared(name, tmp_path, **own, **heads)
    with pytest.raises(ValueError, match='has 2 classes'):
        prepared(name, tmp_path, **own)


def test_files_that_differ_from_one_another_are_refused(tmp_path):
    write_classes(tmp_path, 4)
    val = tmp_path / 'annotations' / 'instances_val.json'
    content = json.loads(val.read_text())
    name = 'detection/mask-rcnn_vitdet-toy-p6_1xb4-lsj-1k_toy.py'
    val.write_text(json.dumps(dict(categories=content['categories'][::-1])))  # every box would be another class
    with pytest.raises(ValueError, match=r'instances_val\.json and .*instances_train\.json list .*: their order; the'):
        prepared(name, tmp_path)
    val.write_text(json.dumps(dict(categories=content['categories'][:3])))
    with pytest.raises(ValueError, match='list 3 classes and 4, not the same: class 3; the order'):
        prepared(name, tmp_path)
    val.write_text('{}')
    with pytest.raises(ValueError, match=r'instances_val\.json: no "categories"'):
        prepared(name, tmp_path)


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_every_shipped_config_agrees_with_its_data(task, tmp_path):
    """By the numbers in the configs alone: there are no files."""
    paths = sorted((CONFIGS / task).glob('*.py'))
    assert len(paths) > 8
    for path in paths:
        prepared(f'{task}/{path.name}', tmp_path)
