"""From result files to rows: what is pooled, held against what, ranked, and called the fastest."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.records.files import collect
from bench.records.schema import Figures, Measurement, Outcome, Results
from bench.render.messages import doubt_line
from bench.stats.bound import NOT_KNOWN, PADDING
from bench.stats.comparison import Verdict
from bench.stats.rows import NothingToReportError, build
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_reports import (
    BUSY,
    INFERENCE,
    REPLICATES,
    TRAINING,
    a_run,
    measured,
    replicated,
    report_of,
    results_of,
    the_row,
    without_time,
)


def test_replicates_are_pooled_into_one_row_a_case() -> None:
    found = build(collect(REPLICATES))
    (section,) = found.sections
    assert [run.id for run in section.runs] == ["run-1", "run-2"]
    row = next(r for r in section.rows if r.case.id == "keras/b2-t10-i3-h4/float32/inference/cpu")
    # The medians of the two processes are 0.011 and 0.01122.
    assert row.time == pytest.approx(0.01111)
    assert row.samples == 10
    assert row.interval is not None
    assert row.interval.processes == 2
    assert row.sequences_per_s == pytest.approx(2 / 0.01111)
    assert row.timesteps_per_s == pytest.approx(20 / 0.01111)
    assert row.time_per_timestep == pytest.approx(0.001111)
    assert row.first_result == pytest.approx(1.75)
    other = next(
        r for r in section.rows if r.case.id == "while_loop/b2-t10-i3-h4/float32/inference/cpu"
    )
    assert (row.rank, other.rank) == (1, 2)
    assert other.to_baseline is not None
    assert other.to_baseline.ratio.mid == pytest.approx(0.021 / 0.011)
    assert other.to_baseline.verdict is Verdict.SLOWER
    assert other.to_baseline.processes == 2


def test_approximate_backend_is_compared_and_has_its_error_but_no_rank() -> None:
    run = a_run(1)
    exact = measured("torch", 0.02, run), measured("onnxruntime", 0.03, run)
    errors = {"passed": True, "errors": {"rms y": 0.015, "rms h": 0.02}}
    int8 = replace(measured("torch:int8", 0.01, run), gate=errors)
    (section,) = report_of(*exact, int8).sections
    rows = {row.case.backend: row for row in section.rows}
    assert list(rows) == ["torch", "onnxruntime", "torch:int8"]
    assert [row.rank for row in rows.values()] == [1, 2, None]
    assert [row.error for row in rows.values()] == [None, None, 0.015]
    assert set(rows["torch"].behind) == {"onnxruntime"}
    assert section.baseline in ("torch", "onnxruntime")
    ratio = rows["torch:int8"].to_baseline
    assert ratio is not None
    assert ratio.ratio.mid == pytest.approx(0.01 / rows[section.baseline].time, rel=0.01)


def test_error_of_an_approximate_backend_is_the_largest_and_none_if_not_recorded() -> None:
    gates: list[dict[str, object]] = [
        {"errors": {"rms y": 0.01}},
        {"errors": {"rms y": 0.03}},
        {"errors": None},
        {},
    ]
    items = [
        replace(measured("torch:int8", 0.01, a_run(number)), gate=gate)
        for number, gate in enumerate(gates)
    ]
    (row,) = report_of(*items).sections[0].rows
    assert row.error == 0.03
    (row,) = report_of(items[-1]).sections[0].rows
    assert row.error is None


def test_sessions_and_kinds_of_machines_stand_apart_the_newest_first() -> None:
    old = measured("keras", 0.01, a_run(1, "old"))
    new = measured("keras", 0.01, a_run(9, "new"))
    before = {"cpu": {"name": "Another CPU", "cores": 2}}
    other = measured("keras", 0.01, a_run(5, "new", host="other", environment={"before": before}))
    found = build(results_of(old, new, other))
    assert [(s.run.session, s.run.host) for s in found.sections] == [
        ("new", "host"),
        ("new", "other"),
        ("old", "host"),
    ]


@pytest.mark.parametrize(
    ("backends", "expected"),
    [
        (["torch", "while_loop", "keras"], "keras"),
        (["torch", "while_loop"], "while_loop"),
        (["torch", "static_unroll"], "torch"),
    ],
)
def test_ratios_refer_to_the_usual_baseline_that_was_measured(
    backends: list[str], expected: str
) -> None:
    items: list[Measurement] = [measured(backend, 0.01) for backend in backends]
    items.append(measured(expected, 0.02, work=TRAINING))
    found = build(results_of(*items))
    assert found.sections[0].baseline == expected
    for row in found.sections[0].rows:
        if row.case.workload == INFERENCE:
            assert (row.to_baseline is None) == (row.case.backend == expected)


def test_the_baseline_can_be_chosen() -> None:
    found = build(results_of(measured("keras", 0.01), measured("torch", 0.02)), baseline="torch")
    ratio = the_row(found, "keras").to_baseline
    assert ratio is not None
    assert ratio.ratio.mid == pytest.approx(0.5)
    assert the_row(found, "torch").to_baseline is None


def test_what_was_asked_for_and_is_not_there_is_told_with_what_is() -> None:
    results = results_of(measured("keras", 0.01), without_time("cudnn"))
    asked: list[dict[str, str]] = [
        {"baseline": "torch"},
        {"device": "gpu:1"},
        {"kind": "truncation"},
    ]
    found = []
    for each in asked:
        with pytest.raises(NothingToReportError) as error:
            build(results, **each)
        found.append((error.value.reason.code, error.value.reason.values.get("known")))
    assert found == [
        ("unknown_name", ["keras"]),
        ("unknown_name", ["cpu", "gpu:0"]),
        ("no_case_of_kind", None),
    ]
    with pytest.raises(NothingToReportError, match="no_case"):
        build(Results((), ()))
    with pytest.raises(NothingToReportError, match="nothing_to_name"):
        build(results_of(without_time("cudnn")), baseline="keras")


def test_device_and_kind_choose_cases() -> None:
    window = replace(TRAINING, window=5)
    results = results_of(
        measured("keras", 0.01),
        measured("keras", 0.02, work=window),
        measured("keras", 0.03, device="gpu:0"),
    )
    assert [row.time for row in build(results, device="gpu:0").sections[0].rows] == [
        pytest.approx(0.03)
    ]
    assert [row.case.kind for row in build(results, kind="truncation").sections[0].rows] == [
        "truncation"
    ]
    assert len(build(results).sections[0].rows) == 3


def test_the_first_is_sure_only_if_the_next_is_surely_slower() -> None:
    near = build(results_of(*replicated(6, ("keras", 0.0100), ("torch", 0.0101))))
    assert the_row(near, "keras").rank == 1
    assert not the_row(near, "keras").fastest
    far = build(results_of(*replicated(6, ("keras", 0.010), ("torch", 0.012))))
    assert the_row(far, "keras").fastest
    assert not the_row(far, "torch").fastest
    alone = build(results_of(*replicated(6, ("keras", 0.010))))
    assert not the_row(alone, "keras").fastest


def test_an_invalid_measurement_is_never_surely_the_first() -> None:
    items = replicated(6, ("keras", 0.010), ("torch", 0.012))
    for index in (0, 2):  # keras in two of the six
        items[index] = replace(items[index], valid=False, reasons=(BUSY,))
    row = the_row(build(results_of(*items)), "keras")
    assert row.rank == 1
    assert not row.fastest
    assert (
        doubt_line(row.invalid[0]) == "the machine was busy (close other programs) [in 2 of 6 runs]"
    )


def test_a_case_that_failed_its_gate_in_one_of_its_runs_is_invalid() -> None:
    items: list[Measurement | Outcome] = [
        measured("keras", 0.01, a_run(1)),
        without_time("keras", "failed", "y is wrong by 0.3", a_run(2), device="cpu"),
    ]
    row = the_row(build(results_of(*items)), "keras")
    assert row.measured
    assert doubt_line(row.invalid[0]) == "failed: y is wrong by 0.3 [in 1 of 2 runs]"


def test_of_several_outcomes_the_gravest_is_told() -> None:
    items = [
        without_time("a", "not_measured", "no GPU", a_run(1)),
        without_time("a", "failed", "wrong", a_run(2)),
        without_time("a", "timed_out", "slow", a_run(3)),
    ]
    row = the_row(build(results_of(*items)), "a")
    assert (row.outcome, row.reason) == ("failed", "wrong")


@pytest.mark.parametrize(("time", "fastest"), [(0.0101, False), (0.02, True)])
def test_star_judges_an_invalid_neighbour_by_its_ratio_too(time: float, fastest: bool) -> None:
    items = replicated(6, ("keras", 0.010), ("numpy", time), ("torch", 0.012))
    bad = [
        replace(item, valid=False, reasons=(BUSY,)) if item.case.backend == "numpy" else item
        for item in items
    ]
    first = the_row(report_of(*bad), "keras")
    assert first.fastest is fastest
    assert set(first.behind) == {"numpy", "torch"}
    assert the_row(report_of(*bad), "numpy").ahead is None


def test_each_ratio_is_over_the_baseline_and_over_the_first() -> None:
    found = report_of(*replicated(6, ("keras", 2.0), ("numpy", 4.0), ("torch", 1.0)))
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
def test_rows_stand_in_one_order_whatever_the_files_are_called(random: Random) -> None:
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
    (section,) = report_of(*items).sections
    assert [row.case for row in section.rows] == [item.case for item in wanted]


# What the processes of a case have in common


def with_setup(number: int, **setup: float | None) -> Measurement:
    return replace(measured("keras", 1.0, a_run(number)), setup=setup)


def test_preparing_takes_the_middle_of_what_the_processes_took() -> None:
    times = [{"build_s": value, "compile_s": off} for value, off in ((1.0, -3.0), (2.0, -1.0))]
    row = the_row(report_of(*(with_setup(n, **each) for n, each in enumerate(times))), "keras")
    # Compiling is a difference of two times: noise under zero is not known.
    assert row.setup == {"build_s": 1.5, "trace_s": None, "compile_s": None, "first_call_s": None}
    more = [*times, {"build_s": 9.0, "compile_s": 0.5}, {"compile_s": 0.5}, {"compile_s": 0.5}]
    row = the_row(report_of(*(with_setup(n, **each) for n, each in enumerate(more))), "keras")
    assert row.setup is not None
    assert (row.setup["build_s"], row.setup["compile_s"]) == (2.0, 0.5)


def test_figures_are_medians_and_words_about_them_the_commonest() -> None:
    roofs: list[Figures | None] = [
        {"of_matmul": 0.1, "matmul_by": "keras"},
        {"of_matmul": 0.4, "matmul_by": "torch", "operations": None},
        {"of_matmul": 0.2, "matmul_by": "torch"},
        None,
    ]
    items = [measured("a", 1.0, a_run(number), roofs=each) for number, each in enumerate(roofs)]
    row = the_row(report_of(*items), "a")
    assert row.roofs == {"of_matmul": 0.2}
    assert row.roofs_by == {"of_matmul": "torch"}
    assert row.memory == row.energy == {}


def test_of_sequences_of_several_lengths_the_padding_counts_in_what_binds_them() -> None:
    for lengths, kind, share in ((None, NOT_KNOWN, 0.4), (1, PADDING, 9 / 20)):
        work = Workload(2, 10, min_length=lengths)
        row = the_row(report_of(measured("a", 1.0, work=work, roofs={"of_chain": 0.4})), "a")
        assert row.bound is not None
        assert row.bound.kind == kind
        assert row.bound.share == pytest.approx(share)


@pytest.mark.parametrize(
    ("steady", "told"),
    [((True, True), True), ((True, False), False), ((True, None), None), ((None, False), False)],
)
def test_a_case_is_steady_if_all_of_its_processes_were(
    steady: tuple[bool | None, ...], told: bool | None
) -> None:
    items = [
        replace(measured("a", 1.0, a_run(number)), steady=each)
        for number, each in enumerate(steady)
    ]
    assert the_row(report_of(*items), "a").steady is told


def test_what_ran_in_place_of_it_is_what_most_processes_ran_and_a_remark_stands_once() -> None:
    loop: dict[str, object] = {"fallback": "the loop"}
    ran: list[dict[str, object]] = [loop, loop, {"fallback": 3}, {}]
    items = [
        replace(
            measured("a", 1.0, a_run(number)), evidence=each, remarks=("it warned", f"{number % 2}")
        )
        for number, each in enumerate(ran)
    ]
    row = the_row(report_of(*items[:3]), "a")
    assert row.fallback == "the loop"
    assert row.remarks == ("it warned", "0", "1")
    assert the_row(report_of(*items[2:]), "a").fallback == ""


def test_rows_are_frozen() -> None:
    row = the_row(report_of(*replicated(6, ("keras", 0.010), ("torch", 0.012))), "keras")
    with pytest.raises(FrozenInstanceError):
        row.rank = 2  # type: ignore[misc]
