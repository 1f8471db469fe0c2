"""What every evaluation protocol looks like from outside: one object that the command line and the model card read."""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel

from .model import load_model, without_pretrained


@dataclass(frozen=True)
class Table:
    """Numbers as people read them; the first cell of a row names the model. Cells are text."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)  # a line each: data, chance, what was measured and how

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = [self.title, *self.notes]
        for cells in (self.header, ['-' * width for width in widths], *self.rows):
            first, *rest = cells
            aligned = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(rest, widths[1:], strict=True))]
            lines.append('  '.join(aligned).rstrip())
        return '\n'.join(lines)


@dataclass(frozen=True)
class Protocol:
    """A frozen-feature protocol.

    ``run(config, checkpoint, data_root, seeds=, batch_size=, workers=, device=, cfg_options=, **options)`` returns a
    report that goes into a JSON file; its ``rows`` are dicts with a ``model`` each ('pre-trained', 'random init',
    'raw pixels', ...). ``tables(report)`` says it for people. ``add_options`` adds to a parser the options that are
    the protocol's own; their ``dest`` are keywords of ``run``.
    """

    name: str
    summary: str  # one line for --help and docs
    run: Callable[..., dict[str, Any]]
    tables: Callable[[Mapping[str, Any]], list[Table]]
    add_options: Callable[[argparse._ArgumentGroup], None] = lambda group: None
    layout: str = ''  # what lies below its root, for people
    # What of that it cannot do without, as globs: one of these lists, all of it. Says too whether a folder is its data.
    reads: tuple[tuple[str, ...], ...] = ()
    subfolder: str = ''  # where tools/make_scenes.py puts that root below a world's, if it is not the world's own


def score_with_random_init(
    config: Config,
    checkpoint: str | Path,
    score: Callable[[BaseModel], Mapping[str, Any]],
    seeds: Sequence[int] = (0, 1, 2),
    device: torch.device | str = 'cpu',
) -> list[dict[str, Any]]:
    """Rows of a report: ``score`` of the checkpoint, and its mean and spread over random initialisations."""
    rows = [dict(model='pre-trained', **score(load_model(config, checkpoint, device)))]
    if seeds:
        runs = [score(load_model(without_pretrained(config), device=device, seed=seed)) for seed in seeds]
        rows.append(dict(model='random init', seeds=list(seeds), **mean_and_spread(runs)))
    return rows


def mean_and_spread(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of equal trees: the mean of each float ``x``, and for two or more trees its standard deviation (n - 1) as
    ``x_std``. What is no float is left out."""
    merged: dict[str, Any] = {}
    for name, value in results[0].items():
        if isinstance(value, Mapping):
            merged[name] = mean_and_spread([result[name] for result in results])
        elif isinstance(value, float):
            values = [result[name] for result in results]
            merged[name] = statistics.fmean(values)
            if len(values) > 1:
                merged[f'{name}_std'] = statistics.stdev(values)
    return {name: value for name, value in merged.items() if value != {}}


def cell(values: Mapping[str, float], name: str, digits: int = 1) -> str:
    """``values[name]`` with its spread, if it has one: '12.3' or '12.3 +- 0.4'."""
    spread = values.get(f'{name}_std')
    text = f'{values[name]:.{digits}f}'
    return text if spread is None else f'{text} +- {spread:.{digits}f}'
