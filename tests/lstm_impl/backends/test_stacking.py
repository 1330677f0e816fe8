"""The loop over layers and directions, with the reference's own layer in it: no framework."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from lstm_impl import Call, LSTMSpec, LSTMState, LSTMWeights, Workload, reference
from lstm_impl.backends.stacking import through_layers

SPECS = (LSTMSpec(3, 4), LSTMSpec(3, 4, 3), LSTMSpec(3, 4, 1, True), LSTMSpec(3, 4, 3, True))


def stacked(spec: LSTMSpec, call: Call, mistake: str = "") -> tuple[Any, ...]:
    """What the loop makes of the reference's layers; with a mistake, of ones made wrong."""
    cells = LSTMWeights.random(spec, seed=1).cells()

    def layer(row: int, x: Any, h: Any, c: Any, reverse: bool) -> tuple[Any, Any, Any]:
        cell = cells[0 if mistake == "row" else row]
        one = LSTMSpec(x.shape[-1], spec.hidden_size)
        weights = LSTMWeights(((cell,),))
        state = LSTMState(c[None], h[None]) if mistake == "state" else LSTMState(h[None], c[None])
        reverse = reverse and mistake != "direction"
        y, last = reference.forward(one, weights, x[::-1] if reverse else x, state)
        return (y[::-1] if reverse else y), last.h[0], last.c[0]

    return through_layers(spec, call, layer, functools.partial(np.concatenate, axis=-1), np.stack)


def called(spec: LSTMSpec) -> Call:
    dropout = 0.5 if spec.num_layers > 1 else 0.0
    inputs = Workload(2, 5, "training", dropout=dropout).inputs(spec)
    return Call(inputs.x, inputs.state.h, inputs.state.c, None, inputs.masks)


def equal(spec: LSTMSpec, mistake: str = "") -> bool:
    call = called(spec)
    y, state = reference.forward(
        spec,
        LSTMWeights.random(spec, seed=1),
        call.x,
        LSTMState(call.h, call.c),
        masks=call.masks,
    )
    found = stacked(spec, call, mistake)
    return all(np.allclose(a, b) for a, b in zip(found, (y, state.h, state.c), strict=True))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_layers_are_stacked_as_the_reference_stacks_them(spec: LSTMSpec) -> None:
    assert equal(spec)


@pytest.mark.parametrize("mistake", ["state", "direction", "row"])
def test_a_layer_that_is_wrong_shows(mistake: str) -> None:
    assert not equal(LSTMSpec(3, 4, 1, True), mistake)


def test_each_layer_and_direction_has_its_own_row() -> None:
    rows: list[tuple[int, bool, float, float]] = []

    def layer(row: int, x: Any, h: Any, c: Any, reverse: bool) -> tuple[Any, Any, Any]:
        rows.append((row, reverse, h.item(), c.item()))
        return x[..., :1], h, c

    state = np.arange(4.0).reshape(4, 1, 1)
    spec = LSTMSpec(1, 1, 2, True)
    call = Call(np.zeros((2, 1, 1)), state, 10 * state)
    join = functools.partial(np.concatenate, axis=-1)
    y, h, c = through_layers(spec, call, layer, join, np.stack)
    assert rows == [(row, row % 2 == 1, float(row), 10.0 * row) for row in range(4)]
    assert y.shape == (2, 1, 2)
    np.testing.assert_array_equal(h, state)
    np.testing.assert_array_equal(c, 10 * state)
