"""The federated loss against its definition, class by class, and within mmdet's box head."""

from collections import Counter
from itertools import permutations

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from mimselfsup.transfer.models import FederatedLoss


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def by_hand(scores, labels, classes):
    total = 0.0
    for logits, label in zip(scores, labels, strict=True):
        for each in classes:
            chance = logits[each].sigmoid()
            total -= (chance if label == each else 1 - chance).log()
    return total / len(labels)


@pytest.mark.parametrize(
    'sampled, counts, classes',
    [
        (None, [5, 1, 2, 9, 0, 3], range(6)),
        (7, [5, 1, 2, 9, 8, 3], range(6)),  # background is one of the seven
        (3, [5, 1, 2, 9, 4, 3], [1, 4]),  # two classes and background are there: none is drawn
        (2, [5, 1, 2, 9, 4, 3], [1, 4]),  # all that are there count, also beyond what is asked for
        (50, [0, 1, 0, 9, 4, 0], [1, 3, 4]),  # classes without an image are never drawn
    ],
)
def test_the_sum_over_the_classes_that_count(sampled, counts, classes):
    scores = torch.randn(5, 6, dtype=torch.float64)
    labels = torch.tensor([4, 6, 1, 4, 6])  # 6 is background
    loss = FederatedLoss(6, sampled, class_counts=counts, loss_weight=2.0)
    expected = by_hand(scores, labels, classes)
    torch.testing.assert_close(loss(scores, labels), 2 * expected)
    weights = torch.tensor([1.0, 1, 1, 1, 0])
    four = by_hand(scores[:4], labels[:4], classes)
    torch.testing.assert_close(loss(scores, labels, weights, avg_factor=4), 2 * four)


@pytest.mark.parametrize('power', [0.5, 0.0])
def test_classes_are_drawn_without_replacement_in_proportion_to_their_weights(power):
    """Two of four beside the one that is there; the chance of a pair is that of drawing them one after the other."""
    counts = torch.tensor([1.0, 4, 16, 9, 0, 25])
    loss = FederatedLoss(6, sampled=3, power=power, class_counts=counts)
    labels, draws = torch.tensor([5, 5]), 3000
    seen = Counter(tuple(loss.draw_classes(labels).nonzero().flatten().tolist()) for _ in range(draws))
    weights = counts[:4] ** power
    chances = Counter()
    for first, second in permutations(range(4), 2):
        share = weights[first] / weights.sum() * weights[second] / (weights.sum() - weights[first])
        chances[(*sorted((first, second)), 5)] += share.item()
    assert seen.keys() == chances.keys()
    for pair, chance in chances.items():
        assert abs(seen[pair] / draws - chance) < 4.5 * (chance * (1 - chance) / draws) ** 0.5


def test_without_counts_it_says_what_is_missing():
    with pytest.raises(ValueError, match='ClassCountsHook'):
        FederatedLoss(6)(torch.zeros(1, 6), torch.tensor([0]))


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: FederatedLoss(6, sampled=0), 'sampled=0'),
        (lambda: FederatedLoss(6, class_counts=[1, 2]), 'counts of 2 classes, but num_classes=6'),
        (lambda: FederatedLoss(6).get_cls_channels(80), 'num_classes=6, but that of its head is 80'),
    ],
)
def test_arguments_that_do_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.fixture
def scope_of_mmdet():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def test_in_a_box_head_of_mmdet(scope_of_mmdet):
    """Scores are sigmoids of as many logits as classes, and boxes of every class above the threshold come out."""
    from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead  # after the stand-in for mmcv's operators

    head = ConvFCBBoxHead(
        num_shared_convs=1,
        num_shared_fcs=1,
        in_channels=4,
        conv_out_channels=4,
        fc_out_channels=8,
        roi_feat_size=2,
        num_classes=3,
        norm_cfg=dict(type='mmpretrain.LN2d'),
        loss_cls=dict(type='mimselfsup.FederatedLoss', num_classes=3, class_counts=[1, 2, 3]),
    )
    scores, deltas = head(torch.randn(2, 4, 2, 2))
    assert scores.shape == (2, 3)
    rois = torch.tensor([[0.0, 0, 0, 8, 8], [0, 20, 20, 30, 30]])
    targets = torch.tensor([2, 3]), torch.ones(2), torch.zeros(2, 4), torch.zeros(2, 4)
    losses = head.loss(scores, deltas, rois, *targets)
    torch.testing.assert_close(losses['loss_cls'], by_hand(scores, targets[0], range(3)))
    assert losses['acc_classes'] == 100.0 * (scores[0].argmax() == 2)
    logits = torch.tensor([[3.0, -9, 1], [-9, -9, -9]])
    config = ConfigDict(score_thr=0.1, nms=dict(type='nms', iou_threshold=0.5), max_per_img=10)
    (found,) = head.predict_by_feat(
        (rois,), (logits,), (torch.zeros(2, 12),), [dict(img_shape=(40, 40))], rcnn_test_cfg=config
    )
    assert found.labels.tolist() == [0, 2]
    torch.testing.assert_close(found.scores, torch.tensor([3.0, 1]).sigmoid())
