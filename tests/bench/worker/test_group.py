"""Test measuring the cases of a group."""

import inspect
import os
import signal
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.case.cases import Case
from bench.machine import devices
from bench.records.schema import Figures
from bench.render.messages import reason_line, reason_texts
from bench.worker import equivalence, group, resources
from bench.worker.group import KEPT, Bench, Output, Printed
from bench.worker.roofs import AccountingError, Roofs
from bench.worker.timing import Processors, TimingPlan
from lstm_impl import Backend, Step
from tests.bench.worker.scripted_backends import World, measured, unmeasured


def only(world: World, case: Case) -> group.Result:
    return group.measure_group([case], TimingPlan(5.0), bench=world.bench())[case.id]


def test_measure_group_judges_before_timing(world: World) -> None:
    case = world.add("a")
    measured(only(world, case))
    log = [what for what in world.log if what != "a availability"]
    before, after = log[: log.index("a gate")], log[log.index("a gate") :]
    # The first call, which traces and compiles, comes before the gate.
    assert before == ["a start", "a build", "a trace", "a run"]
    assert after[1] == "a evidence"
    assert len(after) > 6
    assert set(after[2:]) == {"a run"}


def test_measure_group_failed_gate_gives_no_time(world: World) -> None:
    wrong, right = world.add("wrong"), world.add("right")
    world.verdicts["wrong"] = False
    results = group.measure_group([right, wrong], TimingPlan(5.0), bench=world.bench())
    failed = unmeasured(results[wrong.id])
    assert failed.outcome == "failed"
    assert "y differs from the judge by 5.00e-01" in reason_line(failed.reason)
    assert "1.00e-06 allowed" in reason_line(failed.reason)
    assert world.log.count("wrong run") == 1
    assert measured(results[right.id]).gate.passed
    assert list(results) == [right.id, wrong.id]


EVERYWHERE = ("availability", "start", "build", "trace", "run", "gate", "evidence")


@pytest.mark.parametrize("what", EVERYWHERE)
def test_measure_group_ctrl_c_is_raised(world: World, what: str) -> None:
    case = world.add("a")
    world.changes[f"a {what}"] = lambda: signal.raise_signal(signal.SIGINT)
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
def test_measure_group_any_error_fails_its_own_case(
    world: World, what: str, error: BaseException
) -> None:
    bad, good = world.add("bad"), world.add("good")
    world.errors[f"bad {what}"] = error
    results = group.measure_group([bad, good], TimingPlan(5.0), bench=world.bench())
    failed = unmeasured(results[bad.id])
    assert failed.outcome == "failed"
    assert reason_line(failed.reason).startswith(f"{type(error).__name__} ")
    assert ("nobody pressed Ctrl-C" in reason_line(failed.reason)) == isinstance(
        error, KeyboardInterrupt
    )
    measured(results[good.id])


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), Panic("poisoned")])
def test_measure_group_error_while_timed_fails_its_own_case(
    world: World, error: BaseException
) -> None:
    bad, good = world.add("bad"), world.add("good")

    def late() -> None:
        if world.log.count("bad run") > 5:
            raise error

    world.changes["bad run"] = late
    results = group.measure_group([bad, good], TimingPlan(5.0), bench=world.bench())
    assert type(error).__name__ in reason_line(unmeasured(results[bad.id]).reason)
    measured(results[good.id])


def test_measure_group_warning_is_recorded_with_its_case(world: World) -> None:
    loud, quiet = world.add("loud"), world.add("quiet")
    world.changes["loud run"] = lambda: warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    world.changes["quiet run"] = lambda: warnings.warn("later", DeprecationWarning, stacklevel=1)
    results = group.measure_group([loud, quiet], TimingPlan(5.0), bench=world.bench())
    assert measured(results[loud.id]).remarks == ("RuntimeWarning: overflow",)
    assert measured(results[quiet.id]).remarks == ()


CHANGES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "the recursion limit": (
        # As low as Python allows here: too low for the guard.
        lambda: sys.setrecursionlimit(len(inspect.stack(0)) + 8),
        sys.getrecursionlimit,
    ),
    "sys.path": (sys.path.clear, lambda: tuple(sys.path)),
}


@pytest.mark.parametrize("when", ["build", "run"])
@pytest.mark.parametrize("what", CHANGES)
def test_measure_group_changed_setting_is_restored_for_the_next(
    what: str, when: str, world: World
) -> None:
    change, look = CHANGES[what]
    bad, good = world.add("bad"), world.add("good")
    world.changes[f"bad {when}"] = change
    before, seen = look(), []
    world.changes["good run"] = lambda: seen.append(look())
    results = group.measure_group([bad, good], TimingPlan(5.0), bench=world.bench())
    assert look() == before
    assert set(map(str, seen)) == {str(before)}
    assert measured(results[good.id]).remarks == ()
    if isinstance(results[bad.id], group.Measured):
        remark = f"it changed {what}, which was restored"
        assert measured(results[bad.id]).remarks == (remark,)
    else:  # what was called after the change failed
        assert reason_line(unmeasured(results[bad.id]).reason).startswith("RecursionError ")


class Ceilings(Roofs):
    """Roofs that return given figures and log the calls."""

    def __init__(self, above: Sequence[str] = (), part: float = 0.25) -> None:
        super().__init__()
        self.above = above
        self.part = part
        self.take: Callable[[], None] = lambda: None
        self.requests: list[tuple[str, float, int | None, Collection[str]]] = []

    def figures(
        self,
        case: Case,
        seconds: float,
        threads: int | None = None,
        frameworks: Collection[str] = (),
        times: float = 1.0,
    ) -> Figures:
        self.requests.append((case.backend, seconds, threads, frameworks))
        self.take()
        if case.backend in self.above:
            raise AccountingError(
                "impossible", seconds=1.0, part=4.0, limit=3.0, roof="matrix-product rate", by="a"
            )
        return {"of_matmul": self.part, "matmul_by": "an abacus", "chain_s": None}


def test_measure_group_records_parts_of_roofs(world: World) -> None:
    case, roofs = world.add("a"), Ceilings()
    world.costs["roofs"] = 1.5
    roofs.take = lambda: world.happen("roofs")
    half = Processors(lambda: 0.5 * world.time, lambda: 1.5 * world.time)
    bench = replace(world.bench(), roofs=roofs, threads=3, processors=half)
    result = measured(group.measure_group([case], TimingPlan(5.0), bench=bench)[case.id])
    seconds = statistics.median(result.series.samples)
    assert roofs.requests == [("a", seconds, 3, {"numpy"})]
    assert bench.frameworks("gpu:0") == set()
    assert result.roofs == {
        "of_matmul": 0.25,
        "matmul_by": "an abacus",
        "chain_s": None,
        "processors_busy": pytest.approx(0.5),
    }
    assert result.setup["roofs_s"] == pytest.approx(1.5 + 0.2)  # two calls of processors_busy


def test_measure_group_busy_processors_are_measured_by_one_process_of_a_session(
    world: World, tmp_path: Path
) -> None:
    case = world.add("a")
    all_idle = Processors(lambda: 0.5 * world.time, lambda: 1.5 * world.time)
    found = []
    for _ in range(3):
        bench = replace(
            world.bench(),
            roofs=Ceilings(),
            processors=all_idle,
            shared=equivalence.SharedFolder(tmp_path),
        )
        result = measured(group.measure_group([case], TimingPlan(5.0), bench=bench)[case.id])
        found.append("processors_busy" in (result.roofs or {}))
    assert found == [True, False, False]


def test_measure_group_case_above_any_roof_fails_alone(world: World) -> None:
    cases = [world.add("a"), world.add("b")]
    bench = replace(world.bench(), roofs=Ceilings(above=["a"]))
    results = group.measure_group(cases, TimingPlan(5.0), bench=bench)
    failed = unmeasured(results[cases[0].id])
    assert failed.outcome == "failed"
    assert "would be 400% of the matrix-product rate" in reason_line(failed.reason)
    assert "the roof is too low" in reason_texts(failed.reason)[1]
    assert measured(results[cases[1].id])


def test_measure_group_announces_cases_prepared_and_timed(world: World) -> None:
    cases = [world.add("a"), world.add("b", refusal="too much"), world.add("c")]
    announced: list[list[str]] = []
    bench = replace(
        world.bench(), announce=lambda busy: announced.append([case.backend for case in busy])
    )
    group.measure_group(cases, TimingPlan(1.0), bench=bench)
    assert announced == [["a"], ["b"], ["c"], ["a", "c"]]


def test_measure_group_timing_seconds_are_shared_by_cases(world: World) -> None:
    world.costs |= {"a build": 0.5, "b build": 0.25, "a gate": 2.0}
    cases = [world.add("a"), world.add("b")]
    results = group.measure_group(cases, TimingPlan(5.0), bench=world.bench())
    both = [measured(results[case.id]) for case in cases]
    prepared = 0.5 + 0.25 + 2.0 + 2 * 0.1
    assert [each.setup["timing_s"] for each in both] == pytest.approx(
        [(world.time - prepared) / 2] * 2
    )
    assert [each.setup["gate_s"] for each in both] == pytest.approx([2.0, 0.0])


# -- memory and energy after timing

HELD: Figures = {"peak_bytes": 300, "steady_bytes": 200, "how": "measured"}
USED: Figures = {"joules": 0.5, "how": "measured"}


@pytest.fixture
def needs(world: World, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return a bench with a GPU that logs memory and energy."""

    def gauge(backend: Backend, device: str) -> Callable[[Step], Figures] | None:
        world.log.append("gauge")

        def figures(step: Step) -> Figures:
            world.log.append("figures")
            return HELD

        return None if device == "cpu" else figures

    def resident(case: Case, seed: int, limit: float) -> Figures:
        world.log.append(f"memory within {limit:.0f} s")
        return HELD

    def energy(step: Step, device: str, seconds: float) -> Figures:
        world.log.append(f"energy of {seconds:.1f} s")
        return USED

    monkeypatch.setattr(devices, "explain_missing", lambda device: None)
    return replace(
        world.bench(),
        announce=lambda cases: world.log.append("announced"),
        gauge=gauge,
        resident=resident,
        energy=energy,
    )


def test_measure_group_cpu_memory_comes_after_timing(world: World, needs: Bench) -> None:
    world.costs["a build"] = 10.0
    cases = [world.add("a"), world.add("b")]
    results = group.measure_group(cases, TimingPlan(2.0), bench=needs)
    # The time limit depends on first use (0.1 s) and on the case limit.
    limits = [resources.time_limit(first, None) for first in (10.1, 0.1)]
    expected = [part for limit in limits for part in ("announced", f"memory within {limit:.0f} s")]
    assert world.log[-4:] == expected
    assert [measured(results[case.id]).memory for case in cases] == [HELD, HELD]
    assert [measured(results[case.id]).energy for case in cases] == [None, None]
    group.measure_group(cases[:1], TimingPlan(2.0), bench=replace(needs, case_limit=30.0))
    assert world.log[-1] == f"memory within {resources.time_limit(10.1, 30.0 - 10.1):.0f} s"
    unwanted = group.measure_group(cases, TimingPlan(2.0), bench=replace(needs, resident=None))
    assert measured(unwanted[cases[0].id]).memory is None
    assert world.log[-1].endswith(" run")


def test_measure_group_gpu_energy_comes_after_timing(world: World, needs: Bench) -> None:
    cases = [world.add(name).on("gpu:0") for name in "ab"]
    results = group.measure_group(cases, TimingPlan(2.0), bench=replace(needs, resident=None))
    log = [what for what in world.log if what not in ("a trace", "a availability")]
    first = log.index("gauge")
    assert log[first : first + 5] == ["gauge", "a build", "a run", "figures", "a gate"]
    assert world.log[-4:] == ["announced", "energy of 0.1 s"] * 2
    for case in cases:
        extra = measured(results[case.id]).to_extra(case, 0)
        assert (extra["memory"], extra["energy"]) == (HELD, USED)


def test_measure_group_replicas_on_gpus_have_no_roofs_memory_or_energy(
    world: World, needs: Bench
) -> None:
    cases = [world.add(name).on("gpu:0") for name in ("a", "a:replicas")]
    bench = replace(needs, roofs=Ceilings(above=["a:replicas"]))
    one, several = (
        measured(each) for each in group.measure_group(cases, TimingPlan(2.0), bench=bench).values()
    )
    assert one.roofs is not None
    assert (one.memory, one.energy) == (HELD, USED)
    assert (several.roofs, several.memory, several.energy) == (None, None, None)


# The output of backends


@pytest.fixture
def output() -> Iterator[Output]:
    found = Output()
    yield found
    found.close()


def test_output_python_native_and_child_processes_is_kept(output: Output) -> None:
    with output:
        print("by print")
        print("to stderr", file=sys.stderr)
        os.write(2, b"by a library in C\n")
        subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)
    text = "by print\nto stderr\nby a library in C\nby a child\n"
    assert output.take() == Printed(len(text), text)
    assert output.take() == Printed()


def test_output_is_not_printed_elsewhere(output: Output, capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with output:
        print("hidden")
        os.write(1, b"hidden too\n")
    print("after")
    os.write(2, b"after too\n")
    assert capfd.readouterr() == ("before\nafter\n", "after too\n")


def test_output_large_keeps_beginning_and_end(output: Output) -> None:
    with output:
        os.write(1, b"first")
        for _ in range(200):
            os.write(1, b"x" * 2**18)
        os.write(1, b"last")
    found = output.take()
    assert found.size == 200 * 2**18 + 9
    assert found.text.startswith("firstxxx")
    assert found.text.endswith("xxxlast")
    assert f"... ({found.size - 2 * KEPT} bytes are left out) ..." in found.text
    assert len(found.text) < 3 * KEPT


def test_output_stream_closed_by_a_backend_stays_open(output: Output) -> None:
    with output:
        sys.stdout.close()
        sys.stderr.close()
        print("still")
        print("there", file=sys.stderr)
    assert output.take().text == "still\nthere\n"


def test_output_closed_leaves_no_open_file() -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    output = Output()
    with output:
        print("gone")
    output.close()
    output.close()
    assert count() == before
