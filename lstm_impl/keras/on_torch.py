"""Compute the layer for Keras on PyTorch: by its own LSTM or the fused kernels, with any mask."""

from __future__ import annotations

import keras
import torch
from torch.nn.utils import rnn

from lstm_impl.backends.fused_cpu import c_interface, library
from lstm_impl.backends.torch.fused_layer import fused_layer
from lstm_impl.call import Outputs, State, Tensor
from lstm_impl.keras.base import Weights
from lstm_impl.spec import UnsupportedError

BACKEND = "torch"
"""PyTorch's own LSTM."""

FUSED, BINDING, load = "torch_fused_cpu", library.C, c_interface.kernels
NAMES = (BACKEND, FUSED)
TANH = (torch.tanh,)
SIGMOID = (torch.sigmoid,)


def on_gpu() -> bool:
    """Return whether Keras makes its tensors on a GPU."""
    return bool(keras.ops.zeros(()).device.type == "cuda")


def becomes_program(sequences: Tensor) -> bool:
    """Return whether PyTorch is recording a program from this call instead of computing it."""
    return bool(torch.jit.is_tracing() or torch.compiler.is_compiling())


def in_keras_step() -> bool:
    """Return False: Keras on PyTorch runs its steps, and traces none."""
    return False


def compute(
    name: str,
    sequences: Tensor,
    state: State,
    weights: Weights,
    mask: Tensor | None,
    zero_masked: bool,
    every_step: bool,
) -> tuple[Tensor, Tensor, State]:
    """Compute last output ``[B, H]``, outputs ``[B, T, H]`` (or ``[B, 1, H]``), final h and c."""
    # A stateful layer's state is a variable, assigned to before the gradient is computed.
    state = tuple(part.clone() for part in state)
    run = _by_kernels if name == FUSED else _by_torch
    if mask is None:
        y, h, c = run(sequences, state, weights, None)
        return h, y if every_step else h[:, None], (h, c)
    # Each sequence's valid steps are moved to its front, in the order in which they are read, and
    # their outputs back to their places; in masked steps the state is kept.
    lengths = mask.sum(dim=1)
    front = torch.argsort(~mask, dim=1, stable=True)
    x = sequences.gather(1, front[:, :, None].expand_as(sequences))
    y, h, c = run(x, state, weights, lengths)
    some = (lengths > 0)[:, None]
    h, c = (torch.where(some, *each) for each in zip((h, c), state, strict=True))
    last = torch.where(mask[:, -1:] if zero_masked else some, h, torch.zeros_like(h))
    if not every_step:
        return last, last[:, None], (h, c)
    number = mask.cumsum(dim=1) - 1
    y = y.gather(1, number.clamp(min=0)[:, :, None].expand_as(y))
    shown = mask if zero_masked else number >= 0
    return last, torch.where(shown[:, :, None], y, torch.zeros_like(y)), (h, c)


def _by_kernels(x: Tensor, state: State, weights: Weights, lengths: Tensor | None) -> Outputs:
    if on_gpu():
        raise UnsupportedError(f"{FUSED}: its kernels are for a CPU, and Keras computes on a GPU")
    kernel, recurrent_kernel, bias = weights
    bias = kernel.new_zeros(kernel.shape[1]) if bias is None else bias
    valid = None if lengths is None else torch.arange(x.shape[1])[:, None] < lengths
    return fused_layer(x, *state, kernel, recurrent_kernel, bias, valid, batch_major=True)


def _by_torch(x: Tensor, state: State, weights: Weights, lengths: Tensor | None) -> Outputs:
    if lengths is None:
        y, h, c = torch.lstm(x, tuple(part[None] for part in state), *_arguments(weights), True)
        return Outputs(y, h[0], c[0])
    packed = rnn.pack_padded_sequence(
        x,
        lengths.clamp(min=1).cpu(),  # no sequence may be empty: one step is computed and unused
        batch_first=True,
        enforce_sorted=False,
    )
    order, back = packed.sorted_indices, packed.unsorted_indices
    start = tuple(part[None, order] for part in state)
    data, h, c = torch.lstm(packed.data, packed.batch_sizes, start, *_arguments(weights))
    y, _ = rnn.pad_packed_sequence(
        rnn.PackedSequence(data, packed.batch_sizes, order, back),
        batch_first=True,
        total_length=x.shape[1],
    )
    return Outputs(y, h[0, back], c[0, back])


def _arguments(weights: Weights) -> tuple[list[Tensor], bool, int, float, bool, bool]:
    """Return PyTorch's arguments after input and state, for one layer in one direction."""
    *matrices, bias = weights
    # The gates are in the same order.
    parameters = [matrix.t().contiguous() for matrix in matrices]
    if bias is not None:
        parameters += [bias, torch.zeros_like(bias)]
    keeps_for_gradient = torch.is_grad_enabled()
    return parameters, bias is not None, 1, 0.0, keeps_for_gradient, False
