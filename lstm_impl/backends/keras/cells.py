"""Make and run LSTM and GRU layers of Keras 2, and of Keras 3 on any of its backends."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lstm_impl.availability import AVAILABLE, Availability, Package
from lstm_impl.backend import Backend
from lstm_impl.backends.stacking import through_layers
from lstm_impl.call import Call, Outputs, States, Tensor
from lstm_impl.cell import GRU
from lstm_impl.layouts import from_keras_gru, keras_gru
from lstm_impl.spec import FloatArray, LSTMSpec, Refusal
from lstm_impl.weights import LayerWeights, LSTMWeights


def make_layers(keras: Any, spec: LSTMSpec, weights: LSTMWeights, **more: Any) -> list[Any]:
    """Make and build layers with these weights, in the order of the state's rows."""
    kind = keras.layers.LSTM
    if isinstance(spec.cell, GRU):
        kind, more = keras.layers.GRU, {"reset_after": spec.cell.reset_after, **more}
    policy = {"tf32": "float32"}.get(spec.dtype, spec.dtype)
    layers = [
        kind(
            spec.hidden_size,
            return_sequences=True,
            return_state=True,
            go_backwards=direction == 1,
            # The weights are set below. Keras's default, the orthogonal initializer, has no
            # bfloat16.
            kernel_initializer="zeros",
            recurrent_initializer="zeros",
            dtype=policy,
            **more,
        )
        for _ in range(spec.num_layers)
        for direction in range(spec.num_directions)
    ]
    for layer, cell in zip(layers, weights.cells(), strict=True):
        layer.build((None, None, cell.kernel.shape[0]))
        # Otherwise Keras 3.16 warns about every mask that the layer gets.
        layer.supports_masking = True
        for variable, array in zip(layer.trainable_variables, to_keras(spec, cell), strict=True):
            variable.assign(array)
    return layers


def to_keras(spec: LSTMSpec, cell: LayerWeights) -> list[FloatArray]:
    """Convert canonical weights to the arrays of a Keras layer."""
    return keras_gru(cell) if isinstance(spec.cell, GRU) else [*cell]


Run = Callable[[int, Tensor, States, Tensor | None], tuple[Tensor, ...]]
"""Run the layer of a row on its input ``[B, T, F]``, initial states and valid steps ``[B, T]``.
Return its outputs and its final states, one after the other."""


def calling(layers: Sequence[Any], **more: Any) -> Run:
    """Return a function that runs layers by calling them."""

    def run(row: int, x: Tensor, states: States, valid: Tensor | None) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = layers[row](x, initial_state=[*states], mask=valid, **more)
        return found

    return run


def through_keras(spec: LSTMSpec, call: Call, run: Run, batch_major: bool) -> Outputs:
    """Compute a network of Keras layers, which are batch-major.

    The outputs have the layout of ``call.x``. The states are ``[L*D, B, H]``, and the masks ``[L-1,
    T, B, D*H]``.
    """
    from keras import ops

    def swap(array: Tensor) -> Tensor:
        return ops.transpose(array, [1, 0, 2])

    x, masks = call.x if batch_major else swap(call.x), call.masks
    valid = None
    if call.lengths is not None:
        steps = ops.arange(ops.shape(x)[1], dtype="int32")
        valid = ops.expand_dims(steps, 0) < ops.expand_dims(call.lengths, 1)
    if masks is not None:
        masks = [swap(masks[number]) for number in range(spec.num_layers - 1)]

    def layer(row: int, own: Call, reverse: bool) -> Outputs:
        y, *states = run(row, own.x, own.states, valid)
        if reverse:  # Keras leaves the outputs in the order in which they were computed.
            y = ops.flip(y, axis=1)
        if valid is not None:  # In padding, Keras repeats the last valid output.
            y = ops.where(valid[:, :, None], y, ops.zeros_like(y))
        return Outputs(y, tuple(states))

    join = functools.partial(ops.concatenate, axis=-1)
    inside = call._replace(x=x, masks=masks)
    y, states = through_layers(spec, inside, layer, join, ops.stack)
    return Outputs(y if batch_major else swap(y), states)


VARIABLE = "KERAS_BACKEND"
"""The environment variable that chooses the backend of Keras 3."""
DEFAULT = "tensorflow"
"""The backend that Keras has if nothing chooses another."""
KNOWN = ("tensorflow", "jax", "torch", "openvino", "numpy")
"""The backends of Keras 3."""

PACKAGE = Package("keras", "Keras", "pip install keras")
"""The package that holds Keras 3."""


def keras_backend() -> str:
    """Return the backend that Keras has in this process, or will have once it is imported."""
    if (loaded := sys.modules.get("keras")) is not None and hasattr(loaded, "config"):
        return str(loaded.config.backend())
    return os.environ.get(VARIABLE) or _read_configured() or DEFAULT


def _read_configured() -> str:
    """Return the backend in the user's configuration file, or an empty string."""
    home = Path(os.environ.get("KERAS_HOME") or Path("~").expanduser() / ".keras")
    try:
        found = json.loads((home / "keras.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    name = found.get("backend") if isinstance(found, dict) else None
    return name if isinstance(name, str) else ""


class KerasThree(Backend):
    """Compute with Keras 3 on one of its backends, which ``environment`` names."""

    environment: ClassVar[Mapping[str, str]] = {VARIABLE: DEFAULT}
    cells: ClassVar[tuple[str, ...] | None] = ("lstm", "gru", "gru_reset_before")

    def pack(self, spec: LSTMSpec, weights: LSTMWeights) -> list[FloatArray]:
        return [array for cell in weights.cells() for array in to_keras(spec, cell)]

    def unpack(
        self, spec: LSTMSpec, arrays: Sequence[FloatArray], gradient: bool = False
    ) -> LSTMWeights:
        if not isinstance(spec.cell, GRU):
            return super().unpack(spec, arrays, gradient)
        of_layers = (arrays[k : k + 3] for k in range(0, len(arrays), 3))
        return LSTMWeights.from_cells(spec, [*map(from_keras_gru, of_layers)])

    def conflict(self) -> str:
        if {"unroll", "loop"} <= set(self.options):
            return "an unrolled layer has no loop; leave +unroll or +loop out"
        return ""

    def process(self) -> Availability:
        wanted, found = self.environment[VARIABLE], keras_backend()
        if found == wanted:
            return AVAILABLE
        if found not in KNOWN:
            reason = f"{VARIABLE} is {found!r}; expected one of Keras's backends {', '.join(KNOWN)}"
        else:
            reason = (
                f"Keras chooses its backend when it is imported, and this process has {found}; "
                f"{self.strategy} needs a process with {wanted}"
            )
        command = f"{VARIABLE}={wanted} python ..."
        return Availability(False, reason, command, Refusal.OTHER_ENVIRONMENT)
