"""One direction of one LSTM layer by the kernels of ``fused_cpu``, as an operator of PyTorch.

``torch.compile`` takes the operator as one node, without a graph break. A second gradient is that
of a loop in PyTorch's own operators. Importing this module imports PyTorch.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from lstm_impl.backends.fused_cpu import c_interface
from lstm_impl.backends.fused_cpu.library import COMPUTES
from lstm_impl.backends.torch.loop import cell, looped
from lstm_impl.call import Outputs, Tensor
from lstm_impl.spec import UnsupportedError

OPERATOR = "lstm_impl::fused_lstm"
TRAINING, GRADIENT = f"{OPERATOR}_training", f"{OPERATOR}_gradient"

_LAYER = "Tensor x, Tensor h, Tensor c, Tensor kernel, Tensor recurrent_kernel, Tensor bias, "
_HOW = "Tensor? valid, bool batch_major, bool reverse"
_SIX = f"({', '.join(6 * ['Tensor'])})"  # of a list PyTorch's autograd would make a tree each time
torch.library.define(OPERATOR, f"({_LAYER}{_HOW}) -> (Tensor, Tensor, Tensor)")
torch.library.define(TRAINING, f"({_LAYER}{_HOW}) -> {_SIX}")
torch.library.define(
    GRADIENT,
    f"({_LAYER}{_HOW}, bool of_x, Tensor hidden, Tensor gates, Tensor cells, Tensor dy, "
    f"Tensor dh, Tensor dc) -> {_SIX}",
)

_COMPUTES = tuple(getattr(torch, name) for name in COMPUTES)


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
) -> Outputs:
    """Compute one direction of one LSTM layer on a CPU, with gradients.

    Parameters
    ----------
    x : torch.Tensor
        Input ``[T, B, in]``, or ``[B, T, in]`` if batch_major; float32 or bfloat16, as are all
        tensors but ``valid``. None need be contiguous. Under ``torch.autocast`` all are cast.
    h, c : torch.Tensor
        Initial state ``[B, H]``, or ``[1, B, H]`` as of a module with one layer.
    kernel, recurrent_kernel, bias : torch.Tensor
        ``[in, 4H]``, ``[H, 4H]`` and ``[4H]``, gates in the order i, f, g, o.
    valid : torch.Tensor, optional
        Bool ``[T, B]``: a step that is False keeps the state, and its output is zero.
    batch_major, reverse : bool
        The axes of x and y; whether steps are read from the last to the first.

    Returns
    -------
    Outputs
        y, with the axes of x, and h and c, with those of the initial ones.

    Raises
    ------
    UnavailableError
        If the kernels cannot be compiled here.
    UnsupportedError
        If the tensors are neither float32 nor bfloat16, or not on a CPU.
    ValueError
        If a tensor has another shape or type than x and h call for.
    """
    given = (x, h, c, kernel, recurrent_kernel, bias)
    if torch.is_autocast_enabled("cpu"):
        given = tuple(each.to(torch.get_autocast_dtype("cpu")) for each in given)
    x = given[0]
    if x.dtype not in _COMPUTES or x.device.type not in ("cpu", "meta"):
        raise UnsupportedError(
            f"fused_layer: x is {x.dtype} on {x.device.type}; expected {' or '.join(COMPUTES)} on "
            "cpu, or use torch.nn.LSTM"
        )
    ours = torch.ops.lstm_impl
    trained = torch.is_grad_enabled() and any(each.requires_grad for each in given)
    compute = ours.fused_lstm_training if trained else ours.fused_lstm
    return Outputs(*compute(*given, valid, batch_major, reverse)[:3])


def _shape(*given: Any) -> tuple[Any, Any, Any]:
    """Return timesteps, batch and units. Raises ValueError if a tensor does not fit the others."""
    x, h, _, kernel, *_, valid, batch_major, _ = given[:9]
    batch, timesteps = x.shape[:2] if batch_major else x.shape[1::-1]
    units, inputs = h.shape[-1], kernel.shape[0]
    state: Any = (1, batch, units) if h.dim() == 3 else (batch, units)
    width = 4 * units
    expected = (*x.shape[:2], inputs), state, state, (inputs, width), (units, width), (width,)
    for place, (each, shape) in enumerate(zip(given, expected, strict=False)):
        if each.shape != shape or each.dtype != x.dtype:
            name = ("x", "h", "c", "kernel", "recurrent_kernel", "bias")[place]
            raise ValueError(
                f"fused_layer: {name} is {each.dtype} {tuple(each.shape)}; "
                f"expected {x.dtype} {tuple(shape)}"
            )
    if valid is not None and valid.shape != (timesteps, batch):
        raise ValueError(
            f"fused_layer: valid is {tuple(valid.shape)}; expected {(timesteps, batch)}"
        )
    return timesteps, batch, units


def _layer_of(timesteps: int, batch: int, units: int, *given: Any) -> c_interface.KernelLayer:
    x, batch_major, reverse = given[0], *given[7:9]
    how = batch_major, reverse, x.dtype == torch.bfloat16, torch.get_num_threads()
    return c_interface.kernel_layer(timesteps, batch, x.shape[2], units, *how)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else int(tensor.data_ptr())  # of an empty one it is 0


def _mask(valid: Tensor | None) -> Tensor | None:
    return None if valid is None else valid.to(torch.uint8).contiguous()


@torch.library.register_fake(OPERATOR)
def _results(*given: Any) -> tuple[Tensor, ...]:
    return _made(_shape(*given), False, given)


@torch.library.register_fake(TRAINING)
def _training_results(*given: Any) -> tuple[Tensor, ...]:
    return _made(_shape(*given), True, given)


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
    sizes = _shape(*given)
    made = _made(sizes, keep, given)
    x, h, c, kernel, recurrent_kernel, bias = [each.contiguous() for each in given[:6]]
    read = (kernel, recurrent_kernel, bias, x, h, c, _mask(given[6]))
    kept = () if keep else (None, None, None)
    addresses = [_address(each) for each in (*read, *made, *kept)]
    c_interface.kernels().forward(_layer_of(*sizes, *given), *addresses)
    return made


torch.library.impl(OPERATOR, "CPU", functools.partial(_forward, False))
torch.library.impl(TRAINING, "CPU", functools.partial(_forward, True))


@torch.library.impl(GRADIENT, "CPU")
def _gradient(*given: Any) -> tuple[Tensor, ...]:
    x, h, c, kernel, recurrent_kernel = [each.contiguous() for each in given[:5]]
    hidden, gates, cells, dy, dh, dc = [each.contiguous() for each in given[10:]]
    layer, mask = _layer_of(*_shape(*given), *given), _mask(given[6])
    dz = torch.empty(gates.shape, dtype=torch.float32)
    dx, *made = _gradient_results(*given)
    read = (recurrent_kernel, x, h, c, mask, hidden, gates, cells, dy, dh, dc)
    c_interface.kernels().backward(layer, *map(_address, (*read, dz, *made)))
    if given[9]:
        c_interface.kernels().input_gradient(layer, *map(_address, (kernel, dz, dx)))
    return dx, *made


@torch.library.register_fake(GRADIENT)
def _gradient_results(*given: Any) -> tuple[Tensor, ...]:
    x, *others = given[:6]
    dx = x.new_empty(x.shape if given[9] else [0])
    return dx, *(each.new_empty(each.shape) for each in others)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *given, ctx.batch_major, ctx.reverse = inputs
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
    dx, *others = torch.ops.lstm_impl.fused_lstm_gradient(
        *given, ctx.batch_major, ctx.reverse, of_x, hidden, gates, cells, *flows
    )
    return dx if of_x else None, *others, None, None, None


def _save_gradient(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *given, ctx.batch_major, ctx.reverse, ctx.of_x = inputs[:10]
    ctx.save_for_backward(*given, *inputs[13:])


def _second(ctx: Any, *upstream: Tensor) -> tuple[Any, ...]:
    """Return the second gradient by the loop. What was kept depends on what was given: None."""
    *given, valid, dy, dh, dc = ctx.saved_tensors
    steps = None if valid is None else valid[:, :, None]

    def by_loop(x: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        x = x.transpose(0, 1) if ctx.batch_major else x
        state = [each.reshape(each.shape[-2:]) for each in (h, c)]
        y, *last = looped(cell, steps, ctx.reverse, x, *state, *parameters)
        last = [each.reshape(h.shape) for each in last]
        return y.transpose(0, 1) if ctx.batch_major else y, *last

    def gradients(given: Any, flows: Any) -> Any:
        return torch.func.vjp(by_loop, *given)[1](flows)

    of_x = upstream[0] if ctx.of_x else torch.zeros_like(given[0])
    pull_back = torch.func.vjp(gradients, tuple(given), (dy, dh, dc))[1]
    of_given, of_flows = pull_back((of_x, *upstream[1:]))
    return *of_given, *7 * (None,), *of_flows


torch.library.register_autograd(TRAINING, _backward, setup_context=_save)
torch.library.register_autograd(GRADIENT, _second, setup_context=_save_gradient)
