"""What the data sets of sets.py are drawn from."""

from dataclasses import dataclass

from .compose import BackgroundSource, ObjectSource


@dataclass(frozen=True)
class Source:
    """What a set is drawn from. ``size``: side of a scene in pixels, which a set may take as a measure."""

    objects: ObjectSource
    backgrounds: BackgroundSource
    size: int
    seed: int
    image_format: str  # 'jpg' or 'png'
