"""The models that the configs describe, with the numbers that were published for them."""

import fnmatch
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PACKAGE = Path(__file__).resolve().parents[1]
_LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # the former is ten times as fast


@dataclass(frozen=True)
class ModelEntry:
    """A model of the index.

    Attributes:
        config: path of the config file.
        results: (task, data set, metric, value), as its source states them.
        metadata: epochs, batch size, training data, and where the results are from, by the names of the metafile.
        weights: address, or None; this project distributes none.
    """

    name: str
    method: str
    config: Path
    results: tuple[tuple[str, str, str, float], ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict, compare=False)
    weights: str | None = None

    def __str__(self) -> str:
        numbers = '; '.join(f'{task}, {data}: {metric} {value:g}' for task, data, metric, value in self.results)
        return f'{self.name}: {numbers or "no published number"}'


def list_models(pattern: str = '*') -> list[ModelEntry]:
    """All models whose name fits ``pattern`` ('mae_*', '*toy*'), in the order of the index.

    Raises ValueError if none does.
    """
    root = _index_root()
    index = _read(root / 'model-index.yml')
    entries = []
    for file in index['Import']:
        entries += [_entry(root, model) for model in _read(root / file).get('Models') or ()]
    found = [entry for entry in entries if fnmatch.fnmatchcase(entry.name, pattern)]
    if not found:
        methods = sorted({entry.method for entry in entries})
        raise ValueError(f'no model is called {pattern!r}; there are {len(entries)}, of {", ".join(methods)}')
    return found


def _read(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(encoding='utf-8'), _LOADER)


def _entry(root: Path, model: dict[str, Any]) -> ModelEntry:
    results = [
        (result['Task'], result['Dataset'], metric, float(value))
        for result in model.get('Results') or ()
        for metric, value in result['Metrics'].items()
    ]
    return ModelEntry(
        name=model['Name'],
        method=model['In Collection'],
        config=root / model['Config'],
        results=tuple(results),
        metadata=dict(model.get('Metadata') or {}),
        weights=model.get('Weights'),
    )


def _index_root() -> Path:
    """Where configs and index lie: in an installed package, or in the clone that it stands in."""
    for root in (PACKAGE / '.mim', PACKAGE.parent):
        if (root / 'model-index.yml').is_file():
            return root
    raise FileNotFoundError(f'{PACKAGE} has no model-index.yml; install the package (pip install .)')
