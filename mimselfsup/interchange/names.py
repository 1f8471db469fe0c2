"""Tables of corresponding names, read in both directions, and lists of names made short."""

import re
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor


class NameTable:
    """Pairs (ours, theirs). '{}' is a number that both have; a pair also stands for its ``.weight`` and ``.bias``.

    Of several pairs with one side equal, the first is written; all are read.
    """

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self.pairs = pairs
        self._to_ours = [(_pattern(theirs), ours) for ours, theirs in pairs]
        self._to_theirs = [(_pattern(ours), theirs) for ours, theirs in pairs]

    def to_ours(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """The tensors under our names, and the names that the table does not have."""
        return _renamed(state, self._to_ours)

    def to_theirs(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        return _renamed(state, self._to_theirs)


def _pattern(template: str) -> re.Pattern:
    return re.compile(re.escape(template).replace(r'\{\}', r'(\d+)') + r'(\.weight|\.bias)?')


def _renamed(
    state: Mapping[str, Tensor], rules: Sequence[tuple[re.Pattern, str]]
) -> tuple[dict[str, Tensor], list[str]]:
    renamed, unknown = {}, []
    for name, value in state.items():
        for pattern, target in rules:
            found = pattern.fullmatch(name)
            if found:
                *numbers, ending = found.groups()
                renamed[target.format(*numbers) + (ending or '')] = value
                break
        else:
            unknown.append(name)
    return renamed, unknown


def take(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Removes the names that begin with ``prefix``, and returns them without it."""
    return {name.removeprefix(prefix): state.pop(name) for name in list(state) if name.startswith(prefix)}


def shortened(names: Iterable[str]) -> list[str]:
    """All the names, with those that differ in numbers alone on one entry: ``blocks.{0-11}.norm1.weight``.

    Where several numbers differ, each is given as its range.
    """
    groups: dict[str, list[tuple[int, ...]]] = {}
    for name in names:
        groups.setdefault(re.sub(r'\d+', '{}', name), []).append(tuple(map(int, re.findall(r'\d+', name))))
    entries = []
    for template, numbers in groups.items():
        ranges = []
        for column in zip(*numbers, strict=True):
            low, high = min(column), max(column)
            ranges.append(str(low) if low == high else f'{{{low}-{high}}}')
        entry = template.format(*ranges) if ranges else template
        entries.append(entry if len(numbers) == 1 else f'{entry} ({len(numbers)})')
    return entries
