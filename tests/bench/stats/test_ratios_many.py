"""Results for many cases at once equal the definitions for each case."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from bench.stats import intervals, ratios
from bench.stats.comparison import Comparison, Pairing
from bench.stats.intervals import ENOUGH_PROCESSES, process_means
from bench.stats.ratios import RunSamples

unhurried = settings(deadline=None, max_examples=40)

Runs = list[RunSamples]


@st.composite
def run_samples(draw: st.DrawFn, name: str) -> RunSamples:
    """Draw few or many samples, with rounds of which some are missing or twice, or without."""
    size = draw(st.sampled_from([1, 1, 2, 5, 6, 10, 10, 10, 13]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    level = draw(st.sampled_from([1e-9, 1e-3, 1e-3, 1.1e-3, 1e6]))
    samples = level * np.exp(draw(st.sampled_from([0.0, 0.01, 0.5])) * rng.standard_normal(size))
    rounds: npt.NDArray[np.int64] | None = np.arange(size)
    match draw(st.sampled_from(["all", "all", "some", "elsewhere", "none"])):
        case "some":
            rounds = np.sort(rng.integers(0, size + 3, size))
        case "elsewhere":
            rounds = np.arange(size) + 2**52
        case "none":
            rounds = None
    return RunSamples(name, samples, rounds)


@st.composite
def sides(draw: st.DrawFn) -> tuple[Runs, Runs]:
    """Draw up to eight processes a side, of which all, some or none are shared."""
    names = [f"run-{number}" for number in range(draw(st.sampled_from([1, 1, 2, 3, 6, 8])))]
    others = draw(st.sampled_from([names, names, names[:1], ["elsewhere"], [*names, "more"]]))
    new = [draw(run_samples(name)) for name in names]
    return new, [draw(run_samples(name)) for name in others]


@unhurried
@given(st.lists(sides(), min_size=1, max_size=8), st.sampled_from([1, 50, 1_000_000]))
def test_compare_all_equals_the_definition(pairs: list[tuple[Runs, Runs]], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ratios, "_MOST_AT_ONCE", at_once)
        found = ratios.compare_all(pairs)
    assert len(found) == len(pairs)
    for each, (new, base) in zip(found, pairs, strict=True):
        _equal(each, ratios.compare(new, base))
        log_ratio, error, degrees, pairing, processes, logs = _defined(new, base)
        assert each.pairing is pairing
        assert each.processes == processes
        assert each.log_ratio == pytest.approx(log_ratio, rel=1e-9, abs=1e-12)
        if each.standard_error > error * (1 + 1e-9):  # widened, since outlying processes decide
            plain = np.mean(list(logs[0].values())) - np.mean(list(logs[1].values()))
            assert plain * log_ratio < 0
        else:
            assert each.standard_error == pytest.approx(error, rel=1e-9, abs=1e-12)
        assert each.degrees == pytest.approx(degrees, rel=1e-6)
        for side, expected in zip((each.new_logs, each.base_logs), logs, strict=True):
            assert side == pytest.approx(expected, rel=1e-9, abs=1e-12)


@unhurried
@given(st.lists(sides(), min_size=1, max_size=8))
def test_case_intervals_equal_the_definition(pairs: list[tuple[Runs, Runs]]) -> None:
    cases = [[run.samples for run in side] for pair in pairs for side in pair]
    found = intervals.case_intervals([[("", each) for each in runs] for runs in cases])
    assert len(found) == len(cases)
    for each, runs in zip(found, cases, strict=True):
        assert each == intervals.case_interval(runs)
        assert (each.low, each.mid, each.high) == pytest.approx(_defined_interval(runs), rel=1e-9)
        assert each.processes == len(runs)
        assert (each.allowance is None) == (not 1 < len(runs) < ENOUGH_PROCESSES)


@unhurried
@given(sides(), st.floats(1e-3, 1e3), st.randoms(use_true_random=False))
def test_compare_depends_on_no_side_unit_or_order(
    pair: tuple[Runs, Runs], scale: float, random: Random
) -> None:
    found = ratios.compare(*pair)
    swapped = ratios.compare(*reversed(pair))
    assert swapped.log_ratio == pytest.approx(-found.log_ratio, abs=1e-12)
    assert swapped.verdict is found.inverse.verdict
    scaled = [[replace(run, samples=scale * run.samples) for run in side] for side in pair]
    for side in scaled:
        random.shuffle(side)
    other = ratios.compare(*scaled)
    assert other.log_ratio == pytest.approx(found.log_ratio, abs=1e-9)
    assert other.standard_error == pytest.approx(found.standard_error, rel=1e-6, abs=1e-9)


def test_compare_all_bad_side_is_refused_as_alone() -> None:
    good = [RunSamples("a", np.ones(3))]
    with pytest.raises(ValueError, match="base: no run"):
        ratios.compare_all([(good, good), (good, [])])
    with pytest.raises(ValueError, match=r"new: .* twice"):
        ratios.compare_all([(good, good), ([*good, *good], good)])
    with pytest.raises(ValueError, match="no runs"):
        intervals.case_intervals([[("", np.ones(3))], []])
    with pytest.raises(ValueError, match=r"run 1 samples\[2\] is nan"):
        intervals.case_interval([np.ones(3), np.array([1.0, 1.0, math.nan])])


def _equal(one: Comparison, other: Comparison) -> None:
    a, b = dataclasses.asdict(one), dataclasses.asdict(other)
    for key in ("ratio", "new_logs", "base_logs"):
        assert a.pop(key) == pytest.approx(b.pop(key), rel=1e-9)
    for key in ("log_ratio", "standard_error", "degrees"):
        assert a.pop(key) == pytest.approx(b.pop(key), rel=1e-6, abs=1e-12)
    assert a == b


# The definitions, process by process with NumPy

_Logs = tuple[dict[str, float], dict[str, float]]


def _defined(
    new: Sequence[RunSamples], base: Sequence[RunSamples]
) -> tuple[float, float, float, Pairing, int, _Logs]:
    theirs = {run.run: run for run in base}
    pairs = [(run, theirs[run.run]) for run in new if run.run in theirs]
    if not pairs:
        mids = [[math.log(np.median(run.samples)) for run in side] for side in (new, base)]
        errors = [[_error(np.log(run.samples)) for run in side] for side in (new, base)]
        parts = [
            _variance(np.array(logs), np.array(own), Pairing.UNPAIRED.allowance)
            for logs, own in zip(mids, errors, strict=True)
        ]
        variance = parts[0][1] + parts[1][1]
        return (
            parts[0][0] - parts[1][0],
            math.sqrt(variance),
            variance**2 / sum(part[1] ** 2 / part[2] for part in parts),
            Pairing.UNPAIRED,
            min(len(new), len(base)),
            (_named(new, mids[0]), _named(base, mids[1])),
        )
    rows = [_in_rounds(*pair) for pair in pairs]
    pairing = Pairing.ALTERNATING if all(rows) else Pairing.SEQUENTIAL
    if pairing is Pairing.SEQUENTIAL:
        rows = [
            (
                math.log(np.median(one.samples)),
                math.log(np.median(other.samples)),
                math.hypot(_error(np.log(one.samples)), _error(np.log(other.samples))),
            )
            for one, other in pairs
        ]
    table = np.array(rows, dtype=np.float64)
    middle, variance, degrees = _variance(table[:, 0] - table[:, 1], table[:, 2], pairing.allowance)
    runs = [run for run, _ in pairs]
    return (
        middle,
        math.sqrt(variance),
        degrees,
        pairing,
        len(pairs),
        (_named(runs, table[:, 0].tolist()), _named(runs, table[:, 1].tolist())),
    )


def _named(runs: Sequence[RunSamples], logs: Sequence[float]) -> dict[str, float]:
    return {run.run: log for run, log in zip(runs, logs, strict=True)}


def _in_rounds(new: RunSamples, base: RunSamples) -> tuple[float, float, float] | None:
    if new.rounds is None or base.rounds is None:
        return None
    shared = sorted(set(new.rounds.tolist()) & set(base.rounds.tolist()))
    if not shared:
        return None
    sides = []
    for side in (new, base):
        assert side.rounds is not None
        times = [side.samples[side.rounds == each][0] for each in shared]
        sides.append((math.log(np.median(times)), np.log(times)))
    (log_new, rounds_new), (log_base, rounds_base) = sides
    return log_new, log_base, _error(rounds_new - rounds_base)


def _error(logs: npt.NDArray[np.float64]) -> float:
    if logs.size == 1:
        return intervals.UNPAIRED_ALLOWANCE
    ordered = np.sort(logs)
    rank = 1
    while _covered(rank + 1, logs.size) >= 0.95:
        rank += 1
    quantile = special.ndtri((1 + _covered(rank, logs.size)) / 2)
    return float((ordered[-rank] - ordered[rank - 1]) / 2 / quantile)


def _covered(rank: int, count: int) -> float:
    if 2 * rank > count:
        return 0.0
    return sum(math.comb(count, k) for k in range(rank, count - rank + 1)) / 2.0**count


def _variance(
    logs: npt.NDArray[np.float64], own: npt.NDArray[np.float64], allowance: float
) -> tuple[float, float, float]:
    """Return the middle of one case, its variance with its processes' errors, and its degrees."""
    found = process_means(logs[None], allowance)
    middle, error, degrees = (
        float(each[0]) for each in (found.middles, found.errors, found.degrees)
    )
    if logs.size >= ENOUGH_PROCESSES:
        return middle, error**2, degrees
    return middle, error**2 + float(np.sum(own**2)) / logs.size**2, degrees


def _defined_interval(runs: Sequence[npt.NDArray[np.float64]]) -> tuple[float, float, float]:
    medians = np.array([np.median(run) for run in runs])
    count = medians.size
    if count >= ENOUGH_PROCESSES:
        found = intervals.median_interval(medians)
        return found.low, float(np.median(medians)), found.high
    if count == 1:
        found = intervals.median_interval(runs[0])
        return found.low, found.mid, found.high
    logs = np.log(medians)
    spread = float(np.std(logs, ddof=1))
    half = min(
        special.stdtrit(count - 1, 0.975) * max(spread, 0.03),
        special.ndtri(0.995) * max(spread, 0.29),
    ) / math.sqrt(count)
    middle = float(np.mean(logs))
    return math.exp(middle - half), float(np.median(medians)), math.exp(middle + half)
