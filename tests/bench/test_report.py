"""What the report says of results, in every format, and that nothing in a file can act on it."""

import csv
import functools
import html.parser
import io
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from bench import report
from bench.disk.fields import ResultError
from bench.judging import table as table_module
from bench.judging.columns import COLUMNS
from bench.judging.ranking import build
from bench.judging.rows import NothingToReportError, Report, Row, Section
from bench.judging.table import load_frame, records
from bench.judging.verdict import Verdict
from bench.reporting import machines
from bench.reporting.data import as_json, comma_separated
from bench.reporting.markdown import brief, markdown
from bench.reporting.page.explorer import page as explorable
from bench.reporting.page.static import page
from bench.reporting.sentences import findings
from bench.reporting.terminal import as_picture, draw_whole, show
from bench.results.files import collect
from bench.results.journal import Journal
from bench.results.schema import Figures, Measurement, Outcome, Reason, Results, Run
from bench.suites.cases import Case
from bench.telling.deliver import draw_on
from bench.telling.headings import heading, machine, method
from lstm_impl.spec import LSTMSpec
from lstm_impl.workload import Workload
from tests.bench import made_results
from tests.bench.made_results import as_text, gather
from tests.places import GOLDEN, ROOT

REPLICATES = [GOLDEN / "replicate-1.json", GOLDEN / "replicate-2.json"]

SPEC = LSTMSpec(3, 4)
INFERENCE = Workload(2, 10)
TRAINING = Workload(2, 10, "training")
BUSY = Reason("busy", "the machine was busy", "close other programs")

FORMATS: dict[str, Callable[[Report], str]] = {
    "terminal": as_text,
    "markdown": markdown,
    "csv": lambda report: "".join(comma_separated(report)),
    "json": as_json,
    "html": page,
    "svg": as_picture,
}


def a_run(number: int = 1, session: str = "s", host: str = "host", **changes: object) -> Run:
    started = datetime(2025, 1, 31, 12, tzinfo=UTC) + timedelta(minutes=number)
    environment = {"before": {"cpu": {"name": "A CPU", "cores": 2}, "libraries": {"keras": "3"}}}
    run = Run(
        f"{session}-{host}-{number}",
        session,
        "quick",
        1,
        started,
        started,
        True,
        host,
        f"id of {host}",
        {},
        environment,
    )
    return replace(run, **changes)  # type: ignore[arg-type]


def measured(
    backend: str,
    seconds: float,
    run: Run | None = None,
    *,
    work: Workload = INFERENCE,
    spec: LSTMSpec = SPEC,
    device: str = "cpu",
    reasons: Sequence[Reason] = (),
    memory: Figures | None = None,
) -> Measurement:
    """Eleven samples around a median, in alternating rounds."""
    made = made_results.measured(
        Case(backend, spec, work, device), seconds, run or a_run(), reasons
    )
    return replace(
        made,
        samples=seconds * np.linspace(0.99, 1.01, 11),
        warmup=(seconds,),
        calls=4,
        setup={"build_s": 0.5, "trace_s": 0.25, "first_call_s": 1.0, "compile_s": -0.001},
        gate={"passed": True},
        memory=memory,
    )


def without_time(
    backend: str,
    outcome: str = "not_measured",
    reason: str = "no GPU is here",
    run: Run | None = None,
    *,
    work: Workload = INFERENCE,
    spec: LSTMSpec = SPEC,
    device: str = "gpu:0",
    advice: str = "",
) -> Outcome:
    case = Case(backend, spec, work, device)
    return Outcome(case, run or a_run(), outcome, reason, advice, Path("a.json"))


def results_of(*items: Measurement | Outcome, notes: Sequence[str] = ()) -> Results:
    return replace(gather(*items), notes=tuple(notes))


def replicated(number: int, *cases: tuple[str, float], **settings: Workload) -> list[Measurement]:
    """These backends, measured in so many processes that differ a little."""
    return [
        measured(backend, seconds * (1 + 0.001 * index), a_run(index), **settings)  # type: ignore[arg-type]
        for index in range(number)
        for backend, seconds in cases
    ]


def the_row(report: Report, backend: str) -> Row:
    (found,) = [row for row in report.sections[0].rows if row.case.backend == backend]
    return found


def sentences(report: Report) -> list[str]:
    return [finding.text for section in report.sections for finding in findings(section)]


# Rows


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


def test_padding_is_not_counted_among_the_timesteps() -> None:
    found = build(results_of(measured("a", 0.5, work=Workload(2, 10, min_length=4))))
    assert the_row(found, "a").timesteps_per_s == pytest.approx((10 + 4) / 0.5)


def test_a_batch_of_any_size_is_counted_at_once() -> None:
    found = build(results_of(measured("a", 0.5, work=Workload((2**31 - 1), 10, min_length=4))))
    assert the_row(found, "a").timesteps_per_s == pytest.approx((2**31 - 1) * 7 / 0.5)
    for make in FORMATS.values():
        assert make(found)


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
    with pytest.raises(NothingToReportError, match=r"--baseline torch: .* there are of: keras$"):
        build(results, baseline="torch")
    with pytest.raises(NothingToReportError, match=r"--device gpu:1: .* of: cpu, gpu:0$"):
        build(results, device="gpu:1")
    with pytest.raises(NothingToReportError, match="no case is of the kind truncation"):
        build(results, kind="truncation")
    with pytest.raises(NothingToReportError, match="hold no case"):
        build(Results((), ()))


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
    assert str(row.invalid[0]) == "the machine was busy (close other programs) [in 2 of 6 runs]"


def test_a_case_that_failed_its_gate_in_one_of_its_runs_is_invalid() -> None:
    items: list[Measurement | Outcome] = [
        measured("keras", 0.01, a_run(1)),
        without_time("keras", "failed", "y is wrong by 0.3", a_run(2), device="cpu"),
    ]
    row = the_row(build(results_of(*items)), "keras")
    assert row.measured
    assert str(row.invalid[0]) == "failed: y is wrong by 0.3 [in 1 of 2 runs]"


def test_of_several_outcomes_the_gravest_is_told() -> None:
    items = [
        without_time("a", "not_measured", "no GPU", a_run(1)),
        without_time("a", "failed", "wrong", a_run(2)),
        without_time("a", "timed_out", "slow", a_run(3)),
    ]
    row = the_row(build(results_of(*items)), "a")
    assert (row.outcome, row.reason) == ("failed", "wrong")


# Sentences


def test_the_answer_says_who_wins_by_how_much_and_how_surely() -> None:
    cases = ("keras", 0.020), ("torch", 0.010), ("while_loop", 0.025)
    items = replicated(6, *cases) + replicated(6, *cases, work=TRAINING)
    told = sentences(build(results_of(*items)))
    assert told == [
        "cpu, inference: torch is the fastest: 2.00 times as fast as keras, the next "
        "(2.00–2.00, FASTER).",
        "cpu, training: torch is the fastest: 2.00 times as fast as keras, the next "
        "(2.00–2.00, FASTER).",
    ]
    by_baseline = sentences(build(results_of(*items), baseline="while_loop"))
    assert by_baseline[0] == (
        "cpu, inference: torch is the fastest: 2.50 times as fast as while_loop (2.50–2.50, "
        "FASTER), and 2.00 times as fast as keras, the next (2.00–2.00, FASTER)."
    )


def test_what_the_code_of_backends_warned_of_is_told_once_for_each_text() -> None:
    loud, long = "RuntimeWarning: overflow", "it changed the working directory, which was put back"
    first, other = a_run(), replace(a_run(), id="another")
    found = build(
        results_of(
            replace(measured("keras", 0.1, first), remarks=(loud, long)),
            replace(measured("keras", 0.1, other), remarks=(loud,)),
            replace(measured("torch", 0.2, first), remarks=(loud,)),
            measured("jax", 0.3, first),
        )
    )
    told = sentences(found)
    (line,) = [text for text in told if text.startswith("Said by the backends' code")]
    assert line == (
        f"Said by the backends' code: {loud} (keras and torch, 2 cases); {long} (keras, 1 case)."
    )


def test_the_answer_over_several_shapes_is_a_geometric_mean() -> None:
    items = replicated(6, ("keras", 0.01), ("torch", 0.005))
    items += replicated(6, ("keras", 0.08), ("torch", 0.01), work=Workload(4, 10))
    (told,) = sentences(build(results_of(*items)))
    # 2 and 8 times as fast.
    assert "torch is the fastest: 4.00 times as fast as keras" in told
    assert "over 2 shapes" in told


def on_devices(*times: tuple[str, str, int, float], doubt: Sequence[Reason] = ()) -> Section:
    """Six processes; of each case its backend, device, batch and seconds."""
    items = [
        measured(name, seconds, a_run(n), device=device, work=Workload(batch, 10), reasons=doubt)
        for n in range(1, 7)
        for name, device, batch, seconds in times
    ]
    (section,) = build(results_of(*items)).sections
    return section


def test_which_device_is_faster_is_told_with_the_fastest_backend_of_each() -> None:
    times = [
        *(("keras", "cpu", batch, 0.02) for batch in (2, 4)),
        *(("while_loop", "cpu", batch, 0.05) for batch in (2, 4)),
        *(("cudnn", "gpu:0", batch, 0.004) for batch in (2, 4)),
        *(("keras", "gpu:0", batch, 0.03) for batch in (2, 4, 8)),
    ]
    (told,) = machines.of_devices(on_devices(*times))
    assert told == (
        "gpu:0 or cpu, inference: gpu:0 is 5.00 times as fast as cpu (5.00–5.00, FASTER) over 2 "
        "shapes, each with its fastest backend (cudnn on gpu:0 and keras on cpu)."
    )
    sentences = [finding.text for finding in findings(on_devices(*times)) if finding.answer]
    assert sentences[-1] == told


def test_a_device_that_wins_at_some_shapes_only_is_told_so() -> None:
    section = on_devices(
        *(("keras", "cpu", 2, 0.01), ("keras", "cpu", 4, 0.1)),
        *(("keras", "gpu:0", 2, 0.02), ("keras", "gpu:0", 4, 0.02)),
    )
    (told,) = machines.of_devices(section)
    assert "By shape, gpu:0 is: 1 FASTER and 1 SLOWER" in told


def test_a_word_on_devices_that_stands_on_invalid_measurements_says_so() -> None:
    section = on_devices(("keras", "cpu", 2, 0.01), ("keras", "gpu:0", 2, 0.02), doubt=[BUSY])
    (told,) = machines.of_devices(section)
    assert "Do not rely on it: all its 2 measurements are INVALID." in told


def test_of_devices_that_share_no_work_nothing_is_told() -> None:
    section = on_devices(("keras", "cpu", 2, 0.01), ("keras", "gpu:0", 4, 0.02))
    assert machines.of_devices(section) == []


def test_an_uncertain_winner_says_so() -> None:
    found = build(results_of(measured("keras", 0.0100), measured("torch", 0.0104)))
    ahead = the_row(found, "keras").ahead
    assert ahead is not None
    low, high = 1 / ahead.ratio.high, 1 / ahead.ratio.low
    assert sentences(found) == [
        "cpu, inference: keras has the shortest times: 1.04 times as fast as "
        f"torch, the next ({low:.2f}–{high:.2f}, UNCLEAR)."
    ]


def test_backends_that_are_the_same_are_not_ranked_in_words() -> None:
    items = replicated(6, ("keras", 0.0100), ("torch", 0.01005))
    (told,) = sentences(build(results_of(*items)))
    assert "keras and torch have the shortest times, alike within 2%" in told


def test_an_answer_that_stands_on_invalid_measurements_says_so() -> None:
    items = [measured("keras", 0.01, reasons=[BUSY]), measured("torch", 0.02)]
    told = sentences(build(results_of(*items)))
    assert "keras has the shortest times" in told[0]
    assert "Do not rely on it: its only ratio is INVALID." in told[0]
    assert told[1] == (
        "INVALID: 1 of 2 measurements: the machine was busy "
        "(keras/b2-t10-i3-h4/float32/inference/cpu). To change that: close other programs."
    )


def test_who_was_not_measured_on_all_shapes_cannot_lead_over_all() -> None:
    items = [measured("keras", 0.02), measured("while_loop", 0.05), measured("torch", 0.01)]
    other = Workload(4, 10)
    items += [measured("keras", 0.02, work=other), measured("while_loop", 0.05, work=other)]
    (told,) = sentences(build(results_of(*items)))
    assert "of those measured on all 2 shapes, keras is the fastest" in told
    assert "By shape, the shortest times: torch in 1 of 2 and keras in 1 of 2." in told


def test_no_backend_on_all_shapes_and_a_single_backend_are_told() -> None:
    items = [measured("keras", 0.02), measured("torch", 0.01, work=Workload(4, 10))]
    (told,) = sentences(build(results_of(*items)))
    assert told.startswith("cpu, inference: no backend was measured on all 2 shapes.")
    (told,) = sentences(build(results_of(measured("keras", 0.02))))
    assert told == "cpu, inference: only keras was measured (1 shape)."


def test_what_short_windows_cost_is_told() -> None:
    items = [
        measured("keras", seconds, work=replace(TRAINING, window=window))
        for window, seconds in ((2, 0.030), (5, 0.020), (10, 0.010))
    ]
    told, _ = sentences(build(results_of(*items)))
    assert (
        "in windows (batch 2 × 10 steps, 3 in, 4 hidden, gradients of weights, input, state): "
        "only keras was measured" in told
    )
    assert (
        "With keras a timestep in windows of 2 costs 3.00 times one in windows of 10 "
        "(3.00 ms against 1.00 ms;" in told
    )


def test_what_a_step_and_a_timestep_cost_is_told_of_the_leader() -> None:
    items = [
        measured(backend, factor * seconds, work=replace(TRAINING, window=window))
        for window, seconds in ((1, 0.020), (2, 0.015), (5, 0.012), (10, 0.011))
        for backend, factor in (("keras", 3), ("torch", 1))
    ]
    *_, told = sentences(build(results_of(*items)))
    # A step on a window: 1 ms and 1 ms a timestep, so that 5 of them cost 9% more than 10.
    assert told.startswith(
        "torch: a timestep is within 5% of its least in the longest windows alone, of 10"
    )
    assert "; the line is 1.00 ms (" in told
    assert " a step + 1.00 ms (" in told


def test_cases_without_a_time_are_summarised_by_reason() -> None:
    items: list[Measurement | Outcome] = [measured("keras", 0.01)]
    items += [
        without_time(backend, work=Workload(batch, 10), advice="add one")
        for backend in ("keras", "cudnn")
        for batch in range(1, 51)
    ]
    told = sentences(build(results_of(*items)))
    assert told[1:] == [
        "100 cases have no time, not measured: no GPU is here. add one (cudnn and keras on gpu:0)."
    ]


def test_what_failed_is_loud_and_no_backend_hides_behind_another() -> None:
    items: list[Measurement | Outcome] = [measured("keras", 0.01)]
    items += [
        without_time(name, "failed", f"{name} is wrong", device="cpu") for name in ("bad", "worse")
    ]
    items.append(without_time("bad", "failed", "other", device="cpu", work=TRAINING))
    (section,) = build(results_of(*items)).sections
    loud = [finding.text for finding in findings(section) if finding.loud]
    assert loud == [
        "FAILED: 2 cases (bad on cpu): bad is wrong. And 1 other reason.",
        "FAILED: 1 case (worse on cpu): worse is wrong.",
    ]


def test_many_reasons_are_no_wall_of_lines() -> None:
    items: list[Measurement | Outcome] = [measured("keras", 0.01)]
    items += [without_time(f"b{n}", "crashed", f"reason {n}") for n in range(100)]
    told = sentences(build(results_of(*items)))
    assert len(told) == 14
    assert told[-1] == "And 88 more reasons; --format csv has every case."


def test_what_was_not_measured_is_one_line_and_a_list_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items: list[Measurement | Outcome] = [measured("keras", 0.01)]
    items += [without_time(f"b{n}", reason=f"reason {n}") for n in range(3)]
    items.append(without_time("odd", "refused", "too odd"))
    whole = build(results_of(*items))
    line = (
        "4 cases have no time: 3 not measured, 1 refused by the backend "
        "(python -m bench.report --unmeasured lists them)."
    )
    assert sentences(whole)[1:] == [line]
    assert "reason 1" not in as_text(whole) + markdown(whole)
    for text in (
        as_text(whole, draw=functools.partial(draw_whole, unmeasured=True)),
        markdown(whole, unmeasured=True),
    ):
        assert all(f"1 case not measured: reason {n}" in text for n in range(3))
        assert "1 case refused by the backend: too odd" in text
        assert "odd/b2-t10-i3-h4/float32/inference/gpu:0" in text
    one = [str(GOLDEN / "replicate-1.json"), "--unmeasured"]
    assert report.main(one) == 0
    assert "not measured: no GPU is seen by TensorFlow. pip install" in " ".join(
        capsys.readouterr().out.split()
    )
    for wrong in ("--brief", "--format=csv"):
        assert report.main([*one, wrong]) == 2
        assert "--unmeasured goes with --format terminal, markdown" in capsys.readouterr().err


def test_a_run_that_did_not_end_is_told() -> None:
    told = sentences(build(results_of(measured("keras", 0.01, a_run(complete=False)))))
    assert "A run did not come to its end: cases may be missing." in told


@pytest.mark.parametrize("package", ["tensorflow", "tensorflow-cpu", "tf-nightly"])
def test_tensorflow_is_told_whatever_its_package_is_called(package: str) -> None:
    of = a_run(environment={"before": {"libraries": {package: "2.21.0"}}})
    (section,) = build(results_of(measured("keras", 0.01, of))).sections
    assert ("Libraries", f"{package} 2.21.0") in machine(section)


def test_the_machine_and_the_method_are_told() -> None:
    (section,) = build(results_of(measured("keras", 0.01), measured("torch", 0.02))).sections
    assert heading(section) == "quick on host · 2025-01-31 12:01 UTC · 1 process"
    assert machine(section) == [("CPU", "A CPU, 2 cores"), ("Libraries", "keras 3")]
    told = " ".join(method(section))
    assert "vs keras: how many times as fast" in told
    assert "1 process: the interval of a time is of its own samples" in told
    assert "nothing of other processes, whose medians were seen to spread by 3% to 29%" in told
    assert "the intervals of ratios allow for" in told
    few = replicated(3, ("keras", 0.01), ("torch", 0.02))
    told = " ".join(method(build(results_of(*few)).sections[0]))
    assert "3 processes: the interval of a time is a t-interval" in told
    assert "its own samples" not in told
    enough = replicated(6, ("keras", 0.01), ("torch", 0.02))
    told = " ".join(method(build(results_of(*enough)).sections[0]))
    assert "allow for" not in told
    assert "its own samples" not in told


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"before": 5},
        {"before": {"cpu": [], "gpus": {"a": 1}, "libraries": "x", "system": {}}},
        {"before": {"cpu": {"name": 5, "cores": "two"}, "gpus": [5, None, {"name": []}]}},
        {"before": {"libraries": {"keras": {"a": "b"}}, "cpu": {"cores": 10**30}}},
    ],
)
def test_an_environment_of_any_form_is_survived(environment: dict[str, object]) -> None:
    found = build(results_of(measured("keras", 0.01, a_run(environment=environment))))
    for make in FORMATS.values():
        assert make(found)


# The terminal


@pytest.fixture
def many() -> Report:
    """Twenty backends, two shapes, windows, and one that was refused."""
    names = [f"{base}+{option}" for base in ("while_loop", "scan") for option in "abcdefghij"]
    work = [INFERENCE, Workload(4, 10), replace(TRAINING, window=5), replace(TRAINING, window=10)]
    items: list[Measurement | Outcome] = [
        measured(name, 0.01 + 0.001 * index, work=each)
        for each in work
        for index, name in enumerate(names)
    ]
    items.append(without_time("onnxruntime", "refused", "computes no gradients", device="cpu"))
    return build(results_of(*items))


@pytest.fixture
def few() -> Report:
    return build(collect(REPLICATES))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_no_line_is_wider_than_the_terminal(few: Report, many: Report, width: int) -> None:
    for found in (few, many):
        for line in as_text(found, width).splitlines():
            assert cell_len(line) <= width


def test_few_backends_stand_side_by_side(few: Report) -> None:
    text = as_text(few)
    assert re.search(r"shape +keras +while_loop\n", text)
    assert re.search(r"median +★ 11\.1 ms +21\.2 ms\n", text)
    assert re.search(r"95% interval +8\.48–14\.5 +16\.2–27\.8\n", text)
    assert re.search(r"sequences/s +180 +94\.3\n", text)
    assert re.search(r"timesteps/s +1,800 +943\n", text)
    assert re.search(r"first result +1\.75 s +1\.75 s\n", text)
    assert re.search(r"vs keras +1× baseline +0\.52× SLOWER\n", text)
    assert re.search(r"window 5 +per timestep +4\.14 ms\n", text)
    assert re.search(r"trust +INVALID\n", text)


def test_memory_is_told_of_whom_it_is_known_of(many: Report) -> None:
    sized = measured("keras", 0.01, memory={"peak_bytes": 44.4 * 2**20, "how": "told"})
    unknown = measured("while_loop", 0.02, memory={"peak_bytes": None, "how": "not known: it died"})
    found = build(results_of(sized, unknown))
    assert re.search(r"memory +44\.4 MiB\n", as_text(found))
    assert "| memory |" in markdown(found)
    assert markdown(found).count("44.4 MiB") == 1
    assert "Memory is the peak" in " ".join(method(found.sections[0]))
    assert "memory" not in as_text(build(results_of(unknown))).lower()
    assert "memory" not in as_text(many).lower()


def test_many_backends_are_ranked_in_lines(many: Report) -> None:
    lines = as_text(many).splitlines()
    start = lines.index("batch 2 × 10 steps, 3 in, 4 hidden · b2-t10-i3-h4")
    shown = [line.split()[0] for line in lines[start + 2 : start + 22]]
    assert shown[0] == "while_loop+a"
    assert shown[-1] == "scan+j"
    assert re.match(r"while_loop\+a +☆ 10\.0 ms", lines[start + 2])
    assert re.match(r"onnxruntime +refused", lines[start + 22])


def test_bars_are_as_long_as_the_speeds_against_the_fastest_of_the_shape(
    few: Report, many: Report
) -> None:
    lines = as_text(few).splitlines()
    under = lines[next(n for n, line in enumerate(lines) if "median" in line) + 1]
    fast, slow = (bar.count("█") for bar in re.findall("█[█▏▎▍▌▋▊▉]*", under))
    assert slow / fast == pytest.approx(11.1 / 21.2, abs=1 / fast)
    assert as_text(few).count("Bars show speed: the longer the faster.") == 1
    lines = as_text(many).splitlines()
    start = lines.index("batch 2 × 10 steps, 3 in, 4 hidden · b2-t10-i3-h4") + 2
    lengths = [line.count("█") for line in lines[start : start + 20]]
    assert lengths == sorted(lengths, reverse=True)
    assert 0 < lengths[-1] < lengths[0]
    assert "█" not in lines[start + 20]  # refused: without a time no bar


def test_one_backend_alone_has_no_bar(few: Report) -> None:
    assert "Bars show" not in as_text(build(results_of(measured("keras", 0.01))))
    assert "█" not in as_text(few).split("cpu, training in windows")[-1]


def test_bars_give_way_to_numbers_where_there_is_no_room(few: Report) -> None:
    assert "█" not in as_text(few, 36)
    assert "Bars show" not in as_text(few, 36)
    assert "0.52× SLOWER" in as_text(few, 36)


def test_a_narrow_terminal_keeps_time_ratio_and_verdict(few: Report) -> None:
    text = as_text(few, 45)
    assert re.search(r"while_loop +21\.2 ms +0\.52× SLOWER +█+[▏▎▍▌▋▊▉]?\n", text)
    assert "sequences/s" not in text.split("cpu, inference\n")[1].split("★ FASTER")[0]


def test_what_is_decided_comes_before_the_tables_and_the_findings_after(few: Report) -> None:
    text = as_text(few)
    before, _, after = text.partition("median")
    assert "- cpu, inference: use keras." in before
    assert "warnings below, under Findings" in before
    assert 1 < before.count("\n- ") + before.count("\n! ") <= 3
    findings = after[after.index("\nFindings\n") :]
    assert "keras is the fastest" in findings
    assert "FAILED: 1 case (swapped_gates on cpu)" in findings


def colours(report: Report, **settings: bool) -> str:
    out = io.StringIO()
    show(report, Console(file=out, width=100, highlight=False, **settings))  # type: ignore[arg-type]
    return out.getvalue()


def test_colour_is_for_terminals_that_want_it(few: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]m")
    assert colour.search(colours(few, force_terminal=True))
    assert "\x1b" not in colours(few)
    monkeypatch.setenv("NO_COLOR", "1")
    without = colours(few, force_terminal=True)
    assert not colour.search(without)
    assert "★" in without


def test_a_terminal_without_these_letters_gets_others(few: Report) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    draw_on(Console(file=out, width=100, highlight=False), lambda console: show(few, console))
    out.seek(0)
    text = out.read()
    assert text.isascii()
    assert "?" not in text
    assert "\x1b" not in text
    assert "* 11.1 ms" in text
    assert "####" in text
    assert "batch 2 x 10 steps" in text


# The other formats


def test_in_brief_each_work_has_one_line_with_its_fastest_backend(few: Report) -> None:
    lines = brief(few).splitlines()
    assert lines[0] == (
        "|  | work | shortest time | time | 95% interval | against keras | 99.5% interval | trust |"
    )
    assert lines[2] == (
        "| cpu, inference | batch 2 × 10 steps, 3 in, 4 hidden | `keras` ★ | 11.1 ms | 8.48–14.5 | "
        "it is that |  |  |"
    )
    assert sum(line.startswith("|") for line in lines) == 2 + sum(
        len(table.groups) for section in few.sections for table in section.tables
    )
    assert "golden on golden-host · 2025-01-31 12:01 UTC · 2 processes" in lines[-1]


@pytest.mark.parametrize("form", ["csv", "json", "html"])
def test_in_brief_is_for_people_only(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([*map(str, REPLICATES), "--brief", "--format", form]) == 2
    told = capsys.readouterr().err
    assert "--brief goes with --format terminal, markdown, svg" in told


def test_markdown_has_a_line_a_case_and_the_same_sentences(few: Report) -> None:
    text = markdown(few)
    lines = text.splitlines()
    assert lines[0] == "## golden on golden-host · 2025-01-31 12:01 UTC · 2 processes"
    assert "- **cpu, inference**: keras is the fastest: 1.91 times as fast as while_loop" in text
    assert "- **FAILED**: 1 case (swapped_gates on cpu)" in text
    head = lines.index("### cpu, inference") + 2
    assert lines[head].startswith("| shape | backend | median |")
    assert lines[head + 2] == (
        "| batch 2 × 10 steps, 3 in, 4 hidden `b2-t10-i3-h4` | **`keras`** ★ | **11.1 ms** | "
        "8.48–14.5 | 180 | 1,800 | 1.75 s | 1× baseline |"
    )
    assert lines[head + 3] == (
        "|  | `while_loop` | 21.2 ms | 16.2–27.8 | 94.3 | 943 | 1.75 s | 0.52× SLOWER |"
    )


def test_csv_has_a_line_a_case_in_seconds(few: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](few))))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == 9
    keras = rows[0]
    assert keras["case_id"] == "keras/b2-t10-i3-h4/float32/inference/cpu"
    assert float(keras["time_s"]) == pytest.approx(0.01111)
    assert (keras["valid"], keras["rank"], keras["ahead"]) == ("true", "1", "FASTER")
    assert (keras["ratio"], keras["verdict"], keras["window"]) == ("", "", "")
    failed = next(row for row in rows if row["outcome"] == "failed")
    assert failed["reason"] == "y differs from the reference by 0.3; the bound is 1e-05"
    assert failed["time_s"] == failed["valid"] == ""


def test_json_has_the_same_rows_with_their_units(few: Report) -> None:
    document = json.loads(
        as_json(few), parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
    )
    assert document["cases"] == records(few)
    assert document["columns"]["time_s"]["unit"] == "s"
    assert document["sections"][0]["findings"] == sentences(few)


def test_a_bound_beyond_every_number_is_null(few: Report) -> None:
    (section,) = few.sections
    first = section.rows[0]
    assert first.interval is not None
    endless = replace(first, interval=replace(first.interval, high=float("inf")))
    found = Report((replace(section, rows=(endless,)),))
    assert json.loads(as_json(found))["cases"][0]["time_high_s"] is None
    assert "inf" not in FORMATS["csv"](found).replace("inference", "")
    for make in FORMATS.values():
        assert make(found)


def test_a_frame_is_one_call_away() -> None:
    frame = load_frame(REPLICATES)
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 9
    assert frame.attrs["units"]["time_s"] == "s"
    first = frame.set_index("case_id").loc["while_loop/b2-t10-i3-h4/float32/inference/cpu"]
    assert first["time_s"] == pytest.approx(0.02121)
    assert first["ratio"] == pytest.approx(0.021 / 0.011)
    assert table_module.load_frame is load_frame
    with pytest.raises(ResultError, match="foreign-pytest-benchmark"):
        load_frame([*REPLICATES, GOLDEN / "foreign-pytest-benchmark.json"])


def test_the_columns_are_documented_with_unit_and_meaning() -> None:
    documented = re.findall(
        r"^\| `(\w+)` \| (.*) \| (.+) \|$", (ROOT / "docs" / "columns.md").read_text(), re.M
    )
    assert documented == [(name, each.unit, each.meaning) for name, each in COLUMNS.items()]


class Page(html.parser.HTMLParser):
    """A page's elements and its text; any element that is not closed in order is an error."""

    empty = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.opened: list[str] = []
        self.feed(text)
        self.close()
        assert self.opened == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.empty:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_page_is_accessible_and_needs_nothing_from_elsewhere(few: Report) -> None:
    text = page(few)
    found = Page(text)
    tables = found.of("table")
    assert len(tables) == len(found.of("caption")) == 4
    assert all(each["scope"] in ("col", "row", "rowgroup") for each in found.of("th"))
    assert found.of("html") == [{"lang": "en"}]
    assert len(found.of("h1")) == len(found.of("main")) == 1
    tags = {name for name, _ in found.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "form"}
    assert not re.search(r"https?:|url\(|@import|\bsrc=|\bhref=", text)
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [a["aria-labelledby"] for _, a in found.elements if "aria-labelledby" in a]
    assert set(labels) == set(ids)
    assert "prefers-color-scheme: dark" in text
    shown = "".join(found.text)
    for sentence in sentences(few):
        assert sentence in shown
    assert "Golden CPU" in shown
    assert "no GPU is seen by TensorFlow" in shown


# The style's colours, as they are paired: text on its background.
PAIRS = [
    (name, back) for name in ("text", "dim", "good", "bad", "doubt") for back in ("back", "band")
]


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize(("colour", "back"), PAIRS)
def test_the_page_has_contrast_in_light_and_dark(
    few: Report, scheme: int, colour: str, back: str
) -> None:
    style = page(few).partition("</style>")[0]

    def luminance(name: str) -> float:
        digits = re.findall(rf"--{name}: #([0-9a-f]+)", style)[scheme]
        digits = digits if len(digits) == 6 else "".join(2 * each for each in digits)
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lighter, darker = sorted((luminance(colour), luminance(back)), reverse=True)
    # WCAG 2.2, success criterion 1.4.3, level AA.
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


# Hostile text

SNIPPETS = [
    "<script>alert(1)</script>",
    "</style></title><img src=x onerror=alert(1)>",
    "[red]x[/red]",
    "[link=http://x.y]z[/link]",
    ":smile: :warning:",
    "a|b\\|c",
    "`code` ``` \\`",
    "\"quoted\" 'single'",
    "new\nline\r\nand\ttab",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "\x9b31m \x00 \u202e \u2028 \ud800",
    "=HYPERLINK(1)",
    "+1",
    "-1 - x",
    "@someone #12 GH-1 a@b.com www.x.y https://x.y",
    "![i](http://x) [a](javascript:alert(1))",
    "# heading",
    "1. item",
    "| a | b |",
    "**bold** __init__ ~~x~~ $x$",
    "&lt;b&gt; &#60;",
    "漢字" * 40,
    "é́́́",
    "x" * 1_000_000,
    " " * 1_000_000 + "x",
    "%s {0} {x}",
    " ",
]

HOSTILE = st.one_of(
    st.sampled_from(SNIPPETS),
    st.text(min_size=1, max_size=30),
    st.builds(lambda a, b: a + b, st.sampled_from(SNIPPETS), st.text(max_size=10)),
)


def hostile_report(text: str) -> Report:
    run = a_run(host=text, suite=text, session=text, machine_id=text)
    run = replace(
        run,
        environment={
            "before": {
                "cpu": {"name": text},
                "gpus": [{"name": text, "driver": text}],
                "system": text,
                "python": text,
                "libraries": {"keras": text},
            }
        },
    )
    reason = Reason(text, text, text)
    return build(
        results_of(
            measured(text, 0.01, run, reasons=[reason]),
            measured(text + "2", 0.02, run),
            measured(text, 0.03, run, device=text, work=replace(TRAINING, window=5)),
            measured(text + "2", 0.03, run, device=text, work=replace(TRAINING, window=5)),
            without_time(text + "3", "failed", text, run, advice=text, device="cpu"),
            without_time(text + "3", "refused", text, run, advice=text, device=text),
            notes=[text],
        )
    )


@settings(max_examples=15, deadline=None)
@given(HOSTILE)
@example("x" * 1_000_000)
@example("漢字" * 40)
@example("\x1b[31m")
def test_hostile_text_is_harmless_in_a_terminal(text: str) -> None:
    found = hostile_report(text)
    for width in (60, 100):
        shown = as_text(found, width)
        assert len(shown) < 100_000
        assert all(letter.isprintable() for letter in shown.replace("\n", ""))
        for line in shown.splitlines():
            assert cell_len(line) <= width


def test_what_looks_like_rich_markup_is_shown_as_it_is() -> None:
    shown = as_text(hostile_report("[red]:smile:[/red]"))
    assert "[red]:smile:[/red] has the shortest times" in shown


@pytest.mark.parametrize("form", [markdown, brief])
@settings(max_examples=30, deadline=None)
@given(text=HOSTILE)
@example(text="a|b\\|c")
@example(text="</style></title><img src=x onerror=alert(1)>")
def test_hostile_text_is_harmless_in_markdown(form: Callable[[Report], str], text: str) -> None:
    shown = form(hostile_report(text))
    assert len(shown) < 200_000
    assert not re.search(r"(?<!\\)<", re.sub(r"`[^`\n]*`", "", shown))
    assert not re.search(r"(?<![\w\\])@\w", re.sub(r"`[^`\n]*`", "", shown))
    columns = 0
    for line in shown.splitlines():
        assert line == "" or line.startswith(("## ", "### ", "- ", "| ", "★ FASTER"))
        assert not re.match(r"- ([-+*#>]|\d+[.)]) ", line)
        if line.startswith("|"):
            # A backslash escapes the next letter, a bar or another backslash alike.
            bars = re.sub(r"\\.", "", line).count("|")
            assert columns in (0, bars)
            columns = bars
        else:
            columns = 0


@settings(max_examples=30, deadline=None)
@given(HOSTILE)
@example('"><script>alert(1)</script>')
def test_hostile_text_is_harmless_in_html(text: str) -> None:
    shown = page(hostile_report(text))
    assert len(shown) < 200_000
    shown.encode("utf-8")
    found = Page(shown)
    plain = Page(page(hostile_report("plain")))
    # Tables stand in another order where the device's name sorts otherwise, and of the machine
    # nothing is listed that is blank.
    counts = [
        Counter((tag, *sorted(a)) for tag, a in each.elements if tag not in ("dt", "dd"))
        for each in (found, plain)
    ]
    assert counts[0] == counts[1]


@settings(max_examples=15, deadline=None)
@given(HOSTILE)
@example("=HYPERLINK(1)")
@example("＝1+1")
@example("  ＋1")
@example("\u3000＠SUM(1)")
@example("\t=1")
def test_hostile_text_is_harmless_in_csv_and_whole_in_json(text: str) -> None:
    found = hostile_report(text)
    rows = list(csv.reader(io.StringIO(FORMATS["csv"](found), newline="")))
    assert {len(row) for row in rows} == {len(COLUMNS)}
    for row in rows[1:]:
        assert not any(re.match(r"\s*[-=+@＝＋－＠]", cell) for cell in row)
    document = json.loads(as_json(found))
    assert text in {each["backend"] for each in document["cases"]}
    assert as_json(found).isascii()


# The command


def run_report(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    environment.pop("COLUMNS", None)
    return subprocess.run(
        [sys.executable, "-m", "bench.report", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env=environment,
        check=False,
    )


def test_the_command_shows_the_latest_results(tmp_path: Path) -> None:
    done = run_report(cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: there are no results in results/; make some with `pytest --benchmark-only`, or "
        "name result files or folders\n"
    )
    (tmp_path / "results").mkdir()
    for path in REPLICATES:
        (tmp_path / "results" / path.name).write_bytes(path.read_bytes())
    done = run_report(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "keras is the fastest" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_bad_files_give_a_line_each_and_the_good_ones_are_shown(tmp_path: Path) -> None:
    (tmp_path / "empty.json").touch()
    (tmp_path / "cut.json").write_bytes(REPLICATES[0].read_bytes()[:5000])
    (tmp_path / "missing.json").unlink(missing_ok=True)
    bad = [tmp_path / name for name in ("empty.json", "cut.json", "missing.json")]
    bad.append(GOLDEN / "foreign-pytest-benchmark.json")
    done = run_report(*bad, REPLICATES[0])
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    for path, told in zip(bad, ("is empty", "cut off", "not exist", "no results"), strict=True):
        assert any(str(path) in line and told in line for line in lines)
    assert "keras is the fastest" in done.stdout
    alone = run_report(*bad)
    assert alone.returncode == 2
    assert alone.stdout == ""
    assert len(alone.stderr.splitlines()) == 4


@pytest.mark.parametrize("kind", list(FORMATS))
def test_every_format_goes_to_a_file_or_to_the_output(
    tmp_path: Path, few: Report, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out"
    arguments = [*map(str, REPLICATES), "--format", kind]
    assert report.main([*arguments, "--output", str(path)]) == 0
    assert capsys.readouterr().out == ""
    written = path.read_bytes().decode()
    assert written == {**FORMATS, "html": explorable}[kind](few)
    assert report.main(arguments) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        line.rstrip() for line in written.splitlines()
    ]


def test_a_file_that_cannot_be_written_gives_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "out.html"
    assert report.main([*map(str, REPLICATES), "--output", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path} cannot be written: ")


def test_options_that_name_what_is_not_there_give_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for option in (["--baseline", "nix"], ["--device", "gpu:7"]):
        assert report.main([*map(str, REPLICATES), *option]) == 2
        assert re.fullmatch(rf"error: {option[0]} .*there are of: .*\n", capsys.readouterr().err)


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.journal.jsonl") as journal:
        journal.start(a_run())
        for number in range(100):
            case = Case(f"b{number}", SPEC, INFERENCE)
            journal.outcome(
                {
                    "case": case.to_dict(),
                    "case_id": case.id,
                    "outcome": "failed",
                    "reason": "more than a pipe holds " * 100,
                }
            )
    command = f"{sys.executable} -m bench.report --format csv {tmp_path} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.startswith("session,")
    assert done.stderr == ""
