"""Offer ``lstm_impl.torch.LSTM``: ``torch.nn.LSTM`` by the kernels of ``fused_cpu``, on a CPU.

>>> import lstm_impl.torch
>>> layer = lstm_impl.torch.LSTM(16, 32, num_layers=2, bidirectional=True)
>>> theirs = torch.nn.LSTM(16, 32, num_layers=2, bidirectional=True)
>>> layer.load_state_dict(theirs.state_dict())  # and the other way round

Importing this module imports PyTorch; ``lstm_impl`` does not. A program that ``torch.export`` has
saved loads where this module was imported.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import torch
from torch.nn.utils.rnn import PackedSequence

from lstm_impl.backends.torch.fused_layer import fused_layer, is_transformed
from lstm_impl.call import State, Tensor
from lstm_impl.spec import UnsupportedError

__all__ = ["LSTM", "fused_layer"]

Weights: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""A kernel ``[in, 4H]``, a recurrent kernel ``[H, 4H]`` and a bias ``[4H]``.

The two matrices may be transposed, as PyTorch's modules have them.
"""


class LSTM(torch.nn.RNNBase):  # type: ignore[misc]
    """``torch.nn.LSTM`` with the same arguments, inputs, outputs, parameters and state_dict.

    Not a subclass of it, of which ``torch.compile`` makes no graph.

    Takes float32 and bfloat16, also by ``torch.autocast``, padded batches as ``PackedSequence``,
    and one sequence without a batch axis. A batch may be empty.

    The kernels read each matrix transposed. A call of one or two timesteps with few sequences
    transposes the matrices in registers, and every other call copies them. With large matrices, a
    single step then takes up to one and a half times as long. ``prepack`` keeps the copies for
    inference.

    In forward mode (``torch.func.jvp``, ``jacfwd``, ``torch.autograd.forward_ad``) and inside of
    ``torch.func.grad``, ``vjp`` and ``jacrev``, a loop of PyTorch's operators computes the layer.

    Raises UnsupportedError for ``proj_size``, other types and other devices, and ValueError for
    tensors of different devices.
    """

    _prepacked: dict[int, _Copies] | None = None
    """What ``prepack`` keeps, by layer and direction; None unless it was called."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)
        if self.proj_size:
            raise UnsupportedError("lstm_impl.torch.LSTM: no proj_size; use torch.nn.LSTM for it")

    def prepack(self, enabled: bool = True) -> LSTM:
        """Keep copies of the weights in the layout of the kernels, for calls without gradients.

        A stream of short calls then takes only the time of the kernels.

        A call makes new copies if PyTorch has counted a change of a parameter since the last ones.
        It counts ``load_state_dict``, an optimizer's step, ``module.to`` and any operator that
        writes in place. PyTorch does not count writes through ``parameter.data``, through a NumPy
        array that shares the memory, or by another process to shared memory. After such a write,
        call ``prepack`` again. Without ``prepack`` every call reads the parameters themselves.

        Parameters
        ----------
        enabled : bool
            False forgets the copies and makes every call read the parameters again.

        Returns
        -------
        LSTM
            The same module.
        """
        self._prepacked = {} if enabled else None
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to copy or pickle, without the copies that ``prepack`` keeps."""
        state: dict[str, Any] = super().__getstate__()
        return state if self._prepacked is None else {**state, "_prepacked": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a copied or unpickled state, and make its parameters contiguous.

        Up to version 0.2.0 each matrix was transposed in memory.
        """
        super().__setstate__(state)
        for parameter in self.parameters():
            if not parameter.is_contiguous():
                parameter.data = parameter.data.contiguous()

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **more: Any
    ) -> None:
        # With assign=True PyTorch takes the loaded tensors as parameters. Files of version 0.2.0
        # and earlier hold matrices that are transposed in memory.
        own = {
            name: each.detach().contiguous()
            if name.startswith(prefix) and torch.is_tensor(each) and not each.is_contiguous()
            else each
            for name, each in state_dict.items()
        }
        super()._load_from_state_dict(own, prefix, *rest, **more)

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
        weights, transposed = self._weights()
        for row, parameters in enumerate(weights):
            reverse = row % directions == 1
            how = {"batch_major": batch_major, "reverse": reverse, "transposed": transposed}
            y, *state = fused_layer(x, *before[row], *parameters, valid, **how)
            states.append(state)
            outputs.append(y)
            if len(outputs) == directions:
                x, outputs = torch.cat(outputs, dim=-1) if directions == 2 else y, []
                if self.dropout and row + 1 < len(before):
                    x = torch.nn.functional.dropout(x, self.dropout, self.training)
        h, c = states[0] if len(states) == 1 else map(torch.cat, zip(*states, strict=True))
        return x, h, c

    def _weights(self) -> tuple[list[Weights], bool]:
        """Return the weights of each layer and direction, and whether matrices are transposed."""
        kept = None if torch.compiler.is_compiling() or is_transformed() else self._prepacked
        if kept is None:
            return [(*each[:2], _add_biases(each)) for each in self.all_weights], True
        made = []
        for row, parameters in enumerate(self.all_weights):
            copies = kept.get(row)
            if copies is None or not copies.are_current(parameters):
                copies = _Copies.of(parameters)
                if all(map(_counts_changes, parameters)):
                    kept[row] = copies
            made.append(copies.weights)
        return made, False


class _Copies(NamedTuple):
    """The weights of one layer and direction for the kernels, and what they are copies of.

    aliases: tensors in the memory of the parameters. As long as they live, no other tensor gets
    these addresses.
    """

    parameters: list[Tensor]
    aliases: list[Tensor]
    versions: list[int | None]
    weights: Weights

    @classmethod
    def of(cls, parameters: list[Tensor]) -> _Copies:
        """Copy these parameters."""
        # The versions are read first: another thread may write while this one copies.
        counted = [each._version if _counts_changes(each) else None for each in parameters]
        return cls(parameters, [each.detach() for each in parameters], counted, _pack(parameters))

    def are_current(self, parameters: list[Tensor]) -> bool:
        """Return whether these are the parameters, with no change that PyTorch has counted."""
        fields = zip(parameters, self.parameters, self.aliases, self.versions, strict=True)
        return all(
            now is before
            and _counts_changes(now)
            and now._version == version
            and now.data_ptr() == alias.data_ptr()
            for now, before, alias, version in fields
        )


def _counts_changes(parameter: Tensor) -> bool:
    """Return whether copies of a parameter may be kept, and its version says for how long."""
    is_trained = torch.is_grad_enabled() and parameter.requires_grad
    is_plain = type(parameter) in (torch.Tensor, torch.nn.Parameter)
    return is_plain and not (is_trained or parameter.is_inference())


def _pack(parameters: list[Tensor]) -> Weights:
    """Copy the weights of one layer and direction to the layout of the kernels."""
    kernel, recurrent_kernel = parameters[:2]
    return kernel.t().contiguous(), recurrent_kernel.t().contiguous(), _add_biases(parameters)


def _add_biases(parameters: list[Tensor]) -> Tensor:
    """Return the sum of the biases of one layer and direction; zeros if it has none."""
    kernel, _, *biases = parameters
    return torch.add(*biases) if biases else kernel.new_zeros(kernel.shape[0])
