"""What a played fleet is told and what is drawn for it: when something happens, a case's times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from bench.case.cases import Case
from bench.records.schema import Measurement, Run

HOUR = 3600.0


@dataclass(frozen=True)
class World:
    """What is played.

    groups, backends: the suite is their product. processes: for each case, None for a precision.
    failures, preemptions: of a machine, an hour. late: part of the machines that come in the first
    ten minutes and not at once. slow: part that takes three times as long. culprits: cases that
    take their machine down. replaced: whether a new machine comes for each that is gone.
    """

    machines: int = 10
    kinds: int = 1
    groups: int = 4
    backends: int = 3
    processes: int | None = 6
    failures: float = 0.0
    preemptions: float = 0.0
    late: float = 0.0
    slow: float = 0.0
    culprits: int = 0
    replaced: bool = True
    budget: float | None = None
    seed: int = 0


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
