"""What is drawn for a played fleet: when something happens, and times of a case nobody ran."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import numpy as np

from bench.results.schema import Measurement, Run
from bench.suites.cases import Case

HOUR = 3600.0


def exponential(random: Random, rate: float) -> float:
    """Seconds until what happens so many times an hour."""
    return random.expovariate(rate / HOUR) if rate else math.inf


def measurement(case: Case, run: Run, random: Random) -> Measurement:
    """A valid one; its process is by a few per cent luckier or less so than others."""
    level = random.lognormvariate(0.0, 0.02)
    return Measurement(
        case=case,
        run=run,
        samples=np.full(5, level),
        rounds=np.arange(5),
        warmup=(),
        calls=1,
        setup={},
        gate={},
        evidence={},
        memory=None,
        roofs=None,
        energy=None,
        steady=True,
        valid=True,
        reasons=(),
        path=Path("played.json"),
    )
