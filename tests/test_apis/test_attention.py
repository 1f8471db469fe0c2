"""Attention against masks, on a world whose masks are known."""

import cv2
import numpy as np
import pytest
import torch

from mimselfsup.apis import evaluate_attention, format_attention_table, load_model
from mimselfsup.apis.attention import ImagesWithForegrounds, attention_of
from mimselfsup.evaluation.attention_segmentation import attention_jaccard
from tests.test_evaluation.labelled import write_labelled, write_labelled_config


@pytest.fixture
def setting(tmp_path):
    root = write_labelled(tmp_path / 'data')
    for path in sorted((root / 'val').glob('*/*')):
        height, width = cv2.imread(str(path)).shape[:2]
        labels = np.zeros((height, width), np.uint8)
        labels[: height // 2, : width // 2] = 1 + int(path.parent.name[-1] == 'x')
        target = (root / 'masks' / path.relative_to(root)).with_suffix('.png')
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), labels)
    config = write_labelled_config(tmp_path / 'tiny.py', root)
    torch.save(dict(state_dict=load_model(config, seed=7).state_dict()), tmp_path / 'a.pth')
    return config, tmp_path / 'a.pth', root


def test_rows_are_what_the_pure_function_gives(setting):
    config, checkpoint, root = setting
    report = evaluate_attention(config, checkpoint, root, seeds=(3, 4), workers=0, batch_size=4)
    pretrained, random, whole = report['rows']
    model = load_model(config, checkpoint)
    size = (model.backbone.img_size[0],) * 2
    data = ImagesWithForegrounds(root, 'val', size)
    images = model.data_preprocessor(
        dict(inputs=torch.stack([row['inputs'] for row in data]), data_samples=None), False
    )['inputs']
    truth = torch.stack([row['foreground'] for row in data])
    expected = attention_jaccard(lambda views: attention_of(model, views), [(images, truth)])
    assert {name: pretrained[name] for name in ('best_head', 'mean_head', 'mean_map')} == pytest.approx(
        {name: expected[name] for name in ('best_head', 'mean_head', 'mean_map')}
    )
    assert whole['best_head'] == pytest.approx(25)  # a quarter of each picture
    assert random['seeds'] == [3, 4] and random['mean_map_std'] > 0
    table = format_attention_table(report)
    assert '+-' in table and 'whole picture' in table and f'{pretrained["best_head"]:.1f}' in table


def test_masks_follow_their_pictures(setting):
    _, _, root = setting
    data = ImagesWithForegrounds(root, 'val', (8, 8))
    assert torch.equal(data[0]['foreground'].nonzero().amax(0), torch.tensor([3, 3]))
    assert data[0]['inputs'].shape == (3, 8, 8)


def test_data_behind_a_link(setting, tmp_path, monkeypatch):
    _, _, root = setting
    (tmp_path / 'link').symlink_to(root)
    monkeypatch.chdir(tmp_path)
    assert ImagesWithForegrounds('link', 'val', (8, 8))[0]['foreground'].any()


def test_missing_masks_are_named(setting):
    config, checkpoint, root = setting
    one = sorted((root / 'masks' / 'val').glob('*/*'))[0]
    one.unlink()
    with pytest.raises(ValueError, match=f'{one}: no readable label map'):
        evaluate_attention(config, checkpoint, root, seeds=(), workers=0)
    with pytest.raises(ValueError, match=r'masks/train: no such folder; .*tools/make_scenes.py'):
        ImagesWithForegrounds(root, 'train', (8, 8))
