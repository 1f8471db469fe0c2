"""Reading checkpoint files so that nothing in them runs, neither while one is unpickled nor later, when MMEngine would
execute a config string found in it."""

import os
import re
from collections.abc import Callable
from typing import IO, Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_PathLike = str | os.PathLike
_TRUSTED: set[str] = set()


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, is not trusted, or does not fit the model."""


class BrokenCheckpointError(CheckpointError):
    """The file is torn: cut off, empty, or not a checkpoint at all."""


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
