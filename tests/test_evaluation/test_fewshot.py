import statistics

import pytest
import torch

from mimselfsup.evaluation.features import Features
from mimselfsup.evaluation.fewshot import PROTOCOL, few_shot_knn, few_shot_subset, images_needed
from mimselfsup.evaluation.knn import knn_classify


def make(count, classes=3, seed=0, width=8):
    """In no order: paths sort by class and number, rows do not."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count * classes, generator=generator)
    labels = order % classes
    paths = [f'root/{label}/{number:03d}.png' for label, number in zip(labels.tolist(), order.tolist(), strict=True)]
    features = torch.nn.functional.one_hot(labels, width) + torch.randn(len(order), width, generator=generator)
    return Features(features, labels, paths)


def names(found, subset):
    return {label: [found.paths[i] for i in subset.tolist() if found.labels[i] == label] for label in range(3)}


def test_subset_is_a_slice_of_each_class_by_sorted_path():
    train = make(12)
    subset, ended = few_shot_subset(train.labels, train.paths, 5, 5)
    assert ended == 0
    for label, chosen in names(train, subset).items():
        assert chosen == sorted(path for path in train.paths if f'/{label}/' in path)[5:10]


def test_a_class_that_ends_early_gives_its_last_images_or_all():
    train = make(12)
    kept = [i for i, path in enumerate(train.paths) if '/1/' not in path or int(path[-7:-4]) < 3 * 8]  # 8 of class 1
    kept = [i for i in kept if '/2/' not in train.paths[i] or int(train.paths[i][-7:-4]) < 3 * 3]  # 3 of class 2
    train = train.rows(torch.tensor(kept))
    subset, ended = few_shot_subset(train.labels, train.paths, 5, 5)
    chosen = names(train, subset)
    assert ended == 2
    assert [int(path[-7:-4]) // 3 for path in chosen[0]] == [5, 6, 7, 8, 9]
    assert [int(path[-7:-4]) // 3 for path in chosen[1]] == [3, 4, 5, 6, 7]
    assert [int(path[-7:-4]) // 3 for path in chosen[2]] == [0, 1, 2]


def test_settings_are_those_of_attmask():
    assert {shots: (each.starts, each.k) for shots, each in PROTOCOL.items()} == {
        1: ((0, 5, 10, 15, 20), 1),
        5: ((0, 5, 10, 15, 20), 20),
        10: ((0, 10, 20, 30, 40), 20),
        20: ((0, 20, 40, 60, 80), 20),
    }
    assert images_needed((1, 5)) == 25 and images_needed((1, 20)) == 100


def test_numbers_are_mean_and_deviation_of_k_nn_from_each_subset():
    train, val = make(50), make(20, seed=1)
    found = few_shot_knn(train, val, (1, 5, 10))
    for shots, k in ((1, 1), (5, 15), (10, 20)):  # 15: so many images are in a subset
        runs = []
        for start in PROTOCOL[shots].starts:
            chosen = [i for i, path in enumerate(train.paths) if start <= int(path[-7:-4]) // 3 < start + shots]
            assert len(chosen) == 3 * shots
            subset = train.rows(torch.tensor(chosen))
            runs.append(knn_classify(subset.features, subset.labels, val.features, val.labels, (k,))[k]['top1'])
        assert found[shots]['top1'] == pytest.approx(statistics.fmean(runs))
        assert found[shots]['top1_subsets'] == pytest.approx(statistics.stdev(runs)) and found[shots]['ended'] == 0
    assert len({values['top1'] for values in found.values()}) == 3


def test_other_shots_are_refused():
    with pytest.raises(ValueError, match='shots=3, must be one of 1, 5, 10, 20'):
        few_shot_knn(make(5), make(5), (3,))
