"""Make the workers of ``bench.run`` start quickly in tests.

A worker that measures roofs by every installed library takes seconds, and roofs are tested
elsewhere. ``tests/quick/sitecustomize.py`` calls ``install`` as Python starts. Nothing may be
imported then, since a worker sets the number of threads first, so the changes wait for the import.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from tests.quick_pytest import shorten_roofs, shrink_array

CHANGES: dict[str, Callable[[ModuleType], None]] = {
    "bench.worker.roofs": shorten_roofs,
    "bench.worker.roof_libraries": shrink_array,
}
"""What is done with a module after its import."""


class _ChangingFinder(MetaPathFinder):
    """Find the modules of ``CHANGES``, and change them after their import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        change = CHANGES.get(name)
        spec = None if change is None else PathFinder.find_spec(name, path)
        if change is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            execute(module)
            change(module)

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Change the modules when they are imported."""
    sys.meta_path.insert(0, _ChangingFinder())
