"""What the pictures show: which images, which strategies under which names, and masks from which numbers."""

import numpy as np
import pytest
import torch

from mimselfsup.apis import load_config, load_model
from mimselfsup.apis import pictures as module
from mimselfsup.apis.pictures import choose_images, draw_masks, read_strategies
from mimselfsup.registry import MASKINGS
from tests.test_evaluation.labelled import write_labelled, write_labelled_config

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
