"""From ``import mimselfsup`` on, no checkpoint that MMEngine reads can run code, whoever asks it to.

MMEngine's loader falls back to unrestricted unpickling when the safe way fails. What replaces it lives in
``mimselfsup.engine.checkpoint``, which needs torch; this file is what makes the promise at import, without loading
either: it waits for MMEngine's module, and the reader is loaded with the first checkpoint.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

MODULE = 'mmengine.runner.checkpoint'
FUNCTIONS = ('_safe_torch_load', 'load_url')  # every way into torch.load there


def guard_loading() -> None:
    """Redirects MMEngine's reading of checkpoints, now or when it is first imported. Repeating it does nothing."""
    if MODULE in sys.modules:
        _redirect(sys.modules[MODULE])
    elif not any(isinstance(finder, _RedirectOnImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RedirectOnImport())


class _RedirectOnImport(MetaPathFinder):
    """Finds one module, where it is anyway, and redirects it as soon as it has been executed."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_redirect(module: ModuleType) -> None:
            execute(module)
            _redirect(module)

        spec.loader.exec_module = execute_and_redirect  # type: ignore[method-assign]
        return spec


def _redirect(module: ModuleType) -> None:
    for name in FUNCTIONS:
        original = getattr(module, name)
        if original.__module__.partition('.')[0] != __package__:
            setattr(module, name, _reader(module, name))


def _reader(module: ModuleType, name: str) -> Any:
    def read(*args: Any, **kwargs: Any) -> Any:
        from mimselfsup.engine.checkpoint import install_safe_loading

        install_safe_loading()
        replacement = getattr(module, name)
        if replacement is read:
            raise RuntimeError(f'{MODULE}.{name} was not replaced by the safe reader; refusing to load')
        return replacement(*args, **kwargs)

    return read
