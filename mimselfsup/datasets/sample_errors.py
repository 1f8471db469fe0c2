"""Which file a sample could not be made of."""

import os
from collections.abc import Sequence
from typing import Any


class SampleError(ValueError):
    """A sample cannot be made; the message names its file. What a loader makes of it, with the traceback of the worker
    before the message, reads the same."""

    def __str__(self) -> str:
        return super().__str__().rpartition(f'{SampleError.__name__}: ')[2].strip()


class NamedSamples:
    """For data sets of MMEngine (before them among the bases): raises :class:`SampleError` where a sample fails."""

    def prepare_data(self, idx: int) -> Any:
        try:
            return super().prepare_data(idx)
        except SampleError:
            raise
        except Exception as error:
            info = self.get_data_info(idx)
            files = ' and '.join(info[key] for key in ('img_path', 'seg_map_path') if info.get(key))
            raise SampleError(f'{files}: no sample can be made: {type(error).__name__}: {error}') from error


def check_files(paths: Sequence[str], listed_by: str, hint: str = '') -> None:
    """Raises FileNotFoundError with the first of ``paths`` that is no file, and how many are none."""
    missing = [path for path in paths if '://' not in path and not os.path.isfile(path)]
    if missing:
        raise FileNotFoundError(
            f'{missing[0]} does not exist, like {len(missing)} in all of {len(paths)} files that {listed_by}{hint}'
            if len(missing) > 1
            else f'{missing[0]} does not exist; it is one of {len(paths)} files that {listed_by}{hint}'
        )
