"""Training curves from what MMEngine's local backend writes."""

import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from .figure import dress_panel

COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')  # Okabe and Ito
_NOT_CURVES = ('step', 'iter', 'epoch', 'time', 'data_time', 'memory')
# Panels of scores: title, names, and what makes them percent.
_SCORES = (
    ('k-NN top-1 [%]', ('knn/top1_k*',), 1),
    ('top-1 accuracy [%]', ('accuracy/top1',), 1),
    ('box AP [%]', ('coco/bbox_mAP', 'lvis/bbox_AP'), 100),
    ('mask AP [%]', ('coco/segm_mAP', 'lvis/segm_AP'), 100),
    ('mIoU [%]', ('mIoU',), 1),
)
PAGE = 7.0  # inches, the text of a two-column page

Curve = tuple[np.ndarray, np.ndarray]


def read_scalars(work_dir: str | Path) -> dict[str, Curve]:
    """{name: (iterations, values)} of all runs in a work dir, ``<work_dir>/<time stamp>/vis_data/scalars.json``.

    Runs are merged in the order of their time stamps. Where a later run begins before an earlier one ended (it
    resumed from a checkpoint, or started anew), the later one counts. Half a last line, left by a kill, is
    dropped. Raises ValueError if there is nothing to read.
    """
    work_dir = Path(work_dir)
    files = sorted(work_dir.glob('*/vis_data/scalars.json')) or sorted(work_dir.glob('vis_data/scalars.json'))
    if not files:
        raise ValueError(f'{work_dir}: no */vis_data/scalars.json, is it the work dir of a training run?')
    points: dict[str, dict[int, float]] = {}
    for file in files:
        records = [record for line in file.read_text().splitlines() if (record := _record(line))]
        if not records:
            continue
        first = min(record['step'] for record in records)
        for name in points:
            points[name] = {step: value for step, value in points[name].items() if step < first}
        for record in records:
            for name, value in record.items():
                if name not in _NOT_CURVES and isinstance(value, int | float):
                    points.setdefault(name, {})[record['step']] = float(value)
    curves = {}
    for name, values in points.items():
        if values:
            steps = sorted(values)
            curves[name] = (np.array(steps), np.array([values[step] for step in steps]))
    if not curves:
        raise ValueError(f'{work_dir}: the scalars.json files hold no values')
    return curves


def _record(line: str) -> dict | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get('step'), int) else None


def smooth(values: np.ndarray, span: float) -> np.ndarray:
    """Mean over the ``span`` (made odd) points around each one, fewer at the ends; lags behind nothing.

    Non-finite values are left out; where a whole window is not finite, so is the mean.
    """
    reach = int(span) // 2
    finite = np.isfinite(values)
    totals = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    centre = np.arange(len(values))
    first, last = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, len(values))
    with np.errstate(invalid='ignore'):
        return (totals[last] - totals[first]) / (counts[last] - counts[first])


def curves_figure(runs: Mapping[str, Mapping[str, Curve]], smoothing: float | None = None) -> Figure:
    """Panels of losses, learning rate and scores against iterations; ``runs`` maps a label to curves.

    The raw loss is drawn faint, its moving average over ``smoothing`` points (a fiftieth of the curve unless
    given) on top. Lines that a legend on the left has named are not named again.
    """
    panels = _panels(runs)
    if not panels:
        raise ValueError('curves: no loss, learning rate or score to draw')
    rows = 1 if len(panels) <= 3 else 2
    columns = -(-len(panels) // rows)
    size = min(2.75 * columns, PAGE), 2.25 * rows
    figure = Figure(figsize=size, facecolor='white', layout='constrained', dpi=300)
    axes = [figure.add_subplot(rows, columns, 1 + place) for place in range(len(panels))]
    named: set[str] = set()
    last = max(
        curves[name][0][-1] for curves in runs.values() for _, names, _ in panels for name in names if name in curves
    )
    for panel, (title, names, factor) in zip(axes, panels, strict=True):
        line = 0
        exponent = _exponent(runs, names) if title == 'learning rate' else 0
        finite: list[np.ndarray] = []
        for run, curves in runs.items():
            for name in names:
                if name not in curves:
                    continue
                steps, values = curves[name]
                values = values * factor / 10.0**exponent
                if factor == 100:
                    values = np.where(values < 0, np.nan, values)  # AP is -1 where there was nothing to find
                colour = COLOURS[line % len(COLOURS)]
                line += 1
                label = _label(run, name, len(runs), len(names))
                if title == 'loss':
                    span = smoothing or max(len(values) / 50, 1)
                    if span >= 2:
                        panel.plot(steps, values, color=colour, alpha=0.25, linewidth=0.6)
                    values = smooth(values, span)
                marker = 'o' if len(values) <= 40 and title not in ('loss', 'learning rate') else None
                panel.plot(
                    steps,
                    values,
                    color=colour,
                    linewidth=1.2,
                    label=label,
                    marker=marker,
                    markersize=2.5,
                    clip_on=marker is None,  # the last point lies on the edge
                )
                finite.append(values[np.isfinite(values)])
        dress_panel(panel, f'{title} [$10^{{{exponent}}}$]' if exponent else title, 'iteration')
        panel.set_xlim(0, last)
        seen = np.concatenate(finite) if finite else np.zeros(0)
        if title == 'learning rate':
            panel.set_ylim(bottom=0)
        elif title == 'loss' and len(seen) > 20:
            # A few huge values at the start would flatten all the rest.
            top = np.quantile(seen, 0.99)
            low = seen.min()
            if seen.max() > low + 3 * (top - low) > low:
                panel.set_ylim(low - 0.05 * (top - low), low + 1.3 * (top - low))
        labels = panel.get_legend_handles_labels()[1]
        if line > 1 and not set(labels) <= named:
            named.update(labels)
            panel.legend(frameon=False, fontsize=6.5, handlelength=1.4)
    return figure


def _panels(runs: Mapping[str, Mapping[str, Curve]]) -> list[tuple[str, list[str], int]]:
    names = sorted({name for curves in runs.values() for name in curves}, key=_natural)
    losses = [name for name in names if 'loss' in name.split('/')[-1]]
    if 'loss' in losses:
        terms = [name for name in losses if name != 'loss']
        # A single term repeats the sum; several runs are compared by their sums.
        losses = ['loss'] + (terms if len(terms) > 1 and len(runs) == 1 else [])
    rates = [name for name in ('lr',) if name in names]
    panels = [('loss', losses, 1), ('learning rate', rates, 1)]
    for title, patterns, factor in _SCORES:
        panels.append((title, [name for name in names if any(fnmatch(name, each) for each in patterns)], factor))
    return [panel for panel in panels if panel[1]]


def _exponent(runs: Mapping[str, Mapping[str, Curve]], names: Sequence[str]) -> int:
    """Of the power of ten that the largest value is a multiple of; 0 if nothing is positive."""
    largest = max(curves[name][1].max() for curves in runs.values() for name in names if name in curves)
    return int(np.floor(np.log10(largest))) if largest > 0 else 0


def _natural(name: str) -> list:
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)]


def _label(run: str, name: str, runs: int, names: int) -> str:
    short = name.split('/')[-1].removeprefix('top1_').removeprefix('loss_')
    short = re.sub(r'^k(\d+)$', r'k = \1', short)
    if runs == 1:
        return 'sum' if short == 'loss' else short
    return run if names == 1 else f'{run}, {short}'


def run_labels(work_dirs: Sequence[str | Path]) -> list[str]:
    """Short distinct names: the folder's own, with its parents where two would be equal."""
    paths = [Path(each).resolve() for each in work_dirs]
    depth = 1
    labels = ['/'.join(path.parts[-depth:]) for path in paths]
    while len(set(labels)) < len(set(paths)):
        depth += 1
        labels = ['/'.join(path.parts[-depth:]) for path in paths]
    return labels
