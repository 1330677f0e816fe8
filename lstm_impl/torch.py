"""Offer ``lstm_impl.torch.LSTM``: ``torch.nn.LSTM`` by the kernels of ``fused_cpu``, on a CPU.

>>> import lstm_impl.torch
>>> layer = lstm_impl.torch.LSTM(16, 32, num_layers=2, bidirectional=True)
>>> theirs = torch.nn.LSTM(16, 32, num_layers=2, bidirectional=True)
>>> layer.load_state_dict(theirs.state_dict())  # and the other way round

Importing this module imports PyTorch; ``lstm_impl`` does not. A program that ``torch.export`` has
saved loads where this module was imported.
"""

from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from lstm_impl.backends.torch.fused_layer import fused_layer
from lstm_impl.call import State, Tensor
from lstm_impl.spec import UnsupportedError

__all__ = ["LSTM", "fused_layer"]


class LSTM(torch.nn.RNNBase):  # type: ignore[misc]
    """``torch.nn.LSTM`` with the same arguments, inputs, outputs, parameters and state_dict.

    Not a subclass of it, of which ``torch.compile`` makes no graph. Matrices lie in memory as the
    kernels read them, transposed: they need no copy in a call.

    Takes float32 and bfloat16, also by ``torch.autocast``, padded batches as ``PackedSequence``,
    and one sequence without a batch axis. A batch may be empty.

    Raises UnsupportedError for ``proj_size``, other types and other devices. ``torch.func.grad``
    does not go through it, as through no operator of ``torch.library``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)
        if self.proj_size:
            raise UnsupportedError("lstm_impl.torch.LSTM: no proj_size; use torch.nn.LSTM for it")
        for parameter in self.parameters():
            parameter.data = parameter.data.t().contiguous().t()  # of a bias this changes nothing

    def forward(
        self, input: Tensor | PackedSequence, hx: State | None = None
    ) -> tuple[Tensor | PackedSequence, State]:
        """Compute outputs and the final state, as ``torch.nn.LSTM`` does.

        input: ``[T, B, in]``, ``[B, T, in]`` if batch_first, ``[T, in]``, or a packed sequence.
        hx: h and c ``[L*D, B, H]``, or ``[L*D, H]`` without a batch; zeros if None.
        """
        order = back = valid = None
        x, batch_axis = input, 0 if self.batch_first else 1
        if packed := isinstance(input, PackedSequence):
            data, sizes, order, back = input
            valid, batch_axis = torch.arange(int(sizes[0])) < sizes[:, None], 1
            x = data.new_zeros(*valid.shape, data.shape[1]).index_put((valid,), data)
        if x.dim() not in (2, 3):
            raise ValueError(f"LSTM: input has shape {tuple(x.shape)}; expected 2 or 3 axes")
        if single := x.dim() == 2:
            x = x.unsqueeze(batch_axis)
        rows = self.num_layers * (1 + self.bidirectional)
        shape = rows, x.shape[batch_axis], self.hidden_size
        h, c = hx or 2 * (x.new_zeros(shape[::2] if single else shape),)
        h, c = (each.unsqueeze(1) if single else each for each in (h, c))
        if h.shape != shape or c.shape != shape:
            found = f"{tuple(h.shape)} and {tuple(c.shape)}"
            raise ValueError(f"LSTM: h and c are {found}; expected {shape} for both")
        if order is not None:
            h, c = h[:, order], c[:, order]
        y, *last = self._layers(x, h, c, valid, batch_axis == 0)
        h, c = (each if back is None else each[:, back] for each in last)
        if packed:
            return PackedSequence(y[valid], *input[1:]), (h, c)
        return (y.squeeze(batch_axis), (h.squeeze(1), c.squeeze(1))) if single else (y, (h, c))

    def _layers(
        self, x: Tensor, h: Tensor, c: Tensor, valid: Tensor | None, batch_major: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        directions = 1 + self.bidirectional
        # Each operator outside a graph takes microseconds, and in training as many again.
        before = list(zip(h.split(1), c.split(1), strict=True)) if len(h) > 1 else [(h, c)]
        states, outputs = [], []
        for row, (kernel, recurrent_kernel, *biases) in enumerate(self.all_weights):
            bias = torch.add(*biases) if biases else kernel.new_zeros(kernel.shape[0])
            parameters = kernel.t(), recurrent_kernel.t(), bias
            reverse = row % directions == 1
            how = {"batch_major": batch_major, "reverse": reverse}
            y, *state = fused_layer(x, *before[row], *parameters, valid, **how)
            states.append(state)
            outputs.append(y)
            if len(outputs) == directions:
                x, outputs = torch.cat(outputs, dim=-1) if directions == 2 else y, []
                if self.dropout and row + 1 < len(before):
                    x = torch.nn.functional.dropout(x, self.dropout, self.training)
        h, c = states[0] if len(states) == 1 else map(torch.cat, zip(*states, strict=True))
        return x, h, c
