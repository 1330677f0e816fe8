"""Compute one direction of a recurrent layer with the kernels of ``fused_cpu`` in JAX.

Custom calls of XLA call the kernels.

The forward pass is one call for all steps. The backward pass is one call for dz and the gradients
of the state and of the weights, and another call for the gradient of the input, which XLA drops if
nobody uses it. Forward mode and second derivatives are those of ``jax.lax.scan``. Under ``vmap``, a
forward call takes all examples as one batch if they share the weights. All other calls are made one
by one. Where the batch is divided among devices, each device computes its own part.

Importing this module imports JAX.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_impl.backends.fused_cpu import c_interface, library
from lstm_impl.backends.fused_cpu.library import COMPUTES
from lstm_impl.backends.jax.batch_shards import (
    SUMMED,
    describe_result,
    keep_explicit_batch,
    split_batch,
    vary_alike,
)
from lstm_impl.backends.jax.linear_call import linear_call
from lstm_impl.backends.jax.model import first_steps
from lstm_impl.backends.jax.scan import scan_cell
from lstm_impl.call import Call, GRUOutputs, LSTMOutputs, States, Tensor, Tensors
from lstm_impl.cell import DEFAULT, GRU, Cell
from lstm_impl.model import name_resets
from lstm_impl.spec import UnsupportedError, require_choice
from lstm_impl.workload import RESET_TO

FORWARD, BACKWARD, INPUT_GRADIENT = (
    f"lstm_impl_{name}" for name in ("forward", "backward", "input_gradient")
)
"""The custom calls of an LSTM."""

GRU_FORWARD, GRU_BACKWARD, GRU_INPUT_GRADIENT = (
    f"lstm_impl_gru_{name}" for name in ("forward", "backward", "input_gradient")
)
"""The custom calls of a GRU. They take the form of the cell as the attribute ``reset_after``."""


class _Layer(NamedTuple):
    """Hold the cell, and whether steps are read from the last to the first."""

    cell: Cell
    reverse: bool

    @property
    def states(self) -> int:
        """The number of states of the cell."""
        return len(self.cell.states)

    @property
    def form(self) -> dict[str, bool]:
        """The attributes of the calls, which tell the two forms of a GRU apart."""
        return {"reset_after": self.cell.reset_after} if isinstance(self.cell, GRU) else {}

    @property
    def calls(self) -> tuple[str, str, str]:
        """The names of the calls: the forward pass, the backward pass and the input's gradient."""
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
    resets: Tensor | None = None,
    reset_to: str = "zeros",
) -> LSTMOutputs:
    """Compute one direction of one LSTM layer on a CPU, under all transformations of JAX.

    The kernels compute the outputs and the gradients (``jax.grad``, ``vjp``, ``jacrev``). The
    tangents of forward mode (``jax.jvp``, ``jacfwd``, ``linearize``) and second derivatives
    (``jax.hessian``) are those of ``jax.lax.scan``.

    ``jit`` over arrays whose batch is divided among devices keeps it divided: each device computes
    its own sequences, and only the gradients of the weights are summed. Arrays that are divided in
    another way are gathered first. ``jax.shard_map`` and ``pmap`` compute the part of each device.
    In ``jax.export``, name the custom call.

    Parameters
    ----------
    x : jax.Array
        Input ``[T, B, in]``, float32 or bfloat16. All arrays except ``valid`` must have this type,
        but the weights may be float32 if x is bfloat16. The kernels then read the weights without a
        cast, and the gradients of the weights are float32.
    h, c : jax.Array
        Initial state ``[B, H]``.
    kernel, recurrent_kernel, bias : jax.Array
        ``[in, 4H]``, ``[H, 4H]`` and ``[4H]``, with the gates in the order i, f, g, o.
    valid : jax.Array, optional
        Bool ``[T, B]``. A step that is False keeps the state, and its output is zero.
    reverse : bool
        Whether steps are read from the last to the first. Each output stands at the step to which
        it belongs.
    resets : jax.Array, optional
        Bool ``[T, B]``, time-major. A sequence starts over before a step that is True. A layer that
        reads in reverse starts over behind it. A reset where ``valid`` is False changes nothing.
    reset_to : str
        The state from which it starts over: ``zeros``, or ``initial_state`` for h and c.

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
        If x does not have three axes, if the weights are those of a GRU, or if the resets do not
        fit x.
    """
    weights = kernel, recurrent_kernel, bias
    how: Any = {"reverse": reverse, "resets": resets, "reset_to": reset_to}
    return LSTMOutputs(*compute_layer(DEFAULT, x, (h, c), weights, valid, **how))


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
    resets: Tensor | None = None,
    reset_to: str = "zeros",
) -> GRUOutputs:
    """Compute one direction of one GRU layer on a CPU, under all transformations of JAX.

    With a recurrent bias, the reset gate acts after the product with the recurrent kernel, as in
    cuDNN and Flax (``reset_after=True`` of Keras). Without one it acts on h before the product, as
    in the paper (``reset_after=False``). ``lstm_impl.cell.GRU`` has the equations.

    ``fused_layer`` documents the transformations of JAX.

    Parameters
    ----------
    x : jax.Array
        Input ``[T, B, in]``, float32 or bfloat16. ``fused_layer`` documents the types of the other
        arrays.
    h : jax.Array
        Initial state ``[B, H]``.
    kernel, recurrent_kernel, bias : jax.Array
        ``[in, 3H]``, ``[H, 3H]`` and ``[3H]``, with the gates in the order r, z, n.
    recurrent_bias : jax.Array, optional
        ``[3H]``, which is added to the product with the recurrent kernel.
    valid, reverse, resets, reset_to
        As in ``fused_layer``.

    Returns
    -------
    GRUOutputs
        y ``[T, B, H]`` and h ``[B, H]``.

    Raises
    ------
    UnavailableError, UnsupportedError, ValueError
        As in ``fused_layer``. The weights of an LSTM also raise ValueError.
    """
    second = () if recurrent_bias is None else (recurrent_bias,)
    weights = kernel, recurrent_kernel, bias, *second
    cell = GRU(reset_after=recurrent_bias is not None)
    how: Any = {"reverse": reverse, "resets": resets, "reset_to": reset_to}
    return GRUOutputs(*compute_layer(cell, x, (h,), weights, valid, **how))


def compute_layer(
    cell: Cell,
    x: Tensor,
    states: States,
    weights: Tensors,
    valid: Tensor | None,
    *,
    reverse: bool = False,
    resets: Tensor | None = None,
    reset_to: str = "zeros",
) -> tuple[Tensor, ...]:
    """Compute what ``fused_layer`` and ``fused_gru_layer`` compute: y and the final states.

    ``weights`` holds the arrays of the layer, in the order of ``Cell.parameters``.
    """
    require_choice("reset_to", reset_to, RESET_TO)
    function = "fused_gru_layer" if isinstance(cell, GRU) else "fused_layer"
    if str(x.dtype) not in COMPUTES:
        raise UnsupportedError(f"{function}: x is {x.dtype}; expected {' or '.join(COMPUTES)}")
    if x.ndim != 3:
        raise ValueError(f"{function}: x has shape {x.shape}; expected [T, B, in]")
    if resets is not None:
        if resets.shape != x.shape[:2] or resets.dtype != bool:
            raise ValueError(
                f"{function}: resets is {resets.dtype} {resets.shape}; expected bool {x.shape[:2]}"
            )
        call = Call(x, tuple(states), None, None, *name_resets(resets, reset_to))
        valid = step_bits(call, valid, reverse)
    compute = functools.partial(_traced_once, _Layer(cell, reverse))
    given = x, tuple(states), tuple(weights), valid
    made: tuple[Tensor, ...] = keep_explicit_batch(compute, [1, *len(states) * [0]], *given)
    return made


def step_bits(call: Call, valid: Tensor | None, reverse: bool) -> Tensor | None:
    """Return what ``fused_layer`` passes on as ``valid``: the bits that the kernels read."""
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
    there = c_interface.STEP if valid is None else valid.astype(jnp.uint8)
    return first.astype(jnp.uint8) * jnp.uint8(bit) + jnp.uint8(there)


@functools.cache
def lanes() -> int:
    """Register the custom calls, and return how many units a block of kept numbers has."""
    loaded = library.load(library.JAX)
    gru = GRU_FORWARD, GRU_BACKWARD, GRU_INPUT_GRADIENT
    for name in (FORWARD, BACKWARD, INPUT_GRADIENT, *gru):
        handler = jax.ffi.pycapsule(getattr(loaded, name))
        jax.ffi.register_ffi_target(name, handler, platform="cpu")
    # The symbol is looked up through the binding, so that it comes from the liblstm to which the
    # binding is linked, even if a process has several.
    return int(loaded.lstm_lanes())


# -- the calls. ``given`` holds x, the states, the weights and valid. ``kept`` holds y, the gates,
# the cell states of an LSTM, and hidden. ``upstream`` holds the gradients of y and of the final
# states. A GRU in the form of the paper has an empty array instead of the recurrent bias.


def _call_forward(layer: _Layer, keep: bool, *given: Tensor) -> list[Tensor]:
    x, h, valid = given[0], given[1], given[-1]
    (timesteps, batch, _), units = x.shape, h.shape[1]
    width = lanes()
    blocks = (-(-units // width), timesteps, batch) if keep else (0, 0, 0)
    hidden = (timesteps, batch, units) if keep and valid.size else (0, 0, 0)
    cells = (layer.states - 1) * [(*blocks, width)]
    states = layer.states * [(batch, units)]
    shapes = [(timesteps, batch, units), *states, (*blocks, 4 * width), *cells, hidden]
    results = [describe_result(x, shape) for shape in shapes]
    call = jax.ffi.ffi_call(layer.calls[0], results, vmap_method="sequential")
    made: list[Tensor] = call(*given, reverse=layer.reverse, keep=keep, **layer.form)
    return made


def _batch_axes_of_results(layer: _Layer) -> list[int]:
    """Return the axis of the batch in y, the states, gates, cells and hidden."""
    return [1, *layer.states * [0], 2, *(layer.states - 1) * [2], 1]


def _forward(layer: _Layer, keep: bool, *given: Tensor) -> list[Tensor]:
    """Call the kernels. Under ``vmap``, call them once for all examples that share the weights."""
    plain = functools.partial(_call_forward, layer, keep)
    first_weight, masked = 1 + layer.states, bool(given[-1].size)
    reads = [1, *layer.states * [0], *(len(given) - 1 - first_weight) * [None]]
    axes: list[int | None] = [*_batch_axes_of_results(layer)]
    axes[first_weight:] = [
        axis if keep and (masked or axis == 2) else None for axis in axes[first_weight:]
    ]
    split = split_batch(plain, [*reads, 1 if masked else None], axes)
    batched = jax.custom_batching.custom_vmap(lambda *each: split(*each))
    # These are the axes of the batch in x, the states and valid.
    batch_axes = {0: 1, **dict.fromkeys(range(1, first_weight), 0), len(given) - 1: 1}

    @batched.def_vmap
    def _(size: int, in_batched: list[bool], *given: Tensor) -> tuple[Any, Any]:
        if any(in_batched[first_weight:-1]):
            axes = [0 if each else None for each in in_batched]
            found = tuple(jax.vmap(plain, in_axes=axes, axis_size=size)(*given))
            return found, tuple(True for _ in found)
        folded = list(given)
        for index, axis in batch_axes.items():
            each = given[index]
            if not in_batched[index]:
                each = jnp.broadcast_to(each, (size, *each.shape))
            folded[index] = _fold(each, axis)
        pairs = zip(batched(*folded), _batch_axes_of_results(layer), strict=True)
        found = tuple(_unfold(each, axis, size) for each, axis in pairs)
        return found, tuple(True for _ in found)

    made: list[Tensor] = batched(*given)
    return made


def _fold(each: Tensor, axis: int) -> Tensor:
    """Merge the examples, which are the first axis, into the batch axis."""
    moved = jnp.moveaxis(each, 0, axis)
    shape = moved.shape
    return moved.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])


def _unfold(each: Tensor, axis: int, size: int) -> Tensor:
    """Split the examples from the batch again, as the first axis."""
    shape = each.shape
    split = each.reshape(*shape[:axis], size, shape[axis] // size, *shape[axis + 1 :])
    return jnp.moveaxis(split, axis, 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _backward(layer: _Layer, given: Tensors, kept: Tensors, upstream: Tensors) -> Tensors:
    """Return the gradients of x, the states and the weights."""
    x, *others, valid = given
    states, (kernel, recurrent_kernel, *_) = others[: layer.states], others[layer.states :]
    y, gates, *cells, hidden = kept
    masked, count = bool(valid.size), layer.states
    read = (x, *states, recurrent_kernel, valid, hidden if masked else y, gates, *cells, *upstream)
    _, backward, input_gradient = layer.calls
    how: Any = {"vmap_method": "sequential"}

    # A device may compute a part of the batch, so the sizes are those of what it reads.
    def compute(*read: Tensor) -> list[Tensor]:
        x, states, gates = read[0], read[1 : 1 + count], read[4 + count]
        results = [
            describe_result(x, gates.shape, jnp.float32),
            *(describe_result(x, each.shape) for each in states),
        ]
        results += [describe_result(x, each.shape, each.dtype) for each in others[count:]]
        made: list[Tensor] = jax.ffi.ffi_call(backward, results, **how)(
            *read, reverse=layer.reverse, **layer.form
        )
        return made

    def compute_for_x(kernel: Tensor, valid: Tensor, dz: Tensor) -> list[Tensor]:
        like = describe_result(dz, (*dz.shape[1:3], kernel.shape[0]), x.dtype)
        return [jax.ffi.ffi_call(input_gradient, like, **how)(kernel, valid, dz, **layer.form)]

    of_states, of_cells = count * [0], (count - 1) * [2]
    of_valid = 1 if masked else None
    reads = [1, *of_states, None, of_valid, 1, 2, *of_cells, 1, *of_states]
    sums = [SUMMED if each.size else None for each in others[count:]]
    dz, *rest = split_batch(compute, reads, [2, *of_states, *sums])(*read)
    (dx,) = split_batch(compute_for_x, [None, of_valid, 2], [1])(kernel, valid, dz)
    return dx, *rest


_backward_traced_once = jax.jit(_backward, static_argnums=0, inline=True)


# -- their derivatives. Those that the kernels do not compute are those of the scan. What was kept
# depends on what was given, and the scan takes only the latter, so what was kept has none.


def _compute_by_scan(layer: _Layer, valid: Tensor, *floats: Tensor) -> tuple[Tensor, ...]:
    """Compute the outputs and final states by ``lax.scan``."""
    steps = valid[:, :, None] if valid.size else None
    starts: dict[str, Tensor] = {}
    if steps is not None and steps.dtype == jnp.uint8:
        starts["from_zeros"] = (steps & c_interface.FROM_ZEROS) != 0
        starts["from_initial"] = (steps & c_interface.FROM_INITIAL) != 0
        steps = (steps & c_interface.STEP) != 0
    x, *others = floats
    states, rest = tuple(others[: layer.states]), others[layer.states :]
    weights = tuple(each.astype(x.dtype) for each in rest[: len(layer.cell.parameters)])
    found = scan_cell(layer.cell, x, states, weights, steps, reverse=layer.reverse, **starts)
    return tuple(found.flat)


def _push(layer: _Layer, saved: Any, tangents: Tensors) -> tuple[Tensor, ...]:
    """Return the tangents of the outputs and final states, for tangents of the arrays given."""
    (*floats, valid), _ = saved
    by_scan = functools.partial(_compute_by_scan, layer, valid)
    found: tuple[Tensor, ...] = jax.jvp(by_scan, tuple(floats), tuple(tangents))[1]
    return found


def _pull(layer: _Layer, saved: Any, upstream: Tensors) -> Tensors:
    """Return the gradients of the arrays given, from those of the outputs and final states."""
    found: Tensors = _backward_traced_once(layer, *saved, tuple(upstream))
    return found


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _training(layer: _Layer, *given: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs, the final states and what is kept."""
    return tuple(_forward(layer, True, *given))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _outputs(layer: _Layer, *given: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs and the final states."""
    return tuple(_forward(layer, False, *given)[: 1 + layer.states])


@_training.defjvp
def _(layer: _Layer, given: Tensors, tangents: Tensors) -> tuple[Tensors, Tensors]:
    made = _training(layer, *given)
    last = 1 + layer.states
    kept = (made[0], *made[last:])
    pushed = linear_call(
        functools.partial(_push, layer),
        functools.partial(_pull, layer),
        (given, kept),
        tuple(tangents[:-1]),
        made[:last],
    )
    return made, (*pushed, *map(jnp.zeros_like, made[last:]))


@_outputs.defjvp
def _(layer: _Layer, given: Tensors, tangents: Tensors) -> tuple[Tensors, Tensors]:
    made, pushed = jax.jvp(functools.partial(_training, layer), given, tangents)
    return made[: 1 + layer.states], pushed[: 1 + layer.states]


@_backward.defjvp
def _(layer: _Layer, primals: Any, tangents: Any) -> tuple[Tensors, Tensors]:
    given, _, upstream = primals
    *floats, valid = given
    by_scan = functools.partial(_compute_by_scan, layer, valid)

    def gradients(floats: Tensors, upstream: Tensors) -> Tensors:
        found: Tensors = jax.vjp(by_scan, *floats)[1](tuple(upstream))
        return found

    moved = tuple(tangents[0][:-1]), tuple(tangents[2])
    pushed = jax.jvp(gradients, (tuple(floats), tuple(upstream)), moved)[1]
    return _backward(layer, *primals), pushed


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _traced_once(
    layer: _Layer, x: Tensor, states: States, weights: Tensors, valid: Tensor | None
) -> tuple[Tensor, ...]:
    """Compute the layer, which is traced only once.

    Outside ``jit``, tracing the layer in each call would take most of the time.
    """
    _check_gates(layer.cell, weights[0].shape, states[0].shape)
    valid = jnp.zeros([0, 0], bool) if valid is None else valid
    missing = []
    if isinstance(layer.cell, GRU) and not layer.cell.reset_after:
        missing = [jnp.zeros([0], weights[-1].dtype)]
    given = vary_alike((x, *states, *weights, *missing, valid))
    made: tuple[Tensor, ...] = _outputs(layer, *given)
    return made


def _check_gates(cell: Cell, kernel: tuple[int, ...], state: tuple[int, ...]) -> None:
    """Raise ValueError if a kernel has the columns of another kind of cell."""
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
