"""A pytest plugin for processes that tests start: their roofs are of little, and take no time.

Each process that measures tries every library at hand on products and arrays of many sizes, a
second or two, until three have found the same. Where a test is of something else that is most of
what it would wait for.
"""

from __future__ import annotations

USED = {"PYTEST_PLUGINS": "tests.little_roofs"}
"""The environment of such a process, which finds the clone's modules."""


def pytest_collection() -> None:
    """Not before: the threads of what is imported here are set when pytest is configured."""
    from bench.measuring import roof_work, roofs

    roofs.SECONDS = dict.fromkeys(roofs.SECONDS, 1e-3)
    roofs.SQUARES = dict.fromkeys(roofs.SQUARES, (64,))
    roof_work.SMALLEST_ARRAY = roof_work.LARGEST_ARRAY = 2**20
