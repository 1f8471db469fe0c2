"""Distances of every head of every block, beside random weights and even attention."""

import numpy as np
import pytest
import torch

from mimselfsup.apis import load_config, load_model
from mimselfsup.apis.attention_distance import PROTOCOL, evaluate_attention_distance
from mimselfsup.evaluation import attention_distances
from mimselfsup.evaluation.data import build_eval_datasets
from tests.test_evaluation.labelled import write_labelled, write_labelled_config


@pytest.fixture
def setting(tmp_path):
    root = write_labelled(tmp_path / 'data', val=4)
    config = write_labelled_config(tmp_path / 'tiny.py', root)
    model = load_model(config, seed=7)
    for layer in model.backbone.layers:
        layer.attn.qkv.weight.data.mul_(20)  # far from even
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    return config, tmp_path / 'a.pth', root


def test_rows_are_what_the_pure_function_gives_for_images_spread_over_the_split(setting, monkeypatch):
    config, checkpoint, root = setting
    monkeypatch.setattr('mimselfsup.apis.attention_distance.TOKENS_AT_ONCE', 32)  # two images of 16 tokens
    report = evaluate_attention_distance(config, checkpoint, root, num_images=4, seeds=(3, 4), workers=0)
    trained, random, even = report['rows']
    model = load_model(config, checkpoint)
    data = build_eval_datasets(load_config(config), root)[1]
    inputs = torch.stack([data[index]['inputs'] for index in (0, 4, 7, 11)])  # of twelve
    images = model.data_preprocessor(dict(inputs=inputs, data_samples=None), False)['inputs']
    expected = attention_distances(model.backbone, [images]).double()
    assert report['data'] == dict(root=str(root), images=4)
    for number, heads in enumerate(expected, 1):
        block = trained['blocks'][str(number)]
        np.testing.assert_allclose(list(block['heads'].values()), heads, rtol=1e-5)
        np.testing.assert_allclose(
            [block['mean'], block['min'], block['max']], [heads.mean(), heads.min(), heads.max()], rtol=1e-5
        )
        assert random['blocks'][str(number)]['heads']['1_std'] > 0
    # Of 4 x 4 patches: for each offset (i, j) the number of pairs that have it, times its length; patches are 4 px.
    pairs = sum((4 - i) * (4 - j) * (1 + (i > 0)) * (1 + (j > 0)) * np.hypot(i, j) for i in range(4) for j in range(4))
    assert even['blocks']['2']['mean'] == pytest.approx(4 * pairs / 16**2)
    assert abs(trained['blocks']['1']['min'] - even['blocks']['1']['min']) > 0.02


def test_tables_have_a_column_for_each_block(setting):
    config, checkpoint, root = setting
    report = evaluate_attention_distance(config, checkpoint, root, num_images=3, seeds=(), workers=0)
    mean, nearest, farthest = PROTOCOL.tables(report)
    assert mean.header == ['', 'block 1', 'block 2']
    assert [row[0] for row in mean.rows] == ['pre-trained', 'even attention']
    block = report['rows'][0]['blocks']['2']
    assert [table.rows[0][2] for table in (mean, nearest, farthest)] == [
        f'{block[name]:.1f}' for name in ('mean', 'min', 'max')
    ]
    assert 'nearest head' in str(nearest) and '3 images' in str(nearest)


def test_wrong_arguments(setting, monkeypatch):
    config, checkpoint, root = setting
    with pytest.raises(ValueError, match='num_images=0, must be at least 1'):
        evaluate_attention_distance(config, checkpoint, root, num_images=0)
    monkeypatch.setattr('mimselfsup.apis.attention_distance.MaskedViT', type('Other', (), {}))
    with pytest.raises(ValueError, match='MaskedViT has no attention between all tokens, hence no distances'):
        evaluate_attention_distance(config, checkpoint, root, seeds=(), workers=0)
