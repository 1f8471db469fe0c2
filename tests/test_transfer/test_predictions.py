"""Predictions beside the truth: the right colours in the right places, and the right checkpoint in each column."""

import copy
import json
import runpy
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image

from mimselfsup.apis import predictions as module
from mimselfsup.apis.predictions import FineTuned, draw_predictions, predict, truth_of
from mimselfsup.engine.launch import load_config
from mimselfsup.registry import MODELS
from mimselfsup.visualization.predictions import draw_objects, draw_regions, predictions_figure

ROOT = Path(__file__).parents[2]


def grey(height, width):
    return np.full((height, width, 3), 100, np.uint8)


def test_regions_have_the_colours_of_their_labels_and_void_is_dark():
    labels = np.zeros((200, 400), np.uint8)
    labels[:, 200:] = 1
    labels[150:] = 255
    drawn = draw_regions(grey(200, 400), labels, ['left', 'right'], [[255, 0, 0], [0, 0, 255]])
    assert drawn.shape == (400, 800, 3)  # enlarged, so that names can be read
    mixed = {'left': (0.4 * 100 + 0.6 * 255, 40, 40), 'right': (40, 40, 0.4 * 100 + 0.6 * 255), 'void': (40, 40, 40)}
    places = dict(left=(280, 380), right=(280, 790), void=(350, 30))
    for name, (row, column) in places.items():
        np.testing.assert_allclose(drawn[row, column] * 255, mixed[name], atol=1.01)
    drawn = draw_regions(grey(200, 400), labels, ['background', 'right'], [[255, 0, 0], [0, 0, 255]])
    np.testing.assert_allclose(drawn[places['left']] * 255, 100)
    np.testing.assert_allclose(drawn[places['right']] * 255, mixed['right'], atol=1.01)


def test_the_legend_has_what_is_there_and_then_what_is_said_to_be():
    meta = dict(classes=('background', 'a', 'b', 'c', 'd'), palette=list('xabcd'))
    truths, predicted = [dict(labels=np.array([[0, 0, 2, 2, 1, 255]]))], [dict(labels=np.array([[0, 3, 3, 2, 1, 1]]))]
    assert module._legend(truths, predicted, meta) == [('b', 'b'), ('a', 'a'), ('c', 'c')]


def test_objects_are_drawn_where_they_are():
    image = grey(400, 500)
    masks = np.zeros((1, 400, 500), bool)
    masks[0, 200:300, 200:400] = True
    objects = dict(bboxes=torch.tensor([[100.0, 100, 420, 320]]), labels=torch.tensor([1]), masks=masks)
    drawn = draw_objects(image, objects, ['a', 'b'], [(0, 0, 0), (0, 255, 0)]) * 255
    assert drawn.shape == (400, 500, 3)
    assert drawn[250, 300, 1] > 160 and drawn[250, 300, 0] < 80  # inside the mask
    assert drawn[318:323, 250, 1].max() > 150  # the lower edge of the box
    np.testing.assert_array_equal(drawn[380, 480], [100, 100, 100])
    small = draw_objects(image[::4, ::4], dict(objects, bboxes=objects['bboxes'] / 4, masks=masks[:, ::4, ::4]), 'ab')
    assert small.shape == (400, 500, 3)
    none = dict(bboxes=torch.zeros(0, 4), labels=torch.zeros(0), masks=np.zeros((0, 400, 500)))
    np.testing.assert_array_equal(draw_objects(image, none, ['a']) * 255, image)


def test_pictures_of_several_shapes_stay_as_they_are():
    black = np.zeros((10, 20, 3))
    figure = predictions_figure([[black, black], [np.zeros((20, 20, 3)), np.zeros((20, 20, 3))]], ['a', 'b'])
    first, _, third, _ = (axes.get_images()[0].get_array() for axes in figure.axes)
    assert first.shape == (20, 20, 3) == third.shape
    assert not first[:10].any() and (first[10:] == 1).all() and not third.any()
    legend = [('short', (255, 0, 0)), ('x' * 60, (0, 255, 0)), ('never', (0, 0, 255))]
    figure = predictions_figure([[black, black]], ['a', 'b'], legend=legend)
    assert [text.get_text() for text in figure.texts] == ['short']
    np.testing.assert_array_equal(figure.axes[-1].get_images()[0].get_array(), [[[1, 0, 0]]])


@pytest.fixture
def checkpoints(project):
    """Two of each model, with other random weights, and three [CLS] tokens that the config does not know of."""
    paths = {}
    for name in ('detector', 'segmentor'):
        cfg = load_config(str(project.folder / f'{name}.py'))
        settings = copy.deepcopy(cfg.model)
        settings.backbone.num_cls_tokens = 3
        for seed in (0, 1):
            torch.manual_seed(seed)
            with DefaultScope.overwrite_default_scope(cfg.default_scope):
                state = MODELS.build(settings).state_dict()
            paths[name, seed] = project.folder / f'{name}{seed}' / 'iter_1.pth'
            paths[name, seed].parent.mkdir()
            torch.save(dict(state_dict=state), paths[name, seed])
    return paths


@pytest.mark.parametrize('name', ['detector', 'segmentor'])
def test_columns_are_picture_truth_and_each_checkpoint(project, checkpoints, monkeypatch, name):
    seen = {}
    monkeypatch.setattr(
        module,
        'predictions_figure',
        lambda rows, titles, note='', legend=(): seen.update(rows=rows, titles=titles, note=note, legend=legend),
    )
    config = project.folder / f'{name}.py'
    runs = [FineTuned(word, config, checkpoints[name, seed]) for word, seed in (('a', 0), ('b', 1), ('again', 0))]
    few = {'model.test_cfg.rcnn.max_per_img': 3} if name == 'detector' else {}
    draw_predictions(runs, project.data(name), number=1, seed=3, score=0.0, cfg_options=few)
    assert seen['titles'] == ['picture', 'ground truth', 'a', 'b', 'again'] and len(seen['rows']) == 1
    assert seen['note'] == ('objects scored above 0' if name == 'detector' else '')
    names = (project.world / 'voc' / 'classes.txt').read_text().split()
    shown = [word for word, _ in seen['legend']]
    assert {*shown} <= {*names} - {'background'} and bool(shown) == (name == 'segmentor')
    for picture, truth, first, second, again in seen['rows']:
        assert picture.shape == truth.shape == first.shape == (384, 384, 3)
        np.testing.assert_array_equal(first, again)
        for one, other in ((picture, truth), (truth, first), (first, second)):
            assert not np.array_equal(one, other)


def test_the_truth_is_what_the_files_say(project):
    for name in ('detector', 'segmentor'):
        cfg = module._prepared(FineTuned('', project.folder / f'{name}.py', ''), project.data(name), None)
        data = module._validation_data(cfg)
        found = truth_of(data, 2, cfg.default_scope)
        path = Path(data.get_data_info(2)['img_path'])
        if name == 'segmentor':
            labels = np.array(Image.open(project.world / 'voc' / 'SegmentationClass' / f'{path.stem}.png'))
            np.testing.assert_array_equal(found['labels'], labels)
            continue
        truth = json.loads((project.world / 'annotations' / 'instances_val.json').read_text())
        (image,) = (each for each in truth['images'] if str(path).endswith(each['file_name']))
        own = [each for each in truth['annotations'] if each['image_id'] == image['id']]
        assert [label + 1 for label in found['labels'].tolist()] == [each['category_id'] for each in own]
        for box, mask, each in zip(found['bboxes'], found['masks'], own, strict=True):
            x, y, w, h = each['bbox']
            assert box.tolist() == [x, y, x + w, y + h] and mask.sum() == each['area']


def test_the_command(project, checkpoints, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['visualize.py', 'predictions', *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(ROOT / 'tools' / 'visualize.py'), run_name='__main__')
        return stopped.value.code

    config = project.folder / 'segmentor.py'
    more = '--more', 'other', config, checkpoints['segmentor', 1]
    page = project.folder / 'page.png'
    first = config, checkpoints['segmentor', 0], *more, '--num', 1, '--out', page, '--device', 'cpu', '--data'
    assert run(*first, project.data('segmentor')) == 0
    assert cv2.imread(str(page)).shape[1] > 1500
    assert run(*first, project.folder) == 2
    message = capsys.readouterr().err
    assert 'error: val_dataloader.dataset: ' in message and '\n    ImageSets/\n' in message


def test_runs_of_two_tasks_and_of_other_data_are_refused(project, checkpoints, tmp_path):
    runs = [FineTuned(name, project.folder / f'{name}.py', checkpoints[name, 0]) for name in ('detector', 'segmentor')]
    both, voc = tmp_path / 'both', project.world / 'voc'
    both.mkdir()
    for folder in (project.world, project.world / 'voc'):
        for path in folder.iterdir():
            if not (both / path.name).exists():
                (both / path.name).symlink_to(path)
    (both / 'classes.txt').unlink()
    (both / 'classes.txt').symlink_to(project.world / 'voc' / 'classes.txt')
    with pytest.raises(ValueError, match='one page is of detectors'):
        draw_predictions(runs, both, number=1)
    with pytest.raises(ValueError, match='--num 0'):
        draw_predictions(runs, number=0)

    segmentor = project.folder / 'segmentor.py'
    elsewhere = tmp_path / 'elsewhere.py'
    elsewhere.write_text(
        segmentor.read_text().replace('data/VOCdevkit/VOC2012', str(shutil.copytree(voc, tmp_path / 'v')))
    )
    here = tmp_path / 'here.py'
    here.write_text(segmentor.read_text().replace('data/VOCdevkit/VOC2012', str(voc)))
    linked = tmp_path / 'linked.py'
    (tmp_path / 'link').symlink_to(voc)
    linked.write_text(segmentor.read_text().replace('data/VOCdevkit/VOC2012', str(tmp_path / 'link')))
    runs = [FineTuned(path.stem, path, checkpoints['segmentor', 0]) for path in (here, linked, elsewhere)]
    draw_predictions(runs[:2], number=1)
    with pytest.raises(ValueError, match=r'elsewhere\.py: .*val_0.* is not among its validation pictures'):
        draw_predictions(runs, number=1)


def test_predictions_that_are_scored_at_another_size_are_drawn_at_that_of_the_picture(
    project, checkpoints, monkeypatch
):
    """Linear segmentation of VOC squashes the picture and scores there; this one is neither square nor of that size."""
    voc = Path(shutil.copytree(project.world / 'voc', project.folder / 'voc'))
    for folder in ('JPEGImages', 'SegmentationClass', 'SegmentationClassAug'):
        for path in (voc / folder).iterdir():
            Image.open(path).resize((50, 40), Image.Resampling.NEAREST).save(path)
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='Resize', scale=(48, 48), keep_ratio=False),
        dict(type='mimselfsup.ScoreAtThisSize'),
        dict(type='PackSegInputs'),
    ]
    seen = {}
    monkeypatch.setattr(module, 'predictions_figure', lambda rows, titles, **_: seen.update(rows=rows))
    monkeypatch.setattr(
        module,
        'predict',
        lambda model, sample, score: seen.update(labels=predict(model, sample, score)['labels']) or seen,
    )
    run = FineTuned('linear', project.folder / 'segmentor.py', checkpoints['segmentor', 0])
    draw_predictions([run], voc, number=1, cfg_options={'val_dataloader.dataset.pipeline': steps})
    ((picture, _, drawn),) = seen['rows']
    assert (
        seen['labels'].shape == (48, 48)
        and drawn.shape == picture.shape
        and picture.shape[0] * 5 == picture.shape[1] * 4
    )
    # The colours of the corners are those of the labels there.
    meta = module._validation_data(module._prepared(run, voc, None)).metainfo
    for place, label in ((0, seen['labels'][0, 0]), (-1, seen['labels'][-1, -1])):
        colour = 255 * picture[place, place] if label == 0 else np.array(meta['palette'][label])  # background
        expected = 0.4 * 255 * picture[place, place] + 0.6 * colour
        np.testing.assert_allclose(drawn[place, place] * 255, expected, atol=1.01)
