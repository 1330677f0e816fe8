"""Compute one direction of one layer with PyTorch's own operators, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lstm_impl.backends.fused_cpu import c_interface
from lstm_impl.backends.recurrence import make_recurrence
from lstm_impl.call import Call, LSTMOutputs, Outputs, States, Tensor, Tensors
from lstm_impl.cell import DEFAULT, Cell, Operations

Step = Callable[[Tensor, States, Tensors, Tensor | None], States]
"""Return the states after a timestep. The arguments are the product of the input ``[B, G*H]``, the
states before the step, the recurrent kernel with the cell's second bias if it has one, and which
sequences are valid ``[B, 1]``, or None if all of them are."""


def make_step(cell: Cell) -> Step:
    """Return a function that computes one timestep of a cell with PyTorch's operators."""
    import torch

    def split(tensor: Tensor, parts: int) -> Sequence[Tensor]:
        chunks: Sequence[Tensor] = tensor.chunk(parts, dim=-1)
        return chunks

    # These are made outside of the step, because torch.compile traces whatever a step calls.
    operations = Operations(torch.sigmoid, torch.tanh, split)

    def step(projected: Tensor, states: States, recurrent: Tensors, valid: Tensor | None) -> States:
        after = cell.equations(operations, projected, make_recurrence(recurrent), states)
        if valid is None:
            return after
        pairs = zip(after, states, strict=True)
        return tuple(torch.where(valid, new, old) for new, old in pairs)

    return step


def first_steps(call: Call, valid: Tensor | None, reverse: bool) -> Tensor | None:
    """Return at which steps a direction starts over, bool ``[T, B]``, None without resets.

    valid: bool ``[T, B]``, or None: a reset at a step that is False changes nothing. In reverse the
    first step after a reset is the one before it in time.
    """
    import torch

    first = call.resets if call.restarts is None else call.restarts
    if first is None:
        return None
    if valid is not None:
        first = first & valid
    return torch.cat([first[1:], torch.zeros_like(first[:1])]) if reverse else first


Starts = Sequence[tuple[Tensor, States]]
"""Steps at which sequences start over ``[T, B]``, each with the states ``[B, H]`` to start from."""


def looped(
    step: Step,
    call: Call,
    parameters: Tensors,
    valid: Tensor | None,
    reverse: bool,
    starts: Starts | None = None,
) -> Outputs:
    """Compute the outputs ``[T, B, H]`` and the final states.

    Parameters
    ----------
    step
        The function that ``make_step`` returned, compiled or not.
    call
        x ``[T, B, in]``, the states ``[B, H]``, and resets.
    parameters
        The arrays of the layer.
    valid
        Bool ``[T, B, 1]``, or None. A step that is False keeps the states, and its output is zero.
    reverse
        Whether steps are read from the last to the first.
    starts
        Where sequences start over in this direction. By default it follows from the call's resets.
    """
    import torch

    kernel, recurrent_kernel, bias, *second = parameters
    projected, recurrent = call.x @ kernel + bias, [recurrent_kernel, *second]
    states = call.states
    if starts is None:
        fresh = tuple(map(torch.zeros_like, states)) if call.restarts is None else states
        first = first_steps(call, None if valid is None else valid[:, :, 0], reverse)
        starts = [] if first is None else [(first, fresh)]
    hidden = []
    order = range(call.x.shape[0])
    for t in reversed(order) if reverse else order:
        for first, fresh in starts:
            now, pairs = first[t][:, None], zip(fresh, states, strict=True)
            states = tuple(torch.where(now, new, old) for new, old in pairs)
        states = step(projected[t], states, recurrent, None if valid is None else valid[t])
        hidden.append(states[0])
    outputs = hidden[::-1] if reverse else hidden
    # torch.stack needs at least one tensor. Without a timestep, the outputs are empty.
    y = torch.stack(outputs) if outputs else projected[:, :, : states[0].shape[1]]
    return Outputs(y if valid is None else torch.where(valid, y, torch.zeros_like(y)), states)


def loop_layer(
    cell: Cell,
    call: Call,
    parameters: Tensors,
    valid: Tensor | None = None,
    *,
    batch_major: bool = False,
    reverse: bool = False,
) -> Outputs:
    """Compute what the kernels' operators compute, from the same arguments, by a loop.

    PyTorch can differentiate the loop any number of times, in reverse and in forward mode.

    call: x ``[T, B, in]``, or ``[B, T, in]`` if batch_major, and the states ``[B, H]`` or
    ``[1, B, H]``. parameters: the arrays of a layer. valid: bool ``[T, B]``, or uint8 with the bits
    that the kernels read, or None.
    """
    import torch

    x = call.x.transpose(0, 1) if batch_major else call.x
    states = tuple(each.reshape(each.shape[-2:]) for each in call.states)
    starts: list[tuple[Tensor, States]] = []
    if valid is not None and valid.dtype == torch.uint8:
        zeros = tuple(map(torch.zeros_like, states))
        kinds = (c_interface.FROM_ZEROS, zeros), (c_interface.FROM_INITIAL, states)
        starts = [((valid & bit) != 0, fresh) for bit, fresh in kinds]
        valid = (valid & c_interface.STEP) != 0
    steps = None if valid is None else valid[:, :, None]
    y, last = looped(make_step(cell), Call(x, states), parameters, steps, reverse, starts)
    pairs = zip(last, call.states, strict=True)
    final = tuple(each.reshape(before.shape) for each, before in pairs)
    return Outputs(y.transpose(0, 1) if batch_major else y, final)


def layer_by_loop(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    valid: Tensor | None = None,
    *,
    batch_major: bool = False,
    reverse: bool = False,
) -> LSTMOutputs:
    """Compute what ``fused_layer`` computes, from the same arguments, with ``loop_layer``."""
    call, weights = Call(x, (h, c)), (kernel, recurrent_kernel, bias)
    how = {"batch_major": batch_major, "reverse": reverse}
    return LSTMOutputs(*loop_layer(DEFAULT, call, weights, valid, **how).flat)
