"""A map of what was learned that was never trained, for the tests of how it is told and drawn."""

from dataclasses import replace
from typing import Any

from bench.records.maps import LearningMap
from tests.bench.records.test_maps import a_map, cell


def made(**run: Any) -> LearningMap:
    """Two distances, two windows, two seeds; the longer window learns, the reset state in part."""
    cells = [
        cell(
            distance=d,
            window=k,
            stride=k,
            carried=carried,
            seed=seed,
            memoryless=0.7,
            best=0.0 if carried else 0.7 * d / k,
            loss=0.0 if k == 8 and (carried or seed == 0) else 0.7,
            accuracy=0.75,
            updates=100 // k,
        )
        for d in (1, 3)
        for k in (3, 8)
        for carried in (True, False)
        for seed in (0, 1)
        if carried or k > d
    ]
    found = a_map(*cells)
    return replace(found, run=replace(found.run, **run))
