"""Ours beside published times: what stands side by side, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.case import published
from bench.case.cases import Case
from bench.records.schema import Measurement, Outcome, Reason
from bench.render.published import PublishedReport, beside_published
from bench.stats.trust import NOT_STEADY
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import LAPTOP, SERVER, gather, measured, run, unmeasured

BRAUN = Workload(64, 100, "training")
SPEC = LSTMSpec(123, 320)


def beside(*items: Measurement | Outcome) -> PublishedReport:
    return beside_published(gather(*items), published.steps(published.read()))


def test_what_has_the_same_shape_and_mode_stands_side_by_side_the_fastest_first() -> None:
    slow, fast = Case("keras", SPEC, BRAUN), Case("torch", SPEC, BRAUN)
    (shared,) = beside(measured(slow, 2.0, run("a")), measured(fast, 1.0, run("a"))).shared
    assert [ours.case for ours in shared.ours] == [fast, slow]
    assert shared.ours[0].time.mid == pytest.approx(1.0)
    assert shared.ours[0].hardware == "Test CPU"
    assert {step.first.source.name for step in shared.theirs} == {"braun"}
    assert [step.seconds for step in shared.theirs[:2]] == pytest.approx([0.010, 0.011])
    assert len(shared.theirs) == 9


def test_a_failed_process_spoils_a_time_and_one_that_moved_makes_it_doubtful() -> None:
    of = Case("torch", SPEC, BRAUN)
    failed = unmeasured(of, run("b"), "failed", "the outputs differ")
    moved = measured(of, 1.0, run("a"), [Reason(NOT_STEADY, "it became slower", "wait")])
    (shared,) = beside(measured(of, 1.0, run("a")), failed).shared
    assert shared.ours[0].reasons == ("failed: the outputs differ [in 1 of 2 runs]",)
    (shared,) = beside(moved).shared
    assert shared.ours[0].reasons == ()
    assert shared.ours[0].doubts == ("it became slower (wait)",)


def test_of_two_machines_each_time_says_whose_it_is() -> None:
    of = Case("torch", SPEC, BRAUN)
    items = [measured(of, 1.0, run("a")), measured(of, 2.0, run("b", host="server"))]
    (shared,) = beside(*items).shared
    assert [ours.place for ours in shared.ours] == [f"cpu on {LAPTOP}", f"cpu on {SERVER}"]


def test_shapes_stand_in_the_order_of_their_mode_and_sizes() -> None:
    shapes = [
        each.shape
        for each in beside(
            *(
                measured(Case("keras", spec, work), 1.0, run("a"))
                for spec, work in (
                    (SPEC, BRAUN),
                    (LSTMSpec(512, 512), Workload(32, 25, "training")),
                    (LSTMSpec(512, 512), Workload(16, 25, "training")),
                    (LSTMSpec(512, 512), Workload(1, 25, "inference")),
                )
            )
        ).shared
    ]
    assert [(shape.mode, shape.batch) for shape in shapes] == [
        *(("inference", 1), ("training", 16), ("training", 32), ("training", 64))
    ]


def test_processes_of_one_case_are_one_time() -> None:
    case = Case("keras", SPEC, BRAUN)
    items = [measured(case, seconds, run(name)) for name, seconds in (("a", 1.0), ("b", 3.0))]
    (shared,) = beside(*items).shared
    (ours,) = shared.ours
    assert ours.time.processes == 2
    # Theirs are no part of the interval.
    assert ours.time.low > max(step.seconds for step in shared.theirs)


@pytest.mark.parametrize(
    ("spec", "work"),
    [
        (SPEC, Workload(64, 100, "inference")),
        (SPEC, Workload(63, 100, "training")),
        (SPEC, Workload(64, 99, "training")),
        (LSTMSpec(122, 320), BRAUN),
        (LSTMSpec(123, 321), BRAUN),
        (LSTMSpec(123, 320, num_layers=2), BRAUN),
        (LSTMSpec(123, 320, bidirectional=True), BRAUN),
        (SPEC, Workload(64, 100, "training", window=10)),
        (SPEC, Workload(64, 100, "training", min_length=10)),
    ],
)
def test_what_is_other_work_is_not_shared_and_the_suites_to_run_are_named(
    spec: LSTMSpec, work: Workload
) -> None:
    report = beside(measured(Case("keras", spec, work), 1.0, run("a")))
    assert report.shared == ()
    assert report.finding == (
        "No measured shape is among the 43 that others have published times for. "
        "To measure theirs, run `pytest --benchmark-only --lstm-suite braun`, or one of "
        "the suites deepbench-train, deepbench-inference, returnn, flashrnn."
    )


def test_what_could_not_be_measured_of_a_published_shape_is_told_with_its_reason() -> None:
    case, other = Case("cudnn", SPEC, BRAUN, "gpu:0"), Case("cudnn", LSTMSpec(1, 1), BRAUN)
    outcomes = [
        Outcome(each, run("a"), "not_measured", "no GPU", "get one", Path("a.json"))
        for each in (case, other)
    ]
    (group,) = beside(*outcomes).unmeasured
    assert (group.outcome, group.reason, group.cases) == ("not_measured", "no GPU", (case,))
