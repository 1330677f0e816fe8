"""Test a model's arguments, results, weights and refusals, and its timed steps."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lstm_impl
from lstm_impl import (
    LSTMSpec,
    LSTMWeights,
    Model,
    UnsupportedError,
    Workload,
    get_backend,
    reference,
)
from lstm_impl import model as model_module
from lstm_impl import workload as workload_module
from lstm_impl.backends.others.numpy_loop import NumPyLoop, NumPyModel
from lstm_impl.call import Call, Request
from lstm_impl.model import FIRST_CHUNKS, check_array, make_step_on_inputs
from lstm_impl.proof.check import join_inputs
from lstm_impl.proof.comparison import collect_results
from lstm_impl.workload import OPTIMIZERS, InputSets, select_differentiated

SPEC = LSTMSpec(3, 4)
DEEP = LSTMSpec(3, 4, num_layers=2, bidirectional=True)
STREAM = Workload(2, 1, "streaming")


def build(spec: LSTMSpec = SPEC, **options: Any) -> Model:
    return get_backend("numpy").build(spec, LSTMWeights.random(spec), **options)


# -- weights


def test_build_with_wrong_weights_raises() -> None:
    with pytest.raises(ValueError, match=r"kernel has shape \(3, 20\); expected \(3, 16\)"):
        build().set_weights(LSTMWeights.random(LSTMSpec(3, 5)))


def test_build_rounds_weights_to_the_precision() -> None:
    spec = LSTMSpec(3, 4, dtype="float16")
    fine = LSTMWeights.random(LSTMSpec(3, 4, dtype="float64"), seed=3)
    model = get_backend("numpy").build(spec, fine)
    for _ in range(2):
        for array, given_array in zip(model.get_weights().arrays(), fine.arrays(), strict=True):
            np.testing.assert_array_equal(array, given_array.astype(np.float16))
        fine = LSTMWeights.random(LSTMSpec(3, 4, dtype="float64"), seed=4)
        model.set_weights(fine)


# -- arguments


WRONG = {
    "x": np.zeros((2, 5, 4)),
    "state": lstm_impl.LSTMState(np.zeros((4, 5, 4)), np.full((4, 5, 4), np.nan)),
    "lengths": [0, 1, 1, 1, 1],
    "masks": np.ones((2, 5, 8)),
}


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize("name", [*WRONG, "dy", "dstate"])
def test_wrong_arguments_raise_in_inference_and_training(name: str, batch_major: bool) -> None:
    wrong = {**WRONG, "dy": np.zeros((2, 5, 4)), "dstate": WRONG["state"]}[name]
    shape = (5, 2) if batch_major else (2, 5)
    if isinstance(wrong, np.ndarray) and name != "masks" and batch_major:
        wrong = np.swapaxes(wrong, 0, 1)
    model = build(DEEP, batch_major=batch_major)
    given: dict[str, Any] = {"x": np.zeros((*shape, 3)), name: wrong}
    if name in WRONG:
        with pytest.raises(ValueError, match=rf"^{name}\b"):
            model.forward(**given)
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        model.gradients(**{"dy": np.zeros((*shape, 8)), **given})


def test_masks_given_in_inference_act() -> None:
    masks = lstm_impl.dropout_masks(DEEP, 2, 5, 0.5, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    masked, _ = build(DEEP).forward(x, masks=masks)
    expected, _ = reference.forward(DEEP, LSTMWeights.random(DEEP), x.astype("f4"), masks=masks)
    np.testing.assert_allclose(masked, expected, atol=1e-6)
    assert np.abs(masked - build(DEEP).forward(x)[0]).max() > 1e-3


# -- results


def test_results_have_the_storage_type_and_are_valid_inputs() -> None:
    for dtype in ("float16", "float32", "float64", "bfloat16"):
        spec = LSTMSpec(3, 4, num_layers=2, dtype=dtype)
        model = build(spec)
        y, state = model.forward(np.ones((2, 1, 3)))
        gradients = model.gradients(np.ones((2, 1, 3)), y, state, dstate=state)
        arrays = [y, state.h, state.c, gradients.x, gradients.state.h]
        for array in [*arrays, *gradients.weights.arrays()]:
            assert array.dtype == spec.precision.storage
        model.forward(np.ones((2, 1, 3)), state)


def test_forward_without_a_state_begins_at_zero_for_each_batch() -> None:
    model, fresh = build(DEEP), build(DEEP)
    for batch in (2, 2, 3, 2):
        x = Workload(batch, 5).inputs(DEEP).x
        y, state = model.forward(x)
        zeros = lstm_impl.LSTMState.zeros(DEEP, batch)
        np.testing.assert_array_equal(y, fresh.forward(x, zeros)[0])
        state.h[:] = 1  # a user's array, which no later call reads


def test_batch_major_model_equals_time_major_with_swapped_axes() -> None:
    inputs = Workload(2, 5, "training", min_length=2).inputs(DEEP)
    y, state = build(DEEP).forward(inputs.x, inputs.state, inputs.lengths)
    gradients = build(DEEP).gradients(inputs.x, inputs.dy, inputs.state, None, inputs.lengths)
    model = build(DEEP, batch_major=True)
    x, dy = (np.swapaxes(array, 0, 1) for array in (inputs.x, inputs.dy))
    y_other, state_other = model.forward(x, inputs.state, inputs.lengths)
    other = model.gradients(x, dy, inputs.state, None, inputs.lengths)
    np.testing.assert_array_equal(np.swapaxes(y_other, 0, 1), y)
    np.testing.assert_array_equal(state_other.c, state.c)
    np.testing.assert_array_equal(np.swapaxes(other.x, 0, 1), gradients.x)
    np.testing.assert_array_equal(other.weights.arrays()[0], gradients.weights.arrays()[0])


# -- refusals


def test_step_that_is_profiled_is_the_one_that_the_model_prepares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workload = Workload(2, 4, "inference")
    model = NumPyLoop().build(LSTMSpec(2, 3), LSTMWeights.random(LSTMSpec(2, 3)))
    runs: list[str] = []
    step = replace(model.prepare(workload), run=lambda: runs.append("own"))
    monkeypatch.setattr(model, "prepare", lambda *_: step)
    assert model._warmed(workload) is step
    assert runs == ["own"]


def test_prepare_of_a_refused_workload_raises() -> None:
    class Lazy(NumPyLoop):
        def refusal(self, spec: LSTMSpec, workload: Workload | None = None) -> str:
            return "no training" if workload is not None and workload.training else ""

    model = Lazy().build(SPEC, LSTMWeights.random(SPEC))
    model.forward(np.zeros((1, 1, 3)))
    with pytest.raises(UnsupportedError, match=r"^numpy: no training$"):
        model.gradients(np.zeros((1, 1, 3)), np.zeros((1, 1, 4)))
    with pytest.raises(UnsupportedError, match=r"^numpy: no training$"):
        model.prepare(Workload(1, 1, "training"))
    model.prepare(Workload(1, 1))


def test_other_layout_bidirectional_stream_or_profile_raises() -> None:
    with pytest.raises(ValueError, match=r"workload\.batch_major is True; the model was"):
        build().prepare(Workload(2, 3, batch_major=True))
    with pytest.raises(UnsupportedError, match="one direction"):
        build(DEEP).prepare(Workload(2, 1, "streaming"))
    with pytest.raises(UnsupportedError, match="numpy: no profiler of numpy is known here"):
        build().profile(Workload(1, 2))


# -- timed steps, window by window


def test_step_with_windows_carries_the_state() -> None:
    workload = Workload(2, 8, window=3)
    inputs = workload.inputs(SPEC, seed=4)
    model = build()
    step = model.prepare(workload, seed=4)
    step.trace()
    last = step.run()
    step.synchronize()
    whole, final = model.forward(inputs.x, inputs.state)
    np.testing.assert_allclose(last.y, whole[6:], atol=1e-6)
    np.testing.assert_allclose(last.states[1], final.c, atol=1e-6)
    np.testing.assert_array_equal(step.run().y, last.y)  # and the next call begins again


def test_training_step_with_windows_stops_the_gradient_between() -> None:
    workload = Workload(2, 4, "training", window=2)
    inputs = workload.inputs(SPEC, seed=4)
    model = build()
    raw = model.prepare(workload, seed=4).run()
    _, state = model.forward(inputs.x[:2], inputs.state)
    alone = model.gradients(inputs.x[2:], inputs.dy[2:], state)
    np.testing.assert_allclose(raw.dx, alone.x, atol=1e-6)
    np.testing.assert_allclose(raw.dstates[0], alone.state.h, atol=1e-6)
    np.testing.assert_allclose(raw.weights.arrays()[0], alone.weights.arrays()[0], atol=1e-5)


def test_step_uses_lengths_and_masks() -> None:
    workload = Workload(3, 5, "training", min_length=2, dropout=0.5)
    inputs = workload.inputs(DEEP, seed=1)
    assert inputs.masks is not None
    model = build(DEEP)
    raw = model.prepare(workload, seed=1).run()
    expected = model.gradients(
        inputs.x, inputs.dy, inputs.state, lengths=inputs.lengths, masks=inputs.masks
    )
    np.testing.assert_allclose(raw.dx, expected.x, atol=1e-6)
    without = model.gradients(inputs.x, inputs.dy, inputs.state)
    assert np.abs(raw.dx - without.x).max() > 1e-3


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize("timesteps", [1, 3, 16])
def test_calls_use_the_placed_sets_of_inputs_in_turn(timesteps: int, batch_major: bool) -> None:
    workload = Workload(2, timesteps, batch_major=batch_major)
    step = build(batch_major=batch_major).prepare(workload, seed=4)
    assert step.use is not None
    assert step.results is not None
    sets = InputSets(SPEC, workload, seed=4)
    step.use([0, 7, 8])
    found = []
    for number in (0, 7, 8, 0):
        found.append(step.results(step.run())["y"])
        inputs = sets(number)
        wanted, _ = build().forward(inputs.x, inputs.state)
        np.testing.assert_allclose(found[-1], wanted, atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 0.1
    assert np.abs(found[1] - found[2]).max() > 0.1
    np.testing.assert_array_equal(found[3], found[0])


@pytest.mark.parametrize("batch_major", [False, True])
def test_results_are_named_time_major_host_arrays(batch_major: bool) -> None:
    workload = Workload(2, 3, "training", batch_major=batch_major)
    inputs = workload.inputs(DEEP, seed=4)
    step = build(DEEP, batch_major=batch_major).prepare(workload, seed=4)
    assert step.results is not None
    found = step.results(step.run())
    weights = LSTMWeights.random(DEEP)
    wanted = collect_results(
        *reference.forward_and_gradients(DEEP, weights, inputs.x, inputs.dy, inputs.state)
    )
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5, err_msg=name)


def test_trace_covers_the_first_and_a_shorter_last_window() -> None:
    requested: list[Request] = []

    class Traced(NumPyModel):
        def _trace_ahead(self, request: Request) -> None:
            requested.append(request)

    model = Traced(get_backend("numpy"), SPEC, "cpu", False, LSTMWeights.random(SPEC))
    model.prepare(Workload(2, 8, window=3)).trace()
    model.prepare(Workload(2, 3, "training", gradients="weights", optimizer="sgd")).trace()
    model.prepare(Workload(2, 1, "streaming")).trace()
    assert [len(each.call.x) for each in requested] == [3, 2, 3, 1]
    assert [each.gradients for each in requested] == [None, None, "weights", None]
    assert [each.optimizer for each in requested] == [None, None, "sgd", None]
    assert [each.upstream is None for each in requested] == [True, True, False, True]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_alternate_in_sign_and_restart_resets_them(optimizer: str) -> None:
    model = build()
    start = LSTMWeights.random(SPEC).arrays()
    step = model.prepare(Workload(2, 6, "training", window=3, optimizer=optimizer))
    assert step.restart is not None

    def moves() -> list[float]:
        """Return how far each of three calls has moved a weight from its start."""
        found = []
        for _ in range(3):
            step.run()
            found.append(np.max(np.abs(model.get_weights().arrays()[0] - start[0])))
        return found

    first = moves()
    assert first[0] > 0
    assert first[1] < first[0] / 2 if optimizer == "sgd" else first[1] < 1.5 * first[0]
    step.restart()
    assert moves() == first
    # So does a newly prepared one, although the optimizer has run.
    model.set_weights(LSTMWeights.random(SPEC))
    step = model.prepare(Workload(2, 6, "training", window=3, optimizer=optimizer))
    assert moves() == first


@pytest.mark.parametrize("batch_major", [False, True])
def test_step_on_given_inputs_equals_the_reference(batch_major: bool) -> None:
    inputs = Workload(2, 5, "training", min_length=2).inputs(SPEC, seed=9)
    model = build(batch_major=batch_major)
    weights, given = LSTMWeights.random(SPEC), (inputs.x, inputs.dy, inputs.state)
    wanted = collect_results(
        *reference.forward_and_gradients(SPEC, weights, *given, lengths=inputs.lengths)
    )
    for mode in ("inference", "training"):
        step = make_step_on_inputs(model, inputs, mode, gradients="all")
        assert step.use is None  # there are no other inputs
        assert step.results is not None
        for name, array in step.results(step.run()).items():
            np.testing.assert_allclose(array, wanted[name], atol=1e-5, err_msg=name)
    few = make_step_on_inputs(model, inputs, "training")
    assert few.results is not None
    assert "dx" not in few.results(few.run())


# -- an endless stream


@pytest.mark.parametrize("batch_major", [False, True])
@pytest.mark.parametrize("timesteps", [1, 3])
def test_stream_takes_chunks_in_turn_and_keeps_the_state(timesteps: int, batch_major: bool) -> None:
    work = replace(STREAM, timesteps=timesteps, batch_major=batch_major)
    step = build(batch_major=batch_major).prepare(work, seed=7)
    sets, calls = InputSets(SPEC, work, 7), FIRST_CHUNKS + 5
    inputs = join_inputs(sets, [n % FIRST_CHUNKS for n in range(calls)], sets.first.state)
    assert step.results is not None
    found = [step.results(step.run()) for _ in range(calls)]
    y, state = build().forward(inputs.x, inputs.state)
    np.testing.assert_allclose(np.concatenate([each["y"] for each in found]), y, atol=1e-6)
    np.testing.assert_allclose(found[-1]["c"], state.c, atol=1e-6)


def test_use_keeps_the_state_and_restart_does_not() -> None:
    step = build().prepare(STREAM, seed=7)
    assert step.use is not None
    assert step.restart is not None
    sets = InputSets(SPEC, STREAM, 7)
    first = step.run()
    step.use([1, 2])
    second = step.run()
    x, state = sets(1).x, sets.first.state
    np.testing.assert_allclose(second.y, build()._infer(Call(x, first.states)).y)
    step.run()
    step.run()
    step.restart()
    np.testing.assert_allclose(step.run().y, build()._infer(Call(x, tuple(state))).y)
    step.use([0])
    step.restart()
    np.testing.assert_array_equal(step.run().y, first.y)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (model_module, "given_step", make_step_on_inputs),
        (model_module, "checked_array", check_array),
        (workload_module, "differentiated", select_differentiated),
    ],
)
def test_old_names_of_functions_warn_and_return_the_renamed_function(
    module: Any, old: str, new: Any
) -> None:
    with pytest.warns(DeprecationWarning, match=f"use {module.__name__}.{new.__name__} instead"):
        assert getattr(module, old) is new
    assert not hasattr(module, "unknown")
