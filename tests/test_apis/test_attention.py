"""Attention against objects, on a world whose objects are known."""

import cv2
import numpy as np
import pytest
import torch

from mimselfsup.apis import evaluate_attention, format_attention_table, load_model
from mimselfsup.apis.attention import PROTOCOL, attention_of
from mimselfsup.datasets.object_masks import ImagesWithObjects, collate_objects
from mimselfsup.evaluation.attention_segmentation import attention_jaccard
from tests.test_evaluation.labelled import write_labelled, write_labelled_config

COLUMNS = ('best_head', 'mean_head', 'mean_map')


@pytest.fixture
def setting(tmp_path):
    """A quarter of each picture is one class, an eighth another."""
    root = write_labelled(tmp_path / 'data')
    for path in sorted((root / 'val').glob('*/*')):
        height, width = cv2.imread(str(path)).shape[:2]
        labels = np.zeros((height, width), np.uint8)
        labels[: height // 2, : width // 2] = 1
        labels[height // 2 :, : width // 4] = 2
        target = (root / 'masks' / path.relative_to(root)).with_suffix('.png')
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), labels)
    config = write_labelled_config(tmp_path / 'tiny.py', root)
    torch.save(dict(state_dict=load_model(config, seed=7).state_dict()), tmp_path / 'a.pth')
    return config, tmp_path / 'a.pth', root


@pytest.mark.parametrize('size', [None, 24])
def test_rows_are_what_the_pure_function_gives(setting, size):
    config, checkpoint, root = setting
    report = evaluate_attention(config, checkpoint, root, seeds=(3, 4), workers=0, batch_size=4, image_size=size)
    pretrained, random, whole = report['rows']
    model = load_model(config, checkpoint)
    batch = collate_objects(list(ImagesWithObjects(root, 'val', (size or 16, size or 16))))
    images = model.data_preprocessor(dict(inputs=batch['inputs'], data_samples=None), False)['inputs']
    expected = attention_jaccard(lambda views: attention_of(model, views), [(images, batch['objects'])])
    assert [pretrained[name] for name in COLUMNS] == pytest.approx([expected[name] for name in COLUMNS])
    assert [whole[name] for name in COLUMNS] == pytest.approx([100 * 3 / 16] * 3)  # of a quarter and an eighth
    assert random['seeds'] == [3, 4] and random['mean_map_std'] > 0
    assert report['data'] == dict(root=str(root), images=9, objects=18)
    assert report['settings'] == dict(mass=0.6, masks='class', image_size=[size or 16] * 2)


def test_all_objects_together(setting):
    config, checkpoint, root = setting
    report = evaluate_attention(config, checkpoint, root, seeds=(), workers=0, masks='foreground')
    assert report['rows'][-1]['best_head'] == pytest.approx(100 * 3 / 8) and report['data']['objects'] == 9


def test_table(setting):
    config, checkpoint, root = setting
    report = evaluate_attention(config, checkpoint, root, seeds=(3, 4), workers=0)
    (table,) = PROTOCOL.tables(report)
    assert table.header == ['', 'best head', 'mean head', 'mean map']
    assert [row[0] for row in table.rows] == ['pre-trained', 'random init', 'whole picture']
    assert table.rows[0][1] == f'{report["rows"][0]["best_head"]:.1f}' and '+-' in table.rows[1][3]
    text = format_attention_table(report)
    assert text == str(table) and '18 objects in 9 images of 16 x 16 pixels' in text and 'an oracle' in text


def test_data_without_masks(setting):
    config, checkpoint, root = setting
    sorted((root / 'masks' / 'val').glob('*/*'))[0].unlink()
    with pytest.raises(ValueError, match='no such label map'):
        evaluate_attention(config, checkpoint, root, seeds=(), workers=0)
