"""The toy retrieval set: what is easy, hard and junk is what the pictures show."""

import cv2
import numpy as np
import pytest

from mimselfsup.datasets.revisited import find_retrieval_sets
from mimselfsup.datasets.scenes.backgrounds import DrawnBackgrounds
from mimselfsup.datasets.scenes.retrieval import (
    KINDS,
    QUERY,
    Kind,
    build_place,
    take_view,
    write_retrieval,
)
from mimselfsup.datasets.scenes.shapes import DrawnObjects
from mimselfsup.datasets.scenes.source import Source
from tests.test_datasets.test_scenes import contents

SIZE = 48
SOURCE = Source(DrawnObjects(), DrawnBackgrounds(), SIZE, 3, 'png')


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes')
    write_retrieval(root, SOURCE)
    return root, find_retrieval_sets(root)[0]


class White:
    classes = ('square',)

    def draw(self, split, label, side, rng):
        return np.full((side, side, 4), 255, np.uint8)


class Black:
    def draw(self, split, size, rng):
        return np.zeros((size, size, 3), np.uint8)


def lonely_place():
    """A white square of 0.6 sides in the middle of black, nothing beside it."""
    source = Source(White(), Black(), 100, 0, 'jpg')
    place = build_place(source, Black().draw('', 300, None), 0, np.random.default_rng(0))
    canvas = np.zeros_like(place.canvas)
    x, y = place.landmark.astype(int).T
    canvas[y, x] = 255
    return source, place.__class__(canvas, place.landmark)


def test_same_seed_same_bytes(found, tmp_path):
    write_retrieval(tmp_path, SOURCE)
    assert contents(tmp_path) == contents(found[0])


def test_layout(found):
    _, data = found
    assert data.name == 'rtoy' and (len(data.queries), len(data.images)) == (20, 240)
    assert {len(each) for each in data.easy} == {len(each) for each in data.hard} == {5}
    assert {len(each) for each in data.junk} == {3}
    for path, box in zip(data.queries, data.boxes, strict=True):
        height, width = cv2.imread(str(path)).shape[:2]
        assert {height, width} == {48, 36}
        assert 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height
    assert data.easy[0].tolist() == data.easy[1].tolist() and not set(data.easy[0]) & set(data.easy[2])
    assert {path.suffix for path in data.images} == {'.jpg'}  # whatever the format of the world


@pytest.mark.parametrize('kind', [QUERY, *KINDS.values()])
def test_as_much_of_the_landmark_is_in_sight_as_the_kind_says(kind):
    """Its pixels are counted in the picture, and put in relation to the zoom where nothing is tilted."""
    source, place = lonely_place()
    plain = Kind(zoom=((1.0, 1.0),), turn=kind.turn, tilt=0, shift=kind.shift, light=0, seen=kind.seen)
    rng = np.random.default_rng(1)
    for _ in range(20):
        view, box = take_view(place, plain, source, rng)
        white = view[..., 0] >= 128
        share = white.sum() / len(place.landmark)
        assert kind.seen[0] - 0.03 <= share <= kind.seen[1] + 0.03
        if kind.seen[0] < 0.9:
            continue  # slivers at the border are lost in the interpolation
        rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
        np.testing.assert_allclose(box, [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], atol=1.6)


def test_zoom_and_screen():
    source, place = lonely_place()
    rng = np.random.default_rng(2)
    near = Kind(zoom=((0.5, 0.5),), turn=0, tilt=0, shift=0, light=0, seen=(0, 1))
    view, _ = take_view(place, near, source, rng)
    assert (view[..., 0] / 255).sum() == pytest.approx(len(place.landmark) / 4, rel=0.03)

    # What stands in front is counted as out of sight: never more than half of the landmark is behind it.
    class Red(White):
        def draw(self, split, label, side, rng):
            rgba = super().draw(split, label, side, rng)
            rgba[..., 1:3] = 0
            return rgba

    hidden = Kind(zoom=((1.0, 1.0),), turn=0, tilt=0, shift=0.1, light=0, seen=(0.5, 0.8), hidden=1.0)
    for _ in range(10):
        view, _ = take_view(place, hidden, Source(Red(), Black(), 100, 0, 'jpg'), rng)
        assert 0.45 <= (view[..., 1] >= 128).sum() / len(place.landmark) <= 0.85


def test_easy_views_are_alike_and_hard_ones_are_not(found):
    """By mean colours, mostly of the background. Rivals share it with the place, so they are as near as easy ones."""
    _, data = found
    colours = np.stack([cv2.imread(str(path)).mean((0, 1)) for path in data.images])
    asked = np.stack([cv2.imread(str(path)).mean((0, 1)) for path in data.queries])
    distance = np.linalg.norm(asked[:, None] - colours, axis=2)

    def typical(places):
        return np.median([np.median(distance[query][each]) for query, each in enumerate(places)])

    rivals = [range(each[-1] + 1, each[-1] + 7) for each in data.junk]
    assert {data.images[place].stem[:7] for place in rivals[4]} == {'place02'}
    assert typical(data.easy) < 0.6 * typical(data.hard)
    assert typical(rivals) < 0.6 * typical([range(190, 240)] * 20)
