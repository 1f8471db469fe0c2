"""Each protocol of frozen features end to end: its rows are what its functions say of the features."""

import json
import statistics

import numpy as np
import pytest
import torch
from PIL import Image

from mimselfsup.apis import load_config, load_model
from mimselfsup.apis.backgrounds import PROTOCOL as BACKGROUNDS
from mimselfsup.apis.clustering import PROTOCOL as CLUSTERING
from mimselfsup.apis.fewshot import PROTOCOL as FEWSHOT
from mimselfsup.apis.knn import PROTOCOL as KNN
from mimselfsup.apis.linear import LOGREG
from mimselfsup.apis.linear import PROTOCOL as LINEAR
from mimselfsup.apis.linear_scan import PROTOCOL as LINEAR_SCAN
from mimselfsup.apis.masked import PROTOCOL as MASKED
from mimselfsup.evaluation.backgrounds import VARIATIONS
from mimselfsup.evaluation.data import build_eval_datasets
from mimselfsup.evaluation.fewshot import few_shot_knn
from mimselfsup.evaluation.knn import knn_classify
from mimselfsup.evaluation.linear import fit_linear_probe, linear_probe, logistic_regression
from mimselfsup.evaluation.linear_scan import linear_scan
from mimselfsup.evaluation.unsupervised import clustering_scores, k_means_clusters
from tests.test_engine.test_self_distillation_run import IBOT

from .conftest import save_weights

OPTIONS = dict(workers=0, progress=False, seeds=(0, 1), batch_size=4)


def run(protocol, setting, **options):
    """The report as a file gives it back, and its tables, which are made of that."""
    config, checkpoint, root = setting
    report = json.loads(json.dumps(protocol.run(config, checkpoint, root, **OPTIONS | options)))
    assert {'data', 'settings', 'rows', 'config', 'checkpoint'} <= set(report)
    return report, protocol.tables(report)


def arguments(splits):
    train, val = splits
    return train.features, train.labels, val.features, val.labels


def as_json(tree):
    return json.loads(json.dumps(tree))


def test_k_nn(setting, features_of):
    report, (table,) = run(KNN, setting, ks=(1, 4), temperature=0.2)
    rows = {(row['model'], row['feature']): row['knn'] for row in report['rows']}
    assert rows['pre-trained', 'avg'] == as_json(knn_classify(*arguments(features_of(7, 'avg')), (1, 4), 0.2))
    runs = [knn_classify(*arguments(features_of(seed, 'cls')), (1, 4), 0.2)[4]['top1'] for seed in (0, 1)]
    assert rows['random init', 'cls']['4']['top1'] == pytest.approx(statistics.fmean(runs))
    assert table.header == ['', 'feature', 'k-NN 1', 'k-NN 4'] and len(table.rows) == 5
    assert table.rows[2][0] == 'random init (2 seeds)' and ' +- ' in table.rows[2][2]


def test_few_shot(setting, features_of):
    report, (table,) = run(FEWSHOT, setting, shots=(1, 5))
    expected = few_shot_knn(*features_of(7, 'cls'), (1, 5))
    assert report['rows'][0]['fewshot'] == as_json(expected)
    assert table.rows[0][2] == f'{expected[1]["top1"]:.1f} +- {expected[1]["top1_subsets"]:.1f}'
    assert any('5 shots: up to 3 classes end before' in note for note in table.notes)
    assert report['settings']['shots']['5'] == dict(starts=[0, 5, 10, 15, 20], k=20)


def test_linear_and_logistic_regression(setting, features_of):
    report, (table,) = run(LINEAR, setting, features=('avg',), seeds=(0,))
    expected = linear_probe(*arguments(features_of(7, 'avg')))
    first = report['rows'][0]
    assert (first['linear']['top1'], first['penalty']) == (expected.top1, expected.penalty)
    assert 'penalty' not in report['rows'][1]  # of a mean over seeds there is none
    assert table.rows[0][2] == f'{expected.top1:.1f}'
    report, (table,) = run(LOGREG, setting, lambdas=(1.0, 0.01), features=('avg',), seeds=())
    expected = logistic_regression(*arguments(features_of(7, 'avg')), (0.01, 1.0))
    assert report['rows'][0]['logreg'] == as_json(expected)
    assert table.header[2:] == ['lambda 0.01', 'lambda 1']
    assert table.rows[0][2:] == [f'{expected[value]["top1"]:.1f}' for value in (0.01, 1.0)]


def test_linear_scan(setting, features_of):
    settings = dict(lrs=(0.1, 1.0, 10.0), weight_decays=(0.0,), epochs=4, select_on='val')
    report, (table,) = run(LINEAR_SCAN, setting, head_batch_size=8, standardise=True, **settings)
    expected = linear_scan(*arguments(features_of(7, 'avg')), batch_size=8, standardise=True, **settings)
    row = report['rows'][1]
    assert row['linear_scan']['top1'] == expected.top1 and row['chosen']['lr'] == expected.chosen.lr
    assert [head['selection'] for head in row['heads']] == [head.selection for head in expected.heads]
    assert any('the validation images themselves' in note for note in table.notes)


def test_clusters_of_features(setting, features_of):
    report, (table,) = run(CLUSTERING, setting, features=('avg',), kmeans_seed=1)
    val = features_of(7, 'avg')[1]
    expected = clustering_scores(k_means_clusters(val.features, 3, seed=1), val.labels)
    row = report['rows'][0]
    assert {name: row[name] for name in ('nmi', 'ari', 'fmi', 'accuracy')} == pytest.approx(
        {name: 100 * expected[name] for name in ('nmi', 'ari', 'fmi', 'accuracy')}
    )
    assert {each['method'] for each in report['rows']} == {'k-means'} and report['settings']['clusters'] == 3
    assert len(table.rows) == 3


def test_clusters_of_prototypes_where_a_head_has_been_trained(setting):
    config, checkpoint, root = setting
    config.write_text(config.read_text() + IBOT)
    save_weights(config, checkpoint, seed=3)
    report, _ = run(CLUSTERING, setting, features=('avg',))
    assert [(row['model'], row['method']) for row in report['rows']] == [
        ('pre-trained', 'k-means'),
        ('pre-trained', 'prototypes'),
        ('random init', 'k-means'),
        ('random init', 'prototypes'),
        ('raw pixels', 'k-means'),
    ]
    teacher = load_model(config, checkpoint).teacher
    dataset = build_eval_datasets(load_config(config), root)[1]
    items = [dataset[index] for index in range(len(dataset))]
    inputs = (torch.stack([item['inputs'] for item in items]).flip(1).float() - 127.5) / 64
    with torch.no_grad():
        tokens = teacher.backbone.encode(inputs)
        assigned = teacher.projector.logits(teacher.projector(tokens.extra[:, 0])).argmax(1)
    expected = clustering_scores(assigned, [int(item['data_samples'].gt_label) for item in items])
    row = report['rows'][1]
    assert (row['nmi'], row['accuracy'], row['clusters']) == pytest.approx(
        (100 * expected['nmi'], 100 * expected['accuracy'], expected['clusters'])
    )


def test_masked_images(setting, features_of):
    config, checkpoint, root = setting
    report, (table,) = run(MASKED, setting, features=('avg',), ratios=(0.0, 0.5), seeds=(0,))
    row = report['rows'][0]
    probe = linear_probe(*arguments(features_of(7, 'avg')))
    assert row['attention']['0']['top1'] == row['random']['0']['top1'] == pytest.approx(probe.top1)

    # Independently: which half of the 16 patches goes black, and what the head of whole images says of the rest.
    model = load_model(config, checkpoint)
    train, val = features_of(7, 'avg')
    head = fit_linear_probe(train.features, train.labels, 3)[0]
    dataset = build_eval_datasets(load_config(config), root)[1]
    right = 0
    for path, label in zip(val.paths, val.labels.tolist(), strict=True):
        item = dataset[val.paths.index(path)]
        pixels = item['inputs'].flip(0)[None].float()
        with torch.no_grad():
            attention = model.backbone.encode((pixels - 127.5) / 64, cls_attention=True).cls_attention.mean(1)[0]
            for patch in attention.argsort(descending=True)[:8].tolist():
                top, left = 4 * (patch // 4), 4 * (patch % 4)
                pixels[..., top : top + 4, left : left + 4] = 0
            feature = model.backbone.encode((pixels - 127.5) / 64).patches.mean(1)
        right += int(head.logits(feature).argmax()) == label
    assert row['attention']['0.5']['top1'] == pytest.approx(100 * right / 9)
    assert [cells[:3] for cells in table.rows] == [
        [model, 'avg', how] for model in ('pre-trained', 'random init') for how in ('attention', 'random')
    ]


def test_random_masks_do_not_depend_on_the_batch_and_a_reference_is_another_network(setting, tmp_path):
    settings = dict(features=('avg',), ratios=(0.3, 0.6), seeds=())
    four, _ = run(MASKED, setting, **settings)
    nine, _ = run(MASKED, setting, **settings, batch_size=9)
    assert four['rows'] == nine['rows']
    save_weights(setting[0], tmp_path / 'other.pth', seed=1)
    other, (table,) = run(MASKED, setting, **settings, reference=(setting[0], tmp_path / 'other.pth'))
    assert other['rows'][0]['random'] == four['rows'][0]['random'] and 'other.pth' in ' '.join(table.notes)
    own, _ = run(MASKED, setting, **settings, reference=setting[:2])
    assert own['rows'] == four['rows']


@pytest.fixture
def nine(tmp_path):
    """Two classes told by colour, in all variations; in mixed_rand the colour is that of the other class."""
    root = tmp_path / 'in9'
    colours = {'00_dog': (200, 30, 30), '01_bird': (30, 30, 200)}
    for name in VARIATIONS:
        for place, kind in enumerate(colours):
            shown = list(colours.values())[1 - place if name == 'mixed_rand' else place]
            for split, count in (('train', 4), ('val', 2)):
                if split == 'val' or name == 'original':
                    folder = root / name / split / kind
                    folder.mkdir(parents=True)
                    for number in range(count):
                        pixels = np.full((16, 16, 3), shown, np.uint8) + np.uint8(5 * number)
                        Image.fromarray(pixels).save(folder / f'{number}.png')
    return root


def test_backgrounds(setting, nine):
    report, (table,) = run(BACKGROUNDS, (*setting[:2], nine), features=('avg',))
    for row in report['rows'][0], report['rows'][-1]:  # the checkpoint, pixels
        assert row['accuracy'] == {name: 0.0 if name == 'mixed_rand' else 100.0 for name in VARIATIONS}
        assert row['bg_gap'] == 100
    assert table.header == ['', 'feature', *VARIATIONS, 'BG-Gap'] and report['data']['images']['no_fg'] == 4


def test_backgrounds_by_a_head_of_other_classes(setting, nine, tmp_path):
    """Blue, green, red of the labelled folder; blue is a bird, red a dog, green nothing."""
    table = tmp_path / 'map.json'
    table.write_text(json.dumps({'0': 1, '1': -1, '2': 0}))
    options = dict(features=('avg',), seeds=(), head_root=setting[2], class_map=table)
    report, _ = run(BACKGROUNDS, (*setting[:2], nine), variations=('original', 'mixed_rand'), **options)
    accuracy = report['rows'][0]['accuracy']
    assert accuracy['original'] == 100 and accuracy['mixed_rand'] == 0 and 'bg_gap' not in report['rows'][0]
    table.write_text(json.dumps({'0': -1, '1': -1, '2': -1}))
    report, _ = run(BACKGROUNDS, (*setting[:2], nine), variations=('original',), **options)
    assert report['rows'][0]['accuracy']['original'] == 0


def test_backgrounds_need_a_head_that_fits(setting, nine):
    config, checkpoint, root = setting
    for options, message in (
        (dict(data_root=root), r'has no folder original/val; ImageNet-9 is'),
        (dict(head_root=root), 'has 3 classes, which are not the 2 of the variations.*--class-map'),
        (dict(head_root=nine / 'no_fg'), r'no_fg has no folder train/.*--head-root'),
        (dict(class_map='map.json'), 'give their folder as head_root'),
    ):
        with pytest.raises(ValueError, match=message):
            BACKGROUNDS.run(config, checkpoint, **dict(data_root=nine) | OPTIONS | options)
