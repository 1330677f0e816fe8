"""Define modules with the arguments, inputs and parameters of ``torch.nn.LSTM`` and ``GRU``.

The kernels of ``fused_cpu`` compute them. If the kernels cannot compute a call, PyTorch's own code
does, after one warning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import torch
from torch.nn.utils.rnn import PackedSequence

from lstm_impl.backends.torch.fallback import obstacle, warn_once
from lstm_impl.backends.torch.fused_layer import (
    GRU_OPERATORS,
    LSTM_OPERATORS,
    OPERATORS,
    CellOperators,
    compute_layer,
    is_transformed,
)
from lstm_impl.call import Call, States, Tensor
from lstm_impl.model import name_resets
from lstm_impl.spec import UnsupportedError, require_choice
from lstm_impl.workload import RESET_TO

_is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", lambda: False)
"""Return whether ``torch.export`` is running. PyTorch before version 2.7 cannot tell."""

Weights: TypeAlias = tuple[Tensor, ...]
"""A kernel ``[in, G*H]``, a recurrent kernel ``[H, G*H]`` and one or two biases ``[G*H]``.

G is the number of gates of the cell. The two matrices may be transposed, as in PyTorch's modules.
"""


class RecurrentLayer(torch.nn.RNNBase):  # type: ignore[misc]
    """Share what ``LSTM`` and ``GRU`` have in common: a module of PyTorch that the kernels compute.

    ``LSTM`` documents the arguments and inputs.

    Attributes
    ----------
    torch_module
        PyTorch's module, which a subclass defines.
    operators
        The operators of the cell, which a subclass defines.
    """

    torch_module: ClassVar[type[torch.nn.RNNBase]]
    operators: ClassVar[CellOperators]

    _prepacked: dict[int, _Copies] | None = None
    """The copies that ``prepack`` keeps, by layer and direction. It is None before ``prepack``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(self.operators.module, *args, **kwargs)

    def prepack(self, enabled: bool = True) -> Self:
        """Keep copies of the weights in the layout of the kernels, for calls without gradients.

        With them, a stream of short calls takes only the time of the kernels.

        A call makes new copies if PyTorch has counted a change of a parameter since the last ones.
        PyTorch counts ``load_state_dict``, a step of an optimizer, ``module.to`` and every operator
        that writes in place. PyTorch does not count writes through ``parameter.data``, through a
        NumPy array that shares the memory, or by another process to shared memory. After such a
        write, call ``prepack`` again. Without ``prepack`` every call reads the parameters
        themselves.

        Parameters
        ----------
        enabled : bool
            False deletes the copies, so that every call reads the parameters again.

        Returns
        -------
        RecurrentLayer
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

        Up to version 0.2.0, each matrix was transposed in memory.
        """
        super().__setstate__(state)
        for parameter in self.parameters():
            if not parameter.is_contiguous():
                parameter.data = parameter.data.contiguous()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        if problem := self._problem_of_gates(state_dict, prefix):
            error_msgs.append(problem)
            return
        # With assign=True, PyTorch uses the loaded tensors as parameters. Files of version 0.2.0
        # and earlier contain matrices that are transposed in memory.
        own = {
            name: each.detach().contiguous()
            if name.startswith(prefix) and torch.is_tensor(each) and not each.is_contiguous()
            else each
            for name, each in state_dict.items()
        }
        found = local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        super()._load_from_state_dict(own, prefix, *found)

    def _problem_of_gates(self, state_dict: dict[str, Any], prefix: str) -> str:
        """Return why a state_dict belongs to another kind of cell, or an empty string."""
        name = f"{prefix}weight_hh_l0"
        shape = tuple(getattr(state_dict.get(name), "shape", ()))
        for other in OPERATORS:
            if (
                other is not self.operators
                and len(shape) == 2
                and shape[0] == other.gates * shape[1]
            ):
                return (
                    f"{name} has shape {shape}, which is that of a torch.nn.{other.module} of "
                    f"{shape[1]} units with {other.gates} gates; a {self.operators.module} has "
                    f"{self.operators.gates} gates"
                )
        return ""

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        resets: Tensor | None = None,
        reset_to: str = "zeros",
    ) -> tuple[Tensor | PackedSequence, Any]:
        """Compute the outputs and the final state in the same form as PyTorch's module.

        Parameters
        ----------
        input : torch.Tensor or PackedSequence
            The input ``[T, B, in]``, ``[B, T, in]`` if ``batch_first``, ``[T, in]``, or a packed
            sequence.
        hx : tuple, torch.Tensor or None
            The initial state ``[L*D, B, H]``, or ``[L*D, H]`` without a batch. An LSTM takes
            ``(h, c)``, and a GRU takes ``h``. None means zeros.
        resets : torch.Tensor or None
            Bool ``[T, B]``, ``[B, T]`` if ``batch_first``, or ``[T]``. A sequence starts over
            before a step that is True, which is where an episode begins. No gradient flows past it.
            A packed sequence takes none.
        reset_to : str
            The state from which it starts over: ``zeros``, or ``initial_state`` for ``hx``.

        Returns
        -------
        tuple
            The outputs and the final state.

        Raises
        ------
        ValueError
            If a shape is wrong, or if the state belongs to another kind of cell.
        UnsupportedError
            For resets where the kernels cannot compute, because PyTorch's own code takes none.
        """
        if isinstance(input, torch.fx.Proxy):
            more = {} if resets is None else {"resets": resets, "reset_to": reset_to}
            leaf: tuple[Tensor, Any] = _call_as_leaf(self, input, hx, more)
            return leaf
        why_not = self._obstacle(input)
        if why_not or _is_written_to_file():
            if resets is not None:
                why_not = why_not or "a file can hold PyTorch's own operators alone"
                raise UnsupportedError(
                    f"{self.operators.module}: PyTorch's own code takes no resets, and {why_not}"
                )
            if why_not:
                warn_once(why_not, self.operators.module)
            by_torch: tuple[Tensor, Any] = self.torch_module.forward(self, input, hx)
            return by_torch
        order = back = valid = None
        x, batch_axis = input, 0 if self.batch_first else 1
        if packed := isinstance(input, PackedSequence):
            # The kernels take the data as it is, without any padding.
            x, sizes, order, back = input
            valid, batch_axis = torch.arange(int(sizes[0])) < sizes[:, None], 1
        require_choice("reset_to", reset_to, RESET_TO)
        if x.dim() not in ((2,) if packed else (2, 3)):
            raise ValueError(
                f"{self.operators.module}: {'the data of ' if packed else ''}input has shape "
                f"{tuple(x.shape)}; expected {'2' if packed else '2 or 3'} axes"
            )
        if single := not packed and x.dim() == 2:
            x = x.unsqueeze(batch_axis)
        resets = self._time_major_resets(resets, x, batch_axis, packed, single)
        rows = self.num_layers * (1 + self.bidirectional)
        batch = x.shape[batch_axis] if valid is None else valid.shape[1]
        shape = rows, batch, self.hidden_size
        if hx is None:
            zeros = x.new_zeros(shape[::2] if single else shape)
            states: States = (self.operators.first_weight - 1) * (zeros,)
        else:
            states = self._split_state(hx)
        states = tuple(each.unsqueeze(1) if single else each for each in states)
        self._check_states(states, shape)
        if order is not None:
            states = tuple(each[:, order] for each in states)
        y, states = self._layers(x, states, valid, batch_axis == 0, resets, reset_to)
        if back is not None:
            states = tuple(each[:, back] for each in states)
        if single:
            y, states = y.squeeze(batch_axis), tuple(each.squeeze(1) for each in states)
        last = states if len(states) > 1 else states[0]
        return PackedSequence(y, *input[1:]) if packed else y, last

    def __prepare_scriptable__(self) -> torch.nn.RNNBase:
        """Return PyTorch's own module with these parameters, which ``torch.jit.script`` compiles.

        TorchScript cannot compile the calls of the kernels. PyTorch's code computes a scripted
        model, and its file loads without this library. PyTorch also puts the returned module into
        the model that it scripts. Call ``accelerate`` again to continue with the kernels.
        """
        made = torch.nn.RNNBase.__new__(self.torch_module)
        state = self.__getstate__()
        state.pop("_prepacked", None)
        made.__setstate__(state)
        return made

    def _split_state(self, hx: Any) -> States:
        """Return the states of the cell, or raise ValueError for those of another kind of cell."""
        names = self.operators.tensors[1 : self.operators.first_weight]
        is_one = torch.is_tensor(hx)
        if is_one != (len(names) == 1):
            found = "one tensor" if is_one else f"a {type(hx).__name__}"
            raise ValueError(
                f"{self.operators.module}: hx is {found}; expected {' and '.join(names)}, "
                f"as torch.nn.{self.operators.module} takes"
            )
        return (hx,) if is_one else tuple(hx)

    def _check_states(self, states: States, shape: tuple[int, ...]) -> None:
        """Raise ValueError if a state does not have the given shape."""
        names = self.operators.tensors[1 : self.operators.first_weight]
        if len(states) == len(names) and all(each.shape == shape for each in states):
            return
        found = " and ".join(str(tuple(each.shape)) for each in states)
        many = len(names) > 1
        raise ValueError(
            f"{self.operators.module}: {' and '.join(names)} {'are' if many else 'is'} {found}; "
            f"expected {shape}{' for both' if many else ''}"
        )

    @staticmethod
    def _time_major_resets(
        resets: Tensor | None, x: Tensor, batch_axis: int, packed: bool, single: bool
    ) -> Tensor | None:
        """Return resets ``[T, B]``. Raises ValueError if they do not fit the input."""
        if resets is None:
            return None
        if packed:
            raise ValueError("LSTM: a packed sequence takes no resets; pass a padded tensor")
        resets = resets.unsqueeze(batch_axis) if single else resets
        if resets.shape != x.shape[:2] or resets.dtype != torch.bool:
            raise ValueError(
                f"LSTM: resets is {resets.dtype} {tuple(resets.shape)}; "
                f"expected torch.bool {tuple(x.shape[:2])}"
            )
        return resets.t() if batch_axis == 0 else resets

    def _obstacle(self, input: Tensor | PackedSequence) -> str:
        """Return why the kernels cannot compute a call, or an empty string."""
        x = input.data if isinstance(input, PackedSequence) else input
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        return obstacle(dtype, x.device, self.proj_size, self.operators.module)

    def _layers(
        self,
        x: Tensor,
        states: States,
        valid: Tensor | None,
        batch_major: bool,
        resets: Tensor | None,
        reset_to: str,
    ) -> tuple[Tensor, States]:
        directions = 1 + self.bidirectional
        if batch_major and self._is_dropping():  # PyTorch draws time-major masks.
            time_major = False, resets, reset_to
            y, states = self._layers(x.transpose(0, 1), states, valid, *time_major)
            return y.transpose(0, 1), states
        # Outside a graph, each operator takes microseconds, and twice as many in training.
        before: list[States] = [states]
        if len(states[0]) > 1:
            before = list(zip(*(each.split(1) for each in states), strict=True))
        after: list[States] = []
        outputs: list[Tensor] = []
        weights, transposed = self._weights()
        # A program that torch.export makes of a module in eval() is for inference only.
        inference = not self.training and _is_exporting()
        for row, parameters in enumerate(weights):
            reverse = row % directions == 1
            how = {
                "batch_major": batch_major,
                "reverse": reverse,
                "transposed": transposed,
                "inference": inference,
            }
            call = Call(x, before[row], None, None, *name_resets(resets, reset_to))
            y, *final = compute_layer(self.operators, call, parameters, valid, **how)
            after.append(tuple(final))
            outputs.append(y)
            if len(outputs) == directions:
                x, outputs = torch.cat(outputs, dim=-1) if directions == 2 else y, []
                if row + 1 < len(before) and self._is_dropping():
                    x = torch.nn.functional.dropout(x, self.dropout)
        last = after[0] if len(after) == 1 else tuple(map(torch.cat, zip(*after, strict=True)))
        return x, last

    def _is_dropping(self) -> bool:
        return bool(self.dropout and self.training and self.num_layers > 1)

    def _weights(self) -> tuple[list[Weights], bool]:
        """Return the weights of each layer and direction, and whether matrices are transposed."""
        kept = None if torch.compiler.is_compiling() or is_transformed() else self._prepacked
        count = len(self.operators.tensors) - self.operators.first_weight - 2
        if kept is None:
            found = [(*each[:2], *_merge_biases(each, count)) for each in self.all_weights]
            return found, True
        made = []
        for row, parameters in enumerate(self.all_weights):
            copies = kept.get(row)
            if copies is None or not copies.are_current(parameters):
                copies = _Copies.of(parameters, count)
                if all(map(_counts_changes, parameters)):
                    kept[row] = copies
            made.append(copies.weights)
        return made, False


def _is_written_to_file() -> bool:
    """Return whether this call is traced for a file that contains PyTorch's own operators.

    ``torch.jit.trace`` and both ONNX exporters write the operators that they see. A file with the
    operators of this package would need this library, and ONNX has an operator for PyTorch's LSTM.
    """
    return bool(torch.jit.is_tracing() or torch.onnx.is_in_onnx_export())


def _call_as_leaf(layer: RecurrentLayer, input: Any, hx: Any, more: dict[str, Any]) -> Any:
    """Return one call of the complete layer in a graph of ``torch.fx``, as for PyTorch's modules.

    more: the arguments that are given by name.

    Tracers trace the inside of a module unless it belongs to ``torch.nn``.
    """
    tracer = input.tracer
    given = (input,) if hx is None else (input, hx)
    return tracer.create_proxy("call_module", tracer.path_of_module(layer), given, more)


class LSTM(RecurrentLayer):
    """Compute ``torch.nn.LSTM`` with the kernels of ``fused_cpu`` on a CPU.

    Arguments, inputs, outputs, parameters and ``state_dict`` are those of ``torch.nn.LSTM``. This
    class is not a subclass of it, because ``torch.compile`` makes no graph of such a subclass.

    The layer takes float32 and bfloat16, also through ``torch.autocast``. It takes sequences of
    different lengths as ``PackedSequence``, without computing any padding, and one sequence without
    a batch axis. A batch may be empty.

    The kernels read each matrix transposed. A call of one or two timesteps with few sequences
    transposes the matrices in registers. With large matrices, a single step then takes up to 1.5
    times as long. ``prepack`` keeps transposed copies for inference. Longer calls need no such
    copies, because they bring the matrices into another order in any case.

    In forward mode (``torch.func.jvp``, ``jacfwd``, ``torch.autograd.forward_ad``) and inside of
    ``torch.func.grad``, ``vjp`` and ``jacrev``, a loop of PyTorch's operators computes the layer.

    ``torch.jit.script``, ``torch.jit.trace`` and ``torch.onnx.export`` write PyTorch's own
    operators, and an ONNX file gets an ``LSTM`` node. So these files do not need this library.
    ``torch.export`` of a layer in ``eval()`` writes the operator of the kernels for inference.
    ``torch.fx`` keeps the layer as one call.

    If the kernels cannot compute a call, PyTorch's own code does, and the first such call logs a
    warning with the reason. This happens with ``proj_size``, with other types, on other devices,
    and if the kernels can neither be loaded nor compiled.

    Raises
    ------
    ValueError
        If the tensors of a call are on different devices.
    """

    torch_module = torch.nn.LSTM
    operators = LSTM_OPERATORS

    # torch.nn.LSTM.forward calls these methods when it computes instead of the kernels.
    check_forward_args = torch.nn.LSTM.check_forward_args
    get_expected_cell_size = torch.nn.LSTM.get_expected_cell_size
    permute_hidden = torch.nn.LSTM.permute_hidden


class GRU(RecurrentLayer):
    """Compute ``torch.nn.GRU`` with the kernels of ``fused_cpu`` on a CPU.

    Arguments, inputs, outputs, parameters and ``state_dict`` are those of ``torch.nn.GRU``. The
    reset gate acts after the product with the recurrent kernel. PyTorch and cuDNN do the same, and
    Keras by default (``reset_after=True``). ``fused_gru_layer`` computes the other form.

    ``LSTM`` documents types, inputs, transposed matrices, ``prepack``, forward mode and calls that
    the kernels cannot compute.

    Raises
    ------
    ValueError
        If ``reset_after`` is False, if ``proj_size`` is given, or if the tensors of a call are on
        different devices.
    """

    torch_module = torch.nn.GRU
    operators = GRU_OPERATORS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not kwargs.pop("reset_after", True):
            raise ValueError(
                "reset_after=False: lstm_impl.torch.GRU has the parameters of torch.nn.GRU, which "
                "resets after the recurrent product (reset_after=True); call "
                "lstm_impl.torch.fused_gru_layer without a recurrent bias instead"
            )
        if "proj_size" in kwargs:
            raise ValueError(
                "GRU: proj_size is an argument of torch.nn.LSTM; torch.nn.GRU has none"
            )
        super().__init__(*args, **kwargs)


class _Copies(NamedTuple):
    """Hold copies of the weights of one layer and direction, and the parameters they are from.

    Attributes
    ----------
    parameters
        The parameters.
    aliases
        Tensors that share the memory of the parameters. As long as they live, no other tensor gets
        these addresses.
    versions
        The versions of the parameters, or None for a parameter whose changes are not counted.
    weights
        The copies, in the layout of the kernels.
    """

    parameters: list[Tensor]
    aliases: list[Tensor]
    versions: list[int | None]
    weights: Weights

    @classmethod
    def of(cls, parameters: list[Tensor], biases: int) -> _Copies:
        """Copy the given parameters for a cell with the given number of biases."""
        # The versions are read first, because another thread may write while this one copies.
        counted = [each._version if _counts_changes(each) else None for each in parameters]
        aliases = [each.detach() for each in parameters]
        return cls(parameters, aliases, counted, _pack(parameters, biases))

    def are_current(self, parameters: list[Tensor]) -> bool:
        """Return whether the copies are of these parameters and no change was counted since."""
        fields = zip(parameters, self.parameters, self.aliases, self.versions, strict=True)
        return all(
            now is before
            and _counts_changes(now)
            and now._version == version
            and now.data_ptr() == alias.data_ptr()
            for now, before, alias, version in fields
        )


def _counts_changes(parameter: Tensor) -> bool:
    """Return whether copies of a parameter may be kept until its version changes."""
    is_trained = torch.is_grad_enabled() and parameter.requires_grad
    is_plain = type(parameter) in (torch.Tensor, torch.nn.Parameter)
    return is_plain and not (is_trained or parameter.is_inference())


def _pack(parameters: list[Tensor], count: int) -> Weights:
    """Copy the weights of one layer and direction to the layout of the kernels."""
    kernel, recurrent_kernel = parameters[:2]
    biases = [each.clone() for each in _merge_biases(parameters, count)]
    return kernel.t().contiguous(), recurrent_kernel.t().contiguous(), *biases


def _merge_biases(parameters: list[Tensor], count: int) -> Weights:
    """Return the given number of biases: PyTorch's two, their sum, or zeros if there are none."""
    kernel, _, *biases = parameters
    if not biases:
        return count * (kernel.new_zeros(kernel.shape[0]),)
    return tuple(biases) if count == len(biases) else (torch.add(*biases),)
