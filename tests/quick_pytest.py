"""A pytest plugin for processes that tests start: without what takes time there and is not tested.

Each process that measures tries every library at hand on products and arrays of many sizes, a
second or two, until three have found the same. pytest-benchmark starts several processes to be told
what processor this is, and Hypothesis, which has nothing to do there, is imported whole. Where a
test is of something else these are most of what it would wait for.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

USED = {
    # None that is merely installed: this one, and what measures.
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_PLUGINS": "pytest_benchmark.plugin,tests.quick_pytest",
}
"""The environment of such a process, which finds the clone's modules."""

FORKED = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "", "PYTEST_PLUGINS": "tests.quick_pytest"}
"""That of a fork of one which has imported its plugins already."""


def pytest_collection() -> None:
    """Not before: the threads of what is imported here are set when pytest is configured."""
    from bench.worker import roof_libraries, roofs

    sys.modules["cpuinfo"] = SimpleNamespace(get_cpu_info=dict)  # type: ignore[assignment]
    roofs.SECONDS = dict.fromkeys(roofs.SECONDS, 1e-3)
    roofs.SQUARES = dict.fromkeys(roofs.SQUARES, (64,))
    roof_libraries.ARRAY = 2**20
