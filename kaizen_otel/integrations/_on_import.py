"""Do something with a module when it is imported, without importing it ourselves.

What is observed may live in a module that most programs never load, and which loads a hundred more.
"""

from __future__ import annotations

import sys
import threading
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Use = Callable[[ModuleType], object]


def on_import(name: str, use: Use) -> None:
    """Call ``use`` with the module: now if it is loaded, else right after its import.

    ``use`` runs in the thread that imports, and must not raise.  A module that is under way counts
    as not loaded.
    """
    _finder.add(name, use)


def forget_import(name: str, use: Use) -> None:
    """Take back what ``on_import`` was told; nothing if it happened already."""
    _finder.discard(name, use)


class _Finder(MetaPathFinder):
    """First in ``sys.meta_path`` while something is awaited: lets others find, and listens."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._uses: dict[str, list[Use]] = {}
        self._looking = threading.local()

    def add(self, name: str, use: Use) -> None:
        with self._lock:
            module = sys.modules.get(name)
            if module is None or getattr(module.__spec__, "_initializing", False):
                self._uses.setdefault(name, []).append(use)
                if self not in sys.meta_path:
                    sys.meta_path.insert(0, self)
                return
        use(module)

    def discard(self, name: str, use: Use) -> None:
        with self._lock:
            uses = self._uses.get(name, [])
            if use in uses:
                uses.remove(use)
            self._settle()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the others find for an awaited module, with a loader that tells us."""
        del path, target
        if fullname not in self._uses or getattr(self._looking, "name", "") == fullname:
            return None
        self._looking.name = fullname
        try:
            spec = find_spec(fullname)
        finally:
            self._looking.name = ""
        if spec is not None and spec.loader is not None:
            spec.loader = _Telling(spec.loader, self.loaded)
        return spec

    def loaded(self, module: ModuleType) -> None:
        """Tell everybody who awaits the module."""
        with self._lock:
            uses = self._uses.pop(module.__name__, [])
            self._settle()
        for use in uses:
            use(module)

    def _settle(self) -> None:
        self._uses = {name: uses for name, uses in self._uses.items() if uses}
        if not self._uses and self in sys.meta_path:
            sys.meta_path.remove(self)


class _Telling(Loader):
    """Another loader, and what is to be done once it has loaded."""

    def __init__(self, loader: Loader, loaded: Callable[[ModuleType], object]) -> None:
        self._loader = loader
        self._loaded = loaded

    def __getattr__(self, name: str) -> object:
        """Whatever else the loader can do (sources, resources)."""
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the loader does; the module then has its own loader and nothing of ours."""
        self._loader.exec_module(module)
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loaded(module)


_finder = _Finder()
