from __future__ import annotations

import contextlib
import signal
import statistics
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import suites
from bench.disk.fields import Field
from bench.machine import devices
from bench.machine.disturbance import Activity, Disturbance
from bench.measuring import disturbances, group, outcomes, preparing
from bench.measuring.clock import Clock, FirstUse, Processors
from bench.measuring.outcomes import Measured, Unmeasured
from bench.measuring.preparing import Bench
from bench.measuring.roof import AccountingError
from bench.measuring.roofs import Roofs
from bench.measuring.series import Plan, Series, Stopped
from bench.results.schema import Figures, Measurement, Reason, parse_benchmark, parse_run
from bench.suites.cases import Case
from lstm_impl import (
    Availability,
    Backend,
    LSTMSpec,
    LSTMWeights,
    Model,
    Step,
    UnavailableError,
    UnsupportedError,
    Workload,
    registry,
)
from lstm_impl.backends.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.proof import GateResult

SPEC = LSTMSpec(1, 4)
WORK = Workload(2, 6, "training")
QUIET = Activity(0.0, 2, 0.0, 0.0, {}, 0, 0, {}, None)


@dataclass
class World:
    """Backends that do as they are told, on a clock that they move."""

    time: float = 0.0
    log: list[str] = field(default_factory=list)
    backends: dict[str, Backend] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)
    deeds: dict[str, Callable[[], object]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, bool] = field(default_factory=dict)

    def happen(self, what: str) -> None:
        """Something takes place: it is noted, takes its time, and may fail."""
        self.log.append(what)
        self.time += self.costs.get(what, 0.0)
        self.deeds.get(what, lambda: None)()
        if what in self.errors:
            raise self.errors[what]

    def add(self, name: str, **answers: Any) -> Case:
        world = self

        class Told(NumPyLoop):
            strategy = name

            def availability(self, device: str = "cpu") -> Availability:
                world.happen(f"{name} availability")
                available: Availability = answers.get("availability", Availability(True))
                return available

            def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
                refusal: str = answers.get("refusal", "")
                return refusal

            def missing_evidence(self, evidence: Mapping[str, Any], device: str) -> str:
                wanted = answers.get("kernel", name)
                return "" if wanted in evidence["kernels"] else f"no {wanted} ran on {device}"

            def _build(self, spec: LSTMSpec, weights: LSTMWeights, *rest: Any) -> Model:
                if spec.hidden_size > 1:
                    world.happen(f"{name} build")
                else:
                    world.happen(f"{name} start")
                return ToldModel(self, spec, "cpu", False, weights)

        class ToldModel(NumPyModel):
            def prepare(self, workload: Workload, seed: int = 0) -> Step:
                if self.spec.hidden_size == 1:
                    return Step(lambda: None, lambda: None, lambda: None)

                def run() -> None:
                    world.time += 0.1
                    world.happen(f"{name} run")

                return Step(run, lambda: None, lambda: world.happen(f"{name} trace"))

            def evidence(self, workload: Workload) -> dict[str, Any]:
                world.happen(f"{name} evidence")
                evidence: dict[str, Any] = answers.get("evidence", {"kernels": [name]})
                return evidence

        self.backends[name] = Told()
        return Case(name, SPEC, WORK)

    def gate(self, model: Model, workload: Workload, seed: int) -> GateResult:
        name = model.backend.name
        self.happen(f"{name} gate")
        passed = self.verdicts.get(name, True)
        return GateResult(passed, "judge", {"y": 1e-7 if passed else 0.5}, {"y": 1e-6})

    def bench(self) -> Bench:
        clock = Clock(lambda: self.time, 1e-9)
        return Bench(clock, self.gate, lambda: QUIET, lambda: (), roofs=None)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(preparing, "get_backend", world.backends.__getitem__)
    return world


def measured(result: outcomes.Result) -> Measured:
    assert isinstance(result, Measured), result
    return result


def unmeasured(result: outcomes.Result) -> Unmeasured:
    assert isinstance(result, Unmeasured), result
    return result


def only(world: World, case: Case) -> outcomes.Result:
    return group.measure_group([case], Plan(5.0), bench=world.bench())[case.id]


def test_a_backend_is_judged_before_it_is_timed(world: World) -> None:
    case = world.add("a")
    measured(only(world, case))
    log = [what for what in world.log if what != "a availability"]
    before, after = log[: log.index("a gate")], log[log.index("a gate") :]
    # One call before, the first, whose tracing and compiling could not be timed later.
    assert before == ["a start", "a build", "a trace", "a run"]
    assert after[1] == "a evidence"
    assert len(after) > 6
    assert set(after[2:]) == {"a run"}


def test_a_backend_without_the_kernel_it_must_run_is_a_failure_and_gets_no_time(
    world: World,
) -> None:
    result = unmeasured(only(world, world.add("a", kernel="cudnn")))
    assert (result.outcome, result.reason) == ("failed", "no cudnn ran on cpu")
    assert world.log[-1] == "a evidence"


def test_all_of_a_group_are_judged_before_any_is_timed(world: World) -> None:
    cases = [world.add(name) for name in "ab"]
    group.measure_group(cases, Plan(5.0), bench=world.bench())
    first = world.log.index("b evidence")
    assert {"a run", "b run"} == set(world.log[first + 1 :])


def test_a_backend_that_fails_the_gate_gets_no_time_and_the_others_do(world: World) -> None:
    wrong, right = world.add("wrong"), world.add("right")
    world.verdicts["wrong"] = False
    results = group.measure_group([right, wrong], Plan(5.0), bench=world.bench())
    failed = unmeasured(results[wrong.id])
    assert failed.outcome == "failed"
    assert "y differs from the judge by 5.00e-01" in failed.reason
    assert "1.00e-06 allowed" in failed.reason
    assert world.log.count("wrong run") == 1
    assert measured(results[right.id]).gate.passed
    assert list(results) == [right.id, wrong.id]


def test_the_real_gate_tells_a_wrong_backend_from_a_right_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Wrong(NumPyLoop):
        def _build(self, spec: LSTMSpec, weights: LSTMWeights, *rest: Any) -> Model:
            return super()._build(spec, weights.map(lambda array: array * 1.001), *rest)

    monkeypatch.setattr(preparing, "get_backend", {"numpy": NumPyLoop(), "wrong": Wrong()}.get)
    cases = [Case("numpy", SPEC, WORK), Case("wrong", SPEC, WORK)]
    # What NumPyModel.get_weights says is what the judge is given: only this one lies about it.
    truth = LSTMWeights.random(SPEC, 3)
    monkeypatch.setattr(NumPyModel, "get_weights", lambda self: truth)
    results = group.measure_group(cases, Plan(0.1), seed=3)
    assert measured(results[cases[0].id]).gate.judge == "float64 NumPy reference"
    assert "does not compute what the reference" in unmeasured(results[cases[1].id]).reason


def test_a_device_that_is_not_here_is_told_without_asking_a_framework(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "explain_missing", lambda device: "it was sold")
    result = unmeasured(only(world, world.add("a").on("gpu:0")))
    assert result == Unmeasured("not_measured", "no gpu:0: it was sold")
    assert world.log == []


def test_a_backend_that_is_not_available_is_told_with_what_to_install(world: World) -> None:
    missing = Availability(False, "it is not installed", "pip install it")
    result = unmeasured(only(world, world.add("a", availability=missing)))
    assert result == Unmeasured("not_measured", "it is not installed", "pip install it")


def test_what_a_backend_cannot_compute_is_refused(world: World) -> None:
    result = unmeasured(only(world, world.add("a", refusal="no windows")))
    assert result == Unmeasured("refused", "no windows")
    assert "a build" not in world.log


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UnavailableError("no such device"), "not_measured"),
        (UnsupportedError("not with lengths"), "refused"),
        (RuntimeError("no such device"), "failed"),
        (MemoryError(), "failed"),
    ],
)
def test_an_error_while_building_is_sorted_by_its_kind(
    world: World, error: Exception, outcome: str
) -> None:
    world.errors["a build"] = error
    assert unmeasured(only(world, world.add("a"))).outcome == outcome


@pytest.mark.parametrize(
    ("what", "during"),
    [
        ("a availability", "while it was looked up"),
        ("a start", "while its framework was started"),
        ("a build", "while it was built"),
        ("a run", "in its first call"),
        ("a trace", "in its first call"),
        ("a gate", "while the gate compared it with the reference"),
        ("a evidence", "while it was asked what it runs"),
    ],
)
def test_an_error_is_told_with_when_it_came_and_the_others_go_on(
    world: World, what: str, during: str
) -> None:
    bad, good = world.add("a"), world.add("b")
    world.errors[what] = ValueError("Graph execution error:\n\n  it is broken\nand more")
    results = group.measure_group([bad, good], Plan(5.0), bench=world.bench())
    failed = unmeasured(results[bad.id])
    assert failed.reason == f"ValueError {during}: Graph execution error: it is broken"
    assert "Traceback" in failed.details
    assert "and more" in failed.details
    assert measured(results[good.id])


def test_evidence_that_cannot_be_recorded_fails_its_case(world: World) -> None:
    case = world.add("a", evidence={"kernels": {1, 2}})
    result = unmeasured(only(world, case))
    assert "TypeError while it was asked what it runs" in result.reason


def test_an_error_while_timing_fails_its_case_alone(world: World) -> None:
    bad, good = world.add("a"), world.add("b")
    calls = 0
    happen = world.happen

    def fail_late(what: str) -> None:
        nonlocal calls
        happen(what)
        calls += what == "a run"
        if what == "a run" and calls == 12:
            raise OSError("the device is gone")

    world.happen = fail_late  # type: ignore[method-assign]
    results = group.measure_group([bad, good], Plan(5.0), bench=world.bench())
    assert "OSError in round" in unmeasured(results[bad.id]).reason
    assert measured(results[good.id])


EVERYWHERE = ("availability", "start", "build", "trace", "run", "gate", "evidence")


@pytest.mark.parametrize("what", EVERYWHERE)
def test_a_real_interruption_is_let_through(world: World, what: str) -> None:
    case = world.add("a")
    world.deeds[f"a {what}"] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        only(world, case)


def test_a_real_interruption_is_let_through_where_a_case_is_prepared_alone(world: World) -> None:
    case = world.add("a")
    world.deeds["a build"] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        preparing.prepare(case, 0, world.bench())


def test_a_real_interruption_that_a_backend_keeps_to_itself_ends_the_run(world: World) -> None:
    def keep() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    case = world.add("a")
    world.deeds["a run"] = keep
    with pytest.raises(KeyboardInterrupt):
        only(world, case)


class Panic(BaseException):
    """What a Rust extension raises when it panics."""


class MuteError(Exception):
    def __str__(self) -> str:
        raise SystemExit("not even that")


@pytest.mark.parametrize("what", EVERYWHERE)
@pytest.mark.parametrize(
    "error",
    [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), Panic("poisoned"), MuteError()],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_backend_raises_anywhere_is_its_own(
    world: World, what: str, error: BaseException
) -> None:
    bad, good = world.add("bad"), world.add("good")
    world.errors[f"bad {what}"] = error
    results = group.measure_group([bad, good], Plan(5.0), bench=world.bench())
    failed = unmeasured(results[bad.id])
    assert failed.outcome == "failed"
    assert failed.reason.startswith(f"{type(error).__name__} ")
    assert ("no Ctrl-C came" in failed.reason) == isinstance(error, KeyboardInterrupt)
    measured(results[good.id])


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), Panic("poisoned")])
def test_whatever_a_backend_raises_while_it_is_timed_is_its_own(
    world: World, error: BaseException
) -> None:
    bad, good = world.add("bad"), world.add("good")

    def late() -> None:
        if world.log.count("bad run") > 5:
            raise error

    world.deeds["bad run"] = late
    results = group.measure_group([bad, good], Plan(5.0), bench=world.bench())
    assert type(error).__name__ in unmeasured(results[bad.id]).reason
    measured(results[good.id])


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"refusal": ["no"]}, "its refusal is a list; expected text"),
        ({"refusal": 3.5}, "its refusal is a float; expected text"),
        ({"availability": Availability(False, 3)}, "is a int; expected text"),  # type: ignore[arg-type]
        ({"evidence": ["a"]}, "its evidence is a list; expected a dictionary"),
        ({"evidence": {"kernels": ["a"] * 400_000}}, "its evidence is"),
    ],
)
def test_an_answer_of_the_wrong_kind_is_a_failure_in_words(
    world: World, answers: dict[str, Any], told: str
) -> None:
    bad, good = world.add("a", **answers), world.add("good")
    results = group.measure_group([bad, good], Plan(5.0), bench=world.bench())
    failed = unmeasured(results[bad.id])
    assert failed.outcome == "failed"
    assert told in failed.reason
    measured(results[good.id])


def test_a_warning_is_recorded_with_its_case_and_fails_none(world: World) -> None:
    loud, quiet = world.add("loud"), world.add("quiet")
    world.deeds["loud run"] = lambda: warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    world.deeds["quiet run"] = lambda: warnings.warn("later", DeprecationWarning, stacklevel=1)
    results = group.measure_group([loud, quiet], Plan(5.0), bench=world.bench())
    assert measured(results[loud.id]).remarks == ("RuntimeWarning: overflow",)
    assert measured(results[loud.id]).to_extra(loud, 0)["remarks"] == ["RuntimeWarning: overflow"]
    assert measured(results[quiet.id]).remarks == ()


def test_what_one_backend_changes_does_not_reach_the_next(world: World) -> None:
    bad, good = world.add("bad"), world.add("good")
    world.deeds["bad build"] = lambda: np.seterr(all="raise")
    seen: list[str] = []
    world.deeds["good run"] = lambda: seen.append(np.geterr()["over"])
    results = group.measure_group([bad, good], Plan(5.0), bench=world.bench())
    assert set(seen) == {np.geterr()["over"]} == {"warn"}
    told = "it changed NumPy's error state, which was put back"
    assert measured(results[bad.id]).remarks == (told,)
    assert measured(results[good.id]).remarks == ()


def test_starting_a_framework_is_not_charged_to_the_case(world: World) -> None:
    world.costs |= {"a start": 7.0, "a build": 0.5, "a trace": 0.25}
    case = world.add("a")
    bench = world.bench()
    results = [
        measured(group.measure_group([each], Plan(5.0), bench=bench)[each.id])
        for each in (case, replace(case, spec=LSTMSpec(2, 4)))
    ]
    assert [result.build for result in results] == pytest.approx([0.5, 0.5])
    assert [result.starting for result in results] == pytest.approx([7.0, 0.0])
    assert world.log.count("a start") == 1


def test_setup_is_told_in_seconds_and_compiling_apart(world: World) -> None:
    world.costs |= {"a build": 0.5, "a trace": 0.25, "a gate": 2.0, "a evidence": 0.125}
    case = world.add("a")
    runs = 0
    happen = world.happen

    def compile_first(what: str) -> None:
        nonlocal runs
        runs += what == "a run"
        world.time += 3.0 if what == "a run" and runs == 1 else 0.0
        happen(what)

    world.happen = compile_first  # type: ignore[method-assign]
    extra = measured(only(world, case)).to_extra(case, 0)
    setup = extra["setup"]
    assert isinstance(setup, dict)
    timing = setup.pop("timing_s")
    assert setup.pop("roofs_s") is None  # none were taken
    assert setup == pytest.approx(
        {
            "build_s": 0.5,
            "trace_s": 0.25,
            "first_call_s": 3.1,
            "compile_s": 3.0,
            "gate_s": 2.0,
            "evidence_s": 0.125,
            "start_s": 0.0,
        }
    )
    assert timing == pytest.approx(world.time - 0.5 - 0.25 - 3.1 - 2.0 - 0.125)


def test_every_case_gets_the_same_weights_and_inputs(world: World) -> None:
    seeds = []

    def gate(model: Model, workload: Workload, seed: int) -> GateResult:
        seeds.append((seed, model.get_weights().layers[0][0].kernel.sum()))
        return GateResult(True, "judge", {}, {})

    cases = [world.add("a"), world.add("b")]
    bench = replace(world.bench(), gate=gate)
    group.measure_group(cases, Plan(1.0, seed=5), seed=9, bench=bench)
    expected = LSTMWeights.random(SPEC, 9).layers[0][0].kernel.sum()
    assert seeds == [(9, expected), (9, expected)]


def test_deprecations_inside_a_framework_do_not_fail_its_case(world: World) -> None:
    case = world.add("a")
    happen = world.happen

    def warn(what: str) -> None:
        warnings.warn("use the other one", DeprecationWarning, stacklevel=1)
        happen(what)

    world.happen = warn  # type: ignore[method-assign]
    measured(only(world, case))


def read_back(result: Measured, case: Case) -> Measurement:
    entry = {
        "stats": {"data": list(result.series.samples)},
        "extra_info": {"lstm": result.to_extra(case, seed=77)},
    }
    run = parse_run(Field(Path("x"), "run", RUN))
    read = parse_benchmark(Field(Path("x"), "benchmark", entry), run)
    assert isinstance(read, Measurement)
    return read


class Ceilings(Roofs):
    """Roofs that answer, and remember what they were asked."""

    def __init__(self, above: Sequence[str] = (), part: float = 0.25) -> None:
        super().__init__()
        self.above = above
        self.part = part
        self.take: Callable[[], None] = lambda: None
        self.asked: list[tuple[str, float, int | None, Collection[str]]] = []

    def figures(
        self,
        case: Case,
        seconds: float,
        threads: int | None = None,
        frameworks: Collection[str] = (),
    ) -> Figures:
        self.asked.append((case.backend, seconds, threads, frameworks))
        self.take()
        if case.backend in self.above:
            raise AccountingError("accounting error: it is 400% of it")
        return {"of_matmul": self.part, "matmul_by": "an abacus", "chain_s": None}


def test_how_near_a_case_comes_to_the_roofs_is_recorded(world: World) -> None:
    case, roofs = world.add("a"), Ceilings()
    world.costs["roofs"] = 1.5
    roofs.take = lambda: world.happen("roofs")
    half = Processors(lambda: 0.5 * world.time, lambda: 1.5 * world.time)
    bench = replace(world.bench(), roofs=roofs, threads=3, processors=half)
    result = measured(group.measure_group([case], Plan(5.0), bench=bench)[case.id])
    seconds = statistics.median(result.series.samples)
    assert roofs.asked == [("a", seconds, 3, {"numpy"})]
    assert bench.frameworks("gpu:0") == set()
    read = read_back(result, case)
    assert read.roofs == {
        "of_matmul": 0.25,
        "matmul_by": "an abacus",
        "chain_s": None,
        "processors_busy": pytest.approx(0.5),
    }
    assert read.setup["roofs_s"] == pytest.approx(1.5 + 0.2)  # two calls say how busy it is


def test_a_case_well_above_a_roof_is_invalid_and_has_its_time(world: World) -> None:
    case = world.add("a")
    bench = replace(world.bench(), roofs=Ceilings(part=2.0))
    result = measured(group.measure_group([case], Plan(5.0), bench=bench)[case.id])
    (reason,) = result.reasons
    assert reason.code == "above_roof"
    assert "200% of the matrix-product rate" in reason.text
    assert "an abacus" in reason.text
    read = read_back(result, case)
    assert not read.valid
    assert read.roofs is not None
    assert read.roofs["of_matmul"] == 2.0


def test_a_case_past_all_that_is_possible_is_a_failure_and_the_others_stay(world: World) -> None:
    cases = [world.add("a"), world.add("b")]
    bench = replace(world.bench(), roofs=Ceilings(above=["a"]))
    results = group.measure_group(cases, Plan(5.0), bench=bench)
    failed = unmeasured(results[cases[0].id])
    assert (failed.outcome, failed.reason) == ("failed", "accounting error: it is 400% of it")
    assert "the roof is too low" in failed.advice
    assert measured(results[cases[1].id])


def test_roofs_may_be_left_out(world: World) -> None:
    case = world.add("a")
    assert read_back(measured(only(world, case)), case).roofs is None


def test_why_a_time_is_not_to_be_trusted_is_recorded(world: World) -> None:
    case = world.add("a")
    result = replace(measured(only(world, case)), reasons=(Reason("busy", "it was", "wait"),))
    read = read_back(result, case)
    assert not read.valid
    assert read.reasons == (Reason("busy", "it was", "wait"),)


def test_what_is_recorded_is_what_the_reader_reads(world: World) -> None:
    case = world.add("a")
    result = measured(only(world, case))
    read = read_back(result, case)
    assert read.case == case
    assert read.samples == pytest.approx(result.series.samples)
    assert tuple(read.rounds) == result.series.rounds
    assert (read.calls, read.warmup) == (result.series.calls, result.series.warmup)
    assert (read.stopped, read.steady, read.valid) == ("precise", True, True)
    assert read.evidence == {"kernels": ["a"]}
    assert read.gate["errors"] == {"y": 1e-7}


RUN: dict[str, object] = {
    "id": "1",
    "session": "1",
    "suite": "mine",
    "seed": 0,
    "started": "2026-01-01T00:00:00+00:00",
    "finished": None,
    "complete": False,
    "host": "here",
    "machine_id": "abc",
    "options": {},
    "environment": {},
}

# -- validity

GOOD = Series(1, (0.1,) * 20, tuple(range(20)), (), Stopped.TIME, True, 1e-5)
CALM = Disturbance(10.0, 4, 0.2, (), 0, 0, {}, 1.0)


def codes(
    series: Series = GOOD,
    disturbance: Disturbance = CALM,
    threads: tuple[str, ...] = (),
    device: str = "cpu",
) -> list[str]:
    return [each.code for each in disturbances.validity(series, disturbance, threads, device)]


def test_a_good_measurement_on_a_calm_machine_is_valid() -> None:
    assert codes() == []
    unknown = Disturbance(10.0, 4, None, (), None, None, {}, None)
    assert codes(replace(GOOD, steady=None), unknown) == []


WIDE = (0.08, 0.1, 0.12) * 2


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (lambda: codes(replace(GOOD, blocks=(0.1,) * 5)), "few_samples"),
        (lambda: codes(replace(GOOD, blocks=WIDE)), "wide_interval"),
        (lambda: codes(replace(GOOD, steady=False)), "not_steady"),
        (lambda: codes(disturbance=replace(CALM, others=0.5)), "busy"),
        (lambda: codes(disturbance=replace(CALM, swapped=4096)), "swap"),
        (lambda: codes(disturbance=replace(CALM, cpu_throttled=1)), "throttled"),
        (lambda: codes(disturbance=replace(CALM, clock_change=0.7)), "clock"),
        (lambda: codes(disturbance=replace(CALM, clock_change=1.3)), "clock"),
        (lambda: codes(threads=("OMP_NUM_THREADS=64",)), "threads"),
        (
            lambda: codes(disturbance=replace(CALM, gpu_throttled={1: 0.2}), device="gpu:1"),
            "throttled",
        ),
    ],
)
def test_each_disturbance_makes_a_measurement_invalid(
    found: Callable[[], list[str]], code: str
) -> None:
    assert found() == [code]


@pytest.mark.parametrize(
    "disturbance",
    [
        replace(CALM, others=0.3),
        replace(CALM, clock_change=0.9),
        replace(CALM, gpu_throttled={0: 9.0}),
    ],
)
def test_what_does_not_matter_to_a_cpu_does_not_spoil_it(disturbance: Disturbance) -> None:
    assert codes(disturbance=disturbance) == []


def test_what_slows_the_cpu_down_does_not_spoil_a_gpu() -> None:
    hot = replace(CALM, cpu_throttled=5, clock_change=0.5, gpu_throttled={0: 0.05, 1: 9.0})
    assert codes(disturbance=hot, threads=("x=9",), device="gpu:0") == []


def test_every_reason_says_what_to_do() -> None:
    bad = Disturbance(10.0, 4, 3.0, ("mail (pid 3) 90%",), 1, 1, {}, 2.0)
    series = replace(GOOD, blocks=WIDE, steady=False)
    reasons = list(disturbances.validity(series, bad, ("x=9",), "cpu"))
    assert len(reasons) == 7
    assert all(each.text and each.advice for each in reasons)
    assert "mail (pid 3) 90%" in " ".join(each.text for each in reasons)


def test_reasons_are_counted_by_what_they_are_not_by_their_wording() -> None:
    results = [measured_with(replace(GOOD, blocks=(0.1,) * count), CALM) for count in (4, 5, 20, 3)]
    counts = outcomes.counted_reasons(results)
    assert [(each.code, count) for each, count in counts.items()] == [("few_samples", 3)]
    assert next(iter(counts)).text.startswith("4 samples")


def measured_with(series: Series, disturbance: Disturbance) -> Measured:
    reasons = tuple(disturbances.validity(series, disturbance, (), "cpu"))
    gate = GateResult(True, "judge", {}, {})
    return Measured(series, 0.0, FirstUse(0.0, 0.1), gate, {}, reasons)


def test_it_is_announced_what_is_prepared_and_then_what_is_timed(world: World) -> None:
    cases = [world.add("a"), world.add("b", refusal="too much"), world.add("c")]
    told: list[list[str]] = []
    bench = replace(
        world.bench(), announce=lambda busy: told.append([case.backend for case in busy])
    )
    group.measure_group(cases, Plan(1.0), bench=bench)
    assert told == [["a"], ["b"], ["c"], ["a", "c"]]


@pytest.mark.parametrize("threads", [None, 1])
def test_a_backend_is_told_the_number_of_threads_before_it_is_built(
    threads: int | None, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = world.add("a")
    monkeypatch.setattr(
        type(world.backends["a"]), "use_threads", lambda _, count: world.happen(f"{count} threads")
    )
    group.measure_group([case], Plan(5.0), bench=replace(world.bench(), threads=threads))
    assert ("1 threads" in world.log) == (threads == 1)
    if threads:
        assert world.log.index("1 threads") < world.log.index("a start")


def test_a_broken_package_with_a_backend_is_one_case_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {"numpy": registry._BUILT_IN["numpy"], "broken": "there_is_no_such_module:Broken"}
    monkeypatch.setattr(registry, "strategies", lambda: known)
    suite = suites.load("smoke", suites.Choice(backends=("all",), modes=("inference",)))
    assert {case.backend for case in suite.cases} == {"numpy", "broken"}
    broken = next(case for case in suite.cases if case.backend == "broken")
    found = preparing.prepare(broken, 0, Bench())
    assert isinstance(found, Unmeasured)
    assert found.outcome == "not_measured"
    assert "there_is_no_such_module:Broken, which cannot be imported" in found.reason
