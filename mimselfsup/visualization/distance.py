"""How far the attention of each head reaches, block by block."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .curves import COLOURS
from .figure import FONT, MAX_WIDTH, NOTE_SIZE, dress_panel

PANELS_A_LINE = 4
GREY = '0.55'
HEAD = dict(markersize=2.6, markeredgewidth=0.5, alpha=0.6)


@dataclass
class Reach:
    """What a panel shows: mean attention distances in pixels.

    Attributes:
        label: of the model.
        trained: (blocks, heads).
        initial: the same of the model before training.
        even: what attention would reach that is the same to all patches.
    """

    label: str
    trained: np.ndarray
    initial: np.ndarray
    even: float


def distance_figure(models: Sequence[Reach]) -> Figure:
    """One panel per model, on one scale: every head of every block a point, lines for the means over heads."""
    lines = -(-len(models) // PANELS_A_LINE)
    columns = -(-len(models) // lines)
    width = min(2.9, (MAX_WIDTH - 0.3) / columns)
    figure = Figure(
        figsize=(width * columns + 0.3, 2.15 * lines + 0.3), facecolor='white', layout='constrained', dpi=300
    )
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for panel, model in zip(panels, models, strict=False):
        blocks, heads = model.trained.shape
        depth = np.arange(1, blocks + 1)
        for values, colour, marker in ((model.initial, GREY, 'x'), (model.trained, COLOURS[0], 'o')):
            panel.plot(np.repeat(depth, heads), values.ravel(), marker, color=colour, **HEAD)
            panel.plot(depth, values.mean(1), color=colour, linewidth=1.2)
        panel.axhline(model.even, color=GREY, linewidth=0.8, linestyle=':')
        dress_panel(panel, textwrap.fill(model.label, int(width * 72 / (8 * 0.6))), 'block')
        panel.set_xlim(0.5, blocks + 0.5)
    farthest = max(max(model.trained.max(), model.initial.max(), model.even) for model in models)
    panels[0].set_ylim(0, 1.06 * farthest)  # of all; a point on the edge would be cut in half
    for panel in panels[::columns]:
        panel.set_ylabel('attention distance [pixels]', fontsize=7.5, family=FONT)
    for panel in panels[len(models) :]:
        panel.set_visible(False)
    keys = [
        Line2D([], [], color=COLOURS[0], marker='o', linewidth=1.2, **HEAD, label='trained: heads and their mean'),
        Line2D([], [], color=GREY, marker='x', linewidth=1.2, **HEAD, label='random weights'),
        Line2D([], [], color=GREY, linewidth=0.8, linestyle=':', label='even attention'),
    ]
    figure.legend(
        handles=keys,
        loc='outside lower center',
        ncols=3 if columns > 1 else 1,
        frameon=False,
        fontsize=NOTE_SIZE,
        handlelength=2,
    )
    return figure
