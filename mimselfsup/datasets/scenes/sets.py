"""Data sets that have pictures of their own, drawn from the same objects and backgrounds as the scenes.

To add one, write a function ``(root, source) -> None`` in a file of its own and enter it in ``SETS``. It runs once,
after the scenes, and writes below ``root``, which is ``<world>/<name of the set>`` and exists. Equal sources give equal
bytes.
"""

from collections.abc import Callable
from pathlib import Path

from .background_swap import write_backgrounds
from .copydays import write_copydays
from .davis import write_davis
from .retrieval import write_retrieval
from .source import Source

SETS: dict[str, Callable[[Path, Source], None]] = dict(
    davis=write_davis, retrieval=write_retrieval, copydays=write_copydays, backgrounds=write_backgrounds
)
