"""Define the PyTorch module: the arguments, inputs and parameters of ``torch.nn.LSTM``.

The kernels of ``fused_cpu`` compute it. Where they cannot, PyTorch's own code does, after one
warning.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import torch
from torch.nn.utils.rnn import PackedSequence

from lstm_impl.backends.torch.fallback import obstacle, warn_once
from lstm_impl.backends.torch.fused_layer import fused_layer, is_transformed
from lstm_impl.call import State, Tensor

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

    Where the kernels cannot compute, PyTorch's own code does, and the first such call logs a
    warning with the reason: with ``proj_size``, in other types, on other devices, and where the
    kernels can neither be loaded nor compiled. Raises ValueError for tensors of different devices.
    """

    _prepacked: dict[int, _Copies] | None = None
    """What ``prepack`` keeps, by layer and direction; None unless it was called."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    # What torch.nn.LSTM.forward calls, where it computes in place of the kernels.
    check_forward_args = torch.nn.LSTM.check_forward_args
    get_expected_cell_size = torch.nn.LSTM.get_expected_cell_size
    permute_hidden = torch.nn.LSTM.permute_hidden

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
        if why_not := self._obstacle(input):
            warn_once(why_not)
            by_torch: tuple[Tensor, State] = torch.nn.LSTM.forward(self, input, hx)
            return by_torch
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

    def _obstacle(self, input: Tensor | PackedSequence) -> str:
        """Return why the kernels cannot compute a call, or an empty string."""
        x = input.data if isinstance(input, PackedSequence) else input
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        return obstacle(dtype, x.device, self.proj_size)

    def _layers(
        self, x: Tensor, h: Tensor, c: Tensor, valid: Tensor | None, batch_major: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        directions = 1 + self.bidirectional
        if batch_major and self._is_dropping():  # PyTorch draws the masks time-major
            y, h, c = self._layers(x.transpose(0, 1), h, c, valid, batch_major=False)
            return y.transpose(0, 1), h, c
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
                if row + 1 < len(before) and self._is_dropping():
                    x = self._dropped(x, valid)
        h, c = states[0] if len(states) == 1 else map(torch.cat, zip(*states, strict=True))
        return x, h, c

    def _is_dropping(self) -> bool:
        return bool(self.dropout and self.training and self.num_layers > 1)

    def _dropped(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Drop numbers out of an input ``[T, B, D*H]`` by the masks that PyTorch draws."""
        if valid is None:
            return torch.nn.functional.dropout(x, self.dropout)
        data = torch.nn.functional.dropout(x[valid], self.dropout)  # of a packed sequence
        return torch.zeros_like(x).index_put((valid,), data)

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
