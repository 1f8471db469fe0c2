"""Attention of patches and proxies, attention distance, and glyphs: what is drawn, where, and under which name."""

import numpy as np
import pytest
import torch

from mimselfsup.structures import TokenMask
from mimselfsup.visualization import (
    Reach,
    attention_overlay,
    distance_figure,
    glyphs_figure,
    mark_patch,
    paint_mask,
    picture_grid,
    proxies_figure,
    queries_figure,
    reconstruction_figure,
)
from mimselfsup.visualization.attention import MARK
from mimselfsup.visualization.reconstruction import FAINT, GAMMA, PREDICTED


def panels(figure):
    """(title, picture) of every picture, in the order they were drawn."""
    return [(axes.get_title(), axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_a_marked_patch_has_a_frame_and_its_middle_and_all_around_it_stay():
    picture = np.random.default_rng(0).random((64, 96, 3))
    marked = mark_patch(picture, (1, 2), (2, 3))  # patches of 32 px
    expected = picture.copy()
    expected[32:, 64:] = MARK  # 4 px of it, then 2 of black
    expected[36:60, 68:92] = 0
    expected[38:58, 70:90] = picture[38:58, 70:90]
    np.testing.assert_array_equal(marked, expected)
    assert not (picture == MARK).all(-1).any()  # a copy


def test_each_query_has_a_column_with_its_map_and_its_mark():
    pictures = np.random.default_rng(0).random((2, 192, 192, 3))
    maps = np.random.default_rng(1).random((2, 3, 4))
    figure = queries_figure(pictures, maps, ['[CLS]', 'a', 'b'], [None, (0, 1), (1, 0)], (2, 2), 'nearest')
    shown = panels(figure)
    assert [title for title, _ in shown[:4]] == ['input', '[CLS]', 'a', 'b'] and not any(t for t, _ in shown[4:])
    for row, picture in enumerate(pictures):
        overlays = [attention_overlay(picture, each.reshape(2, 2), 'nearest') for each in maps[row]]
        np.testing.assert_array_equal(
            shown[4 * row][1], mark_patch(mark_patch(picture, (0, 1), (2, 2)), (1, 0), (2, 2))
        )
        np.testing.assert_array_equal(shown[4 * row + 1][1], overlays[0])
        np.testing.assert_array_equal(shown[4 * row + 2][1], mark_patch(overlays[1], (0, 1), (2, 2)))
        np.testing.assert_array_equal(shown[4 * row + 3][1], mark_patch(overlays[2], (1, 0), (2, 2)))
    assert 'framed: the patch that asks' in ' '.join(text.get_text() for text in figure.texts)


def test_many_queries_go_on_below_under_names_of_their_own():
    pictures = np.random.default_rng(0).random((2, 192, 192, 3))
    maps = np.random.default_rng(1).random((2, 9, 4))
    names = [f'proxy {index}' for index in range(9)]
    figure = queries_figure(pictures, maps, names, [None] * 9, (2, 2), 'nearest')
    shown = panels(figure)
    lines = [['input', *names[:5]], ['', *names[5:], '']]  # 9 in two lines
    assert [title for title, _ in shown] == [title for line in lines * 2 for title in line]
    np.testing.assert_array_equal(shown[18 + 4][1], attention_overlay(pictures[1], maps[1, 8].reshape(2, 2), 'nearest'))
    assert (shown[6][1] == 1).all() and (shown[11][1] == 1).all()  # white below the picture and behind the last
    assert 'framed' not in figure.texts[0].get_text()


def test_a_proxy_map_is_in_its_own_range_and_numbers_tell_which():
    maps = np.array([[0.1, 0.2, 0.3, 0.4], [0.10, 0.10, 0.10, 0.11]])
    figure = proxies_figure(maps, (2, 2), 500, 'nearest')
    (first, one), (second, two) = panels(figure)
    assert first == 'proxy 1\n0.40 to 1.60' and second == 'proxy 2\n0.98 to 1.07'
    corners = [one[0, 0], one[0, -1], one[-1, 0], one[-1, -1]]
    assert [each.mean() for each in corners] == sorted(each.mean() for each in corners)
    np.testing.assert_allclose(one[0, 0], two[0, -1])  # the darkest colour,
    np.testing.assert_allclose(one[-1, -1], two[-1, -1])  # and the brightest
    assert '500 images' in ' '.join(text.get_text() for text in figure.texts)
    assert panels(proxies_figure(maps[:1], (2, 2), 1))[0][0].startswith('[CLS]')
    flat = panels(proxies_figure(np.full((1, 4), 0.2), (2, 2), 1))[0]
    assert flat[0].endswith('1.00 to 1.00') and np.isfinite(flat[1]).all()


def test_proxies_fill_lines_of_equal_length():
    figure = proxies_figure(np.random.default_rng(0).random((11, 4)), (2, 2), 1)
    names = [title.split('\n')[0] for title, _ in panels(figure)]
    assert names == [*(f'proxy {index}' for index in range(1, 12)), '']
    tops = sorted({round(axes.get_position().y1, 4) for axes in figure.axes}, reverse=True)
    assert len(tops) == 2
    heights = figure.axes[0].get_position().y0 - figure.axes[6].get_position().y1
    inches = heights * figure.get_size_inches()[1]
    title = figure.axes[6].title.get_fontsize() / 72
    assert inches > 2 * title  # room for two lines of words


def test_a_long_note_is_broken_at_the_width_of_the_figure():
    note = 'one two three four five six seven eight nine ten eleven twelve thirteen'
    figure = picture_grid([[np.zeros((4, 4, 3))]], ('t',), note=note)
    lines = [text.get_text() for text in figure.texts]
    assert len(lines) > 2 and ' '.join(lines) == note
    heights = [text.get_position()[1] for text in figure.texts]
    assert heights == sorted(heights, reverse=True) and heights[-1] > 0
    assert (
        heights[0] * figure.get_size_inches()[1] + 0.1 < figure.axes[0].get_position().y0 * figure.get_size_inches()[1]
    )
    with pytest.raises(ValueError, match='1 rows'):
        picture_grid([[np.zeros((4, 4, 3))]], [['a'], ['b']])


def test_distances_are_points_for_heads_and_lines_for_their_mean():
    trained, initial = np.array([[1.0, 3.0], [2.0, 6.0], [9.0, 7.0]]), np.full((3, 2), 5.0)
    figure = distance_figure([Reach('a', trained, initial, 4.5), Reach('b', 2 * trained, initial, 4.5)])
    first, second = figure.axes
    assert first.get_title(loc='left') == 'a' and second.get_title(loc='left') == 'b'
    assert 'pixels' in first.get_ylabel()
    random_heads, random_mean, heads, mean, even = first.lines
    np.testing.assert_array_equal(heads.get_xydata(), [[1, 1], [1, 3], [2, 2], [2, 6], [3, 9], [3, 7]])
    np.testing.assert_array_equal(mean.get_xydata(), [[1, 2], [2, 4], [3, 8]])
    assert set(random_heads.get_ydata()) == set(random_mean.get_ydata()) == {5}
    assert set(even.get_ydata()) == {4.5}
    assert heads.get_linestyle() == 'None' and mean.get_color() == heads.get_color() != random_mean.get_color()
    assert first.get_ylim() == second.get_ylim() and first.get_ylim()[0] == 0 and first.get_ylim()[1] > 1.05 * 18
    colours = {text.get_text(): line.get_color() for text, line in zip(*legend(figure), strict=True)}
    assert colours['trained: heads and their mean'] == heads.get_color()
    assert colours['random weights'] == random_mean.get_color()


def legend(figure):
    (words,) = figure.legends
    return words.get_texts(), words.get_lines()


def test_panels_beyond_a_line_of_four_go_below_and_the_rest_stays_empty():
    values = np.ones((2, 2))
    figure = distance_figure([Reach('x' * 60, values, values, 1.0)] * 5)
    assert [axes.get_visible() for axes in figure.axes] == [True] * 5 + [False]
    assert '\n' in figure.axes[0].get_title(loc='left')
    assert figure.get_size_inches()[0] <= 7.01


MASK = TokenMask(torch.tensor([[True, False, False, True]] * 2))


def test_glyphs_are_true_beside_predicted_ones_which_are_coloured_where_masked():
    rng = np.random.default_rng(0)
    pictures, true, predicted = rng.random((2, 8, 8, 3)), rng.random((2, 32, 32)), rng.random((2, 32, 32))
    shown = panels(glyphs_figure(pictures, true, predicted, MASK, (2, 2)))
    assert [title for title, _ in shown[:4]] == ['input', 'masked', 'target', 'prediction']
    for row in range(2):
        _, masked, target, prediction = (picture for _, picture in shown[4 * row : 4 * row + 4])
        np.testing.assert_array_equal(masked, paint_mask(pictures, MASK, (2, 2))[row])
        np.testing.assert_array_equal(target, true[row][..., None].repeat(3, -1) ** GAMMA)
        expected = true[row][..., None] ** GAMMA * FAINT
        for corner in (np.s_[:16, :16], np.s_[16:, 16:]):
            expected[corner] = predicted[row][corner][..., None] ** GAMMA * PREDICTED
        np.testing.assert_allclose(prediction, expected)


def test_glyphs_keep_whole_dots_and_the_width_of_a_page():
    for side in (128, 224, 896):
        drawing = np.zeros((2, side, side))
        figure = glyphs_figure(np.zeros((2, 48, 48, 3)), drawing, drawing, MASK, (2, 2))
        width = figure.get_size_inches()[0]
        assert width < 7.01
        dots = figure.axes[0].get_position().width * width * figure.dpi
        assert side > 448 or dots / side == pytest.approx(round(dots / side))


def test_a_picture_of_the_target_stands_before_that_of_the_prediction():
    pictures, made, wanted = np.random.default_rng(0).random((3, 2, 8, 8, 3))
    shown = panels(reconstruction_figure(pictures, made, MASK, (2, 2), targets=wanted))
    assert [title for title, _ in shown[:4]] == ['input', 'masked', 'target', 'prediction']
    np.testing.assert_array_equal(shown[6][1], wanted[1])
    np.testing.assert_array_equal(shown[7][1], made[1])
