"""A grid of pictures, set as in a paper: white ground, no axes, one line of column titles."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

FONT = 'DejaVu Sans'
MAX_WIDTH = 7.0  # inches, the text of a two-column page
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
    titles: Sequence[str],
    groups: int = 1,
    cell: float | None = None,
    legend: Sequence[tuple[str, np.ndarray]] = (),
    note: str = '',
) -> Figure:
    """Rows of pictures (H, W, 3) in [0, 1], all with ``len(titles)`` columns.

    ``groups`` folds the rows into that many blocks side by side. ``cell`` is the width of a picture in inches,
    by default 1 or what makes the figure as wide as a page; ``legend``, below, pairs words with a square picture of
    what they name; ``note`` is a line below that.
    """
    columns = len(titles)
    if not rows or any(len(row) != columns for row in rows):
        raise ValueError(f'picture_grid: {len(rows)} rows, each must have {columns} pictures')
    if groups < 1:
        raise ValueError(f'picture_grid: {groups} blocks side by side, must be at least 1')
    groups = min(groups, len(rows))
    cell = cell or min(1.0, MAX_WIDTH / (groups * (1.03 * columns + 0.15)))
    lines = -(-len(rows) // groups)
    height, width = rows[0][0].shape[:2]
    gap, group_gap, margin = 0.03 * cell, 0.16 * cell, 0.02
    tall = cell * height / width
    longest = max(len(line) for title in titles for line in title.split('\n'))
    size = min(8.0, max(4.5, cell * 72 * 1.5 / max(longest, 1)))
    head = (max(title.count('\n') for title in titles) + 1) * size * 1.35 / 72 + 0.03
    foot = 0.06 + 0.17 * bool(legend) + 0.15 * bool(note) if legend or note else 0.0
    block = columns * cell + (columns - 1) * gap
    total_width = groups * block + (groups - 1) * group_gap + 2 * margin
    total_height = head + lines * tall + (lines - 1) * gap + foot + 2 * margin
    # Enough dots for a 224 px picture to keep its pixels.
    dpi = 300 if cell > 0.7 else 600
    figure = Figure(figsize=(total_width, total_height), dpi=dpi, facecolor='white')
    for index, row in enumerate(rows):
        group, line = divmod(index, lines)
        for column, picture in enumerate(row):
            left = margin + group * (block + group_gap) + column * (cell + gap)
            bottom = total_height - margin - head - (line + 1) * tall - line * gap
            box = [left / total_width, bottom / total_height, cell / total_width, tall / total_height]
            axes = figure.add_axes(box)
            axes.imshow(picture, interpolation='nearest', aspect='auto', vmin=0, vmax=1)
            axes.set_axis_off()
            if line == 0:
                axes.set_title(titles[column], fontsize=size, pad=2.5, family=FONT)
    if note:
        figure.text(margin / total_width, 0.05 / total_height, note, fontsize=6.5, family=FONT, color='0.3')
    left, bottom = margin, 0.05 + 0.15 * bool(note)
    for word, picture in legend:
        square = figure.add_axes([left / total_width, bottom / total_height, 0.12 / total_width, 0.12 / total_height])
        square.imshow(picture, interpolation='nearest', aspect='auto', vmin=0, vmax=1)
        square.set_xticks([])
        square.set_yticks([])
        for spine in square.spines.values():
            spine.set(linewidth=0.4, color='0.4')
        place = (left + 0.17) / total_width, (bottom + 0.06) / total_height
        figure.text(*place, word, fontsize=6.5, family=FONT, va='center_baseline')
        left += 0.17 + 0.055 * len(word) + 0.2
    return figure


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
