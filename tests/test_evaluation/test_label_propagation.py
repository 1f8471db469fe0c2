"""Against a loop over patches, written from the description of the method."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mimselfsup.evaluation.label_propagation import Propagation, decide, first_labels, hand_on, propagate_labels


def frames_of(count, rows, columns, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, rows, columns, width, generator=generator)
    return features, torch.rand(rows, columns, 3, generator=generator).softmax(-1)


def by_hand(features, first, settings):
    """Plain loops in float64: one patch of one frame at a time, all its candidates sorted."""
    features = [frame.double() for frame in features]
    rows, columns = first.shape[:2]
    labels = [first.double()]
    for now in range(1, len(features)):
        context = sorted(
            {0, *range(max(now - settings.last_frames, 0), now)}
        )  # the first once, also while it is recent
        result = torch.zeros_like(labels[0])
        for row in range(rows):
            for column in range(columns):
                found = []
                for frame in context:
                    for r in range(rows):
                        for c in range(columns):
                            if settings.radius and max(abs(r - row), abs(c - column)) > settings.radius:
                                continue
                            cosine = F.cosine_similarity(
                                features[now][row, column], features[frame][r, c], dim=0
                            ).item()
                            found.append((cosine, labels[frame][r, c]))
                found = sorted(found, key=lambda pair: -pair[0])[: settings.top_k]
                weights = [math.exp(cosine / settings.temperature) for cosine, _ in found]
                for weight, (_, label) in zip(weights, found, strict=True):
                    result[row, column] += weight / sum(weights) * label
        labels.append(result)
    return labels[1:]


@pytest.mark.parametrize(
    'settings',
    [
        Propagation(last_frames=2, radius=1, top_k=3, temperature=0.2),
        Propagation(last_frames=1, radius=2, top_k=1),
        Propagation(last_frames=0, radius=0, top_k=4, temperature=0.5),
        Propagation(last_frames=7, radius=3, top_k=500),  # more than there are
    ],
    ids=['three of two', 'the nearest alone', 'from the first anywhere', 'all'],
)
def test_labels_are_those_of_a_loop_over_patches(settings, monkeypatch):
    monkeypatch.setattr('mimselfsup.evaluation.label_propagation.BLOCK', 2)  # squares that do not fill the grid
    features, first = frames_of(4, 3, 5)
    found = list(propagate_labels(features, first, settings))
    assert len(found) == 3
    for each, expected in zip(found, by_hand(features, first, settings), strict=True):
        torch.testing.assert_close(each, expected.float(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(each.sum(-1), torch.ones(3, 5))


def test_the_squares_in_which_patches_are_asked_change_nothing(monkeypatch):
    features, first = frames_of(3, 20, 37, width=8)
    settings = Propagation(radius=4)
    whole = []
    for block in (16, 64):
        monkeypatch.setattr('mimselfsup.evaluation.label_propagation.BLOCK', block)
        whole.append(torch.stack(list(propagate_labels(features, first, settings))))
    torch.testing.assert_close(*whole)


def test_equal_frames_keep_the_first_labels():
    features, _ = frames_of(1, 9, 14, width=64)
    objects = np.zeros((9, 14), np.uint8)
    objects[2:6, 3:8], objects[5:9, 9:13] = 1, 2
    first = first_labels(objects, (9, 14), 2)
    for each in propagate_labels(features.expand(12, -1, -1, -1), first):
        assert torch.equal(each.argmax(-1), torch.from_numpy(objects).long())
    for each in propagate_labels(features.expand(12, -1, -1, -1), first, Propagation(top_k=1)):
        torch.testing.assert_close(each, first)


def test_labels_go_along_with_what_moves_but_no_farther_than_the_radius():
    frame = frames_of(1, 8, 12, width=64)[0][0]
    first = torch.zeros(8, 12, 2)
    first[..., 0] = 1
    first[3, 4] = torch.tensor([0.0, 1.0])
    moved = frame.roll(3, 1)
    (found,) = propagate_labels([frame, moved], first, Propagation(radius=3, top_k=1))
    assert found[:, 3:, 1].nonzero().tolist() == [[3, 4]]  # the first three columns have come in at the other end
    (found,) = propagate_labels([frame, moved], first, Propagation(radius=2, top_k=1))
    assert found[3, 7, 1] == 0


def test_only_as_many_frames_are_held_as_are_handed_on():
    read = []

    def features():
        for index, frame in enumerate(frames_of(9, 2, 2)[0]):
            read.append(index)
            yield frame

    found = propagate_labels(features(), torch.ones(2, 2, 1))
    for expected in range(1, 9):
        next(found)
        assert read[-1] == expected


def test_memory_is_that_of_a_square_and_its_surroundings():
    """The largest tensor of a step at 40 x 70 tokens and 8 frames, where all pairs would be 251 MB."""
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and function is not torch.ops.aten.view.default:
                largest = max(largest, result.numel() * result.element_size())
            return result

    features = F.normalize(torch.randn(8, 40, 70, 4), dim=-1)
    with Watch():
        hand_on(features[0], features, torch.rand(8, 40, 70, 2), Propagation())
    assert largest == 256 * 8 * 36 * 40 * 4  # 12 MB: of the 40 x 40 around a square, 36 rows lie in the frame


def test_decision_stretches_each_label_to_its_range():
    soft = torch.zeros(2, 2, 3)
    soft[..., 0] = torch.tensor([[0.9, 0.9], [0.9, 0.6]])
    soft[1, 1, 1] = 0.1  # faint, but nowhere stronger; unstretched, it loses everywhere
    assert decide(soft, (4, 4), (4, 4)).tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert decide(soft, (4, 4), (2, 2)).tolist() == [[0, 0], [0, 1]]
    assert decide(torch.tensor([[[1.0, 0.0]]]), (2, 2), (3, 5)).tolist() == [[0] * 5] * 3  # background alone


def test_tokens_take_the_label_at_their_centre():
    objects = np.array([[1, 1, 1, 0, 0, 0], [1, 2, 1, 0, 0, 0], [1, 1, 1, 0, 0, 2]], np.uint8)
    assert first_labels(objects, (1, 2), 2).tolist() == [[[0, 0, 1], [1, 0, 0]]]


def test_wrong_arguments():
    with pytest.raises(ValueError, match='top_k=0, must be at least 1'):
        Propagation(top_k=0)
    with pytest.raises(ValueError, match='radius=-1, must be at least 0'):
        Propagation(radius=-1)
    with pytest.raises(ValueError, match='temperature=0, must be above 0'):
        Propagation(temperature=0)
    with pytest.raises(ValueError, match=r'first labels are \(2, 2\), the features \(2, 3\)'):
        next(propagate_labels(torch.rand(2, 2, 3, 4), torch.ones(2, 2, 1)))
