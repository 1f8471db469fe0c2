"""ImageFolder: which files it takes, in which order, what stands in for broken ones, and what it refuses."""

import logging
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import default_collate
from mmengine.logging import MMLogger
from PIL import Image
from torch.utils.data import DataLoader

from mimselfsup.datasets import BrokenImage, EpochIndex, EpochSampler, ImageFolder, check_data_root

PIPELINE = [
    dict(type='mimselfsup.SeedSample'),
    dict(type='mimselfsup.LoadImage'),
    dict(type='mmpretrain.RandomFlip', prob=0.5),
    dict(type='mmpretrain.PackInputs'),
]


def image(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (8, 8), (value, value, value)).save(path)


def tree(root: Path, *names: str) -> Path:
    for value, name in enumerate(names):
        image(root / name, value)
    return root


def names(dataset: ImageFolder, root: Path) -> list[str]:
    return [os.path.relpath(dataset.get_data_info(i)['img_path'], root) for i in range(len(dataset))]


@pytest.fixture
def log(caplog):
    """Messages of MMEngine's logger, which does not pass them on to the root."""
    logger = MMLogger.get_instance('image_folder_test')
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_takes_every_image_of_any_depth_in_sorted_order(tmp_path):
    tree(
        tmp_path,
        'b/2.JPG',
        'b/10.jpeg',
        'b/deep/er/x.PNG',
        'a.webp',
        'z.tiff',
        'c/y.bmp',
        '.hidden/h.jpg',
        'c/.h.png',
    )
    (tmp_path / 'notes.txt').write_text('no image')
    (tmp_path / 'c' / 'folder.png').mkdir()
    os.mkfifo(tmp_path / 'pipe.jpg')
    dataset = ImageFolder(tmp_path)
    expected = ['a.webp', 'b/10.jpeg', 'b/2.JPG', 'b/deep/er/x.PNG', 'c/y.bmp', 'z.tiff']
    assert names(dataset, tmp_path) == expected
    assert dataset.get_data_info(-1)['img_path'] == str(tmp_path / 'z.tiff')
    assert dataset.get_data_info(-1)['sample_idx'] == 5
    with pytest.raises(IndexError, match='index 6 of 6'):
        dataset.get_data_info(6)
    assert names(dataset.get_subset([3, 0]), tmp_path) == ['b/deep/er/x.PNG', 'a.webp']
    assert names(ImageFolder(tmp_path, indices=2), tmp_path) == expected[:2]
    assert names(ImageFolder(tmp_path, indices=-2), tmp_path) == expected[-2:]
    assert names(pickle.loads(pickle.dumps(dataset)), tmp_path) == expected


def test_links_are_followed_but_not_in_circles(tmp_path):
    outside = tree(tmp_path / 'outside', 'o.jpg')
    root = tree(tmp_path / 'root', 'a/x.jpg')
    (root / 'a' / 'up').symlink_to(root)
    (root / 'a' / 'self').symlink_to('.')
    (root / 'link').symlink_to(outside)
    (outside / 'back').symlink_to(root / 'link')
    (root / 'gone.jpg').symlink_to('nowhere')
    (root / 'same.jpg').symlink_to(root / 'a' / 'x.jpg')
    # A dangling link is listed, so that it is reported as broken.
    assert names(ImageFolder(root), root) == ['a/x.jpg', 'gone.jpg', 'link/o.jpg', 'same.jpg']


def test_names_of_any_bytes(tmp_path):
    image(tmp_path / 'ok.jpg', 7)
    strange = os.path.join(os.fsencode(tmp_path), b'caf\xe9 \t1.jpg')
    os.rename(os.fsencode(tmp_path / 'ok.jpg'), strange)
    dataset = ImageFolder(tmp_path, pipeline=PIPELINE)
    assert os.fsencode(dataset.get_data_info(0)['img_path']) == strange
    assert dataset[0]['inputs'][0, 0, 0] == 7


def test_text_list(tmp_path):
    other = tree(tmp_path / 'elsewhere', 'far.jpg')
    root = tree(tmp_path / 'root', 'a b.jpg', 'c/d.unusual-extension.png')
    lines = [
        '\ufeff# chosen by hand',
        'a b.jpg',
        '',
        '  c/d.unusual-extension.png  ',
        f'{other}/far.jpg',
        'missing.jpg',
    ]
    (root / 'list.txt').write_bytes('\r\n'.join(lines).encode())
    dataset = ImageFolder(root / 'list.txt', pipeline=PIPELINE, max_broken=0.3)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    expected = [root / 'a b.jpg', root / 'c/d.unusual-extension.png', other / 'far.jpg', root / 'missing.jpg']
    assert paths == [str(path) for path in expected]
    assert dataset[3]['data_samples'].broken == [(str(root / 'missing.jpg'), 'no such file')]
    assert check_data_root(root / 'list.txt', split='train') == str(root / 'list.txt')


def test_labels_are_the_first_folder_level(tmp_path, log):
    root = tree(tmp_path, 'dog/x/1.png', 'dog/x/2.png', 'cat/3.png', 'stray.png')
    (root / 'empty').mkdir()
    dataset = ImageFolder(root, pipeline=PIPELINE, with_label=True)
    assert dataset.metainfo['classes'] == ('cat', 'dog')
    assert names(dataset, root) == ['cat/3.png', 'dog/x/1.png', 'dog/x/2.png']
    assert [int(dataset[i]['data_samples'].gt_label) for i in range(3)] == [0, 1, 1]
    assert dataset.get_cat_ids(2) == [1]
    assert '1 images without a class folder are left out, such as stray.png' in log.text

    fixed = ImageFolder(root, with_label=True, metainfo=dict(classes=['ant', 'dog', 'cat']))
    assert [fixed.get_data_info(i)['gt_label'] for i in range(3)] == [2, 1, 1]
    with pytest.raises(ValueError, match=r"the folder 'cat' is none of the 1 classes that metainfo gives \(dog\)"):
        ImageFolder(root, with_label=True, metainfo=dict(classes=['dog']))

    (root / 'list.txt').write_text(f'dog/x/2.png\n{root}/cat/3.png\n')
    listed = ImageFolder(root / 'list.txt', with_label=True)
    assert [listed.get_data_info(i)['gt_label'] for i in range(2)] == [1, 0]
    assert 'gt_label' not in ImageFolder(root).get_data_info(0)


def test_labels_that_cannot_be(tmp_path):
    flat = tree(tmp_path / 'flat', '1.png', '2.png')
    with pytest.raises(ValueError, match=r'all 2 images lie directly in .*flat \(such as 1\.png\)'):
        ImageFolder(flat, with_label=True)
    splits = tree(tmp_path / 'splits', 'train/a/1.png', 'val/a/2.png')
    with pytest.raises(ValueError, match="set split='train' or split='val'"):
        ImageFolder(splits, with_label=True)
    (splits / 'list.txt').write_text(str(flat / '1.png'))
    with pytest.raises(ValueError, match=r'flat/1\.png does not lie there'):
        ImageFolder(splits / 'list.txt', with_label=True)


def test_labels_if_there_are_any(tmp_path):
    classes = tree(tmp_path / 'classes', 'b/1.png', 'a/x/2.png', 'b/3.png')
    dataset = ImageFolder(classes, pipeline=PIPELINE, with_label='if_any')
    assert dataset.metainfo['classes'] == ('a', 'b')
    assert [int(dataset[i]['data_samples'].gt_label) for i in range(3)] == [0, 1, 1]

    def unlabelled(root, split=None):
        dataset = ImageFolder(root, pipeline=PIPELINE, with_label='if_any', split=split)
        assert 'classes' not in dataset.metainfo and 'gt_label' not in dataset[0]['data_samples']
        return names(dataset, root if root.is_dir() else root.parent)

    flat = tree(tmp_path / 'flat', '1.png', '2.png')
    assert unlabelled(flat) == ['1.png', '2.png']
    # No image is lost for the sake of labels, and one folder, or those of the splits, are no classes.
    mixed = tree(tmp_path / 'mixed', 'a/1.png', 'b/2.png', 'stray.png')
    assert unlabelled(mixed) == ['a/1.png', 'b/2.png', 'stray.png']
    assert unlabelled(tree(tmp_path / 'one', 'a/1.png', 'a/2.png')) == ['a/1.png', 'a/2.png']
    splits = tree(tmp_path / 'splits', 'train/1.png', 'val/2.png')
    assert unlabelled(splits) == ['train/1.png', 'val/2.png']
    assert unlabelled(splits, 'train') == ['train/1.png']
    outside = classes / 'list.txt'
    outside.write_text(f'a/x/2.png\nb/1.png\n{flat}/1.png\n')
    assert unlabelled(outside) == ['a/x/2.png', 'b/1.png', '../flat/1.png']
    with pytest.raises(ValueError, match="with_label='maybe', must be True, False or 'if_any'"):
        ImageFolder(flat, with_label='maybe')


@pytest.mark.parametrize('with_label', [True, False, 'if_any'])
def test_the_first_images_of_each_class(tmp_path, log, with_label):
    root = tree(tmp_path, 'n2/a.png', 'n2/B.png', 'n2/10.png', 'n2/2.png', 'n1/z.png', 'n3/x/2.png', 'n3/x.png')
    image(root / 'stray.png')
    dataset = ImageFolder(root, pipeline=PIPELINE, with_label=with_label, per_class=2)
    expected = ['n1/z.png', 'n2/10.png', 'n2/2.png', 'n3/x/2.png', 'n3/x.png']
    assert names(dataset, root) == expected
    assert 'the first 2 images of each of 3 classes are used, 5 of 7; 1 classes have fewer' in log.text
    assert '1 images without a class folder are left out' in log.text
    labels = [dataset.get_data_info(i).get('gt_label') for i in range(5)]
    assert labels == ([0, 1, 1, 2, 2] if with_label else [None] * 5)
    assert len(ImageFolder(root, with_label=with_label, per_class=100)) == 7
    assert names(ImageFolder(root, with_label=with_label, per_class=1), root) == ['n1/z.png', 'n2/10.png', 'n3/x/2.png']
    listed = ['n2/a.png', 'n1/z.png', 'n2/10.png', './n2/2.png', str(root / 'n3/x.png')]
    (root / 'list.txt').write_text('\n'.join(listed))
    dataset = ImageFolder(root / 'list.txt', with_label=with_label, per_class=2)
    assert names(dataset, root) == ['n1/z.png', 'n2/10.png', 'n2/2.png', 'n3/x.png']


def test_subsets_that_cannot_be(tmp_path):
    flat = tree(tmp_path / 'flat', '1.png', '2.png')
    for per_class in (0, -3):
        with pytest.raises(ValueError, match=f'per_class={per_class}, must be at least 1, or None'):
            ImageFolder(flat, per_class=per_class)
    message = r'per_class=2 needs class folders, but all 2 images lie directly in .*flat .*leave per_class out'
    with pytest.raises(ValueError, match=message):
        ImageFolder(flat, per_class=2)
    splits = tree(tmp_path / 'splits', 'train/a/1.png', 'val/a/2.png')
    with pytest.raises(ValueError, match="per_class=2 would take the folders 'train' and 'val' for classes; set split"):
        ImageFolder(splits, per_class=2)
    assert len(ImageFolder(splits, split='train', per_class=2)) == 1
    (splits / 'list.txt').write_text(str(flat / '1.png'))
    with pytest.raises(ValueError, match=r'per_class=2 takes the class from .* but .*flat/1\.png does not lie there'):
        ImageFolder(splits / 'list.txt', per_class=2)


def test_splits(tmp_path, log):
    root = tree(tmp_path / 'in', 'train/a/1.png', 'val/a/2.png', 'extra.png')
    assert names(ImageFolder(root, split='train'), root) == ['train/a/1.png']
    assert f'{root} has a folder train/, which is used' in log.text
    assert names(ImageFolder(root, split='val'), root) == ['val/a/2.png']
    assert len(ImageFolder(root)) == 3
    flat = tree(tmp_path / 'flat', 'b/1.png')
    assert names(ImageFolder(flat, split='train'), flat) == ['b/1.png']
    with pytest.raises(ValueError, match=r"flat has no folder val/ for split='val'; .*flat holds b/"):
        ImageFolder(flat, split='val')
    assert check_data_root(root, 'val') == str(root / 'val')
    assert check_data_root(flat, 'train') == str(flat)


def refusals(root: Path) -> dict:
    """Each is (path, split, pattern of the message)."""
    tree(root, 'pictures/a.jpg')
    (root / 'empty').mkdir()
    (root / 'texts' / 'sub').mkdir(parents=True)
    for name in ('a.txt', 'b.txt', 'sub/c.npy', '.hidden.jpg', 'Makefile'):
        (root / 'texts' / name).write_text('x')
    (root / 'packed').mkdir()
    (root / 'packed' / 'train.tar').write_text('x')
    (root / 'blank.txt').write_text('\n# nothing\n\n')
    (root / 'labels.csv').write_text('path,label\npictures/a.jpg,3\n')
    (root / 'gone.txt').write_text('nowhere/a.jpg\nnowhere/b.jpg\n')
    os.mkfifo(root / 'pipe')
    return {
        'empty folder': (
            'empty',
            None,
            r'no images in .*empty \(looked for \.jpg .*found 1 folders, other files: none',
        ),
        'no images': ('texts', None, r'found 2 folders, other files: 2 \.txt, 1 without extension, 1 \.npy$'),
        'archive': ('packed', None, r'1 \.tar; archives have to be unpacked'),
        'typo': (
            'pictrues/deep',
            None,
            r'pictrues/deep does not exist; .* holds blank\.txt, empty/, gone\.txt, .*',
        ),
        'nothing': ('', None, r"data_root='': give a folder of images or a text list .*--data DIR"),
        'an image': (
            'pictures/a.jpg',
            None,
            r"a\.jpg is neither a folder nor a text list of images: it begins with b'",
        ),
        'blank list': ('blank.txt', None, r'blank\.txt lists no images'),
        'table': (
            'labels.csv',
            None,
            r"not a usable list .* first 2 entries none is a file, such as '.*path,label'",
        ),
        'list of missing files': ('gone.txt', None, r'first 2 entries none is a file, .*relative to '),
        'pipe': ('pipe', None, r'neither a folder nor a text file'),
        'list with split': ('gone.txt', 'val', r"is a list and has no split 'val'"),
    }


def test_wrong_roots_say_what_is_there(tmp_path):
    for kind, (name, split, message) in refusals(tmp_path).items():
        for look in (check_data_root, ImageFolder):
            with pytest.raises(ValueError) as caught:
                look(tmp_path / name if name else '', split=split)
            assert re.search(message, str(caught.value)), f'{kind}: {caught.value}'


def test_check_stops_at_the_first_image(tmp_path, monkeypatch):
    tree(tmp_path, 'a/1.jpg', *(f'b{i}/1.jpg' for i in range(20)))
    visited = []
    scandir = os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path: visited.append(path) or scandir(path))
    check_data_root(tmp_path)
    assert len(visited) == 2


def test_unreadable_sub_folder_is_named_and_left_out(tmp_path, monkeypatch, log):
    tree(tmp_path, 'a/1.jpg', 'lost/2.jpg')
    scandir = os.scandir

    def deny(path):
        if str(path).endswith('lost'):
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', deny)
    assert names(ImageFolder(tmp_path), tmp_path) == ['a/1.jpg']
    assert f'they cannot be read: {tmp_path}/lost (Permission denied)' in log.text
    with pytest.raises(ValueError, match=r'cannot be read: .*lost \(Permission denied\)'):
        check_data_root(tmp_path / 'lost')


def test_memory_is_one_array_of_relative_paths(tmp_path):
    dataset = ImageFolder(tree(tmp_path / ('long' * 20), 'a/1.jpg', 'a/2.jpg'), with_label=True)
    assert not dataset.data_list
    assert dataset.data_bytes.tobytes() == b'a/1.jpga/2.jpg'
    assert dataset.data_address.tolist() == [7, 14]


# --- broken images ---------------------------------------------------------------------------------------------


def damaged(root: Path, count: int, broken: list[int], folder: str = 'c') -> Path:
    for i in range(count):
        path = root / folder / f'{i:03d}.png'
        image(path, i)
        if i in broken:
            path.write_bytes(b'')
    return root


@pytest.mark.parametrize('test_mode', [False, True])
def test_broken_image_is_replaced_and_reported(tmp_path, test_mode):
    damaged(tmp_path, 20, [3], 'a')
    damaged(tmp_path, 20, [], 'b')
    dataset = ImageFolder(tmp_path, pipeline=PIPELINE, with_label=True, test_mode=test_mode)
    data = dataset[EpochIndex(3, epoch=2, seed=1)]
    sample = data['data_samples']
    assert sample.broken == [(str(tmp_path / 'a/003.png'), 'empty file (0 bytes)')]
    assert 'broken' in sample.metainfo
    # Index, path, label and pixels are all the replacement's.
    index = sample.sample_idx
    assert index != 3 and (index.epoch, index.seed) == (2, 1)
    info = dataset.get_data_info(index)
    assert sample.img_path == info['img_path'] and int(sample.gt_label) == info['gt_label'] == index // 20
    assert (data['inputs'] == index % 20).all()
    assert 'broken' not in dataset[4]['data_samples']


def test_replacement_is_a_function_of_seed_epoch_and_index(tmp_path):
    dataset = ImageFolder(damaged(tmp_path, 100, [3, 4]), pipeline=PIPELINE)

    def chosen(index, epoch, seed):
        return int(dataset[EpochIndex(index, epoch, seed)]['data_samples'].sample_idx)

    keys = [(index, epoch, seed) for index in (3, 4) for epoch in range(4) for seed in range(3)]
    first = [chosen(*key) for key in keys]
    np.random.seed(5)
    assert [chosen(*key) for key in reversed(keys)] == first[::-1]
    assert len(set(first)) > 15  # all three matter, and the choice is spread
    assert dataset[3]['data_samples'].sample_idx == dataset[3]['data_samples'].sample_idx


def test_broken_replacements_are_reported_too(tmp_path):
    dataset = ImageFolder(damaged(tmp_path, 8, [0, 1, 2, 3, 4, 6, 7]), pipeline=PIPELINE)
    for index in (0, 7):
        sample = dataset[index]['data_samples']
        assert sample.sample_idx == 5
        paths = [path for path, _ in sample.broken]
        assert paths[0] == dataset.get_data_info(index)['img_path']
        assert len(set(paths)) == len(paths)


def test_only_broken_images_are_a_clear_error(tmp_path):
    dataset = ImageFolder(damaged(tmp_path, 6, range(6)), pipeline=PIPELINE)
    with pytest.raises(ValueError, match=r'sample 2 and all .* 6 of 6, gave no image.*\n  .*002\.png: empty') as caught:
        dataset[2]
    assert not isinstance(caught.value, BrokenImage)
    limited = ImageFolder(tmp_path, pipeline=PIPELINE, max_tries=3)
    with pytest.raises(ValueError, match='3 of 6, gave no image'):
        limited[2]


def test_errors_of_transforms_are_not_taken_for_broken_images(tmp_path):
    def fail(results):
        raise ValueError('a mistake in the pipeline')

    dataset = ImageFolder(tree(tmp_path, 'a.png'), pipeline=[fail])
    with pytest.raises(ValueError, match=r'^a mistake in the pipeline$'):
        dataset[0]


def test_without_packing_the_report_is_in_the_results(tmp_path):
    dataset = ImageFolder(damaged(tmp_path, 3, [0, 1]), pipeline=[dict(type='mimselfsup.LoadImage')])
    assert dataset[0]['broken'][0] == (str(tmp_path / 'c/000.png'), 'empty file (0 bytes)')
    assert dataset[0]['sample_idx'] == 2


def test_samples_do_not_depend_on_the_number_of_workers(tmp_path):
    dataset = ImageFolder(damaged(tmp_path, 24, [5, 11]), pipeline=PIPELINE)

    def epoch(workers):
        sampler = EpochSampler(dataset, seed=3)
        sampler.set_epoch(1)
        loader = DataLoader(dataset, 4, sampler=sampler, num_workers=workers, collate_fn=default_collate)
        batches = list(loader)
        samples = [sample for batch in batches for sample in batch['data_samples']]
        reports = [sample.get('broken') for sample in samples]
        return [sample.img_path for sample in samples], reports, [sample.flip for sample in samples]

    alone = epoch(0)
    assert alone == epoch(2)
    assert sorted(path for report in alone[1] if report for path, _ in report) == [
        str(tmp_path / 'c/005.png'),
        str(tmp_path / 'c/011.png'),
    ]
    assert len(set(alone[2])) == 2


def test_allowed_number_of_broken_images(tmp_path):
    damaged(tmp_path, 30, [])
    allowed = {0.0: 0, 0.01: 1, 0.1: 3, 0.999: 29, 1.0: 30}
    for share, expected in allowed.items():
        assert ImageFolder(tmp_path, max_broken=share).broken_allowed == expected
    for wrong in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f'max_broken={wrong}'):
            ImageFolder(tmp_path, max_broken=wrong)
    with pytest.raises(ValueError, match='max_tries=0'):
        ImageFolder(tmp_path, max_tries=0)
