"""ADE20K, Cityscapes and VOC of one world, against its COCO masks, and as mmseg's own classes read them."""

from pathlib import Path

import cv2
import mmseg.datasets  # noqa: F401  registers
import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from pycocotools.coco import COCO

from mimselfsup.datasets.label_maps import read_label_map
from mimselfsup.datasets.scenes import write_scenes

SIZE = 64
COUNTS = dict(train=20, val=10)
LAYOUTS = ('folder', 'coco', 'ade20k', 'cityscapes', 'voc')
READERS = dict(
    ade20k=lambda split: dict(
        type='ADE20KDataset',
        data_prefix={
            key: f'{folder}/{dict(train="training", val="validation")[split]}'
            for key, folder in (('img_path', 'images'), ('seg_map_path', 'annotations'))
        },
    ),
    cityscapes=lambda split: dict(
        type='CityscapesDataset', data_prefix=dict(img_path=f'leftImg8bit/{split}', seg_map_path=f'gtFine/{split}')
    ),
    voc=lambda split: dict(
        type='PascalVOCDataset',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
        ann_file=f'ImageSets/Segmentation/{dict(train="trainaug", val="val")[split]}.txt',
    ),
)


def write(root, **arguments):
    arguments = dict(num_train=20, num_val=10, size=SIZE, num_objects=(1, 3), workers=1, layouts=LAYOUTS) | arguments
    write_scenes(root, quiet=True, **arguments)
    return root


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    return write(tmp_path_factory.mktemp('semantic') / 'world')


def expected_of(world, split):
    """By the number of the scene: labels made of the COCO masks, 0 background, c + 1 class c, 255 the rim."""
    coco = COCO(world / 'annotations' / f'instances_{split}.json')
    expected = {}
    for image in coco.loadImgs(coco.getImgIds()):
        labels = np.zeros((SIZE, SIZE), np.uint8)
        objects = np.zeros((SIZE, SIZE), np.uint8)
        for position, annotation in enumerate(coco.loadAnns(coco.getAnnIds(image['id']))):
            mask = coco.annToMask(annotation).astype(bool)
            labels[mask], objects[mask] = annotation['category_id'], position + 1
        inside = np.pad(labels > 0, 1)
        beside = inside[:-2, 1:-1] | inside[2:, 1:-1] | inside[1:-1, :-2] | inside[1:-1, 2:]
        rim = beside & (labels == 0)
        labels[rim] = objects[rim] = 255
        expected[int(Path(image['file_name']).stem)] = (world / image['file_name'], labels, objects)
    return expected


@pytest.mark.parametrize('split', COUNTS)
@pytest.mark.parametrize('layout', READERS)
def test_mmseg_reads_pictures_and_labels_of_the_coco_masks(world, layout, split):
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(
            dict(
                READERS[layout](split),
                data_root=str(world / layout),
                pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')],
            )
        )
    assert len(dataset) == COUNTS[split]
    expected = expected_of(world, split)
    classes = (world / layout / 'classes.txt').read_text().split()
    assert classes == ['background', *(world / 'classes.txt').read_text().split()]
    for position in range(len(dataset)):
        item = dataset[position]
        name = Path(item['img_path']).stem
        number = int(name.split('_')[-3] if layout == 'cityscapes' else name.split('_')[-1])
        picture, labels, _ = expected.pop(number)
        np.testing.assert_array_equal(item['img'], cv2.imread(str(picture)))
        np.testing.assert_array_equal(item['gt_seg_map'], labels)
        assert item['img_path'].endswith('.png' if layout == 'cityscapes' else '.jpg')
        if layout == 'cityscapes':
            assert name.startswith(f'{picture.parent.name}_') and Path(item['img_path']).parent.name in name
    assert not expected
    assert {0, 255} < set(np.unique(labels))


def test_other_of_ade20k_is_not_background(world):
    values = np.unique([read_label_map(path) for path in (world / 'ade20k' / 'annotations').rglob('*.png')])
    assert list(values) == list(range(12))  # other, background, ten classes


def test_voc_lists_and_objects(world):
    root = world / 'voc'
    lists = {path.stem: path.read_text().split() for path in (root / 'ImageSets' / 'Segmentation').iterdir()}
    assert {name: len(names) for name, names in lists.items()} == dict(train=5, aug=15, trainaug=20, val=10)
    assert lists['trainaug'] == lists['train'] + lists['aug']
    own = {path.stem for path in (root / 'SegmentationClass').iterdir()}
    assert own == {path.stem for path in (root / 'SegmentationObject').iterdir()} == {*lists['train'], *lists['val']}
    expected = expected_of(world, 'val')
    for name in lists['val']:
        _, labels, objects = expected[int(name.split('_')[1])]
        np.testing.assert_array_equal(read_label_map(root / 'SegmentationClass' / f'{name}.png'), labels)
        np.testing.assert_array_equal(read_label_map(root / 'SegmentationObject' / f'{name}.png'), objects)


def test_pictures_take_no_room_where_the_format_is_that_of_the_world(world):
    for layout, shared in (('ade20k', True), ('voc', True), ('cityscapes', False)):
        pictures = [path for path in (world / layout).rglob('*.*g') if path.suffix == '.jpg' or 'leftImg' in path.name]
        assert len(pictures) == 30
        assert {path.stat().st_nlink > 1 for path in pictures} == {shared}
        assert not any(path.is_symlink() for path in pictures)


def test_pictures_are_encoded_anew_where_it_is_not_and_without_links_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError

    monkeypatch.setattr('os.link', refuse)
    world = write(tmp_path, num_train=0, image_format='png')
    picture = next((world / 'val').rglob('*.png'))
    target = next((world / 'cityscapes').rglob(f'*_{picture.stem}_*leftImg8bit.png'))
    assert target.read_bytes() == picture.read_bytes() and target.stat().st_nlink == 1
    jpeg = next((world / 'voc' / 'JPEGImages').glob(f'*_{picture.stem}.jpg'))
    assert jpeg.read_bytes()[:2] == b'\xff\xd8'
    assert np.abs(cv2.imread(str(jpeg)).astype(int) - cv2.imread(str(picture))).mean() < 6


def test_same_bytes_again_and_more_classes_than_fit_are_refused(world, tmp_path):
    again = write(tmp_path / 'again')
    for path in sorted(world.rglob('*')):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(world)).read_bytes(), path
    with pytest.raises(ValueError, match=r'254 classes do not fit .* leave out layouts=ade20k cityscapes voc or'):
        many = [tmp_path / 'many' / f'{number:03d}' for number in range(254)]
        for folder in many:
            folder.mkdir(parents=True)
            cv2.imwrite(
                str(folder / '0.png'), np.pad(np.full((32, 32, 4), 255, np.uint8), ((16, 16), (16, 16), (0, 0)))
            )
        write(tmp_path / 'wide', num_train=254, num_val=0, cutouts=tmp_path / 'many')
