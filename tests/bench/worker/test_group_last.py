"""What a backend does only once it is timed: each way of it that we know of gets no time.

Each passes the gate. What it does to its results begins with the third call of its step, which the
gate does not make and every timed case does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.case.cases import Case
from bench.worker import outcomes, preparing
from bench.worker.group import measure_group
from bench.worker.outcomes import Measured, Unmeasured
from bench.worker.preparing import Bench
from bench.worker.series import Plan
from lstm_impl import LSTMSpec, LSTMWeights, Model, Step, Workload
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.call import Call, Outputs, RawGradients
from lstm_impl.proof.streamed import SEVERAL
from tests.bench.worker.told_backends import TIMED
from tests.lstm_impl.rounded_model import RoundedModel

SPEC = LSTMSpec(3, 4)
INFERENCE, TRAINING = Workload(4, 6), Workload(4, 6, "training")
STREAM = Workload(4, 7, "training", window=3)
HONEST_CALLS = 6
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
    if wrong.startswith("not_there_yet"):
        assert "y of a call changed while the next call ran" in result.reason
    else:
        assert result.reason.startswith("what was timed does not compute what the reference")


@pytest.mark.parametrize("workload", [*TIMED, *STREAMS], ids=str)
def test_what_is_right_is_timed(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    result = group(monkeypatch, workload, NumPyModel)
    assert isinstance(result, Measured), result
    assert result.series.last is not None


class Stream(NumPyModel):
    """A stream that is right in the calls that come before it is timed, and then as it is named."""

    calls = 0

    def after(self, call: Call) -> Outputs:
        raise NotImplementedError

    def _stream(self, call: Call) -> Outputs:
        self.calls += 1
        # The first, and those of the gate.
        return self._infer(call) if self.calls <= 1 + SEVERAL else self.after(call)


class StateLeftOut(Stream):
    def after(self, call: Call) -> Outputs:
        return self._infer(call._replace(c=0 * call.c))


class NotFinite(Stream):
    def after(self, call: Call) -> Outputs:
        y, h, c = self._infer(call)
        return Outputs(y, h, c + np.inf)


@pytest.mark.parametrize("period", [None, 0.0005])
@pytest.mark.parametrize("wrong", [StateLeftOut, NotFinite])
def test_a_stream_that_is_wrong_only_once_it_is_timed_gets_no_time(
    wrong: type[Stream], period: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = group(monkeypatch, Workload(2, 1, "streaming", period=period), wrong)
    assert isinstance(result, Unmeasured)
    assert result.reason.startswith("what was timed does not compute what the reference computes")


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
