"""Top-level names of other attention libraries, each an alias of its counterpart in `apus.compat`.

`alias("flash_mla", "apus.compat.flash_mla")` makes the package `flash_mla` show what its target
has, and `flash_mla.cuda` be the very module `apus.compat.flash_mla.cuda`: there is one copy of
everything, so classes and caches are shared by programs that use either name.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Any, Optional, Sequence

__version__ = "0.1.0"

_targets: dict[str, str] = {}


class _Loader(importlib.abc.Loader):
    """Hands out a module that exists under another name, unchanged."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._spec: Any = None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._target)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has put the alias's description in the place of the module's own.
        module.__spec__ = self._spec


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `<alias>.<rest>` as `<target>.<rest>`."""

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]] = None, target: Any = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        alias, _, rest = fullname.partition(".")
        if not rest or alias not in _targets:
            return None
        name = f"{_targets[alias]}.{rest}"
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            return None
        if found is None:
            return None
        is_package = found.submodule_search_locations is not None
        return importlib.machinery.ModuleSpec(fullname, _Loader(name), is_package=is_package)


_finder = _Finder()


def alias(name: str, target: str) -> None:
    """Makes the module `name`, which is being imported, an alias of the module `target`."""
    module, source = sys.modules[name], importlib.import_module(target)
    for attribute, value in vars(source).items():
        if not attribute.startswith("__") or attribute in ("__version__", "__all__"):
            setattr(module, attribute, value)
    module.__doc__ = f"Alias of {target}, installed by apus-shims."

    def missing(attribute: str) -> Any:
        # What the target makes on demand, and its submodules.
        if attribute.startswith("__"):
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        try:
            return getattr(source, attribute)
        except AttributeError:
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}") from None

    module.__getattr__ = missing  # type: ignore[method-assign]
    module.__dir__ = lambda: sorted({*vars(module), *dir(source)})  # type: ignore[method-assign]
    _targets[name] = target
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
