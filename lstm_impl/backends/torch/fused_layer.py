"""One direction of one LSTM layer by the kernels of ``fused_cpu``, as an operator of PyTorch.

``torch.compile`` takes the operator as one node, without a graph break. Importing this module
imports PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch

from lstm_impl.backends.fused_cpu import c_interface
from lstm_impl.backends.fused_cpu.library import COMPUTES
from lstm_impl.call import Outputs, Tensor
from lstm_impl.spec import UnsupportedError

OPERATOR = "lstm_impl::fused_lstm"
GRADIENT = f"{OPERATOR}_gradient"

_LAYER = "Tensor x, Tensor h, Tensor c, Tensor kernel, Tensor recurrent_kernel, Tensor bias, "
_HOW = "Tensor valid, bool batch_major, bool reverse"
torch.library.define(OPERATOR, f"({_LAYER}{_HOW}, bool keep) -> Tensor[]")
torch.library.define(
    GRADIENT,
    f"({_LAYER}{_HOW}, bool of_x, Tensor hidden, Tensor gates, Tensor cells, Tensor dy, "
    "Tensor dh, Tensor dc) -> Tensor[]",
)


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
        tensors but ``valid``. None need be contiguous.
    h, c : torch.Tensor
        Initial state ``[B, H]``.
    kernel, recurrent_kernel, bias : torch.Tensor
        ``[in, 4H]``, ``[H, 4H]`` and ``[4H]``, gates in the order i, f, g, o.
    valid : torch.Tensor, optional
        Bool ``[T, B]``: a step that is False keeps the state, and its output is zero.
    batch_major, reverse : bool
        The axes of x and y; whether steps are read from the last to the first.

    Returns
    -------
    Outputs
        y, with the axes of x, and h and c ``[B, H]``.

    Raises
    ------
    UnavailableError
        If the kernels cannot be compiled here.
    UnsupportedError
        If the tensors are neither float32 nor bfloat16, or a second gradient is requested.
    """
    if str(x.dtype).removeprefix("torch.") not in COMPUTES:
        raise UnsupportedError(f"fused_layer: x is {x.dtype}; expected {' or '.join(COMPUTES)}")
    given = (x, h, c, kernel, recurrent_kernel, bias)
    keep = torch.is_grad_enabled() and any(each.requires_grad for each in given)
    valid = x.new_empty([0], dtype=torch.bool) if valid is None else valid
    made = torch.ops.lstm_impl.fused_lstm(*given, valid, batch_major, reverse, keep)
    return Outputs(*made[:3])


def _sizes(x: Tensor, h: Tensor, batch_major: bool, reverse: bool) -> c_interface.KernelLayer:
    batch, timesteps = x.shape[:2] if batch_major else x.shape[1::-1]
    if h.shape[0] != batch:
        raise ValueError(f"h has {h.shape[0]} sequences and x has {batch}")
    low = x.dtype == torch.bfloat16
    threads = torch.get_num_threads()
    return c_interface.KernelLayer(
        timesteps, batch, x.shape[2], h.shape[1], batch_major, reverse, low, threads
    )


def _addresses(*tensors: Tensor | None) -> list[int]:
    return [0 if each is None or not each.numel() else each.data_ptr() for each in tensors]


def _mask(valid: Tensor) -> Tensor | None:
    return valid.to(torch.uint8).contiguous() if valid.numel() else None


@torch.library.impl(OPERATOR, "CPU")
def _forward(*given: Any) -> list[Tensor]:
    x, h, c, kernel, recurrent_kernel, bias = (each.contiguous() for each in given[:6])
    valid, batch_major, reverse, keep = given[6:]
    layer = _sizes(x, h, batch_major, reverse)
    y = x.new_empty([*x.shape[:2], h.shape[1]])
    made = [y, torch.empty_like(h), torch.empty_like(c)]
    mask = _mask(valid)
    kept: list[Tensor] = []
    if keep:
        gates, cells = c_interface.kernels().kept_sizes(layer)
        hidden = 0 if mask is None else y.numel()  # without a mask these are the outputs
        kept = [x.new_empty([size]) for size in (gates, cells, hidden)]
    c_interface.kernels().forward(
        layer,
        *_addresses(kernel, recurrent_kernel, bias, x, h, c, mask),
        *_addresses(*made, *(kept or (None, None, None))),
    )
    return [*made, *kept]


@torch.library.register_fake(OPERATOR)
def _forward_shapes(*given: Any) -> list[Tensor]:
    x, h, c = given[:3]
    valid, batch_major, reverse, keep = given[6:]
    y = x.new_empty([*x.shape[:2], h.shape[1]])
    made = [y, torch.empty_like(h), torch.empty_like(c)]
    if keep:
        sizes = c_interface.kernels().kept_sizes(_sizes(x, h, batch_major, reverse))
        made += [x.new_empty([size]) for size in (*sizes, y.numel() if valid.numel() else 0)]
    return made


@torch.library.impl(GRADIENT, "CPU")
def _gradient(*given: Any) -> list[Tensor]:
    x, h, c, kernel, recurrent_kernel, bias = (each.contiguous() for each in given[:6])
    valid, batch_major, reverse, of_x = given[6:10]
    hidden, gates, cells, dy, dh, dc = (each.contiguous() for each in given[10:])
    layer, mask = _sizes(x, h, batch_major, reverse), _mask(valid)
    dz = torch.empty(gates.shape, dtype=torch.float32)
    made = [torch.empty_like(each) for each in (h, c, kernel, recurrent_kernel, bias)]
    c_interface.kernels().backward(
        layer,
        *_addresses(recurrent_kernel, x, h, c, mask, hidden, gates, cells, dy, dh, dc),
        *_addresses(dz, *made),
    )
    dx = torch.empty_like(x) if of_x else x.new_empty([0])
    if of_x:
        c_interface.kernels().input_gradient(layer, *_addresses(kernel, dz, dx))
    return [dx, *made]


@torch.library.register_fake(GRADIENT)
def _gradient_shapes(*given: Any) -> list[Tensor]:
    x, *others = given[:6]
    dx = torch.empty_like(x) if given[9] else x.new_empty([0])
    return [dx, *(torch.empty_like(each) for each in others)]


def _save(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    *given, ctx.batch_major, ctx.reverse, _ = inputs
    ctx.save_for_backward(*given, output[0], *output[3:])


def _backward(ctx: Any, upstream: list[Tensor | None]) -> tuple[Any, ...]:
    *given, y, gates, cells, hidden = ctx.saved_tensors
    hidden = hidden if hidden.numel() else y
    like = (y, given[1], given[2])
    flows = [
        torch.zeros_like(known) if each is None else each
        for each, known in zip(upstream[:3], like, strict=True)
    ]
    of_x = ctx.needs_input_grad[0]
    dx, *others = torch.ops.lstm_impl.fused_lstm_gradient(
        *given, ctx.batch_major, ctx.reverse, of_x, hidden, gates, cells, *flows
    )
    return dx if of_x else None, *others, None, None, None, None


def _no_second(ctx: Any, upstream: list[Tensor]) -> Any:
    raise UnsupportedError("torch_fused_cpu has no second gradient; use torch")


torch.library.register_autograd(OPERATOR, _backward, setup_context=_save)
torch.library.register_autograd(GRADIENT, _no_second)
