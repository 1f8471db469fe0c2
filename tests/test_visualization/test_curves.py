import json
import math

import numpy as np
import pytest

from mimselfsup.visualization import curves_figure, read_scalars, run_labels, smooth


def write_run(work_dir, stamp, records, tail=''):
    folder = work_dir / stamp / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('\n'.join(json.dumps(record) for record in records) + '\n' + tail)


def steps_of(curves, name='loss'):
    return dict(zip(curves[name][0].tolist(), curves[name][1].tolist(), strict=True))


def test_resumed_run_continues_the_first_and_replaces_what_it_repeated(tmp_path):
    first = [dict(loss=1.0 * step, step=step, iter=step, epoch=1, time=0.1) for step in range(1, 7)]
    write_run(tmp_path, '20260101_000000', [*first, {'knn/top1_k20': 9.0, 'step': 6}])
    second = [dict(loss=100.0 + step, lr=0.1, step=step) for step in range(5, 9)]
    write_run(tmp_path, '20260102_000000', second, tail='{"loss": 3.0, "st')
    curves = read_scalars(tmp_path)
    assert steps_of(curves) == {1: 1, 2: 2, 3: 3, 4: 4, 5: 105, 6: 106, 7: 107, 8: 108}
    assert set(curves) == {'loss', 'lr'}  # the k-NN of step 6 belongs to the part that was redone


def test_a_run_killed_before_its_first_line_counts_for_nothing(tmp_path):
    write_run(tmp_path, '1', [dict(loss=1.0, step=3)])
    write_run(tmp_path, '2', [])
    assert steps_of(read_scalars(tmp_path)) == {3: 1}


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r'scalars\.json.*work dir'):
        read_scalars(tmp_path)
    write_run(tmp_path, '1', [])
    with pytest.raises(ValueError, match='hold no values'):
        read_scalars(tmp_path)


def test_smoothing_is_the_mean_of_the_window_around_each_point():
    values = np.random.default_rng(0).random(20)
    expected = [values[max(i - 2, 0) : i + 3].mean() for i in range(20)]
    np.testing.assert_allclose(smooth(values, 5), expected)
    np.testing.assert_allclose(smooth(values, 1), values)
    line = np.arange(20.0)
    np.testing.assert_allclose(smooth(line, 7)[3:-3], line[3:-3])  # no lag


def test_smoothing_leaves_out_what_is_not_finite():
    values = np.array([1.0, math.nan, 3.0, math.inf, math.nan, math.nan, math.nan, 5.0])
    result = smooth(values, 3)
    assert result[:3].tolist() == [1, 2, 3] and np.isnan(result[5]) and result[7] == 5


def make_run(offset=0.0):
    steps = np.arange(1, 201)
    return {
        'loss': (steps, offset + 1 / steps),
        'loss_reconstruction': (steps, offset + 1 / steps),
        'lr': (steps, np.linspace(3e-4, 0, 200)),
        'knn/top1_k100': (steps[::50], np.arange(4.0)),
        'knn/top1_k20': (steps[::50], np.arange(4.0) + 1),
        'grad_norm': (steps, steps * 1.0),
    }


def drawn(panel):
    return [line for line in panel.lines if line.get_alpha() is None]


def test_panels_of_one_run_are_loss_rate_and_accuracy_with_values_as_read():
    loss, rate, knn = curves_figure({'a': make_run()}, smoothing=5).axes
    (smoothed,) = drawn(loss)  # the only term repeats the sum, so it is not drawn
    np.testing.assert_allclose(smoothed.get_ydata(), smooth(make_run()['loss'][1], 5))
    raw = [line for line in loss.lines if line.get_alpha() is not None]
    np.testing.assert_allclose(raw[0].get_ydata(), make_run()['loss'][1])
    assert rate.get_title(loc='left') == 'learning rate [$10^{-4}$]'
    np.testing.assert_allclose(rate.lines[0].get_ydata(), np.linspace(3, 0, 200), atol=1e-12)
    assert [line.get_label() for line in knn.lines] == ['k = 20', 'k = 100']
    assert knn.get_xlim() == rate.get_xlim() == (0, 200)


def test_scores_of_fine_tuning_have_panels_in_percent_and_four_make_two_rows():
    steps = np.arange(1, 5)
    run = {
        'loss': (steps, 1.0 / steps),
        'lr': (steps, 1e-3 / steps),
        'coco/bbox_mAP': (steps, np.array([0.1, 0.2, 0.3, 0.4])),
        'coco/bbox_mAP_50': (steps, np.array([0.2, 0.3, 0.4, 0.5])),
        'coco/segm_mAP': (steps, np.array([-1.0, 0.1, 0.2, 0.25])),
    }
    figure = curves_figure({'a': run})
    assert [panel.get_title(loc='left').split(' [')[0] for panel in figure.axes] == [
        'loss',
        'learning rate',
        'box AP',
        'mask AP',
    ]
    assert figure.axes[2].lines[0].get_ydata().tolist() == pytest.approx([10, 20, 30, 40])
    mask = figure.axes[3].lines[0].get_ydata()
    assert np.isnan(mask[0]) and mask[1:].tolist() == pytest.approx([10, 20, 25])  # -1: there was nothing to score
    assert len({round(panel.get_position().y0, 2) for panel in figure.axes}) == 2 and figure.get_size_inches()[0] <= 7

    titles = {
        name: curves_figure({'a': {name: (steps, 1.0 * steps)}}).axes[0].get_title(loc='left')
        for name in ('mIoU', 'lvis/bbox_AP', 'lvis/segm_AP', 'accuracy/top1')
    }
    assert titles == {
        'mIoU': 'mIoU [%]',
        'lvis/bbox_AP': 'box AP [%]',
        'lvis/segm_AP': 'mask AP [%]',
        'accuracy/top1': 'top-1 accuracy [%]',
    }


def test_several_runs_are_compared_in_distinct_colours_and_named_once():
    figure = curves_figure({'a': make_run(), 'b': make_run(1.0)})
    loss, rate, _ = figure.axes
    lines = drawn(loss)
    assert [line.get_label() for line in lines] == ['a', 'b']
    assert lines[0].get_color() != lines[1].get_color()
    assert loss.get_legend() is not None and rate.get_legend() is None


def test_a_spike_at_the_start_does_not_flatten_the_rest():
    steps = np.arange(1, 301)
    values = np.linspace(1.0, 0.5, 300)
    values[0] = 1000
    (panel,) = curves_figure({'a': {'loss': (steps, values)}}, smoothing=1).axes
    assert 1.0 < panel.get_ylim()[1] < 2


def test_runs_without_anything_to_draw_are_refused():
    with pytest.raises(ValueError, match='no loss, learning rate or score'):
        curves_figure({'a': {'grad_norm': (np.arange(3), np.arange(3.0))}})


def test_labels_are_as_short_as_distinct_names_can_be(tmp_path):
    assert run_labels([tmp_path / 'x/mae', tmp_path / 'x/simmim']) == ['mae', 'simmim']
    assert run_labels([tmp_path / 'x/mae', tmp_path / 'y/mae']) == ['x/mae', 'y/mae']
