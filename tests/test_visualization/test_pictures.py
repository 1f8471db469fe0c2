"""Masks, reconstructions, attention and the grid that shows them: the values of their pixels."""

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from mimselfsup.structures import TokenMask
from mimselfsup.visualization import (
    attention_figure,
    attention_overlay,
    masks_figure,
    paint_mask,
    picture_grid,
    reconstruction_figure,
    save_figure,
    to_picture,
    upsample,
)
from mimselfsup.visualization.figure import enlarge
from mimselfsup.visualization.masks import MASKED, THROWN


def shown(figure):
    """The pictures of a figure, in the order they were drawn."""
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_picture_is_the_inverse_of_the_normalisation():
    mean, std = torch.tensor([123.0, 116.0, 103.0]), torch.tensor([58.0, 57.0, 56.0])
    pixels = torch.randint(256, (2, 3, 4, 6)).float()
    normalised = (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    picture = to_picture(normalised, mean.view(3, 1, 1), std.view(3, 1, 1))
    np.testing.assert_allclose(picture, (pixels / 255).permute(0, 2, 3, 1).numpy(), atol=1e-6)
    assert to_picture(torch.tensor([-10.0, 300.0]).view(2, 1, 1, 1)).flatten().tolist() == [0.0, 1.0]


def test_upsampling_repeats_or_interpolates():
    values = np.array([[0.0, 1.0], [2.0, 3.0]])
    np.testing.assert_array_equal(upsample(values, (4, 6)), values.repeat(2, 0).repeat(3, 1))
    smooth = upsample(np.array([[0.0, 1.0]] * 2), (2, 8), 'bicubic')
    assert (np.diff(smooth[0]) > -1e-6)[1:-1].all() and smooth[0].mean() == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(ValueError, match=r'nearest.*bicubic'):
        upsample(values, (4, 4), 'linear')


def test_small_pictures_are_enlarged_by_whole_numbers_and_large_ones_are_not():
    pictures = np.random.default_rng(0).random((2, 50, 70, 3))
    enlarged = enlarge(pictures)
    assert enlarged.shape == (2, 200, 280, 3)  # 4 times: 3 would leave 150 < 192 pixels
    np.testing.assert_array_equal(enlarged[1, 7, 278], pictures[1, 1, 69])
    assert enlarge(np.zeros((224, 192, 3))).shape == (224, 192, 3)


def test_hidden_patches_are_painted_where_they_are_and_nothing_else_changes():
    pictures = np.random.default_rng(0).random((2, 8, 12, 3))  # 2 x 3 patches of 4 px, 96 px enlarged
    mask = TokenMask(
        torch.tensor([[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]).bool(),
        torch.tensor([[0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]]).bool(),
    )
    original = pictures.copy()
    painted = paint_mask(pictures, mask, (2, 3))
    np.testing.assert_array_equal(pictures, original)
    expected = pictures.repeat(24, 1).repeat(24, 2)
    expected[0, :96, :96] = MASKED
    for row, place in ((0, np.s_[96:, 192:]), (1, np.s_[:96, 96:192])):
        striped = painted[row][place]
        expected[row][place] = striped
        colours, counts = np.unique(striped.reshape(-1, 3), axis=0, return_counts=True)
        assert sorted(map(tuple, colours)) == sorted(THROWN)
        assert counts.min() > 0.45 * 96**2  # either colour fills half
        changes = (np.diff(striped[0, :, 2]) != 0).sum()
        assert 3 <= changes <= 4  # a patch shows two pairs of stripes
    np.testing.assert_array_equal(painted, expected)


def test_what_is_thrown_differs_from_what_is_masked_in_lightness_even_when_the_stripes_blur():
    grey = np.dot(np.array([MASKED, np.mean(THROWN, axis=0)]), (0.3, 0.6, 0.1))
    assert grey[1] - grey[0] > 0.15


def test_masks_have_a_column_per_strategy_and_a_legend_only_where_two_kinds_need_it():
    pictures = np.random.default_rng(0).random((2, 8, 8, 3))
    none = TokenMask.none(2, 4)
    throwing = TokenMask(none.masked, torch.tensor([[True, False, False, False]] * 2))
    figure = masks_figure(pictures, [('A', none), ('B\nbelow', throwing)], (2, 2))
    assert titles(figure) == ['input', 'A\n', 'B\nbelow']  # names at one height
    pictures_shown = shown(figure)
    np.testing.assert_array_equal(pictures_shown[1], enlarge(pictures)[0])
    np.testing.assert_array_equal(pictures_shown[5], paint_mask(pictures, throwing, (2, 2))[1])
    assert [text.get_text().split()[0] for text in figure.texts] == ['masked', 'thrown']
    masked, thrown = pictures_shown[6:]
    np.testing.assert_allclose(np.unique(masked.reshape(-1, 3), axis=0), [MASKED])
    assert {tuple(colour) for colour in thrown.reshape(-1, 3)} == set(THROWN)
    assert not masks_figure(pictures, [('A', none)], (2, 2)).texts


def test_saliency_has_a_column_of_its_own_patch_by_patch():
    pictures = np.random.default_rng(0).random((2, 8, 8, 3))
    saliency = np.array([[0.1, 0.2, 0.3, 0.4], [4.0, 3.0, 2.0, 1.0]])
    figure = masks_figure(pictures, [('A', TokenMask.none(2, 4))], (2, 2), saliency=saliency)
    assert titles(figure) == ['input', 'saliency', 'A']
    for row in range(2):
        expected = attention_overlay(pictures[row], saliency[row].reshape(2, 2), 'nearest')
        np.testing.assert_array_equal(shown(figure)[3 * row + 1], expected)
    assert 'own range' in figure.texts[0].get_text()


def test_a_line_of_words_below_a_legend_is_not_printed_over_it():
    swatch = np.zeros((1, 1, 3))
    figure = picture_grid([[np.zeros((8, 8, 3))] * 6], list('abcdef'), legend=[('masked', swatch)], note='a note')
    height = figure.get_size_inches()[1]
    note, word = (next(t for t in figure.texts if t.get_text() == text) for text in ('a note', 'masked'))
    pictures_end = min(axes.get_position().y0 for axes in figure.axes[:6])
    box = figure.axes[6].get_position()
    assert note.get_position()[1] * height + 6.5 / 72 < box.y0 * height < box.y1 * height < pictures_end * height
    assert box.y0 < word.get_position()[1] < box.y1


def test_reconstruction_rows_are_input_masked_reconstruction():
    pictures, made = np.random.default_rng(0).random((2, 3, 8, 8, 3))
    mask = TokenMask(torch.tensor([[True, False, False, True]] * 3))
    figure = reconstruction_figure(pictures, made, mask, (2, 2))
    assert titles(figure) == ['input', 'masked', 'reconstruction']
    for row in range(3):
        seen = shown(figure)[3 * row : 3 * row + 3]
        wanted = (pictures[row], paint_mask(pictures, mask, (2, 2))[row], made[row])
        for got, want in zip(seen, wanted, strict=True):
            np.testing.assert_array_equal(got, want)


def test_overlay_colours_its_own_range_and_hides_no_place():
    picture = np.full((192, 192, 3), 0.5)
    attention = np.array([[0.1, 0.2], [0.3, 0.5]])
    plain = attention_overlay(picture, attention, 'nearest', strength=1.0)
    brightness = plain.mean(-1)
    corners = [brightness[48, 48], brightness[48, 144], brightness[144, 48], brightness[144, 144]]
    assert corners == sorted(corners)
    np.testing.assert_allclose(attention_overlay(picture, 10 * attention + 3, 'nearest', 1.0), plain, atol=0.01)
    np.testing.assert_allclose(attention_overlay(picture, attention, 'nearest', 0.0), picture)
    assert len(np.unique(attention_overlay(picture, np.ones((2, 2))))) <= 3  # flat: one colour, no NaN


def test_attention_columns_are_input_mean_and_heads_in_order():
    pictures = np.full((1, 192, 192, 3), 0.5)
    attention = np.random.default_rng(0).random((1, 3, 4))
    figure = attention_figure(pictures, attention, (2, 2), 'nearest')
    assert titles(figure) == ['input', 'mean', 'head 1', 'head 2', 'head 3']
    wanted = [attention[0].mean(0), *attention[0]]
    for got, each in zip(shown(figure)[1:], wanted, strict=True):
        np.testing.assert_allclose(got, attention_overlay(pictures[0], each.reshape(2, 2), 'nearest'))


def test_grid_folds_rows_into_blocks_within_the_width_of_a_page():
    rows = [[np.full((4, 8, 3), index / 10)] * 2 for index in range(5)]
    figure = picture_grid(rows, ('a', 'b'), groups=2)
    boxes = [axes.get_position() for axes in figure.axes]
    assert boxes[0].x0 < boxes[6].x0 and boxes[0].y0 == pytest.approx(boxes[6].y0)  # the 4th row: second block
    assert boxes[4].y0 < boxes[2].y0 < boxes[0].y0
    width, height = figure.get_size_inches()
    assert boxes[0].width * width / (boxes[0].height * height) == pytest.approx(2)  # of 4 x 8 pixels
    wide = picture_grid([[np.zeros((4, 4, 3))] * 14], [f'head {index}' for index in range(14)])
    assert wide.get_size_inches()[0] == pytest.approx(7, abs=0.15)


def test_saved_picture_is_white_around_and_true_inside(tmp_path):
    picture = np.zeros((8, 8, 3))
    picture[..., 0] = 1
    path = save_figure(picture_grid([[picture]], ('t',)), tmp_path / 'deep/a.png')
    pixels = imread(path)[..., :3]
    np.testing.assert_allclose(pixels[0, 0], 1)
    assert ((pixels - [1, 0, 0]).__abs__().max(-1) < 1e-3).mean() > 0.75
    with pytest.raises(ValueError, match=r'\.png, \.pdf or \.svg'):
        save_figure(picture_grid([[picture]], ('t',)), tmp_path / 'a.jpg')
