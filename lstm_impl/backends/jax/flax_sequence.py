"""Compute a sequence as ``RNN`` of Flax does, with the kernels of ``fused_cpu``.

The modules for ``flax.nnx`` and for ``flax.linen`` share this code. Importing this module imports
JAX.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_impl.backends.fused_cpu import library
from lstm_impl.backends.jax.fused_layer import compute_layer, lanes
from lstm_impl.call import States, Tensor, Tensors
from lstm_impl.cell import DEFAULT, Cell
from lstm_impl.spec import UnsupportedError

logger = logging.getLogger(__name__)

HOW = ("return_carry", "time_major", "reverse", "keep_order")
"""The arguments of a call that override those of a module."""


class FlaxCall(NamedTuple):
    """Hold the arguments of one call of a module.

    ``FusedRNN`` documents them.
    """

    inputs: Tensor
    initial_carry: Any
    seq_lengths: Tensor | None
    resets: Tensor | None
    reset_to: str
    return_carry: bool
    time_major: bool
    reverse: bool
    keep_order: bool


class Activations(NamedTuple):
    """Hold the functions that a Flax module takes for the two activations of the kernels."""

    sigmoid: tuple[Any, ...]
    tanh: tuple[Any, ...]


def check_cell(
    layer: Any, cell: Any, layers: Sequence[Any], known: Activations, rnn: str, article: str
) -> None:
    """Raise UnsupportedError if a layer's kernels do not compute a cell of Flax.

    layers: the classes of layers that the message may advise, each with ``cell_classes``. rnn:
    Flax's own module for other cells, ``nnx.RNN`` or ``linen.RNN``. article: what stands before
    the name of a cell, ``an`` or ``a``.
    """
    own, name = layer.cell_classes, type(layer).__name__
    fits = isinstance(cell, own)
    if fits and cell.gate_fn in known.sigmoid and cell.activation_fn in known.tanh:
        return
    serving = [each for each in layers if isinstance(cell, each.cell_classes)]
    other = rnn if fits or not serving else f"lstm_impl.jax.{serving[0].__name__}"
    flax = rnn.partition(".")[0]
    raise UnsupportedError(
        f"lstm_impl.jax.{name} computes {article} {flax}.{own[0].__name__} with sigmoid and tanh; "
        f"use {other} for {type(cell).__name__}"
    )


def choose(module: Any, given: dict[str, bool | None]) -> list[bool]:
    """Return ``HOW`` of a call. The module's own values replace those that are None or absent."""
    if unknown := given.keys() - {*HOW}:
        raise TypeError(
            f"{type(module).__name__} has no argument {min(unknown)!r}; expected some of "
            f"{', '.join(HOW)}"
        )
    return [getattr(module, name) if given.get(name) is None else bool(given[name]) for name in HOW]


def split_carry(cell: Cell, carry: Any) -> States:
    """Return the states of a carry in the order of ``Cell.states``."""
    if cell == DEFAULT:
        c, h = carry
        return h, c
    return (carry,)


def make_carry(cell: Cell, states: States) -> Any:
    """Return the carry of Flax that consists of the given states: ``(c, h)`` of an LSTM, or h."""
    return states[::-1] if cell == DEFAULT else states[0]


def compute_sequence(
    name: str,
    instead: str,
    cell: Cell,
    dtype: Any,
    weights: Tensors,
    call: FlaxCall,
    initialize_carry: Callable[[tuple[int, ...]], Any],
    compute_by_flax: Callable[[FlaxCall], Any],
) -> Any:
    """Return the outputs, or the carry and the outputs.

    Parameters
    ----------
    name
        The name of the module, for messages.
    instead
        The name of Flax's own module, which computes what the kernels cannot.
    cell
        The cell that the kernels compute.
    dtype
        The type in which the cell computes, or None for the one that follows from its arguments.
    weights
        The weights in the order of ``Cell.parameters``.
    call
        The arguments of the call.
    initialize_carry
        A function that returns the carry for inputs of one timestep of the given shape.
    compute_by_flax
        A function that returns carry and outputs of the call. It computes what the kernels cannot.
    """
    _check(name, cell, weights, call)
    inputs, time_major = call.inputs, call.time_major
    # An initial carry that is not given gets the type of the weights.
    carried = () if call.initial_carry is None else split_carry(cell, call.initial_carry)
    dtype = jnp.dtype(dtype or jnp.result_type(inputs, *carried, *weights))
    if why_not := obstacle(dtype.name, inputs, instead):
        if call.resets is not None:
            raise UnsupportedError(f"{name}: {instead} takes no resets, and {why_not}")
        carry, y = compute_by_flax(call)
        if call.seq_lengths is not None:
            axis = 0 if time_major else y.ndim - 2
            y = jnp.where(_valid(y.shape, axis, call.seq_lengths), y, jnp.zeros_like(y))
        warn_once(why_not, name, instead)
        return (carry, y) if call.return_carry else y
    x = inputs if time_major else jnp.moveaxis(inputs, -2, 0)
    steps, *examples, features = x.shape
    carry = call.initial_carry
    if carry is None:
        carry = initialize_carry((*examples, features))
    x, *states = (each.astype(dtype) for each in (x, *split_carry(cell, carry)))
    parameters = tuple(weights)
    if dtype != jnp.bfloat16 or any(each.dtype != jnp.float32 for each in parameters):
        parameters = tuple(each.astype(dtype) for each in parameters)
    valid = None
    if call.seq_lengths is not None:
        valid = jnp.arange(steps)[:, None] < call.seq_lengths.reshape(-1)
    batch = math.prod(examples)
    before = tuple(each.reshape(batch, -1) for each in states)
    starts: Any = {}
    if call.resets is not None:
        resets = call.resets if time_major else jnp.moveaxis(call.resets, -1, 0)
        starts = {"resets": resets.reshape(steps, batch), "reset_to": call.reset_to}
    flat = cell, x.reshape(steps, batch, features), before, parameters, valid
    y, *after = compute_layer(*flat, reverse=call.reverse, **starts)
    y = y.reshape(steps, *examples, y.shape[-1])
    if call.reverse and not call.keep_order:
        y = flip_steps(y, call.seq_lengths)
    y = y if time_major else jnp.moveaxis(y, 0, -2)
    last = tuple(each.reshape(*examples, each.shape[-1]) for each in after)
    return (make_carry(cell, last), y) if call.return_carry else y


def _check(name: str, cell: Cell, weights: Tensors, call: FlaxCall) -> None:
    """Raise ValueError if arguments do not fit each other."""
    inputs, (kernel, recurrent_kernel) = call.inputs, weights[:2]
    axes = "[T, .., in]" if call.time_major else "[.., T, in]"
    if inputs.ndim < 2:
        raise ValueError(f"{name}: inputs has shape {inputs.shape}; expected {axes}")
    if inputs.shape[-1] != kernel.shape[0]:
        raise ValueError(
            f"{name}: inputs has shape {inputs.shape}, so {inputs.shape[-1]} features; the cell "
            f"takes {kernel.shape[0]}"
        )
    examples = inputs.shape[1:-1] if call.time_major else inputs.shape[:-2]
    if call.initial_carry is not None:
        expected = (*examples, recurrent_kernel.shape[0])
        names = "c and h" if cell == DEFAULT else "h"
        found = [getattr(each, "shape", None) for each in jax.tree.leaves(call.initial_carry)]
        if found != len(cell.states) * [expected]:
            raise ValueError(
                f"{name}: initial_carry has arrays of shapes {found}; expected {names} of shape "
                f"{expected}"
            )
    if call.seq_lengths is not None and call.seq_lengths.shape != examples:
        raise ValueError(
            f"{name}: seq_lengths has shape {call.seq_lengths.shape}; expected {examples}, one "
            "length for each sequence"
        )
    if call.resets is not None and call.resets.shape != inputs.shape[:-1]:
        raise ValueError(
            f"{name}: resets has shape {call.resets.shape}; expected {inputs.shape[:-1]}"
        )


def flip_steps(y: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse the valid timesteps of ``y [T, .., H]``. Padding stays where it is."""
    steps = y.shape[0]
    if lengths is None:
        return y[::-1]
    count = jnp.arange(steps).reshape(steps, *[1] * lengths.ndim)
    places = jnp.where(count < lengths, lengths - 1 - count, count)
    return jnp.take_along_axis(y, places[..., None], axis=0)


def _valid(shape: tuple[int, ...], axis: int, lengths: Tensor) -> Tensor:
    """Return which outputs of this shape are before the end of their sequence.

    ``axis`` is the axis of the timesteps.
    """
    steps = jnp.arange(shape[axis]).reshape(
        [-1 if each == axis else 1 for each in range(len(shape))]
    )
    ends = jnp.expand_dims(lengths, (axis, len(shape) - 1))
    return jnp.asarray(steps < ends)


def obstacle(dtype: str, x: Tensor, instead: str) -> str:
    """Return why the kernels cannot compute a call here, or an empty string."""
    if reason := library.unsupported_type(dtype):
        return reason
    if (platform := _platform(x)) != "cpu":
        return f"its kernels run on a CPU, and this call is on {platform}"
    usable = library.usable(library.JAX, lanes, f"{instead} computes")
    return "" if usable else str(usable)


def _platform(x: Tensor) -> str:
    """Return the kind of device that computes with an array, such as ``cpu``."""
    if isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer):
        return str(next(iter(x.devices())).platform)
    # The setting is a device, the name of its platform, or None.
    device = jax.config.jax_default_device
    return str(jax.default_backend() if device is None else getattr(device, "platform", device))


def warn_once(why_not: str, name: str, instead: str) -> None:
    """Log why Flax's own code computes, once for each reason and module."""
    if library.usable(library.JAX, lanes, f"{instead} computes"):
        # Otherwise the library has logged a warning.
        _warn(why_not, name, instead)


@functools.cache
def _warn(why_not: str, name: str, instead: str) -> None:
    logger.warning("lstm_impl.jax.%s: %s; %s computes in their place", name, why_not, instead)
