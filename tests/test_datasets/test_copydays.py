"""The layout of Copydays."""

import pytest

from mimselfsup.datasets.copydays import read_copydays


@pytest.fixture
def root(tmp_path):
    for name in (
        'original/200000.jpg', 'original/200100.jpg', 'strong/200001.jpg', 'strong/200002.jpg', 'strong/200103.jpg',
        'strong/notes.txt', 'jpegqual/10/200100.jpg', 'jpegqual/3/200000.jpg', 'jpegqual/3/200100.jpg',
        'crops/80/200000.jpg',
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_copies_find_their_original(root):
    found = read_copydays(root)
    assert [path.name for path in found.originals] == ['200000.jpg', '200100.jpg']
    assert found.source == {'strong': [0, 0, 1], 'jpegqual/3': [0, 1], 'jpegqual/10': [1], 'crops/80': [0]}
    assert list(found.queries) == ['strong', 'jpegqual/3', 'jpegqual/10', 'crops/80']  # degrees as numbers
    assert found.queries['jpegqual/10'] == [root / 'jpegqual' / '10' / '200100.jpg']


def test_what_is_missing(root):
    (root / 'strong' / '300000.jpg').touch()
    with pytest.raises(ValueError, match=r"300000\.jpg: no original begins with '3000' \(1 such copies\)"):
        read_copydays(root)
    (root / 'strong').rename(root / 'weak')
    with pytest.raises(ValueError, match=r'strong: no such folder; Copydays is original/\*\.jpg, strong/'):
        read_copydays(root)


def test_originals_must_differ_in_their_prefix(root):
    (root / 'original' / '200099.jpg').touch()
    with pytest.raises(ValueError, match=r'200000\.jpg and 200099\.jpg begin with the same 4 characters'):
        read_copydays(root)
