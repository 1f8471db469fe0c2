"""Features of a checkpoint and its baselines: what is extracted, and what is found in the cache."""

import pytest

from mimselfsup.apis import frozen as module
from mimselfsup.apis.fewshot import evaluate_fewshot
from mimselfsup.apis.knn import evaluate_knn
from mimselfsup.apis.linear import evaluate_linear
from tests.test_evaluation.labelled import write_labelled

from .conftest import save_weights

OPTIONS = dict(workers=0, progress=False)
ONCE = dict(OPTIONS, seeds=(), ks=(1, 3), features=('avg',))


@pytest.fixture
def count_encoded(monkeypatch):
    """How many images went through a backbone."""
    count = [0]
    original = module.encode_features

    def counting(model, batch, kinds):
        count[0] += len(batch['data_samples'])
        return original(model, batch, kinds)

    monkeypatch.setattr(module, 'encode_features', counting)
    return count


def test_second_evaluation_reads_the_cache_and_a_changed_checkpoint_does_not(setting, tmp_path, count_encoded):
    config, checkpoint, _ = setting
    first = evaluate_knn(config, checkpoint, **ONCE)
    assert count_encoded[0] == 27
    assert evaluate_knn(config, checkpoint, **ONCE) == first
    assert count_encoded[0] == 27 and any((checkpoint.parent / 'features').iterdir())
    copy = tmp_path / 'copy.pth'
    copy.write_bytes(checkpoint.read_bytes())
    evaluate_knn(config, copy, **ONCE)
    assert count_encoded[0] == 27  # the same content under another name

    save_weights(config, checkpoint, seed=8)  # the same name with other content
    changed = evaluate_knn(config, checkpoint, **ONCE)
    assert count_encoded[0] == 54
    before = sorted((checkpoint.parent / 'features').iterdir())
    fresh = evaluate_knn(config, checkpoint, cache=False, **ONCE)
    assert count_encoded[0] == 81 and sorted((checkpoint.parent / 'features').iterdir()) == before
    assert changed['rows'] == fresh['rows'] != first['rows']


@pytest.mark.parametrize('changed', ['view', 'image', 'model'])
def test_whatever_changes_the_features_makes_new_ones(setting, count_encoded, changed):
    config, checkpoint, root = setting
    evaluate_knn(config, checkpoint, **ONCE)
    if changed == 'view':
        text = config.read_text()
        config.write_text(
            text + "\neval_pipeline = [dict(type='LoadImage'), dict(type='mmpretrain.CenterCrop',"
            " crop_size=16), dict(type='mmpretrain.PackInputs')]\n"
        )
    elif changed == 'image':
        target = root / 'val/red/0.png'
        target.write_bytes((root / 'val/blue/0.png').read_bytes())
    else:
        config.write_text(config.read_text().replace('mean=[127.5] * 3', 'mean=[100.0] * 3'))
    evaluate_knn(config, checkpoint, **ONCE)
    assert count_encoded[0] == (36 if changed == 'image' else 54)  # only val/ anew, or both


def test_protocols_share_features_and_a_second_kind_is_added_without_redoing_the_first(setting, count_encoded):
    config, checkpoint, _ = setting
    evaluate_knn(config, checkpoint, **ONCE)
    evaluate_linear(config, checkpoint, seeds=(), features=('avg',), **OPTIONS)
    assert count_encoded[0] == 27
    both = evaluate_knn(config, checkpoint, **ONCE | dict(features=('avg', 'cls2+avg')))
    assert count_encoded[0] == 54
    fresh = evaluate_knn(config, checkpoint, cache=False, **ONCE | dict(features=('avg', 'cls2+avg')))
    assert both['rows'] == fresh['rows']


def test_of_fewer_images_only_those_are_encoded_unless_all_are_there(setting, tmp_path, count_encoded):
    config, checkpoint, _ = setting
    (tmp_path / 'list.txt').write_text('red/3.png\nblue/0.png\ngreen/5.png\n')
    options = ONCE | dict(labels=tmp_path / 'list.txt')
    alone = evaluate_knn(config, checkpoint, **options)
    assert count_encoded[0] == 3 + 9
    assert alone['data']['train_images'] == 3 and list(alone['rows'][0]['knn']) == [1, 3]
    save_weights(config, checkpoint, seed=8)
    evaluate_knn(config, checkpoint, **ONCE)
    assert count_encoded[0] == 12 + 27
    reused = evaluate_knn(config, checkpoint, **options)
    assert count_encoded[0] == 12 + 27
    assert reused['rows'] == evaluate_knn(config, checkpoint, cache=False, **options)['rows']


def test_few_shots_of_a_large_folder_encode_what_the_subsets_reach_into(setting, tmp_path, count_encoded):
    config, checkpoint, _ = setting
    root = write_labelled(tmp_path / 'more', train=23, val=1)
    evaluate_fewshot(config, checkpoint, root, shots=(1,), seeds=(), features=('avg',), **OPTIONS)
    assert count_encoded[0] == 3 * 21 + 3


def test_errors_name_what_is_wrong(setting, tmp_path):
    config, checkpoint, _ = setting
    for arguments, message in (
        (dict(data_root=tmp_path / 'nowhere'), 'no folder train/.*--data ROOT'),
        (dict(checkpoint=tmp_path / 'b.pth'), r'b\.pth: no such file'),
        (dict(pixel_size=0), 'pixel_size=0'),
        (dict(features=('cls', 'patch')), "feature='patch', must be cls or avg"),
        (dict(features=('cls3',)), 'last 3 blocks are asked for, it has 2'),
        (dict(features=()), 'no feature'),
        (dict(features=('prototype',)), "feature='prototype'"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_knn(**(ONCE | dict(config=config, checkpoint=checkpoint) | arguments))
