"""The stand-in against formulas of its own: NMS and RoIAlign written out slowly, no torchvision in sight."""

import importlib
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

import mimselfsup  # noqa: F401  puts the stand-in in place
from mimselfsup.transfer.mmcv_ops import EXTENSION, _stand_in, install_mmcv_ops_stand_in

mmcv_ops = importlib.import_module('mmcv.ops')


@pytest.fixture
def extension(monkeypatch):
    """The stand-in under mmcv's own functions, also where this machine has the compiled operators."""
    module = _stand_in()
    for name in ('nms', 'roi_align'):
        monkeypatch.setattr(sys.modules[f'mmcv.ops.{name}'], 'ext_module', module)
    return module


@pytest.fixture(params=['stand-in'] + ['compiled'] * hasattr(sys.modules[EXTENSION], '__file__'))
def operators(request):
    """mmcv's own functions on the stand-in, and on its compiled operators where this machine has them."""
    if request.param == 'stand-in':
        request.getfixturevalue('extension')


def nms_by_hand(boxes, scores, threshold, offset):
    kept = []
    for i in np.argsort(-scores, kind='stable'):
        for j in kept:
            (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = boxes[i], boxes[j]
            width = max(0.0, min(ax2, bx2) - max(ax1, bx1) + offset)
            height = max(0.0, min(ay2, by2) - max(ay1, by1) + offset)
            union = (ax2 - ax1 + offset) * (ay2 - ay1 + offset)
            union += (bx2 - bx1 + offset) * (by2 - by1 + offset) - width * height
            if width * height / union > threshold:
                break
        else:
            kept.append(int(i))
    return kept


def random_boxes(count, seed):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 12, (count, 2))
    # Small boxes: there an offset of one pixel changes the answer. Of single precision, as compiled NMS wants them.
    boxes = np.concatenate([corner, corner + rng.uniform(1, 6, (count, 2))], 1)
    return tuple(each.astype(np.float32).astype(np.float64) for each in (boxes, rng.uniform(0, 1, count)))


def single(values):
    return torch.tensor(values, dtype=torch.float32)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.2, 0.5, 0.8])
def test_nms_equals_brute_force(operators, threshold, offset):
    for seed in range(5):
        boxes, scores = random_boxes(60, seed)
        dets, kept = mmcv_ops.nms(single(boxes), single(scores), threshold, offset=offset)
        expected = nms_by_hand(boxes, scores, threshold, offset)
        assert kept.tolist() == expected
        assert torch.equal(dets, single(np.concatenate([boxes, scores[:, None]], 1)[expected]))


def test_offset_matters_on_these_boxes():
    """Guards the test above: with boxes on which it made no difference, it would prove nothing."""
    boxes, scores = random_boxes(60, 0)
    assert nms_by_hand(boxes, scores, 0.5, 0) != nms_by_hand(boxes, scores, 0.5, 1)


def test_nms_keeps_boxes_it_was_given(extension):
    boxes, scores = (torch.tensor(x) for x in random_boxes(10, 0))
    before = boxes.clone()
    extension.nms(boxes, scores, iou_threshold=0.5, offset=1)
    assert torch.equal(boxes, before)


def test_nms_of_half_precision_and_of_no_boxes(extension):
    boxes, scores = (torch.tensor(x) for x in random_boxes(30, 1))
    boxes, scores = boxes.to(torch.bfloat16), scores.to(torch.bfloat16)
    expected = extension.nms(boxes.float(), scores.float(), iou_threshold=0.5)
    assert torch.equal(extension.nms(boxes, scores, iou_threshold=0.5), expected)
    assert extension.nms(torch.zeros(0, 4), torch.zeros(0), iou_threshold=0.5).tolist() == []


def test_batched_nms_never_lets_one_class_suppress_another(operators):
    boxes, scores = random_boxes(60, 2)
    classes = np.random.default_rng(3).integers(0, 3, 60)
    _, kept = mmcv_ops.batched_nms(
        single(boxes), single(scores), torch.tensor(classes), dict(type='nms', iou_threshold=0.4)
    )
    expected = set()
    for label in range(3):
        of_class = np.flatnonzero(classes == label)
        expected |= {int(of_class[i]) for i in nms_by_hand(boxes[of_class], scores[of_class], 0.4, 0)}
    assert set(kept.tolist()) == expected


@pytest.mark.parametrize(('score_threshold', 'max_num'), [(0.4, -1), (0, 7), (0.3, 5)])
def test_nms_of_the_better_boxes_alone(operators, score_threshold, max_num):
    """What mmcv does around the operator: boxes below a score never suppress, and only so many come out."""
    boxes, scores = random_boxes(60, 4)
    dets, kept = mmcv_ops.nms(single(boxes), single(scores), 0.5, score_threshold=score_threshold, max_num=max_num)
    good = np.flatnonzero(scores > score_threshold)
    expected = good[nms_by_hand(boxes[good], scores[good], 0.5, 0)][: max_num if max_num > 0 else None]
    assert kept.tolist() == expected.tolist()
    assert torch.equal(dets[:, 4], single(scores[expected]))


@pytest.mark.parametrize('split_thr', [10, 10000])
@pytest.mark.parametrize('offset', [0, 1])
def test_batched_nms_is_one_nms_per_class_best_first(operators, offset, split_thr):
    """By moved boxes for few of them, and class by class for many (split_thr)."""
    boxes, scores = random_boxes(60, 5)
    classes = np.random.default_rng(6).integers(0, 4, 60)
    config = dict(type='nms', iou_threshold=0.4, offset=offset, split_thr=split_thr)
    dets, kept = mmcv_ops.batched_nms(single(boxes), single(scores), torch.tensor(classes), config)
    expected = []
    for label in range(4):
        of_class = np.flatnonzero(classes == label)
        expected += of_class[nms_by_hand(boxes[of_class], scores[of_class], 0.4, offset)].tolist()
    expected.sort(key=lambda index: -scores[index])
    assert kept.tolist() == expected and 10 < len(expected) < 60
    np.testing.assert_allclose(dets[:, :4].numpy(), boxes[expected], atol=1e-5)  # moved and moved back


@pytest.mark.parametrize('agnostic', ['argument', 'config'])
def test_class_agnostic_nms_ignores_classes(operators, agnostic):
    boxes, scores = random_boxes(60, 7)
    config, flag = dict(type='nms', iou_threshold=0.4), agnostic == 'argument'
    if not flag:
        config['class_agnostic'] = True
    classes = torch.arange(60)
    _, kept = mmcv_ops.batched_nms(single(boxes), single(scores), classes, config, class_agnostic=flag)
    assert kept.tolist() == nms_by_hand(boxes, scores, 0.4, 0)


def roi_align_by_hand(images, rois, size, scale, sampling, aligned):
    """Mean of bilinear samples per bin. Samples more than a pixel outside the map count as zero."""
    _, channels, height, width = images.shape
    out = np.zeros((len(rois), channels, *size))

    def sample(image, y, x):
        if y < -1 or y > height or x < -1 or x > width:
            return np.zeros(channels)
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        top, left = min(int(y), height - 2), min(int(x), width - 2)
        dy, dx = y - top, x - left
        return (
            image[:, top, left] * (1 - dy) * (1 - dx)
            + image[:, top, left + 1] * (1 - dy) * dx
            + image[:, top + 1, left] * dy * (1 - dx)
            + image[:, top + 1, left + 1] * dy * dx
        )

    for r, (index, *corners) in enumerate(rois):
        x1, y1, x2, y2 = (c * scale - (0.5 if aligned else 0) for c in corners)
        roi_width, roi_height = x2 - x1, y2 - y1
        if not aligned:
            roi_width, roi_height = max(roi_width, 1.0), max(roi_height, 1.0)
        bin_height, bin_width = roi_height / size[0], roi_width / size[1]
        rows = sampling if sampling > 0 else max(1, int(np.ceil(bin_height)))
        columns = sampling if sampling > 0 else max(1, int(np.ceil(bin_width)))
        for i in range(size[0]):
            for j in range(size[1]):
                points = [
                    sample(
                        images[int(index)],
                        y1 + bin_height * (i + (a + 0.5) / rows),
                        x1 + bin_width * (j + (b + 0.5) / columns),
                    )
                    for a in range(rows)
                    for b in range(columns)
                ]
                out[r, :, i, j] = np.mean(points, axis=0)
    return out


ROIS = np.array(
    [[0, 1.0, 2.0, 17.5, 11.0], [1, -6.0, -3.0, 9.0, 30.0], [1, 4.2, 4.7, 5.1, 5.2], [0, 0.0, 0.0, 20.0, 24.0]]
)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling', [0, 2])
def test_roi_align_equals_bilinear_sampling(operators, sampling, aligned):
    images = np.random.default_rng(0).normal(size=(2, 3, 7, 6))
    out = mmcv_ops.roi_align(torch.tensor(images), torch.tensor(ROIS), (3, 2), 0.25, sampling, 'avg', aligned)
    expected = roi_align_by_hand(images, ROIS, (3, 2), 0.25, sampling, aligned)
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-12)


def test_roi_align_in_single_precision_is_that_of_double(operators):
    """What a detector runs; sizes of its own: 7 x 7 bins of a map of 1/16."""
    images = np.random.default_rng(1).normal(size=(2, 8, 20, 26)).astype(np.float32)
    rng = np.random.default_rng(2)
    corner = rng.uniform(-20, 300, (40, 2))
    rois = np.concatenate([rng.integers(0, 2, (40, 1)), corner, corner + rng.uniform(1, 200, (40, 2))], 1)
    out = mmcv_ops.RoIAlign(7, 1 / 16, 0)(torch.tensor(images), torch.tensor(rois, dtype=torch.float32))
    expected = roi_align_by_hand(images, rois.astype(np.float32), (7, 7), 1 / 16, 0, True)
    np.testing.assert_allclose(out.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling', [0, 2])
def test_roi_align_gradient_is_the_numerical_one(operators, sampling, aligned):
    images = torch.randn(2, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor(ROIS)
    assert torch.autograd.gradcheck(
        lambda x: mmcv_ops.roi_align(x, rois, (2, 3), 0.25, sampling, 'avg', aligned), images
    )


def test_roi_align_takes_bfloat16_features(extension):
    images = torch.randn(2, 3, 7, 6).bfloat16().requires_grad_()
    rois = torch.tensor(ROIS).bfloat16()
    out = mmcv_ops.roi_align(images, rois, (3, 2), 0.25, 2, 'avg', True)
    full = mmcv_ops.roi_align(images.detach().float(), rois.float(), (3, 2), 0.25, 2, 'avg', True)
    assert torch.equal(out, full.bfloat16())
    out.sum().backward()
    assert images.grad.dtype == torch.bfloat16 and images.grad.abs().sum() > 0


def test_max_pooling_is_refused_not_averaged(extension):
    with pytest.raises(NotImplementedError, match=r"roi_align with pool_mode='max'.*compile mmcv"):
        mmcv_ops.roi_align(torch.randn(1, 1, 4, 4), torch.tensor([[0, 0.0, 0, 4, 4]]), 2, 1.0, 2, 'max', True)


def test_another_operator_is_named_together_with_the_remedy(extension):
    boxes, scores = (torch.tensor(x, dtype=torch.float32) for x in random_boxes(5, 0))
    with pytest.raises(NotImplementedError) as error:
        mmcv_ops.soft_nms(boxes, scores)
    assert "operator 'softnms'" in str(error.value)
    assert '--no-build-isolation --no-cache-dir' in str(error.value)
    assert 'onedl-mmcv==' in str(error.value)


def test_dunder_lookups_are_not_operators(extension):
    """inspect and copy probe modules for such names and take any answer for a yes."""
    assert not hasattr(extension, '__file__')
    assert not hasattr(extension, '__wrapped__')


def test_an_extension_that_is_there_is_left_alone(monkeypatch):
    real = ModuleType(EXTENSION)
    monkeypatch.setitem(sys.modules, EXTENSION, real)
    assert install_mmcv_ops_stand_in() is False
    assert sys.modules[EXTENSION] is real


@pytest.fixture
def mmcv_of_this_test(tmp_path, monkeypatch):
    """A bare package called mmcv, first on the path, and no extension loaded yet."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').write_text('raise RuntimeError("looking must not import mmcv")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, EXTENSION, raising=False)
    for name in [name for name in sys.modules if name == 'mmcv' or name.startswith('mmcv.')]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    return tmp_path / 'mmcv'


def test_a_compiled_extension_on_disk_wins(mmcv_of_this_test):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (mmcv_of_this_test / f'_ext{suffix}').write_bytes(b'')
    assert install_mmcv_ops_stand_in() is False
    assert EXTENSION not in sys.modules


def test_without_one_the_stand_in_goes_in_and_has_a_spec(mmcv_of_this_test):
    assert install_mmcv_ops_stand_in() is True
    # MMEngine asks this question before it builds a Runner; a module without a spec is an error there.
    assert importlib.util.find_spec(EXTENSION).name == EXTENSION
    del sys.modules[EXTENSION]


def test_detectors_import_and_the_package_itself_stays_light():
    code = (
        'import sys, mimselfsup\n'
        'assert "torchvision" not in sys.modules and "mmcv" not in sys.modules, "import of mimselfsup is heavy"\n'
        'import mmdet.models\n'
        'from mmengine.utils.dl_utils import mmcv_full_available\n'
        'assert mmcv_full_available()\n'
        'print("detectors", len(mmdet.registry.MODELS))\n'
    )
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('detectors')
