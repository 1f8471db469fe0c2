"""Clips: the layout of DAVIS as it is read, and the toy clips that are written in it."""

import cv2
import numpy as np
import pytest
from PIL import Image

from mimselfsup.datasets.davis import read_clips
from mimselfsup.datasets.label_maps import davis_palette, read_label_map, resize_label_map, write_label_map
from mimselfsup.datasets.scenes import SETS, DrawnBackgrounds, DrawnObjects, Source


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    root = tmp_path_factory.mktemp('davis')
    SETS['davis'](root, Source(DrawnObjects(), DrawnBackgrounds(), 48, 3, 'png'))
    return root


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


def test_clips_of_the_list_in_its_order(tmp_path):
    for name in ('b', 'a', 'unlisted'):
        for index in (1, 0, 10):
            for folder, suffix in (('JPEGImages', 'jpg'), ('Annotations', 'png')):
                path = tmp_path / folder / '480p' / name / f'{index:05d}.{suffix}'
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    lists = tmp_path / 'ImageSets' / '2017'
    lists.mkdir(parents=True)
    (lists / 'val.txt').write_text('b\na\n\n')
    clips = read_clips(tmp_path)
    assert [clip.name for clip in clips] == ['b', 'a']
    assert [path.name for path in clips[0].frames] == ['00000.jpg', '00001.jpg', '00010.jpg']
    assert [path.name for path in clips[0].objects] == ['00000.png', '00001.png', '00010.png']
    assert clips[1].objects[0] == tmp_path / 'Annotations' / '480p' / 'a' / '00000.png'
    clips[0].objects[1].unlink()
    with pytest.raises(ValueError, match=r'Annotations/480p/b/00001.png: no such file; .*\(1 of 3 of this video'):
        read_clips(tmp_path)
    (lists / 'val.txt').write_text('c\n')
    with pytest.raises(ValueError, match=r'JPEGImages/480p/c: no frame .* must hold JPEGImages/480p/<video>'):
        read_clips(tmp_path)
    with pytest.raises(ValueError, match=r'ImageSets/2017/test.txt: no such file; .* ImageSets/2017/val.txt'):
        read_clips(tmp_path, 'test')


def test_label_maps_keep_their_numbers(tmp_path):
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_label_map(tmp_path / 'a.png', labels)
    assert np.array_equal(read_label_map(tmp_path / 'a.png'), labels)
    with Image.open(tmp_path / 'a.png') as picture:
        assert picture.mode == 'P'
        colours = np.asarray(picture.convert('RGB')).reshape(256, 3).tolist()
    # Of DAVIS's own palette: background, the first objects, the first one with 191, the last colour, grey.
    expected = {0: [0, 0, 0], 1: [128, 0, 0], 2: [0, 128, 0], 3: [128, 128, 0], 4: [0, 0, 128], 8: [64, 0, 0]}
    expected |= {9: [191, 0, 0], 11: [191, 128, 0], 19: [128, 191, 0], 21: [128, 64, 128], 22: [22, 22, 22]}
    expected |= {255: [255, 255, 255]}
    assert {index: colours[index] for index in expected} == expected
    assert [value for colour in colours for value in colour] == davis_palette()


def test_label_maps_of_other_kinds(tmp_path):
    Image.fromarray(np.array([[0, 3], [7, 255]], np.uint8)).save(tmp_path / 'grey.png')
    assert read_label_map(tmp_path / 'grey.png').tolist() == [[0, 3], [7, 255]]
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / 'colours.png')
    with pytest.raises(ValueError, match=r'colours.png: a picture of mode RGB, label maps have one channel'):
        read_label_map(tmp_path / 'colours.png')
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG')
    with pytest.raises(ValueError, match=r'broken.png: no readable label map \('):
        read_label_map(tmp_path / 'broken.png')


def test_resizing_takes_the_label_at_the_centre():
    assert resize_label_map(np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.uint8), (1, 1)).tolist() == [[5]]
    assert resize_label_map(np.array([[1, 2]], np.uint8), (2, 4)).tolist() == [[1, 1, 2, 2]] * 2


def test_toy_clips_are_read_as_davis(toy):
    clips = read_clips(toy)
    assert len(clips) == 8 and all(len(clip.frames) == 20 for clip in clips)
    counts = set()
    for clip in clips:
        objects = np.stack([read_label_map(path) for path in clip.objects])
        assert objects.shape[1:] == cv2.imread(str(clip.frames[0])).shape[:2] == (48, 85)
        numbers = np.unique(objects).tolist()
        counts.add(len(numbers) - 1)
        assert numbers == list(range(len(numbers))) == np.unique(objects[0]).tolist()  # all are there from the start
        with Image.open(clip.objects[0]) as picture:
            assert picture.getpalette()[: 3 * len(numbers)] == davis_palette()[: 3 * len(numbers)]
    assert counts <= {1, 2, 3} and len(counts) > 1


def test_toy_objects_move_and_their_masks_with_them(toy):
    ways = []
    for clip in read_clips(toy):
        objects = [read_label_map(path) for path in clip.objects]
        places = np.array([np.argwhere(each == objects[0].max()).mean(0) for each in objects])  # the one in front
        steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
        assert steps.max() < 0.06 * 85  # of the width: no jumps
        ways.append(np.linalg.norm(places[-1] - places[0]) / 85)
        # Object and background differ in colour by far more along the contour than across either.
        frame = cv2.imread(str(clip.frames[-1])).astype(float)
        mask = (objects[-1] == objects[-1].max()).astype(np.uint8)
        inner = cv2.erode(mask, np.ones((3, 3))).astype(bool)
        outer = (
            cv2.dilate(mask, np.ones((5, 5))).astype(bool)
            & (objects[-1] == 0)
            & ~cv2.dilate((objects[-1] > 0).astype(np.uint8), np.ones((3, 3))).astype(bool)
        )
        assert np.abs(frame[inner].mean(0) - frame[outer].mean(0)).max() > 15 or frame[inner].std() > 25
        assert frame[outer].std(0).max() < frame[inner].std(0).max()
    assert min(ways) > 0.1 and max(ways) < 0.55


def test_equal_sources_give_equal_clips(toy, tmp_path, monkeypatch):
    monkeypatch.setattr('mimselfsup.datasets.scenes.davis.CLIPS', 2)
    for name, seed in (('same', 3), ('other', 4)):
        (tmp_path / name).mkdir()
        SETS['davis'](tmp_path / name, Source(DrawnObjects(), DrawnBackgrounds(), 48, seed, 'jpg'))
    same, other, expected = (contents(root) for root in (tmp_path / 'same', tmp_path / 'other', toy))
    frames = [name for name in same if 'clip' in name]
    assert len(frames) == 2 * 2 * 20 and set(other) == set(same)
    assert all(same[name] == expected[name] != other[name] for name in frames)
