"""The metric of LVIS against its rules written out slowly, that of COCO against pycocotools, and the toy files."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mimselfsup.datasets.scenes import write_scenes
from mimselfsup.transfer import lvis
from mimselfsup.transfer.detection import FasterCocoMetric
from mimselfsup.transfer.lvis import LVISDataset, LVISFasterMetric

SIDE, CATEGORIES, PICTURES = 140, 6, 16
THRESHOLDS = np.linspace(0.5, 0.95, 10)


def rle(box):
    """An ellipse within a box (x, y, w, h)."""
    x, y, w, h = box
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    inside = ((columns - x - w / 2) / (w / 2)) ** 2 + ((rows - y - h / 2) / (h / 2)) ** 2 <= 1
    code = coco_mask.encode(np.asfortranarray(inside, dtype=np.uint8))
    return dict(size=code['size'], counts=code['counts'].decode())


def code_of(mask):
    return coco_mask.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))


def random_truth(seed, crowds=False):
    """Annotations of random pictures, of sizes from small to large; every third category of a picture is incomplete."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(1, PICTURES + 1):
        shown = rng.choice(CATEGORIES, rng.integers(1, 4), replace=False) + 1
        absent = sorted({*range(1, CATEGORIES + 1)} - {*shown.tolist()})
        images.append(
            dict(
                id=number,
                coco_url=f'http://host/val/{number}.jpg',
                file_name=f'{number}.jpg',
                width=SIDE,
                height=SIDE,
                neg_category_ids=absent[:2],
                not_exhaustive_category_ids=[int(each) for each in shown if rng.random() < 1 / 3],
            )
        )
        for category in shown:
            for _ in range(rng.integers(1, 4)):
                size = rng.uniform(8, 135, 2)
                x, y = rng.uniform(0, SIDE - size)
                mask = rle((x, y, *size))
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=number,
                        category_id=int(category),
                        bbox=[x, y, *size.tolist()],
                        area=float(coco_mask.area(mask)),
                        segmentation=mask,
                    )
                )
                if crowds:
                    annotations[-1]['iscrowd'] = int(rng.random() < 0.25)
    categories = [dict(id=i, name=f'c{i}', frequency='rcf'[i % 3], image_count=1) for i in range(1, CATEGORIES + 1)]
    return dict(images=images, annotations=annotations, categories=categories)


def random_predictions(truth, seed, noise=40, masks=True):
    """Shaken truth, and ``noise`` boxes per picture of any category."""
    rng = np.random.default_rng(seed)
    samples = []
    for image in truth['images']:
        boxes, labels = [], []
        for item in truth['annotations']:
            if item['image_id'] == image['id'] and rng.random() < 0.9:
                boxes.append(np.array(item['bbox']) * rng.normal(1, 0.05, 4))
                labels.append(item['category_id'] - 1)
        for _ in range(noise):
            size = rng.uniform(8, 125, 2)
            boxes.append([*rng.uniform(0, SIDE - size), *size])
            labels.append(int(rng.integers(CATEGORIES)))
        boxes = np.array(boxes)
        scores = rng.random(len(boxes)) * np.where(np.arange(len(boxes)) < len(boxes) - noise, 1, 0.7)
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
        instances = dict(bboxes=torch.tensor(corners), scores=torch.tensor(scores), labels=torch.tensor(labels))
        if masks:
            instances['masks'] = torch.from_numpy(np.stack([coco_mask.decode(rle(box)) for box in boxes]) > 0)
        samples.append(dict(img_id=image['id'], ori_shape=(SIDE, SIDE), pred_instances=instances))
    return samples


def score(metric, truth, samples):
    metric.dataset_meta = dict(classes=[each['name'] for each in truth['categories']])
    metric.process({}, copy.deepcopy(samples))
    return metric.evaluate(len(samples))


def write(path, content):
    path.write_text(json.dumps(content))
    return str(path)


# ------------------------------------------------------------------------------- LVIS, written out


def lvis_by_hand(truth, samples, kind, limit=300):
    """AP of LVIS: greedy matching by score, per category, threshold and range of area; 101-point precision."""
    ranges = dict(AP=(0, 1e10), APs=(0, 32**2), APm=(32**2, 96**2), APl=(96**2, 1e10))
    curves = {name: {} for name in ranges}
    for category in [each['id'] for each in truth['categories']]:
        for name, (low, high) in ranges.items():
            found, wanted = [], 0
            for image, sample in zip(truth['images'], samples, strict=True):
                own = [a for a in truth['annotations'] if a['image_id'] == image['id'] and a['category_id'] == category]
                if not own and category not in image['neg_category_ids']:
                    continue  # nobody looked for it here
                incomplete = category in image['not_exhaustive_category_ids']
                pred = sample['pred_instances']
                best = np.argsort(-pred['scores'].numpy(), kind='stable')[:limit]
                best = [i for i in best if pred['labels'][i] == category - 1]
                boxes = pred['bboxes'].numpy()[best].reshape(-1, 4)
                boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
                # Those within the range come first, so that the others are matched only for want of one of them.
                own = sorted(own, key=lambda a: not low <= a['area'] < high)
                outside = [not low <= a['area'] < high for a in own]
                wanted += len(own) - sum(outside)
                if kind == 'segm':
                    codes = [
                        coco_mask.encode(np.asfortranarray(pred['masks'][i].numpy().astype(np.uint8))) for i in best
                    ]
                    overlaps = coco_mask.iou(codes, [a['segmentation'] for a in own], [0] * len(own))
                else:
                    overlaps = coco_mask.iou(boxes, np.array([a['bbox'] for a in own]).reshape(-1, 4), [0] * len(own))
                for t, threshold in enumerate(THRESHOLDS):
                    free = set(range(len(own)))
                    for d, i in enumerate(best):
                        match, reached = None, threshold
                        for g in range(len(own)):
                            if g not in free or (match is not None and not outside[match] and outside[g]):
                                continue
                            if overlaps[d][g] >= reached:
                                match, reached = g, overlaps[d][g]
                        area = boxes[d][2] * boxes[d][3]
                        if match is None:
                            ignored = incomplete or not low <= area < high
                        else:
                            free.discard(match)
                            ignored = outside[match]
                        if not ignored:
                            found.append((t, float(pred['scores'][i]), match is not None))
            if wanted:
                curves[name][category] = [
                    average_precision([f[1:] for f in found if f[0] == t], wanted) for t in range(10)
                ]
    groups = {g: [c['id'] for c in truth['categories'] if c['frequency'] == g] for g in 'rcf'}
    results = {name: mean_of(curve.values()) for name, curve in curves.items()}
    results |= {f'AP{p}': mean_of([v[i] for v in curves['AP'].values()]) for p, i in ((50, 0), (75, 5))}
    results |= {f'AP{g}': mean_of([curves['AP'][c] for c in ids if c in curves['AP']]) for g, ids in groups.items()}
    return results


def average_precision(found, wanted):
    """found: (score, right) of all detections that count."""
    right = np.cumsum([hit for _, hit in sorted(found, key=lambda each: -each[0])])
    precision = right / np.arange(1, len(right) + 1) if len(right) else right
    recall = right / wanted
    points = []
    for least in np.linspace(0, 1, 101):
        reached = precision[recall >= least]
        points.append(reached.max() if len(reached) else 0.0)
    return float(np.mean(points))


def mean_of(values):
    values = list(values)
    return float(np.mean(values)) if values else -1.0


@pytest.mark.parametrize('at_a_time', [CATEGORIES, 4])
def test_scores_are_those_of_the_rules(tmp_path, monkeypatch, at_a_time):
    monkeypatch.setattr(lvis, 'CATEGORIES_AT_A_TIME', at_a_time)
    truth = random_truth(0)
    samples = random_predictions(truth, 10)
    found = score(LVISFasterMetric(write(tmp_path / 'lvis.json', truth), metric=['bbox', 'segm']), truth, samples)
    assert len(found) == 18
    for kind in ('bbox', 'segm'):
        expected = lvis_by_hand(truth, samples, kind)
        got = {name: found[f'lvis/{kind}_{name}'] for name in expected}
        assert got == pytest.approx(expected, abs=1e-9)
        assert min(got.values()) >= 0 and 0.05 < got['AP'] < 0.9 and len(set(got.values())) == 9


def test_a_picture_of_which_nothing_is_known_changes_nothing(tmp_path):
    """LVIS has some without annotations; faster-coco-eval stops at their masks with an index error."""
    truth = random_truth(0)
    blank = dict(truth['images'][0], id=PICTURES + 1, neg_category_ids=[], not_exhaustive_category_ids=[])
    samples = random_predictions(truth, 10)
    metric = LVISFasterMetric(write(tmp_path / 'lvis.json', truth), metric=['bbox', 'segm'])
    expected = score(metric, truth, samples)
    truth['images'].append(blank)
    metric = LVISFasterMetric(write(tmp_path / 'lvis.json', truth), metric=['bbox', 'segm'])
    assert score(metric, truth, [*samples, dict(samples[0], img_id=blank['id'])]) == expected


def test_three_hundred_of_a_picture_count_over_all_categories(tmp_path):
    """Per category, as in COCO's code, others would be left."""
    truth = random_truth(2)
    truth['images'] = truth['images'][:4]
    truth['annotations'] = [item for item in truth['annotations'] if item['image_id'] <= 4]
    samples = random_predictions(truth, 3, noise=420, masks=False)
    found = score(LVISFasterMetric(write(tmp_path / 'lvis.json', truth)), truth, samples)
    expected, unlimited = (lvis_by_hand(truth, samples, 'bbox', limit) for limit in (300, 10**6))
    assert found['lvis/bbox_AP'] == pytest.approx(expected['AP'], abs=1e-9)
    assert abs(expected['AP'] - unlimited['AP']) > 1e-4


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        ({}, 1.0),  # not annotated, not denied: the second detection is nothing
        (dict(neg_category_ids=[2]), 0.75),  # denied: before the right one of category 2, which another picture shows
        (dict(second=1), 0.75),  # of the category itself: wrong, and before the right one
        (dict(second=1, not_exhaustive_category_ids=[1]), 1.0),
        (dict(second=1, labelled=False), 1.0),  # without truth there is nothing to score: category 2 alone
    ],
)
def test_one_wrong_detection(tmp_path, change, expected):
    """The picture shows one object of category 1, found; a better score goes to a detection beside it. Another picture
    shows one of category 2, found: AP is the mean of both."""
    image = dict(id=7, coco_url='http://host/a/7.jpg', width=SIDE, height=SIDE)
    image |= dict(neg_category_ids=[], not_exhaustive_category_ids=[])
    image |= {key: value for key, value in change.items() if key in image}
    other = dict(image, id=8, coco_url='http://host/a/8.jpg', neg_category_ids=[], not_exhaustive_category_ids=[])
    box = dict(id=1, image_id=7, category_id=1, bbox=[10, 10, 20, 20], area=400, segmentation=rle((10, 10, 20, 20)))
    found_elsewhere = dict(box, id=2, image_id=8, category_id=2)
    truth = dict(
        images=[image, other],
        annotations=[box, found_elsewhere] if change.get('labelled', True) else [found_elsewhere],
        categories=[dict(id=i, name=f'c{i}', frequency='f') for i in (1, 2)],
    )
    instances = dict(
        bboxes=torch.tensor([[10.0, 10, 30, 30], [100, 100, 130, 130]]),
        scores=torch.tensor([0.5, 0.9]),
        labels=torch.tensor([0, change.get('second', 2) - 1]),
    )
    right = dict(
        bboxes=torch.tensor([[10.0, 10, 30, 30]]),
        scores=torch.tensor([0.5]),
        labels=torch.tensor([1]),
    )
    samples = [
        dict(img_id=number, ori_shape=(SIDE, SIDE), pred_instances=each)
        for number, each in ((7, instances), (8, right))
    ]
    found = score(LVISFasterMetric(write(tmp_path / 'lvis.json', truth)), truth, samples)
    assert found['lvis/bbox_AP'] == pytest.approx(expected)
    assert found['lvis/bbox_APr'] == -1


def test_an_empty_detector_scores_nothing_and_is_no_error(tmp_path):
    truth = random_truth(0)
    empty = dict(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.long))
    samples = [dict(img_id=i['id'], ori_shape=(SIDE, SIDE), pred_instances=empty) for i in truth['images']]
    found = score(LVISFasterMetric(write(tmp_path / 'lvis.json', truth)), truth, samples)
    assert set(found.values()) == {0.0}


def test_wrong_settings_are_named(tmp_path):
    path = write(tmp_path / 'lvis.json', random_truth(0))
    with pytest.raises(ValueError, match=r"metric='proposal', must be bbox or segm"):
        LVISFasterMetric(path, metric='proposal')
    with pytest.raises(ValueError, match=r"metric_items='mAP', must be among AP, AP50"):
        LVISFasterMetric(path, metric_items=['mAP'])


# -------------------------------------------------------------------------------------------- COCO


def test_the_fast_metric_of_coco_is_pycocotools(tmp_path):
    truth = random_truth(1, crowds=True)
    samples = random_predictions(truth, 21)
    path = write(tmp_path / 'coco.json', truth)
    found = score(FasterCocoMetric(ann_file=path, metric=['bbox', 'segm']), truth, samples)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(path)
        for kind in ('bbox', 'segm'):
            evaluation = COCOeval(reference, reference.loadRes(as_results(samples, kind)), kind)
            evaluation.params.maxDets = [100, 300, 1000]
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            # Its own summary wants another list of maxDets: what the curves say, the last of them.
            for index, name in enumerate(('mAP', 'mAP_s', 'mAP_m', 'mAP_l')):
                precision = evaluation.eval['precision'][:, :, :, index, -1]
                assert found[f'coco/{kind}_{name}'] == pytest.approx(precision[precision > -1].mean(), abs=5.1e-4)
            half = evaluation.eval['precision'][0, :, :, 0, -1]
            assert found[f'coco/{kind}_mAP_50'] == pytest.approx(half[half > -1].mean(), abs=5.1e-4)
            assert 0.05 < found[f'coco/{kind}_mAP'] < 0.9


def test_a_detector_that_finds_nothing_has_a_score_of_coco_too(tmp_path):
    truth = random_truth(1)
    truth['annotations'] = [each for each in truth['annotations'] if each['area'] < 96**2]
    empty = dict(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.long))
    samples = [dict(img_id=each['id'], ori_shape=(SIDE, SIDE), pred_instances=empty) for each in truth['images']]
    found = score(FasterCocoMetric(ann_file=write(tmp_path / 'coco.json', truth), metric='bbox'), truth, samples)
    names = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m')
    assert found == {f'coco/bbox_{name}': 0.0 for name in names} | {'coco/bbox_mAP_l': -1.0}
    one = [copy.deepcopy(samples[0]), *samples[1:]]
    box = next(each for each in truth['annotations'] if each['image_id'] == samples[0]['img_id'])
    x, y, width, height = box['bbox']
    one[0]['pred_instances'] = dict(
        bboxes=torch.tensor([[x, y, x + width, y + height]]),
        scores=torch.ones(1),
        labels=torch.tensor([box['category_id'] - 1]),
    )
    found = score(FasterCocoMetric(ann_file=str(tmp_path / 'coco.json'), metric='bbox'), truth, one)
    assert found['coco/bbox_mAP'] > 0


def as_results(samples, kind):
    results = []
    for sample in samples:
        pred = sample['pred_instances']
        for box, label, value, mask in zip(*(pred[k] for k in ('bboxes', 'labels', 'scores', 'masks')), strict=True):
            item = dict(image_id=sample['img_id'], category_id=int(label) + 1, score=float(value))
            if kind == 'bbox':
                item['bbox'] = torch.cat([box[:2], box[2:] - box[:2]]).tolist()
            else:
                item['segmentation'] = code_of(mask)
            results.append(item)
    return results


# ------------------------------------------------------------------------------------- the toy files


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp('lvis') / 'world'
    write_scenes(out, 240, 40, size=32, num_objects=(1, 4), workers=1, quiet=True, layouts=('coco', 'lvis'))
    return out


def read(world, name):
    return json.loads((world / 'annotations' / name).read_text())


def test_groups_have_a_long_tail(world):
    classes = (world / 'classes.txt').read_text().split()
    truth, whole = read(world, 'lvis_v1_train.json'), read(world, 'instances_train.json')
    assert [each['name'] for each in truth['categories']] == classes

    def pictures_with(content, category):
        return {a['image_id'] for a in content['annotations'] if a['category_id'] == category}

    for category in truth['categories']:
        annotated, shown = (pictures_with(each, category['id']) for each in (truth, whole))
        share = dict(f=1, c=5, r=25)[category['frequency']]
        assert len(annotated) == category['image_count'] == -(-len(shown) // share)
        assert annotated <= shown
    assert [each['frequency'] for each in truth['categories']][:4] == ['f', 'c', 'r', 'f']


@pytest.mark.parametrize('split', ['train', 'val'])
def test_what_is_said_of_a_picture_is_true(world, split):
    truth, whole = read(world, f'lvis_v1_{split}.json'), read(world, f'instances_{split}.json')
    objects = {(a['image_id'], tuple(a['bbox'])) for a in whole['annotations']}
    incomplete = 0
    for image, same in zip(truth['images'], whole['images'], strict=True):
        assert 'file_name' not in image and image['coco_url'].endswith('.org/' + same['file_name'])
        own = [a for a in truth['annotations'] if a['image_id'] == image['id']]
        shown = [a['category_id'] for a in whole['annotations'] if a['image_id'] == image['id']]
        assert {(a['image_id'], tuple(a['bbox'])) for a in own} <= objects
        assert image['neg_category_ids'] and not {*image['neg_category_ids']} & {*shown}
        for category in {a['category_id'] for a in own}:
            left_out = shown.count(category) - [a['category_id'] for a in own].count(category)
            assert left_out in (0, 1)
            assert not left_out or category in image['not_exhaustive_category_ids']
            incomplete += left_out
        if split == 'val':
            assert {a['category_id'] for a in own} == {*shown}
    assert incomplete
    assert {c for image in truth['images'] for c in image['neg_category_ids']} == set(range(1, 11))


def test_the_data_set_reads_them(world):
    data = LVISDataset(
        data_root=str(world), ann_file='annotations/lvis_v1_val.json', data_prefix=dict(img=''), num_classes=10,
        test_mode=True, pipeline=[],
    )  # fmt: skip
    truth = read(world, 'lvis_v1_val.json')
    assert len(data) == 40 and data.metainfo['classes'] == tuple(c['name'] for c in truth['categories'])
    info = data.get_data_info(3)
    whole = read(world, 'instances_val.json')
    assert info['img_path'] == str(world / whole['images'][3]['file_name'])
    own = [a for a in truth['annotations'] if a['image_id'] == 4]
    assert [i['bbox_label'] + 1 for i in info['instances']] == [a['category_id'] for a in own]
    assert [i['bbox'] for i in info['instances']] == [[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in own)]


def test_pictures_in_another_place_are_missed_at_once(world):
    with pytest.raises(
        FileNotFoundError,
        match=r'does not exist, .* that .*lvis_v1_val\.json lists: the folders that they name .train2017',
    ):
        LVISDataset(
            data_root=str(world), ann_file='annotations/lvis_v1_val.json', data_prefix=dict(img='val/'), num_classes=10
        )
