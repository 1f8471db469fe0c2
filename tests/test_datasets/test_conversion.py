import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import STL10

from mimselfsup.datasets import ImageFolder, read_image
from mimselfsup.datasets.conversion import convert_stl10, convert_tiny_imagenet
from mimselfsup.datasets.transforms import ReverseChannels

CLASSES = ['airplane', 'bird', 'car']


@pytest.fixture
def stl10(tmp_path):
    """STL-10's binaries with 4 and 2 images of noise."""
    folder = tmp_path / 'stl10_binary'
    folder.mkdir()
    rng = np.random.default_rng(0)
    (folder / 'class_names.txt').write_text('\n'.join(CLASSES) + '\n')
    for split, labels in (('train', [3, 1, 1, 2]), ('test', [2, 3])):
        rng.integers(0, 256, (len(labels), 3, 96, 96), dtype=np.uint8).tofile(folder / f'{split}_X.bin')
        np.array(labels, dtype=np.uint8).tofile(folder / f'{split}_y.bin')
    return tmp_path


def test_stl10_has_the_pictures_and_labels_of_torchvisions_reader(stl10, tmp_path, monkeypatch):
    assert convert_stl10(stl10, tmp_path / 'out') == dict(train=4, test=2)
    monkeypatch.setattr(STL10, '_check_integrity', lambda self: True)
    monkeypatch.setattr(STL10, 'folds_list_file', 'class_names.txt')
    for split in ('train', 'test'):
        found = ImageFolder(tmp_path / 'out', split=split, with_label=True, metainfo=dict(classes=CLASSES))
        by_number = {int(info['img_path'][-9:-4]): info for info in map(found.get_data_info, range(len(found)))}
        expected = STL10(str(stl10), split=split)
        assert len(found) == len(expected)
        for index, (picture, label) in enumerate(expected):
            assert by_number[index]['gt_label'] == label
            assert np.array_equal(read_image(by_number[index]['img_path'], 'rgb'), np.asarray(picture))


def test_stl10_errors_leave_nothing_behind(stl10, tmp_path):
    with pytest.raises(ValueError, match=r'has no class_names\.txt, train_X\.bin'):
        convert_stl10(tmp_path / 'out', tmp_path / 'out')
    binaries = stl10 / 'stl10_binary'
    np.array([1, 4], dtype=np.uint8).tofile(binaries / 'test_y.bin')
    with pytest.raises(ValueError, match=r'test_y\.bin has labels outside 1 to 3'):
        convert_stl10(binaries, tmp_path / 'out')
    assert not (tmp_path / 'out' / 'test').exists()
    with pytest.raises(ValueError, match='train exists already'):
        convert_stl10(binaries, tmp_path / 'out')
    np.array([1], dtype=np.uint8).tofile(binaries / 'train_y.bin')
    with pytest.raises(ValueError, match=r'train_X\.bin is not 1 images'):
        convert_stl10(binaries, tmp_path / 'other')


@pytest.fixture
def tiny_imagenet(tmp_path):
    root = tmp_path / 'tiny-imagenet-200'
    for name in ('n01', 'n02'):
        (root / 'train' / name / 'images').mkdir(parents=True)
        Image.new('RGB', (8, 8)).save(root / 'train' / name / 'images' / f'{name}_0.JPEG')
    (root / 'val' / 'images').mkdir(parents=True)
    rows = [('val_0.JPEG', 'n02'), ('val_1.JPEG', 'n01'), ('val_2.JPEG', 'n02')]
    for place, (name, _) in enumerate(rows):
        Image.new('RGB', (8, 8), (80 * place, 0, 0)).save(root / 'val' / 'images' / name)
    (root / 'val' / 'val_annotations.txt').write_text(''.join(f'{a}\t{b}\t0\t0\t7\t7\n' for a, b in rows))
    return root


def test_tiny_imagenet_gets_class_folders_and_stays_as_it_is(tiny_imagenet, tmp_path):
    before = sorted(path.relative_to(tiny_imagenet) for path in tiny_imagenet.rglob('*'))
    assert convert_tiny_imagenet(tiny_imagenet, tmp_path / 'out') == dict(val=3, classes=2)
    assert sorted(path.relative_to(tiny_imagenet) for path in tiny_imagenet.rglob('*')) == before
    train, val = (ImageFolder(tmp_path / 'out', split=split, with_label=True) for split in ('train', 'val'))
    assert train.metainfo['classes'] == val.metainfo['classes'] == ('n01', 'n02')
    labels = {info['img_path'].split('/')[-1]: info['gt_label'] for info in map(val.get_data_info, range(3))}
    assert labels == {'val_0.JPEG': 1, 'val_1.JPEG': 0, 'val_2.JPEG': 1}
    assert abs(int(read_image(tmp_path / 'out/val/n02/val_2.JPEG', 'rgb')[4, 4, 0]) - 160) < 4
    with pytest.raises(ValueError, match='exists already'):
        convert_tiny_imagenet(tiny_imagenet, tmp_path / 'out')


def test_tiny_imagenet_with_a_class_that_train_lacks(tiny_imagenet, tmp_path):
    (tiny_imagenet / 'val' / 'val_annotations.txt').write_text('val_0.JPEG\tn09\t0\n')
    with pytest.raises(ValueError, match='n09'):
        convert_tiny_imagenet(tiny_imagenet, tmp_path / 'out')


def test_channels_are_reversed_and_sizes_noted():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    results = ReverseChannels().transform(dict(img=image))
    assert results['img'].flags.c_contiguous and (results['img'] == image[..., [2, 1, 0]]).all()
    assert results['img_shape'] == results['ori_shape'] == (2, 4)
