"""Propagate the rounding errors of a computation to first order, as standard deviations.

A computation rounds each factor, sum, gate, cell state and hidden state. Each rounding error is
modelled as an independent random number of mean zero. Its variance passes through the derivative of
each later operation, forward and backward in time, as the values do. The bound of a result
therefore follows from the condition of its network: it is small behind a shut gate and large where
terms cancel. ``docs/equivalence.md`` has the derivation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lstm_impl.proof.comparison import collect_results
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LayerWeights, LSTMGradients, LSTMState, LSTMWeights
from lstm_impl.workload import Inputs

Float64 = npt.NDArray[np.float64]

TERMS = 8
"""The most terms in a sum of these networks, whose kernels have sparse columns."""

ULPS = 2.0
"""The error of the libraries' approximations of tanh and the sigmoid, in units of roundoff of
float32 or float64. It is relative to 1 and not to the value: a shut gate has the same error as an
open one."""

GATES_BY_FACTORS = 2.0**-13
"""The same in bf32, where the next product rounds the results of gates to bfloat16. ``fused_cpu``
then uses its functions for bfloat16, whose error is one sixteenth of that rounding."""

KEPT_ADDITIONS = 12
"""The number of timesteps whose part of a weight's gradient changes a sum that rounds to half
precision. The gradient enters at the last timestep and shrinks with each earlier one. Before these
timesteps, the parts are smaller than half a unit in the last place, so that the sum does not
change."""

SMALLEST_NORMAL = {"float16": 2.0**-14, "float64": 2.0**-1022}
"""The magnitude below which a number may become zero, by compute type."""

OF_EIGHT_BITS = 2.0**-126
"""The same for the types whose exponent has eight bits: float32 and bfloat16."""


class Roundings(NamedTuple):
    """Hold the root mean squares of the rounding errors of a precision.

    Attributes
    ----------
    factor
        The relative error of a factor of a product.
    element
        The relative error of an elementwise operation's result.
    sum
        The error of an accumulated sum, relative to the sum of its terms' magnitudes.
    gate
        The absolute error of a gate or of tanh.
    smallest
        The absolute error of a number that may become zero.
    """

    factor: float
    element: float
    sum: float
    gate: float
    smallest: float

    @classmethod
    def of(cls, spec: LSTMSpec) -> Roundings:
        """Return the errors of a spec's precision. A rounding by at most u has u/sqrt(3)."""
        precision = spec.precision
        u = precision.roundoff
        fine = 2.0**-53 if precision.compute == "float64" else 2.0**-24
        element = fine if precision.compute.startswith("float32") else u
        third = 1.0 / math.sqrt(3.0)
        gate = GATES_BY_FACTORS if spec.dtype == "bf32" else ULPS * fine
        smallest = SMALLEST_NORMAL.get(precision.compute, OF_EIGHT_BITS)
        return cls(u * third, element * third, fine * math.sqrt(TERMS), gate, smallest)


@dataclass
class _Trace:
    """Keep the values and variances of one direction of one layer for its backward pass."""

    weights: LayerWeights
    x: Float64
    x_var: Float64
    valid: Float64
    h: list[Float64] = field(default_factory=list)
    h_var: list[Float64] = field(default_factory=list)
    c: list[Float64] = field(default_factory=list)
    c_var: list[Float64] = field(default_factory=list)
    tanh: list[tuple[Float64, Float64]] = field(default_factory=list)
    gates: list[tuple[Float64, ...]] = field(default_factory=list)
    gates_var: list[tuple[Float64, ...]] = field(default_factory=list)


def estimate_deviations(
    spec: LSTMSpec, weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None
) -> dict[str, FloatArray]:
    """Return the standard deviation of each result by rounding, by the names of the results.

    Parameters
    ----------
    spec, weights, inputs
        As a judge takes them. The precision must represent the numbers exactly.
    dstate
        The gradient of the final state, or None for no gradients.
    """
    by = Roundings.of(spec)
    traces, y_var, state_var = _forward(spec, by, weights, inputs)
    variances = collect_results(
        y_var,
        state_var,
        None if dstate is None else _backward(spec, by, traces, inputs, dstate),
    )
    return {name: np.sqrt(variance) for name, variance in variances.items()}


def _forward(
    spec: LSTMSpec, by: Roundings, weights: LSTMWeights, inputs: Inputs
) -> tuple[list[_Trace], Float64, LSTMState]:
    """Run all layers forward, and estimate how rounding errors spread.

    Return the trace of each layer, the variance of the rounding error of the outputs, and those
    of the final states.
    """
    x = np.asarray(inputs.x, np.float64)
    timesteps, batch, _ = x.shape
    lengths = inputs.lengths
    valid = np.ones((timesteps, batch, 1))
    if lengths is not None:
        valid = (np.arange(timesteps)[:, None] < lengths[None, :]).astype(np.float64)[:, :, None]
    x, x_var = x * valid, np.zeros_like(x)
    traces: list[_Trace] = []
    for layer, cells in enumerate(weights.layers):
        if layer and inputs.masks is not None:
            mask = np.asarray(inputs.masks[layer - 1], np.float64)
            x, x_var = x * mask, x_var * mask**2
        outputs = []
        for direction, cell in enumerate(cells):
            turn = _make_reversal(direction, lengths)
            row = layer * spec.num_directions + direction
            state = inputs.state
            trace = _Trace(_convert_to_float64(cell), turn(x), turn(x_var), valid)
            _run_forward(
                trace, by, *(np.asarray(each[row], np.float64) for each in (state.h, state.c))
            )
            outputs.append([turn(np.stack(each[1:]) * valid) for each in (trace.h, trace.h_var)])
            traces.append(trace)
        x, x_var = (np.concatenate(each, axis=-1) for each in zip(*outputs, strict=True))
        # The layer above rounds its input once more, as a factor of its products.
        y_var, x_var = x_var, x_var + (by.factor * x) ** 2
    final = LSTMState(
        np.stack([trace.h_var[-1] for trace in traces]),
        np.stack([trace.c_var[-1] for trace in traces]),
    )
    return traces, y_var, final


def _convert_to_float64(cell: LayerWeights) -> LayerWeights:
    return LayerWeights(*(np.asarray(array, np.float64) for array in cell))


def _make_reversal(
    direction: int, lengths: npt.NDArray[np.int32] | None
) -> Callable[[Float64], Float64]:
    """Return a function that reverses each sequence's valid steps for the second direction."""

    def turn(array: Float64) -> Float64:
        if lengths is None:
            return array[::-1]
        turned = array.copy()
        for row, length in enumerate(lengths):
            turned[:length, row] = array[:length, row][::-1]
        return turned

    return turn if direction else lambda array: array


def _run_forward(trace: _Trace, by: Roundings, h: Float64, c: Float64) -> None:
    """Run one direction forward, and keep all values and variances in its trace."""
    kernel, recurrent_kernel, bias = trace.weights
    kernel2, recurrent2, magnitudes = kernel**2, recurrent_kernel**2, np.abs(recurrent_kernel)
    e = by.element**2
    timesteps, batch, features = trace.x.shape
    flat, flat_var = trace.x.reshape(-1, features), trace.x_var.reshape(-1, features)
    shape = (timesteps, batch, bias.size)
    products = (flat @ kernel).reshape(shape)
    products_var = (flat_var @ kernel2).reshape(shape)
    terms = (np.abs(flat) @ np.abs(kernel)).reshape(shape) + np.abs(bias)
    h_var, c_var = np.zeros_like(h), np.zeros_like(c)
    trace.h.append(h)
    trace.h_var.append(h_var)
    trace.c.append(c)
    trace.c_var.append(c_var)
    for t in range(timesteps):
        recurrent = h @ recurrent_kernel
        z = products[t] + recurrent + bias
        rounded = h_var + (by.factor * h) ** 2 if t else h_var
        z_var = products_var[t] + rounded @ recurrent2
        z_var += (by.sum * (terms[t] + np.abs(h) @ magnitudes)) ** 2
        z_var += e * (products[t] ** 2 + recurrent**2 + z**2)
        values, variances = [], []
        pairs = zip(np.split(z, 4, -1), np.split(z_var, 4, -1), strict=True)
        for number, (each, variance) in enumerate(pairs):
            if number == 2:
                value = np.tanh(each)
                slope = 1.0 - value**2
            else:
                value = 0.5 * (1.0 + np.tanh(0.5 * each))
                slope = value * (1.0 - value)
            values.append(value)
            variances.append(slope**2 * variance + e * value**2 + by.gate**2)
        (i, f, g, o), (i_var, f_var, g_var, o_var) = values, variances
        kept, added = f * c, i * g
        c_new = kept + added
        c_new_var = f**2 * c_var + c**2 * f_var + i**2 * g_var + g**2 * i_var
        c_new_var += e * (kept**2 + added**2 + c_new**2) + by.smallest**2
        tanh = np.tanh(c_new)
        tanh_var = (1.0 - tanh**2) ** 2 * c_new_var + e * tanh**2 + by.gate**2
        h_new = o * tanh
        h_new_var = o**2 * tanh_var + tanh**2 * o_var + e * h_new**2 + by.smallest**2
        valid = trace.valid[t] > 0
        h, h_var = np.where(valid, h_new, h), np.where(valid, h_new_var, h_var)
        c, c_var = np.where(valid, c_new, c), np.where(valid, c_new_var, c_var)
        trace.h.append(h)
        trace.h_var.append(h_var)
        trace.c.append(c)
        trace.c_var.append(c_var)
        trace.tanh.append((tanh, tanh_var))
        trace.gates.append(tuple(values))
        trace.gates_var.append(tuple(variances))


def _backward(
    spec: LSTMSpec, by: Roundings, traces: list[_Trace], inputs: Inputs, dstate: LSTMState
) -> LSTMGradients:
    """Run all layers backward, and return the variances of all gradients."""
    flow = np.asarray(inputs.dy, np.float64) * traces[0].valid
    flow_var = np.zeros_like(flow)
    dh_first, dc_first = (np.zeros(np.shape(dstate.h)) for _ in range(2))
    layers: list[tuple[LayerWeights, ...]] = []
    size = spec.hidden_size
    for layer in reversed(range(spec.num_layers)):
        below: list[tuple[Float64, Float64]] = []
        cells = []
        for direction in range(spec.num_directions):
            row = layer * spec.num_directions + direction
            turn = _make_reversal(direction, inputs.lengths)
            part = slice(direction * size, (direction + 1) * size)
            given = turn(flow[..., part]), turn(flow_var[..., part])
            last = (np.asarray(each[row], np.float64) for each in (dstate.h, dstate.c))
            dx, dx_var, cell, dh_first[row], dc_first[row] = _run_backward(
                traces[row], by, *given, *last
            )
            below.append((turn(dx), turn(dx_var)))
            cells.append(cell)
        layers.append(tuple(cells))
        flow, flow_var = (sum(each) for each in zip(*below, strict=True))
        if spec.num_directions > 1:
            flow_var = flow_var + by.element**2 * flow**2
        if layer and inputs.masks is not None:
            mask = np.asarray(inputs.masks[layer - 1], np.float64)
            flow, flow_var = flow * mask, flow_var * mask**2
    weights = LSTMWeights(tuple(reversed(layers)))
    return LSTMGradients(flow_var, weights, LSTMState(dh_first, dc_first))


def _run_backward(
    trace: _Trace, by: Roundings, dy: Float64, dy_var: Float64, dh: Float64, dc: Float64
) -> tuple[Float64, Float64, LayerWeights, Float64, Float64]:
    """Run one direction backward.

    Returns
    -------
    tuple
        dx, and the variances of dx, of the weights' gradients, of dh0 and of dc0.
    """
    kernel, recurrent_kernel, _ = trace.weights
    recurrent2, magnitudes = (recurrent_kernel**2).T, np.abs(recurrent_kernel).T
    e, timesteps = by.element**2, len(trace.x)
    dh_var, dc_var = np.zeros_like(dh), np.zeros_like(dc)
    dz, dz_var = ([np.empty(0)] * timesteps for _ in range(2))
    for t in reversed(range(timesteps)):
        valid = trace.valid[t]
        i, f, g, o = trace.gates[t]
        i_var, f_var, g_var, o_var = trace.gates_var[t]
        tanh, tanh_var = trace.tanh[t]
        c, c_var = trace.c[t], trace.c_var[t]
        dh_new = valid * (dh + dy[t])
        dh_new_var = valid * (dh_var + dy_var[t] + e * dh_new**2)
        slope, wide = 1.0 - tanh**2, 4.0 * tanh**2 * tanh_var + e * tanh**4
        through = dh_new * o * slope
        dc_new = valid * dc + through
        dc_new_var = valid * dc_var + (o * slope) ** 2 * dh_new_var
        dc_new_var += dh_new**2 * (slope**2 * o_var + o**2 * wide) + e * (
            3.0 * through**2 + dc_new**2
        )
        dc_new_var += valid * by.smallest**2

        def gate(
            flow: Float64,
            flow_var: Float64,
            by_: Float64,
            by_var: Float64,
            s: Float64,
            s_var: Float64,
        ) -> tuple[Float64, Float64]:
            """Return flow * by_ * s * (1 - s) and its variance."""
            slope = s * (1.0 - s)
            value = flow * by_ * slope
            variance = (by_ * slope) ** 2 * flow_var + 3.0 * e * value**2
            variance += flow**2 * (slope**2 * by_var + by_**2 * (1.0 - 2.0 * s) ** 2 * s_var)
            return value, variance

        di, di_var = gate(dc_new, dc_new_var, g, g_var, i, i_var)
        df, df_var = gate(dc_new, dc_new_var, c, c_var, f, f_var)
        do, do_var = gate(dh_new, dh_new_var, tanh, tanh_var, o, o_var)
        slope, wide = 1.0 - g**2, 4.0 * g**2 * g_var + e * g**4
        dg = dc_new * i * slope
        dg_var = (i * slope) ** 2 * dc_new_var + 3.0 * e * dg**2
        dg_var += dc_new**2 * (slope**2 * i_var + i**2 * wide)
        dz[t] = np.concatenate([di, df, dg, do], axis=-1)
        dz_var[t] = np.concatenate([di_var, df_var, dg_var, do_var], axis=-1)
        dz_var[t] += (by.factor * dz[t]) ** 2 + valid * by.smallest**2
        dc_var = (
            f**2 * dc_new_var + dc_new**2 * f_var + e * (dc_new * f) ** 2 + (1 - valid) * dc_var
        )
        dc = dc_new * f + (1.0 - valid) * dc
        back = dz[t] @ recurrent_kernel.T
        back_var = dz_var[t] @ recurrent2 + (by.sum * (np.abs(dz[t]) @ magnitudes)) ** 2
        dh_var = back_var + e * back**2 + (1.0 - valid) * dh_var
        dh = back + (1.0 - valid) * dh
    flat, flat_var = (np.concatenate(each) for each in (dz, dz_var))
    sums = e * min(timesteps, KEPT_ADDITIONS)

    def sum_variance(left: Float64, left_var: Float64) -> Float64:
        """Return the variance of left.T @ dz, which is sum_variance over the timesteps."""
        gradient = left.T @ flat
        variance = (left**2).T @ flat_var + left_var.T @ flat**2 + sums * gradient**2
        return np.asarray(variance + (by.sum * (np.abs(left).T @ np.abs(flat))) ** 2)

    rows = len(flat)
    x, x_var = trace.x.reshape(rows, -1), trace.x_var.reshape(rows, -1)
    h, h_var = np.concatenate(trace.h[:-1]), np.concatenate(trace.h_var[:-1])
    h_var = h_var + (by.factor * h) ** 2
    ones = np.ones((rows, 1))
    cell = LayerWeights(
        sum_variance(x, x_var),
        sum_variance(h, h_var),
        sum_variance(ones, np.zeros_like(ones)).reshape(-1),
    )
    dx = flat @ kernel.T
    dx_var = flat_var @ (kernel**2).T + (by.sum * (np.abs(flat) @ np.abs(kernel).T)) ** 2
    dx_var += e * dx**2
    shape = trace.x.shape
    return dx.reshape(shape), dx_var.reshape(shape), cell, dh_var, dc_var
