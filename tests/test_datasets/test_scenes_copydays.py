"""The toy copies: each distortion is what its folder says."""

import cv2
import numpy as np
import pytest

from mimselfsup.datasets.copydays import read_copydays
from mimselfsup.datasets.scenes import copydays as module
from mimselfsup.datasets.scenes.backgrounds import DrawnBackgrounds
from mimselfsup.datasets.scenes.shapes import DrawnObjects
from mimselfsup.datasets.scenes.source import Source
from tests.test_datasets.test_scenes import contents

SOURCE = Source(DrawnObjects(), DrawnBackgrounds(), 60, 0, 'png')


def write(root):
    """With a third of the originals, and fewer pictures for the whitening."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'ORIGINALS', 20)
        patch.setattr(module, 'LEARNED', 4)
        module.write_copydays(root, SOURCE)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('copydays')
    write(root)
    return root


def read(path):
    return cv2.imread(str(path)).astype(int)


def test_layout(root):
    found = read_copydays(root)
    assert len(found.originals) == 20 and len(found.queries['strong']) == 60
    assert found.source['strong'] == [number for number in range(20) for _ in range(3)]
    assert list(found.queries) == [
        'strong', *(f'jpegqual/{q}' for q in module.QUALITIES), *(f'crops/{c}' for c in module.CUT)
    ]  # fmt: skip
    assert found.source['crops/80'] == list(range(20))
    assert len(list((root / 'distractors').iterdir())) == 70 and len(list((root / 'whitening').iterdir())) == 4
    assert read(found.originals[0]).shape == (45, 60, 3)


def test_same_seed_same_bytes(root, tmp_path):
    write(tmp_path)
    assert contents(tmp_path) == contents(root)


def test_quality_and_crops(root):
    stem = '200300.jpg'
    original = read(root / 'original' / stem)
    half = cv2.resize(original.astype(np.float32), (30, 22), interpolation=cv2.INTER_AREA)
    errors = [np.abs(read(root / 'jpegqual' / str(q) / stem) - half).mean() for q in (3, 20, 75)]
    assert errors[0] > errors[1] > errors[2]
    for percent in module.CUT:
        piece = read(root / 'crops' / str(percent) / stem)
        assert piece.shape[0] * piece.shape[1] / (45 * 60) == pytest.approx(1 - percent / 100, abs=0.03)
        mismatch = [
            cv2.matchTemplate(read(path).astype(np.float32), piece.astype(np.float32), cv2.TM_SQDIFF).min()
            for path in sorted((root / 'original').iterdir())
        ]
        assert np.argmin(mismatch) == 3 and min(mismatch) < 100 * piece.size  # but for two JPEG codes it lies in there


def test_rivals_have_the_background_and_strangers_have_not(root):
    original = read(root / 'original' / '200500.jpg')

    def same(path):
        return (np.abs(read(path) - original).max(-1) < 12).mean()

    rivals = [same(root / 'distractors' / f'rival_005_{number}.jpg') for number in range(2)]
    strangers = [same(root / 'distractors' / f'{number:06d}.jpg') for number in range(10)]
    assert min(rivals) > 0.25 and max(rivals) < 0.95 and np.mean(strangers) < 0.1


@pytest.mark.parametrize('attack', (*module.MOVED, *module.CHANGED), ids=lambda attack: attack.__name__)
def test_attacks_change_the_picture_and_leave_its_source(root, attack):
    picture = cv2.imread(str(root / 'original' / '200700.jpg'))
    before = picture.copy()
    found = attack(picture, SOURCE, np.random.default_rng(0))
    assert np.array_equal(picture, before) and found.dtype == np.uint8
    if attack.__name__ == '_cut':
        assert found.size < 0.75 * picture.size
    else:
        assert found.shape == picture.shape
        assert (found != picture).any(-1).mean() > 0.03
    if attack.__name__ == '_grey':
        assert np.ptp(found.astype(int), axis=2).max() == 0


def test_strong_copies_differ_from_each_other(root):
    pictures = [path.read_bytes() for path in sorted((root / 'strong').iterdir())]
    assert len(set(pictures)) == 60
