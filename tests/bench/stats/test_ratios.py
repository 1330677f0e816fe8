"""Test ratios of two backends."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from bench.render.messages import basis_text
from bench.stats import intervals, ratios
from bench.stats.comparison import Comparison, Pairing, Verdict
from bench.stats.intervals import (
    ALONE,
    ENOUGH_PROCESSES,
    REFERENCE_ALLOWANCE,
    VERDICT_CONFIDENCE,
    process_means,
)
from bench.stats.ratios import RunSamples, compare, geometric_mean, paired_logs
from tests.bench.stats.made_processes import (
    BASE,
    EFFECTS,
    NEW,
    REFERENCE,
    make_runs,
    paired,
    runs,
    unpaired,
)

# The geometric mean over cases


def test_geometric_mean_of_separate_processes_adds_errors() -> None:
    six, seven = paired([0.01, -0.01] * 3), paired([0.02, -0.02] * 3 + [0.0])
    found = ratios.geometric_mean([six, seven])
    assert found.standard_error == pytest.approx((six.standard_error + seven.standard_error) / 2)
    assert found.degrees == min(six.degrees, seven.degrees)
    assert found.spread is None


def test_geometric_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no ratios"):
        ratios.geometric_mean([])


def test_geometric_mean_is_over_the_means_of_processes() -> None:
    wobble = (0.05, -0.05, 0.02, 0.0, -0.04, 0.02)
    up = compare(runs("east", np.add(EFFECTS, wobble).tolist()), BASE, REFERENCE)
    down = compare(runs("east", np.subtract(EFFECTS, wobble).tolist()), BASE, REFERENCE)
    found = geometric_mean([up, down])
    assert found.pairing is Pairing.BRIDGED
    assert found.ratio.mid == pytest.approx(1.0)
    # Opposite effects on the cases of a process cancel in its mean.
    assert found.standard_error < up.standard_error


def test_geometric_mean_of_several_is_their_mean() -> None:
    one, other = paired([0.1] * 6), paired([0.3] * 6)
    assert ratios.geometric_mean([one]) is one
    assert ratios.geometric_mean([one, other]).log_ratio == pytest.approx(0.2)


def test_all_slower_of_no_comparisons_is_false() -> None:
    assert ratios.all_slower([]) == []
    assert ratios.all_slower([[], []]) == [False, False]


def test_compare_outlying_process_is_excluded_and_counted() -> None:
    good = [0.10, 0.12, 0.11, 0.09, 0.10, 0.08, 0.11]
    found = paired([*good, 1.5])
    assert found.excluded == pytest.approx(1, abs=0.05)
    assert found.log_ratio == pytest.approx(np.mean(good), abs=0.01)
    assert found.spread == pytest.approx(np.std(good, ddof=1), rel=0.05)
    assert found.verdict is Verdict.SLOWER
    assert found.standard_error < 1.2 * paired(good).standard_error


def test_compare_single_process_finds_a_double_only() -> None:
    assert paired([math.log(2)]).verdict is Verdict.SLOWER
    assert paired([-math.log(2)]).verdict is Verdict.FASTER
    assert paired([math.log(1.5)]).verdict is Verdict.UNCLEAR
    assert paired([0.0]).verdict is Verdict.UNCLEAR  # never SAME: it cannot know


def test_compare_adjacent_processes_are_pairs() -> None:
    sides = [
        [replace(run, adjacent=True) for run in make_runs([log] * 6, rounds=False)]
        for log in (0.5, 0.0)
    ]
    found = ratios.compare(*sides)
    assert (found.pairing, found.paired, found.processes) == (Pairing.ADJACENT, True, 6)
    assert ratios.compare(*(side[:2] for side in sides)).allowance == 0.16


def test_compare_equal_processes_give_no_warning() -> None:
    assert paired([0.0] * 5).verdict is Verdict.UNCLEAR  # which may be chance
    assert paired([0.0] * 6).verdict is Verdict.SAME
    assert paired([0.0] * 6).p_slower() == 0.5
    assert paired([0.1] * 6).verdict is Verdict.SLOWER
    assert paired([0.1] * 6).p_slower() == pytest.approx(0)
    assert unpaired([0.0] * 6, [0.0] * 6).verdict is Verdict.SAME


@pytest.mark.parametrize(("rounds", "words"), [([0, 1], "shape"), ([0.5], "rounds: float")])
def test_run_samples_wrong_rounds_are_refused(rounds: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RunSamples("a", np.array([1.0]), np.array(rounds))


@pytest.mark.parametrize("far", [0, 2**62])
def test_compare_all_pairs_have_their_own_shared_rounds(far: int) -> None:
    """The span of the rounds times the number of pairs exceeds an integer."""
    new = [RunSamples(str(at), np.array([2.0, 8.0]), np.array([0, 1 + far])) for at in range(3)]
    base = [
        RunSamples(str(at), np.array([1.0, 2.0]), np.array(rounds))
        for at, rounds in enumerate(([0, 5], [5, 1 + far], [5, 6]))
    ]
    log_new, log_base, errors = paired_logs(new, base)
    ratios = np.exp(log_new - log_base)
    assert ratios[:2] == pytest.approx([2, 4])
    assert np.isnan(ratios).tolist() == np.isnan(errors).tolist() == [False, False, True]


def test_compare_shared_drift_adds_no_uncertainty() -> None:
    drift = np.exp(np.linspace(0, 1, 25))
    rounds = np.arange(25)
    found = ratios.compare([RunSamples("a", 2 * drift, rounds)], [RunSamples("a", drift, rounds)])
    assert found.standard_error == pytest.approx(ALONE * Pairing.ALTERNATING.allowance)
    separate = ratios.compare([RunSamples("a", 2 * drift)], [RunSamples("a", drift)])
    assert separate.standard_error > 1.1 * ALONE * Pairing.SEQUENTIAL.allowance


def test_compare_over_a_reference_cancels_process_effects() -> None:
    found = compare(NEW, BASE, REFERENCE)
    assert found.pairing is Pairing.BRIDGED
    assert not found.paired
    assert found.ratio.mid == pytest.approx(1.5)
    assert found.verdict is Verdict.SLOWER
    assert compare(NEW, BASE).pairing is Pairing.UNPAIRED
    assert compare(NEW, BASE).verdict is Verdict.UNCLEAR
    assert "each measured with the same third case" in basis_text(found.basis)
    assert found.inverse.ratio.mid == pytest.approx(1 / 1.5)


def test_compare_over_a_reference_keeps_its_own_difference() -> None:
    found = compare(NEW, BASE, REFERENCE)
    # Equal processes have no error of their own.
    assert found.standard_error == pytest.approx(REFERENCE_ALLOWANCE, rel=1e-3)
    equal = compare(runs("east", EFFECTS), BASE, REFERENCE)
    # SAME within 2% needs less uncertainty than a reference has.
    assert equal.verdict is Verdict.UNCLEAR
    width = math.log(equal.ratio.high) - math.log(equal.ratio.low)
    normal = special.ndtri((1 + VERDICT_CONFIDENCE) / 2)
    assert width > 2 * normal * REFERENCE_ALLOWANCE


def test_compare_reference_on_one_side_is_none() -> None:
    assert compare(NEW, BASE, REFERENCE[:6]).pairing is Pairing.UNPAIRED


WIGGLE = 0.01 * np.array([-1.0, 0.6, 0.2, -0.4, 1.0, -0.4])


def make_sides(logs: npt.NDArray[np.float64]) -> list[list[RunSamples]]:
    return [
        [RunSamples(str(run), np.exp([value] * 2), np.arange(2)) for run, value in enumerate(side)]
        for side in logs
    ]


def compare_tables(tables: Iterable[npt.NDArray[np.float64]]) -> list[list[Comparison]]:
    """Compare each with the shortest of ``logs [backends, processes]`` by its median."""
    sides = [make_sides(logs[np.argsort(np.median(logs, axis=1))]) for logs in tables]
    pairs = [(other, first) for first, *others in sides for other in others]
    found = iter(ratios.compare_all(pairs))
    return [[next(found) for _ in others] for _, *others in sides]


@pytest.mark.parametrize(
    "spread", [0.08, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.05, 0.15))]
)
def test_fastest_with_an_equal_noisy_third_is_not_significant(spread: float) -> None:
    """The first and a noisy third are equal; a second is slower and steady."""
    rng = np.random.default_rng(round(1000 * spread))
    tables = []
    for _ in range(600):
        first, second = rng.normal(0, 0.005, 6), rng.normal(0.6 * spread, 0.005, 6)
        tables.append(np.stack([first, second, rng.normal(0, spread, 6)]))
    groups = compare_tables(tables)
    false = np.mean(ratios.all_slower(groups))
    assert false <= 0.01
    # The rule before: only the next by its median.
    assert np.mean([group[0].verdict is Verdict.SLOWER for group in groups]) > 0.04


def test_fastest_if_true_is_significant() -> None:
    rng = np.random.default_rng(5)
    levels = np.array([0, 0.12, 0.2, 0.2, 0.3])[:, None]
    groups = compare_tables(levels + rng.normal(0, 0.025, (5, 10)) for _ in range(200))
    assert np.mean(ratios.all_slower(groups)) >= 0.9


def test_false_rate_of_the_fastest_among_equals_is_low() -> None:
    rng = np.random.default_rng(6)
    groups = compare_tables(rng.normal(0, 0.03, (5, 6)) for _ in range(400))
    assert np.mean(ratios.all_slower(groups)) <= 0.005


def test_fastest_of_one_comparison_follows_its_verdict() -> None:
    ((slower,),) = compare_tables([np.stack([WIGGLE, WIGGLE[::-1] + 0.3])])
    assert slower.verdict is Verdict.SLOWER
    groups = [[slower], [], [slower.inverse], [slower, slower.inverse]]
    assert ratios.all_slower(groups) == [True, False, False, False]


# Many at once


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
    for each, case in zip(found, cases, strict=True):
        assert each == intervals.case_interval(case)
        assert (each.low, each.mid, each.high) == pytest.approx(_define_interval(case), rel=1e-9)
        assert each.processes == len(case)
        assert (each.allowance is None) == (not 1 < len(case) < ENOUGH_PROCESSES)


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
    rows = [_cut_into_rounds(*pair) for pair in pairs]
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


def _cut_into_rounds(new: RunSamples, base: RunSamples) -> tuple[float, float, float] | None:
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


def _define_interval(runs: Sequence[npt.NDArray[np.float64]]) -> tuple[float, float, float]:
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
