"""Checkpoint files: the single place where they are written, read and matched to a model.

Written atomically, from plain containers and tensors alone, so that ``torch.load(weights_only=True)``
reads them without any allow-list. Read strictly: nothing in a file may run code, neither while it is
unpickled nor later, when MMEngine would execute a config string found in it.
"""

import io
import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

_PathLike = str | os.PathLike
_RESUMABLE = re.compile(r'(epoch|iter)_(\d+)\.pth')
_POINTER = 'last_checkpoint'
_TRUSTED: set[str] = set()


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, is not trusted, or does not fit the model."""


class BrokenCheckpointError(CheckpointError):
    """The file is torn: cut off, empty, or not a checkpoint at all."""


# --------------------------------------------------------------------------------------------- reading


def trust_checkpoint(path: _PathLike) -> None:
    """Allows this one file to be unpickled without restriction, which can run any code in it."""
    _TRUSTED.add(os.path.realpath(os.path.expanduser(path)))


def read_checkpoint(
    path: _PathLike | IO[bytes],
    map_location: str | torch.device | Callable = 'cpu',
    trusted: bool = False,
) -> Any:
    """What ``torch.save`` put into a file (or a binary stream), without running anything it contains.

    Config strings in it become ``config_text``, a name that nothing executes. ``trusted=True`` unpickles
    without restriction; there is no fallback to that.

    Raises FileNotFoundError; BrokenCheckpointError for a torn file; CheckpointError if the file holds
    anything but tensors, numbers, strings, containers and numpy arrays.
    """
    is_stream = hasattr(path, 'read')
    name = 'the stream given' if is_stream else os.path.expanduser(os.fspath(path))
    if not is_stream:
        if not os.path.isfile(name):
            what = 'is a folder' if os.path.isdir(name) else 'does not exist'
            raise FileNotFoundError(f'checkpoint {name} {what}')
        trusted = trusted or os.path.realpath(name) in _TRUSTED
    try:
        with torch.serialization.safe_globals(_inert_globals()):
            checkpoint = torch.load(path if is_stream else name, map_location=map_location, weights_only=not trusted)
    except Exception as error:
        if not is_stream and not _looks_complete(name):
            raise BrokenCheckpointError(
                f'checkpoint {name} is torn or not a checkpoint ({os.path.getsize(name)} bytes): its writing '
                f'or copying was cut off; use another one'
            ) from error
        refused = _refused_global(error)
        if refused:
            raise CheckpointError(
                f'checkpoint {name} was refused: it contains {refused}, and unpickling that can run code. '
                f'If you trust its origin, pass --trust-checkpoint (in Python: trusted=True); better, have it '
                f'saved again as tensors only'
            ) from error
        raise BrokenCheckpointError(f'checkpoint {name} cannot be read: {_first_line(error)}') from error
    return _defused(checkpoint)


def _inert_globals() -> list[Any]:
    """What else may stand in a file: numpy's way of rebuilding arrays, and two bags of attributes.

    MMEngine's list has ``getattr``, from which any function is in reach, because its history buffers are saved
    with their methods; both are replaced by something inert. Both names of numpy's module are given, since
    files of numpy 1 say ``numpy.core``.
    """
    from argparse import Namespace

    multiarray = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
    rebuild = [
        (getattr(multiarray, function), f'numpy.{core}.multiarray.{function}')
        for core in ('core', '_core')
        for function in ('_reconstruct', 'scalar')
    ]
    kinds = '?bhilqBHILQefdgFD'
    dtypes = sorted({type(np.dtype(kind)) for kind in kinds}, key=lambda kind: kind.__name__)
    history = [
        (_SavedHistory, f'{HistoryBuffer.__module__}.{HistoryBuffer.__qualname__}'),
        (_name_of_method, 'builtins.getattr'),
    ]
    return [*rebuild, *history, np.ndarray, np.dtype, *dtypes, type(np.dtype('U1')), Namespace]


class _SavedHistory:
    """The attributes of a history buffer in a file. The real class would let a file replace its methods."""


def _name_of_method(owner: Any, name: str) -> str:
    """Stands in for ``getattr`` while a file is read: looks nothing up."""
    return name


def _refused_global(error: Exception) -> str | None:
    """What PyTorch refused to unpickle, or None if it failed for another reason."""
    text = str(error)
    found = re.search(r'GLOBAL (\S+) (?:was not|whose module)', text)
    if found:
        return found.group(1)
    found = re.search(r'(?:WeightsUnpickler error: |unsupported )(.+)', text)
    return found.group(1).strip() if found else None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _looks_complete(path: str) -> bool:
    """A zip file ends in its directory, which a torn one lacks. Pickles of old torch versions count as whole."""
    import zipfile

    if zipfile.is_zipfile(path):
        return True
    with open(path, 'rb') as file:
        head = file.read(4)
    return bool(head) and head[:2] != b'PK' and head[0] == 0x80


def _defused(checkpoint: Any) -> Any:
    """Renames what MMEngine would execute, and makes its history buffers whole."""
    if not isinstance(checkpoint, dict):
        return checkpoint
    meta = checkpoint.get('meta')
    if isinstance(meta, dict):
        for key in ('config', 'cfg'):
            if key in meta:
                meta['config_text'] = meta.pop(key)
    hub = checkpoint.get('message_hub')
    if isinstance(hub, dict) and isinstance(hub.get('log_scalars'), dict):
        scalars = hub['log_scalars']
        for key, saved in scalars.items():
            if isinstance(saved, _SavedHistory):
                values = getattr(saved, '_log_history', ())
                scalars[key] = HistoryBuffer(values, getattr(saved, '_count_history', [1] * len(values)))
    runtime = hub.get('runtime_info') if isinstance(hub, dict) else getattr(hub, '_runtime_info', None)
    if isinstance(runtime, dict) and 'cfg' in runtime:
        runtime['config_text'] = runtime.pop('cfg')
        resumed = hub.get('resumed_keys') if isinstance(hub, dict) else None
        if isinstance(resumed, dict):
            resumed.pop('cfg', None)
    return checkpoint


def read_anywhere(path: _PathLike, map_location: Any = 'cpu', trusted: bool = False) -> Any:
    """Like :func:`read_checkpoint`, also for what MMEngine can fetch: http(s)://, s3://, torchvision://, ..."""
    if '://' not in os.fspath(path):
        return read_checkpoint(path, map_location, trusted)
    from mmengine.runner.checkpoint import CheckpointLoader

    install_safe_loading()
    return CheckpointLoader.load_checkpoint(os.fspath(path), map_location)


def install_safe_loading() -> None:
    """Sends every way in which MMEngine, and what builds on it, reads a checkpoint through this module.

    Its own loader tries a strict load and then silently does without; its download loader never tries.
    Inferencers and ``mmengine.hub`` end in the same two functions.
    """
    from mmengine.runner import checkpoint as theirs

    theirs._safe_torch_load = _load_for_mmengine
    theirs.load_url = _load_url


def _load_for_mmengine(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    return read_checkpoint(file, map_location, trusted=weights_only is False)


def _load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
) -> Any:
    folder = model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
    os.makedirs(folder, exist_ok=True)
    name = file_name or os.path.basename(urlparse(url).path)
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        prefix = re.search(r'-([a-f0-9]*)\.', name) if check_hash else None
        torch.hub.download_url_to_file(url, path, prefix.group(1) if prefix else None, progress=progress)
    return read_checkpoint(path, map_location)


# --------------------------------------------------------------------------------------------- writing


def to_plain(value: Any) -> Any:
    """The same content from dicts, lists, tuples, tensors, numbers and strings alone.

    MMEngine's history buffers become ``dict(values=..., counts=...)`` of tensors. Raises CheckpointError for
    anything else, by its type.
    """
    if isinstance(value, Tensor):
        return value.detach()
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return value
    if isinstance(value, torch.Size | torch.dtype | torch.device):
        return value
    if isinstance(value, OrderedDict):
        return OrderedDict((to_plain(key), to_plain(item)) for key, item in value.items())
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(to_plain(item) for item in value)
    if isinstance(value, set | frozenset):
        return {to_plain(item) for item in value}
    if isinstance(value, HistoryBuffer):
        values, counts = value.data
        return dict(values=torch.from_numpy(values.copy()), counts=torch.from_numpy(counts.copy()))
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    raise CheckpointError(
        f'a {type(value).__module__}.{type(value).__qualname__} cannot be put into a checkpoint, which holds '
        f'tensors, numbers, strings and containers of them; convert it where it is added'
    )


def plain_message_hub(state: Mapping) -> dict:
    """A message hub's state for a checkpoint. What cannot be made plain is left out: it only serves logs."""
    kept: dict[str, Any] = dict(log_scalars=to_plain(state['log_scalars']), runtime_info={}, resumed_keys={})
    for key, value in state['runtime_info'].items():
        try:
            kept['runtime_info'][key] = to_plain(value)
        except CheckpointError as error:
            warnings.warn(f'{key} of the message hub is not saved: {error}')
    known = kept['log_scalars'].keys() | kept['runtime_info'].keys()
    kept['resumed_keys'] = {key: bool(flag) for key, flag in state['resumed_keys'].items() if key in known}
    return kept


def restore_message_hub(state: dict) -> dict:
    """The inverse of :func:`plain_message_hub`; states that MMEngine itself wrote pass unchanged."""
    scalars = {
        key: HistoryBuffer(value['values'].numpy(), value['counts'].numpy())
        if isinstance(value, dict) and value.keys() == {'values', 'counts'}
        else value
        for key, value in state['log_scalars'].items()
    }
    return {**state, 'log_scalars': scalars}


def write_checkpoint(checkpoint: dict, path: _PathLike, backend_args: dict | None = None) -> None:
    """Writes all of it or nothing: a kill at any instant leaves the file that stood at ``path`` as it was.

    A path with a scheme (``s3://``) goes through MMEngine's file backend, whose stores put whole objects.
    """
    from mmengine.fileio import get_file_backend
    from mmengine.fileio.backends import LocalBackend

    checkpoint = {key: to_plain(value) for key, value in checkpoint.items()}
    backend = get_file_backend(os.fspath(path), backend_args=backend_args)
    if isinstance(backend, LocalBackend):
        write_atomically(path, lambda file: torch.save(checkpoint, file))
        return
    with io.BytesIO() as buffer:
        torch.save(checkpoint, buffer)
        backend.put(buffer.getvalue(), os.fspath(path))


def write_atomically(path: _PathLike, write: Callable[[IO[bytes]], None]) -> None:
    """Lets ``write`` fill a neighbour of ``path``, and only when that is on disk gives it the name."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name per target: what a killed run left is overwritten by the next write, and never piles up.
    unfinished = path.with_name(f'.{path.name}.tmp')
    try:
        with open(unfinished, 'wb') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# ------------------------------------------------------------------------------- finding the newest one


def write_last_checkpoint(work_dir: _PathLike, checkpoint: _PathLike) -> None:
    """Notes the newest checkpoint, relative to the work dir if it lies there, so that the folder can move."""
    path = Path(checkpoint)
    if not urlparse(os.fspath(checkpoint)).scheme and path.resolve().is_relative_to(Path(work_dir).resolve()):
        checkpoint = path.resolve().relative_to(Path(work_dir).resolve())
    write_atomically(Path(work_dir) / _POINTER, lambda file: file.write(os.fspath(checkpoint).encode()))


def find_resumable(work_dir: _PathLike, report: Callable[[str], None] = warnings.warn) -> str | None:
    """The complete checkpoint with the most iterations in ``work_dir``, or None.

    Decided by the files that are there, so a moved or copied folder resumes from its own. Torn files are
    passed over; ``report`` gets a line for each. Where the folder holds none (``CheckpointHook.out_dir`` is
    elsewhere), the file that ``last_checkpoint`` names is taken.
    """
    numbered: dict[str, list[tuple[int, Path]]] = {}
    for path in Path(work_dir).glob('*.pth'):
        name = _RESUMABLE.fullmatch(path.name)
        if name:
            numbered.setdefault(name.group(1), []).append((int(name.group(2)), path))
    newest: list[tuple[int, Path]] = []
    for files in numbered.values():  # epoch_* and iter_* count differently: the newest of each are compared
        for _, path in sorted(files, reverse=True):
            iteration = _saved_iteration(path, report)
            if iteration is not None:
                newest.append((iteration, path))
                break
    if newest:
        return str(max(newest)[1])
    pointer = Path(work_dir) / _POINTER
    if pointer.is_file():
        target = Path(work_dir) / pointer.read_text().strip()  # an absolute one replaces the folder
        if target.is_file() and _saved_iteration(target, report) is not None:
            return str(target)
    return None


def _saved_iteration(path: Path, report: Callable[[str], None]) -> int | None:
    try:
        meta = read_checkpoint(path)['meta']
        return int(meta['iter'])
    except (KeyError, TypeError):
        report(f'{path} is no training checkpoint (it does not say at which iteration it was saved): skipped')
    except CheckpointError as error:
        report(f'skipped: {error}')
    return None


# -------------------------------------------------------------------------------------- loading weights


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


def backbone_prefix(state: Mapping[str, Tensor]) -> str:
    """Where the backbone stands in a checkpoint: under 'backbone.' in that of a whole algorithm, detector or segmentor,
    under 'teacher.backbone.' in that of self-distillation, under '' in that of a bare backbone.

    The teacher is what the papers evaluate and release; 'student.backbone.' is there as well.
    """
    for prefix in ('backbone.', 'teacher.backbone.'):
        if any(key.startswith(prefix) for key in state):
            return prefix
    return ''


def load_weights(
    module: nn.Module,
    source: _PathLike | Mapping[str, Any],
    prefix: str = '',
    *,
    allow_missing: tuple[str, ...] = (),
    allow_mismatched: bool = False,
    trusted: bool = False,
) -> LoadReport:
    """Fills ``module`` from a file or a state dict, and says what became of every tensor.

    ``prefix``: only names that begin with it are taken, without it. ``allow_missing``: beginnings of names
    that may stay as they are (``('',)`` allows all). Position embeddings of another size are resized by the
    modules that know how (mmpretrain's backbones do, while loading).

    Raises CheckpointError if nothing fits, if a tensor that is not allowed to be missing is, or, unless
    ``allow_mismatched``, if shapes differ; the module is then unchanged.
    """
    is_file = not isinstance(source, Mapping)
    owner = f'checkpoint {os.fspath(source)}' if is_file else 'the state dict given'
    state = state_dict_of(read_anywhere(source, trusted=trusted) if is_file else source, owner)
    kind = type(module).__name__
    wanted = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not wanted:
        raise CheckpointError(
            f'{owner} has no weights under {prefix!r} for {kind}; its names begin with '
            f'{_some(sorted({key.split(".")[0] for key in state}))}'
        )

    fitted = _run_load_hooks(module, wanted)
    before = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    rebuilt = wanted.keys() - fitted.keys()  # taken out by the module itself, such as index tables of Swin
    counters = {key for key in before if key.endswith('num_batches_tracked')}
    report = LoadReport(
        left_out=sorted(fitted.keys() - before.keys()),
        missing=sorted(before.keys() - fitted.keys() - rebuilt - counters),
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


def load_pretrained(model: nn.Module, path: _PathLike) -> LoadReport:
    """Fills ``model.backbone`` from a checkpoint of it, or of anything that has it as ``backbone``.

    What only pre-training or only the new task has may be absent: a mask token, norms of the output. Raises
    CheckpointError if the model has no backbone, or if anything else of it would keep its random values.
    """
    if not isinstance(getattr(model, 'backbone', None), nn.Module):
        raise CheckpointError(f'--pretrained fills model.backbone, but {type(model).__name__} has none')
    state = state_dict_of(read_anywhere(path), f'checkpoint {path}')
    norms = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
    optional = [f'{name}.' for name, child in model.backbone.named_children() if isinstance(child, norms)]
    try:
        report = load_weights(model.backbone, state, backbone_prefix(state), allow_missing=('mask_token', *optional))
    except CheckpointError as error:
        raise CheckpointError(f'--pretrained {path}: {error}') from error
    if hasattr(model, 'after_pretrained'):
        model.after_pretrained()
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
