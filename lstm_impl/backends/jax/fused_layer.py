"""One direction of one recurrent layer by the kernels of ``fused_cpu``, as custom calls of XLA.

Forward is one call for all steps, backward another for dz, the state's gradients and the weights',
and a third for the input's, which XLA drops where nobody uses it. A second gradient is that of
``jax.lax.scan``. Under ``vmap`` a forward call takes the examples as one batch where they share the
weights; all other calls are made one by one.

Importing this module imports JAX.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.fused_cpu.library import COMPUTES
from lstm_impl.backends.jax.scan import scan_cell
from lstm_impl.call import GRUOutputs, LSTMOutputs, States, Tensor, Tensors
from lstm_impl.cell import DEFAULT, GRU, Cell
from lstm_impl.spec import UnsupportedError

FORWARD, BACKWARD, INPUT_GRADIENT = (
    f"lstm_impl_{name}" for name in ("forward", "backward", "input_gradient")
)
"""The custom calls of an LSTM."""

GRU_FORWARD, GRU_BACKWARD, GRU_INPUT_GRADIENT = (
    f"lstm_impl_gru_{name}" for name in ("forward", "backward", "input_gradient")
)
"""Those of a GRU, which take the form of the cell as the attribute ``reset_after``."""


class _Layer(NamedTuple):
    """What is computed: the cell, and whether steps are read from the last to the first."""

    cell: Cell
    reverse: bool

    @property
    def states(self) -> int:
        """The number of states."""
        return len(self.cell.states)

    @property
    def form(self) -> dict[str, bool]:
        """The attribute that tells the two forms of a GRU apart."""
        return {"reset_after": self.cell.reset_after} if isinstance(self.cell, GRU) else {}

    @property
    def calls(self) -> tuple[str, str, str]:
        """The names of the calls: forward, backward and the input's gradient."""
        if isinstance(self.cell, GRU):
            return GRU_FORWARD, GRU_BACKWARD, GRU_INPUT_GRADIENT
        return FORWARD, BACKWARD, INPUT_GRADIENT


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
        If x has another number of axes, or the weights are those of a GRU.
    """
    weights = kernel, recurrent_kernel, bias
    return LSTMOutputs(*compute_layer(DEFAULT, x, (h, c), weights, valid, reverse=reverse))


def fused_gru_layer(
    x: Tensor,
    h: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    recurrent_bias: Tensor | None = None,
    valid: Tensor | None = None,
    *,
    reverse: bool = False,
) -> GRUOutputs:
    """Compute one direction of one GRU layer on a CPU; ``jit``, ``grad`` and ``vmap`` apply.

    With a recurrent bias the reset gate acts after the product with the recurrent kernel, as in
    cuDNN and Flax (``reset_after=True`` of Keras). Without one it acts on h before the product, as
    in the paper (``reset_after=False``). ``lstm_impl.cell.GRU`` has the equations.

    ``fused_layer`` says how the transformations of JAX apply.

    Parameters
    ----------
    x : jax.Array
        Input ``[T, B, in]``, float32 or bfloat16. ``fused_layer`` says which types the other arrays
        may have.
    h : jax.Array
        Initial state ``[B, H]``.
    kernel, recurrent_kernel, bias : jax.Array
        ``[in, 3H]``, ``[H, 3H]`` and ``[3H]``, gates in the order r, z, n.
    recurrent_bias : jax.Array, optional
        ``[3H]``, which is added to the product with the recurrent kernel.
    valid, reverse
        As in ``fused_layer``.

    Returns
    -------
    GRUOutputs
        y ``[T, B, H]`` and h ``[B, H]``.

    Raises
    ------
    UnavailableError, UnsupportedError, ValueError
        As ``fused_layer``. ValueError too for the weights of an LSTM.
    """
    second = () if recurrent_bias is None else (recurrent_bias,)
    weights = kernel, recurrent_kernel, bias, *second
    cell = GRU(reset_after=recurrent_bias is not None)
    return GRUOutputs(*compute_layer(cell, x, (h,), weights, valid, reverse=reverse))


def compute_layer(
    cell: Cell,
    x: Tensor,
    states: States,
    weights: Tensors,
    valid: Tensor | None,
    *,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """Compute what ``fused_layer`` and ``fused_gru_layer`` compute; return y and the final states.

    weights: the arrays of the layer, in the order of ``Cell.parameters``.
    """
    function = "fused_gru_layer" if isinstance(cell, GRU) else "fused_layer"
    if str(x.dtype) not in COMPUTES:
        raise UnsupportedError(f"{function}: x is {x.dtype}; expected {' or '.join(COMPUTES)}")
    if x.ndim != 3:
        raise ValueError(f"{function}: x has shape {x.shape}; expected [T, B, in]")
    given = x, tuple(states), tuple(weights), valid
    made: tuple[Tensor, ...] = _traced_once(_Layer(cell, reverse), *given)
    return made


@functools.cache
def lanes() -> int:
    """Register the custom calls; return how many units a block of kept numbers has."""
    loaded = library.load(library.JAX)
    gru = GRU_FORWARD, GRU_BACKWARD, GRU_INPUT_GRADIENT
    for name in (FORWARD, BACKWARD, INPUT_GRADIENT, *gru):
        handler = jax.ffi.pycapsule(getattr(loaded, name))
        jax.ffi.register_ffi_target(name, handler, platform="cpu")
    # Found through the binding: of the liblstm that it is linked to, if a process has several.
    return int(loaded.lstm_lanes())


# -- the calls. given: x, the states, the weights and valid; kept: y, gates, the cell states of an
# LSTM, and hidden; upstream: the gradients of y and the final states. A GRU in the form of the
# paper has an array without numbers in place of the recurrent bias.


def _call_forward(layer: _Layer, keep: bool, *given: Tensor) -> list[Tensor]:
    x, h, valid = given[0], given[1], given[-1]
    (timesteps, batch, _), units = x.shape, h.shape[1]
    width = lanes()
    blocks = (-(-units // width), timesteps, batch) if keep else (0, 0, 0)
    hidden = (timesteps, batch, units) if keep and valid.size else (0, 0, 0)
    cells = (layer.states - 1) * [(*blocks, width)]
    states = layer.states * [(batch, units)]
    shapes = [(timesteps, batch, units), *states, (*blocks, 4 * width), *cells, hidden]
    results = [jax.ShapeDtypeStruct(shape, x.dtype) for shape in shapes]
    call = jax.ffi.ffi_call(layer.calls[0], results, vmap_method="sequential")
    made: list[Tensor] = call(*given, reverse=layer.reverse, keep=keep, **layer.form)
    return made


def _batch_axes_of_results(layer: _Layer) -> list[int]:
    """Return which axis is the batch: of y, the states, gates, an LSTM's cells, and hidden."""
    return [1, *layer.states * [0], 2, *(layer.states - 1) * [2], 1]


def _forward(layer: _Layer, keep: bool, *given: Tensor) -> list[Tensor]:
    """Call the kernels; under ``vmap``, for all examples that share the weights at once."""
    plain = functools.partial(_call_forward, layer, keep)
    batched = jax.custom_batching.custom_vmap(lambda *each: plain(*each))
    first_weight = 1 + layer.states
    # Which axis of x, the states and valid is the batch.
    batch_axes = {0: 1, **dict.fromkeys(range(1, first_weight), 0), len(given) - 1: 1}

    @batched.def_vmap
    def _(size: int, in_batched: list[bool], *given: Tensor) -> tuple[Any, Any]:
        if any(in_batched[first_weight:-1]):
            axes = [0 if each else None for each in in_batched]
            found = jax.vmap(plain, in_axes=axes, axis_size=size)(*given)
            return found, [True] * len(found)
        folded = list(given)
        for index, axis in batch_axes.items():
            each = given[index]
            if not in_batched[index]:
                each = jnp.broadcast_to(each, (size, *each.shape))
            folded[index] = _fold(each, axis)
        pairs = zip(plain(*folded), _batch_axes_of_results(layer), strict=True)
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
def _backward(layer: _Layer, given: Tensors, kept: Tensors, upstream: Tensors) -> Tensors:
    x, *others, valid = given
    states, (kernel, recurrent_kernel, *_) = others[: layer.states], others[layer.states :]
    y, gates, *cells, hidden = kept
    results = [jax.ShapeDtypeStruct(gates.shape, jnp.float32)]
    results += [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in others]
    read = (x, *states, recurrent_kernel, valid, hidden if valid.size else y, gates, *cells)
    _, backward, input_gradient = layer.calls
    call = jax.ffi.ffi_call(backward, results, vmap_method="sequential")
    dz, *rest = call(*read, *upstream, reverse=layer.reverse, **layer.form)
    of_x = jax.ShapeDtypeStruct(x.shape, x.dtype)
    call_for_x = jax.ffi.ffi_call(input_gradient, of_x, vmap_method="sequential")
    return call_for_x(kernel, dz, **layer.form), *rest


# -- their gradients


def _backward_saving(
    layer: _Layer, given: Tensors, kept: Tensors, upstream: Tensors
) -> tuple[Tensors, Any]:
    return _backward(layer, given, kept, upstream), (given, kept, upstream)


def _second(layer: _Layer, saved: Any, cotangents: Tensors) -> tuple[Any, ...]:
    """Return the second gradient by the scan. What was kept depends on what was given: zeros."""
    given, kept, upstream = saved
    *floats, valid = given
    steps = valid[:, :, None] if valid.size else None
    count = len(layer.cell.parameters)

    def by_scan(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        states, weights = others[: layer.states], others[layer.states :][:count]
        weights = tuple(each.astype(x.dtype) for each in weights)
        found = scan_cell(layer.cell, x, states, weights, steps, reverse=layer.reverse)
        return tuple(found.flat)

    def gradients(floats: Tensors, upstream: Tensors) -> Tensors:
        found: Tensors = jax.vjp(by_scan, *floats)[1](tuple(upstream))
        return found

    of_floats, of_upstream = jax.vjp(gradients, floats, upstream)[1](tuple(cotangents))
    return (*of_floats, None), jax.tree.map(jnp.zeros_like, kept), of_upstream


_backward.defvjp(_backward_saving, _second)
_backward_traced_once = jax.jit(_backward, static_argnums=0, inline=True)


def _pull_back(layer: _Layer, saved: Any, upstream: Tensors) -> tuple[Any, ...]:
    given, kept = saved
    flows = tuple(upstream[: 1 + layer.states])
    return *_backward_traced_once(layer, given, kept, flows), None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _training(layer: _Layer, *given: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs and what is kept, whose own gradient is zero."""
    return tuple(_forward(layer, True, *given))


def _training_saving(layer: _Layer, *given: Tensor) -> tuple[Any, Any]:
    made = _training(layer, *given)
    y, *rest = made
    return made, (given, (y, *rest[layer.states :]))


_training.defvjp(_training_saving, _pull_back)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _outputs(layer: _Layer, *given: Tensor) -> tuple[Tensor, ...]:
    return tuple(_forward(layer, False, *given)[: 1 + layer.states])


def _outputs_saving(layer: _Layer, *given: Tensor) -> tuple[Any, Any]:
    made, saved = _training_saving(layer, *given)
    return made[: 1 + layer.states], saved


_outputs.defvjp(_outputs_saving, _pull_back)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _traced_once(
    layer: _Layer, x: Tensor, states: States, weights: Tensors, valid: Tensor | None
) -> tuple[Tensor, ...]:
    """Compute the layer; outside of ``jit``, tracing it in each call took most of the time."""
    _check_gates(layer.cell, weights[0].shape, states[0].shape)
    valid = jnp.zeros([0, 0], bool) if valid is None else valid
    missing = []
    if isinstance(layer.cell, GRU) and not layer.cell.reset_after:
        missing = [jnp.zeros([0], weights[-1].dtype)]
    made: tuple[Tensor, ...] = _outputs(layer, x, *states, *weights, *missing, valid)
    return made


def _check_gates(cell: Cell, kernel: tuple[int, ...], state: tuple[int, ...]) -> None:
    """Raise ValueError if a kernel has as many columns as another kind of cell calls for."""
    if len(kernel) != 2 or len(state) != 2:
        return  # the call itself says what is wrong
    names = {4: ("an LSTM", "fused_layer"), 3: ("a GRU", "fused_gru_layer")}
    gates, columns, units = len(cell.gates), kernel[1], state[1]
    for count, (kind, function) in names.items():
        if count != gates and columns == count * units != gates * units:
            raise ValueError(
                f"{names[gates][1]}: the kernel has shape {kernel}, which is that of {kind} of "
                f"{units} units with {count} gates; {names[gates][0]} has {gates}. Call {function} "
                "for these weights"
            )
