"""Pictures and the masks of their objects, in both layouts."""

import numpy as np
import pytest
import torch
from PIL import Image

from mimselfsup.datasets.label_maps import write_label_map
from mimselfsup.datasets.object_masks import ImagesWithObjects, collate_objects

CLASSES = np.zeros((20, 30), np.uint8)
CLASSES[:10, :10], CLASSES[10:, 20:] = 7, 7
CLASSES[:10, 20:], CLASSES[10:, :15] = 2, 255
INSTANCES = CLASSES.copy()
INSTANCES[10:, 20:] = 1


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / 'VOC2012'
    for folder in ('JPEGImages', 'SegmentationClass', 'SegmentationObject', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True)
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[..., 0] = 200  # red
    for name, classes, instances in (
        ('2007_000033', CLASSES, INSTANCES),
        ('2007_000042', np.where(CLASSES == 255, 255, 0).astype(np.uint8), np.zeros_like(CLASSES)),
    ):
        Image.fromarray(pixels).save(root / 'JPEGImages' / f'{name}.jpg', quality=95)
        write_label_map(root / 'SegmentationClass' / f'{name}.png', classes)
        write_label_map(root / 'SegmentationObject' / f'{name}.png', instances)
    (root / 'ImageSets' / 'Segmentation' / 'val.txt').write_text('2007_000033\n2007_000042\n')
    return root


def test_voc_by_class_by_instance_and_as_a_whole(voc):
    by_class, no_object = ImagesWithObjects(voc, 'val', (20, 30))
    expected = torch.from_numpy(np.stack([CLASSES == 2, CLASSES == 7]))
    assert torch.equal(by_class['objects'], expected)
    assert no_object['objects'].shape == (0, 20, 30)  # void is no object
    instances = ImagesWithObjects(voc, 'val', (20, 30), 'instance')[0]['objects']
    assert torch.equal(instances, torch.from_numpy(np.stack([INSTANCES == 1, INSTANCES == 2, INSTANCES == 7])))
    (foreground,) = ImagesWithObjects(voc, 'val', (20, 30), 'foreground')[0]['objects']
    assert torch.equal(foreground, expected.any(0))


def test_pictures_and_masks_are_squashed_alike(voc):
    item = ImagesWithObjects(voc, 'val', (8, 8))[0]
    assert item['inputs'].shape == (3, 8, 8) and item['inputs'].dtype == torch.uint8
    assert (item['inputs'][2] > 190).all() and (item['inputs'][:2] < 10).all()  # BGR
    mask = item['objects'][0]  # the upper right third
    assert mask.nonzero().amin(0).tolist() == [0, 5] and mask.sum() == 4 * 3


def test_batches_of_pictures_with_different_numbers_of_objects(voc):
    batch = collate_objects(list(ImagesWithObjects(voc, 'val', (8, 8))))
    assert batch['inputs'].shape == (2, 3, 8, 8) and [len(each) for each in batch['objects']] == [2, 0]


def test_folders_with_label_maps_behind_a_link(tmp_path, monkeypatch):
    root = tmp_path / 'world'
    for path in ('val/a', 'val/b', 'masks/val/a', 'masks/val/b'):
        (root / path).mkdir(parents=True)
    for name, label in (('b/0', 2), ('a/1', 1)):
        Image.new('RGB', (8, 8)).save(root / 'val' / f'{name}.jpg')
        labels = np.zeros((8, 8), np.uint8)
        labels[:4, :label] = label
        Image.fromarray(labels).save(root / 'masks' / 'val' / f'{name}.png')
    (tmp_path / 'link').symlink_to(root)
    monkeypatch.chdir(tmp_path)
    objects = [item['objects'] for item in ImagesWithObjects('link', 'val', (8, 8))]
    assert [each.shape for each in objects] == [(1, 8, 8)] * 2
    assert [each.sum().item() for each in objects] == [4, 8]  # in sorted order
    with pytest.raises(ValueError, match=r"masks='instance': .* hold classes; only VOC has instances"):
        ImagesWithObjects(root, 'val', (8, 8), 'instance')
    (root / 'masks' / 'val' / 'a' / '1.png').unlink()
    with pytest.raises(ValueError, match=r'masks/val/a/1.png: no such label map, but there is .*val/a/1.jpg'):
        ImagesWithObjects(root, 'val', (8, 8))[0]


def test_what_is_missing_is_named(voc, tmp_path):
    with pytest.raises(ValueError, match=r"masks='object', must be one of class, instance, foreground"):
        ImagesWithObjects(voc, 'val', (8, 8), 'object')
    with pytest.raises(ValueError, match=r'Segmentation/test.txt: no such file; .* ImageSets/Segmentation/val.txt'):
        ImagesWithObjects(voc, 'test', (8, 8))
    with pytest.raises(ValueError, match=r'masks/val: no such folder; .*tools/make_scenes.py'):
        ImagesWithObjects(tmp_path, 'val', (8, 8))
