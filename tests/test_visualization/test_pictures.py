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


def test_hidden_patches_are_painted_where_they_are_and_nothing_else_changes():
    pictures = np.random.default_rng(0).random((2, 8, 12, 3))  # 2 x 3 patches of 4 px
    mask = TokenMask(
        torch.tensor([[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]).bool(),
        torch.tensor([[0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]]).bool(),
    )
    expected = pictures.copy()
    expected[0, :4, :4] = MASKED
    expected[0, 4:, 8:] = THROWN
    expected[1, :4, 4:8] = THROWN
    original = pictures.copy()
    np.testing.assert_array_equal(paint_mask(pictures, mask, (2, 3)), expected)
    np.testing.assert_array_equal(pictures, original)


def test_masks_have_a_column_per_strategy_and_a_legend_only_where_two_colours_need_it():
    pictures = np.random.default_rng(0).random((2, 8, 8, 3))
    none = TokenMask.none(2, 4)
    throwing = TokenMask(none.masked, torch.tensor([[True, False, False, False]] * 2))
    figure = masks_figure(pictures, [('A', none), ('B', throwing)], (2, 2))
    assert titles(figure) == ['input', 'A', 'B']
    pictures_shown = shown(figure)
    np.testing.assert_array_equal(pictures_shown[1], pictures[0])
    np.testing.assert_array_equal(pictures_shown[5], paint_mask(pictures, throwing, (2, 2))[1])
    assert [text.get_text() for text in figure.texts] == ['masked', 'thrown']
    assert not masks_figure(pictures, [('A', none)], (2, 2)).texts


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
