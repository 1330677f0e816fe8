"""Made-up samples of processes, for comparisons."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from _pytest.mark import ParameterSet
from hypothesis import strategies as st

from bench.stats import ratios
from bench.stats.comparison import Comparison
from bench.stats.ratios import RunSamples

times = st.floats(min_value=1e-9, max_value=1e6)
samples = st.lists(times, min_size=1, max_size=40)


def slowly(*values: object) -> ParameterSet:
    """Return a parameter of the slow tests, between neighbours of the quick ones."""
    return pytest.param(*values, marks=pytest.mark.slow)


def make_runs(
    logs: Iterable[float], *, name: str = "run", rounds: bool = True, spread: float = 0.01
) -> list[RunSamples]:
    """Make a run for each log time, with 11 samples whose log median is exactly that."""
    wiggle = spread * np.linspace(-1, 1, 11)
    return [
        RunSamples(f"{name}-{index}", np.exp(log + wiggle), np.arange(11) if rounds else None)
        for index, log in enumerate(logs)
    ]


def paired(log_ratios: Sequence[float], *, rounds: bool = True) -> Comparison:
    base = make_runs([0.1 * index for index in range(len(log_ratios))], rounds=rounds)
    logs = [0.1 * index + value for index, value in enumerate(log_ratios)]
    return ratios.compare(make_runs(logs, rounds=rounds), base)


def unpaired(new: Sequence[float], base: Sequence[float]) -> Comparison:
    return ratios.compare(make_runs(new, name="new"), make_runs(base, name="base"))


# Processes of two environments, and a reference in those of both

EFFECTS = (0.0, 0.3, -0.2, 0.5, 0.1, -0.4)
OTHER_EFFECTS = (0.2, -0.3, 0.4, 0.0, -0.1, 0.3)


def runs(name: str, logs: Sequence[float], *, rounds: bool = True) -> list[RunSamples]:
    """Make a process for each log median with equal samples, named after its environment."""
    return make_runs(logs, name=name, rounds=rounds, spread=0.0)


def shifted(logs: Sequence[float], by: float) -> list[float]:
    return [log + by for log in logs]


NEW = runs("east", shifted(EFFECTS, math.log(1.5)))
BASE = runs("west", OTHER_EFFECTS)
REFERENCE = runs("east", shifted(EFFECTS, 1.0)) + runs("west", shifted(OTHER_EFFECTS, 1.0))
