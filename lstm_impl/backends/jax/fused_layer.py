"""One direction of one LSTM layer by the kernels of ``fused_cpu``, as custom calls of XLA.

Forward is one call for all steps, backward another for dz, the state's gradients and the weights',
and a third for the input's, which XLA drops where nobody uses it. A second gradient is that of
``jax.lax.scan``. Under ``vmap`` a forward call takes the examples as one batch where they share the
weights; all other calls are made one by one.

Importing this module imports JAX.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.fused_cpu.library import COMPUTES
from lstm_impl.backends.jax.scan import scanned
from lstm_impl.call import LSTMOutputs, Tensor, Tensors
from lstm_impl.spec import UnsupportedError

FORWARD, BACKWARD, INPUT_GRADIENT = (
    f"lstm_impl_{name}" for name in ("forward", "backward", "input_gradient")
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
    reverse: bool = False,
) -> LSTMOutputs:
    """Compute one direction of one LSTM layer on a CPU; ``jit``, ``grad`` and ``vmap`` apply.

    Forward mode (``jax.jvp``, ``jacfwd``, ``hessian``) raises TypeError: JAX has no rule for it in
    a function with a gradient of its own. ``jax.jacrev`` applies, also twice.

    ``jit`` over sharded arrays gathers them; ``pmap`` computes each device's own part, and so does
    ``jax.shard_map``, for gradients with ``check_vma=False``. ``jax.export`` names the custom call.

    Parameters
    ----------
    x : jax.Array
        Input ``[T, B, in]``, float32 or bfloat16. All arrays but ``valid`` have this type, except
        that the weights may be float32 if x is bfloat16. The kernels then read the weights without
        a cast, and the gradients of the weights are float32.
    h, c : jax.Array
        Initial state ``[B, H]``.
    kernel, recurrent_kernel, bias : jax.Array
        ``[in, 4H]``, ``[H, 4H]`` and ``[4H]``, gates in the order i, f, g, o.
    valid : jax.Array, optional
        Bool ``[T, B]``: a step that is False keeps the state, and its output is zero.
    reverse : bool
        Whether steps are read from the last to the first; outputs stand at the step they belong to.

    Returns
    -------
    LSTMOutputs
        y ``[T, B, H]``, h and c ``[B, H]``.

    Raises
    ------
    UnavailableError
        If the kernels cannot be compiled here.
    UnsupportedError
        If the arrays are neither float32 nor bfloat16.
    ValueError
        If x has another number of axes.
    """
    if str(x.dtype) not in COMPUTES:
        raise UnsupportedError(f"fused_layer: x is {x.dtype}; expected {' or '.join(COMPUTES)}")
    if x.ndim != 3:
        raise ValueError(f"fused_layer: x has shape {x.shape}; expected [T, B, in]")
    return LSTMOutputs(*_traced_once(reverse, x, h, c, kernel, recurrent_kernel, bias, valid))


@functools.cache
def lanes() -> int:
    """Register the custom calls; return how many units a block of kept numbers has."""
    loaded = library.load(library.JAX)
    for name in (FORWARD, BACKWARD, INPUT_GRADIENT):
        handler = jax.ffi.pycapsule(getattr(loaded, name))
        jax.ffi.register_ffi_target(name, handler, platform="cpu")
    # Found through the binding: of the liblstm that it is linked to, if a process has several.
    return int(loaded.lstm_lanes())


# -- the calls. given: x, h, c, kernel, recurrent_kernel, bias and valid; kept: y, gates, cells and
# hidden; upstream: the gradients of y and the final h and c.


def _call_forward(reverse: bool, keep: bool, *given: Tensor) -> list[Tensor]:
    x, h, _, _, _, _, valid = given
    (timesteps, batch, _), units = x.shape, h.shape[1]
    width = lanes()
    blocks = (-(-units // width), timesteps, batch) if keep else (0, 0, 0)
    hidden = (timesteps, batch, units) if keep and valid.size else (0, 0, 0)
    shapes = [
        *((timesteps, batch, units), (batch, units), (batch, units)),
        *((*blocks, 4 * width), (*blocks, width), hidden),
    ]
    results = [jax.ShapeDtypeStruct(shape, x.dtype) for shape in shapes]
    call = jax.ffi.ffi_call(FORWARD, results, vmap_method="sequential")
    made: list[Tensor] = call(*given, reverse=reverse, keep=keep)
    return made


_BATCH_GIVEN = {0: 1, 1: 0, 2: 0, 6: 1}
"""Which axis of x, h, c and valid is the batch."""

_BATCH_MADE = (1, 0, 0, 2, 2, 1)
"""Which axis of y, h, c, gates, cells and hidden is the batch."""


def _forward(reverse: bool, keep: bool, *given: Tensor) -> list[Tensor]:
    """Call the kernels; under ``vmap``, for all examples that share the weights at once."""
    plain = functools.partial(_call_forward, reverse, keep)
    batched = jax.custom_batching.custom_vmap(lambda *each: plain(*each))

    @batched.def_vmap
    def _(size: int, in_batched: list[bool], *given: Tensor) -> tuple[Any, Any]:
        if any(in_batched[3:6]):
            axes = [0 if each else None for each in in_batched]
            found = jax.vmap(plain, in_axes=axes, axis_size=size)(*given)
            return found, [True] * len(found)
        folded = list(given)
        for index, axis in _BATCH_GIVEN.items():
            each = given[index]
            if not in_batched[index]:
                each = jnp.broadcast_to(each, (size, *each.shape))
            folded[index] = _fold(each, axis)
        pairs = zip(plain(*folded), _BATCH_MADE, strict=True)
        found = [_unfold(each, axis, size) for each, axis in pairs]
        return found, [True] * len(found)

    made: list[Tensor] = batched(*given)
    return made


def _fold(each: Tensor, axis: int) -> Tensor:
    """Put the examples, the first axis, into the batch, which is ``axis`` without them."""
    moved = jnp.moveaxis(each, 0, axis)
    shape = moved.shape
    return moved.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])


def _unfold(each: Tensor, axis: int, size: int) -> Tensor:
    shape = each.shape
    split = each.reshape(*shape[:axis], size, shape[axis] // size, *shape[axis + 1 :])
    return jnp.moveaxis(split, axis, 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _backward(reverse: bool, given: Tensors, kept: Tensors, upstream: Tensors) -> Tensors:
    x, h, c, kernel, recurrent_kernel, _, valid = given
    y, gates, cells, hidden = kept
    results = [jax.ShapeDtypeStruct(gates.shape, jnp.float32)]
    results += [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in given[1:6]]
    read = (x, h, c, recurrent_kernel, valid, hidden if valid.size else y, gates, cells)
    call = jax.ffi.ffi_call(BACKWARD, results, vmap_method="sequential")
    dz, *rest = call(*read, *upstream, reverse=reverse)
    of_x = jax.ShapeDtypeStruct(x.shape, x.dtype)
    dx = jax.ffi.ffi_call(INPUT_GRADIENT, of_x, vmap_method="sequential")(kernel, dz)
    return dx, *rest


# -- their gradients


def _backward_saving(
    reverse: bool, given: Tensors, kept: Tensors, upstream: Tensors
) -> tuple[Tensors, Any]:
    return _backward(reverse, given, kept, upstream), (given, kept, upstream)


def _second(reverse: bool, saved: Any, cotangents: Tensors) -> tuple[Any, ...]:
    """Return the second gradient by the scan. What was kept depends on what was given: zeros."""
    given, kept, upstream = saved
    *floats, valid = given
    steps = valid[:, :, None] if valid.size else None

    def by_scan(x: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        weights = [each.astype(x.dtype) for each in parameters]
        return tuple(scanned(x, (h, c), weights, steps, False, reverse=reverse))

    def gradients(floats: Tensors, upstream: Tensors) -> Tensors:
        found: Tensors = jax.vjp(by_scan, *floats)[1](tuple(upstream))
        return found

    of_floats, of_upstream = jax.vjp(gradients, floats, upstream)[1](tuple(cotangents))
    return (*of_floats, None), jax.tree.map(jnp.zeros_like, kept), of_upstream


_backward.defvjp(_backward_saving, _second)
_backward_traced_once = jax.jit(_backward, static_argnums=0, inline=True)


def _pull_back(reverse: bool, saved: Any, upstream: Tensors) -> tuple[Any, ...]:
    given, kept = saved
    return *_backward_traced_once(reverse, given, kept, tuple(upstream[:3])), None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _training(reverse: bool, *given: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs and what is kept, whose own gradient is zero."""
    return tuple(_forward(reverse, True, *given))


def _training_saving(reverse: bool, *given: Tensor) -> tuple[Any, Any]:
    made = _training(reverse, *given)
    y, _, _, *kept = made
    return made, (given, (y, *kept))


_training.defvjp(_training_saving, _pull_back)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _layer(reverse: bool, *given: Tensor) -> tuple[Tensor, ...]:
    return tuple(_forward(reverse, False, *given)[:3])


def _layer_saving(reverse: bool, *given: Tensor) -> tuple[Any, Any]:
    made, saved = _training_saving(reverse, *given)
    return made[:3], saved


_layer.defvjp(_layer_saving, _pull_back)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _traced_once(reverse: bool, *given: Tensor | None) -> tuple[Tensor, ...]:
    """Compute the layer; outside of ``jit``, tracing it in each call took most of the time."""
    *floats, valid = given
    valid = jnp.zeros([0, 0], bool) if valid is None else valid
    made: tuple[Tensor, ...] = _layer(reverse, *floats, valid)
    return made
