"""Compute the layers for Keras on PyTorch, with any mask.

PyTorch's own LSTM and GRU compute them, or the fused kernels.
"""

import keras
import torch
from torch.nn.utils import rnn

from lstm_impl.backends.fused_cpu import c_interface, library
from lstm_impl.backends.torch.fused_layer import (
    compute_layer,
    encode_steps,
    is_forward_mode,
    select_operators,
)
from lstm_impl.backends.torch.loop import loop_layer
from lstm_impl.call import Call, Outputs, States, Tensor
from lstm_impl.cell import DEFAULT, Cell
from lstm_impl.keras.base import Weights
from lstm_impl.keras.choice import LayerCall

BACKEND = "torch"
"""The backend without the kernels: PyTorch's own LSTM and GRU."""

LOOP = "a loop of PyTorch's operators"
"""What computes resets without the kernels, for explanations."""

FUSED, BINDING, load = "torch_fused_cpu", library.C, c_interface.kernels
NAMES = (BACKEND, FUSED)
TANH = (torch.tanh,)
SIGMOID = (torch.sigmoid,)


def on_gpu() -> bool:
    """Return whether Keras makes its tensors on a GPU."""
    return bool(keras.ops.zeros(()).device.type == "cuda")


def loop_is_faster(call: LayerCall) -> bool:
    """Return whether Keras's loop over the steps is faster than the kernels."""
    return call.timesteps in (1, 2)


def becomes_program(sequences: Tensor) -> bool:
    """Return whether PyTorch records this call into a program instead of computing it."""
    return bool(torch.jit.is_tracing() or torch.compiler.is_compiling())


def in_keras_step() -> bool:
    """Return False, because Keras on PyTorch does not trace its steps."""
    return False


def cummax(steps: Tensor) -> Tensor:
    """Return the cumulative maximum over the second axis."""
    return steps.cummax(dim=1).values


def compute(
    name: str,
    cell: Cell,
    sequences: Tensor,
    states: States,
    weights: Weights,
    mask: Tensor | None,
    starts: tuple[Tensor, str] | None = None,
) -> Outputs:
    """Compute the outputs ``[B, T, H]``, which are zero in masked steps, and the final states.

    starts: before which steps sequences start over, bool ``[B, T]``, and the state from which.
    """
    # The state of a stateful layer is a variable, which changes before the gradient is computed.
    states = tuple(part.clone() for part in states)
    valid = None if mask is None else mask.T
    if starts is not None:
        valid = encode_steps(starts[0].T, starts[1], valid)
    call = Call(sequences, states)
    # Neither oneDNN's LSTM nor the kernels have a forward mode, and oneDNN's takes no resets.
    if is_forward_mode() or (starts is not None and name != FUSED):
        cast = Weights(*(each.to(sequences.dtype) for each in weights))
        return loop_layer(cell, call, cast.parameters, valid, batch_major=True)
    if name == FUSED:
        operators = select_operators(cell)
        y, *last = compute_layer(operators, call, weights.parameters, valid, batch_major=True)
        return Outputs(y, tuple(last))
    if mask is not None:
        return _packed(cell, sequences, states, weights, mask)
    y, *last = _call(cell, sequences, tuple(part[None] for part in states), weights, True)
    return Outputs(y, tuple(part[0] for part in last))


def _packed(cell: Cell, x: Tensor, states: States, weights: Weights, mask: Tensor) -> Outputs:
    """Compute packed sequences: valid steps move to the front, and their outputs back.

    Masked steps keep the state.
    """
    lengths = mask.sum(dim=1)
    front = torch.argsort(~mask, dim=1, stable=True)
    packed = rnn.pack_padded_sequence(
        x.gather(1, front[:, :, None].expand_as(x)),
        lengths.clamp(min=1).cpu(),  # A sequence may not be empty, so one step is not used.
        batch_first=True,
        enforce_sorted=False,
    )
    order, back = packed.sorted_indices, packed.unsorted_indices
    start = tuple(part[None, order] for part in states)
    data, *last = _call(cell, packed.data, start, weights, packed.batch_sizes)
    made = rnn.PackedSequence(data, packed.batch_sizes, order, back)
    y, _ = rnn.pad_packed_sequence(made, batch_first=True, total_length=x.shape[1])
    y = y.gather(1, torch.argsort(front, dim=1)[:, :, None].expand_as(y))
    some = (lengths > 0)[:, None]
    pairs = zip(last, states, strict=True)
    after = tuple(torch.where(some, each[0, back], before) for each, before in pairs)
    return Outputs(torch.where(mask[:, :, None], y, torch.zeros_like(y)), after)


def _call(
    cell: Cell, x: Tensor, states: States, weights: Weights, how: Tensor | bool
) -> tuple[Tensor, ...]:
    """Call PyTorch's own function for one layer in one direction.

    ``how`` is True for batch-major sequences, or the batch sizes of packed ones.
    """
    kernel, recurrent_kernel, *biases = weights.parameters
    # The gates are in the same order. If the cell has one bias, PyTorch's second one is zero.
    parameters = [kernel.t().contiguous(), recurrent_kernel.t().contiguous(), *biases]
    if len(biases) == 1:
        parameters.append(torch.zeros_like(biases[0]))
    compute, given = (torch.lstm, states) if cell == DEFAULT else (torch.gru, states[0])
    keeps_for_gradient = torch.is_grad_enabled()
    arguments = parameters, True, 1, 0.0, keeps_for_gradient, False
    made: tuple[Tensor, ...]
    if isinstance(how, bool):
        made = compute(x, given, *arguments, how)
    else:
        made = compute(x, how, given, *arguments)
    return made
