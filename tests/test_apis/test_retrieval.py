"""Retrieval from files to tables."""

import json
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mimselfsup.apis.model import load_model
from mimselfsup.apis.retrieval import PROTOCOL, evaluate_retrieval
from mimselfsup.datasets import read_image
from tests.test_engine.tiny import write_config

SCALES = (1.0, 2**-0.5, 0.5)
SIZES = [(20, 28), (28, 20), (24, 24)]


@pytest.fixture(scope='module')
def setting(tmp_path_factory):
    """Two places of one colour each: two such pictures (easy), two tinted ones (hard), two of junk; six others."""
    root = tmp_path_factory.mktemp('retrieval')
    folder = root / 'world' / 'retrieval' / 'rtiny' / 'jpg'
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names, queries, truths = [], [], []

    def save(name, colour, noise):
        height, width = SIZES[len(names) % 3]
        pixels = np.clip(colour + rng.normal(0, noise, (height, width, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{name}.jpg', quality=95)
        return name

    for place, colour in enumerate(([200.0, 60, 60], [60.0, 60, 200])):
        found = {}
        for kind, tint in (('easy', 0), ('hard', [40, 60, -40]), ('junk', [0, 30, 0])):
            found[kind] = [len(names), len(names) + 1]
            for _ in range(2):
                names.append(save(f'{kind}{len(names)}', np.array(colour) + tint, 30))
        queries.append(save(f'q{place}', colour, 30))
        truths.append(dict(bbx=[2, 2, 12, 14], **found))
    for _ in range(6):
        names.append(save(f'other{len(names)}', rng.uniform(40, 215, 3), 30))
    content = dict(imlist=names, qimlist=queries, gnd=truths)
    (folder.parent / 'gnd_rtiny.pkl').write_bytes(pickle.dumps(content))
    config = write_config(root / 'tiny.py')
    torch.save(dict(state_dict=load_model(config, seed=7).state_dict()), root / 'a.pth')
    return config, root / 'a.pth', root / 'world', content


def run(setting, **options):
    options = dict(seeds=(), workers=0, progress=False) | options
    return evaluate_retrieval(*setting[:3], **options)


def feature_of(model, path, longest, feature, box=None):
    """One picture alone, by the steps of the reference."""
    image = Image.fromarray(np.ascontiguousarray(read_image(path, 'rgb')))
    if box:
        longest = int(longest * (max(box[2] - box[0], box[3] - box[1])) / max(image.size))
        image = image.crop(box)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    pixels = (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() - 127.5) / 64
    total = 0
    for scale in SCALES:
        view = pixels[None] if scale == 1 else F.interpolate(pixels[None], scale_factor=scale, mode='bilinear')
        view = view[..., : view.shape[2] // 4 * 4, : view.shape[3] // 4 * 4]
        tokens = model.backbone.encode(view)
        total = total + (tokens.extra[:, 0] if feature == 'cls' else tokens.patches.mean(1))
    return F.normalize(total, dim=1)[0]


@pytest.mark.parametrize('crop', [False, True])
def test_numbers_are_those_of_one_picture_at_a_time(setting, crop):
    config, checkpoint, root, content = setting
    report = run(setting, crop_queries=crop, image_size=22, batch_size=4)
    model, folder = load_model(config, checkpoint), root / 'retrieval' / 'rtiny' / 'jpg'
    assert [row['feature'] for row in report['rows']] == ['cls', 'avg', 'pixels']
    for row in report['rows'][:2]:
        with torch.no_grad():
            images = torch.stack(
                [feature_of(model, folder / f'{n}.jpg', 22, row['feature']) for n in content['imlist']]
            )
        expected = dict(medium=[], hard=[])
        for name, truth in zip(content['qimlist'], content['gnd'], strict=True):
            with torch.no_grad():
                box = truth['bbx'] if crop else None
                query = feature_of(model, folder / f'{name}.jpg', 22, row['feature'], box)
            order = (images @ query).argsort(descending=True).tolist()
            for setting_name, wanted, left_out in (
                ('medium', truth['easy'] + truth['hard'], truth['junk']),
                ('hard', truth['hard'], truth['junk'] + truth['easy']),
            ):
                kept = [place for place in order if place not in left_out]
                ranks = sorted(kept.index(place) for place in wanted)
                pairs = [((j / r if r else 1) + (j + 1) / (r + 1)) / 2 for j, r in enumerate(ranks)]
                expected[setting_name].append(100 * sum(pairs) / len(wanted))
        for setting_name, values in expected.items():
            assert row['rtiny'][setting_name]['map'] == pytest.approx(np.mean(values)), (row['feature'], setting_name)


def test_report_and_tables(setting):
    report = json.loads(json.dumps(run(setting, seeds=(3, 4), features=['avg'])))
    assert [(row['model'], row['feature']) for row in report['rows']] == [
        ('pre-trained', 'avg'), ('random init', 'avg'), ('raw pixels', 'pixels')
    ]  # fmt: skip
    pretrained, random, pixels = (row['rtiny'] for row in report['rows'])
    assert pixels['medium']['p1'] == 100  # the colour of a place is in its pixels
    assert random['medium']['map_std'] >= 0 and 'map_std' not in pretrained['medium']
    facts = report['data']['sets']['rtiny']
    assert (facts['images'], facts['queries']) == (18, 2)
    assert 0 < facts['chance']['hard'] < facts['chance']['medium'] < 50
    assert report['settings']['image_size'] == round(16 * 512 / 224)
    (table,) = PROTOCOL.tables(report)
    text = str(table)
    assert f'{pretrained["hard"]["map"]:.1f}' in text and 'random init (2 seeds)' in text and '+-' in text
    assert 'queries not cropped' in text and 'Medium mAP' in text and 'Hard mAP' in text


def test_swin_of_any_size(setting, tmp_path):
    config = write_config(
        tmp_path / 'swin.py',
        "model.update(decoder=dict(type='LinearDecoder'))\n"
        "model['backbone'] = dict(type='MaskedSwin', img_size=64, window_size=2,\n"
        '    arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1]))\n',
    )
    torch.save(dict(state_dict=load_model(config, seed=7).state_dict()), tmp_path / 'a.pth')
    report = evaluate_retrieval(config, tmp_path / 'a.pth', setting[2], seeds=(), workers=0, progress=False)
    assert [row['feature'] for row in report['rows']] == ['avg', 'pixels']
    with pytest.raises(ValueError, match="feature 'cls': MaskedSwin has no"):
        evaluate_retrieval(
            config, tmp_path / 'a.pth', setting[2], features=['cls'], seeds=(), workers=0, progress=False
        )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(features=['pixels']), r"features=\['pixels'\], must be one or more of cls, avg"),
        (dict(scales=(1, 0)), r'scales=\[1, 0\], must be one or more positive numbers'),
        (dict(image_size=-1), 'image_size=-1 and pixel_size=32 must be at least 1'),
        (dict(sets=['rparis6k']), "has no set 'rparis6k'; there are rtiny"),
    ],
)
def test_bad_arguments(setting, options, message):
    with pytest.raises(ValueError, match=message):
        run(setting, **options)


def test_without_data(setting):
    with pytest.raises(ValueError, match='names no data folder'):
        evaluate_retrieval(*setting[:2], progress=False)
