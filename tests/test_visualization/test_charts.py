"""Where bars end and curves run."""

import re
import xml.etree.ElementTree as ET

import pytest

from mimselfsup.visualization.charts import HEIGHT, Series, bars, curves, legend, nice_ticks


def series(values, spreads=None, label='a', look='c0'):
    spreads = spreads or [None] * len(values)
    texts = [
        str(value) if spread is None else f'{value} ± {spread}' for value, spread in zip(values, spreads, strict=True)
    ]
    return Series(label, look, values, spreads, texts)


@pytest.mark.parametrize(
    ('low', 'high', 'ticks'),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0, 97.3, [0, 20, 40, 60, 80, 100]),
        (16.2, 20.8, [16, 17, 18, 19, 20, 21]),
        (-3, 7.5, [-5, 0, 5, 10]),
        (0.011, 0.013, [0.011, 0.0115, 0.012, 0.0125, 0.013]),
        (5, 5, [4.4, 4.6, 4.8, 5.0, 5.2, 5.4, 5.6]),
    ],
)
def test_ticks_are_round_and_cover(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks)


def styles(markup, name):
    found = re.findall(rf'class="{name}" style="left:([-\d.]+)%(?:;width:([-\d.]+)%)?"', markup)
    return [tuple(float(each) for each in pair if each) for pair in found]


def test_bars_start_at_zero_and_end_at_their_value():
    drawn = [series([50.0], [5.0]), series([-20.0], label='b'), series([None], label='no number')]
    markup = bars('score', drawn, -100, 100, mark=25)
    assert styles(markup, 'fill') == [(50, 25), (40, 10)]
    assert styles(markup, 'spread') == [(72.5, 5)]  # of 200 wide: 45 to 55
    assert styles(markup, 'mark') == [(62.5,), (62.5,)]
    assert 'aria-label="score: a 50.0 ± 5.0; b -20.0"' in markup and 'no number' not in markup
    assert not styles(bars('score', drawn, -100, 100), 'mark')


def points_of(markup, tag, name):
    svg = ET.fromstring(re.search('<svg.*</svg>', markup, re.S)[0])
    return [each for each in svg.iter(tag) if name in each.get('class', '')]


def places(markup):
    return [(float(dot.get('cx')), float(dot.get('cy'))) for dot in points_of(markup, 'circle', 'dot')]


def test_curves_are_even_in_the_logarithm_where_x_spans_much():
    wide = places(curves('t', 'x', [1, 10, 100], [series([0, 5, 10])]))
    narrow = places(curves('t', 'x', [1, 2, 3], [series([0, 5, 10])]))
    assert wide == narrow  # decades like steps of one
    (left, low), (middle, half), (right, high) = wide
    assert middle == pytest.approx((left + right) / 2, abs=0.1) and half == pytest.approx((low + high) / 2, abs=0.1)
    assert 0 < high < low < HEIGHT  # up is more
    with_zero = places(curves('t', 'x', [0, 50, 100], [series([0, 5, 10])]))
    assert with_zero == narrow  # no logarithm of zero


def test_spread_is_a_band_about_its_line_and_chance_a_line_across():
    markup = curves('t', 'x', [1, 2], [series([4.0, 6.0], [1.0, 2.0])], mark=10)
    scale = places(curves('t', 'x', [1, 2, 3, 4], [series([3.0, 5.0, 4.0, 8.0])], mark=10))
    assert len(scale) == 4
    (band,) = points_of(markup, 'polygon', 'band')
    edge = [float(pair.split(',')[1]) for pair in band.get('points').split()]
    (_, first), (_, second) = places(markup)
    unit = first - edge[0]  # what 1 is
    assert unit > 0 and edge == pytest.approx(
        [first - unit, second - 2 * unit, second + 2 * unit, first + unit], abs=0.2
    )
    (mark,) = [line for line in points_of(markup, 'line', 'mark')]
    assert float(mark.get('y1')) == pytest.approx(first - 6 * unit, abs=0.5)


def test_a_gap_is_left_where_there_is_no_number():
    markup = curves('t', 'x', [1, 2, 3, 4], [series([1.0, None, 3.0, 4.0])])
    assert len(places(markup)) == 3
    assert 'aria-label="t. a 1: 1, 3: 3, 4: 4"' in markup and '<title>t</title>' in markup


def test_names_are_escaped():
    name = '<b>"A" & B</b>'
    drawn = [series([1.0], label=name)]
    for markup in (
        bars(name, drawn, 0, 1),
        curves(name, name, [1, 2], [series([1.0, 2.0], label=name)]),
        legend({name: 'c0'}, name),
    ):
        assert '<b>' not in markup and '&lt;b&gt;' in markup and '"A"' not in markup
    assert legend({}) == ''
