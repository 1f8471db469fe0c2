"""The layout of revisited Oxford and Paris."""

import pickle

import numpy as np
import pytest
from PIL import Image

from mimselfsup.datasets.revisited import find_retrieval_sets


def write_set(root, name='rsmall', **changes):
    folder = root / name
    (folder / 'jpg').mkdir(parents=True)
    for stem in ('a', 'b', 'c', 'q'):
        Image.new('RGB', (8, 6)).save(folder / 'jpg' / f'{stem}.jpg')
    truth = dict(bbx=[1.5, 2, 7, 6], easy=np.array([0]), hard=[2], junk=np.array([]))
    content = dict(imlist=['a', 'b', 'c'], qimlist=['q'], gnd=[truth | changes.pop('truth', {})]) | changes
    (folder / f'gnd_{name}.pkl').write_bytes(pickle.dumps(content, 2))
    return folder


def test_what_the_files_say(tmp_path):
    folder = write_set(tmp_path)
    (found,) = find_retrieval_sets(tmp_path)
    assert found.name == 'rsmall'
    assert found.images == [folder / 'jpg' / f'{stem}.jpg' for stem in 'abc'] and found.queries == [
        folder / 'jpg' / 'q.jpg'
    ]
    assert found.boxes == [(1.5, 2.0, 7.0, 6.0)]
    for places, expected in ((found.easy, [0]), (found.hard, [2]), (found.junk, [])):
        assert [each.tolist() for each in places] == [expected] and places[0].dtype == np.int64


def test_several_sets_or_the_folder_of_one(tmp_path):
    folder = write_set(tmp_path, 'rsecond')
    write_set(tmp_path, 'rfirst')
    assert [each.name for each in find_retrieval_sets(tmp_path)] == ['rfirst', 'rsecond']
    assert [each.name for each in find_retrieval_sets(tmp_path, ['rsecond'])] == ['rsecond']
    assert [each.name for each in find_retrieval_sets(folder)] == ['rsecond']
    with pytest.raises(ValueError, match="has no set 'roxford5k'; there are rfirst, rsecond"):
        find_retrieval_sets(tmp_path, ['roxford5k'])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(imlist=['a', 'b', 'd', 'e']), r'jpg: 2 pictures of the ground truth are missing, such as d\.jpg'),
        (dict(truth=dict(hard=[3])), 'query 0 names images 0 to 3, there are 0 to 2'),
        (dict(truth=dict(hard=[-1])), 'query 0 names images -1 to 0'),
        (dict(truth=dict(hard=[1.5])), 'integers, not float64'),
        (dict(truth=dict(bbx=[1, 2])), r'four numbers in each bbx'),
        (dict(qimlist=['q', 'a']), '3 images, 2 queries and 1 entries of gnd'),
        (dict(gnd=3), r'gnd_rsmall\.pkl: not the ground truth of a revisited set \(TypeError'),
    ],
)
def test_wrong_ground_truth(tmp_path, changes, message):
    write_set(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        find_retrieval_sets(tmp_path)


def test_wrong_roots_show_the_tree(tmp_path):
    for root, message in ((tmp_path / 'no', 'no such folder'), (tmp_path, 'holds no ground truth')):
        with pytest.raises(ValueError, match=f'{message}.*<set>/gnd_<set>.pkl, such as roxford5k/jpg/'):
            find_retrieval_sets(root)
    folder = write_set(tmp_path)
    (folder / 'jpg').rename(folder / 'images')
    with pytest.raises(ValueError, match=r'rsmall/jpg: no such folder; expected <set>/jpg'):
        find_retrieval_sets(tmp_path)
