"""A stream, chunk by chunk with the state kept: right ones pass the gate, wrong ones do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Model, UnsupportedError, Workload, get_backend
from lstm_impl.backends.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.call import Call, Outputs
from lstm_impl.proof import gate, numpy_judge, streamed
from lstm_impl.proof.streamed import SEVERAL, continued, gone_on
from lstm_impl.stream import FEWEST_CHUNKS, MOST_CHUNKS, ring_chunks, ring_inputs
from tests.lstm_impl.rounded_model import RoundedModel

SPEC = LSTMSpec(3, 5)
WEIGHTS = LSTMWeights.random(SPEC, seed=2)
STREAM = Workload(2, 1, "streaming")


def model(kind: type[NumPyModel] = NumPyModel, batch_major: bool = False) -> Model:
    return kind(NumPyLoop(), SPEC, "cpu", batch_major, WEIGHTS)


# -- what a workload may be


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"mode": "inference", "period": 0.01}, "only the calls of a stream"),
        ({"mode": "streaming", "window": 2}, "window"),
        ({"mode": "streaming", "min_length": 2}, "min_length"),
        ({"mode": "streaming", "dropout": 0.1}, "dropout"),
        ({"mode": "streaming", "optimizer": "adam"}, "optimizer"),
        ({"mode": "streaming", "gradients": "weights"}, "gradients"),
        ({"mode": "streaming", "period": 0.0}, "period"),
        ({"mode": "streaming", "period": True}, "period"),
        ({"mode": "streaming", "period": float("nan")}, "period"),
        ({"mode": "streaming", "period": 1e9}, "period"),
    ],
)
def test_what_no_stream_has_is_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Workload(1, 4, **given)  # type: ignore[arg-type]


def test_a_stream_is_fed_in_one_direction() -> None:
    spec = replace(SPEC, bidirectional=True)
    both = get_backend("numpy").build(spec, LSTMWeights.random(spec))
    with pytest.raises(UnsupportedError, match="one direction"):
        both.prepare(STREAM)


def test_a_ring_is_as_long_as_its_chunks_are_small() -> None:
    assert ring_chunks(SPEC, STREAM) == MOST_CHUNKS
    assert ring_chunks(LSTMSpec(1024, 1024), Workload(64, 1000, "streaming")) == FEWEST_CHUNKS
    assert FEWEST_CHUNKS > SEVERAL + 1


# -- the step


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize("timesteps", [1, 3])
def test_chunks_come_one_after_another_round_and_round_with_the_state_kept(
    timesteps: int, batch_major: bool
) -> None:
    work = replace(STREAM, timesteps=timesteps, batch_major=batch_major)
    step = model(batch_major=batch_major).prepare(work, seed=7)
    inputs = ring_inputs(SPEC, work, 7)
    calls = ring_chunks(SPEC, work) + 5
    x = np.resize(inputs.x, (calls * timesteps, *inputs.x.shape[1:]))
    assert step.results is not None
    found = [step.results(step.run()) for _ in range(calls)]
    y, state = model().forward(x, inputs.state)
    np.testing.assert_allclose(np.concatenate([each["y"] for each in found]), y, atol=1e-6)
    np.testing.assert_allclose(found[-1]["c"], state.c, atol=1e-6)


def test_another_ring_keeps_the_state_and_a_new_start_does_not() -> None:
    step = model().prepare(STREAM, seed=7)
    assert step.use is not None
    assert step.restart is not None
    first = step.run()
    step.use(1)
    second = step.run()
    x = ring_inputs(SPEC, STREAM, 7, number=1).x[:1]
    np.testing.assert_allclose(second.y, model()._infer(Call(x, first.h, first.c)).y)
    step.use(0)
    step.restart()
    np.testing.assert_array_equal(step.run().y, first.y)


# -- the gate


@pytest.mark.parametrize("dtype", ["float32", "tf32", "float16", "bfloat16"])
@pytest.mark.parametrize("timesteps", [1, 4])
def test_a_stream_that_rounds_as_its_type_does_passes(dtype: str, timesteps: int) -> None:
    spec = LSTMSpec(5, 8, num_layers=2, dtype=dtype)
    right = RoundedModel(spec, LSTMWeights.random(spec, seed=3))
    result = gate(right, replace(STREAM, timesteps=timesteps))
    assert result.passed, result.describe()
    assert {"y", "streamed y", "streamed h", "streamed c"} <= set(result.errors)


class StateNotKept(NumPyModel):
    """Begins each call from nothing, as a layer does that is not stateful."""

    def _stream(self, call: Call) -> Outputs:
        return self._infer(call._replace(h=0 * call.h, c=0 * call.c))


class CellNotKept(NumPyModel):
    def _stream(self, call: Call) -> Outputs:
        return self._infer(call._replace(c=0 * call.c))


class StateKeptOfTheBeginning(NumPyModel):
    _begun: tuple[object, object] | None = None

    def _stream(self, call: Call) -> Outputs:
        self._begun = self._begun or (call.h, call.c)
        return self._infer(call._replace(h=self._begun[0], c=self._begun[1]))


class StateOfAnotherSequence(NumPyModel):
    def _stream(self, call: Call) -> Outputs:
        return self._infer(call._replace(h=call.h[:, ::-1], c=call.c[:, ::-1]))


class StateInFewerDigits(NumPyModel):
    def _stream(self, call: Call) -> Outputs:
        return self._infer(call._replace(h=np.float16(call.h), c=np.float16(call.c)))


class EveryOtherChunk(NumPyModel):
    _last: Outputs | None = None

    def _stream(self, call: Call) -> Outputs:
        if self._last is not None:
            last, self._last = self._last, None
            return last
        self._last = self._infer(call)
        return self._last


WRONG = (
    StateNotKept,
    CellNotKept,
    StateKeptOfTheBeginning,
    StateOfAnotherSequence,
    StateInFewerDigits,
    EveryOtherChunk,
)


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_right_for_one_call_and_not_for_a_stream_is_found(wrong: type[NumPyModel]) -> None:
    assert gate(model(wrong), replace(STREAM, mode="inference")).passed
    result = gate(model(wrong), STREAM)
    assert not result.passed
    assert "fed chunk by chunk" in result.describe()


# -- after the clock


def goes_on(kind: type[NumPyModel], calls: int = 100) -> tuple[bool, dict[str, float]]:
    """Whether what a stream computes after so many calls is right."""
    built = model(kind)
    step = built.prepare(STREAM, seed=7)
    assert step.results is not None
    for _ in range(calls):
        step.run()
    first, *rest = [step.results(each) for each in streamed.going_on(step)]
    ours = continued(first, rest)
    found, allowed = gone_on(numpy_judge(SPEC), SPEC, WEIGHTS, STREAM, 7, ours)
    return all(off <= allowed[name] for name, off in found.items()), found


class RemembersWhatItWasFed(NumPyModel):
    """Computes what it has not seen, and is nearly right in what it has: the state has settled."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self._known: dict[int, Outputs] = {}

    def _stream(self, call: Call) -> Outputs:
        return self._known.setdefault(id(call.x), self._infer(call))


class GrowsToNothing(NumPyModel):
    _calls = 0

    def _stream(self, call: Call) -> Outputs:
        self._calls += 1
        y, h, c = self._infer(call)
        return Outputs(y, h, np.nan * c if self._calls == 50 else c)


def test_a_right_stream_goes_on_rightly() -> None:
    assert goes_on(NumPyModel)[0]


@pytest.mark.parametrize("wrong", [StateNotKept, RemembersWhatItWasFed, GrowsToNothing])
def test_a_stream_that_went_wrong_while_it_ran_is_found(wrong: type[NumPyModel]) -> None:
    assert not goes_on(wrong)[0]
