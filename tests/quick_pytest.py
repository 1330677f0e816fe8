"""A pytest plugin that makes the processes of tests start quickly.

It skips what takes seconds in each process that measures and is tested elsewhere: roofs by every
installed library, pytest-benchmark's look at the processor, and the import of Hypothesis.
"""

import sys
from types import SimpleNamespace

USED = {
    # Only these plugins, not every installed one.
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_PLUGINS": "pytest_benchmark.plugin,tests.quick_pytest",
}
"""The environment of such a process."""

FORKED = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "", "PYTEST_PLUGINS": "tests.quick_pytest"}
"""That of a fork of a process that has imported its plugins."""


def pytest_collection() -> None:
    """Replace the slow parts after pytest has set the threads of what is imported here."""
    from bench.worker import roof_libraries, roofs

    sys.modules["cpuinfo"] = SimpleNamespace(get_cpu_info=dict)  # type: ignore[assignment]
    roofs.SECONDS = dict.fromkeys(roofs.SECONDS, 1e-3)
    roofs.SQUARES = dict.fromkeys(roofs.SQUARES, (64,))
    roof_libraries.ARRAY = 2**20
