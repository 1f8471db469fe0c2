"""A grid of pictures, set as in a paper: white ground, no axes, one line of column titles."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

FONT = 'DejaVu Sans'
MAX_WIDTH = 7.0  # inches, the text of a two-column page
NOTE_SIZE = 6.5  # points
SMALLEST_SIDE = 192  # pixels, of pictures on which something finer than their own pixels is drawn


def to_picture(images: Tensor, mean: Tensor | None = None, std: Tensor | None = None) -> np.ndarray:
    """(B, 3, H, W), normalised -> (B, H, W, 3) float in [0, 1]; ``mean`` and ``std`` of pixels in 0..255."""
    images = images.detach().float().cpu()
    if mean is not None:
        images = images * std.cpu().view(3, 1, 1) + mean.cpu().view(3, 1, 1)
    return (images / 255).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def upsample(values: np.ndarray, size: tuple[int, int], mode: str = 'nearest') -> np.ndarray:
    """(h, w) -> (H, W), by 'nearest' or 'bicubic'."""
    if mode not in ('nearest', 'bicubic'):
        raise ValueError(f"upsample={mode!r}, must be 'nearest' or 'bicubic'")
    if mode == 'nearest':
        rows = np.arange(size[0]) * values.shape[0] // size[0]
        columns = np.arange(size[1]) * values.shape[1] // size[1]
        return values[rows][:, columns]
    tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
    return torch.nn.functional.interpolate(tensor, size, mode='bicubic', align_corners=False)[0, 0].numpy()


def enlarge(pictures: np.ndarray) -> np.ndarray:
    """(..., H, W, 3), each pixel repeated so that no side is below 192 pixels; larger ones come back as they are."""
    factor = -(-SMALLEST_SIDE // min(pictures.shape[-3:-1]))
    return pictures.repeat(factor, -3).repeat(factor, -2)


def picture_grid(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str] | Sequence[Sequence[str]],
    groups: int = 1,
    cell: float | None = None,
    legend: Sequence[tuple[str, np.ndarray]] = (),
    note: str = '',
) -> Figure:
    """Rows of pictures (H, W, 3) in [0, 1], all with as many columns as there are titles.

    ``titles`` are those of the columns, or a list of them for each row. ``groups`` folds the rows into that many blocks
    side by side. ``cell`` is the width of a picture in inches, by default 1 or what makes the figure as wide as a page;
    ``legend``, below, pairs words with a square picture of what they name; ``note`` is what stands below that.
    """
    titled = bool(titles) and not isinstance(titles[0], str)  # each row by itself
    columns = len(titles[0] if titled else titles)
    if not rows or any(len(row) != columns for row in rows) or (titled and len(titles) != len(rows)):
        raise ValueError(f'picture_grid: {len(rows)} rows, each must have {columns} pictures, and titles if any has')
    if groups < 1:
        raise ValueError(f'picture_grid: {groups} blocks side by side, must be at least 1')
    groups = min(groups, len(rows))
    cell = cell or min(1.0, MAX_WIDTH / (groups * (1.03 * columns + 0.15)))
    lines = -(-len(rows) // groups)
    height, width = rows[0][0].shape[:2]
    gap, group_gap, margin = 0.03 * cell, 0.16 * cell, 0.02
    tall = cell * height / width
    words = [title for row in titles for title in row] if titled else titles
    longest = max(len(line) for title in words for line in title.split('\n'))
    size = min(8.0, max(4.5, cell * 72 * 1.5 / max(longest, 1)))
    head = (max(title.count('\n') for title in words) + 1) * size * 1.35 / 72 + 0.03
    block = columns * cell + (columns - 1) * gap
    total_width = groups * block + (groups - 1) * group_gap + 2 * margin
    noted = textwrap.wrap(note, max(20, int(total_width * 72 / (NOTE_SIZE * 0.56))))  # a letter is 0.56 wide
    note_height = 0.15 * len(noted)
    foot = 0.06 + 0.17 * bool(legend) + note_height if legend or note else 0.0
    heads = lines if titled else 1
    total_height = heads * head + lines * tall + (lines - 1) * gap + foot + 2 * margin
    # Enough dots for a 224 px picture to keep its pixels.
    dpi = 300 if cell > 0.7 else 600
    figure = Figure(figsize=(total_width, total_height), dpi=dpi, facecolor='white')
    for index, row in enumerate(rows):
        group, line = divmod(index, lines)
        for column, picture in enumerate(row):
            left = margin + group * (block + group_gap) + column * (cell + gap)
            above = (line + 1 if titled else 1) * head
            bottom = total_height - margin - above - (line + 1) * tall - line * gap
            box = [left / total_width, bottom / total_height, cell / total_width, tall / total_height]
            axes = figure.add_axes(box)
            axes.imshow(picture, interpolation='nearest', aspect='auto', vmin=0, vmax=1)
            axes.set_axis_off()
            if titled or line == 0:
                title = titles[index][column] if titled else titles[column]
                axes.set_title(title, fontsize=size, pad=2.5, family=FONT)
    for number, text in enumerate(noted, start=1):
        place = margin / total_width, (0.05 + note_height - 0.15 * number) / total_height
        figure.text(*place, text, fontsize=NOTE_SIZE, family=FONT, color='0.3')
    left, bottom = margin, 0.05 + note_height
    for word, picture in legend:
        square = figure.add_axes([left / total_width, bottom / total_height, 0.12 / total_width, 0.12 / total_height])
        square.imshow(picture, interpolation='nearest', aspect='auto', vmin=0, vmax=1)
        square.set_xticks([])
        square.set_yticks([])
        for spine in square.spines.values():
            spine.set(linewidth=0.4, color='0.4')
        place = (left + 0.17) / total_width, (bottom + 0.06) / total_height
        figure.text(*place, word, fontsize=NOTE_SIZE, family=FONT, va='center_baseline')
        left += 0.17 + 0.055 * len(word) + 0.2
    return figure


def dress_panel(panel: Axes, title: str, x_label: str) -> None:
    """The plain look of all curves: no box, faint lines across, few ticks, whole numbers along x."""
    panel.set_title(title, fontsize=8, family=FONT, loc='left')
    panel.set_xlabel(x_label, fontsize=7.5, family=FONT)
    panel.tick_params(labelsize=7, width=0.6, length=2.5)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, steps=(1, 2, 5, 10)))
    panel.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=(1, 2, 5, 10)))
    panel.grid(axis='y', color='0.9', linewidth=0.5)
    panel.set_axisbelow(True)
    for side in ('top', 'right'):
        panel.spines[side].set_visible(False)
    for side in ('left', 'bottom'):
        panel.spines[side].set_linewidth(0.6)


def check_picture_name(path: str | Path) -> None:
    if Path(path).suffix not in ('.png', '.pdf', '.svg'):
        raise ValueError(f'--out {path}: the name must end in .png, .pdf or .svg')


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes at print resolution; the format is the suffix (.png, .pdf, .svg)."""
    path = Path(path)
    check_picture_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor='white')
    return path
