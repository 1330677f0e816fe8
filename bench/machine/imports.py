"""Notice and undo what a backend's code does to Python's imports and built-in names.

The backends of a process share the import system. If code removes a finder, or an entry of the
standard library in ``sys.modules``, the next backends fail. Additions stay, because frameworks
register finders and hooks of their own. A change inside a module is not noticed.
"""

import builtins
import sys
from collections.abc import Collection, Iterator, Sequence
from operator import is_
from pathlib import Path
from typing import Any

from bench.machine.fields import printable

_MISSING = object()
_LISTS = ("meta_path", "path_hooks")
_MODULES = sys.modules
"""The interpreter's own dictionary, which ``sys.modules = {}`` does not replace."""

_BUILTINS = vars(builtins)

_REPLACED_BY_SETUPTOOLS = ("distutils", "_distutils_hack")
"""Setuptools replaces this part of the standard library and removes its own finder."""

_OURS = frozenset(("bench", "lstm_impl", "numpy", "psutil"))
_PROTECTED = (sys.stdlib_module_names | _OURS) - {"distutils"}
"""The top-level names of modules that every backend and this suite use."""

MOST_NAMED = 3
"""The number of changed names that a message shows. Clearing ``sys.modules`` changes a thousand."""


class ImportState:
    """What code can import at one moment. ``restore`` brings it back."""

    def __init__(self) -> None:
        self._lists = {name: (getattr(sys, name), tuple(getattr(sys, name))) for name in _LISTS}
        self._modules = _MODULES.copy()
        self._builtins = _BUILTINS.copy()
        self._caches = sys.path_importer_cache, sys.path_importer_cache.copy()

    def restore(self) -> list[str]:
        """Restore what was removed or replaced since, and name it. Additions stay."""
        # Built-in names come first, because everything below uses some. This loop uses none.
        changed = []
        for name, value in self._builtins.items():
            if _BUILTINS.get(name, _MISSING) is not value:
                _BUILTINS[name] = value
                changed += [name]
        found = [f"the built-in {_list_names(changed)}"] if changed else []
        if getattr(sys, "modules", None) is not _MODULES:
            sys.modules = _MODULES
            found.append("sys.modules")
        for name, (whole, before) in self._lists.items():
            if _restore_list(name, whole, before):
                found.append(f"sys.{name}")
        if modules := sorted(self._restore_modules()):
            self._bind_additions(modules)
            found.append(f"sys.modules of {_list_names(modules)}")
        if self._restore_caches():
            found.append("sys.path_importer_cache")
        return found

    def _restore_modules(self) -> Iterator[str]:
        before = self._modules
        # A guard surrounds each block, and thousands of modules are nearly always unchanged. A
        # dictionary keeps its order, so a loop in C can compare the earlier modules with the first
        # current ones.
        same = len(_MODULES) >= len(before) and all(map(is_, _MODULES.values(), before.values()))
        for name, module in () if same else before.items():
            now = _MODULES.get(name, _MISSING)
            if now is module or not isinstance(name, str):
                continue
            top = name.partition(".")[0]
            # A framework may replace a module of its own. Without an entry, the module would be
            # imported a second time, and with None not at all.
            if top in _PROTECTED or (
                (now is None or now is _MISSING) and top not in _REPLACED_BY_SETUPTOOLS
            ):
                _MODULES[name] = module
                if top in _PROTECTED:
                    yield name
        if same and len(_MODULES) == len(before):
            return
        for name in [name for name, module in _MODULES.items() if module is None]:
            # None forbids an import, here of a module that nobody had imported yet.
            if name not in before and name.partition(".")[0] in _PROTECTED:
                del _MODULES[name]
                yield name

    def _bind_additions(self, restored: Collection[str]) -> None:
        """Make modules that were imported while their package was lost attributes of the package.

        Python had made them attributes of a second copy of the package. Without the attribute,
        ``numpy.ma`` of the first copy imports itself without end.
        """
        added = [each for each in _MODULES.items() if each[0] not in self._modules]
        for name, module in added:
            package, _, own = str(name).rpartition(".")
            if package in restored and module is not None:
                vars(_MODULES[package]).setdefault(own, module)

    def _restore_caches(self) -> bool:
        cache, before = self._caches
        replaced = getattr(sys, "path_importer_cache", None) is not cache
        sys.path_importer_cache = cache
        forbidden = [
            place
            for place, finder in cache.items()
            if finder is None
            and (before.get(place, _MISSING) is not None)
            and (place in before or Path(place).is_dir())
        ]
        for place in forbidden:
            del cache[place]  # Python asks its hooks again.
        return replaced or bool(forbidden)


def _restore_list(name: str, whole: list[Any], before: Sequence[Any]) -> bool:
    """Return whether an entry of a list in ``sys`` had vanished or changed its place."""
    given = getattr(sys, name, None)  # It may even be deleted.
    now = list(given) if isinstance(given, list) else []
    remaining = iter(now)
    kept = [each for each in before if not _is_setuptools(each)]
    # Each entry is searched for behind the previous one.
    if given is whole and all(any(each is other for other in remaining) for each in kept):
        return False
    added = [each for each in now if not any(each is other for other in before)]
    whole[:] = [*before, *added]
    setattr(sys, name, whole)
    return True


def _is_setuptools(finder: object) -> bool:
    module = getattr(finder, "__module__", None) or type(finder).__module__
    return module in _REPLACED_BY_SETUPTOOLS


def _list_names(names: Sequence[str]) -> str:
    shown = ", ".join(printable(name, 60) for name in names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
