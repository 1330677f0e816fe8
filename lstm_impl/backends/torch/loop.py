"""One direction of one LSTM layer in PyTorch's own operators, step by step."""

from collections.abc import Callable

from lstm_impl.call import LSTMOutputs, State, Tensor


def cell(z: Tensor, h: Tensor, c: Tensor, recurrent_kernel: Tensor, valid: Tensor | None) -> State:
    """Return the state after a timestep of a cell; ``z [B, 4H]`` is the input's product."""
    import torch

    i, f, g, o = (z + h @ recurrent_kernel).chunk(4, dim=-1)
    c_new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h_new = torch.sigmoid(o) * torch.tanh(c_new)
    if valid is None:
        return h_new, c_new
    return torch.where(valid, h_new, h), torch.where(valid, c_new, c)


def looped(
    step: Callable[..., State], valid: Tensor | None, reverse: bool, *given: Tensor
) -> LSTMOutputs:
    """Compute outputs ``[T, B, H]`` and the final state.

    step: ``cell``, or it compiled. valid: bool ``[T, B, 1]``, or None: a step that is False keeps
    the state, and its output is zero. given: x ``[T, B, in]``, h, c and the
    three weights.
    """
    import torch

    x, h, c, kernel, recurrent_kernel, bias = given
    projected = x @ kernel + bias
    state = h, c
    hidden = []
    order = range(x.shape[0])
    for t in reversed(order) if reverse else order:
        mask = None if valid is None else valid[t]
        state = step(projected[t], *state, recurrent_kernel, mask)
        hidden.append(state[0])
    outputs = hidden[::-1] if reverse else hidden
    # A stack needs at least one tensor: without a step the outputs are empty.
    y = torch.stack(outputs) if outputs else projected[:, :, : h.shape[1]]
    return LSTMOutputs(y if valid is None else torch.where(valid, y, torch.zeros_like(y)), *state)


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
    """Compute what ``fused_layer`` computes, from the same arguments, by a loop over the cell.

    PyTorch can differentiate the loop any number of times, in reverse and in forward mode.
    """
    steps = None if valid is None else valid[:, :, None]
    state = (each.reshape(each.shape[-2:]) for each in (h, c))
    time_major = x.transpose(0, 1) if batch_major else x
    given = (time_major, *state, kernel, recurrent_kernel, bias)
    y, *last = looped(cell, steps, reverse, *given)
    h, c = (each.reshape(h.shape) for each in last)
    return LSTMOutputs(y.transpose(0, 1) if batch_major else y, h, c)
