"""Files with a name of a class a line."""

import os
from pathlib import Path


def read_class_names(path: str | os.PathLike) -> tuple[str, ...]:
    """The names in ``path``, in the order of their labels. Raises ValueError for a file without any, with an empty line
    among them, with a name twice, or that is not UTF-8."""
    try:
        names = [line.strip() for line in Path(path).read_text(encoding='utf-8-sig').rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: not UTF-8 ({error.reason} at byte {error.start})') from error
    if not names:
        raise ValueError(f'{path}: no names of classes, one a line, in the order of the labels')
    if '' in names:
        raise ValueError(f'{path}: line {names.index("") + 1} is empty, and would count as a class')
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ValueError(f'{path}: {twice} stands there twice')
    return tuple(names)
