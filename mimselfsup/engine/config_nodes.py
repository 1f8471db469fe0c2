"""Looking into configs."""

from collections.abc import Callable, Iterator
from typing import Any

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def dicts(node: Any) -> Iterator[dict]:
    """``node`` and every dict inside it."""
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
    for child in children:
        yield from dicts(child)


def bare(kind: str | Callable | None) -> str:
    """'X' of a type given as 'X', 'scope.X' or a class."""
    return (kind if isinstance(kind, str) else getattr(kind, '__name__', '')).split('.')[-1]
