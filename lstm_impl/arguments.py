"""Check what a user passes to a model: shapes, types and finite numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LSTMState


def batch_and_timesteps(shape: tuple[int, ...], batch_major: bool) -> tuple[int, int]:
    """Return batch and timesteps of an input. Raises ValueError if it has other axes or none."""
    axes = "[batch, time, feature]" if batch_major else "[time, batch, feature]"
    if len(shape) != 3:
        raise ValueError(f"x has shape {shape}; expected three axes, {axes}")
    batch, timesteps = shape[:2] if batch_major else shape[1::-1]
    if timesteps == 0 or batch == 0:
        what = "timesteps" if timesteps == 0 else "sequences"
        raise ValueError(f"x has shape {shape}, so no {what}; expected at least one ({axes})")
    return batch, timesteps


def checked_array(
    spec: LSTMSpec, name: str, value: npt.ArrayLike, shape: tuple[int, ...]
) -> FloatArray:
    """Return ``value`` in the spec's storage type. Raises ValueError for another shape or NaN."""
    array = np.asarray(value)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
    quantized = spec.quantize(array)
    if not np.all(np.isfinite(quantized)):
        place = tuple(int(k) for k in np.argwhere(~np.isfinite(quantized))[0])
        raise ValueError(
            f"{name}{list(place)} is {array[place]}; "
            f"expected finite numbers that {spec.dtype} can hold"
        )
    return quantized


def checked_state(spec: LSTMSpec, name: str, state: LSTMState | None, batch: int) -> LSTMState:
    """Return the state, zeros if None. Raises ValueError if it does not fit."""
    state = state or LSTMState.zeros(spec, batch)
    shape = (spec.state_layers, batch, spec.hidden_size)
    return LSTMState(
        checked_array(spec, f"{name}.h", state.h, shape),
        checked_array(spec, f"{name}.c", state.c, shape),
    )


def checked_lengths(
    lengths: npt.ArrayLike | None, batch: int, timesteps: int
) -> npt.NDArray[np.int32] | None:
    """Return the lengths ``[batch]``, or None. Raises ValueError if they do not fit."""
    if lengths is None:
        return None
    array = np.asarray(lengths)
    if array.shape != (batch,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"lengths has shape {array.shape} and type {array.dtype}; "
            f"expected {batch} integers, one for each sequence"
        )
    if array.min() < 1 or array.max() > timesteps:
        raise ValueError(
            f"lengths holds {array.min()} to {array.max()}; "
            f"expected 1 to the {timesteps} timesteps of x"
        )
    return array.astype(np.int32)


def checked_masks(
    spec: LSTMSpec, masks: npt.ArrayLike | None, batch: int, timesteps: int
) -> FloatArray | None:
    """Return the masks ``[L-1, T, B, D*H]``, or None. Raises ValueError if they do not fit."""
    if masks is None:
        return None
    if spec.num_layers == 1:
        raise ValueError("masks are given; dropout acts between layers and there is one")
    shape = (spec.num_layers - 1, timesteps, batch, spec.output_size)
    return checked_array(spec, "masks", masks, shape)
