"""What a family makes of a file, before the names of its backbone are translated."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .files import SavedFile

NETWORKS = ('teacher', 'student')


@dataclass
class Draft:
    """
    Attributes:
        backbone: in the names of the file, without ``prefix``.
        others: what else is understood, in our names: ``decoder.*``, ``projector.*``.
        left_out: name in the file -> why it is not used.
        facts: what the family knows of its backbones that shapes do not have.
        network: of two that are in the file, which was taken.
    """

    backbone: dict[str, Tensor]
    prefix: str = ''
    others: dict[str, Tensor] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    network: str | None = None


@dataclass(frozen=True)
class Family:
    """A kind of file. ``read`` gets the network that is wanted, 'teacher', 'student' or None."""

    name: str
    recognises: Callable[[SavedFile], bool]
    read: Callable[[SavedFile, str | None], Draft]


def leave_out(draft: Draft, state: dict[str, Tensor], reason: str) -> None:
    """Notes all of ``state``, names of the file, as left out, and empties it."""
    draft.left_out.update(dict.fromkeys(state, reason))
    state.clear()
