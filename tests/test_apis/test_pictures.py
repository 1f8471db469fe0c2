"""What the pictures show: which images, which strategies under which names, and masks from which numbers."""

import copy

import numpy as np
import pytest
import torch

from mimselfsup.apis import load_config, load_model
from mimselfsup.apis import pictures as module
from mimselfsup.apis.pictures import (
    choose_images,
    draw_attention,
    draw_distances,
    draw_masks,
    draw_proxies,
    draw_reconstruction,
    image_batches,
    load_images,
    pictures_of,
    read_runs,
    read_strategies,
)
from mimselfsup.evaluation import attention_distances, attention_maps
from mimselfsup.registry import MASKINGS
from tests.test_evaluation.labelled import write_labelled, write_labelled_config
from tests.test_models.conftest import randomise

ATTENTION_DRIVEN = dict(type='AttentionDrivenMasking', mask_ratio=0.25, throw_ratio=0.5)


@pytest.fixture
def config(tmp_path):
    return load_config(write_labelled_config(tmp_path / 'tiny.py', write_labelled(tmp_path / 'data')))


@pytest.fixture
def drawn(config, monkeypatch):
    """draw_masks(...) of three images, as the arguments of the figure that it makes."""
    model = load_model(config, seed=0)
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def call(strategies, **options):
        seen = {}
        monkeypatch.setattr(module, 'masks_figure', lambda *arguments: seen.update(enumerate(arguments)))
        draw_masks(model, images, [(str(number), each) for number, each in enumerate(strategies)], **options)
        _, masks, grid, _, saliency = seen.values()
        return [mask for _, mask in masks], grid, saliency, model, images

    return call


def test_images_are_drawn_from_each_folder_and_from_the_configs_own_without_any(config, tmp_path):
    other = write_labelled(tmp_path / 'other')
    paths = choose_images(config, data_roots=[tmp_path / 'data', other], number=4, seed=1)
    assert [path.split('/val/')[0] for path in paths] == [str(tmp_path / 'data')] * 4 + [str(other)] * 4
    assert len(set(paths)) == 8
    assert choose_images(config, number=4, seed=1) == paths[:4]
    assert choose_images(config, number=4, seed=2) != paths[:4]
    assert choose_images(config, images=[paths[5]]) == [paths[5]]
    with pytest.raises(ValueError, match=r'no such file: nowhere\.png'):
        choose_images(config, images=['nowhere.png'])
    with pytest.raises(ValueError, match='--num 0'):
        choose_images(config, number=0)


@pytest.mark.parametrize(
    ('text', 'title'),
    [
        ("dict(type='RandomMasking', mask_ratio=0.6, unit=2)", 'Random\nmask 60%\nunit 2'),
        ("dict(type='RandomMasking', mask_ratio=(0.1, 0.5))", 'Random\nmask 10-50%'),
        ("dict(type='AttMask', mode='hint', mask_ratio=0.3, show_max=0.3)", 'AttMask\nhint\nmask 30%'),
        ("dict(type='AttMask', mode='hint', show_ratio='same')", 'AttMask\nhint'),
        ("{'type': 'AttentionGuidedMasking', 'num': 2, 'p': 0.5}", 'Attention\nGuided\nnum 2\np 0.5'),
        (
            "dict(type='mimselfsup.AttentionDrivenMasking', mask_ratio=0.45, throw_ratio=0.4)",
            'Attention\nDriven\nmask 45%\nthrow 40%\nmiddle',
        ),
        (
            "dict(type='AttentionDrivenMasking', mask_ratio=0.45, throw_ratio=0.4, throw='low')",
            'Attention\nDriven\nmask 45%\nthrow 40%\nlow',
        ),
        ("dict(type='AttentionDrivenMasking', mask_ratio=0.75)", 'Attention\nDriven\nmask 75%'),
    ],
)
def test_titles_say_what_is_masked_and_thrown(config, text, title):
    assert read_strategies(config, [text], seed=0)[0][0] == title


def test_without_strategies_it_is_the_configs_own_from_several_seeds(config):
    own = config.model.masking
    assert read_strategies(config, None, seed=5) == [(f'seed {seed}', own) for seed in (5, 6, 7, 8)]
    with pytest.raises(ValueError, match='must be a config file'):
        read_strategies(config, ['open("x")'], seed=0)


def test_variants_of_a_strategy_share_a_draw_and_repetitions_do_not(drawn):
    variants = [dict(ATTENTION_DRIVEN, throw=throw) for throw in ('middle', 'low')]
    (middle, low, more, again), *_ = drawn(
        [*variants, dict(type='AttentionDrivenMasking', mask_ratio=0.75), variants[0]], seed=3
    )
    assert torch.equal(middle.masked, low.masked) and not torch.equal(middle.thrown, low.thrown)
    assert torch.equal(more.masked, middle.masked | middle.thrown)  # the first 75% of one order
    assert not torch.equal(middle.masked, again.masked)


def test_masks_are_those_that_the_seeds_and_the_shown_saliency_give(drawn):
    (random, ranked, again), grid, saliency, model, images = drawn(
        [dict(type='RandomMasking', mask_ratio=0.5), ATTENTION_DRIVEN, ATTENTION_DRIVEN], seed=3
    )
    with torch.no_grad():
        expected = model.backbone.encode(images, cls_attention=True).cls_attention.mean(1)
    np.testing.assert_allclose(saliency, expected.numpy(), atol=1e-6)
    masking = MASKINGS.build(ATTENTION_DRIVEN)
    for mask, seed in ((ranked, 3), (again, 4)):
        wanted = masking(grid, 3, expected, torch.Generator().manual_seed(seed))
        assert torch.equal(mask.masked, wanted.masked) and torch.equal(mask.thrown, wanted.thrown)
    assert random.masked.sum(1).tolist() == [grid[0] * grid[1] // 2] * 3


def test_saliency_is_shown_only_where_a_strategy_ranks_by_it_and_never_that_of_random_weights(drawn):
    assert drawn([dict(type='RandomMasking', mask_ratio=0.5)], trained=False)[2] is None
    with pytest.raises(ValueError, match='AttMask hides by attention: give a checkpoint'):
        drawn([dict(type='RandomMasking', mask_ratio=0.5), dict(type='AttMask')], trained=False)


def variant(config, **parts):
    """The tiny MAE's config with other settings; those with a type replace a part of the model."""
    config = copy.deepcopy(config)
    for name, settings in parts.items():
        config.model[name] = {**({} if 'type' in settings else config.model[name]), **settings}
    return config


LINEAR = dict(backbone=dict(hidden='replace'), decoder=dict(type='LinearDecoder'))
PROXIES = dict(backbone=dict(hidden='compress', num_cls_tokens=3), decoder=dict(type='ProxyDecoder'))
TOKENS = dict(
    type='TokenTarget',
    tokenizer=dict(type='VQTokenizer', num_codes=16, strides=(2, 2), width=8, depth=1, code_dims=4),
    allow_random=True,
)


def build(config):
    return randomise(load_model(config, seed=0))


def wide_images(count=3):
    return torch.randn(count, 3, 16, 24, generator=torch.Generator().manual_seed(0))  # 4 x 6 patches


@pytest.fixture
def figure(monkeypatch):
    """Replaces a function that makes a figure by one that hands out its arguments."""

    def replace(name):
        seen = []
        monkeypatch.setattr(module, name, lambda *arguments, **options: seen.extend([*arguments, *options.values()]))
        return seen

    return replace


@pytest.mark.parametrize('parts', [{}, PROXIES], ids=['one', 'three'])
def test_queries_are_rows_of_the_last_block_behind_those_of_the_cls_tokens(config, figure, parts):
    model, images = build(variant(config, **parts)), wide_images()
    seen = figure('queries_figure')
    draw_attention(model, images, queries=[(3, 1), (0, 5)])
    pictures, maps, names, places, grid, _ = seen
    extra = model.backbone.num_extra_tokens
    *_, last = attention_maps(model.backbone, images)
    asked = [*range(extra), extra + 3 * 6 + 1, extra + 5]
    np.testing.assert_allclose(maps, last[:, :, asked, extra:].mean(1).numpy(), atol=1e-6)
    assert names == [*(['[CLS]'] if extra == 1 else ['proxy 1', 'proxy 2', 'proxy 3']), 'patch 3,1', 'patch 0,5']
    assert places == [*[None] * extra, (3, 1), (0, 5)] and grid == (4, 6)
    np.testing.assert_array_equal(pictures, pictures_of(model, images))


def test_proxies_are_told_apart_without_being_asked_for_and_one_cls_token_is_shown_by_head(config, figure):
    queries, heads = figure('queries_figure'), figure('attention_figure')
    draw_attention(build(config), wide_images())
    assert not queries and heads[1].shape == (3, 2, 24)
    draw_attention(build(variant(config, **PROXIES)), wide_images())
    assert queries[2] == ['proxy 1', 'proxy 2', 'proxy 3']
    assert np.abs(queries[1][:, 0] - queries[1][:, 1]).max() > 1e-4


@pytest.mark.parametrize('query', [(4, 0), (0, 6), (-1, 0)])
def test_a_query_outside_of_the_grid_is_an_error_that_says_what_is_inside(config, query):
    text = f'--queries {query[0]},{query[1]}: no such patch; rows go from 0 to 3, columns to 5'
    with pytest.raises(ValueError, match=text):
        draw_attention(build(config), wide_images(), queries=[(0, 0), query])


def test_proxy_maps_are_means_over_all_images_whatever_the_batches(config, figure):
    for parts in ({}, PROXIES):
        model, images = build(variant(config, **parts)), wide_images(5)
        seen = figure('proxies_figure')
        draw_proxies(model, images.split([3, 2]))
        maps, grid, number, _ = seen
        with torch.no_grad():
            of_all = model.backbone.encode(images, cls_attention=True).cls_attention.mean((0, 1))
        np.testing.assert_allclose(maps.mean(0), of_all.numpy(), atol=1e-6)
        assert len(maps) == model.backbone.num_extra_tokens and grid == (4, 6) and number == 5
    *_, last = attention_maps(model.backbone, images)
    np.testing.assert_allclose(maps, last[:, :, :3, 3:].mean((0, 1)).numpy(), atol=1e-6)
    none = build(variant(config, backbone=dict(with_cls_token=False, out_type='avg_featmap')))
    with pytest.raises(ValueError, match=r'MaskedViT has no \[CLS\] token'):
        draw_proxies(none, [images])


def test_of_self_distillation_it_is_the_teacher_that_is_looked_at(config, figure):
    config = copy.deepcopy(config)
    config.model = dict(
        type='SelfDistillation',
        data_preprocessor=config.model.data_preprocessor,
        backbone=config.model.backbone,
        projector=dict(type='Projector', num_prototypes=8, hidden=16, bottleneck=8),
        loss=dict(type='CrossViewLoss', teacher_temp=0.04),
    )
    model, images = build(config), wide_images()
    seen = figure('queries_figure')
    draw_attention(model, images, queries=[(1, 2)])
    *_, last = attention_maps(model.teacher.backbone, images)
    np.testing.assert_allclose(seen[1], last[:, :, [0, 9], 1:].mean(1).numpy(), atol=1e-6)
    *_, students = attention_maps(model.student.backbone.eval(), images)
    assert (last - students).abs().max() > 1e-3
    with pytest.raises(ValueError, match='SelfDistillation does not reconstruct images'):
        draw_reconstruction(model, images)


def test_configs_are_followed_by_their_checkpoints():
    assert read_runs(['a.py', 'x', 'y.pth', 'b.py', 'x']) == [('a.py', ['x', 'y.pth']), ('b.py', ['x'])]
    with pytest.raises(ValueError, match=r'x\.pth: a config \(\.py\) must stand before'):
        read_runs(['x.pth', 'a.py'])
    with pytest.raises(ValueError, match=r'a\.py: no checkpoint stands behind'):
        read_runs(['a.py', 'b.py', 'x.pth'])


def test_each_checkpoint_has_its_distances_and_those_of_random_weights_of_its_config(config, figure, tmp_path):
    larger = variant(config, backbone=dict(patch_size=8))
    runs, trained = [], []
    for number, (each, names) in enumerate(((config, ['a', 'b']), (larger, ['c']))):
        files = [tmp_path / name / 'epoch_9.pth' for name in names]
        for seed, file in enumerate(files):
            file.parent.mkdir()
            trained.append(load_model(each, seed=10 * number + seed + 1))
            torch.save(dict(state_dict=trained[-1].state_dict()), file)
        runs.append((each, files))
    paths = choose_images(config, number=5)
    seen = figure('distance_figure')
    draw_distances(runs, paths, seed=7)
    assert [model.label for model in seen[0]] == ['a', 'b', 'c']
    for shown, model, own in zip(seen[0], trained, (config, config, larger), strict=True):
        images = load_images(own, paths, model)
        np.testing.assert_allclose(shown.trained, attention_distances(model.backbone, [images]), rtol=1e-5)
        initial = load_model(own, seed=7).backbone
        np.testing.assert_allclose(shown.initial, attention_distances(initial, [images]), rtol=1e-5)
    # 4 x 4 patches of 4 px; 2 x 2 of 8 px.
    places = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(-1, 2)
    even = 4 * np.linalg.norm(places[:, None] - places, axis=-1).mean()
    assert [model.even for model in seen[0]] == pytest.approx([even, even, 2 * (2 + 2**0.5)])
    with pytest.raises(ValueError, match='--labels: 1 of them for 3 checkpoints'):
        draw_distances(runs, paths, ['x'])


def test_checkpoints_are_named_by_folder_unless_they_share_one():
    assert module._run_names(['runs/a/epoch_1.pth', 'runs/b/epoch_2.pth']) == ['a', 'b']
    assert module._run_names(['runs/a/epoch_1.pth', 'runs/a/epoch_2.pth']) == ['epoch_1', 'epoch_2']
    assert module._run_names(['a/x.1.pth', 'a/x.2.pth', 'b/x.1.pth']) == ['a/x.1', 'a/x.2', 'b/x.1']


def test_batches_of_many_images_are_those_of_one(config, monkeypatch):
    monkeypatch.setattr(module, 'BATCH_SIZE', 2)
    model, paths = load_model(config, seed=0), choose_images(config, number=5)
    batches = list(image_batches(config, paths, model, 'test'))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert torch.equal(torch.cat(batches), load_images(config, paths, model))


def test_hog_is_drawn_as_glyphs_of_the_target_and_of_the_prediction(config, figure):
    model = build(variant(config, **LINEAR, target=dict(type='HOGTarget', cell=2)))
    images = wide_images()
    seen = figure('glyphs_figure')
    draw_reconstruction(model, images, seed=3)
    pictures, true, predicted, mask, grid, _ = seen
    np.testing.assert_array_equal(pictures, pictures_of(model, images))
    target = model.target(images)
    np.testing.assert_allclose(true, model.target.glyphs(target, (4, 6), 16).numpy())
    assert grid == (4, 6) and true.shape == (3, 4 * 2 * 16, 6 * 2 * 16)
    wanted = model.masking(grid, 3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(mask.masked, wanted.masked)
    with torch.no_grad():
        decoded = model.decoder(model.backbone.encode(images, wanted), wanted)
    target[wanted.masked] = decoded.flatten(0, 1)
    np.testing.assert_allclose(predicted, model.target.glyphs(target, grid, 16).numpy(), atol=1e-5)
    assert np.abs(predicted - true).max() > 0.1


def test_codes_are_shown_as_decoded_beside_the_right_ones(config, figure):
    model = build(variant(config, **LINEAR, target=TOKENS, loss=dict(type='MaskedClassificationLoss')))
    images = wide_images()
    seen = figure('reconstruction_figure')
    draw_reconstruction(model, images, seed=3)
    _, shown, mask, _, _, wanted = seen
    np.testing.assert_allclose(wanted, pictures_of(model, model.target.to_pixels(model.target(images), images)))
    same, pixels = model.reconstruct(images, torch.Generator().manual_seed(3))
    assert torch.equal(mask.masked, same.masked)
    np.testing.assert_allclose(shown, pictures_of(model, pixels))
    assert np.abs(shown - wanted).max() > 0.01


def test_of_pixels_the_input_is_the_target(config, figure):
    seen = figure('reconstruction_figure')
    draw_reconstruction(build(config), wide_images())
    assert len(seen) == 5  # no picture of a target
