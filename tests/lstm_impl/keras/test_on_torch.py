"""PyTorch's own LSTM as a Keras layer's computation, under any mask.

``test_elsewhere.py`` runs this file in a process whose Keras runs on PyTorch, too.
"""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

from tests.lstm_impl.keras.masked_steps import MASKS, problem, repeated

torch = pytest.importorskip("torch", reason="this is PyTorch's: pip install torch")
if importlib.util.find_spec("tensorflow") is None and os.environ.get("KERAS_BACKEND") != "torch":
    pytest.skip("Keras runs on nothing in this process", allow_module_level=True)

from lstm_impl.keras import on_torch  # noqa: E402
from lstm_impl.keras.base import Weights  # noqa: E402

EMPTY = ~MASKS.any(axis=1)


@pytest.mark.parametrize("zero_masked", [False, True])
@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_a_masked_step_keeps_the_state_and_repeats_the_last_output_or_is_zero(
    masked: bool, every_step: bool, zero_masked: bool
) -> None:
    given = problem(MASKS if masked else np.ones_like(MASKS))
    y, h, c = given.solved()
    shown = y if zero_masked else repeated(y, given.mask)  # zeros before the first valid step
    tensors = [torch.tensor(each) for each in (given.h, given.c, *given.cell)]
    last, outputs, state = on_torch.compute(
        "torch",
        torch.tensor(given.x),
        (tensors[0], tensors[1]),
        Weights(*tensors[2:]),
        torch.tensor(given.mask) if masked else None,
        zero_masked,
        every_step,
    )
    np.testing.assert_allclose(last, shown[:, -1], atol=1e-12)
    np.testing.assert_allclose(outputs, shown if every_step else shown[:, -1:], atol=1e-12)
    np.testing.assert_allclose(state[0], h, atol=1e-12)
    np.testing.assert_allclose(state[1], c, atol=1e-12)


def test_a_sequence_without_a_valid_step_sends_no_gradient_to_its_input() -> None:
    given = problem()
    x, h, c, *cell = (
        torch.tensor(each, requires_grad=True) for each in (given.x, given.h, given.c, *given.cell)
    )
    mask = torch.tensor(given.mask)
    _, y, state = on_torch.compute("torch", x, (h, c), Weights(*cell), mask, False, True)
    (y.sum() + 2 * state[0].sum() + 3 * state[1].sum()).backward()
    assert not np.any(x.grad.numpy()[~given.mask])
    assert np.all(np.any(x.grad.numpy()[given.mask] != 0, axis=-1))
    # Its state goes through as it came.
    np.testing.assert_array_equal(h.grad.numpy()[EMPTY], 2.0)
    np.testing.assert_array_equal(c.grad.numpy()[EMPTY], 3.0)


def test_a_layer_without_a_bias_has_none_in_pytorch_either() -> None:
    given = problem()
    x, h, c, kernel, recurrent_kernel, bias = (
        torch.tensor(each) for each in (given.x, given.h, given.c, *given.cell)
    )
    y, zero = (
        on_torch.compute("torch", x, (h, c), Weights(*weights), None, False, True)[1]
        for weights in ((kernel, recurrent_kernel, b) for b in (None, torch.zeros_like(bias)))
    )
    np.testing.assert_allclose(y, zero, atol=1e-12)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace` is deprecated:DeprecationWarning")
def test_a_program_that_is_recorded_is_told_from_a_call() -> None:
    found = []

    def seen(x: object) -> object:
        found.append(on_torch.becomes_program(x))
        return x

    x = torch.ones(2)
    seen(x)
    torch.jit.trace(seen, x, check_trace=False)
    assert found == [False, True]
