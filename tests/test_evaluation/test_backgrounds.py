import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mimselfsup.evaluation.backgrounds import (
    VARIATIONS,
    bg_gap,
    build_variations,
    mapped_accuracy,
    read_class_map,
)

CONFIG = Config(dict(model=dict(backbone=dict(type='MaskedViT', img_size=16))))


def test_prediction_of_a_class_that_belongs_nowhere_is_an_error():
    predicted, labels = torch.tensor([0, 1, 2, 3, 3]), torch.tensor([0, 0, 1, 1, 0])
    assert mapped_accuracy(predicted, labels, torch.tensor([0, 0, 1, -1])) == pytest.approx(60)
    assert mapped_accuracy(predicted, labels) == pytest.approx(20)


def test_gap_is_mixed_same_less_mixed_rand():
    assert bg_gap(dict(original=95.6, mixed_same=86.2, mixed_rand=78.9)) == pytest.approx(7.3)
    assert bg_gap(dict(mixed_same=86.2)) is None


def test_class_map_is_read_by_number(tmp_path):
    path = tmp_path / 'in_to_in9.json'
    path.write_text(json.dumps({'2': 1, '0': -1, '1': 8}))
    assert read_class_map(path, 3, 9).tolist() == [-1, 8, 1]
    for text, arguments, message in (
        (json.dumps({'0': 1, '2': 1}), (2, 9), 'has 2 classes, the head is trained on 2; they must be numbered 0 to 1'),
        (json.dumps({'0': 1}), (1000, 9), 'the head is trained on 1000'),
        (json.dumps({'0': 9}), (1, 9), 'maps to 9 to 9, allowed: -1 to 8'),
        ('[1, 2]', (2, 9), 'not a JSON object'),
        ('{', (2, 9), 'not a JSON object'),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_class_map(path, *arguments)


def test_variations_are_read_by_name_and_pictures_of_the_right_size_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for name in (*VARIATIONS, 'fg_mask'):
        for place, kind in enumerate(('00_dog', '01_bird')):
            folder = tmp_path / name / 'val' / kind
            folder.mkdir(parents=True)
            Image.fromarray(pixels if place else pixels[:8]).save(folder / 'a.png')
    found = build_variations(CONFIG, tmp_path, VARIATIONS)
    assert list(found) == list(VARIATIONS)
    item = found['only_bg_t'][1]
    assert np.array_equal(item['inputs'].numpy(), pixels[..., ::-1].transpose(2, 0, 1))  # BGR
    assert item['data_samples'].gt_label.tolist() == [1] and found['no_fg'].metainfo['classes'] == ('00_dog', '01_bird')
    assert found['original'][0]['inputs'].shape == (3, 16, 16)  # all of a wider one

    with pytest.raises(ValueError, match="variation 'fg_mask': must be one of original, mixed_same"):
        build_variations(CONFIG, tmp_path, ('original', 'fg_mask'))
    with pytest.raises(ValueError, match=r'has no folder no_fg/val; ImageNet-9 is \{original,.*--layouts backgrounds'):
        (tmp_path / 'no_fg').rename(tmp_path / 'other')
        build_variations(CONFIG, tmp_path, VARIATIONS)
