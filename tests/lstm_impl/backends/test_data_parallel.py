"""A batch shared out among replicas, and the step that they take together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from lstm_impl import (
    LSTMSpec,
    LSTMState,
    LSTMWeights,
    UnsupportedError,
    Workload,
    get_backend,
    reference,
)
from lstm_impl.backends.tensorflow.data_parallel import DataParallel, check, share
from lstm_impl.optimizer import LEARNING_RATE
from lstm_impl.proof import final_gradient
from lstm_impl.proof.comparison import error

SPEC = LSTMSpec(3, 5)


@given(some.integers(1, 40), some.integers(1, 8))
def test_a_batch_is_shared_out_whole_or_refused(batch: int, replicas: int) -> None:
    spec = LSTMSpec(2, 2, num_layers=2)
    varied = 1 if batch > 1 else None
    inputs = Workload(batch, 2, "training", min_length=varied, dropout=0.5).inputs(spec, 0)
    if batch % replicas:
        with pytest.raises(
            UnsupportedError, match=r"cannot be shared out equally.*take \d+"
        ) as told:
            share(inputs, 0, replicas)
        *_, told_words = str(told.value).partition("take ")
        for number in told_words.split(" or "):
            assert int(number) % replicas == 0
        return
    parts = [share(inputs, number, replicas) for number in range(replicas)]
    np.testing.assert_array_equal(np.concatenate([each.x for each in parts], 1), inputs.x)
    np.testing.assert_array_equal(np.concatenate([each.dy for each in parts], 1), inputs.dy)
    for name in ("h", "c"):
        joined = np.concatenate([getattr(each.state, name) for each in parts], 1)
        np.testing.assert_array_equal(joined, getattr(inputs.state, name))
    assert inputs.masks is not None
    masks = [each.masks for each in parts if each.masks is not None]
    np.testing.assert_array_equal(np.concatenate(masks, 2), inputs.masks)
    lengths = [each.lengths for each in parts if each.lengths is not None]
    if inputs.lengths is None:
        assert lengths == []
    else:
        np.testing.assert_array_equal(np.concatenate(lengths), inputs.lengths)


@pytest.mark.parametrize("name", ["numpy", "torch", "keras_model"])
def test_what_tensorflow_cannot_share_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"^{name} is no layer of TensorFlow's ops"):
        check(get_backend(name))


@pytest.mark.parametrize("name", ["while_loop", "while_loop+xla"])
def test_a_step_takes_the_gradients_that_it_returns(name: str) -> None:
    tf = pytest.importorskip("tensorflow", reason="it is TensorFlow's: pip install '.[cpu]'")
    weights = LSTMWeights.random(SPEC, seed=1)
    strategy = tf.distribute.get_strategy()
    shared = DataParallel(get_backend(name), SPEC, weights, "cpu", strategy)
    inputs = Workload(4, 3, "training").inputs(SPEC)
    dstate = final_gradient(inputs.state)
    returned = shared.step()(*shared.place(inputs, dstate))
    (gradients,), (after,) = shared.gradients(returned), shared.weights()
    _, _, wanted = reference.forward_and_gradients(
        SPEC, weights, inputs.x, inputs.dy, LSTMState(inputs.state.h, inputs.state.c), dstate
    )
    arrays = (each.arrays() for each in (gradients, wanted.weights, weights, after))
    for ours, theirs, before, now in zip(*arrays, strict=True):
        assert error(ours, theirs) < 1e-5
        np.testing.assert_allclose(now, before - LEARNING_RATE * theirs, atol=1e-6)
