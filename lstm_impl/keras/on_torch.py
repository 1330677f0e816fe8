"""Compute the layer for Keras on PyTorch: by its own LSTM or the fused kernels, with any mask."""

import keras
import torch
from torch.nn.utils import rnn

from lstm_impl.backends.fused_cpu import c_interface, library
from lstm_impl.backends.torch.fused_layer import fused_layer, is_forward_mode
from lstm_impl.backends.torch.loop import layer_by_loop
from lstm_impl.call import LSTMOutputs, State, Tensor
from lstm_impl.keras.base import Weights
from lstm_impl.keras.choice import LayerCall

BACKEND = "torch"
"""PyTorch's own LSTM."""

FUSED, BINDING, load = "torch_fused_cpu", library.C, c_interface.kernels
NAMES = (BACKEND, FUSED)
TANH = (torch.tanh,)
SIGMOID = (torch.sigmoid,)


def on_gpu() -> bool:
    """Return whether Keras makes its tensors on a GPU."""
    return bool(keras.ops.zeros(()).device.type == "cuda")


def loop_is_faster(call: LayerCall) -> bool:
    """Return whether Keras's loop over the steps takes less time than the kernels."""
    return call.timesteps in (1, 2)


def becomes_program(sequences: Tensor) -> bool:
    """Return whether PyTorch is recording a program from this call instead of computing it."""
    return bool(torch.jit.is_tracing() or torch.compiler.is_compiling())


def in_keras_step() -> bool:
    """Return False: Keras on PyTorch runs its steps, and traces none."""
    return False


def cummax(steps: Tensor) -> Tensor:
    """Return the largest number up to each place of the second axis."""
    return steps.cummax(dim=1).values


def compute(
    name: str, sequences: Tensor, state: State, weights: Weights, mask: Tensor | None
) -> LSTMOutputs:
    """Compute outputs ``[B, T, H]``, zero in masked steps, and the final h and c."""
    # A stateful layer's state is a variable, assigned to before the gradient is computed.
    h, c = (part.clone() for part in state)
    valid = None if mask is None else mask.T
    if is_forward_mode():  # oneDNN's LSTM has no forward mode, nor have the kernels
        cast = Weights(*(each.to(sequences.dtype) for each in weights))
        return layer_by_loop(sequences, h, c, *cast, valid, batch_major=True)
    if name == FUSED:
        return fused_layer(sequences, h, c, *weights, valid, batch_major=True)
    if mask is not None:
        return _packed(sequences, (h, c), weights, mask)
    y, h, c = torch.lstm(sequences, (h[None], c[None]), *_arguments(weights), True)
    return LSTMOutputs(y, h[0], c[0])


def _packed(x: Tensor, state: State, weights: Weights, mask: Tensor) -> LSTMOutputs:
    """Move each sequence's valid steps to its front, in the order in which they are read, and their
    outputs back to their places. The state is kept in masked steps.
    """
    lengths = mask.sum(dim=1)
    front = torch.argsort(~mask, dim=1, stable=True)
    packed = rnn.pack_padded_sequence(
        x.gather(1, front[:, :, None].expand_as(x)),
        lengths.clamp(min=1).cpu(),  # no sequence may be empty: one step is computed and unused
        batch_first=True,
        enforce_sorted=False,
    )
    order, back = packed.sorted_indices, packed.unsorted_indices
    start = tuple(part[None, order] for part in state)
    data, *last = torch.lstm(packed.data, packed.batch_sizes, start, *_arguments(weights))
    made = rnn.PackedSequence(data, packed.batch_sizes, order, back)
    y, _ = rnn.pad_packed_sequence(made, batch_first=True, total_length=x.shape[1])
    y = y.gather(1, torch.argsort(front, dim=1)[:, :, None].expand_as(y))
    some = (lengths > 0)[:, None]
    pairs = zip(last, state, strict=True)
    h, c = (torch.where(some, each[0, back], before) for each, before in pairs)
    return LSTMOutputs(torch.where(mask[:, :, None], y, torch.zeros_like(y)), h, c)


def _arguments(weights: Weights) -> tuple[list[Tensor], bool, int, float, bool, bool]:
    """Return PyTorch's arguments after input and state, for one layer in one direction."""
    *matrices, bias = weights
    # The gates are in the same order.
    parameters = [*(each.t().contiguous() for each in matrices), bias, torch.zeros_like(bias)]
    keeps_for_gradient = torch.is_grad_enabled()
    return parameters, True, 1, 0.0, keeps_for_gradient, False
