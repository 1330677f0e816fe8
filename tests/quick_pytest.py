"""Make the processes of tests start quickly: a pytest plugin, and variables for all processes.

It skips what takes seconds in each process that measures and is tested elsewhere: roofs by every
installed library, pytest-benchmark's look at the processor, and the import of Hypothesis.
"""

import sys
from types import SimpleNamespace
from typing import Any

USED = {
    # Only these plugins, not every installed one.
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_PLUGINS": "pytest_benchmark.plugin,tests.quick_pytest",
    "QUICK_WORKERS": "1",  # for tests/quick/sitecustomize.py, which tests.outside has Python find
}
"""The environment of a process that starts quickly, and whose workers do."""

FORKED = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "", "PYTEST_PLUGINS": "tests.quick_pytest"}
"""That of a fork of a process that has imported its plugins."""


def shorten_roofs(roofs: Any) -> None:
    """Measure each roof for a millisecond, with one small product."""
    roofs.SECONDS = dict.fromkeys(roofs.SECONDS, 1e-3)
    roofs.SQUARES = dict.fromkeys(roofs.SQUARES, (64,))


def shrink_array(libraries: Any) -> None:
    """Measure the memory's bandwidth with an array of a megabyte."""
    libraries.ARRAY = 2**20


def pytest_collection() -> None:
    """Replace the slow parts, after pytest has set the threads of the imported libraries."""
    from bench.worker import roof_libraries, roofs

    sys.modules["cpuinfo"] = SimpleNamespace(get_cpu_info=dict)  # type: ignore[assignment]
    shorten_roofs(roofs)
    shrink_array(roof_libraries)
