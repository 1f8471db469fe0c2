"""Objects followed through toy clips, from files to scores."""

import numpy as np
import pytest
import torch
from PIL import Image

from mimselfsup.apis import load_model
from mimselfsup.apis.video_segmentation import PROTOCOL, evaluate_video_segmentation, frame_size, pixels_of, tokens_of
from mimselfsup.datasets.davis import FRAMES, LISTS, OBJECTS
from mimselfsup.datasets.label_maps import davis_palette, read_label_map, write_label_map
from mimselfsup.evaluation.video_segmentation import object_scores
from tests.test_engine.tiny import write_config

RED, BLUE, GREY = (220, 30, 20), (20, 30, 220), (120, 125, 130)


def write_clip(root, name, boxes, size=(32, 64), noise=6):
    """Frames of coloured boxes, {colour: (top, left, height, width)} for each; box n is object n."""
    rng = np.random.default_rng(0)
    ground = rng.integers(-noise, noise, (*size, 3)) + np.array(GREY)
    for index, frame in enumerate(boxes):
        pixels, objects = ground.copy(), np.zeros(size, np.uint8)
        for number, (colour, (top, left, height, width)) in enumerate(frame.items(), 1):
            pixels[top : top + height, left : left + width] = colour
            objects[top : top + height, left : left + width] = number
        for folder in (FRAMES, OBJECTS):
            (root / folder / name).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        picture.save(root / FRAMES / name / f'{index:05d}.jpg', quality=100, subsampling=0)
        write_label_map(root / OBJECTS / name / f'{index:05d}.png', objects)
    (root / LISTS).mkdir(parents=True, exist_ok=True)
    with open(root / LISTS / 'val.txt', 'a') as listing:
        listing.write(f'{name}\n')


@pytest.fixture
def setting(tmp_path):
    root = tmp_path / 'world' / 'davis'
    # Whole patches of 4 px at every frame, so that a perfect guess is possible but for the corners.
    moving = [{RED: (8, 4 * step, 16, 16), BLUE: (4, 60 - 4 * step - 16, 8, 16)} for step in range(4)]
    write_clip(root, 'moving', moving)
    write_clip(root, 'still', [{BLUE: (8, 16, 16, 24)}] * 11, size=(64, 32))
    config = write_config(tmp_path / 'tiny.py')
    torch.save(dict(state_dict=load_model(config, seed=7).state_dict()), tmp_path / 'a.pth')
    return config, tmp_path / 'a.pth', root


def evaluate(setting, **settings):
    return evaluate_video_segmentation(*setting, short_side=32, workers=0, **settings)


def test_raw_pixels_follow_colours_and_a_mask_that_stays_behind_does_not(setting):
    report = evaluate(setting, seeds=(3, 4))
    pretrained, random, pixels, first = report['rows']
    assert report['data'] == dict(root=str(setting[2]), clips=2, frames=15, objects=3)
    assert pixels['clips']['moving']['1']['j'] > 95 and pixels['clips']['moving']['2']['f'] > 80
    assert first['clips']['still']['1'] == dict(j=100, f=100)
    # Of the two frames in the middle: moved by 4 and by 8 of 16 pixels. The first mask is 12 of 20 and 8 of 24.
    assert first['clips']['moving']['1']['j'] == pytest.approx(100 * (12 / 20 + 8 / 24) / 2)
    assert first['clips']['moving']['2']['j'] == pytest.approx(100 * (12 / 20 + 8 / 24) / 2)
    for row in (pretrained, pixels, first):
        for letter in 'jf':
            each = [scores[letter] for clip in row['clips'].values() for scores in clip.values()]
            assert row[f'{letter}_mean'] == pytest.approx(np.mean(each))  # over objects, not clips
        assert row['j_and_f'] == pytest.approx((row['j_mean'] + row['f_mean']) / 2)
    assert first['j_recall'] == pytest.approx(100 * (0.5 + 0.5 + 1) / 3)
    assert first['j_decay'] == pytest.approx(100 * 2 * (12 / 20 - 8 / 24) / 3)
    assert 'j_mean_std' in random and random['seeds'] == [3, 4]


def test_masks_that_are_written_are_those_that_are_scored(setting, tmp_path):
    report = evaluate(setting, seeds=(), out_dir=tmp_path / 'out')
    assert [row['model'] for row in report['rows']] == ['pre-trained', 'first mask']
    for clip, length in (('moving', 4), ('still', 11)):
        written = sorted((tmp_path / 'out' / clip).iterdir())
        assert [path.name for path in written] == [f'{index:05d}.png' for index in range(length)]
        truths = [read_label_map(setting[2] / OBJECTS / clip / path.name) for path in written]
        guesses = [read_label_map(path) for path in written]
        assert np.array_equal(guesses[0], truths[0])
        scores = [object_scores(*pair, 1)[0] for pair in zip(guesses[1:-1], truths[1:-1], strict=True)]
        assert report['rows'][0]['clips'][clip]['1']['j'] == pytest.approx(100 * np.mean(scores))
        with Image.open(written[-1]) as picture:
            assert picture.mode == 'P' and picture.getpalette()[:9] == davis_palette()[:9]


def test_still_clips_keep_their_mask_up_to_the_grid(setting):
    """Patches of pixels that are told apart by their noise; corners are rounded by the upsampling."""
    pixels = evaluate(setting, seeds=(0,), top_k=1)['rows'][2]
    assert pixels['clips']['still']['1']['j'] > 95 and pixels['j_decay'] < 10


def test_neither_the_size_of_batches_nor_the_way_to_the_root_changes_a_number(setting, monkeypatch):
    config, checkpoint, root = setting
    expected = evaluate(setting, seeds=())
    assert evaluate((config, checkpoint, root.parent), seeds=(), batch_size=3)['rows'] == expected['rows']
    monkeypatch.setattr('mimselfsup.apis.video_segmentation.TOKENS_AT_ONCE', 1)
    for name, value in evaluate(setting, seeds=())['rows'][0].items():
        if name not in ('model', 'clips'):
            assert value == pytest.approx(expected['rows'][0][name])
    other = evaluate(setting, seeds=(), radius=1, last_frames=1, temperature=1.0, top_k=2)
    assert other['rows'][0] != expected['rows'][0]
    assert other['settings'] == dict(short_side=32, last_frames=1, temperature=1.0, radius=1, top_k=2)


def test_tokens_and_pixels_of_patches_lie_as_the_frame_does(setting):
    model = load_model(*setting[:2])
    images = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    assert tokens_of(model, images).shape == (2, 4, 6, 24)
    with torch.no_grad():
        torch.testing.assert_close(tokens_of(model, images)[1, 2, 5], model.backbone.encode(images).patches[1, 17])
    pixels = pixels_of(images, (4, 4))
    assert pixels.shape == (2, 4, 6, 48)
    assert torch.equal(pixels[1, 2, 5], images[1, :, 8:12, 20:24].flatten())


def test_frames_have_the_published_size():
    assert frame_size((480, 854), 480, (16, 16)) == (480, 832)
    assert frame_size((480, 854), 480, (8, 8)) == (480, 832)
    assert frame_size((1080, 1920), 480, (16, 16)) == (480, 832)
    assert frame_size((854, 480), 480, (16, 16)) == (832, 480)
    assert frame_size((480, 910), 480, (16, 16)) == (480, 896)
    assert frame_size((480, 854), 480, (14, 14)) == (476, 854)  # no multiple of 64 consists of whole tokens
    assert frame_size((64, 114), 103, (6, 6)) == (102, 180)
    assert frame_size((7, 9), 14, (2, 2)) == (14, 18)
    with pytest.raises(ValueError, match='short_side=10: less than a token of 16 x 16 pixels'):
        frame_size((480, 854), 10, (16, 16))


def test_default_size_is_to_the_backbones_as_480_to_224(setting):
    report = evaluate_video_segmentation(*setting, seeds=(), workers=0)
    assert report['settings']['short_side'] == round(16 * 480 / 224)


def test_table(setting):
    (table,) = PROTOCOL.tables(evaluate(setting, seeds=(0, 1)))
    assert table.header == ['', 'J&F', 'J mean', 'J recall', 'J decay', 'F mean', 'F recall', 'F decay']
    assert [row[0] for row in table.rows] == ['pre-trained', 'random init', 'raw pixels', 'first mask']
    assert '+-' in table.rows[1][1] and '3 objects in 2 clips, 15 frames' in str(table)


def test_clips_that_cannot_be_scored(setting):
    root = setting[2]
    write_clip(root, 'short', [{RED: (0, 0, 8, 8)}] * 2)
    with pytest.raises(ValueError, match='video short: 2 frames; the first and the last do not count'):
        evaluate(setting, seeds=())
    (root / LISTS / 'val.txt').write_text('empty\n')
    write_clip(root, 'empty', [{}] * 3)
    with pytest.raises(ValueError, match=r'empty/00000.png: there is no object in the first frame'):
        evaluate(setting, seeds=())
    with pytest.raises(ValueError, match=r'val.txt: no such file; .* must hold JPEGImages/480p'):
        evaluate((*setting[:2], root / 'elsewhere'), seeds=())
