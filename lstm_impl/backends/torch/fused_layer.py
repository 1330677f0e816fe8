"""Compute one direction of a recurrent layer with the kernels of ``fused_cpu`` in PyTorch.

Operators of PyTorch call the kernels.

``torch.compile`` takes an operator as one node, without a graph break. Forward mode, the
transforms of ``torch.func`` and second gradients use a loop of PyTorch's own operators. Importing
this module imports PyTorch.

Anyone may call an operator, for example a program that ``torch.export`` saved. The kernels read and
write as many numbers as the sizes of the layer say. Each operator therefore checks the shape, type
and device of every tensor before it passes an address on.

The kernels read ``[in, G*H]`` and ``[H, G*H]``, where G is the number of gates of the cell.
PyTorch's modules keep the transposes of these matrices, which the operators take with
``transposed=True``. Most calls bring the matrices into another order in any case, and do so from
either layout in the same time. Small calls transpose them in registers, or copy them to memory that
the kernels' library keeps between calls. Both take a fraction of the time of PyTorch's own copy of
a transpose.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch._C._functorch import (
    TransformType,
    get_interpreter_stack,
    peek_interpreter_stack,
)

from lstm_impl.backends.fused_cpu import c_interface
from lstm_impl.backends.fused_cpu.library import COMPUTES
from lstm_impl.backends.torch.loop import first_steps, loop_layer
from lstm_impl.call import Call, GRUOutputs, LSTMOutputs, Tensor, Tensors
from lstm_impl.cell import DEFAULT, GRU, Cell
from lstm_impl.model import name_resets
from lstm_impl.spec import UnsupportedError, require_choice
from lstm_impl.workload import RESET_TO

COMPUTE_DTYPES = tuple(getattr(torch, name) for name in COMPUTES)
"""The types of inputs that the kernels take, as types of PyTorch."""

_KINDS = {getattr(torch, name): c_interface.TYPES[name] for name in COMPUTES}
_MIXED = c_interface.TYPES["mixed_bfloat16"]


# -- the operators of a kind of cell

_TENSORS = 6
"""The number of tensors that every operator takes first: the input, the states and the weights."""

_HOW = "Tensor? valid, bool batch_major, bool reverse"
# A program that an earlier version saved calls the operators without this argument.
_LAYOUT = "bool transposed=False"


class CellOperators:
    """Define the operators of one kind of cell: forward, forward for training, and the gradient.

    Attributes
    ----------
    name, training, gradient : str
        The names of the three operators.
    function : str
        The name of the public function that calls them, for errors.
    module : str
        The name of the class in ``torch.nn`` that computes the same cell.
    gates : int
        The number of gates of the cell.
    tensors : tuple of str
        The names of the first arguments: the input, the initial states and the weights.
    first_weight : int
        The position of the kernel among them.
    kept : tuple of str
        The names of what a forward pass keeps for the gradient.
    flows : tuple of str
        The names of the incoming gradients: of the outputs and of each final state.
    may_be_shorter : bool
        Whether the last weight may be None.
    """

    def __init__(self, name: str, function: str, module: str, cell: Cell, shorter: Cell) -> None:
        """Describe the operators of ``cell``, or of ``shorter`` if the last weight is None."""
        self.name, self.training, self.gradient = name, f"{name}_training", f"{name}_gradient"
        self.function, self.module = function, module
        self.gates = len(cell.gates)
        self.tensors = ("x", *cell.states, *cell.parameters)
        self.first_weight = 1 + len(cell.states)
        self.kept = ("hidden", "gates", "cells")[: 1 + len(cell.states)]
        self.flows = ("dy", *(f"d{state}" for state in cell.states))
        self.may_be_shorter = shorter != cell
        self._cell, self._shorter = cell, shorter

    def get_cell(self, given: Tensors) -> Cell:
        """Return the cell to which the arguments of an operator belong."""
        return self._shorter if given[_TENSORS - 1] is None else self._cell

    def define(self) -> None:
        """Register the operators, their results on the device meta, and their gradients."""
        library = torch.library
        optional = "?" if self.may_be_shorter else ""
        layer = ", ".join(f"Tensor {each}" for each in self.tensors[:-1])
        layer = f"{layer}, Tensor{optional} {self.tensors[-1]}, {_HOW}"
        extra = ", ".join(f"Tensor {each}" for each in (*self.kept, *self.flows))

        def results(count: int) -> str:
            # If the result were a list, PyTorch's autograd would build a tree in each call.
            return f"({', '.join(count * ['Tensor'])})"

        made, kept = self.first_weight, len(self.kept)
        library.define(self.name, f"({layer}, {_LAYOUT}) -> {results(made)}")
        library.define(self.training, f"({layer}, {_LAYOUT}) -> {results(made + kept)}")
        library.define(
            self.gradient, f"({layer}, bool of_x, {extra}, {_LAYOUT}) -> {results(_TENSORS)}"
        )
        bind: Callable[..., Any] = functools.partial
        for name, keep in ((self.name, False), (self.training, True)):
            library.impl(name, "CPU", bind(_forward, self, keep))
            library.register_fake(name, bind(_results, self, keep))
        library.impl(self.gradient, "CPU", bind(_gradient, self))
        library.register_fake(self.gradient, bind(_gradient_results, self))
        how = {"setup_context": bind(_save, self)}
        library.register_autograd(self.training, bind(_backward, self), **how)
        how = {"setup_context": bind(_save_gradient, self)}
        library.register_autograd(self.gradient, bind(_second, self), **how)


LSTM_OPERATORS = CellOperators(
    "lstm_impl::fused_lstm", "fused_layer", "LSTM", DEFAULT, shorter=DEFAULT
)
GRU_OPERATORS = CellOperators(
    "lstm_impl::fused_gru", "fused_gru_layer", "GRU", GRU(), shorter=GRU(reset_after=False)
)
"""The operators of a GRU. In the form of the paper, it has no recurrent bias, the last weight."""

OPERATORS = (LSTM_OPERATORS, GRU_OPERATORS)


def _select(name: str) -> Callable[..., Any]:
    """Return the operator with the given name."""
    found: Callable[..., Any] = getattr(torch.ops.lstm_impl, name.partition("::")[2])
    return found


# -- the layers


def fused_layer(
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
    transposed: bool = False,
    resets: Tensor | None = None,
    reset_to: str = "zeros",
) -> LSTMOutputs:
    """Compute one direction of one LSTM layer on a CPU, with gradients.

    In forward mode (``torch.func.jvp``, ``torch.autograd.forward_ad``), and inside
    ``torch.func.grad`` and ``vjp``, a loop of PyTorch's operators computes the layer.

    Parameters
    ----------
    x : torch.Tensor
        Input ``[T, B, in]``, or ``[B, T, in]`` if batch-major, in float32 or bfloat16. With
        ``valid`` it may also be ``[rows, in]``. It then has only the steps that are True there, in
        the order of ``x[valid]``. The data of a ``PackedSequence`` is such an input. All tensors
        except ``valid`` must have this type, but the weights may be float32 if x is bfloat16. The
        kernels then read the weights without a cast, and the gradients of the weights are float32.
        No tensor needs to be contiguous. Under ``torch.autocast`` to bfloat16, x, h, c and weights
        of types other than float32 are cast.
    h, c : torch.Tensor
        Initial state ``[B, H]``, or ``[1, B, H]`` as a module with one layer has it.
    kernel, recurrent_kernel, bias : torch.Tensor
        ``[in, 4H]``, ``[H, 4H]`` and ``[4H]``, with the gates in the order i, f, g, o. If
        ``transposed``, the first two are ``[4H, in]`` and ``[4H, H]``, as PyTorch's modules have
        them.
    valid : torch.Tensor, optional
        Bool ``[T, B]``. A step that is False keeps the state, and its output is zero.
    batch_major : bool
        Whether x and y are batch-major.
    reverse : bool
        Whether steps are read from the last to the first.
    transposed : bool
        Whether kernel and recurrent_kernel are transposed.
    resets : torch.Tensor, optional
        Bool ``[T, B]``, time-major. A sequence starts over before a step that is True. A layer that
        reads in reverse starts over behind it. A reset where ``valid`` is False changes nothing.
    reset_to : str
        The state from which it starts over: ``zeros``, or ``initial_state`` for h and c.

    Returns
    -------
    LSTMOutputs
        y, with the axes of x, and h and c, with the axes of the initial state.

    Raises
    ------
    UnavailableError
        If the kernels cannot be compiled here.
    UnsupportedError
        If the tensors are neither float32 nor bfloat16, or not on a CPU.
    ValueError
        If a tensor's shape, type or device does not fit x and h.
    """
    given = (x, h, c, kernel, recurrent_kernel, bias)
    valid = _add_resets(LSTM_OPERATORS, x, valid, (resets, reset_to), (batch_major, reverse))
    how = (valid, batch_major, reverse, transposed)
    return LSTMOutputs(*_compute(LSTM_OPERATORS, given, how))


def fused_gru_layer(
    x: Tensor,
    h: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    recurrent_bias: Tensor | None = None,
    valid: Tensor | None = None,
    *,
    batch_major: bool = False,
    reverse: bool = False,
    transposed: bool = False,
    resets: Tensor | None = None,
    reset_to: str = "zeros",
) -> GRUOutputs:
    """Compute one direction of one GRU layer on a CPU, with gradients.

    With a recurrent bias, the reset gate acts after the product with the recurrent kernel, as in
    ``torch.nn.GRU`` (``reset_after=True`` in Keras). Without one, it acts on h before the
    product, as in the paper (``reset_after=False``). ``lstm_impl.cell.GRU`` has the equations.

    Parameters
    ----------
    x : torch.Tensor
        Input ``[T, B, in]``, or ``[B, T, in]`` if batch-major, in float32 or bfloat16.
        ``fused_layer`` documents the types of the other tensors.
    h : torch.Tensor
        Initial state ``[B, H]``, or ``[1, B, H]`` as a module with one layer has it.
    kernel, recurrent_kernel, bias : torch.Tensor
        ``[in, 3H]``, ``[H, 3H]`` and ``[3H]``, with the gates in the order r, z, n. If
        ``transposed``, the first two are ``[3H, in]`` and ``[3H, H]``, as PyTorch's modules have
        them.
    recurrent_bias : torch.Tensor, optional
        ``[3H]``, which is added to the product with the recurrent kernel.
    valid, batch_major, reverse, transposed, resets, reset_to
        As in ``fused_layer``.

    Returns
    -------
    GRUOutputs
        y, with the axes of x, and h, with the axes of the initial state.

    Raises
    ------
    UnavailableError, UnsupportedError, ValueError
        As in ``fused_layer``.
    """
    given = (x, h, kernel, recurrent_kernel, bias, recurrent_bias)
    valid = _add_resets(GRU_OPERATORS, x, valid, (resets, reset_to), (batch_major, reverse))
    how = (valid, batch_major, reverse, transposed)
    return GRUOutputs(*_compute(GRU_OPERATORS, given, how))


def compute_layer(
    operators: CellOperators,
    call: Call,
    weights: Tensors,
    valid: Tensor | None,
    *,
    batch_major: bool = False,
    reverse: bool = False,
    transposed: bool = False,
    inference: bool = False,
) -> tuple[Tensor, ...]:
    """Compute what ``fused_layer`` and ``fused_gru_layer`` compute.

    Parameters
    ----------
    operators
        The operators of the cell.
    call
        x, the initial states and resets.
    weights
        The arrays of the layer, in the order of ``Cell.parameters``.
    valid, batch_major, reverse, transposed
        As in ``fused_layer``.
    inference
        Whether no gradients are needed, even if a tensor requires them.

    Returns
    -------
    tuple
        y and the final states.
    """
    valid = step_bits(call, valid, reverse)
    given = (call.x, *call.states, *weights)
    given += (None,) * (_TENSORS - len(given))
    return _compute(operators, given, (valid, batch_major, reverse, transposed), inference)


def select_operators(cell: Cell) -> CellOperators:
    """Return the operators that compute a cell."""
    return LSTM_OPERATORS if cell == DEFAULT else GRU_OPERATORS


def _compute(
    operators: CellOperators,
    given: tuple[Any, ...],
    how: tuple[Any, ...],
    inference: bool = False,
) -> tuple[Tensor, ...]:
    """Return y and the final states, given the tensors and the other arguments ``how``."""
    if torch.is_autocast_enabled("cpu"):
        given = _cast(torch.get_autocast_dtype("cpu"), operators, given)
    _check_support(operators, given[0])
    if loses_derivatives():
        _check_layer(operators, *given, *how)
        return _loop(operators.get_cell(given), how, *(e for e in given if e is not None))
    wanted = not inference and torch.is_grad_enabled()
    trained = wanted and any(each is not None and each.requires_grad for each in given)
    compute = _select(operators.training if trained else operators.name)
    made: tuple[Tensor, ...] = compute(*given, *how)[: operators.first_weight]
    return made


def step_bits(call: Call, valid: Tensor | None, reverse: bool) -> Tensor | None:
    """Return what the operators take as ``valid``: the bits that the kernels read, with resets."""
    first = first_steps(call, valid, reverse)
    if first is None:
        return valid
    return encode_steps(first, call.reset_to, valid)


def encode_steps(first: Tensor, reset_to: str, valid: Tensor | None) -> Tensor:
    """Return the bits of steps ``[T, B]`` that the kernels read.

    first: bool ``[T, B]``, before which steps in the order of computation sequences start over.
    valid: bool ``[T, B]``, or None.
    """
    bit = c_interface.FROM_ZEROS if reset_to == "zeros" else c_interface.FROM_INITIAL
    return first.to(torch.uint8) * bit + (c_interface.STEP if valid is None else valid)


def _add_resets(
    operators: CellOperators,
    x: Tensor,
    valid: Tensor | None,
    given: tuple[Tensor | None, str],
    how: tuple[bool, bool],
) -> Tensor | None:
    """Return ``step_bits`` of a user's mask and resets. Raises ValueError if they do not fit x.

    given: resets and reset_to. how: batch_major and reverse.
    """
    (resets, reset_to), (batch_major, reverse) = given, how
    require_choice("reset_to", reset_to, RESET_TO)
    steps = tuple(x.shape[1::-1] if batch_major else x.shape[:2])
    if valid is not None and valid.dtype != torch.bool:
        # The operators take bytes, too: the bits of the kernels' masks, which no user writes.
        _check(operators.function, "valid", valid, torch.bool, steps, x.device)
    if resets is None:
        return valid
    if x.dim() == 2:
        raise ValueError(
            f"{operators.function}: x {tuple(x.shape)} has only the steps of valid, and takes no "
            "resets; pass x of three axes"
        )
    _check(operators.function, "resets", resets, torch.bool, steps, x.device)
    call = Call(x, (), None, None, *name_resets(resets, reset_to))
    return step_bits(call, valid, reverse)


def _cast(dtype: Any, operators: CellOperators, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cast tensors as ``torch.autocast`` would, except weights that the kernels can read."""
    first = operators.first_weight
    weights = given[first:]
    present = [each for each in weights if each is not None]
    if dtype != torch.bfloat16 or any(each.dtype != torch.float32 for each in present):
        weights = tuple(None if each is None else each.to(dtype) for each in weights)
    return *(each.to(dtype) for each in given[:first]), *weights


def _loop(cell: Cell, how: tuple[Any, ...], *given: Tensor) -> tuple[Tensor, ...]:
    """Compute what the operators compute with a loop of PyTorch's operators.

    ``given`` holds x, the states and the weights of the cell.
    """
    valid, batch_major, reverse, transposed = how
    first = 1 + len(cell.states)
    x, *states = given[:first]
    if x.dim() == 2:
        padded = x.new_zeros(*valid.shape, x.shape[1]).index_put((valid,), x)
        y, *final = _loop(cell, (valid, False, reverse, transposed), padded, *given[1:])
        return y[valid], *final
    # The loop computes in one type, so the weights are cast to it.
    kernel, recurrent_kernel, *biases = (each.to(x.dtype) for each in given[first:])
    if transposed:
        kernel, recurrent_kernel = kernel.t(), recurrent_kernel.t()
    weights = (kernel, recurrent_kernel, *biases)
    call = Call(x, tuple(states))
    return loop_layer(cell, call, weights, valid, batch_major=batch_major, reverse=reverse).flat


# Dynamo cannot trace these functions. It calls them once for each program, and traces a program
# again if the active transforms or levels differ.
@torch.compiler.assume_constant_result
def is_forward_mode() -> bool:
    """Return whether tensors may carry tangents, which an operator without a rule would drop."""
    return bool(forward_ad._current_level >= 0)


@torch.compiler.assume_constant_result
def loses_derivatives() -> bool:
    """Return whether an operator of ``torch.library`` would lose derivatives, or raise an error.

    PyTorch has no public function for this. Such an operator has a rule for ``backward``, but none
    for forward mode and for the transforms of ``torch.func`` that differentiate. ``vmap`` calls it
    once for each member of the batch.
    """
    if forward_ad._current_level >= 0:
        return True
    transforms = get_interpreter_stack() or ()
    return any(each.key() in (TransformType.Grad, TransformType.Jvp) for each in transforms)


def is_transformed() -> bool:
    """Return whether forward mode or any transform of ``torch.func`` is active."""
    return bool(forward_ad._current_level >= 0 or peek_interpreter_stack() is not None)


# -- what every operator takes and checks

# PyTorch leaves out the last argument of a call if it equals its default.


def _complete(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the ten arguments of a forward operator, including a last one that was left out."""
    return (*given, False)[:10]


def _split(
    operators: CellOperators, given: tuple[Any, ...]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Split a gradient operator's arguments into those of the forward operator and the rest.

    The rest is ``of_x`` (whether the gradient of x is wanted), what the forward operator kept, and
    the gradients of its results.
    """
    end = 10 + len(operators.kept) + len(operators.flows)
    return (*given[:9], (*given, False)[end]), given[9:end]


def _check_support(operators: CellOperators, x: Tensor) -> None:
    """Raise UnsupportedError if the kernels do not take a tensor of this type on this device."""
    if x.dtype not in COMPUTE_DTYPES or x.device.type not in ("cpu", "meta"):
        raise UnsupportedError(
            f"{operators.function}: x is {x.dtype} on {x.device.type}; expected "
            f"{' or '.join(COMPUTES)} on cpu, or use torch.nn.{operators.module}"
        )


def _check(function: str, name: str, tensor: Tensor, dtype: Any, shape: Any, device: Any) -> None:
    """Raise ValueError, with the tensor's name, if its type, shape or device is wrong."""
    if tensor.dtype != dtype or tensor.shape != shape:
        raise ValueError(
            f"{function}: {name} is {tensor.dtype} {tuple(tensor.shape)}; "
            f"expected {dtype} {tuple(shape)}"
        )
    if tensor.device != device:
        # PyTorch calls the fake operator if any tensor is on the device "meta". Its outputs would
        # then be memory of x's device to which nothing has written.
        raise ValueError(
            f"{function}: {name} is on {tensor.device} and x is on {device}; "
            "expected all tensors on one device"
        )


def _check_gates(operators: CellOperators, columns: int, units: int) -> None:
    """Raise ValueError if a kernel has the columns of another kind of cell."""
    for other in OPERATORS:
        if other is not operators and columns == other.gates * units != operators.gates * units:
            raise ValueError(
                f"{operators.function}: the kernel is of torch.nn.{other.module}, which has "
                f"{other.gates} gates of {units} units; torch.nn.{operators.module} has "
                f"{operators.gates}. Call {other.function} for these weights"
            )


def _weight_dtype(x: Tensor, kernel: Tensor) -> Any:
    """Return the type that the weights must have. Weights of float32 go with any type of x."""
    return torch.float32 if kernel.dtype == torch.float32 else x.dtype


def _check_layer(operators: CellOperators, *given: Any) -> tuple[Any, Any, Any]:
    """Check the tensors of a layer, and return its timesteps, batch and units.

    Raises
    ------
    ValueError
        If a tensor does not fit the others.
    UnsupportedError
        If the kernels do not take tensors of this type or device.
    """
    x, h, kernel = given[0], given[1], given[operators.first_weight]
    valid, batch_major, _, transposed = given[_TENSORS:]
    _check_support(operators, x)
    axes_of_x = (3,) if valid is None or valid.dtype != torch.bool else (2, 3)
    for name, tensor, axes in (("x", x, axes_of_x), ("h", h, (2, 3)), ("kernel", kernel, (2,))):
        if tensor.dim() not in axes:
            raise ValueError(
                f"{operators.function}: {name} is {tensor.dtype} {tuple(tensor.shape)}; "
                f"expected {' or '.join(map(str, axes))} axes"
            )
    batch, timesteps = x.shape[:2] if batch_major else x.shape[1::-1]
    if x.dim() == 2:
        if valid.dim() != 2:
            raise ValueError(
                f"{operators.function}: valid has shape {tuple(valid.shape)}; expected 2 axes"
            )
        timesteps, batch = valid.shape
    units, inputs = h.shape[-1], kernel.shape[1 if transposed else 0]
    state: Any = (1, batch, units) if h.dim() == 3 else (batch, units)
    width = operators.gates * units
    matrices: Any = (inputs, width), (units, width)
    if transposed:
        matrices = (width, inputs), (width, units)
    if kernel.shape != matrices[0]:
        _check_gates(operators, kernel.shape[0 if transposed else 1], units)
    states, biases = operators.first_weight - 1, _TENSORS - operators.first_weight - 2
    expected = (*x.shape[:-1], inputs), *states * (state,), *matrices, *biases * ((width,),)
    weight_dtype = _weight_dtype(x, kernel)
    for place, (tensor, shape) in enumerate(zip(given, expected, strict=False)):
        if tensor is None and place == _TENSORS - 1 and operators.may_be_shorter:
            continue  # a GRU in the form of the paper has no recurrent bias
        dtype = x.dtype if place < operators.first_weight else weight_dtype
        _check(operators.function, operators.tensors[place], tensor, dtype, shape, x.device)
    if valid is not None:
        # With the bits of the kernels' masks it is uint8.
        dtype = valid.dtype if valid.dtype == torch.uint8 else torch.bool
        _check(operators.function, "valid", valid, dtype, (timesteps, batch), x.device)
    return timesteps, batch, units


def _check_call(operators: CellOperators, *given: Any) -> tuple[Any, Any, Any]:
    """Check a call of an operator, and return what ``_check_layer`` returns.

    Raises
    ------
    RuntimeError
        In forward mode, where the outputs would have no tangents.
    """
    if is_forward_mode():
        raise RuntimeError(
            f"the operators {operators.name} have no forward mode and would drop tangents: "
            f"call lstm_impl.torch.{operators.module} or lstm_impl.torch.{operators.function} "
            "instead, which have one, or leave the level of torch.autograd.forward_ad"
        )
    return _check_layer(operators, *given)


def _check_gradient(
    operators: CellOperators, given: tuple[Any, ...], others: tuple[Any, ...]
) -> tuple[Any, Any, Any]:
    """Check a call of the gradient's operator, and return what ``_check_layer`` returns."""
    timesteps, batch, units = sizes = _check_call(operators, *given)
    x, h, valid = given[0], given[1], given[_TENSORS]
    y = (*x.shape[:-1], units)
    hidden = y if _keeps_outputs(x, valid) else (timesteps * batch * units,)
    kept = [(size,) for size in _kept_sizes(operators, sizes, given)]
    shapes = hidden, *kept, y, *(operators.first_weight - 1) * (h.shape,)
    names = (*operators.kept, *operators.flows)
    for name, tensor, shape in zip(names, others[1:], shapes, strict=True):
        _check(operators.function, name, tensor, x.dtype, shape, x.device)
    return sizes


def _kept_sizes(operators: CellOperators, sizes: Any, given: Any) -> tuple[Any, ...]:
    """Return the sizes of the gates and, if there are any, of the cell states that are kept."""
    name = operators.get_cell(given).name
    timesteps, batch, units = sizes
    if given[0].dim() == 2:  # What is kept has the same rows as x.
        timesteps, batch = given[0].shape[0], 1
    gates, cells = c_interface.kernels().kept_sizes(timesteps, batch, units, name)
    return (gates, cells) if "cells" in operators.kept else (gates,)


def _kernel_layer(operators: CellOperators, sizes: Any, given: Any) -> c_interface.KernelLayer:
    timesteps, batch, units = sizes
    x, kernel, how = given[0], given[operators.first_weight], given[_TENSORS + 1 :]
    batch_major, reverse, transposed = how
    kind = _MIXED if x.dtype != kernel.dtype else _KINDS[x.dtype]
    cell = c_interface.CELLS[operators.get_cell(given).name]
    arguments = batch_major, reverse, kind, torch.get_num_threads(), transposed, cell, x.dim() == 2
    return c_interface.kernel_layer(timesteps, batch, x.shape[-1], units, *arguments)


def _keeps_outputs(x: Tensor, valid: Tensor | None) -> bool:
    """Return whether what is kept of the hidden states is the outputs.

    The outputs have zeros where a mask leaves steps out. Without these steps they do not.
    """
    return valid is None or x.dim() == 2


def _check_rows(operators: CellOperators, x: Tensor, valid: Tensor | None) -> None:
    """Raise ValueError if x ``[rows, in]`` does not have a row for each step of a mask."""
    if x.dim() == 2 and valid is not None and int(valid.sum()) != x.shape[0]:
        raise ValueError(
            f"{operators.function}: x has {x.shape[0]} rows, and valid has {int(valid.sum())} "
            "steps that are True; expected a row for each"
        )


def _contiguous(operators: CellOperators, tensor: Tensor | None) -> Tensor | None:
    """Return a contiguous tensor. Raise ValueError if the tensor's memory was released."""
    if tensor is None:
        return None
    if not tensor.untyped_storage().nbytes() and tensor.numel():
        raise ValueError(
            f"{operators.function}: a tensor of shape {tuple(tensor.shape)} has no memory; its "
            "storage was resized to 0, as FSDP does outside of a forward pass"
        )
    return tensor.contiguous()


def _address(tensor: Tensor | None) -> int:
    """Return the address of a tensor's memory, or 0 for None."""
    return 0 if tensor is None else int(tensor.data_ptr())  # An empty tensor has the address 0.


def _mask(operators: CellOperators, valid: Tensor | None) -> Tensor | None:
    made = _contiguous(operators, valid)
    return None if made is None else made.to(torch.uint8)


def _two(tensors: Tensors) -> tuple[Any, Any]:
    """Return what belongs to h and to c, or None for the c that a GRU does not have."""
    first, *second = tensors
    return first, second[0] if second else None


# -- what the operators compute


def _results(operators: CellOperators, keep: bool, *given: Any) -> tuple[Tensor, ...]:
    given = _complete(given)
    return _made(operators, _check_call(operators, *given), keep, given)


def _made(operators: CellOperators, sizes: Any, keep: bool, given: Any) -> tuple[Tensor, ...]:
    """Make empty tensors for the outputs, the final states and what is kept."""
    """Make empty tensors for the results, and for what is kept."""
    timesteps, batch, units = sizes
    x, h, valid = given[0], given[1], given[_TENSORS]
    y = x.new_empty((*x.shape[:-1], units))
    made = (y, *(x.new_empty(h.shape) for _ in range(operators.first_weight - 1)))
    if not keep:
        return made
    hidden = 0 if _keeps_outputs(x, valid) else timesteps * batch * units
    kept = *_kept_sizes(operators, sizes, given), hidden
    return *made, *(x.new_empty([size]) for size in kept)


def _forward(operators: CellOperators, keep: bool, *given: Any) -> tuple[Tensor, ...]:
    """Compute the layer with the kernels."""
    given = _complete(given)
    sizes = _check_call(operators, *given)
    _check_rows(operators, given[0], given[_TENSORS])
    made = _made(operators, sizes, keep, given)
    first = operators.first_weight
    arrays = [_contiguous(operators, each) for each in given[:_TENSORS]]
    kernel, recurrent_kernel, bias, *second = arrays[first:]
    read = (kernel, recurrent_kernel, bias, arrays[0], *_two(arrays[1:first]))
    mask, (y, *last) = _mask(operators, given[_TENSORS]), made[:first]
    kept: tuple[Any, ...] = (None, None, None)
    if keep:
        *others, hidden = made[first:]
        kept = (*_two(others), hidden)
    addresses = map(_address, (*read, mask, y, *_two(last), *kept, *_present(second)))
    c_interface.kernels().forward(_kernel_layer(operators, sizes, given), *addresses)
    return made


def _present(tensors: Tensors) -> list[Tensor]:
    """Return the tensors that are not None."""
    return [each for each in tensors if each is not None]


def _gradient(operators: CellOperators, *all_given: Any) -> tuple[Tensor, ...]:
    given, others = _split(operators, all_given)
    sizes = _check_gradient(operators, given, others)
    _check_rows(operators, given[0], given[_TENSORS])
    first, (of_x, *rest) = operators.first_weight, others
    x, *states = (_contiguous(operators, each) for each in given[:first])
    # The gradient does not read the biases.
    kernel, recurrent_kernel = (_contiguous(operators, e) for e in given[first : first + 2])
    count = len(operators.kept)
    hidden, *kept = [_contiguous(operators, each) for each in rest[:count]]
    dy, *flows = (_contiguous(operators, each) for each in rest[count:])
    layer, mask = _kernel_layer(operators, sizes, given), _mask(operators, given[_TENSORS])
    dz = torch.empty(rest[1].shape, dtype=torch.float32)  # dz has the shape of the kept gates.
    made = _make_gradients(given, of_x)
    dx, of_states, of_weights = made[0], made[1:first], made[first:]
    if given[_TENSORS - 1] is None:
        of_weights = of_weights[:-1]
    read = (recurrent_kernel, x, *_two(states), mask, hidden, *_two(kept), dy, *_two(flows))
    written = (dz, *_two(of_states), *of_weights)
    c_interface.kernels().backward(layer, *map(_address, (*read, *written)))
    if of_x:
        c_interface.kernels().input_gradient(layer, *map(_address, (kernel, dz, mask, dx)))
    return made


def _gradient_results(operators: CellOperators, *all_given: Any) -> tuple[Tensor, ...]:
    given, others = _split(operators, all_given)
    _check_gradient(operators, given, others)
    return _make_gradients(given, others[0])


def _make_gradients(given: tuple[Any, ...], of_x: bool) -> tuple[Tensor, ...]:
    """Make empty tensors for the gradients."""
    """Return new tensors for the gradients; an empty one of what is left out."""
    x, *others = given[:_TENSORS]
    dx = x.new_empty(x.shape if of_x else [0])
    return dx, *(x.new_empty([0]) if e is None else e.new_empty(e.shape) for e in others)


# -- the gradients of the operators, which PyTorch's autograd calls


def _save(
    operators: CellOperators, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]
) -> None:
    """Save what the backward pass needs."""
    *given, ctx.batch_major, ctx.reverse, ctx.transposed = _complete(inputs)
    ctx.set_materialize_grads(False)  # Otherwise PyTorch would make zeros for gates and cells.
    ctx.save_for_backward(*given, output[0], *output[operators.first_weight :])


def _backward(operators: CellOperators, ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    given, (y, *kept, hidden) = saved[: _TENSORS + 1], saved[_TENSORS + 1 :]
    hidden = y if _keeps_outputs(given[0], given[_TENSORS]) else hidden
    like = (y, *given[1 : operators.first_weight])
    flows = [
        torch.zeros_like(known) if each is None else each
        for each, known in zip(upstream[: len(like)], like, strict=True)
    ]
    of_x = ctx.needs_input_grad[0]
    compute = _select(operators.gradient)
    how = (ctx.batch_major, ctx.reverse, of_x)
    dx, *others = compute(*given, *how, hidden, *kept, *flows, ctx.transposed)
    if given[_TENSORS - 1] is None:
        others[-1] = None
    return dx if of_x else None, *others, *4 * (None,)


def _save_gradient(
    operators: CellOperators, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]
) -> None:
    given, others = _split(operators, inputs)
    ctx.batch_major, ctx.reverse, ctx.transposed = given[_TENSORS + 1 :]
    ctx.of_x = others[0]
    ctx.save_for_backward(*given[: _TENSORS + 1], *others[1 + len(operators.kept) :])


def _second(operators: CellOperators, ctx: Any, *upstream: Tensor) -> tuple[Any, ...]:
    """Return the second gradient, which is that of the loop.

    What was kept depends on what was given, and the loop takes only the latter. Its gradient is
    None.
    """
    saved = ctx.saved_tensors
    given, valid, flows = saved[:_TENSORS], saved[_TENSORS], saved[_TENSORS + 1 :]
    how = (valid, ctx.batch_major, ctx.reverse, ctx.transposed)
    by_loop: Any = functools.partial(_loop, operators.get_cell(given), how)
    present = tuple(_present(given))

    def gradients(given: Any, flows: Any) -> Any:
        return torch.func.vjp(by_loop, *given)[1](tuple(flows))

    of_x = upstream[0] if ctx.of_x else torch.zeros_like(given[0])
    pull_back = torch.func.vjp(gradients, present, tuple(flows))[1]
    of_given, of_flows = pull_back((of_x, *upstream[1 : len(present)]))
    missing = (None,) * (_TENSORS - len(present))
    return *of_given, *missing, *4 * (None,), *len(operators.kept) * (None,), *of_flows, None


for _each in OPERATORS:
    _each.define()
