"""Bars and curves for a page: markup that follows the page's width and print, and that a screen reader can read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 440, 270  # of curves, in the units of the SVG; on a phone about its pixels
LEFT, RIGHT, TOP, BOTTOM = 42, 10, 10, 40
LOGARITHMIC_FROM = 8  # times the smallest x that the largest has to be


@dataclass(frozen=True)
class Series:
    """``values`` with their spreads (None: no number; None: no spread) and how they are written. ``look`` is a class of
    the page's style."""

    label: str
    look: str
    values: Sequence[float | None]
    spreads: Sequence[float | None]
    texts: Sequence[str]


def nice_ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Round numbers at equal steps (1, 2 or 5 times a power of ten) from ``low`` or below to ``high`` or above."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / number
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def bars(title: str, series: Sequence[Series], low: float, high: float, mark: float | None = None) -> Markup:
    """First values as lying bars from 0, on a scale from ``low`` <= 0 to ``high``; a line at ``mark``."""

    def place(value: float) -> float:
        return 100 * (min(max(value, low), high) - low) / (high - low)

    lines, spoken = [], []
    for each in series:
        value, spread = each.values[0], each.spreads[0]
        if value is None:
            continue
        start, end = sorted((place(0), place(value)))
        text = each.texts[0]
        spoken.append(f'{each.label} {text}')
        drawn = Markup('<i class="fill" style="left:{:.2f}%;width:{:.2f}%"></i>').format(start, end - start)
        if spread is not None:
            left, right = place(value - spread), place(value + spread)
            drawn += Markup('<i class="spread" style="left:{:.2f}%;width:{:.2f}%"></i>').format(left, right - left)
        if mark is not None and low <= mark <= high:
            drawn += Markup('<i class="mark" style="left:{:.2f}%"></i>').format(place(mark))
        cells = Markup('<span>{}</span><span class="track">{}</span><span class="value">{}</span>')
        lines.append(Markup('<div class="bar {}">{}</div>').format(each.look, cells.format(each.label, drawn, text)))
    return Markup('<div class="bars" role="img" aria-label="{}"><h4>{}</h4>{}</div>').format(
        f'{title}: {"; ".join(spoken)}', title, Markup('').join(lines)
    )


def curves(
    title: str, x_label: str, xs: Sequence[float], series: Sequence[Series], mark: float | None = None
) -> Markup:
    """A line per series over ``xs``, its spread as a band; dashed, at ``mark``, what chance gives."""
    logarithmic = min(xs) > 0 and max(xs) / min(xs) >= LOGARITHMIC_FROM
    scaled = [math.log(x) if logarithmic else float(x) for x in xs]
    reach = [
        value + sign * (spread or 0)
        for each in series
        for value, spread in zip(each.values, each.spreads, strict=True)
        if value is not None
        for sign in (-1, 1)
    ]
    if mark is not None:
        reach.append(mark)
    ticks = nice_ticks(min(reach), max(reach))
    low, high = ticks[0], ticks[-1]

    def across(value: float) -> float:
        return LEFT + (value - scaled[0]) / ((scaled[-1] - scaled[0]) or 1) * (WIDTH - LEFT - RIGHT - 12) + 6

    def down(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    drawn = []
    for tick in ticks:
        drawn.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down(tick):.1f}" y2="{down(tick):.1f}"/>'
        )
        drawn.append(f'<text x="{LEFT - 6}" y="{down(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    free = -math.inf  # where the last label ends
    for x, value in zip(xs, scaled, strict=True):
        half = 3.6 * len(f'{x:g}')
        if across(value) - half > free:
            drawn.append(f'<text x="{across(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:g}</text>')
            free = across(value) + half + 4
    if mark is not None:
        drawn.append(
            f'<line class="mark" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down(mark):.1f}" y2="{down(mark):.1f}"/>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawn.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    for each in series:
        points = [
            (across(x), value, spread or 0)
            for x, value, spread in zip(scaled, each.values, each.spreads, strict=True)
            if value is not None
        ]
        if any(spread for _, _, spread in points):
            edge = [(x, value + spread) for x, value, spread in points]
            edge += [(x, value - spread) for x, value, spread in reversed(points)]
            outline = ' '.join(f'{x:.1f},{down(value):.1f}' for x, value in edge)
            drawn.append(f'<polygon class="band {each.look}" points="{outline}"/>')
        line = ' '.join(f'{x:.1f},{down(value):.1f}' for x, value, _ in points)
        drawn.append(f'<polyline class="line {each.look}" points="{line}"/>')
        drawn += [f'<circle class="dot {each.look}" cx="{x:.1f}" cy="{down(y):.1f}" r="3"/>' for x, y, _ in points]
    return Markup(
        '<figure class="curves"><figcaption>{}</figcaption>'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>{}</svg></figure>'
    ).format(title, WIDTH, HEIGHT, _spoken(title, xs, series), title, Markup(''.join(drawn)))


def legend(looks: Mapping[str, str], mark: str = '') -> Markup:
    """What the ``looks`` of names mean; ``mark`` is what the dotted line is."""
    entries = [Markup('<span class="key {}"><i></i>{}</span>').format(look, name) for name, look in looks.items()]
    if mark:
        entries.append(Markup('<span class="key chance"><i></i>{}</span>').format(mark))
    return Markup('<p class="legend">{}</p>').format(Markup('').join(entries)) if entries else Markup('')


def _spoken(title: str, xs: Sequence[float], series: Sequence[Series]) -> str:
    parts = []
    for each in series:
        pairs = [f'{x:g}: {value:g}' for x, value in zip(xs, each.values, strict=True) if value is not None]
        parts.append(f'{each.label} {", ".join(pairs)}')
    return f'{title}. {"; ".join(parts)}'
