"""PettingZoo finds our environments by name as soon as both packages are imported, whichever comes first.

PettingZoo takes a quarter of a second to import, for which nobody should wait who only wants a name of this package.
So where it is not there yet, a finder stands in `sys.meta_path` until somebody imports it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

LIBRARY = "pettingzoo"


def announce() -> None:
    """Register every environment with PettingZoo: now, where it is imported already, else when it is."""
    if LIBRARY in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _Finder())


def _register() -> None:
    from environments.registry import register_with_pettingzoo

    register_with_pettingzoo()


class _Finder:
    """Finds PettingZoo where the other finders do, and lets it be followed by `_register`."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """PettingZoo's specification; None, so that the others are asked, for everything else."""
        if name != LIBRARY:
            return None
        asked = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in asked if found is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads by `loader`, which then stands in the module as if it had done so alone."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self.loader, self.finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the loader's."""
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """As the loader's, and then the environments are registered."""
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
            _register()
