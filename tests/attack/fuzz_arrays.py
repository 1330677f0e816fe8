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
    """The sizes of one direction of one layer, and how it reads its steps."""

    timesteps: int
    batch: int
    inputs: int
    units: int
    reverse: bool
    masked: bool
    dtype: str

    def draw(self, rng: Rng) -> dict[str, Array]:
        """Return right arrays, rounded to the layer's type."""
        t, b, i, u = self[:4]
        shapes = {
            "x": (t, b, i),
            "h": (b, u),
            "c": (b, u),
            "kernel": (i, 4 * u),
            "recurrent_kernel": (u, 4 * u),
            "bias": (4 * u,),
            "dy": (t, b, u),
            "dh": (b, u),
            "dc": (b, u),
        }
        kind = np.dtype(getattr(ml_dtypes, self.dtype, self.dtype))
        return {
            name: (rng.standard_normal(shape) * 0.5).astype(kind) for name, shape in shapes.items()
        }

    def mask(self, rng: Rng) -> Array | None:
        """Return which steps are there, or None where all are."""
        return rng.random((self.timesteps, self.batch)) > 0.3 if self.masked else None


def drawn_layer(rng: Rng) -> Layer:
    """Return a small layer; some have no step or no sequence."""
    return Layer(
        int(rng.choice(SMALL)),
        int(rng.choice((*SMALL, 25))),
        int(rng.choice(UNITS)),
        int(rng.choice(UNITS)),
        bool(rng.random() < 0.3),
        bool(rng.random() < 0.4),
        str(rng.choice(list(TOLERANCES))),
    )


# -- what is right


def right_forward(
    layer: Layer, arrays: dict[str, Array], mask: Array | None
) -> tuple[list[Array], Steps]:
    """Return y, h and c in float64, and what the backward pass needs of each step."""
    x, h, c, w, r, b = (arrays[name].astype(np.float64) for name in list(arrays)[:6])
    y = np.zeros((layer.timesteps, layer.batch, layer.units))
    steps: Steps = []
    for t in range(layer.timesteps)[:: -1 if layer.reverse else 1]:
        z = x[t] @ w + h @ r + b
        i, f, g, o = np.split(z, 4, axis=1)
        i, f, o = (0.5 * np.tanh(0.5 * each) + 0.5 for each in (i, f, o))
        g = np.tanh(g)
        valid = np.ones(layer.batch, bool) if mask is None else mask[t]
        new_c = np.where(valid[:, None], f * c + i * g, c)
        new_h = np.where(valid[:, None], o * np.tanh(new_c), h)
        y[t] = np.where(valid[:, None], new_h, 0)
        steps.append((np.array(t), h, c, i, f, g, o, new_c, valid[:, None]))
        h, c = new_h, new_c
    return [y, h, c], steps


def right_backward(arrays: dict[str, Array], steps: Steps) -> list[Array]:
    """Return the gradients of x, h, c, kernel, recurrent kernel and bias in float64."""
    wide = {name: each.astype(np.float64) for name, each in arrays.items()}
    dh, dc = wide["dh"], wide["dc"]
    dx, dw, dr, db = (
        np.zeros_like(wide[name]) for name in ("x", "kernel", "recurrent_kernel", "bias")
    )
    for t, h, c, i, f, g, o, new_c, valid in reversed(steps):
        flow_h = np.where(valid, dh + wide["dy"][t], 0)
        tanh_c = np.tanh(new_c)
        flow_c = np.where(valid, dc + flow_h * o * (1 - tanh_c**2), 0)
        gates = (
            *(flow_c * g * i * (1 - i), flow_c * c * f * (1 - f)),
            *(flow_c * i * (1 - g**2), flow_h * tanh_c * o * (1 - o)),
        )
        dz = np.concatenate(gates, axis=1)
        dx[t] = dz @ wide["kernel"].T
        dw += wide["x"][t].T @ dz
        dr += h.T @ dz
        db += dz.sum(0)
        dh = np.where(valid, dz @ wide["recurrent_kernel"].T, dh)
        dc = np.where(valid, flow_c * f, dc)
    return [dx, dh, dc, dw, dr, db]


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
        kind = int(rng.choice((0, 1, 2, 3, 4, 5, -1, 2**31 - 1, -(2**31))))
        threads = int(rng.choice((0, 1, -1, 2**31 - 1)))
        given = KernelLayer(*fields, *flags, kind, threads)
        note(f"lstm_check {fields} {flags} {kind} {threads}")
        sizes = (
            loaded.lstm_gates_size(ctypes.byref(given)),
            loaded.lstm_cells_size(ctypes.byref(given)),
            loaded.lstm_packed_size(ctypes.byref(given)),
        )
        loaded.lstm_products(ctypes.byref(given))
        valid = (
            min(fields) >= 0 and min(fields[2:]) > 0 and max(fields) < 2**31 and kind in range(5)
        )
        taken = loaded.lstm_check(ctypes.byref(given)) == 0
        if taken and not valid:
            raise WrongResultError(f"lstm_check takes {fields} of type {kind}")
        if min(sizes) < 0 or (not taken and max(sizes) > 0):
            raise WrongResultError(f"sizes {sizes} of {fields} of type {kind}")
        if not taken:
            # An invalid layer is refused before any array is read.
            nulls = (ctypes.c_void_p * 17)()
            for name in ("forward", "backward", "input_gradient"):
                if getattr(loaded, f"lstm_{name}")(ctypes.byref(given), None, nulls) == 0:
                    raise WrongResultError(f"lstm_{name} takes {fields} of type {kind}")
            return "refused"
        return "right"

    def right(rng: Rng, note: Note) -> str:
        layer = drawn_layer(rng)
        arrays, mask = layer.draw(rng), layer.mask(rng)
        kind = 1 if layer.dtype == "bfloat16" else int(rng.choice((0, 2)))
        if kind == 2:
            # Its products may be of bfloat16, whose errors larger recurrent weights amplify.
            arrays["recurrent_kernel"] /= np.float32(np.sqrt(layer.units or 1))
        threads, keep = int(rng.choice((0, 1, 2, 3))), bool(rng.random() < 0.7)
        note(f"{layer} type {kind} threads {threads} keep {keep}")
        given = KernelLayer(*layer[:4], 0, layer.reverse, kind, threads)
        t, b, i, u = layer[:4]
        dtype = arrays["x"].dtype
        cells = -(-u // blocks) * blocks * t * b
        if (4 * cells, cells) != kernels.kept_sizes(t, b, u):
            raise WrongResultError(f"kept sizes of {layer}")
        made = [np.full(shape, np.nan, dtype) for shape in ((t, b, u), (b, u), (b, u))]
        kept = [np.full(size, np.nan, dtype) for size in (4 * cells, cells)]
        hidden = np.full((t, b, u), np.nan, dtype) if mask is not None else None

        def address(array: Array | None) -> int:
            return 0 if array is None else array.ctypes.data

        order = ("kernel", "recurrent_kernel", "bias", "x", "h", "c")
        read = [*(arrays[name] for name in order), mask]
        written = [*made, *kept, hidden] if keep else [*made, None, None, None]
        kernels.forward(given, *map(address, (*read, *written)))
        expected, steps = right_forward(layer, arrays, mask)
        scale = 1000 if kind == 2 else 1.0  # whose products may be of bfloat16
        compare(made, expected, layer.dtype, scale)
        if not keep:
            return "right"
        if kind == 2:
            given = KernelLayer(*layer[:4], 0, layer.reverse, 0, threads)
        dz = np.full(4 * cells, np.nan, np.float32)
        shapes = ((b, u), (b, u), (i, 4 * u), (u, 4 * u), (4 * u,))
        gradients = [np.full(shape, np.nan, dtype) for shape in shapes]
        seen = made[0] if hidden is None else hidden
        flow = [arrays[name] for name in ("dy", "dh", "dc")]
        states = [arrays[name] for name in ("recurrent_kernel", "x", "h", "c")]
        kernels.backward(given, *map(address, (*states, mask, seen, *kept, *flow, dz, *gradients)))
        dx = np.full((t, b, i), np.nan, dtype)
        kernels.input_gradient(given, *map(address, (arrays["kernel"], dz, dx)))
        compare([dx, *gradients], right_backward(arrays, steps), layer.dtype, 10 * scale)
        return "right"

    def compute_in_int8(rng: Rng, note: Note) -> str:
        layer = drawn_layer(rng)._replace(dtype="float32")
        note(f"int8 {layer}")
        arrays, mask = layer.draw(rng), layer.mask(rng)
        # With larger recurrent weights the steps amplify the errors of int8, and right results
        # differ from those of float64 without limit.
        arrays["recurrent_kernel"] /= np.float32(np.sqrt(layer.units or 1))
        given = KernelLayer(*layer[:4], 0, layer.reverse, 3, int(rng.choice((0, 1, 2))))
        t, b, _, u = layer[:4]
        weights = [arrays[name].ctypes.data for name in ("kernel", "recurrent_kernel", "bias")]
        try:
            packed = kernels.pack(given, *weights)
        except KernelError:
            return "refused"
        made = [np.full(shape, np.nan, np.float32) for shape in ((t, b, u), (b, u), (b, u))]
        read = [arrays[name].ctypes.data for name in ("x", "h", "c")]
        masked = 0 if mask is None else mask.ctypes.data
        written = [each.ctypes.data for each in made]
        kernels.forward(given, packed.ctypes.data, 0, 0, *read, masked, *written, 0, 0, 0)
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
        right = dict(arrays)
        for name in ("h", "c", "dh", "dc"):
            arrays[name] = np.stack([arrays[name]] * rows)
        batch_major = bool(rng.random() < 0.3)
        if batch_major:
            for name in ("x", "dy"):
                arrays[name] = np.ascontiguousarray(arrays[name].swapaxes(0, 1))
        padding: Array = np.zeros([0], np.int32) if mask is None else mask
        lengths = mask is not None and rng.random() < 0.4
        if lengths:
            padding = rng.integers(-2, layer.timesteps + 3, layer.batch).astype(np.int32)
            steps = np.arange(layer.timesteps)[:, None]
            mask = steps < padding[None, :]
        arrays["padding"] = padding
        wrong = spoil_some(rng, arrays)
        attributes: dict[str, Any] = {"reverse": layer.reverse, "batch_major": batch_major}
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
                made = [tf.transpose(y, [1, 0, 2]) if batch_major else y, h[0], c[0]]
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
            how = {"batch_major": attributes["batch_major"]}
            kernel = tf.constant(arrays["kernel"])
            dx = module.lstm_impl_fused_lstm_input_grad(read[0], kernel, dz, **how)
        except clean:
            if valid and not wrong:
                raise
            return "refused"
        if valid and not wrong and state:
            if how["batch_major"]:
                dx = tf.transpose(dx, [1, 0, 2])
            _, steps = right_forward(layer, right, mask)
            # All rows were given the same states, so the same gradients flow in.
            compare([dx, dh[0], dc[0], *found], right_backward(right, steps), layer.dtype, 10)
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
        keep = bool(rng.random() < 0.7)
        part = blocks if keep else 0
        hidden = (t, b, u) if keep and mask is not None and mask.size else (0, 0, 0)
        results = {
            "y": np.zeros((t, b, u), kind),
            "h_last": np.zeros((b, u), kind),
            "c_last": np.zeros((b, u), kind),
            "gates": np.zeros((part, t, b, 4 * width), kind),
            "cells": np.zeros((part, t, b, width), kind),
            "hidden": np.zeros(hidden, kind),
        }
        wrong = spoil_some(rng, arrays if rng.random() < 0.6 else results)
        narrow(arrays)
        narrow(results)
        note(f"forward {layer} keep {keep} wrong {wrong}")
        order = ("x", "h", "c", "kernel", "recurrent_kernel", "bias", "valid")
        try:
            given = [arrays[name] for name in order]
            made = call(fused_layer.FORWARD, results, given, reverse=layer.reverse, keep=keep)
        except clean:
            if not wrong:
                raise
            made = [np.zeros(each.shape, each.dtype) for each in results.values()]
            if rng.random() < 0.7:
                return "refused"
        expected, steps = right_forward(layer, right, mask)
        if not wrong:
            compare(made[:3], expected, layer.dtype)
        if not keep:
            return "right"
        return backward(rng, note, layer, arrays, right, steps, made, wrong)

    def backward(
        rng: Rng,
        note: Note,
        layer: Layer,
        arrays: dict[str, Array],
        right: dict[str, Array],
        steps: Steps,
        made: Any,
        wrong: list[str],
    ) -> str:
        y, _, _, gates, cells, hidden = (np.asarray(each) for each in made)
        names = ("dh_0", "dc_0", "dkernel", "drecurrent_kernel", "dbias")
        like = ("h", "c", "kernel", "recurrent_kernel", "bias")
        results = {"dz": np.zeros(gates.shape, np.float32)}
        results |= {name: right[each] for name, each in zip(names, like, strict=True)}
        seen = hidden if arrays["valid"].size else y
        arrays = arrays | {"hidden": seen, "gates": gates, "cells": cells}
        wrong = wrong + spoil_some(rng, arrays if rng.random() < 0.6 else results)
        narrow(arrays)
        narrow(results)
        note(f"backward {layer} wrong {wrong}")
        order = ("x", "h", "c", "recurrent_kernel", "valid", "hidden", "gates", "cells")
        read = [arrays[name] for name in (*order, "dy", "dh", "dc")]
        try:
            dz, *found = call(fused_layer.BACKWARD, results, read, reverse=layer.reverse)
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
            dx = call(fused_layer.INPUT_GRADIENT, results, [*of_input.values()])
        except clean:
            if not wrong:
                raise
            return "refused"
        if not wrong:
            compare([dx[0], *found], right_backward(right, steps), layer.dtype, 10)
        return "right"

    return trial
