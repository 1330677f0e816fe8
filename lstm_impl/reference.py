"""Compute a network's forward and backward pass in float64 NumPy, as the reference.

A cell has the equations of one timestep (``cell.py``). This module runs them through time,
directions and layers. In padding, the output is zero and the state stays that of the last valid
step, as in cuDNN. The module shares no code with any backend. Tests check it by finite differences.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lstm_impl.cell import Cell, CellState, Float64, LSTMState, States, StepWeights, sigmoid
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LayerWeights, LSTMGradients, LSTMWeights
from lstm_impl.workload import select_differentiated

__all__ = ["forward", "forward_and_gradients", "sigmoid"]

Lengths = npt.ArrayLike | None
"""The valid timesteps of each sequence ``[B]``, or None if all are valid."""

Resets = npt.ArrayLike | None
"""Before which steps sequences start over, bool ``[T, B]``, or None if none does."""


@dataclass
class _LayerTrace:
    """Keep what one direction of one layer needs for its backward pass."""

    cell: Cell
    weights: StepWeights
    x: Float64  # [T, B, in]
    states: States  # [T+1, B, H] each, the initial state first
    kept: list[Float64]  # what the cell kept of each step
    valid: Float64  # [T, B, 1], 1 where the step is not padding
    starts: (
        Float64 | None
    )  # [T, B, 1], 1 where the step begins from ``fresh``, not from the last one
    fresh: States  # [B, H] each
    to_initial: bool  # whether ``fresh`` is the initial state, which then has a gradient

    def before(self, t: int) -> States:
        """Return the states that step ``t`` begins from, ``[B, H]`` each."""
        states = tuple(each[t] for each in self.states)
        if self.starts is None:
            return states
        pairs = zip(self.fresh, states, strict=True)
        return tuple(np.where(self.starts[t] > 0, fresh, state) for fresh, state in pairs)


def forward(
    spec: LSTMSpec,
    weights: LSTMWeights,
    x: npt.ArrayLike,
    state: CellState | None = None,
    lengths: Lengths = None,
    masks: FloatArray | None = None,
    resets: Resets = None,
    reset_to: str = "zeros",
) -> tuple[Float64, LSTMState]:
    """Compute the outputs and the final state in float64.

    Parameters
    ----------
    spec, weights
        The network and its canonical parameters.
    x
        The input ``[T, B, in]``.
    state
        The initial state, or None for zeros.
    lengths
        The valid timesteps of each sequence ``[B]``, or None if all are valid.
    masks
        The dropout masks between layers ``[L-1, T, B, D*H]``, or None without dropout.
    resets
        Bool ``[T, B]``: before a step that is True a sequence starts over. A second direction,
        which reads from the end, starts over behind it. None if no sequence does.
    reset_to
        The state from which it starts over, one of ``RESET_TO``.

    Returns
    -------
    tuple
        The outputs ``[T, B, D*H]`` and the final state.
    """
    y, final, _ = _forward(spec, weights, x, state, lengths, masks, resets, reset_to)
    return y, final


def forward_and_gradients(
    spec: LSTMSpec,
    weights: LSTMWeights,
    x: npt.ArrayLike,
    dy: npt.ArrayLike,
    state: CellState | None = None,
    dstate: CellState | None = None,
    lengths: Lengths = None,
    masks: FloatArray | None = None,
    resets: Resets = None,
    reset_to: str = "zeros",
    *,
    of: str = "all",
) -> tuple[Float64, LSTMState, LSTMGradients]:
    """Compute what ``forward`` returns, and the gradients, in float64.

    The gradients are those of ``sum(y*dy)`` plus, for each state s, ``sum(s_T*dstate.s)``.

    Parameters
    ----------
    dy
        The gradient of the outputs ``[T, B, D*H]``.
    dstate
        The gradient of the final state, or None for zeros.
    of
        What is differentiated, one of ``GRADIENTS``.
    spec, weights, x, state, lengths, masks, resets, reset_to
        As in ``forward``.

    Returns
    -------
    tuple
        The outputs, the final state and the gradients.
    """
    y, final, traces = _forward(spec, weights, x, state, lengths, masks, resets, reset_to)
    return y, final, _backward(spec, traces, dy, dstate, lengths, masks, of)


def _backward(
    spec: LSTMSpec,
    traces: list[list[_LayerTrace]],
    dy: npt.ArrayLike,
    dstate: CellState | None,
    lengths: Lengths,
    masks: FloatArray | None,
    of: str,
) -> LSTMGradients:
    """Run all layers backward, and return the gradients."""
    inputs = select_differentiated(of, "x", "h", "c")
    d_out = np.asarray(dy, np.float64)
    batch = d_out.shape[1]
    d_last = _state64(spec, dstate, batch)
    d_first = tuple(map(np.zeros_like, d_last))
    lengths_ = None if lengths is None else np.asarray(lengths)
    # Padding may hold NaN, and NaN times zero is NaN. So its gradients are replaced, not
    # multiplied.
    if lengths_ is not None:
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
            dz, cell, flow = _layer_backward(trace, part, tuple(each[row] for each in d_last))
            for first, gradient in zip(d_first, flow, strict=True):
                first[row] = gradient
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
        state=spec.cell.state_type(*d_first) if "h" in inputs else None,
    )


def _forward(
    spec: LSTMSpec,
    weights: LSTMWeights,
    x: npt.ArrayLike,
    state: CellState | None,
    lengths: Lengths,
    masks: FloatArray | None,
    resets: Resets,
    reset_to: str,
) -> tuple[Float64, LSTMState, list[list[_LayerTrace]]]:
    """Run all layers forward, and return the outputs, the final state and the traces."""
    out = np.asarray(x, np.float64)
    timesteps, batch, _ = out.shape
    first = _state64(spec, state, batch)
    last = tuple(map(np.zeros_like, first))
    lengths_ = None if lengths is None else np.asarray(lengths)
    if lengths_ is None:
        valid = np.ones((timesteps, batch, 1))
    else:
        valid = (np.arange(timesteps)[:, None] < lengths_[None, :]).astype(np.float64)[:, :, None]
        out = np.where(valid > 0, out, 0.0)  # Padding may hold NaN.
    traces: list[list[_LayerTrace]] = []
    for layer in range(spec.num_layers):
        if layer and masks is not None:
            out = out * np.asarray(masks[layer - 1], np.float64)
        outputs, layer_traces = [], []
        for direction in range(spec.num_directions):
            row = layer * spec.num_directions + direction
            parameters = StepWeights(
                *(np.asarray(array, np.float64) for array in weights.layers[layer][direction])
            )
            inputs = _reverse(out, lengths_) if direction else out
            initial = tuple(each[row] for each in first)
            starts = None
            if resets is not None:
                starts = _first_steps(np.asarray(resets, bool), valid, lengths_, direction == 1)
            how = starts, reset_to == "initial_state"
            trace = _layer_forward(spec.cell, parameters, inputs, initial, valid, *how)
            for final, states in zip(last, trace.states, strict=True):
                final[row] = states[-1]
            y = trace.states[0][1:] * valid
            outputs.append(_reverse(y, lengths_) if direction else y)
            layer_traces.append(trace)
        out = np.concatenate(outputs, axis=-1)
        traces.append(layer_traces)
    return out, spec.cell.state_type(*last), traces


def _first_steps(
    resets: npt.NDArray[np.bool_],
    valid: Float64,
    lengths: npt.NDArray[np.integer] | None,
    reverse: bool,
) -> Float64:
    """Return 1 where a step is the first one after a reset, in the order of reading ``[T, B, 1]``.

    A reset divides a sequence in two. The direction that reads backwards comes from the second
    part, so that its first step of the other part is the one before the reset.
    """
    first = valid * resets[:, :, None]
    if not reverse:
        return first
    backwards = _reverse(first, lengths)
    return np.concatenate([np.zeros_like(backwards[:1]), backwards[:-1]]) * valid


def _layer_forward(
    cell: Cell,
    weights: StepWeights,
    x: Float64,
    initial: States,
    valid: Float64,
    starts: Float64 | None,
    to_initial: bool,
) -> _LayerTrace:
    """Run one direction of a layer forward, and return its trace."""
    timesteps = len(x)
    states = tuple(np.empty((timesteps + 1, *each.shape)) for each in initial)
    for state, first in zip(states, initial, strict=True):
        state[0] = first
    fresh = initial if to_initial else tuple(map(np.zeros_like, initial))
    kept: list[Float64] = []
    trace = _LayerTrace(cell, weights, x, states, kept, valid, starts, fresh, to_initial)
    for t in range(timesteps):
        new, kept_step = cell.step(weights, x[t], trace.before(t))
        kept.append(kept_step)
        for state, each in zip(states, new, strict=True):
            state[t + 1] = np.where(valid[t] > 0, each, state[t])
    return trace


def _layer_backward(
    trace: _LayerTrace, dy: Float64, flow: States
) -> tuple[Float64, LayerWeights, States]:
    """Run one direction of a layer backward.

    Parameters
    ----------
    trace
        What the forward pass kept.
    dy
        The gradient of the outputs ``[T, B, H]``.
    flow
        The gradients of the final states, ``[B, H]`` each.

    Returns
    -------
    tuple
        The gradients of the sums before the gates ``[T, B, G*H]``, of the weights, and of the
        initial states.
    """
    timesteps, batch, hidden = dy.shape
    sums = np.empty((timesteps, batch, trace.weights.bias.size))
    recurrent_sums = sums  # A cell that keeps the two sums apart gets an array of its own below.
    recurrent_inputs: list[Float64 | None] = [None] * timesteps
    of_fresh = tuple(map(np.zeros_like, flow))
    for t in reversed(range(timesteps)):
        valid = trace.valid[t]
        dh, *rest = flow
        arriving = (valid * (dh + dy[t]), *(valid * each for each in rest))
        before, after = trace.before(t), tuple(each[t + 1] for each in trace.states)
        found = trace.cell.step_gradients(trace.weights, trace.kept[t], before, after, arriving)
        flow = tuple(
            gradient + (1.0 - valid) * passed
            for gradient, passed in zip(found.states, flow, strict=True)
        )
        if trace.starts is not None:  # nothing flows past the step into the states before it
            starts = trace.starts[t]
            pairs = zip(of_fresh, flow, strict=True)
            of_fresh = tuple(total + starts * each for total, each in pairs)
            flow = tuple((1.0 - starts) * each for each in flow)
        sums[t] = found.sums
        if found.recurrent_sums is not found.sums:
            if recurrent_sums is sums:
                recurrent_sums = np.empty_like(sums)
            recurrent_sums[t] = found.recurrent_sums
        recurrent_inputs[t] = found.recurrent_inputs
    rows = timesteps * batch
    flat, recurrent_flat = sums.reshape(rows, -1), recurrent_sums.reshape(rows, -1)
    if recurrent_inputs[0] is None:
        hidden_before = np.reshape([trace.before(t)[0] for t in range(timesteps)], (rows, hidden))
        recurrent_kernel = hidden_before.T @ recurrent_flat
    else:  # Each gate's part of the recurrent kernel multiplies another input.
        by_gate = np.stack([each for each in recurrent_inputs if each is not None], axis=1)
        recurrent_kernel = np.concatenate(
            [
                inputs.reshape(rows, hidden).T @ part
                for inputs, part in zip(
                    by_gate, np.split(recurrent_flat, len(by_gate), axis=-1), strict=True
                )
            ],
            axis=-1,
        )
    kernel = trace.x.reshape(rows, -1).T @ flat
    biases = [flat.sum(axis=0)]
    if trace.weights.recurrent_bias is not None:
        biases.append(recurrent_flat.sum(axis=0))
    if trace.to_initial:
        flow = tuple(each + more for each, more in zip(flow, of_fresh, strict=True))
    return sums, LayerWeights(kernel, recurrent_kernel, *biases), flow


def _reverse(array: Float64, lengths: npt.NDArray[np.integer] | None) -> Float64:
    """Reverse the valid steps of each sequence of ``[T, B, F]``. Padding stays in place."""
    if lengths is None:
        return array[::-1]
    reversed_ = array.copy()
    for b, length in enumerate(lengths):
        reversed_[:length, b] = array[:length, b][::-1]
    return reversed_


def _state64(spec: LSTMSpec, state: CellState | None, batch: int) -> States:
    """Return the arrays of a state in float64, or zeros for None."""
    if state is None:
        state = spec.cell.state_type.zeros(spec, batch)
    return tuple(np.asarray(each, np.float64) for each in state)
