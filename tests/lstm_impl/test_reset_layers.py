"""Test resets in the layers for PyTorch and Flax."""

import itertools
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMState, LSTMWeights, UnsupportedError, reference
from lstm_impl.workload import RESET_TO
from tests.lstm_impl.backends.built import ready

SPEC = LSTMSpec(3, 5, 2)
RESETS = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 0, 0]], bool)
TIMESTEPS, BATCH = RESETS.shape


def drawn(seed: int = 0) -> tuple[Any, LSTMState]:
    rng = np.random.default_rng(seed)
    shape = (SPEC.state_layers, BATCH, SPEC.hidden_size)
    x = rng.standard_normal((TIMESTEPS, BATCH, SPEC.input_size)).astype(np.float32)
    h, c = rng.standard_normal((2, *shape)).astype(np.float32)
    return x, LSTMState(h, c)


@pytest.fixture
def torch_layer() -> Any:
    """Return the layer with weights that the reference has, too."""
    ready("torch_fused_cpu")
    import torch

    import lstm_impl.torch as layers
    from lstm_impl.layouts import torch_parameters

    layer = layers.LSTM(SPEC.input_size, SPEC.hidden_size, SPEC.num_layers)
    parameters = torch_parameters(LSTMWeights.random(SPEC, 1))
    state = {name: torch.tensor(array) for name, array in parameters.items()}
    layer.load_state_dict(state)
    return layer


@pytest.mark.parametrize("reset_to", RESET_TO)
def test_layer_of_pytorch_starts_over_where_resets_say(torch_layer: Any, reset_to: str) -> None:
    import torch

    x, state = drawn()
    weights = LSTMWeights.random(SPEC, 1)
    y, last = reference.forward(SPEC, weights, x, state, None, None, RESETS, reset_to)
    given = torch.tensor(x), tuple(map(torch.tensor, state))
    ours, (h, c) = torch_layer(*given, resets=torch.tensor(RESETS), reset_to=reset_to)
    for found, right in ((ours, y), (h, last.h), (c, last.c)):
        np.testing.assert_allclose(found.detach(), right, atol=1e-5)
    torch_layer.batch_first = True
    swapped = given[0].transpose(0, 1), given[1]
    again, _ = torch_layer(*swapped, resets=torch.tensor(RESETS.T), reset_to=reset_to)
    np.testing.assert_array_equal(again.detach().transpose(0, 1), ours.detach())


def test_gradient_of_pytorch_never_flows_past_a_reset(torch_layer: Any) -> None:
    import torch

    x, state = drawn()
    given = torch.tensor(x, requires_grad=True)
    h, c = (torch.tensor(each, requires_grad=True) for each in state)
    resets = torch.zeros(TIMESTEPS, BATCH, dtype=torch.bool)
    resets[2, 0] = True
    y, _ = torch_layer(given, (h, c), resets=resets)
    y[2:].sum().backward()
    assert given.grad is not None
    assert not given.grad[:2, 0].any()
    assert given.grad[:2, 1:].all()
    assert h.grad is not None
    assert not h.grad[:, 0].any()


def test_loop_of_pytorch_starts_over_as_the_kernels_do(torch_layer: Any) -> None:
    """The loop computes in forward mode, from the bits that the kernels read."""
    import torch

    x, state = drawn()
    resets, hx = torch.tensor(RESETS), tuple(map(torch.tensor, state))
    given = torch.tensor(x)
    ours, _ = torch_layer(given, hx, resets=resets)
    with torch.autograd.forward_ad.dual_level():
        loop, _ = torch_layer(given, hx, resets=resets)
    torch.testing.assert_close(loop.detach(), ours.detach(), atol=1e-6, rtol=1e-5)


def test_layer_of_pytorch_refuses_resets_that_do_not_fit(torch_layer: Any) -> None:
    import torch

    x = torch.zeros(TIMESTEPS, BATCH, SPEC.input_size)
    with pytest.raises(ValueError, match=r"LSTM: resets is torch.bool \(3, 4\); expected torch"):
        torch_layer(x, resets=torch.tensor(RESETS.T))
    with pytest.raises(UnsupportedError, match="PyTorch's own code takes no resets"):
        torch_layer.double()(x.double(), resets=torch.tensor(RESETS))


@pytest.mark.parametrize("reset_to", RESET_TO)
def test_layer_of_flax_starts_over_where_resets_say(reset_to: str) -> None:
    ready("jax_fused_cpu")
    ready("flax")
    import jax
    from flax import nnx

    import lstm_impl.jax as layers

    cell = nnx.OptimizedLSTMCell(3, 5, rngs=nnx.Rngs(0))
    layer = layers.LSTM(cell)
    x, state = drawn()
    x, carry = x.swapaxes(0, 1), (state.c[0], state.h[0])

    def run(x: Any, how: Any) -> Any:
        return layer(x, initial_carry=carry, **how)

    ours = run(x, {"resets": RESETS.T, "reset_to": reset_to})
    # Each part between two resets by itself.
    for row in range(BATCH):
        starts = sorted({0, TIMESTEPS, *map(int, np.flatnonzero(RESETS[:, row]))})
        for start, stop in itertools.pairwise(starts):
            goes_on = (start == 0 and not RESETS[0, row]) or reset_to == "initial_state"
            begun = tuple(each[row : row + 1] * goes_on for each in carry)
            part = layer(x[row : row + 1, start:stop], initial_carry=begun)
            np.testing.assert_allclose(ours[row, start:stop], part[0], atol=1e-6)
    grad = jax.grad(lambda x: run(x, {"resets": RESETS.T}).sum())(x)
    assert np.all(np.isfinite(grad))


def keras_layer(backend: str, **options: Any) -> Any:
    """Return a layer of Keras with one direction and two states."""
    ready("while_loop" if backend == "auto" else backend)
    pytest.importorskip("keras")
    import lstm_impl.keras as layers

    return layers.LSTM(5, return_sequences=True, return_state=True, backend=backend, **options)


@pytest.mark.parametrize("reset_to", RESET_TO)
@pytest.mark.parametrize("backend", ["auto", "fused_cpu", "while_loop+hoisted"])
def test_layer_of_keras_starts_over_where_resets_say(backend: str, reset_to: str) -> None:
    """Each part between two resets is as a sequence of its own, in a graph and outside."""
    layer = keras_layer(backend)
    import tensorflow as tf

    x, state = drawn()
    x, begun = x.swapaxes(0, 1), [state.h[0], state.c[0]]
    layer(x[:, :1])
    ours, h, _ = layer(x, initial_state=begun, resets=RESETS.T, reset_to=reset_to)
    for row in range(BATCH):
        starts = sorted({0, TIMESTEPS, *map(int, np.flatnonzero(RESETS[:, row]))})
        for start, stop in itertools.pairwise(starts):
            goes_on = (start == 0 and not RESETS[0, row]) or reset_to == "initial_state"
            states = [each[row : row + 1] * goes_on for each in begun]
            part, last, _ = layer(x[row : row + 1, start:stop], initial_state=states)
            np.testing.assert_allclose(ours[row, start:stop], part[0], atol=1e-6)
        np.testing.assert_allclose(h[row], last[0], atol=1e-6)

    @tf.function
    def graph(x: Any, resets: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, initial_state=begun, resets=resets, reset_to=reset_to)[0]
            late = y[:, 2:]
        return y, tape.gradient(late, x)

    y, dx = graph(tf.constant(x), tf.constant(RESETS.T))
    np.testing.assert_allclose(y, ours, atol=1e-6)
    first = np.array(dx)
    assert not first[0, :2].any()  # row 0 starts over at step 2
    assert first[1, :2].any()


def test_layer_of_keras_with_unroll_starts_over_where_resets_say() -> None:
    layer, unrolled = (keras_layer("auto", unroll=unroll) for unroll in (False, True))
    x = drawn()[0].swapaxes(0, 1)
    for each in (layer, unrolled):
        each.build(x.shape)
    unrolled.set_weights(layer.get_weights())
    found = [each(x, resets=RESETS.T)[0] for each in (layer, unrolled)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_layer_of_keras_refuses_resets_by_a_backend_without_them() -> None:
    layer = keras_layer("block_lstm")
    x, _ = drawn()
    with pytest.raises(UnsupportedError, match=r"block_lstm.*takes no resets"):
        layer(x.swapaxes(0, 1), resets=RESETS.T)
    with pytest.raises(ValueError, match="resets is float32"):
        layer(x.swapaxes(0, 1), resets=RESETS.T.astype(np.float32))
    relu = keras_layer("auto", activation="relu")
    with pytest.raises(UnsupportedError, match=r"has activation='relu',.* takes no resets; split"):
        relu(x.swapaxes(0, 1), resets=RESETS.T)
