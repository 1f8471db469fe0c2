"""Data sets that have pictures of their own, drawn from the same objects and backgrounds as the scenes.

To add one, write a function ``(root, source) -> None`` in a file of its own and enter it in ``SETS``. It runs once,
after the scenes, and writes below ``root``, which is ``<world>/<name of the set>`` and exists. Equal sources give equal
bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .compose import BackgroundSource, ObjectSource


@dataclass(frozen=True)
class Source:
    """What a set is drawn from. ``size``: side of a scene in pixels, which a set may take as a measure."""

    objects: ObjectSource
    backgrounds: BackgroundSource
    size: int
    seed: int
    image_format: str  # 'jpg' or 'png'


SETS: dict[str, Callable[[Path, Source], None]] = dict()
