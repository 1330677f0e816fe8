"""Test a model's arguments, results, weights and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstm_impl import (
    LSTMSpec,
    LSTMState,
    LSTMWeights,
    Model,
    UnsupportedError,
    Workload,
    dropout_masks,
    get_backend,
    reference,
)
from lstm_impl.backends.others.numpy_loop import NumPyLoop

SPEC = LSTMSpec(3, 4)
DEEP = LSTMSpec(3, 4, num_layers=2, bidirectional=True)


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
    "state": LSTMState(np.zeros((4, 5, 4)), np.full((4, 5, 4), np.nan)),
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
    masks = dropout_masks(DEEP, 2, 5, 0.5, seed=0)
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
        zeros = LSTMState.zeros(DEEP, batch)
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


def test_prepare_of_the_other_layout_raises() -> None:
    with pytest.raises(ValueError, match=r"workload\.batch_major is True; the model was"):
        build().prepare(Workload(2, 3, batch_major=True))


def test_prepare_of_a_bidirectional_stream_raises() -> None:
    with pytest.raises(UnsupportedError, match="one direction"):
        build(DEEP).prepare(Workload(2, 1, "streaming"))


def test_profile_without_a_profiler_raises() -> None:
    with pytest.raises(UnsupportedError, match="numpy: no profiler of numpy is known here"):
        build().profile(Workload(1, 2))
