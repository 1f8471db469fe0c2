import json
import statistics

import pytest

from mimselfsup.apis import evaluate_checkpoint, extract_features, format_table, load_config, load_model
from mimselfsup.evaluation.data import build_eval_datasets, build_eval_loader
from mimselfsup.evaluation.knn import knn_classify

from .conftest import save_weights

OPTIONS = dict(ks=(1, 3), workers=0, progress=False)


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
