"""Matching the tensors of a checkpoint to those of a model."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .reading import CheckpointError, read_anywhere

_PathLike = str | os.PathLike
# Counters, and tables that a module computes from its own size: a checkpoint need not have them.
_DERIVED = ('num_batches_tracked', 'relative_position_index')


@dataclass
class LoadReport:
    """What became of the tensors of a checkpoint and of a model, by name."""

    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # in the checkpoint, not in the model
    missing: list[str] = field(default_factory=list)  # in the model, not in the checkpoint
    mismatched: list[str] = field(default_factory=list)  # 'name: (saved shape) -> (model shape)'

    def __str__(self) -> str:
        parts = [f'{len(self.loaded)} tensors loaded']
        for title in ('resized', 'left_out', 'missing', 'mismatched'):
            names = getattr(self, title)
            if names:
                parts.append(f'{len(names)} {title.replace("_", " ")} ({_some(names)})')
        return ', '.join(parts)


def _some(names: list[str], limit: int = 6) -> str:
    return ', '.join(names[:limit]) + (f', and {len(names) - limit} more' if len(names) > limit else '')


def grouped(names: Iterable[str]) -> str:
    """All of ``names`` in one line, those of one part of a network together: 'pos_embed, layers.0-11 (144)'."""
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(name.split('.')[0], []).append(name)
    shown = []
    for part, members in parts.items():
        numbers = [name.split('.')[1] for name in members if '.' in name]
        if len(members) == 1:
            shown.append(members[0])
            continue
        if len(numbers) == len(members) and all(number.isdecimal() for number in numbers):
            part = f'{part}.{_ranges({int(number) for number in numbers})}'
        shown.append(f'{part} ({len(members)})')
    return ', '.join(shown)


def _ranges(numbers: set[int]) -> str:
    """{0, 1, 2, 5} -> '0-2+5'"""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return '+'.join(str(first) if first == last else f'{first}-{last}' for first, last in runs)


def state_dict_of(checkpoint: Any, owner: str = 'the checkpoint') -> dict[str, Tensor]:
    """The name-to-tensor table of a checkpoint: under ``state_dict`` (MMEngine), ``model`` or bare."""
    for key in ('state_dict', 'model', 'module'):
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
            break
    tensors = (
        {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
        if isinstance(checkpoint, dict)
        else {}
    )
    if not tensors:
        raise CheckpointError(f'{owner} holds no table of weights')
    return {key.removeprefix('module.'): value for key, value in tensors.items()}


def load_weights(
    module: nn.Module,
    source: _PathLike | Mapping[str, Any],
    prefix: str = '',
    *,
    allow_missing: tuple[str, ...] = (),
    allow_mismatched: bool = False,
    trusted: bool = False,
    owner: str | None = None,
    check: Callable[[Mapping[str, Tensor]], None] | None = None,
) -> LoadReport:
    """Fills ``module`` from a file or a state dict, and says what became of every tensor.

    ``prefix``: only names that begin with it are taken, without it. ``allow_missing``: beginnings of names
    that may stay as they are (``('',)`` allows all). Position embeddings of another size are resized by the
    modules that know how (mmpretrain's backbones do, while loading). ``owner``: what errors call the source.
    ``check``: is shown what the modules made of the state, and may refuse it by raising.

    Raises CheckpointError if nothing fits, if a tensor that is not allowed to be missing is, or, unless
    ``allow_mismatched``, if shapes differ; the module is then unchanged.
    """
    is_file = not isinstance(source, Mapping)
    owner = owner or (f'checkpoint {os.fspath(source)}' if is_file else 'the state dict given')
    state = state_dict_of(read_anywhere(source, trusted=trusted) if is_file else source, owner)
    kind = type(module).__name__
    wanted = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not wanted:
        raise CheckpointError(
            f'{owner} has no weights under {prefix!r} for {kind}; its names begin with '
            f'{_some(sorted({key.split(".")[0] for key in state}))}'
        )

    fitted = _run_load_hooks(module, wanted)
    if check is not None:
        check(fitted)
    before = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    rebuilt = wanted.keys() - fitted.keys()  # taken out by the module itself, such as index tables of Swin
    derived = {key for key in before if key.endswith(_DERIVED)}
    report = LoadReport(
        left_out=sorted(fitted.keys() - before.keys()),
        missing=sorted(before.keys() - fitted.keys() - rebuilt - derived),
    )
    if not fitted.keys() & before.keys():
        raise CheckpointError(
            f'nothing in {owner} fits {kind}: it has {_some(sorted(wanted))}; the model wants {_some(sorted(before))}'
        )
    for key in before:
        if key not in fitted:
            continue
        if tuple(fitted[key].shape) != before[key]:
            report.mismatched.append(f'{key}: {tuple(fitted[key].shape)} -> {before[key]}')
            continue
        report.loaded.append(key)
        if key in wanted and wanted[key].shape != fitted[key].shape:
            report.resized.append(key)
    refused = [key for key in report.missing if not key.startswith(tuple(allow_missing) or ('\0',))]
    if refused:
        raise CheckpointError(f'{owner} does not fill {kind}: it lacks {_some(refused)}')
    if not report.loaded or (report.mismatched and not allow_mismatched):
        raise CheckpointError(f'{owner} does not fit {kind}: shapes differ in {_some(report.mismatched)}')

    with torch.no_grad():
        target = module.state_dict(keep_vars=True)
        for key in report.loaded:
            target[key].copy_(fitted[key])
    return report


def _run_load_hooks(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` after the pre-load hooks of ``module`` and its children; they resize and rename in a copy."""
    fitted = OrderedDict(state)

    def visit(part: nn.Module, prefix: str) -> None:
        for hook in part._load_state_dict_pre_hooks.values():
            hook(fitted, prefix, {}, False, [], [], [])
        for name, child in part.named_children():
            visit(child, f'{prefix}{name}.')

    visit(module, '')
    return dict(fitted)
