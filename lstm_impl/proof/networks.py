"""Make the networks and inputs on which a model is judged besides random ones.

``saturated``: with weights within 1/sqrt(H) and inputs of unit variance no cell grows past 3 and no
gate is fully open or shut. Kernels and inputs eight times as large show a clipped cell or an
exponential that overflows. ``special_numbers``: zeros, and equal neighbours in time.
``large_updates``: weights that an optimizer's update changes by a large part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from lstm_impl.optimizer import LEARNING_RATE
from lstm_impl.proof.comparison import SMALLEST_SCALE, Errors
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LSTMState, LSTMWeights
from lstm_impl.workload import Inputs

FACTOR = 8.0
"""A power of two, so that each weight is held as exactly as before."""

LARGE_INPUT = 64.0
"""Size of each timestep's first feature, so that some inputs are over 50 for any seed."""

CELLS = (24.0, 32.0)
"""Sizes of the initial cell states: cutting one to 10 is an error of over half."""

HELD = 64
"""Timesteps for which an input stays the same. Open gates add up to 1 to a cell in each, so that it
grows to at most 96: bfloat16 adds 1 exactly up to 256."""

ROUNDOFFS = 2.0**18
"""Relative root mean square error allowed in float32 and float64, in units of roundoff: a half open
gate passes on the rounding of sums of hundreds. Right backends use 0.02 of this."""

CELL, OUTPUT = {2.0**-11: 0.3, 2.0**-8: 0.45}, 0.7
"""The same in half precision and TF32, for cells and for outputs: a few units have a gate open that
should be shut. Right backends use 0.6 of this in bfloat16 and 0.04 in float16. A cell cut to 10 is
off by 0.58 or more, an output of zeros by 1. Of gradients only finite numbers are required."""


def saturated(spec: LSTMSpec, weights: LSTMWeights, inputs: Inputs) -> tuple[LSTMWeights, Inputs]:
    """Return larger ``weights`` and ``inputs``, with as many timesteps.

    The initial cells are large, with the signs they had. The initial hidden state stays, since it
    cannot be larger than 1. So do the recurrent kernels: eight times as large they would make a
    network whose steps amplify, in which two right results diverge.
    """

    def enlarge(array: FloatArray) -> FloatArray:
        return spec.quantize(np.asarray(array, np.float64) * FACTOR)

    x = np.asarray(inputs.x, np.float64)
    steps = len(x)
    # Counted from the end, so that the last stretch, which the final cells show, is complete.
    x = x[[max(0, steps - 1 - HELD * ((steps - 1 - step) // HELD)) for step in range(steps)]]
    x = x * FACTOR
    x[..., 0] = np.copysign(LARGE_INPUT, x[..., 0])
    c = np.asarray(inputs.state.c, np.float64)
    low, high = CELLS
    full = np.copysign(low + (high - low) * np.abs(c) / max(np.abs(c).max(), 1e-9), c)
    cells = [
        replace(cell, kernel=enlarge(cell.kernel), bias=enlarge(cell.bias))
        for cell in weights.cells()
    ]
    state = LSTMState(inputs.state.h, spec.quantize(full))
    return LSTMWeights.from_cells(spec, cells), replace(inputs, x=spec.quantize(x), state=state)


def saturated_errors(
    spec: LSTMSpec, ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]
) -> tuple[Errors, Errors]:
    """Return each array's error and the largest one allowed, named ``saturated NAME``."""
    found: Errors = {}
    allowed: Errors = {}
    u = spec.precision.roundoff
    for name, right in theirs.items():
        a, b = np.asarray(ours[name], np.float64), np.asarray(right, np.float64)
        fine = a.shape == b.shape and bool(np.all(np.isfinite(a)))
        if u <= 2.0**-24:
            bound = ROUNDOFFS * u
        elif name in ("y", "h", "c"):
            bound = CELL[u] if name == "c" else OUTPUT
        elif fine:
            continue
        else:
            bound = OUTPUT
        scale = max(float(np.sqrt(np.mean(b * b))), SMALLEST_SCALE)
        off = float(np.sqrt(np.mean((a - b) ** 2))) / scale if fine else math.nan
        found[f"saturated {name}"], allowed[f"saturated {name}"] = off, bound
    return found, allowed


def special_numbers(
    spec: LSTMSpec, weights: LSTMWeights, inputs: Inputs
) -> Iterator[tuple[str, LSTMWeights, Inputs]]:
    """Yield names, weights and inputs that random numbers never are: zeros, equal neighbours."""

    def changed(zero: slice) -> LSTMWeights:
        cells = []
        for cell in weights.cells():
            bias = cell.bias.copy()
            bias[zero] = 0
            cells.append(replace(cell, bias=bias))
        return LSTMWeights.from_cells(spec, cells)

    hidden = spec.hidden_size
    batch = inputs.x.shape[1]
    zero = replace(inputs, x=np.zeros_like(inputs.x), state=LSTMState.zeros(spec, batch))
    yield "zeros", changed(slice(hidden, 2 * hidden)), zero
    steps = np.arange(len(inputs.x))
    x = inputs.x[steps - steps % 2]
    if batch > 1:
        x[:, -1] = 0
    yield "repeats", changed(slice(None)), replace(inputs, x=x)


TARGET = 0.1
"""Part of the weights' size that updates with SGD change. With Adam, whose updates have the size of
the learning rate, the weights are made small instead."""

SMALL, SMALL_HALF = 3.0, 12.0
"""Sizes of weights in learning rates: an update by Adam then changes a third of them, or a twelfth
in float16, which holds fewer digits of small numbers."""


def large_updates(
    spec: LSTMSpec, optimizer: str, weights: LSTMWeights, inputs: Inputs
) -> tuple[LSTMWeights, Inputs]:
    """Return weights and inputs whose update is large next to the weights and their rounding."""
    batch, timesteps = inputs.x.shape[1], len(inputs.x)
    sums = math.sqrt(batch * timesteps)

    def power(value: float) -> float:
        """Return the nearest power of two, so that each number is held as exactly as before."""
        return 2.0 ** round(math.log2(value))

    if optimizer == "sgd":
        # The gradient of a weight is a sum of that many terms of about 0.2.
        flow = TARGET / math.sqrt(spec.hidden_size) / (LEARNING_RATE * 0.2 * sums)
        return weights, replace(inputs, dy=spec.quantize(inputs.dy * power(flow)))
    half = spec.precision.compute == "float16"
    size = (SMALL_HALF if half else SMALL) * LEARNING_RATE
    small = power(size * math.sqrt(spec.hidden_size))
    x = power(1.0 / (size * math.sqrt(spec.input_size)))
    h = power(1.0 / (size * math.sqrt(spec.hidden_size)))
    # A gradient is the sum of that many products with x: it must fit into float16.
    flow = power(1024.0 / (x * sums)) if half else 1.0
    return weights.map(lambda array: spec.quantize(array * small)), replace(
        inputs,
        x=spec.quantize(inputs.x * x),
        dy=spec.quantize(inputs.dy * min(1.0, flow)),
        state=LSTMState(spec.quantize(inputs.state.h * h), inputs.state.c),
    )
