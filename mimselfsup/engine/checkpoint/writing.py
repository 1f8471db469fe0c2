"""Writing checkpoint files atomically, from plain containers and tensors alone.

``torch.load(weights_only=True)`` reads them without any allow-list.
"""

import io
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from .reading import CheckpointError

_PathLike = str | os.PathLike


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
