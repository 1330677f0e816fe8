from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bench.case.cases import Case
from bench.machine.reasons import Reason
from bench.records.schema import Measurement, Outcome
from bench.render.messages import problem_line, reason_texts
from bench.stats.intervals import case_interval, halves_agree, relative_half_width
from bench.stats.ratios import RunSamples
from bench.stats.trust import FEW_PROCESSES, Problem, Side, Validity, find_ratio_problems, pool
from bench.stats.trust import WIDE as WIDE_FROM
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_reasons import recorded
from tests.bench.made_results import a_run, measured

CASE = Case("keras", LSTMSpec(3, 4), Workload(2, 10, "training"))
BUSY = recorded("busy", "others kept 1.2 of 2 processors busy", "close what else runs")
WIDE = recorded("wide_interval", "the median's interval is ±8.0%, over ±5%", "give it more time")


def all_problems(new: Side, base: Side) -> Sequence[Problem]:
    return (*new[0].invalid, *base[0].invalid, *find_ratio_problems(new, base))


def processes(
    count: int, reason: Reason = BUSY, disturbed: int = 0, spread: float = 0.0
) -> list[Measurement]:
    """Make processes, the first ones disturbed, with medians from 1 - spread to 1 + spread."""
    return [
        measured(
            CASE,
            1.0 + spread * (2 * k / max(1, count - 1) - 1),
            a_run(k),
            (reason,) if k < disturbed else (),
        )
        for k in range(count)
    ]


def outcome(kind: str, number: int = 99) -> Outcome:
    return Outcome(CASE, a_run(number), kind, recorded("", "it ended", ""), Path("x.json"))


def judged(items: Sequence[Measurement], outcomes: Sequence[Outcome] = ()) -> Validity:
    return pool(items, outcomes, case_interval([item.samples for item in items]))


def codes(found: Validity) -> tuple[list[str], list[str]]:
    return [each.code for each in found.invalid], [each.code for each in found.noted]


def test_validity_of_one_process_is_its_own() -> None:
    for disturbed, invalid in ((0, []), (1, ["busy"])):
        (item,) = processes(1, disturbed=disturbed)
        alone = replace(item, run=replace(item.run, session=item.run.id))
        assert codes(judged([alone])) == (invalid, [])


@pytest.mark.parametrize("count", [1, 5])
def test_validity_of_few_processes_is_noted(count: int) -> None:
    found = judged(processes(count))
    assert codes(found) == ([], [FEW_PROCESSES])
    text, advice = reason_texts(found.noted[0].reason)
    assert f"{count} process" in text
    assert "--resume" in advice


@pytest.mark.parametrize(
    ("count", "disturbed", "valid"), [(6, 1, True), (6, 2, False), (8, 2, True), (8, 3, False)]
)
def test_validity_few_disturbed_of_many_are_noted(count: int, disturbed: int, valid: bool) -> None:
    found = judged(processes(count, disturbed=disturbed))
    assert codes(found) == (([], ["busy"]) if valid else (["busy"], []))
    (problem,) = (*found.invalid, *found.noted)
    assert problem_line(problem).endswith(f"[in {disturbed} of {count} runs]")


def test_validity_wide_process_with_equal_medians_is_valid() -> None:
    assert codes(judged(processes(6, WIDE, disturbed=6))) == ([], [])
    few = judged(processes(5, WIDE, disturbed=5))
    assert [problem.code for problem in few.of_time] == ["wide_interval"]
    assert not few.invalid


def test_validity_differing_medians_are_noted_or_unreliable() -> None:
    assert codes(judged(processes(6, spread=0.04))) == ([], [])
    found = judged(processes(6, spread=0.2))
    assert codes(found) == ([], ["wide_interval"])
    text, advice = reason_texts(found.noted[0].reason)
    assert "over 6 processes is ±20.0%: the speed of the machine differed" in text
    assert "inside each process" in advice
    found = judged(processes(6, spread=0.3))
    assert codes(found) == ([], [])
    (problem,) = found.of_time
    assert problem.code == "wide_interval"
    assert "over 6 processes is ±30.0%, wider than ±25%" in reason_texts(problem.reason)[0]
    assert found.time == (problem,)
    assert found.unpaired == ()  # how far it is known stands in the ratio's own interval


def test_validity_one_killed_process_is_noted() -> None:
    assert codes(judged(processes(6), [outcome("crashed")])) == ([], ["crashed"])
    often = [outcome("crashed", number) for number in (97, 98, 99)]
    assert codes(judged(processes(6), often)) == (["crashed"], [])


@pytest.mark.parametrize("kind", ["failed", "timed_out"])
def test_validity_one_failed_process_is_invalid(kind: str) -> None:
    assert codes(judged(processes(20), [outcome(kind)])) == ([kind], [])


def test_validity_interrupted_process_is_no_problem() -> None:
    assert codes(judged(processes(6), [outcome("interrupted")])) == ([], [])


# Times and ratios

UNSTEADY = recorded("not_steady", "the earlier and the later half of the samples differ", "wait")
SHORT = recorded("few_samples", "3 samples: a median has no 95% interval under 6", "give it more")


def timed(
    backend: str, values: npt.ArrayLike, number: int, reasons: Sequence[Reason] = ()
) -> Measurement:
    """Make the samples of one process, one for each round, with its own reasons."""
    samples = np.asarray(values, dtype=np.float64)
    own = list(reasons)
    if halves_agree(samples.tolist()) is False:
        own.append(UNSTEADY)
    if relative_half_width(samples.tolist()) > WIDE_FROM and len(samples) >= 6:
        own.append(WIDE)
    case = replace(CASE, backend=backend)
    found = measured(case, 1.0, a_run(number), own)
    return replace(found, samples=samples, rounds=np.arange(len(samples)))


def side(items: Sequence[Measurement]) -> Side:
    return judged(items), [RunSamples(item.run.id, item.samples, item.rounds) for item in items]


def test_ratio_problems_shared_drift_is_none() -> None:
    slower = np.repeat([1.0, 1.2], 10)
    one, two = (side([timed(n, k * slower, 0)]) for n, k in (("keras", 1.0), ("scan", 2.0)))
    assert "not_steady" in [problem.code for problem in one[0].of_time]
    assert find_ratio_problems(one, two) == ()
    assert [problem.code for problem in one[0].unpaired] == ["not_steady"]


def test_ratio_problems_drift_of_one_side_is_invalid() -> None:
    one, two = side([timed("keras", np.repeat([1.0, 1.2], 10), 0)]), side([timed("a", [1] * 20, 0)])
    (problem,) = find_ratio_problems(one, two)
    assert problem.code == "unsteady_ratio"
    assert find_ratio_problems(two, one) == (problem,)
    assert one[0].invalid == ()


@pytest.mark.parametrize(("drifting", "valid"), [(1, True), (2, False)])
def test_ratio_problems_two_drifting_processes_of_six_are_invalid(
    drifting: int, valid: bool
) -> None:
    drift = np.repeat([1.0, 1.2], 10)
    one = side([timed("keras", drift if n < drifting else [1.0] * 20, n) for n in range(6)])
    two = side([timed("scan", [1.0] * 20, n) for n in range(6)])
    assert (find_ratio_problems(one, two) == ()) == valid


def test_ratio_problems_few_rounds_of_few_processes_are_unreliable() -> None:
    for count, codes_of in ((1, ["few_rounds"]), (6, [])):
        one, two = (
            side([timed(name, [1.0, 1.01, 1.02], n, [SHORT]) for n in range(count)])
            for name in ("keras", "scan")
        )
        assert [problem.code for problem in find_ratio_problems(one, two)] == codes_of
        assert [problem.code for problem in one[0].of_time] == (
            ["few_samples"] if count == 1 else []
        )


def test_ratio_problems_of_separate_processes_have_either_drift() -> None:
    one = side([timed("keras", np.repeat([1.0, 1.2], 10), 0)])
    two = side([timed("keras", [1.0] * 20, 1)])
    assert [problem.code for problem in find_ratio_problems(one, two)] == ["not_steady"]


@pytest.mark.parametrize("spread", [0.03, 0.29])
def test_false_rate_of_invalid_undisturbed_ratios_is_low(spread: float) -> None:
    """Six processes of two backends on machines that change, drift and wander."""
    rng = np.random.default_rng(round(100 * spread))
    trials, rounds = 150, 24
    invalid = unreliable = 0
    for _ in range(trials):
        items: dict[str, list[Measurement]] = {"keras": [], "scan": []}
        for number in range(6):
            level = rng.normal(0, spread)
            # Common to both: a machine that slows down in one process of four, and
            # autocorrelated noise.
            shared = np.linspace(0, rng.choice([0, 0, 0, 0.25]), rounds)
            wander = np.zeros(rounds)
            for index in range(1, rounds):
                wander[index] = 0.8 * wander[index - 1] + rng.normal(0, 0.01)
            for name, found in items.items():
                own = rng.normal(0, 0.02) + rng.normal(0, 0.02, rounds)
                logs = level + shared + wander + own
                found.append(timed(name, np.exp(logs), number))
        one, two = (side(found) for found in items.values())
        invalid += bool(all_problems(one, two))
        unreliable += bool(one[0].time)
    assert invalid <= 0.02 * trials
    if spread >= 0.29:
        assert unreliable > 0.5 * trials  # its time is unreliable
