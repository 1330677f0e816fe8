"""Rows from result files: pooled, compared, ranked and judged."""

from dataclasses import FrozenInstanceError, replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.case.cases import Case
from bench.machine.reasons import Reason
from bench.records.files import collect
from bench.records.schema import Figures, Measurement, Outcome, Results
from bench.render.data import COLUMNS, records
from bench.render.messages import reason_line
from bench.stats.comparison import Verdict
from bench.stats.intervals import FEWEST_BEYOND, PERCENTILES
from bench.stats.nodes import Item
from bench.verdicts.case_results import CaseResult, case_results
from bench.verdicts.ranking import RankedRow, group_results, rank
from bench.verdicts.sections import (
    NothingToReportError,
    Table,
    build,
    ranked_backends,
    usual_baseline,
)
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_reasons import recorded
from tests.bench.made_reports import (
    BUSY,
    REPLICATES,
    SPEC,
    TRAINING,
    a_run,
    make_report,
    make_results,
    measured,
    replicated,
    the_row,
    without_time,
)


def test_build_pools_replicates_into_one_row() -> None:
    found = build(collect(REPLICATES))
    (section,) = found.sections
    assert [run.id for run in section.runs] == ["run-1", "run-2"]
    row = next(r for r in section.rows if r.case.id == "keras/b2-t10-i3-h4/float32/inference/cpu")
    # The medians of the two processes are 0.011 and 0.01122.
    assert row.result.time == pytest.approx(0.01111)
    assert row.result.samples == 10
    assert row.result.interval is not None
    assert row.result.interval.processes == 2
    assert row.result.sequences_per_s == pytest.approx(2 / 0.01111)
    assert row.result.timesteps_per_s == pytest.approx(20 / 0.01111)
    assert row.result.time_per_timestep == pytest.approx(0.001111)
    assert row.result.first_result == pytest.approx(1.75)
    other = next(
        r for r in section.rows if r.case.id == "while_loop/b2-t10-i3-h4/float32/inference/cpu"
    )
    assert (row.rank, other.rank) == (1, 2)
    assert other.to_baseline is not None
    assert other.to_baseline.ratio.mid == pytest.approx(0.021 / 0.011)
    assert other.to_baseline.verdict is Verdict.SLOWER
    assert other.to_baseline.processes == 2


def test_build_approximate_backend_has_error_and_no_rank() -> None:
    run = a_run(1)
    exact = measured("torch", 0.02, run), measured("onnxruntime", 0.03, run)
    errors = {"passed": True, "errors": {"rms y": 0.015, "rms h": 0.02}}
    int8 = replace(measured("torch:int8", 0.01, run), gate=errors)
    (section,) = make_report(*exact, int8).sections
    rows = {row.case.backend: row for row in section.rows}
    assert list(rows) == ["torch", "onnxruntime", "torch:int8"]
    assert [row.rank for row in rows.values()] == [1, 2, None]
    assert [row.result.error for row in rows.values()] == [None, None, 0.015]
    assert set(rows["torch"].behind) == {"onnxruntime"}
    assert section.baseline in ("torch", "onnxruntime")
    ratio = rows["torch:int8"].to_baseline
    assert ratio is not None
    assert ratio.ratio.mid == pytest.approx(0.01 / rows[section.baseline].result.time, rel=0.01)


def test_build_missing_request_names_what_there_is() -> None:
    results = make_results(measured("keras", 0.01), without_time("cudnn"))
    found = []
    for each in ({"baseline": "torch"}, {"kind": "truncation"}):
        with pytest.raises(NothingToReportError) as error:
            build(results, **each)
        found.append((error.value.reason.code, error.value.reason.values.get("known")))
    assert found == [("unknown_name", ["keras"]), ("no_case_of_kind", None)]
    with pytest.raises(NothingToReportError, match="no_case"):
        build(Results((), ()))
    with pytest.raises(NothingToReportError, match="nothing_to_name"):
        build(make_results(without_time("cudnn")), baseline="keras")


def test_build_kind_chooses_cases() -> None:
    window = replace(TRAINING, window=5)
    results = make_results(measured("keras", 0.01), measured("keras", 0.02, work=window))
    assert [row.case.kind for row in build(results, kind="truncation").sections[0].rows] == [
        "truncation"
    ]
    assert len(build(results).sections[0].rows) == 2


def test_build_first_is_significant_if_the_next_is_slower() -> None:
    near = build(make_results(*replicated(6, ("keras", 0.0100), ("torch", 0.0101))))
    assert the_row(near, "keras").rank == 1
    assert not the_row(near, "keras").fastest
    far = build(make_results(*replicated(6, ("keras", 0.010), ("torch", 0.012))))
    assert the_row(far, "keras").fastest
    assert not the_row(far, "torch").fastest
    alone = build(make_results(*replicated(6, ("keras", 0.010))))
    assert not the_row(alone, "keras").fastest


def test_build_of_several_outcomes_takes_the_gravest() -> None:
    items = [
        without_time("a", "not_measured", "no GPU", a_run(1)),
        without_time("a", "failed", "wrong", a_run(2)),
        without_time("a", "timed_out", "slow", a_run(3)),
    ]
    row = the_row(build(make_results(*items)), "a")
    assert (row.result.outcome, reason_line(row.result.reason)) == ("failed", "wrong")


@pytest.mark.parametrize(("time", "fastest"), [(0.0101, False), (0.02, True)])
def test_build_invalid_neighbour_counts_for_the_fastest(time: float, fastest: bool) -> None:
    items = replicated(6, ("keras", 0.010), ("numpy", time), ("torch", 0.012))
    bad = [
        replace(item, valid=False, reasons=(BUSY,)) if item.case.backend == "numpy" else item
        for item in items
    ]
    first = the_row(make_report(*bad), "keras")
    assert first.fastest is fastest
    assert set(first.behind) == {"numpy", "torch"}
    assert the_row(make_report(*bad), "numpy").ahead is None


def test_build_ratios_are_to_the_baseline_and_the_first() -> None:
    found = make_report(*replicated(6, ("keras", 2.0), ("numpy", 4.0), ("torch", 1.0)))
    ratios = {name: the_row(found, name).to_baseline for name in ("keras", "numpy", "torch")}
    assert ratios.pop("keras") is None
    assert {name: each and each.ratio.mid for name, each in ratios.items()} == pytest.approx(
        {"numpy": 2.0, "torch": 0.5}
    )
    first = the_row(found, "torch")
    behind = {name: each.ratio.mid for name, each in first.behind.items()}
    assert behind == pytest.approx({"keras": 2.0, "numpy": 4.0})
    assert {each.verdict for each in first.behind.values()} == {Verdict.SLOWER}


@given(st.randoms(use_true_random=False))
def test_build_order_does_not_depend_on_file_names(random: Random) -> None:
    window = replace(TRAINING, window=5)
    wanted: list[Measurement | Outcome] = [
        measured("a", 1.0),
        measured("b", 2.0),
        without_time("c", device="cpu"),
        measured("a", 9.0, spec=LSTMSpec(3, 5)),
        measured("a", 1.0, work=TRAINING),
        measured("a", 1.0, work=replace(TRAINING, window=2)),
        measured("a", 1.0, work=window),
        measured("a", 1.0, work=Workload(1, 1, "streaming")),
        measured("a", 1.0, device="gpu:2"),
        measured("a", 1.0, device="gpu:10"),
    ]
    items = list(wanted)
    random.shuffle(items)
    (section,) = make_report(*items).sections
    assert [row.case for row in section.rows] == [item.case for item in wanted]


# Facts of the processes of a case


def make_setup(number: int, **setup: float | None) -> Measurement:
    return replace(measured("keras", 1.0, a_run(number)), setup=setup)


def test_build_setup_is_the_median_of_processes() -> None:
    times = [{"build_s": value, "compile_s": off} for value, off in ((1.0, -3.0), (2.0, -1.0))]
    row = the_row(make_report(*(make_setup(n, **each) for n, each in enumerate(times))), "keras")
    # Compiling is a difference of two times, which is unknown below zero.
    assert row.result.setup == {
        "build_s": 1.5,
        "trace_s": None,
        "compile_s": None,
        "first_call_s": None,
    }
    more = [*times, {"build_s": 9.0, "compile_s": 0.5}, {"compile_s": 0.5}, {"compile_s": 0.5}]
    row = the_row(make_report(*(make_setup(n, **each) for n, each in enumerate(more))), "keras")
    assert row.result.setup is not None
    assert (row.result.setup["build_s"], row.result.setup["compile_s"]) == (2.0, 0.5)


def test_build_figures_are_medians_and_texts_the_commonest() -> None:
    roofs: list[Figures | None] = [
        {"of_matmul": 0.1, "matmul_by": "keras"},
        {"of_matmul": 0.4, "matmul_by": "torch", "operations": None},
        {"of_matmul": 0.2, "matmul_by": "torch"},
        None,
    ]
    items = [measured("a", 1.0, a_run(number), roofs=each) for number, each in enumerate(roofs)]
    row = the_row(make_report(*items), "a")
    assert row.result.roofs == {"of_matmul": 0.2}
    assert row.result.roofs_by == {"of_matmul": "torch"}
    assert row.result.memory == row.result.energy == {}


def test_build_fallback_is_the_commonest_and_remarks_are_once() -> None:
    loop: dict[str, object] = {"fallback": "the loop"}
    ran: list[dict[str, object]] = [loop, loop, {"fallback": 3}, {}]
    items = [
        replace(
            measured("a", 1.0, a_run(number)), evidence=each, remarks=("it warned", f"{number % 2}")
        )
        for number, each in enumerate(ran)
    ]
    row = the_row(make_report(*items[:3]), "a")
    assert row.result.fallback == "the loop"
    assert row.result.remarks == ("it warned", "0", "1")
    assert the_row(make_report(*items[2:]), "a").result.fallback == ""


UNSTEADY = recorded("not_steady", "the halves differ", "give it more time")


def test_build_percentiles_exclude_disturbed_processes() -> None:
    def process(number: int, low: float, *reasons: Reason) -> Measurement:
        item = measured("keras", 1.0, a_run(number), reasons=reasons)
        return replace(item, samples=np.linspace(low, low + 1, 60), rounds=np.arange(60))

    items = [process(0, 1.0), process(1, 2.0, UNSTEADY), process(2, 100.0, BUSY)]
    (row,) = records(make_report(*items))
    both = np.concatenate([np.linspace(1.0, 2.0, 60), np.linspace(2.0, 3.0, 60)])
    for part in PERCENTILES:
        assert row[f"p{part}_s"] == pytest.approx(np.percentile(both, part))
    (alone,) = records(make_report(items[2]))
    assert [alone[f"p{part}_s"] for part in PERCENTILES] == [None] * 4
    for part in PERCENTILES:
        needed = round(100 * FEWEST_BEYOND / min(part, 100 - part))
        assert COLUMNS[f"p{part}_s"].meaning.endswith(f"fewer than {needed} samples")


def a_row(backend: str = "keras", rank: int | None = None, work: Workload = TRAINING) -> RankedRow:
    return RankedRow(CaseResult(Case(backend, SPEC, work), "measured"), rank=rank)


# Tables


def test_tables_are_by_device_kind_mode_and_stream() -> None:
    window = replace(TRAINING, window=5)
    wide = LSTMSpec(3, 8)
    (section,) = make_report(
        measured("keras", 1.0),
        measured("keras", 1.0, spec=wide),
        measured("keras", 1.0, work=TRAINING),
        measured("keras", 1.0, work=window),
        measured("keras", 1.0, work=replace(TRAINING, window=2)),
        measured("keras", 1.0, work=window, spec=wide),
        without_time("cudnn"),
    ).sections
    tables = [(each.device, each.kind, each.mode, len(each.rows)) for each in section.tables]
    assert tables == [
        ("cpu", "throughput", "inference", 2),
        ("cpu", "throughput", "training", 1),
        ("cpu", "truncation", "training", 2),
        ("cpu", "truncation", "training", 1),
        ("gpu:0", "throughput", "inference", 1),
    ]
    assert [each.noun for each in section.tables[1:4]] == ["shape", "window", "window"]
    assert section.timed_tables == list(section.tables[:4])


@pytest.mark.parametrize(
    ("most", "shown", "left"), [(0, 1, 2), (2, 1, 2), (3, 1, 2), (4, 2, 1), (6, 3, 0), (99, 3, 0)]
)
def test_table_beginning_has_complete_groups(most: int, shown: int, left: int) -> None:
    specs = [LSTMSpec(3, hidden) for hidden in (4, 5, 6)]
    items = [measured(name, 1.0, spec=spec) for spec in specs for name in ("a", "b")]
    (section,) = make_report(*items).sections
    begun, rest = section.tables[0].begin(most)
    assert (len(begun.groups), rest) == (shown, left)
    assert begun.groups == section.tables[0].groups[:shown]


def test_backends_are_ordered_by_rank_after_the_baseline() -> None:
    places = {"a": (3, 3), "b": (1, 2), "c": (2, 1), "base": (4, 4), "none": (None,)}
    rows = [a_row(name, rank) for name, ranks in places.items() for rank in ranks]
    assert ranked_backends(rows, "base") == ["base", "b", "c", "a"]
    assert Table("cpu", "throughput", "training", tuple(rows), "a").backends == (
        *("a", "b", "c", "base"),
    )


@pytest.mark.parametrize(
    ("counts", "baseline"),
    [
        ({"torch": 9, "while_loop": 1, "keras": 1}, "keras"),
        ({"torch": 9, "while_loop": 1}, "while_loop"),
        ({"numpy": 1, "torch": 9}, "torch"),
        ({}, ""),
    ],
)
def test_default_baseline_is_the_first_listed_or_commonest(
    counts: dict[str, int], baseline: str
) -> None:
    assert usual_baseline(counts) == baseline


# The two stages


def test_ranking_keeps_each_result_as_it_was_pooled() -> None:
    times = {"keras": 0.03, "torch": 0.01, "scan": 0.02}
    items = replicated(6, *times.items())
    absent: list[Item] = [without_time("cudnn")]
    by_case: list[list[Item]] = [[e for e in items if e.case.backend == name] for name in times]
    results = case_results([(own, {}) for own in (*by_case, absent)])
    (timed, other) = rank(list(group_results(results, "keras")))
    assert [row.case.backend for row in timed] == ["torch", "scan", "keras"]
    for row in (*timed, *other):
        assert any(row.result is each for each in results)
    first, *_, last = timed
    assert (first.base, last.base) == (last.result, None)
    assert [row.rank for row in (*timed, *other)] == [1, 2, 3, None]
    with pytest.raises(FrozenInstanceError):
        first.rank = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        first.result.outcome = "failed"  # type: ignore[misc]
