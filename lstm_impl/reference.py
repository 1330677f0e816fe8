"""Compute an LSTM's forward and backward pass in float64 NumPy, as the reference.

    z_t = x_t W + h_{t-1} R + b         split into the gates i, f, g, o
    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
    h_t = sigmoid(o) tanh(c_t)

as in Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000). Beyond a
sequence's length the output is zero and the state is that of the last valid step, as in cuDNN. It
shares no code with any backend; tests check it by finite differences.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LayerWeights, LSTMGradients, LSTMState, LSTMWeights
from lstm_impl.workload import differentiated

Float64 = npt.NDArray[np.float64]
Lengths = npt.ArrayLike | None


def sigmoid(z: Float64) -> Float64:
    """Return the logistic function, through tanh so that no exponential can overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * z))


@dataclass
class _LayerTrace:
    """What one direction of one layer keeps for its backward pass."""

    weights: LayerWeights
    x: Float64  # [T, B, in]
    h: Float64  # [T+1, B, H], the initial state first
    c: Float64  # [T+1, B, H]
    gates: Float64  # [T, B, 4H], after their nonlinearities
    valid: Float64  # [T, B, 1], 1 where the step is not padding


def forward(
    spec: LSTMSpec,
    weights: LSTMWeights,
    x: npt.ArrayLike,
    state: LSTMState | None = None,
    lengths: Lengths = None,
    masks: FloatArray | None = None,
) -> tuple[Float64, LSTMState]:
    """Compute outputs and the final state, in float64.

    Parameters
    ----------
    spec, weights
        The network and its canonical parameters.
    x
        The input ``[T, B, in]``.
    state
        The initial state, zeros if None.
    lengths
        Valid timesteps of each sequence ``[B]``, all if None.
    masks
        Dropout masks between layers ``[L-1, T, B, D*H]``, none if None.

    Returns
    -------
    The outputs ``[T, B, D*H]`` and the final state.
    """
    y, final, _ = _forward(spec, weights, x, state, lengths, masks)
    return y, final


def forward_and_gradients(
    spec: LSTMSpec,
    weights: LSTMWeights,
    x: npt.ArrayLike,
    dy: npt.ArrayLike,
    state: LSTMState | None = None,
    dstate: LSTMState | None = None,
    lengths: Lengths = None,
    masks: FloatArray | None = None,
    *,
    of: str = "all",
) -> tuple[Float64, LSTMState, LSTMGradients]:
    """Compute what ``forward`` returns, and gradients, in float64.

    The gradients are those of ``sum(y*dy) + sum(h_T*dstate.h) + sum(c_T*dstate.c)``.

    Parameters
    ----------
    dy
        Gradient of the outputs ``[T, B, D*H]``.
    dstate
        Gradient of the final state, zeros if None.
    of
        What is differentiated, one of ``GRADIENTS``.
    spec, weights, x, state, lengths, masks
        As in ``forward``.

    Returns
    -------
    The outputs, the final state and the gradients.
    """
    y, final, traces = _forward(spec, weights, x, state, lengths, masks)
    return y, final, _backward(spec, traces, dy, dstate, lengths, masks, of)


def _backward(
    spec: LSTMSpec,
    traces: list[list[_LayerTrace]],
    dy: npt.ArrayLike,
    dstate: LSTMState | None,
    lengths: Lengths,
    masks: FloatArray | None,
    of: str,
) -> LSTMGradients:
    inputs = differentiated(of, "x", "h", "c")
    d_out = np.asarray(dy, np.float64)
    batch = d_out.shape[1]
    dh_last, dc_last = _state64(spec, dstate, batch)
    dh_first, dc_first = np.zeros_like(dh_last), np.zeros_like(dc_last)
    lengths_ = None if lengths is None else np.asarray(lengths)
    if lengths_ is not None:  # NaN times zero is NaN, so gradients of padding are removed
        d_out = np.where(traces[0][0].valid > 0, d_out, 0.0)
    layer_gradients: list[tuple[LayerWeights, ...]] = []
    for layer in reversed(range(spec.num_layers)):
        d_in: Float64 = np.zeros_like(traces[layer][0].x)
        cells = []
        for direction, trace in enumerate(traces[layer]):
            row = layer * spec.num_directions + direction
            part = d_out[:, :, direction * spec.hidden_size : (direction + 1) * spec.hidden_size]
            if direction:
                part = _reverse(part, lengths_)
            dz, cell, dh_first[row], dc_first[row] = _layer_backward(
                trace, part, dh_last[row], dc_last[row]
            )
            if layer or "x" in inputs:
                dx = dz @ trace.weights.kernel.T
                d_in = d_in + (_reverse(dx, lengths_) if direction else dx)
            cells.append(cell)
        layer_gradients.append(tuple(cells))
        if layer and masks is not None:
            d_in = d_in * np.asarray(masks[layer - 1], np.float64)
        d_out = d_in
    return LSTMGradients(
        x=d_out if "x" in inputs else None,
        weights=LSTMWeights(tuple(reversed(layer_gradients))),
        state=LSTMState(h=dh_first, c=dc_first) if "h" in inputs else None,
    )


def _forward(
    spec: LSTMSpec,
    weights: LSTMWeights,
    x: npt.ArrayLike,
    state: LSTMState | None,
    lengths: Lengths,
    masks: FloatArray | None,
) -> tuple[Float64, LSTMState, list[list[_LayerTrace]]]:
    out = np.asarray(x, np.float64)
    timesteps, batch, _ = out.shape
    h_first, c_first = _state64(spec, state, batch)
    h_last, c_last = np.zeros_like(h_first), np.zeros_like(c_first)
    lengths_ = None if lengths is None else np.asarray(lengths)
    if lengths_ is None:
        valid = np.ones((timesteps, batch, 1))
    else:
        valid = (np.arange(timesteps)[:, None] < lengths_[None, :]).astype(np.float64)[:, :, None]
        out = np.where(valid > 0, out, 0.0)  # padding may hold NaN
    traces: list[list[_LayerTrace]] = []
    for layer in range(spec.num_layers):
        if layer and masks is not None:
            out = out * np.asarray(masks[layer - 1], np.float64)
        outputs, layer_traces = [], []
        for direction in range(spec.num_directions):
            row = layer * spec.num_directions + direction
            cell = LayerWeights(
                *(np.asarray(array, np.float64) for array in weights.layers[layer][direction])
            )
            inputs = _reverse(out, lengths_) if direction else out
            trace = _layer_forward(cell, inputs, h_first[row], c_first[row], valid)
            h_last[row], c_last[row] = trace.h[-1], trace.c[-1]
            y = trace.h[1:] * valid
            outputs.append(_reverse(y, lengths_) if direction else y)
            layer_traces.append(trace)
        out = np.concatenate(outputs, axis=-1)
        traces.append(layer_traces)
    return out, LSTMState(h=h_last, c=c_last), traces


def _layer_forward(
    weights: LayerWeights, x: Float64, h0: Float64, c0: Float64, valid: Float64
) -> _LayerTrace:
    timesteps, batch, _ = x.shape
    hidden = h0.shape[-1]
    h = np.empty((timesteps + 1, batch, hidden))
    c = np.empty((timesteps + 1, batch, hidden))
    gates = np.empty((timesteps, batch, 4 * hidden))
    h[0], c[0] = h0, c0
    for t in range(timesteps):
        z = x[t] @ weights.kernel + h[t] @ weights.recurrent_kernel + weights.bias
        i, f, g, o = np.split(z, 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        gates[t] = np.concatenate([i, f, g, o], axis=-1)
        c_new = f * c[t] + i * g
        h_new = o * np.tanh(c_new)
        c[t + 1] = np.where(valid[t] > 0, c_new, c[t])
        h[t + 1] = np.where(valid[t] > 0, h_new, h[t])
    return _LayerTrace(weights, x, h, c, gates, valid)


def _layer_backward(
    trace: _LayerTrace, dy: Float64, dh: Float64, dc: Float64
) -> tuple[Float64, LayerWeights, Float64, Float64]:
    """Return dz ``[T, B, 4H]`` of the sums before the gates, weight gradients, dh0 and dc0.

    dh and dc are the gradients of the last state.
    """
    dz = np.empty_like(trace.gates)
    for t in reversed(range(len(dz))):
        valid = trace.valid[t]
        i, f, g, o = np.split(trace.gates[t], 4, axis=-1)
        tanh_c = np.tanh(trace.c[t + 1])
        dh_new = valid * (dh + dy[t])
        dc_new = valid * dc + dh_new * o * (1.0 - tanh_c**2)
        di, df = dc_new * g * i * (1.0 - i), dc_new * trace.c[t] * f * (1.0 - f)
        dg, do = dc_new * i * (1.0 - g**2), dh_new * tanh_c * o * (1.0 - o)
        dz[t] = np.concatenate([di, df, dg, do], axis=-1)
        dc = dc_new * f + (1.0 - valid) * dc
        dh = dz[t] @ trace.weights.recurrent_kernel.T + (1.0 - valid) * dh
    flat = dz.reshape(-1, dz.shape[-1])
    kernel = trace.x.reshape(len(flat), -1).T @ flat
    recurrent_kernel = trace.h[:-1].reshape(len(flat), -1).T @ flat
    return dz, LayerWeights(kernel, recurrent_kernel, flat.sum(axis=0)), dh, dc


def _reverse(array: Float64, lengths: npt.NDArray[np.integer] | None) -> Float64:
    """Reverse each sequence's valid steps of ``array [T, B, F]``; padding stays in place."""
    if lengths is None:
        return array[::-1]
    reversed_ = array.copy()
    for b, length in enumerate(lengths):
        reversed_[:length, b] = array[:length, b][::-1]
    return reversed_


def _state64(spec: LSTMSpec, state: LSTMState | None, batch: int) -> tuple[Float64, Float64]:
    if state is None:
        state = LSTMState.zeros(spec, batch)
    return np.asarray(state.h, np.float64), np.asarray(state.c, np.float64)
