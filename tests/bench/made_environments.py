"""Make results of two environments with a reference backend measured in both."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bench.case.cases import Case
from bench.records.schema import Measurement, Results, Run
from bench.stats.comparison import Comparison, Heterogeneity
from bench.verdicts.ranking import RankedRow
from bench.verdicts.sections import build
from lstm_impl import LSTMSpec, Workload
from tests.bench import made_results
from tests.bench.made_reasons import recorded
from tests.bench.made_results import gather, measured

PROCESS_SD = 0.02
"""Standard deviation between processes, shared by all cases of a process."""

CASE_SD = 0.002
"""Standard deviation of each case in addition."""

HOMES: Mapping[str, str] = {"east": "a", "west": "b"}
"""The backend that needs each environment."""


def a_case(backend: str, number: int = 0, device: str = "cpu") -> Case:
    return Case(backend, LSTMSpec(1, 4), Workload(2 + number, 5), device)


def a_run(name: str, host: str = "host") -> Run:
    seen = {"before": {"cpu": {"name": "Test CPU", "usable": 2}}, "after": {}}
    return made_results.a_run(
        0, host, id=name, session="session", machine_id=f"id of {host}", environment=seen
    )


Has = Callable[[str, int, int], bool]
"""Whether an environment's process (by number) has a case (by number)."""


def two_environments(
    difference: float = 0.0,
    ratio: float = 1.0,
    *,
    cases: int = 10,
    processes: int = 6,
    references: Mapping[int, str] | None = None,
    equal: Sequence[str] = (),
    has: Has = lambda environment, process, case: True,
    invalid: Sequence[int] = (),
    device: str = "cpu",
    hosts: Sequence[str] = ("host",),
    names: Mapping[str, str] = HOMES,
    reference: str = "bridge",
    seed: int = 1,
) -> list[Measurement]:
    """Return measurements of east and west: a backend of each, and the reference backend in both.

    difference: the log by which the reference takes longer in the east, unless it is in ``equal``.
    ratio: time of a over that of b. references: another reference for some cases. invalid: cases
    whose reference was disturbed in every process.
    """
    rng = np.random.default_rng(seed)
    found = []
    for environment, backend in names.items():
        for number in range(processes):
            host = hosts[number % len(hosts)]
            run = a_run(f"{device}-{environment}-{number}", host)
            process_log = PROCESS_SD * rng.standard_normal()
            for case in range(cases):
                if not has(environment, number, case):
                    continue
                third = (references or {}).get(case, reference)
                log = process_log + CASE_SD * rng.standard_normal()
                slow = difference if environment == "east" and third not in equal else 0.0
                busy = [recorded("busy", "others kept processors busy", "close them")]
                why = busy if case in invalid else []
                own = ratio if environment == "east" else 1.0
                seconds = 1e-3 * (1 + case)
                found.append(
                    measured(
                        a_case(third, case, device),
                        3 * seconds * float(np.exp(log + slow)),
                        run,
                        why,
                    )
                )
                log = process_log + CASE_SD * rng.standard_normal()
                found.append(
                    measured(a_case(backend, case, device), own * seconds * float(np.exp(log)), run)
                )
    return found


def results(difference: float = 0.0, ratio: float = 1.0, **more: object) -> Results:
    return gather(*two_environments(difference, ratio, **more))  # type: ignore[arg-type]


FAR = math.log(1.3)
"""A difference of the reference that six processes show significantly."""


def rank_rows(found: Results, backend: str = "a") -> list[RankedRow]:
    (section,) = build(found, baseline="b").sections
    return [row for row in section.rows if row.case.backend == backend and row.result.measured]


def baseline_ratios(found: Results, backend: str = "a") -> list[Comparison]:
    ratios = [row.to_baseline for row in rank_rows(found, backend)]
    assert all(ratios)
    return [each for each in ratios if each is not None]


def find_shared_heterogeneity(found: Results) -> Heterogeneity:
    """Return the heterogeneity that all its ratios share."""
    (heterogeneity,) = {
        id(each.heterogeneity): each.heterogeneity for each in baseline_ratios(found)
    }.values()
    assert heterogeneity is not None
    return heterogeneity
