"""Preparing a case: the order of its stages, and what is reported of each error."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import case as suites
from bench.case.cases import Case
from bench.records.journal import STARTING
from bench.render.messages import reason_line, reason_texts
from bench.worker import estimate, group
from bench.worker.equivalence import SharedFolder
from lstm_impl import Availability, LSTMSpec, Refusal, UnavailableError, UnsupportedError, names
from lstm_impl.backends.others.numpy_loop import NumPyLoop
from tests.bench.worker.scripted_backends import WORK, World


def prepared(world: World, case: Case, **changes: Any) -> group.Prepared:
    found = group.prepare(case, 0, replace(world.bench(), **changes))
    assert isinstance(found, group.Prepared), found
    return found


def refused(world: World, case: Case, **changes: Any) -> group.Unmeasured:
    found = group.prepare(case, 0, replace(world.bench(), **changes))
    assert isinstance(found, group.Unmeasured), found
    return found


def test_prepare_records_seconds_of_each_part(world: World) -> None:
    world.costs |= {"a start": 7.0, "a build": 0.5, "a trace": 0.25, "a run": 3.0}
    world.costs |= {"a gate": 2.0, "a evidence": 0.125}
    found = prepared(world, world.add("a"))
    assert found.setup == pytest.approx(
        {
            "start_s": 7.0,
            "build_s": 0.5,
            "trace_s": 0.25,
            "first_call_s": 3.1,
            "gate_s": 2.0,
            "evidence_s": 0.125,
        }
    )
    assert found.took == pytest.approx(sum(found.setup.values()))


def test_start_same_device_mode_and_optimizer_happens_once(world: World) -> None:
    world.costs["a start"] = 7.0
    case, bench = world.add("a"), world.bench()
    wider = replace(case, spec=LSTMSpec(2, 4))
    other = replace(case, workload=replace(WORK, optimizer="sgd"))
    found = [group.prepare(each, 0, bench) for each in (case, wider, other)]
    started = [each.setup["start_s"] for each in found if isinstance(each, group.Prepared)]
    assert started == pytest.approx([7.0, 0.0, 7.0])
    assert world.log.count("a start") == 2


def test_start_ahead_keeps_seconds_and_starts_once(world: World) -> None:
    world.costs["a start"] = 7.0
    case, bench = world.add("a"), world.bench()
    announced: list[object] = []
    bench = replace(bench, announce=lambda *given: announced.append(given))
    for _ in range(2):
        group.start_ahead(case, bench)
    found = group.prepare(case, 0, bench)
    assert isinstance(found, group.Prepared)
    assert found.setup["start_s"] == pytest.approx(7.0)
    assert world.log.count("a start") == 1
    assert announced == [((case,), STARTING)]


def test_start_ahead_announces_before_any_call_and_keeps_streams(world: World) -> None:
    """A process that a backend ends there is its own failure, as is a stream that it closes."""
    case, output, announced = world.add("a"), group.Output(), list[object]()
    bench = replace(world.bench(), output=output, announce=lambda *given: announced.append(given))

    def misbehave() -> None:
        world.log.append(f"announced {len(announced)}")
        os.write(1, b"noise")
        os.close(2)

    world.changes["a availability"] = misbehave
    world.errors["a availability"] = SystemExit()
    group.start_ahead(case, bench)
    assert "announced 1" in world.log
    os.fstat(2)  # it is open again
    assert output.take().size == 0
    output.close()


def test_start_ahead_failure_is_the_result_of_its_case(world: World) -> None:
    case, bench = world.add("a"), world.bench()
    world.errors["a start"] = SystemExit("no licence")
    group.start_ahead(case, bench)
    assert bench.started == {}
    found = group.prepare(case, 0, bench)
    assert isinstance(found, group.Unmeasured)
    assert "while its framework was started" in reason_line(found.reason)


def test_evidence_second_process_reads_that_of_the_first(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.costs["a evidence"] = 3.0
    case, shared = world.add("a"), SharedFolder(tmp_path)
    first, second = (prepared(world, case, shared=shared) for _ in range(2))
    assert (first.setup["evidence_s"], second.setup["evidence_s"]) == pytest.approx((3.0, 0.0))
    assert second.evidence == {**first.evidence, group.FROM_ANOTHER: True}
    prepared(world, world.add("b"), shared=shared)
    monkeypatch.setenv("KERAS_BACKEND", "a_different_one")  # its kernels may differ
    assert group.FROM_ANOTHER not in prepared(world, case, shared=shared).evidence
    assert world.log.count("a evidence") == 2


@pytest.mark.parametrize("threads", [None, 1])
def test_prepare_sets_threads_before_building(
    threads: int | None, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = world.add("a")
    monkeypatch.setattr(
        type(world.backends["a"]), "use_threads", lambda _, count: world.happen(f"{count} threads")
    )
    prepared(world, case, threads=threads)
    log = [what for what in world.log if what != "a availability"]
    assert log[: log.index("a build")] == [*["1 threads"] * bool(threads), "a start"]


# -- what cannot be measured here


def test_prepare_case_too_large_is_not_built(world: World) -> None:
    found = refused(world, world.add("a"), free=lambda device: estimate.Free(1, None, 2))
    assert found.outcome == "not_measured"
    assert reason_line(found.reason).startswith("needs about ")
    assert "a larger machine" in reason_texts(found.reason)[1]
    assert "a start" not in world.log


def test_prepare_missing_evidence_fails(world: World) -> None:
    found = refused(world, world.add("a", kernel="cudnn"))
    assert (found.outcome, found.reason.code) == ("failed", "no_evidence")
    assert reason_line(found.reason).startswith("no cudnn ran on cpu; it was not timed, ")
    assert world.log[-1] == "a evidence"


def test_prepare_broken_package_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"numpy": names.BUILT_IN["numpy"].place, "broken": "there_is_no_such_module:Broken"}
    monkeypatch.setattr(names, "strategies", lambda: known)
    suite = suites.load("smoke", suites.SuiteChoice(backends=("all",), modes=("inference",)))
    assert {case.backend for case in suite.cases} == {"numpy", "broken"}
    broken = next(case for case in suite.cases if case.backend == "broken")
    found = group.prepare(broken, 0, group.Bench(roofs=None))
    assert isinstance(found, group.Unmeasured)
    assert found.outcome == "not_measured"
    assert "there_is_no_such_module:Broken, which cannot be imported" in reason_line(found.reason)


def test_prepare_backend_with_environment_advises_both_ways(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LSTM_TEST_SIDE", raising=False)
    case = world.add("particular")
    monkeypatch.setattr(
        type(world.backends["particular"]), "environment", {"LSTM_TEST_SIDE": "east"}
    )
    monkeypatch.setattr(type(world.backends["particular"]), "availability", NumPyLoop.availability)
    found = refused(world, case)
    assert found.outcome == "not_measured"
    assert reason_texts(found.reason) == (
        "particular needs a process of its own, with LSTM_TEST_SIDE=east",
        "python -m bench.run measures it in a process of its own; "
        "for pytest, put LSTM_TEST_SIDE=east before the command",
    )
    monkeypatch.setenv("LSTM_TEST_SIDE", "east")
    world.add("particular")
    assert prepared(world, case)


# -- what goes wrong


@pytest.mark.parametrize(
    ("what", "during"),
    [
        ("a availability", "while it was looked up"),
        ("a start", "while its framework was started"),
        ("a build", "while it was built"),
        ("a run", "in its first call"),
        ("a gate", "while the gate compared it with the reference"),
        ("a evidence", "while its evidence was read"),
    ],
)
def test_prepare_error_says_at_which_stage(world: World, what: str, during: str) -> None:
    world.errors[what] = ValueError("Graph execution error:\n\n  it is broken\nand more")
    found = refused(world, world.add("a"))
    assert reason_line(found.reason) == f"ValueError {during}: Graph execution error: it is broken"
    assert "Traceback" in found.details
    assert "and more" in found.details


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"refusal": ["no"]}, "its refusal is a list; expected text"),
        ({"refusal": 3.5}, "its refusal is a float; expected text"),
        ({"availability": Availability(False, 3)}, "is a int; expected text"),  # type: ignore[arg-type]
        ({"evidence": ["a"]}, "its evidence is a list; expected a dictionary"),
        ({"evidence": {"kernels": ["a"] * 400_000}}, "its evidence has"),
        ({"evidence": {"kernels": {1, 2}}}, "TypeError while its evidence was read"),
    ],
)
def test_prepare_answer_of_wrong_type_fails(
    world: World, answers: dict[str, Any], message: str
) -> None:
    found = refused(world, world.add("a", **answers))
    assert found.outcome == "failed"
    assert message in reason_line(found.reason)


def make_output(*parts: group.Printed) -> Any:
    """Output that returns the next part each time."""
    return SimpleNamespace(take=iter(parts).__next__)


def test_prepare_failed_case_reports_its_own_output(world: World) -> None:
    output = make_output(group.Printed(9, "of another"), group.Printed(8, "it burns"))
    world.errors["a build"] = ValueError("broken")
    found = refused(world, world.add("a"), output=output)
    assert found.details.endswith("\nThe backend printed:\nit burns")
    assert "of another" not in found.details


def test_prepare_much_output_adds_a_remark(world: World) -> None:
    case = world.add("a")
    for size, remarks in (
        (10**6, []),
        (3 * 10**6, ["the backend printed 3 MB before it was timed"]),
    ):
        found = prepared(world, case, output=make_output(group.Printed(), group.Printed(size, "x")))
        assert list(found.guard.remarks) == remarks


def test_refused_case_records_the_code_of_the_refusal() -> None:
    unsupported = group.refused(UnsupportedError("it computes no gradients", Refusal.NO_GRADIENTS))
    assert unsupported.outcome == "refused"
    assert unsupported.reason.values["refusal"] == "no_gradients"
    unavailable = group.refused(UnavailableError("no compiler is here", Refusal.NO_COMPILER))
    assert unavailable.outcome == "not_measured"
    assert unavailable.reason.values["refusal"] == "no_compiler"
