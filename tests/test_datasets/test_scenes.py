"""The toy world: what it writes, that it is reproducible, and that its class cannot be read off raw pixels."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mimselfsup.datasets.scenes import (
    SHAPES,
    TEXTURES,
    CutoutObjects,
    DrawnBackgrounds,
    DrawnObjects,
    PhotoBackgrounds,
    compose_scene,
    write_scenes,
)
from mimselfsup.datasets.scenes.shapes import AREA

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'make_scenes.py'


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob('*')) if p.is_file()}


def write(out, **arguments):
    arguments = dict(num_train=20, num_val=10, size=48, workers=1, quiet=True) | arguments
    return write_scenes(out, **arguments)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """40 + 20 scenes with one to three objects."""
    out = tmp_path_factory.mktemp('scenes') / 'world'
    assert write(out, num_train=40, num_val=20, size=64, num_objects=(1, 3))
    return out


def ellipse_cutout(path, colour, side=60):
    rgba = np.full((side, side, 4), (255, 255, 255, 0), np.uint8)
    cv2.ellipse(rgba, (side // 2, side // 2), (side // 3, side // 4), 0, 0, 360, (*colour, 255), -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgba).save(path)


@pytest.fixture
def cutouts(tmp_path):
    """Class 'deep' has 10 pictures in a nested folder, 'few' has 3; red is 10 * the number of the picture."""
    root = tmp_path / 'cutouts'
    for i in range(10):
        ellipse_cutout(root / 'deep' / 'er' / f'{i}.png', (10 * i, 200, 0))
    for i in range(3):
        ellipse_cutout(root / 'few' / f'{i}.png', (10 * i, 0, 200))
    return root


# What is written


def test_same_bytes_for_any_number_of_workers(tmp_path):
    for name, workers in (('one', 1), ('three', 3)):
        write(tmp_path / name, num_objects=(1, 3), workers=workers)
    assert contents(tmp_path / 'one') == contents(tmp_path / 'three')


def test_other_seed_gives_other_scenes_and_splits_differ(tmp_path):
    write(tmp_path / 'a', seed=0)
    write(tmp_path / 'b', seed=1)
    pictures = [data for name in 'ab' for path, data in contents(tmp_path / name).items() if path.endswith('.jpg')]
    assert len(set(pictures)) == len(pictures) == 60


def test_scene_does_not_depend_on_how_many_are_written(tmp_path):
    write(tmp_path / 'more')
    write(tmp_path / 'less', num_train=10)
    less = {p: d for p, d in contents(tmp_path / 'less').items() if p.endswith(('.jpg', '.png'))}
    more = contents(tmp_path / 'more')
    assert len(less) == 40
    assert all(more[path] == data for path, data in less.items())


def test_classes_are_balanced_and_named_in_sorted_order(world):
    classes = (world / 'classes.txt').read_text().split()
    assert classes == sorted(classes) == sorted(p.name for p in (world / 'train').iterdir())
    for split, each in (('train', 4), ('val', 2)):
        assert [len(list((world / split / name).iterdir())) for name in classes] == [each] * 10


@pytest.mark.parametrize('split', ['train', 'val'])
def test_coco_masks_are_the_regions_of_the_label_maps(world, split):
    coco = COCO(world / 'annotations' / f'instances_{split}.json')
    classes = (world / 'classes.txt').read_text().split()
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == classes
    counts = set()
    for image in coco.loadImgs(coco.getImgIds()):
        picture = cv2.imread(str(world / image['file_name']))
        assert picture.shape == (image['height'], image['width'], 3) == (64, 64, 3)
        name = Path(image['file_name'])
        label_map = cv2.imread(str(world / 'masks' / name.with_suffix('.png')), cv2.IMREAD_UNCHANGED)
        assert label_map.dtype == np.uint8 and label_map.shape == (64, 64)

        painted, covered = np.zeros_like(label_map), np.zeros(label_map.shape, int)
        annotations = coco.loadAnns(coco.getAnnIds(image['id']))
        for item in annotations:
            mask = coco.annToMask(item).astype(bool)
            covered += mask
            painted[mask] = item['category_id']
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
            assert item['bbox'] == box and item['area'] == mask.sum() and item['iscrowd'] == 0
        assert covered.max() == 1, 'masks overlap'
        np.testing.assert_array_equal(painted, label_map)

        areas = [item['area'] for item in annotations]
        largest = annotations[int(np.argmax(areas))]
        assert classes[largest['category_id'] - 1] == name.parent.name
        assert all(2 * area <= max(areas) for area in areas if area != max(areas))
        counts.add(len(annotations))
    assert counts == {1, 2, 3}


def test_mask_covers_the_pasted_object_and_nothing_else():
    class Painted(DrawnObjects):
        def draw(self, split, label, side, rng):
            rgba = super().draw(split, label, side, rng)
            rgba[..., :3] = 255
            return rgba

    class Black:
        def draw(self, split, size, rng):
            return np.zeros((size, size, 3), np.uint8)

    for index in range(10):
        scene = compose_scene(Painted(), Black(), 'train', index, 64)
        np.testing.assert_array_equal(scene.masks[0], scene.image[..., 0] >= 128)


def test_every_scene_draws_its_own_random_numbers():
    drawn = []

    class Recording(DrawnBackgrounds):
        def draw(self, split, size, rng):
            drawn.append(rng.random())
            return super().draw(split, size, rng)

    for seed in (0, 1):
        for split in ('train', 'val'):
            for index in range(10):
                compose_scene(DrawnObjects(), Recording(), split, index, 32, seed=seed)
    assert len(set(drawn)) == 40


def test_main_object_is_largest_even_if_it_is_thin():
    class Bars:
        """Class 0 is a thin bar, class 1 a full square."""

        def __init__(self):
            self.classes = ['bar', 'square']

        def draw(self, split, label, side, rng):
            height = max(side // 8, 1) if label == 0 else side
            return np.full((height, side, 4), 255, np.uint8)

    compared = 0
    for index in range(0, 40, 2):
        scene = compose_scene(Bars(), DrawnBackgrounds(), 'train', index, 64, (3, 3))
        main, *others = (mask.sum() for mask in scene.masks)
        assert scene.labels[0] == 0 and all(2 * area <= main for area in others)
        compared += len(others)
    assert compared > 10


def test_layouts_and_format(tmp_path):
    write(tmp_path / 'w', layouts=['coco'], image_format='png', num_val=0)
    assert {p.name for p in (tmp_path / 'w').iterdir()} == {'annotations', 'classes.txt', 'scenes.json', 'train'}
    images = json.loads((tmp_path / 'w' / 'annotations' / 'instances_train.json').read_text())['images']
    assert all(image['file_name'].endswith('.png') for image in images)
    assert [p.name for p in (tmp_path / 'w' / 'annotations').iterdir()] == ['instances_train.json']


# The drawn world


def test_shapes_have_one_area_and_textures_two_colours():
    side, rng = 60, np.random.default_rng(0)
    objects = DrawnObjects(10)
    for label, name in enumerate(objects.classes):
        rgba = objects.draw('train', label, side, rng)
        area = (rgba[..., 3] >= 128).sum() / (side / 2) ** 2
        assert area == pytest.approx(AREA, rel=0.06), name  # unscaled, they lie between 1.4 and 4
        colours = np.unique(rgba[rgba[..., 3] == 255][:, :3], axis=0)
        luminance = colours @ (0.299, 0.587, 0.114) / 255
        assert np.ptp(luminance) >= 0.39, name


def test_first_ten_classes_share_no_part_and_a_hundred_differ():
    parts = [name.split('_') for name in DrawnObjects(10).classes]
    assert {texture for texture, _ in parts} == set(TEXTURES) and {shape for _, shape in parts} == set(SHAPES)
    assert len(set(DrawnObjects(100).classes)) == 100


def nearest_neighbours(train, train_labels, test, k=20, temperature=0.07):
    similarity = test @ train.T
    nearest = np.argsort(-similarity, axis=1)[:, :k]
    weights = np.exp(np.take_along_axis(similarity, nearest, axis=1) / temperature)
    votes = np.stack([(weights * (train_labels[nearest] == c)).sum(1) for c in range(10)], axis=1)
    return votes.argmax(1)


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_class_is_in_the_texture_but_not_in_the_pixels():
    """10 classes, 1,000 and 500 scenes at 32 px. With 500 scenes, chance (10%) is off by 1.3 points (one
    standard deviation). Directions of local differences, however, tell classes apart: there is something to learn.
    """
    objects, backgrounds = DrawnObjects(), DrawnBackgrounds()

    def load(split, count):
        images = [compose_scene(objects, backgrounds, split, i, 32).image for i in range(count)]
        return np.stack(images).astype(np.float32), np.arange(count) % 10

    def pixels(images):
        return unit(((images - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)).reshape(len(images), -1))

    def texture(images):
        """Histogram, over the picture, of whether each of four neighbours is darker, alike or brighter."""
        grey = images.mean(-1)
        code = 0
        for power, (dy, dx) in enumerate([(0, 1), (1, 1), (1, 0), (1, -1)]):
            shifted = grey[:, 1 + dy : 31 + dy, 1 + dx : 31 + dx] - grey[:, 1:31, 1:31]
            code = code + 3**power * ((shifted > 8).astype(int) + 2 * (shifted < -8))
        counts = np.stack([np.bincount(c.ravel(), minlength=81) for c in code])
        roots = np.sqrt(counts / counts.sum(1, keepdims=True))
        return unit(roots - roots.mean(0))

    (train, train_labels), (test, labels) = load('train', 1000), load('val', 500)
    accuracy = {
        feature.__name__: (nearest_neighbours(feature(train), train_labels, feature(test)) == labels).mean()
        for feature in (pixels, texture)
    }
    assert accuracy['pixels'] < 0.16
    assert accuracy['texture'] > 0.4


# Photographs


def test_cutouts_are_split_between_train_and_val(cutouts):
    objects = CutoutObjects(cutouts)
    assert objects.classes == ['deep', 'few']
    names = {split: [[p.stem for p in objects.files(split, c)] for c in (0, 1)] for split in ('train', 'val')}
    assert names['val'] == [['4', '9'], ['0', '1', '2']]
    assert names['train'] == [list('01235678'), ['0', '1', '2']]


def test_cutout_keeps_its_colour_to_the_edge(cutouts):
    """Resizing and rotating must not mix in the white of transparent pixels."""
    objects = CutoutObjects(cutouts)
    rgba = objects.draw('val', 0, 30, np.random.default_rng(0)).astype(int)
    solid = rgba[rgba[..., 3] >= 128]
    assert abs(max(rgba.shape[:2]) - 30) <= 3
    assert np.ptp(solid[:, 1]) <= 2 and solid[:, 2].max() <= 2


def test_unusable_cutouts_are_counted(cutouts):
    (cutouts / 'few' / 'x.svg').write_text('<svg/>')
    (cutouts / 'few' / 'broken.png').write_bytes(b'nothing')
    Image.new('RGB', (60, 60)).save(cutouts / 'deep' / 'opaque.jpg')
    (cutouts / 'few' / 'sound.ogg').write_bytes(b'')
    (cutouts / 'texts').mkdir()
    (cutouts / 'texts' / 'readme.txt').write_text('')
    objects = CutoutObjects(cutouts)
    assert objects.skipped == {'vector files': 1, 'broken': 1, 'without transparency': 1}
    assert objects.classes == ['deep', 'few'] and objects.num_files == 13


def test_palette_transparency_is_a_cutout(cutouts):
    picture = Image.new('P', (60, 60), 0)
    picture.putpalette([0, 0, 0, 250, 0, 0])
    picture.paste(1, (10, 10, 50, 50))
    (cutouts / 'palette').mkdir()
    picture.save(cutouts / 'palette' / '0.png', transparency=0)
    objects = CutoutObjects(cutouts)
    rgba = objects.draw('train', objects.classes.index('palette'), 30, np.random.default_rng(0))
    assert rgba[..., 0].max() > 150 and rgba[..., 1].max() <= 2


def test_world_of_photographs(tmp_path, cutouts):
    backgrounds = tmp_path / 'backgrounds' / 'sub'
    backgrounds.mkdir(parents=True)
    for i in range(5):
        Image.new('RGB', (120, 90), (50 * i, 0, 0)).save(backgrounds / f'{i}.png')
    source = PhotoBackgrounds(backgrounds.parent)
    rng = np.random.default_rng(0)
    assert {int(source.draw('val', 32, rng)[0, 0, 0]) for _ in range(20)} == {200}
    assert {int(source.draw('train', 32, rng)[0, 0, 0]) for _ in range(40)} == {0, 50, 100, 150}

    for name, workers in (('one', 1), ('two', 2)):
        write(tmp_path / name, cutouts=cutouts, backgrounds=backgrounds.parent, workers=workers)
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')
    assert (tmp_path / 'one' / 'classes.txt').read_text() == 'deep\nfew\n'
    # A changed set of cut-outs is another world.
    ellipse_cutout(cutouts / 'few' / 'new.png', (0, 0, 0))
    with pytest.raises(FileExistsError, match='objects_digest'):
        write(tmp_path / 'one', cutouts=cutouts, backgrounds=backgrounds.parent)


# What happens to a folder that is not empty


def test_a_complete_world_is_left_alone(tmp_path):
    out = tmp_path / 'w'
    assert write(out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob('*')}
    assert not write(out)
    assert {p: p.stat().st_mtime_ns for p in out.rglob('*')} == before
    with pytest.raises(FileExistsError, match=r'other arguments \(seed: 0 -> 3\).*--force'):
        write(out, seed=3)
    assert write(out, seed=3, force=True)
    write(tmp_path / 'fresh', seed=3)
    assert contents(out) == contents(tmp_path / 'fresh')


def test_a_deleted_picture_is_noticed(tmp_path):
    write(tmp_path / 'w')
    next((tmp_path / 'w' / 'train').rglob('*.jpg')).unlink()
    with pytest.raises(FileExistsError, match=r'train/ now holds 19 pictures of 20.*--force'):
        write(tmp_path / 'w')


def test_an_interrupted_world_is_written_again(tmp_path, monkeypatch):
    from mimselfsup.datasets.scenes import write as module

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(module.LAYOUTS, 'semantic', interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / 'w', seed=5)
    assert not (tmp_path / 'w' / 'scenes.json').exists()
    assert write(tmp_path / 'w')
    write(tmp_path / 'fresh')
    assert contents(tmp_path / 'w') == contents(tmp_path / 'fresh')


def test_files_of_others_are_never_removed(tmp_path):
    out = tmp_path / 'mine'
    out.mkdir()
    (out / 'notes.txt').write_text('keep')
    with pytest.raises(FileExistsError, match=r'was not written by this tool \(notes.txt\)'):
        write(out)
    assert write(out, force=True)
    assert write(out, force=True, seed=2)
    assert (out / 'notes.txt').read_text() == 'keep'

    (tmp_path / 'imagenet' / 'train').mkdir(parents=True)
    with pytest.raises(FileExistsError, match='holds train that this tool did not write'):
        write(tmp_path / 'imagenet', force=True)
    (tmp_path / 'file').write_text('')
    with pytest.raises(FileExistsError, match='is a file, not a folder'):
        write(tmp_path / 'file')


# Arguments


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(size=16), r'size=16, at least 24 pixels'),
        (dict(num_train=-1), r'num_train=-1.*negative'),
        (dict(num_train=0, num_val=0), r'both be 0'),
        (dict(num_val=7), r'num_val=7, but there are 10 classes'),
        (dict(classes=1), r'classes=1, the drawn world has 2 to 100'),
        (dict(classes=101), r'classes=101, the drawn world has 2 to 100'),
        (dict(seed=-1), r'seed=-1, must be 0 or more'),
        (dict(num_objects=(0, 2)), r'objects=0 2, must be MIN MAX with 1 <= MIN <= MAX'),
        (dict(num_objects=(3, 2)), r'objects=3 2, must be MIN MAX'),
        (dict(workers=0), r'workers=0, must be at least 1'),
        (dict(image_format='gif'), r"format='gif', must be one of jpg, png"),
        (dict(layouts=['kitti']), r'layouts=kitti: unknown, there are folder, coco, lvis, .*davis, retrieval'),
        (dict(cutouts='no/such'), r"cutouts='no/such' is not a folder"),
        (dict(backgrounds='no/such'), r"backgrounds='no/such' is not a folder"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / 'w', **arguments)
    assert not (tmp_path / 'w').exists()


def test_bad_folders_of_photographs(tmp_path, cutouts):
    with pytest.raises(ValueError, match=r'classes=3, but .* has 2 of them'):
        CutoutObjects(cutouts, 3)
    with pytest.raises(ValueError, match='has 0 class folders with pictures, at least 2'):
        CutoutObjects(cutouts / 'few')
    (cutouts / 'drawings').mkdir()
    (cutouts / 'drawings' / 'a.svg').write_text('<svg/>')
    with pytest.raises(ValueError, match=r"'drawings' has no readable RGBA picture \(1 vector files\)"):
        CutoutObjects(cutouts)
    with pytest.raises(ValueError, match='holds no readable picture'):
        PhotoBackgrounds(cutouts / 'drawings')


def test_command_line(tmp_path):
    def run(*arguments):
        command = [sys.executable, str(TOOL), str(tmp_path / 'w'), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    small = ['--num-train', '10', '--num-val', '0', '--size', '32', '--workers', '1']
    quiet = run(*small, '--quiet')
    assert quiet.returncode == 0 and 'scenes in' not in quiet.stdout + quiet.stderr
    assert len(list((tmp_path / 'w' / 'train').rglob('*.jpg'))) == 10
    assert 'nothing to do' in run(*small).stdout
    refused = run(*small, '--objects', '2', '1')
    assert refused.returncode == 1
    assert refused.stderr.endswith('make_scenes.py: objects=2 1, must be MIN MAX with 1 <= MIN <= MAX\n')
