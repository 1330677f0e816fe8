"""One case under its framework's profiler, apart from all timing: where its step's time goes.

The case is prepared and judged as for a measurement, called without the profiler to know what a
step takes, held against the roofs, and then called once more with it. This room knows one case.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from bench.judging.bound import Bound, bound
from bench.judging.operators import shares
from bench.machine.raised import one_line
from bench.measuring.group import of_step
from bench.measuring.outcomes import NOT_MEASURED, REFUSED, Unmeasured, failed
from bench.measuring.preparing import Bench, Prepared, ignored_deprecations, prepare
from bench.suites.cases import Case
from lstm_impl import Profile, UnavailableError, UnsupportedError

FEWEST_CALLS, SECONDS = 5, 0.5
"""Calls without the profiler: so many, and more while this has not passed."""


@dataclass(frozen=True)
class Profiled:
    """What was seen of a case. seconds: of a step that nobody watched, the median of some calls.
    figures: of its roofs, as far as they are numbers."""

    case: Case
    profile: Profile
    seconds: float
    bound: Bound
    figures: Mapping[str, float]


def profiled(case: Case, seed: int = 0, bench: Bench | None = None) -> Profiled | Unmeasured:
    """Where the time of one step of a case goes, or why that cannot be told."""
    bench = bench or Bench()
    with bench.interrupts, ignored_deprecations():
        prepared = prepare(case, seed, bench)
        if not isinstance(prepared, Prepared):
            return prepared
        try:
            with prepared.guard:
                return _profiled(case, prepared, bench)
        except UnavailableError as error:
            return Unmeasured(NOT_MEASURED, one_line(error))
        except UnsupportedError as error:
            return Unmeasured(REFUSED, one_line(error))
        except Exception as error:
            return failed(error, "while it was profiled")


def _profiled(case: Case, prepared: Prepared, bench: Bench) -> Profiled:
    assert prepared.model is not None
    profile = prepared.model.profile(case.workload)
    if not profile.events:
        raise UnsupportedError(f"{profile.source} saw no operator of {case.backend}")
    seconds = _seconds(prepared, bench)
    figures: dict[str, float | str | None] = {}
    if bench.roofs is not None:
        figures |= bench.roofs.figures(case, seconds, bench.threads, bench.frameworks(case.device))
    figures |= of_step(case, prepared, seconds, bench)
    numbers = {key: each for key, each in figures.items() if isinstance(each, int | float)}
    owners = {
        f"of_{key.removesuffix('_by')}": str(each)
        for key, each in figures.items()
        if key.endswith("_by")
    }
    work = case.workload
    valid = work.valid_timesteps() / (work.batch * work.timesteps)
    found = bound(numbers, owners, valid, shares(profile, seconds))
    return Profiled(case, profile, seconds, found, numbers)


def _seconds(prepared: Prepared, bench: Bench) -> float:
    step, now = prepared.step, bench.clock.now
    taken: list[float] = []
    step.synchronize()
    end = now() + SECONDS
    while len(taken) < FEWEST_CALLS or now() < end:
        start = now()
        step.run()
        step.synchronize()
        taken.append(now() - start)
    return statistics.median(taken)
