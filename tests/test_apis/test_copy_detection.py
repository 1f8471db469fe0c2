"""Copy detection from files to tables."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mimselfsup.apis.copy_detection import PROTOCOL, evaluate_copy_detection
from mimselfsup.apis.model import load_model
from tests.test_engine.tiny import write_config


@pytest.fixture
def setting(tmp_path):
    """Six coarse patterns; strong copies are mirrored in brightness, crops are exact copies, three patterns more."""
    rng = np.random.default_rng(0)
    root = tmp_path / 'copydays'

    def save(name, pattern):
        path = root / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pattern.repeat(6, 0).repeat(8, 1)).save(path)

    for number in range(6):
        pattern = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        save(f'original/20{number}000', pattern)
        save(f'crops/10/20{number}000', pattern)
        save(f'strong/20{number}001', 255 - pattern)
        save(
            f'strong/20{number}002',
            np.clip(pattern.astype(int) + rng.integers(-90, 90, pattern.shape), 0, 255).astype(np.uint8),
        )
    for folder, count in (('distractors', 3), ('whitening', 60)):
        for number in range(count):
            save(f'{folder}/{number}', rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    config = write_config(tmp_path / 'tiny.py')
    torch.save(dict(state_dict=load_model(config, seed=7).state_dict()), tmp_path / 'a.pth')
    return config, tmp_path / 'a.pth', tmp_path


def run(setting, **options):
    options = dict(seeds=(), workers=0, progress=False) | options
    return evaluate_copy_detection(*setting, **options)


@torch.no_grad()
def features_of(model, folder):
    rows = []
    for path in sorted(folder.iterdir()):
        image = Image.open(path).resize((16, 16), Image.Resampling.BICUBIC)
        pixels = (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() - 127.5) / 64
        tokens = model.backbone.encode(pixels[None])
        rows.append(torch.cat([tokens.extra[0, 0], tokens.patches[0].clamp(min=1e-6).pow(4).mean(0).pow(1 / 4)]))
    return torch.stack(rows).double()


@pytest.mark.parametrize('whitened', [True, False])
def test_numbers_are_those_of_the_steps_one_by_one(setting, whitened):
    config, checkpoint, root = setting
    model, data = load_model(config, checkpoint), root / 'copydays'
    report = run(setting, **(dict() if whitened else dict(whitening='none')))
    parts = [features_of(model, data / name) for name in ('original', 'distractors', 'strong')]
    if whitened:
        other = features_of(model, data / 'whitening')
        values, axes = np.linalg.eigh((other.T @ other / len(other)).numpy())
        values = np.maximum(values, 1e-5 * values.max())
        parts = [((part - other.mean(0)).numpy() @ axes) / np.sqrt(values) for part in parts]
    originals, distractors, queries = (F.normalize(torch.as_tensor(part), dim=1) for part in parts)
    likeness = queries @ torch.cat([originals, distractors]).T
    total = 0.0
    for query, row in enumerate(likeness):
        rank = int((row > row[query // 2]).sum())
        total += ((1 if rank == 0 else 0) + 1 / (rank + 1)) / 2
    found = report['rows'][0]
    assert found['strong'] == pytest.approx(100 * total / len(queries)) and found['strong'] < 100
    assert found['crops'] == pytest.approx(100) == found['blocks']['crops/10']
    assert report['data'] | dict(root='') == dict(
        root='', originals=6, queries={'strong': 12, 'crops/10': 6}, distractors=3, whitening=60 * whitened,
        chance=report['data']['chance'],
    )  # fmt: skip


def test_folders_elsewhere_replace_those_in_the_root(setting):
    data = setting[2] / 'copydays'
    (data / 'whitening').rename(setting[2] / 'more')
    report = run(setting, distractors=setting[2] / 'more')
    assert (report['data']['distractors'], report['data']['whitening']) == (60, 0)
    chance = ((1 + sum(1 / (rank + 1) for rank in range(20))) / 2) / 66  # rank 0 counts 1, rank r 1 / (r + 1) / 2
    assert report['data']['chance'] == pytest.approx(100 * chance)
    with pytest.raises(ValueError, match='nowhere'):
        run(setting, distractors=setting[2] / 'nowhere')


def test_tables_say_what_is_missing(setting):
    report = json.loads(json.dumps(run(setting, seeds=(1, 2), centred_whitening=True)))
    (table,) = PROTOCOL.tables(report)
    assert [row[:2] for row in table.rows] == [
        ['pre-trained', 'cls+gem'], ['random init (2 seeds)', 'cls+gem'], ['raw pixels', 'pixels']
    ]  # fmt: skip
    assert table.header == ['', 'feature', 'strong', 'crops']
    assert table.rows[0][2] == f'{report["rows"][0]["strong"]:.1f}' and '+-' in table.rows[1][2]
    text = '\n'.join(table.notes)
    assert '6 originals and 3 distractors at 16 x 16 px; copies: 12 strong, 6 crops' in text
    assert 'learned of 60 pictures, centred' in text and 'not comparable' not in text
    (bare,) = PROTOCOL.tables(run(setting, whitening='none', distractors='none'))
    assert bare.notes[-1] == 'without distractors and whitening: not comparable with published numbers'


def test_centring_changes_the_whitening(setting):
    one, other = (run(setting, centred_whitening=centred)['rows'] for centred in (False, True))
    assert one[0]['strong'] != other[0]['strong'] and one[1] == other[1]


def test_raw_pixels_are_squeezed_by_area(setting):
    """Strong copies that are negatives are the farthest of all by pixels, the noisy ones mostly the nearest."""
    pixels = run(setting, pixel_size=4)['rows'][-1]
    assert pixels['model'] == 'raw pixels' and pixels['crops'] == 100 and 50 < pixels['strong'] < 70
