"""One direction of one LSTM layer by the kernels of ``fused_cpu``, as an operator of PyTorch.

``torch.compile`` takes the operator as one node, without a graph break. Forward mode, the
transforms of ``torch.func`` and second gradients use a loop of PyTorch's own operators. Importing
this module imports PyTorch.

An operator may be called by anyone, for example by a program that ``torch.export`` has saved. The
kernels read and write as many numbers as the sizes of the layer say. Each operator therefore checks
the shape, type and device of every tensor before it passes an address on.

The kernels read ``[in, 4H]`` and ``[H, 4H]``. PyTorch's modules keep the transposes, which the
operators take with ``transposed=True``. The kernels' library then copies the matrices to memory
that it keeps between calls, or transposes them in registers, in a fraction of the time of
PyTorch's own copy of a transpose.
"""

from __future__ import annotations

import functools
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
from lstm_impl.backends.torch.loop import layer_by_loop
from lstm_impl.call import LSTMOutputs, Tensor, Tensors
from lstm_impl.spec import UnsupportedError

OPERATOR = "lstm_impl::fused_lstm"
TRAINING, GRADIENT = f"{OPERATOR}_training", f"{OPERATOR}_gradient"

_LAYER = "Tensor x, Tensor h, Tensor c, Tensor kernel, Tensor recurrent_kernel, Tensor bias, "
_HOW = "Tensor? valid, bool batch_major, bool reverse"
# A program that an earlier version saved calls the operators without this argument.
_LAYOUT = "bool transposed=False"
_SIX = f"({', '.join(6 * ['Tensor'])})"  # of a list PyTorch's autograd would make a tree each time
torch.library.define(OPERATOR, f"({_LAYER}{_HOW}, {_LAYOUT}) -> (Tensor, Tensor, Tensor)")
torch.library.define(TRAINING, f"({_LAYER}{_HOW}, {_LAYOUT}) -> {_SIX}")
torch.library.define(
    GRADIENT,
    f"({_LAYER}{_HOW}, bool of_x, Tensor hidden, Tensor gates, Tensor cells, Tensor dy, "
    f"Tensor dh, Tensor dc, {_LAYOUT}) -> {_SIX}",
)

COMPUTE_DTYPES = tuple(getattr(torch, name) for name in COMPUTES)
"""PyTorch's types of inputs that the kernels take."""

_KINDS = {getattr(torch, name): c_interface.TYPES[name] for name in COMPUTES}
_MIXED = c_interface.TYPES["mixed_bfloat16"]

_NAMES = ("x", "h", "c", "kernel", "recurrent_kernel", "bias")
_KEPT = ("hidden", "gates", "cells")
_FLOWS = ("dy", "dh", "dc")


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
) -> LSTMOutputs:
    """Compute one direction of one LSTM layer on a CPU, with gradients.

    In forward mode (``torch.func.jvp``, ``torch.autograd.forward_ad``) and inside of
    ``torch.func.grad`` and ``vjp`` a loop of PyTorch's operators computes the layer.

    Parameters
    ----------
    x : torch.Tensor
        Input ``[T, B, in]``, or ``[B, T, in]`` if batch_major; float32 or bfloat16. All tensors but
        ``valid`` have this type, except that the weights may be float32 if x is bfloat16. The
        kernels then read the weights without a cast, and the gradients of the weights are float32.
        No tensor need be contiguous. Under ``torch.autocast`` to bfloat16, x, h, c and weights of
        other types than float32 are cast.
    h, c : torch.Tensor
        Initial state ``[B, H]``, or ``[1, B, H]`` as of a module with one layer.
    kernel, recurrent_kernel, bias : torch.Tensor
        ``[in, 4H]``, ``[H, 4H]`` and ``[4H]``, gates in the order i, f, g, o. If transposed, the
        first two are ``[4H, in]`` and ``[4H, H]``, as PyTorch's modules have them.
    valid : torch.Tensor, optional
        Bool ``[T, B]``: a step that is False keeps the state, and its output is zero.
    batch_major, reverse : bool
        The axes of x and y; whether steps are read from the last to the first.
    transposed : bool
        The axes of kernel and recurrent_kernel. If True, most calls copy the two matrices.

    Returns
    -------
    LSTMOutputs
        y, with the axes of x, and h and c, with those of the initial ones.

    Raises
    ------
    UnavailableError
        If the kernels cannot be compiled here.
    UnsupportedError
        If the tensors are neither float32 nor bfloat16, or not on a CPU.
    ValueError
        If a tensor has another shape, type or device than x and h call for.
    """
    given = (x, h, c, kernel, recurrent_kernel, bias)
    if torch.is_autocast_enabled("cpu"):
        given = _cast(torch.get_autocast_dtype("cpu"), given)
    how = valid, batch_major, reverse, transposed
    _check_support(given[0])
    if loses_derivatives():
        _check_layer(*given, *how)
        return _loop(transposed, valid, batch_major, reverse, *given)
    ours = torch.ops.lstm_impl
    trained = torch.is_grad_enabled() and any(each.requires_grad for each in given)
    compute = ours.fused_lstm_training if trained else ours.fused_lstm
    return LSTMOutputs(*compute(*given, *how)[:3])


def _cast(dtype: Any, given: Tensors) -> tuple[Tensor, ...]:
    """Cast tensors as ``torch.autocast`` would, but leave weights that the kernels read as is."""
    weights = given[3:]
    if dtype != torch.bfloat16 or any(each.dtype != torch.float32 for each in weights):
        weights = tuple(each.to(dtype) for each in weights)
    return *(each.to(dtype) for each in given[:3]), *weights


def _loop(
    transposed: bool, valid: Tensor | None, batch_major: bool, reverse: bool, *given: Tensor
) -> LSTMOutputs:
    """Compute what ``fused_layer`` computes by a loop of PyTorch's operators."""
    x, h, c, kernel, recurrent_kernel, bias = given
    # The loop computes in one type.
    kernel, recurrent_kernel, bias = (each.to(x.dtype) for each in (kernel, recurrent_kernel, bias))
    if transposed:
        kernel, recurrent_kernel = kernel.t(), recurrent_kernel.t()
    given = (x, h, c, kernel, recurrent_kernel, bias)
    return layer_by_loop(*given, valid, batch_major=batch_major, reverse=reverse)


# Dynamo, which cannot trace these questions, asks them once for each program. It traces a program
# again where transforms or levels are others.
@torch.compiler.assume_constant_result
def is_forward_mode() -> bool:
    """Return whether tensors may carry tangents, which an operator without a rule drops."""
    return bool(forward_ad._current_level >= 0)


@torch.compiler.assume_constant_result
def loses_derivatives() -> bool:
    """Return whether an operator of ``torch.library`` would lose derivatives or raise here.

    PyTorch has no public question for that. Such an operator has a rule for ``backward``, but none
    for forward mode and for the transforms of ``torch.func`` that differentiate. ``vmap`` calls it
    for each member of the batch.
    """
    if forward_ad._current_level >= 0:
        return True
    transforms = get_interpreter_stack() or ()
    return any(each.key() in (TransformType.Grad, TransformType.Jvp) for each in transforms)


def is_transformed() -> bool:
    """Return whether a transform of ``torch.func`` or forward mode is active, also ``vmap``."""
    return bool(forward_ad._current_level >= 0 or peek_interpreter_stack() is not None)


# -- what every operator takes, and checks

# PyTorch leaves out the last argument of a call where it equals its default.


def _complete(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the ten arguments of a forward operator."""
    return (*given, False)[:10]


def _split(given: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the arguments of the gradient's operator, those of a forward operator first.

    The others are of_x, hidden, gates, cells, dy, dh and dc.
    """
    return (*given[:9], (*given, False)[16]), given[9:16]


def _check_support(x: Tensor) -> None:
    """Raise UnsupportedError if no kernel takes a tensor of this type on this device."""
    if x.dtype not in COMPUTE_DTYPES or x.device.type not in ("cpu", "meta"):
        raise UnsupportedError(
            f"fused_layer: x is {x.dtype} on {x.device.type}; expected {' or '.join(COMPUTES)} on "
            "cpu, or use torch.nn.LSTM"
        )


def _check(name: str, tensor: Tensor, dtype: Any, shape: Any, device: Any) -> None:
    """Raise ValueError, naming the tensor, if its type, shape or device is another."""
    if tensor.dtype != dtype or tensor.shape != shape:
        raise ValueError(
            f"fused_layer: {name} is {tensor.dtype} {tuple(tensor.shape)}; "
            f"expected {dtype} {tuple(shape)}"
        )
    if tensor.device != device:
        # PyTorch calls the fake operator if any tensor is on the device "meta". Its outputs would
        # be memory of x's device that nothing has written to.
        raise ValueError(
            f"fused_layer: {name} is on {tensor.device} and x is on {device}; "
            "expected all tensors on one device"
        )


def _weight_dtype(x: Tensor, kernel: Tensor) -> Any:
    """Return the type that the weights of a layer must have: float32 may go with any x."""
    return torch.float32 if kernel.dtype == torch.float32 else x.dtype


def _check_layer(*given: Any) -> tuple[Any, Any, Any]:
    """Return timesteps, batch and units.

    Raises ValueError if a tensor does not fit the others, and UnsupportedError if no kernel takes
    them.
    """
    x, h, _, kernel = given[:4]
    valid, batch_major, _, transposed = given[6:]
    _check_support(x)
    for name, tensor, axes in (("x", x, (3,)), ("h", h, (2, 3)), ("kernel", kernel, (2,))):
        if tensor.dim() not in axes:
            raise ValueError(
                f"fused_layer: {name} is {tensor.dtype} {tuple(tensor.shape)}; "
                f"expected {' or '.join(map(str, axes))} axes"
            )
    batch, timesteps = x.shape[:2] if batch_major else x.shape[1::-1]
    units, inputs = h.shape[-1], kernel.shape[1 if transposed else 0]
    state: Any = (1, batch, units) if h.dim() == 3 else (batch, units)
    width = 4 * units
    matrices: Any = (inputs, width), (units, width)
    if transposed:
        matrices = (width, inputs), (width, units)
    expected = (*x.shape[:2], inputs), state, state, *matrices, (width,)
    types = *3 * (x.dtype,), *3 * (_weight_dtype(x, kernel),)
    for name, tensor, dtype, shape in zip(_NAMES, given, types, expected, strict=False):
        _check(name, tensor, dtype, shape, x.device)
    if valid is not None:
        _check("valid", valid, torch.bool, (timesteps, batch), x.device)
    return timesteps, batch, units


def _check_call(*given: Any) -> tuple[Any, Any, Any]:
    """Return what ``_check_layer`` returns, of a call of an operator.

    Raises RuntimeError in forward mode too, where the outputs would have no tangents.
    """
    if is_forward_mode():
        raise RuntimeError(
            "the operators lstm_impl::fused_lstm have no forward mode and would drop tangents: "
            "call lstm_impl.torch.LSTM or lstm_impl.torch.fused_layer instead, which have one, or "
            "leave the level of torch.autograd.forward_ad"
        )
    return _check_layer(*given)


def _check_gradient(given: tuple[Any, ...], others: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """Return what ``_check_call`` returns, and check what the gradient takes besides."""
    timesteps, batch, units = sizes = _check_call(*given)
    x, h, valid = given[0], given[1], given[6]
    gates, cells = c_interface.kernels().kept_sizes(*sizes)
    y = (*x.shape[:2], units)
    # Without a mask the hidden states are the outputs.
    hidden = y if valid is None else (timesteps * batch * units,)
    shapes = hidden, (gates,), (cells,), y, h.shape, h.shape
    for name, tensor, shape in zip((*_KEPT, *_FLOWS), others[1:], shapes, strict=True):
        _check(name, tensor, x.dtype, shape, x.device)
    return sizes


def _kernel_layer(timesteps: int, batch: int, units: int, *given: Any) -> c_interface.KernelLayer:
    x, kernel, batch_major, reverse, transposed = given[0], given[3], *given[7:]
    kind = _MIXED if x.dtype != kernel.dtype else _KINDS[x.dtype]
    how = batch_major, reverse, kind, torch.get_num_threads(), transposed
    return c_interface.kernel_layer(timesteps, batch, x.shape[2], units, *how)


def _contiguous(tensor: Tensor) -> Tensor:
    """Return the tensor, contiguous. Raises ValueError if its memory was taken away."""
    if not tensor.untyped_storage().nbytes() and tensor.numel():
        raise ValueError(
            f"fused_layer: a tensor of shape {tuple(tensor.shape)} has no memory; its storage was "
            "resized to 0, as FSDP does outside of a forward pass"
        )
    return tensor.contiguous()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else int(tensor.data_ptr())  # of an empty one it is 0


def _mask(valid: Tensor | None) -> Tensor | None:
    return None if valid is None else _contiguous(valid).to(torch.uint8)


@torch.library.register_fake(OPERATOR)
def _results(*given: Any) -> tuple[Tensor, ...]:
    given = _complete(given)
    return _made(_check_call(*given), False, given)


@torch.library.register_fake(TRAINING)
def _training_results(*given: Any) -> tuple[Tensor, ...]:
    given = _complete(given)
    return _made(_check_call(*given), True, given)


def _made(sizes: Any, keep: bool, given: Any) -> tuple[Tensor, ...]:
    timesteps, batch, units = sizes
    x, h, valid = given[0], given[1], given[6]
    made = x.new_empty((*x.shape[:2], units)), x.new_empty(h.shape), x.new_empty(h.shape)
    if not keep:
        return made
    # Without a mask the hidden states are the outputs.
    hidden = 0 if valid is None else timesteps * batch * units
    kept = *c_interface.kernels().kept_sizes(timesteps, batch, units), hidden
    return *made, *(x.new_empty([size]) for size in kept)


def _forward(keep: bool, *given: Any) -> tuple[Tensor, ...]:
    given = _complete(given)
    sizes = _check_call(*given)
    made = _made(sizes, keep, given)
    x, h, c, kernel, recurrent_kernel, bias = [_contiguous(each) for each in given[:6]]
    read = (kernel, recurrent_kernel, bias, x, h, c, _mask(given[6]))
    kept = () if keep else (None, None, None)
    addresses = [_address(each) for each in (*read, *made, *kept)]
    c_interface.kernels().forward(_kernel_layer(*sizes, *given), *addresses)
    return made


torch.library.impl(OPERATOR, "CPU", functools.partial(_forward, False))
torch.library.impl(TRAINING, "CPU", functools.partial(_forward, True))


@torch.library.impl(GRADIENT, "CPU")
def _gradient(*all_given: Any) -> tuple[Tensor, ...]:
    given, others = _split(all_given)
    sizes = _check_gradient(given, others)
    x, h, c, kernel, recurrent_kernel = [_contiguous(each) for each in given[:5]]
    hidden, gates, cells, dy, dh, dc = [_contiguous(each) for each in others[1:]]
    layer, mask, of_x = _kernel_layer(*sizes, *given), _mask(given[6]), others[0]
    dz = torch.empty(gates.shape, dtype=torch.float32)
    dx, *made = _make_gradients(given, of_x)
    read = (recurrent_kernel, x, h, c, mask, hidden, gates, cells, dy, dh, dc)
    c_interface.kernels().backward(layer, *map(_address, (*read, dz, *made)))
    if of_x:
        c_interface.kernels().input_gradient(layer, *map(_address, (kernel, dz, dx)))
    return dx, *made


@torch.library.register_fake(GRADIENT)
def _gradient_results(*all_given: Any) -> tuple[Tensor, ...]:
    given, others = _split(all_given)
    _check_gradient(given, others)
    return _make_gradients(given, others[0])


def _make_gradients(given: tuple[Any, ...], of_x: bool) -> tuple[Tensor, ...]:
    x, *others = given[:6]
    dx = x.new_empty(x.shape if of_x else [0])
    return dx, *(each.new_empty(each.shape) for each in others)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *given, ctx.batch_major, ctx.reverse, ctx.transposed = _complete(inputs)
    ctx.set_materialize_grads(False)  # else there were zeros for gates and cells
    ctx.save_for_backward(*given, output[0], *output[3:])


def _backward(ctx: Any, *upstream: Tensor | None) -> tuple[Any, ...]:
    *given, y, gates, cells, hidden = ctx.saved_tensors
    hidden = y if given[6] is None else hidden
    like = (y, given[1], given[2])
    flows = [
        torch.zeros_like(known) if each is None else each
        for each, known in zip(upstream[:3], like, strict=True)
    ]
    of_x = ctx.needs_input_grad[0]
    how, kept = (ctx.batch_major, ctx.reverse, of_x), (hidden, gates, cells)
    dx, *others = torch.ops.lstm_impl.fused_lstm_gradient(
        *given, *how, *kept, *flows, ctx.transposed
    )
    return dx if of_x else None, *others, *4 * (None,)


def _save_gradient(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    given, others = _split(inputs)
    ctx.batch_major, ctx.reverse, ctx.transposed = given[7:]
    ctx.of_x = others[0]
    ctx.save_for_backward(*given[:7], *others[4:7])


def _second(ctx: Any, *upstream: Tensor) -> tuple[Any, ...]:
    """Return the second gradient by the loop. What was kept depends on what was given: None."""
    *given, valid, dy, dh, dc = ctx.saved_tensors
    by_loop: Any = functools.partial(_loop, ctx.transposed, valid, ctx.batch_major, ctx.reverse)

    def gradients(given: Any, flows: Any) -> Any:
        return torch.func.vjp(by_loop, *given)[1](LSTMOutputs(*flows))

    of_x = upstream[0] if ctx.of_x else torch.zeros_like(given[0])
    pull_back = torch.func.vjp(gradients, tuple(given), (dy, dh, dc))[1]
    of_given, of_flows = pull_back((of_x, *upstream[1:]))
    return *of_given, *7 * (None,), *of_flows, None


torch.library.register_autograd(TRAINING, _backward, setup_context=_save)
torch.library.register_autograd(GRADIENT, _second, setup_context=_save_gradient)
