"""Annotations that are distributed as pickles, read as data: what a file asks to call is refused, not called."""

import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_NUMBERS = re.compile(r'[biuf][1248]|[SU]\d{1,4}')  # bool, integers, floats, strings; no objects, no records


def read_plain_pickle(path: str | Path) -> Any:
    """The lists, tuples, dicts, strings, numbers and NumPy arrays of a pickle of any protocol.

    ``pickle.load`` calls whatever a file names. Here a few names mean something, those that are written for arrays,
    scalars, dtypes and bytes, and what they mean is written below; NumPy's own restoring is not reached either.

    Strings of Python 2 are decoded as Latin-1. Raises ValueError for a file that names anything else, and for one that
    is no pickle or was cut off.
    """
    try:
        with open(path, 'rb') as file:
            return _PlainUnpickler(file, encoding='latin1').load()
    except _RefusedError as error:
        raise ValueError(
            f'{path}: this pickle asks for {error}, which can run code; only lists, dicts, strings, numbers and NumPy '
            f'arrays are read. Nothing was executed'
        ) from None
    except OSError as error:
        raise ValueError(f'{path}: cannot be read: {error.strerror}') from error
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        raise ValueError(f'{path}: not a complete pickle of plain data ({type(error).__name__}: {error})') from error


class _RefusedError(Exception):
    """The name that was asked for."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = re.sub(r'^numpy\.core\b', 'numpy._core', module)  # its name before NumPy 2
        try:
            return _MEANINGS[module, name]
        except KeyError:
            raise _RefusedError(f'{module}.{name}') from None

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError('an object outside of the file')


class _Dtype:
    def __init__(self, code: Any, *flags: Any) -> None:
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise ValueError(f'an array of dtype {code!r}; there may be numbers and strings')
        self.value = np.dtype(code)

    def __setstate__(self, state: Sequence) -> None:
        order = state[1]  # version, byte order, and what only records and dates have
        if order not in ('<', '>', '|', '='):
            raise ValueError(f'byte order {order!r}')
        self.value = self.value.newbyteorder(order)


class _Array(np.ndarray):
    def __setstate__(self, state: Sequence) -> None:
        *_, shape, dtype, columns_first, data = state
        super().__setstate__((1, *_checked(shape, dtype, data), bool(columns_first), _bytes(data)))


def _checked(shape: Any, dtype: Any, data: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Raises ValueError unless the data are exactly as long as the shape says."""
    if not isinstance(dtype, _Dtype) or any(not isinstance(side, int) or side < 0 for side in shape):
        raise ValueError('a damaged array')
    expected = dtype.value.itemsize
    for side in shape:
        expected *= side
    if len(_bytes(data)) != expected:
        raise ValueError(f'an array of {len(_bytes(data))} bytes, expected {expected}')
    return tuple(shape), dtype.value


def _bytes(data: Any) -> bytes:
    return data.encode('latin1') if isinstance(data, str) else bytes(memoryview(data))  # str: of Python 2


def _new_array(*arguments: Any) -> np.ndarray:
    return np.ndarray.__new__(_Array, (0,), 'b')  # filled by __setstate__


def _array_of_buffer(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    shape, dtype = _checked(shape, dtype, data)
    return np.frombuffer(_bytes(data), dtype).reshape(shape, order='F' if order == 'F' else 'C')


def _scalar(dtype: Any, data: Any) -> Any:
    _checked((), dtype, data)
    return np.frombuffer(_bytes(data), dtype.value)[0].item()


def _encoded(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes for older protocols; it always says Latin-1."""
    return text.encode('latin1')


def _no_bytes() -> bytes:
    """How Python 3 writes empty ones for older protocols."""
    return b''


_MEANINGS: dict[tuple[str, str], Any] = {
    ('numpy', 'dtype'): _Dtype,
    ('numpy', 'ndarray'): 'numpy.ndarray',  # the type of an array, an argument that _new_array has no use for
    ('numpy._core.multiarray', '_reconstruct'): _new_array,
    ('numpy._core.multiarray', 'scalar'): _scalar,
    ('numpy._core.numeric', '_frombuffer'): _array_of_buffer,
    ('_codecs', 'encode'): _encoded,
    ('__builtin__', 'bytes'): _no_bytes,
}
