"""The background-swap set: what differs between the variations of a picture, and what does not."""

import cv2
import numpy as np
import pytest

from mimselfsup.datasets.scenes import DrawnBackgrounds, DrawnObjects, Source
from mimselfsup.datasets.scenes import background_swap as module
from mimselfsup.evaluation.backgrounds import VARIATIONS

SIZE = 40


@pytest.fixture
def source():
    return Source(DrawnObjects(10), DrawnBackgrounds(), SIZE, seed=3, image_format='png')


@pytest.fixture
def flat_places():
    """Backgrounds of one colour each: (label, number, 200)."""
    return [[np.full((60, 60, 3), (label, number, 200), np.uint8) for number in range(3)] for label in range(9)]


def test_layout_is_that_of_imagenet_9_and_equal_sources_give_equal_bytes(source, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'TRAIN', 2)
    monkeypatch.setattr(module, 'VAL', 1)
    for name in 'ab':
        module.write_backgrounds(tmp_path / name, source)
    files = {str(path.relative_to(tmp_path / 'a')): path for path in (tmp_path / 'a').rglob('*.jpg')}
    assert {path.rsplit('/', 2)[0] for path in files} == {'original/train', *(f'{name}/val' for name in VARIATIONS)}
    classes = [f'{label:02d}_{name}' for label, name in enumerate(source.objects.classes[:9])]
    for folder, count in (('original/train', 2), ('only_bg_t/val', 1)):
        assert sorted(path for path in files if path.startswith(folder)) == [
            f'{folder}/{name}/{number:04d}.jpg' for name in classes for number in range(count)
        ]
    assert all(path.read_bytes() == (tmp_path / 'b' / name).read_bytes() for name, path in files.items())
    assert cv2.imread(str(files[f'no_fg/val/{classes[0]}/0000.jpg'])).shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize('number', range(4))
def test_object_stays_and_backgrounds_are_those_of_the_name(source, flat_places, number):
    label = 5
    found = module._variations(source, flat_places, label, 'val', number)
    assert list(found) == list(VARIATIONS)
    hidden = (found['no_fg'] == 0).all(2)  # backgrounds have 200 of blue
    inside = hidden & cv2.erode(hidden.astype(np.uint8), np.ones((3, 3))).astype(bool)
    outside = ~cv2.dilate(hidden.astype(np.uint8), np.ones((5, 5))).astype(bool)
    assert inside.sum() > 50 and outside.sum() > 500
    for name in ('mixed_same', 'mixed_rand', 'mixed_next', 'only_fg'):
        assert np.array_equal(found[name][inside], found['original'][inside]), name

    def place(name):
        colours = np.unique(found[name][outside], axis=0)
        assert len(colours) == 1 and colours[0, 2] == 200
        return tuple(colours[0, :2])

    assert place('original') == place('no_fg') == (label, number % 3)
    assert place('mixed_same')[0] == label and place('mixed_same')[1] != number % 3
    assert place('mixed_next')[0] == label + 1
    assert (found['only_fg'][outside] == 0).all()


def test_random_backgrounds_are_of_all_classes_and_the_last_class_is_followed_by_the_first(source, flat_places):
    pictures = [module._variations(source, flat_places, 8, 'val', number) for number in range(40)]
    corner = {name: {int(each[name][0, 0, 0]) for each in pictures} for name in ('mixed_rand', 'mixed_next')}
    assert corner['mixed_next'] <= {0} | set(range(9, 256)) and 0 in corner['mixed_next']
    assert len(corner['mixed_rand'] & set(range(9))) == 9


def test_boxes_cover_the_object_and_are_black_or_filled_with_background(source, flat_places):
    found = module._variations(source, flat_places, 2, 'val', 0)
    hidden = (found['no_fg'] == 0).all(2)
    rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
    box = np.zeros((SIZE, SIZE), bool)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    assert (found['only_bg_b'][box] == 0).all()
    for name in ('only_bg_b', 'only_bg_t'):
        assert np.array_equal(found[name][~box], found['original'][~box])
    strange = (found['only_bg_t'] != (2, 0, 200)).any(2)
    assert strange.mean() < 0.05  # the soft edge of the object, tiled


def test_train_and_val_share_places_but_no_picture(source):
    places = [[module._place(source, label, number) for number in range(3)] for label in range(9)]
    pictures = [
        module._variations(source, places, 0, split, number)['original'].tobytes()
        for split in ('train', 'val')
        for number in range(4)
    ]
    assert len(set(pictures)) == 8
    assert len({place.tobytes() for of_class in places for place in of_class}) == 27
