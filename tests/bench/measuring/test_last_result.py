"""What a backend does only once it is timed: each way of it that we know of gets no time.

Each passes the gate. What it does to its results begins with the third call of its step, which the
gate does not make and every timed case does.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.measuring import outcomes, preparing
from bench.measuring.clock import Clock
from bench.measuring.equivalence import gate_last
from bench.measuring.group import measure_group
from bench.measuring.outcomes import Measured, Unmeasured
from bench.measuring.preparing import Bench
from bench.measuring.series import Broken, Plan
from bench.measuring.timing import measure as measure_steps
from bench.suites.cases import Case
from lstm_impl import LSTMSpec, LSTMWeights, Model, Step, Workload
from lstm_impl.backends.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.call import Call, Outputs, RawGradients
from lstm_impl.proof.streamed import SEVERAL
from lstm_impl.step import INPUTS, input_seed
from tests.lstm_impl.rounded_model import RoundedModel

SPEC = LSTMSpec(3, 4)
INFERENCE, TRAINING = Workload(4, 6), Workload(4, 6, "training")
STREAM = Workload(4, 7, "training", window=3)
HONEST_CALLS = 4
"""Few, so that a slow machine makes more of them: the first, the gate's, and one that counts."""

Change = Callable[[Any], Any]


class Timed(NumPyModel):
    """The NumPy loop, whose step does something else from its third call on."""

    change: Callable[[Timed], Change]

    def prepare(self, workload: Workload, seed: int = 0) -> Step:
        step, calls = super().prepare(workload, seed), 0
        change = type(self).change(self)

        def run() -> Any:
            nonlocal calls
            calls += 1
            raw = step.run()
            changed = change(raw)
            return raw if calls <= 2 else changed

        return replace(step, run=run)


def each_call(function: Change) -> Callable[[Timed], Change]:
    return lambda model: function


def half_of(array: Any) -> Any:
    """Of the sequences; nothing for the others."""
    kept = np.array(array)
    kept[:, kept.shape[1] // 2 :] = 0
    return kept


def remembering(model: Timed) -> Change:
    """What the first call computed, each time."""
    first: list[Any] = []

    def change(raw: Any) -> Any:
        first.append(raw)
        return first[0]

    return change


def late(model: Timed) -> Change:
    """Memory that is filled by the time of the next call, as by a device that nobody waits for."""
    pending: list[tuple[Any, Any]] = []

    def change(raw: Any) -> Any:
        if pending:
            np.copyto(*pending.pop())
        y = np.zeros_like(raw.y)
        pending.append((y, raw.y))
        return replace(raw, y=y) if isinstance(raw, RawGradients) else raw._replace(y=y)

    return change


def not_updating(model: Timed) -> Change:
    """The weights stay as they were."""
    before = model.get_weights()

    def change(raw: Any) -> Any:
        model._set_weights(before)
        return raw

    return change


def without_kernel(raw: Any) -> Any:
    cells = raw.weights.layers[0][0]
    cells = replace(cells, kernel=np.zeros_like(cells.kernel))
    return replace(raw, weights=LSTMWeights(((cells,),)))


WRONG = {
    "half_of_the_sequences": (INFERENCE, each_call(lambda raw: raw._replace(y=half_of(raw.y)))),
    "half_of_the_timesteps": (INFERENCE, each_call(lambda raw: raw._replace(y=raw.y[:3]))),
    "a_hundredth_off": (INFERENCE, each_call(lambda raw: raw._replace(y=raw.y * 1.01))),
    "final_state_left_out": (INFERENCE, each_call(lambda raw: raw._replace(c=raw.c * 0))),
    "remembered": (INFERENCE, remembering),
    "remembered_in_training": (TRAINING, remembering),
    "of_a_smaller_case": (INFERENCE, each_call(lambda raw: Outputs(*(a[:, :1] for a in raw)))),
    "not_there_yet": (INFERENCE, late),
    "not_there_yet_in_training": (TRAINING, late),
    "input_s_gradient_left_out": (TRAINING, each_call(lambda raw: replace(raw, dx=None))),
    "input_s_gradient_is_zero": (TRAINING, each_call(lambda raw: replace(raw, dx=raw.dx * 0))),
    "a_weight_s_gradient_is_zero": (TRAINING, each_call(without_kernel)),
    "not_finite": (TRAINING, each_call(lambda raw: replace(raw, dh=raw.dh * np.nan))),
    "last_window_only": (STREAM, each_call(lambda raw: replace(raw, c=raw.c * 0.5))),
    "weights_not_updated": (replace(TRAINING, optimizer="adam"), not_updating),
    "weights_not_updated_by_sgd": (replace(STREAM, optimizer="sgd"), not_updating),
    "updates_and_half_of_it": (
        replace(TRAINING, optimizer="sgd"),
        each_call(lambda raw: replace(raw, dx=half_of(raw.dx))),
    ),
}

RIGHT = (
    INFERENCE,
    TRAINING,
    STREAM,
    Workload(4, 7, window=3),
    Workload(4, 6, "training", min_length=2),
    Workload(1, 1, "training", batch_major=True),
    Workload(4, 6, "training", batch_major=True),
    *(replace(work, optimizer=name) for work in (TRAINING, STREAM) for name in ("sgd", "adam")),
    Workload(2, 40, "training", window=2, optimizer="adam"),
)

STREAMS = (
    Workload(2, 1, "streaming"),
    Workload(1, 3, "streaming", batch_major=True),
    Workload(1, 2, "streaming", period=0.001),
)


def group(
    monkeypatch: pytest.MonkeyPatch,
    workload: Workload,
    model: Callable[..., Model],
    spec: LSTMSpec = SPEC,
) -> outcomes.Result:
    """What comes of a case of this model, which is timed for a moment."""

    class Told(NumPyLoop):
        def _build(self, spec: LSTMSpec, weights: LSTMWeights, *rest: Any) -> Model:
            return model(self, spec, *rest, weights)

    monkeypatch.setattr(preparing, "get_backend", lambda name: Told())
    case = Case("numpy", spec, workload)
    found = measure_group([case], Plan(0.05), seed=3, bench=Bench(roofs=None))
    return found[case.id]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_only_once_it_is_timed_gets_no_time(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload, change_ = WRONG[wrong]

    class Wrong(Timed):
        change = staticmethod(change_)

    result = group(monkeypatch, workload, Wrong)
    assert isinstance(result, Unmeasured)
    assert result.outcome == "failed"
    assert result.reason.startswith("what was timed does not compute what the reference computes")


@pytest.mark.parametrize("workload", [*RIGHT, *STREAMS], ids=str)
def test_what_is_right_is_timed(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    result = group(monkeypatch, workload, NumPyModel)
    assert isinstance(result, Measured), result
    assert result.series.last is not None


class Stream(NumPyModel):
    """A stream that is right in the calls that come before it is timed, and then as it is named."""

    calls = 0
    known: dict[int, Outputs]

    def after(self, call: Call) -> Outputs:
        raise NotImplementedError

    def _stream(self, call: Call) -> Outputs:
        self.calls += 1
        # The first, and those of the gate.
        return self._infer(call) if self.calls <= 1 + SEVERAL else self.after(call)


class Remembers(Stream):
    def after(self, call: Call) -> Outputs:
        self.known = getattr(self, "known", {})
        return self.known.setdefault(id(call.x), self._infer(call))


class StateLeftOut(Stream):
    def after(self, call: Call) -> Outputs:
        return self._infer(call._replace(c=0 * call.c))


class NotFinite(Stream):
    def after(self, call: Call) -> Outputs:
        y, h, c = self._infer(call)
        return Outputs(y, h, c + np.inf)


@pytest.mark.parametrize("period", [None, 0.0005])
@pytest.mark.parametrize("wrong", [Remembers, StateLeftOut, NotFinite])
def test_a_stream_that_is_wrong_only_once_it_is_timed_gets_no_time(
    wrong: type[Stream], period: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = group(monkeypatch, Workload(2, 1, "streaming", period=period), wrong)
    assert isinstance(result, Unmeasured)
    assert result.reason.startswith("what was timed does not compute what the reference computes")


@pytest.mark.parametrize("number", range(INPUTS))
@pytest.mark.parametrize("period", [None, 0.0005])
def test_what_a_stream_remembers_is_wrong_whichever_inputs_were_timed(
    number: int, period: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.measuring.timing._UNGUESSED", Always(number))
    result = group(monkeypatch, Workload(2, 1, "streaming", period=period), Remembers)
    assert isinstance(result, Unmeasured)


class Always(random.SystemRandom):
    """A source that has one answer; of blocks there may be few, so that it happens."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return self._number


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_gain_of_a_twentieth_is_found_in_half_precision_too(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(gain: float) -> Callable[..., Model]:
        class Louder(RoundedModel):
            calls = 0

            def _infer(self, call: Call) -> Outputs:
                self.calls += 1
                y, h, c = super()._infer(call)
                return Outputs(y if self.calls <= HONEST_CALLS else y * gain, h, c)

        return lambda backend, spec, device, batch_major, weights: Louder(spec, weights)

    spec = LSTMSpec(5, 8, dtype=dtype)
    assert isinstance(group(monkeypatch, Workload(4, 20), build(1.0), spec), Measured)
    result = group(monkeypatch, Workload(4, 20), build(1.05), spec)
    assert isinstance(result, Unmeasured)
    assert "y as a whole is not as large" in result.reason


# -- the step


@pytest.mark.parametrize("workload", RIGHT, ids=str)
def test_a_step_works_on_the_inputs_that_were_chosen(workload: Workload) -> None:
    model = NumPyLoop().build(
        SPEC, LSTMWeights.random(SPEC, seed=2), batch_major=workload.batch_major
    )
    step = model.prepare(workload, seed=5)
    assert step.use is not None
    assert step.results is not None
    for number in (1, 0, 1):
        step.use(number)
        if step.restart is not None:
            step.run()  # moves the weights, and turns the sign of what flows back
            step.restart()
        results = step.results(step.run())
        assert gate_last(model, workload, 5, number, results).passed
        other = 1 - number
        if step.restart is None:
            assert not gate_last(model, workload, 5, other, results).passed


def test_input_sets_have_seeds_of_their_own() -> None:
    assert input_seed(3, 0) == 3
    assert len({input_seed(seed, number) for seed in range(100) for number in range(2)}) == 200


# -- the clock


class Machine:
    """A clock that steps move, and a device that goes on when nobody waits for it."""

    def __init__(self, waits: bool) -> None:
        self.time, self.queued, self.waits = 0.0, 0.0, waits
        self.used: list[int] = []
        self.runs = 0

    def finish(self) -> None:
        self.time, self.queued = self.time + self.queued, 0.0

    def step(self) -> Step:
        def run() -> int:
            self.time += 1e-4
            self.queued += 0.003
            self.runs += 1
            return self.runs

        def results(returned: int) -> dict[str, Any]:
            self.finish()
            self.time += 0.02  # a copy that takes longer than a block
            return {"y": np.array([returned])}

        wait = self.finish if self.waits else lambda: None
        return Step(run, wait, lambda: None, self.used.append, results)


def test_a_step_that_is_at_work_after_the_wait_has_no_time() -> None:
    for waits in (True, False):
        machine = Machine(waits)
        clock = Clock(lambda machine=machine: machine.time, 1e-9)  # type: ignore[misc]
        result = measure_steps({"a": machine.step()}, Plan(1.0), clock)["a"]
        if waits:
            assert not isinstance(result, Broken)
        else:
            assert isinstance(result, Broken)
            assert "it is not waited for" in str(result.error)


def test_inputs_are_chosen_anew_for_each_block_and_not_in_turn() -> None:
    machine = Machine(waits=True)
    result = measure_steps(
        {"a": machine.step()}, Plan(3.0, -1.0), Clock(lambda: machine.time, 1e-9)
    )["a"]
    assert not isinstance(result, Broken)
    assert len(machine.used) >= 30
    assert set(machine.used) == set(range(INPUTS))
    in_turn = [before != after for before, after in itertools.pairwise(machine.used)]
    assert not all(in_turn)
    assert any(in_turn)
    assert result.last is not None
    assert result.last.inputs == machine.used[-1]


def test_a_step_that_changes_its_weights_begins_anew_for_the_judge() -> None:
    machine, restarted = Machine(waits=True), []
    step = replace(machine.step(), restart=lambda: restarted.append(machine.runs))
    result = measure_steps({"a": step}, Plan(0.5), Clock(lambda: machine.time, 1e-9))["a"]
    assert not isinstance(result, Broken)
    assert result.last is not None
    assert restarted == [machine.runs - 1]
    assert result.last.results["y"] == machine.runs
