import json
import statistics

import pytest
import torch

from mimselfsup.apis import evaluate as module
from mimselfsup.apis import evaluate_checkpoint, extract_features, format_table, load_config, load_model
from mimselfsup.evaluation.data import build_eval_datasets, build_eval_loader
from mimselfsup.evaluation.knn import knn_classify
from tests.test_evaluation.labelled import write_labelled, write_labelled_config

OPTIONS = dict(ks=(1, 3), workers=0, progress=False)


@pytest.fixture
def setting(tmp_path):
    root = write_labelled(tmp_path / 'data', noise=100)
    config = write_labelled_config(tmp_path / 'tiny.py', root)
    save_weights(config, tmp_path / 'a.pth', seed=7)
    return config, tmp_path / 'a.pth', root


def save_weights(config, path, seed):
    torch.save(dict(state_dict=load_model(config, seed=seed).state_dict()), path)


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


def test_rows_hold_what_the_features_give(setting):
    config, checkpoint, root = setting
    report = evaluate_checkpoint(config, checkpoint, ('knn', 'linear'), seeds=(0, 1), **OPTIONS)
    assert [(row['model'], row['feature']) for row in report['rows']] == [
        ('pre-trained', 'cls'),
        ('pre-trained', 'avg'),
        ('random init', 'cls'),
        ('random init', 'avg'),
        ('raw pixels', '768 values'),  # 16 x 16 x 3, below 32 px as they are
    ]
    cfg = load_config(config)

    def score(seed, feature):
        model = load_model(cfg, seed=seed)
        train, val = (
            extract_features(model, build_eval_loader(dataset, 64, 0), feature, progress=False)
            for dataset in build_eval_datasets(cfg, root)
        )
        return knn_classify(train.features, train.labels, val.features, val.labels, ks=(1, 3))

    assert report['rows'][1]['knn'] == score(7, 'avg')
    for k in (1, 3):
        expected = [score(seed, 'cls')[k]['top1'] for seed in (0, 1)]
        assert expected[0] != expected[1]
        row = report['rows'][2]['knn'][k]
        assert row['top1'] == pytest.approx(statistics.fmean(expected))
        assert row['top1_std'] == pytest.approx(statistics.stdev(expected))
    assert report['data'] == dict(
        root=str(root), classes=3, train_images=18, val_images=9, chance=pytest.approx(100 / 3)
    )


def test_second_evaluation_reads_the_cache_and_a_changed_checkpoint_does_not(setting, tmp_path, count_encoded):
    config, checkpoint, _ = setting
    options = dict(OPTIONS, seeds=(), cache=tmp_path / 'cache', features=('avg',))
    first = evaluate_checkpoint(config, checkpoint, **options)
    assert count_encoded[0] == 27
    assert evaluate_checkpoint(config, checkpoint, **options) == first
    assert count_encoded[0] == 27
    copy = tmp_path / 'copy.pth'
    copy.write_bytes(checkpoint.read_bytes())
    evaluate_checkpoint(config, copy, **options)
    assert count_encoded[0] == 27  # the same content under another name

    save_weights(config, checkpoint, seed=8)  # the same name with other content
    changed = evaluate_checkpoint(config, checkpoint, **options)
    assert count_encoded[0] == 54
    fresh = evaluate_checkpoint(config, checkpoint, **dict(options, cache=None))
    assert changed['rows'] == fresh['rows']


@pytest.mark.parametrize('changed', ['view', 'image', 'model'])
def test_whatever_changes_the_features_makes_new_ones(setting, tmp_path, count_encoded, changed):
    config, checkpoint, root = setting
    options = dict(OPTIONS, seeds=(), cache=tmp_path / 'cache', features=('avg',))
    evaluate_checkpoint(config, checkpoint, **options)
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
    evaluate_checkpoint(config, checkpoint, **options)
    assert count_encoded[0] == (36 if changed == 'image' else 54)  # only val/ anew, or both


def test_a_second_kind_of_feature_is_added_without_redoing_the_first(setting, tmp_path, count_encoded):
    config, checkpoint, _ = setting
    options = dict(OPTIONS, seeds=(), cache=tmp_path / 'cache')
    evaluate_checkpoint(config, checkpoint, features=('avg',), **options)
    both = evaluate_checkpoint(config, checkpoint, features=('cls', 'avg'), **options)
    assert count_encoded[0] == 54
    assert both['rows'] == evaluate_checkpoint(config, checkpoint, features=('cls', 'avg'), **OPTIONS, seeds=())['rows']


def test_backbone_without_cls_is_scored_by_its_mean(setting):
    config, checkpoint, _ = setting
    config.write_text(
        config.read_text()
        + "\nmodel['backbone'].update(hidden='replace', with_cls_token=False, out_type='avg_featmap')\n"
        + "model['decoder'] = dict(type='LinearDecoder')\n"
    )
    save_weights(config, checkpoint, seed=0)
    report = evaluate_checkpoint(config, checkpoint, seeds=(), **OPTIONS)
    assert [row['feature'] for row in report['rows']] == ['avg']


def test_table_is_aligned_and_says_chance_spread_and_best_k():
    def knn(first, second, std=None):
        cells = {10: dict(top1=first, top5=70.0), 20: dict(top1=second, top5=80.04)}
        for values in cells.values():
            values.update({} if std is None else dict(top1_std=std))
        return cells

    report = dict(
        data=dict(root='pictures', classes=10, train_images=50, val_images=20, chance=10.0),
        rows=[
            dict(model='pre-trained', feature='avg', knn=knn(40.0, 51.26), linear=dict(top1=60.0, top5=90.0)),
            dict(
                model='random init',
                feature='avg',
                seeds=[0, 1],
                knn=knn(20.0, 15.0, std=1.23),
                linear=dict(top1=25.0, top1_std=2.0, top5=55.0, top5_std=0.5),
            ),
        ],
    )
    assert format_table(json.loads(json.dumps(report))) == format_table(report)  # as tools/demo.py reads it
    lines = format_table(report).splitlines()
    assert lines[0] == 'pictures: 50 training and 20 validation images, 10 classes, chance 10.0 %'
    table = [line.split('  ') for line in lines[2:]]
    assert [cell.strip() for cell in table[2] if cell.strip()] == [
        'pre-trained', 'avg', '40.0', '51.3', '80.0 (20)', '60.0', '90.0',
    ]  # fmt: skip
    assert [cell.strip() for cell in table[3] if cell.strip()] == [
        'random init (2 seeds)', 'avg', '20.0 +- 1.2', '15.0 +- 1.2', '70.0 (10)', '25.0 +- 2.0', '55.0 +- 0.5',
    ]  # fmt: skip
    assert len({len(line) for line in lines[2:]}) == 1  # right-aligned: all rows end together


def test_errors_name_what_is_wrong(setting, tmp_path):
    config, checkpoint, _ = setting
    for arguments, message in (
        (dict(protocols=('fewshot',)), "'fewshot'.*knn, linear"),
        (dict(data_root=tmp_path / 'nowhere'), 'no folder train/.*--data ROOT'),
        (dict(checkpoint=tmp_path / 'b.pth'), r'b\.pth: no such file'),
        (dict(temperature=0), 'temperature=0'),
        (dict(ks=(0,)), 'ks='),
        (dict(pixel_size=0), 'pixel_size=0'),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_checkpoint(**(dict(OPTIONS, config=config, checkpoint=checkpoint) | arguments))
