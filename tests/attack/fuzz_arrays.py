"""Call the C interface, TensorFlow's ops and JAX's targets with right and with wrong arrays.

An array with nothing wrong has the type and the shape that the layer needs. A call of right arrays
must return what a loop in float64 returns; another call must raise an ordinary error, or still be a
right call.
"""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lstm_impl.backends.fused_cpu.c_interface import (
    CELLS,
    FROM_INITIAL,
    FROM_ZEROS,
    STEP,
    TYPES,
)
from lstm_impl.cell import Cell, StepWeights, get_cell
from tests.attack.fuzz_bindings import Rng, Trial, WrongResultError

Array = npt.NDArray[Any]
Note = Callable[[str], None]
Steps = list[tuple[Any, ...]]
"""Of each step its number, and the arrays that its backward step needs."""

SMALL = (0, 1, 2, 3, 5, 8, 17)
UNITS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 48, 65)
"""Around the lanes of registers, of which the kernels compute blocks."""

TOLERANCES = {"float32": 1e-4, "bfloat16": 0.06}
"""Of the largest number of an array: to find garbage, not roundings, which the gate judges."""


class Layer(NamedTuple):
    """The sizes of one direction of one layer, its cell, and how it reads its steps."""

    timesteps: int
    batch: int
    inputs: int
    units: int
    reverse: bool
    masked: bool
    resets: bool
    dtype: str
    cell_name: str

    @property
    def cell(self) -> Cell:
        """The cell of the layer."""
        return get_cell(self.cell_name)

    @property
    def has_second(self) -> bool:
        """Whether the cell has a recurrent bias."""
        return "recurrent_bias" in self.cell.parameters

    def draw(self, rng: Rng) -> dict[str, Array]:
        """Return right arrays, rounded to the layer's type."""
        t, b, i, u = self[:4]
        states = dict.fromkeys(self.cell.states, (b, u))
        shapes = {"x": (t, b, i), **states, **self.cell.parameter_shapes(i, u), "dy": (t, b, u)}
        shapes |= {f"d{name}": shape for name, shape in states.items()}
        kind = np.dtype(getattr(ml_dtypes, self.dtype, self.dtype))
        arrays = {name: rng.standard_normal(shape) * 0.5 for name, shape in shapes.items()}
        if self.cell_name != "lstm":
            # With larger weights, the steps of a GRU amplify the roundings of bfloat16.
            arrays["recurrent_kernel"] /= np.sqrt(u)
        return {name: each.astype(kind) for name, each in arrays.items()}

    def mask(self, rng: Rng) -> Array | None:
        """Return which steps are there, None if all are, or the bits of steps with resets."""
        steps = self.timesteps, self.batch
        mask = rng.random(steps) > 0.3 if self.masked else None
        if not self.resets:
            return mask
        there = STEP if mask is None else mask * np.uint8(STEP)
        bits = rng.choice(np.array((0, 0, FROM_ZEROS, FROM_INITIAL), np.uint8), steps)
        return np.asarray(bits + there, np.uint8)


def drawn_layer(rng: Rng) -> Layer:
    """Return a small layer; some have no step or no sequence."""
    return Layer(
        int(rng.choice(SMALL)),
        int(rng.choice((*SMALL, 25))),
        int(rng.choice(UNITS)),
        int(rng.choice(UNITS)),
        bool(rng.random() < 0.3),
        bool(rng.random() < 0.4),
        bool(rng.random() < 0.3),
        str(rng.choice(list(TOLERANCES))),
        str(rng.choice(list(CELLS))),
    )


# -- what is right


def right_forward(
    layer: Layer, arrays: dict[str, Array], mask: Array | None
) -> tuple[list[Array], Steps]:
    """Return y and the states in float64, and what the backward pass needs of each step."""
    cell = layer.cell
    wide = {name: each.astype(np.float64) for name, each in arrays.items()}
    weights = StepWeights(*(wide[name] for name in cell.parameters))
    states = initial = tuple(wide[name] for name in cell.states)
    y = np.zeros((layer.timesteps, layer.batch, layer.units))
    every = np.full((layer.timesteps, layer.batch), STEP, np.uint8)
    bits = (every if mask is None else mask.astype(np.uint8))[:, :, None]
    steps: Steps = []
    for t in range(layer.timesteps)[:: -1 if layer.reverse else 1]:
        there, zeros, begun = ((bits[t] & bit) != 0 for bit in (STEP, FROM_ZEROS, FROM_INITIAL))
        before = tuple(
            np.where(begun, first, np.where(zeros, 0, each))
            for each, first in zip(states, initial, strict=True)
        )
        after, kept = cell.step(weights, wide["x"][t], before)
        states = tuple(np.where(there, new, old) for new, old in zip(after, before, strict=True))
        y[t] = np.where(there, after[0], 0)
        steps.append((np.array(t), before, after, kept, there, zeros, begun))
    return [y, *states], steps


def right_backward(layer: Layer, arrays: dict[str, Array], steps: Steps) -> list[Array]:
    """Return the gradients of x, the states and the weights in float64."""
    cell = layer.cell
    wide = {name: each.astype(np.float64) for name, each in arrays.items()}
    weights = StepWeights(*(wide[name] for name in cell.parameters))
    flow = tuple(wide[f"d{name}"] for name in cell.states)
    of_initial = tuple(map(np.zeros_like, flow))
    dx = np.zeros_like(wide["x"])
    dw, dr, db, *second = (np.zeros_like(wide[name]) for name in cell.parameters)
    for t, before, after, kept, there, zeros, begun in reversed(steps):
        arriving = (flow[0] + wide["dy"][t], *flow[1:])
        arriving = tuple(np.where(there, each, 0) for each in arriving)
        found = cell.step_gradients(weights, kept, before, after, arriving)
        dx[t] = found.sums @ weights.kernel.T
        dw += wide["x"][t].T @ found.sums
        db += found.sums.sum(0)
        if found.recurrent_inputs is None:
            dr += before[0].T @ found.recurrent_sums
        else:
            parts = np.split(found.recurrent_sums, len(cell.gates), axis=1)
            pairs = zip(found.recurrent_inputs, parts, strict=True)
            dr += np.concatenate([left.T @ part for left, part in pairs], axis=1)
        for each in second:
            each += found.recurrent_sums.sum(0)
        flow = tuple(np.where(there, new, old) for new, old in zip(found.states, flow, strict=True))
        of_initial = tuple(
            total + np.where(begun, each, 0) for total, each in zip(of_initial, flow, strict=True)
        )
        flow = tuple(np.where(begun | zeros, 0, each) for each in flow)
    states = [each + more for each, more in zip(flow, of_initial, strict=True)]
    return [dx, *states, dw, dr, db, *second]


def compare(found: list[Any], expected: list[Array], dtype: str, scale: float = 1.0) -> None:
    """Raise WrongResultError if an array is not the right one."""
    for number, (ours, right) in enumerate(zip(found, expected, strict=True)):
        given = np.asarray(ours).astype(np.float64)
        if given.shape != right.shape:
            raise WrongResultError(
                f"result {number} has shape {given.shape}; expected {right.shape}"
            )
        if not right.size:
            continue
        allowed = scale * TOLERANCES[dtype] * (1 + np.abs(right).max())
        error = np.abs(given - right).max()
        if not error <= allowed:
            raise WrongResultError(f"result {number} is wrong by {error:g}; expected {allowed:g}")


# -- wrong arrays


def spoil(rng: Rng, array: Array) -> Array:
    """Return another array: of another shape, rank or type, or with odd numbers."""
    kind, shape = int(rng.integers(8)), list(array.shape)
    axis = int(rng.integers(len(shape))) if shape else 0
    if kind == 0 and shape:
        shape[axis] = max(0, shape[axis] - int(rng.choice((1, 2, 100))))
    elif kind == 1 and shape:
        shape[axis] += int(rng.choice((1, 3, 64)))
    elif kind == 2 and shape:
        shape[axis] = 0
    elif kind == 3:
        shape = shape[1:]
    elif kind == 4:
        shape = [1, *shape]
    elif kind == 5:
        types = (np.float32, np.float64, np.int32, np.bool_, ml_dtypes.bfloat16, np.float16)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is not finite becomes any integer
            return array.astype(types[int(rng.integers(len(types)))])
    elif kind == 6 and shape:
        return np.ascontiguousarray(array.T)
    else:
        odd = np.array(rng.choice((np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            changed: Array = np.where(rng.random(array.shape) < 0.2, odd.astype(array.dtype), array)
            return changed
    filled: Array = np.full(shape, np.array(0.1).astype(array.dtype), array.dtype)
    return filled


def spoil_some(rng: Rng, arrays: dict[str, Array]) -> list[str]:
    """Spoil none, one or a few of the arrays, and return a description."""
    if rng.random() < 0.5:
        return []
    names = rng.choice(list(arrays), size=int(rng.choice((1, 1, 1, 2, 4))))
    for name in names:
        arrays[name] = spoil(rng, arrays[name])
    return [f"{name} {arrays[name].dtype}{list(arrays[name].shape)}" for name in names]


# -- the C interface


SIZES = (-(2**63), -(2**40), -1, 0, 1, 2, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)


def c_interface() -> Trial:
    """Call the functions of liblstm with layers of any sizes, and with arrays that fit exactly."""
    from lstm_impl.backends.fused_cpu import library
    from lstm_impl.backends.fused_cpu.c_interface import KernelError, KernelLayer, Kernels

    loaded = library.load(library.C)
    kernels = Kernels(loaded)
    for name in ("lstm_gates_size", "lstm_cells_size"):
        getattr(loaded, name).restype = ctypes.c_int64
    blocks = int(loaded.lstm_lanes())

    def odd(rng: Rng, note: Note) -> str:
        fields = [int(rng.choice(SIZES)) if rng.random() < 0.5 else 3 for _ in range(4)]
        flags = [int(rng.choice((0, 1, 2, -1, 2**31 - 1))) for _ in range(2)]
        kind = int(rng.choice((*TYPES.values(), 6, -1, 2**31 - 1, -(2**31))))
        cell = int(rng.choice((*CELLS.values(), 0, 0, 3, -1, 2**31 - 1)))
        threads = int(rng.choice((0, 1, -1, 2**31 - 1)))
        given = KernelLayer(*fields, *flags, kind, threads, 0, cell)
        note(f"lstm_check {fields} {flags} {kind} {threads} cell {cell}")
        sizes = (
            loaded.lstm_gates_size(ctypes.byref(given)),
            loaded.lstm_cells_size(ctypes.byref(given)),
            loaded.lstm_packed_size(ctypes.byref(given)),
        )
        loaded.lstm_products(ctypes.byref(given))
        valid = (min(fields) >= 0 and min(fields[2:]) > 0 and max(fields) < 2**31) and (
            kind in TYPES.values() and cell in CELLS.values()
        )
        taken = loaded.lstm_check(ctypes.byref(given)) == 0
        if taken and not valid:
            raise WrongResultError(f"lstm_check takes {fields} of type {kind}, cell {cell}")
        if min(sizes) < 0 or (not taken and max(sizes) > 0):
            raise WrongResultError(f"sizes {sizes} of {fields} of type {kind}")
        if not taken:
            # An invalid layer is refused before any array is read.
            nulls = (ctypes.c_void_p * 18)()
            for name in ("forward", "backward", "input_gradient"):
                if getattr(loaded, f"lstm_{name}")(ctypes.byref(given), None, nulls) == 0:
                    raise WrongResultError(f"lstm_{name} takes {fields} of type {kind}")
            return "refused"
        return "right"

    def right(rng: Rng, note: Note) -> str:
        layer = drawn_layer(rng)
        arrays, mask = layer.draw(rng), layer.mask(rng)
        kinds = (TYPES["float32"], TYPES["bf32"], TYPES["bf16x3"])
        kind = TYPES["bfloat16"] if layer.dtype == "bfloat16" else int(rng.choice(kinds))
        if kind in kinds[1:]:
            # Its products may be of bfloat16, whose errors larger recurrent weights amplify.
            arrays["recurrent_kernel"] /= np.float32(np.sqrt(layer.units or 1))
        threads, keep = int(rng.choice((0, 1, 2, 3))), bool(rng.random() < 0.7)
        note(f"{layer} type {kind} threads {threads} keep {keep}")
        cell, name = CELLS[layer.cell_name], layer.cell_name
        given = KernelLayer(*layer[:4], 0, layer.reverse, kind, threads, 0, cell)
        if loaded.lstm_check(ctypes.byref(given)) != 0:
            if kind == kinds[2] and cell:
                return "refused"  # a GRU has no products of parts
            raise WrongResultError(f"lstm_check refuses {layer} of type {kind}")
        t, b, i, u = layer[:4]
        dtype, states = arrays["x"].dtype, len(layer.cell.states)
        gates = 4 * (-(-u // blocks) * blocks * t * b)
        cells = gates // 4 if states > 1 else 0
        if (gates, cells) != kernels.kept_sizes(t, b, u, name):
            raise WrongResultError(f"kept sizes of {layer}")
        made = [np.full(shape, np.nan, dtype) for shape in ((t, b, u), *states * [(b, u)])]
        kept = [np.full(size, np.nan, dtype) for size in (gates, cells)]
        hidden = np.full((t, b, u), np.nan, dtype) if mask is not None else None

        def address(array: Array | None) -> int:
            return 0 if array is None else array.ctypes.data

        def two(of_states: list[Array]) -> list[Array | None]:
            """Return what belongs to h and to c, or None for the c that a GRU does not have."""
            return [*of_states, *[None] * (2 - len(of_states))]

        initial = two([arrays[each] for each in layer.cell.states])
        second = [arrays["recurrent_bias"]] if layer.has_second else []
        read = [*(arrays[each] for each in ("kernel", "recurrent_kernel", "bias", "x")), *initial]
        keeps = [kept[0], kept[1] if cells else None, hidden] if keep else [None, None, None]
        written = [made[0], *two(made[1:]), *keeps]
        kernels.forward(given, *map(address, (*read, mask, *written, *second)))
        expected, steps = right_forward(layer, arrays, mask)
        scale = 1000 if kind == kinds[1] else 1.0  # whose products may be of bfloat16
        scale = 20 if kind == kinds[2] else scale
        compare(made, expected, layer.dtype, scale)
        if not keep:
            return "right"
        if kind == kinds[1]:
            given = KernelLayer(*layer[:4], 0, layer.reverse, kinds[0], threads, 0, cell)
        dz = np.full(gates, np.nan, np.float32)
        of_states = [np.full((b, u), np.nan, dtype) for _ in range(states)]
        of_weights = [np.full(arrays[each].shape, np.nan, dtype) for each in layer.cell.parameters]
        seen = made[0] if hidden is None else hidden
        flow = [arrays["dy"], *two([arrays[f"d{each}"] for each in layer.cell.states])]
        passed = [arrays["recurrent_kernel"], arrays["x"], *initial, mask, seen]
        passed += [kept[0], kept[1] if cells else None, *flow]
        results = [dz, *two(of_states), *of_weights]
        kernels.backward(given, *map(address, (*passed, *results)))
        dx = np.full((t, b, i), np.nan, dtype)
        kernels.input_gradient(given, *map(address, (arrays["kernel"], dz, mask, dx)))
        right = right_backward(layer, arrays, steps)
        compare([dx, *of_states, *of_weights], right, layer.dtype, 10 * scale)
        return "right"

    def compute_in_int8(rng: Rng, note: Note) -> str:
        layer = drawn_layer(rng)._replace(dtype="float32")
        note(f"int8 {layer}")
        arrays, mask = layer.draw(rng), layer.mask(rng)
        # With larger recurrent weights the steps amplify the errors of int8, and right results
        # differ from those of float64 without limit.
        arrays["recurrent_kernel"] /= np.float32(np.sqrt(layer.units or 1))
        cell, states = CELLS[layer.cell_name], len(layer.cell.states)
        how = TYPES["int8"], int(rng.choice((0, 1, 2))), 0, cell
        given = KernelLayer(*layer[:4], 0, layer.reverse, *how)
        t, b, _, u = layer[:4]
        weights = [arrays[name].ctypes.data for name in layer.cell.parameters]
        try:
            packed = kernels.pack(given, *weights)
        except KernelError:
            return "refused"
        made = [np.full(shape, np.nan, np.float32) for shape in ((t, b, u), *states * [(b, u)])]
        read = [arrays[name].ctypes.data for name in ("x", *layer.cell.states)]
        masked = 0 if mask is None else mask.ctypes.data
        written = [each.ctypes.data for each in made]
        absent = [0] * (2 - states)
        addresses = [packed.ctypes.data, 0, 0, *read, *absent, masked, *written, *absent, 0, 0, 0]
        kernels.forward(given, *addresses)
        compare(made, right_forward(layer, arrays, mask)[0], "float32", 2000)
        return "right"

    def trial(rng: Rng, note: Note) -> str:
        draw = rng.random()
        return (odd if draw < 0.3 else compute_in_int8 if draw < 0.45 else right)(rng, note)

    return trial


# -- TensorFlow's ops


def tensorflow_ops() -> Trial:
    """Call the four ops with right and with wrong tensors and attributes."""
    import tensorflow as tf

    from lstm_impl.backends.fused_cpu.backend import ops

    module = ops()
    clean = (tf.errors.OpError, ValueError, TypeError)

    def weights(rng: Rng, arrays: dict[str, Array]) -> list[Any]:
        given = [tf.constant(arrays[name]) for name in ("kernel", "recurrent_kernel", "bias")]
        if "recurrent_bias" in arrays:
            # The op takes both biases in one array, whose rows may not fit each other.
            both = arrays["bias"], arrays["recurrent_bias"]
            if both[0].shape == both[1].shape and both[0].dtype == both[1].dtype:
                given[2] = tf.constant(np.stack(both))
        if len({each.dtype for each in given}) == 1 and rng.random() < 0.2:
            variables = [tf.Variable(each) for each in given]
            handles.extend(variables)
            return [each.handle for each in variables]
        return given

    handles: list[Any] = []

    def trial(rng: Rng, note: Note) -> str:
        handles.clear()
        layer = drawn_layer(rng)
        arrays, mask = layer.draw(rng), layer.mask(rng)
        rows, row = int(rng.choice((1, 1, 2, 3))), 0
        right, names = dict(arrays), layer.cell.states
        for name in (*names, *(f"d{each}" for each in names)):
            arrays[name] = np.stack([arrays[name]] * rows)
        if len(names) == 1:  # The ops take two states, and do not read the second one of a GRU.
            arrays |= {"c": arrays["h"], "dc": arrays["dh"]}
        batch_major = bool(rng.random() < 0.3)
        if batch_major:
            for name in ("x", "dy"):
                arrays[name] = np.ascontiguousarray(arrays[name].swapaxes(0, 1))
        padding: Array = np.zeros([0], np.int32) if mask is None else mask
        lengths = mask is not None and not layer.resets and rng.random() < 0.4
        if lengths:
            padding = rng.integers(-2, layer.timesteps + 3, layer.batch).astype(np.int32)
            steps = np.arange(layer.timesteps)[:, None]
            mask = steps < padding[None, :]
        arrays["padding"] = padding
        wrong = spoil_some(rng, arrays)
        attributes: dict[str, Any] = {"reverse": layer.reverse, "batch_major": batch_major}
        attributes["cell"] = CELLS[layer.cell_name]
        if rng.random() < 0.02:
            attributes["cell"], wrong = int(rng.choice((-1, 3, 2**31 - 1))), [*wrong, "cell"]
        if rng.random() < 0.3:
            attributes["row"] = row = int(rng.choice((0, 1, 2, 3, -1, 2**31 - 1, -(2**31))))
        note(f"forward {layer} {attributes} rows {rows} lengths {lengths} wrong {wrong}")
        training = bool(rng.random() < 0.6)
        states = [tf.constant(arrays[name]) for name in ("x", "h", "c")]
        forward = module.lstm_impl_fused_lstm_training if training else module.lstm_impl_fused_lstm
        ended = "right"
        kept: list[Any] = []
        try:
            given = weights(rng, arrays)
            y, h, c, *kept = forward(*states, *given, tf.constant(arrays["padding"]), **attributes)
            if not wrong and 0 <= row < rows:
                made = [tf.transpose(y, [1, 0, 2]) if batch_major else y, h[0]]
                made += [c[0]] if len(names) > 1 else []
                expected, _ = right_forward(layer, right, mask)
                compare(made, expected, layer.dtype)
        except clean:
            if not wrong and 0 <= row < rows:
                raise
            ended = "refused"
            y = tf.constant(right["dy"].swapaxes(0, 1) if batch_major else right["dy"])
        real = training and ended == "right"
        if not real:
            kind = right["x"].dtype
            kept = [tf.zeros([int(rng.choice((0, 1, 64, 4096)))], kind) for _ in range(3)]
            if rng.random() < 0.5:
                return ended
        return backward(rng, note, layer, arrays, right, mask, (y, *kept), attributes, wrong, real)

    def backward(
        rng: Rng,
        note: Note,
        layer: Layer,
        arrays: dict[str, Array],
        right: dict[str, Array],
        mask: Array | None,
        kept: tuple[Any, ...],
        attributes: dict[str, Any],
        wrong: list[str],
        real: bool,
    ) -> str:
        names = ("y", "gates", "cells", "hidden")
        arrays = arrays | {name: each.numpy() for name, each in zip(names, kept, strict=True)}
        valid = real and not wrong and "row" not in attributes
        wrong = wrong + spoil_some(rng, arrays)
        state = bool(rng.random() < 0.8)
        note(f"backward {layer} {attributes} state {state} wrong {wrong}")
        order = ("x", "h", "c", "recurrent_kernel", "padding", *names, "dy", "dh", "dc")
        read = [tf.constant(arrays[name]) for name in order]
        over = bool(rng.random() < 0.3)
        try:
            dz, dh, dc, *found = module.lstm_impl_fused_lstm_grad(
                *read, state=state, overwrite=over, G=layer.dtype, **attributes
            )
            how = {name: attributes[name] for name in ("reverse", "batch_major", "cell")}
            kernel, padding = tf.constant(arrays["kernel"]), read[order.index("padding")]
            dx = module.lstm_impl_fused_lstm_input_grad(read[0], kernel, padding, dz, **how)
        except clean:
            if valid and not wrong:
                raise
            return "refused"
        if valid and not wrong and state:
            if how["batch_major"]:
                dx = tf.transpose(dx, [1, 0, 2])
            _, steps = right_forward(layer, right, mask)
            # All rows were given the same states, so the same gradients flow in.
            of_states = [each[0] for each in (dh, dc)[: len(layer.cell.states)]]
            if layer.has_second:  # of both biases in one array
                found = [*found[:2], found[2][0], found[2][1]]
            expected = right_backward(layer, right, steps)
            compare([dx, *of_states, *found], expected, layer.dtype, 10)
        return "right"

    return trial


# -- JAX's targets


MOST_PROGRAMS = 300
"""After this many calls JAX forgets its programs, one for each shape."""


def jax_targets() -> Trial:
    """Call the targets by ``jax.ffi.ffi_call`` with right and with wrong arrays and results."""
    import jax
    import jax.numpy as jnp

    from lstm_impl.backends.jax import fused_layer

    width = fused_layer.lanes()
    calls = 0
    clean = (jax.errors.JaxRuntimeError, ValueError, TypeError)

    def call(name: str, results: dict[str, Array], given: list[Array], **attributes: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % MOST_PROGRAMS == 0:
            jax.clear_caches()
        shapes = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in results.values()]
        made = jax.ffi.ffi_call(name, shapes)(*map(jnp.asarray, given), **attributes)
        return jax.block_until_ready(made)

    def narrow(arrays: dict[str, Array]) -> None:
        """Round what JAX would round with a warning."""
        for name, each in arrays.items():
            if each.dtype == np.float64:
                arrays[name] = each.astype(np.float16)

    def trial(rng: Rng, note: Note) -> str:
        layer = drawn_layer(rng)
        arrays, mask = layer.draw(rng), layer.mask(rng)
        right = dict(arrays)
        t, b, u = layer.timesteps, layer.batch, layer.units
        kind, blocks = arrays["x"].dtype, -(-u // width)
        arrays["valid"] = np.zeros([0, 0], bool) if mask is None else mask
        cell = layer.cell
        if layer.cell_name == "gru_reset_before":  # whose target takes an empty bias in its place
            arrays["recurrent_bias"] = np.zeros([0], kind)
        keep = bool(rng.random() < 0.7)
        part = blocks if keep else 0
        hidden = (t, b, u) if keep and mask is not None and mask.size else (0, 0, 0)
        results = {"y": np.zeros((t, b, u), kind)}
        results |= {f"{name}_last": np.zeros((b, u), kind) for name in cell.states}
        results["gates"] = np.zeros((part, t, b, 4 * width), kind)
        if len(cell.states) > 1:
            results["cells"] = np.zeros((part, t, b, width), kind)
        results["hidden"] = np.zeros(hidden, kind)
        weights = _weights_of_targets(layer)
        wrong = spoil_some(rng, arrays if rng.random() < 0.6 else results)
        narrow(arrays)
        narrow(results)
        note(f"forward {layer} keep {keep} wrong {wrong}")
        order = ("x", *cell.states, *weights, "valid")
        names, form = fused_layer._Layer(cell, layer.reverse).calls, _form_of_targets(layer)
        try:
            given = [arrays[name] for name in order]
            made = call(names[0], results, given, reverse=layer.reverse, keep=keep, **form)
        except clean:
            if not wrong:
                raise
            made = [np.zeros(each.shape, each.dtype) for each in results.values()]
            if rng.random() < 0.7:
                return "refused"
        expected, steps = right_forward(layer, right, mask)
        if not wrong:
            compare(made[: len(expected)], expected, layer.dtype)
        if not keep:
            return "right"
        kept = dict(zip(results, map(np.asarray, made), strict=True))
        return backward(rng, note, layer, arrays, right, steps, kept, wrong)

    def backward(
        rng: Rng,
        note: Note,
        layer: Layer,
        arrays: dict[str, Array],
        right: dict[str, Array],
        steps: Steps,
        kept: dict[str, Array],
        wrong: list[str],
    ) -> str:
        cell, weights = layer.cell, _weights_of_targets(layer)
        results = {"dz": np.zeros(kept["gates"].shape, np.float32)}
        empty = np.zeros([0], right["x"].dtype)  # of the bias that a cell does not have
        results |= {f"d{name}": right.get(name, empty) for name in (*cell.states, *weights)}
        seen = kept["hidden"] if arrays["valid"].size else kept["y"]
        cells = [name for name in ("cells",) if name in kept]
        arrays = arrays | {"hidden": seen} | {name: kept[name] for name in ("gates", *cells)}
        wrong = wrong + spoil_some(rng, arrays if rng.random() < 0.6 else results)
        narrow(arrays)
        narrow(results)
        note(f"backward {layer} wrong {wrong}")
        order = ("x", *cell.states, "recurrent_kernel", "valid", "hidden", "gates", *cells)
        flows = ("dy", *(f"d{name}" for name in cell.states))
        read = [arrays[name] for name in (*order, *flows)]
        names, form = fused_layer._Layer(cell, layer.reverse).calls, _form_of_targets(layer)
        try:
            dz, *found = call(names[1], results, read, reverse=layer.reverse, **form)
        except clean:
            if not wrong:
                raise
            dz, found = results["dz"], []
        of_input = {"kernel": arrays["kernel"], "dz": np.asarray(dz)}
        results = {"dx": right["x"]}
        wrong = wrong + spoil_some(rng, of_input if rng.random() < 0.6 else results)
        narrow(of_input)
        narrow(results)
        note(f"input gradient {layer} wrong {wrong}")
        try:
            dx = call(names[2], results, [*of_input.values()], **form)
        except clean:
            if not wrong:
                raise
            return "refused"
        if not wrong:
            right_ones = right_backward(layer, right, steps)
            compare([dx[0], *found[: len(right_ones) - 1]], right_ones, layer.dtype, 10)
        return "right"

    return trial


def _weights_of_targets(layer: Layer) -> tuple[str, ...]:
    """Return the names of the weights that a target of JAX takes."""
    names = layer.cell.parameters
    return (*names, "recurrent_bias") if layer.cell_name == "gru_reset_before" else names


def _form_of_targets(layer: Layer) -> dict[str, bool]:
    """Return the attribute of the targets of a GRU, which tells its two forms apart."""
    return {} if layer.cell_name == "lstm" else {"reset_after": layer.has_second}
