"""Compute an LSTM under any mask by the reference, on each sequence's valid steps.

A masked step keeps the state; its output depends on the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lstm_impl import LayerWeights, LSTMSpec, LSTMState, LSTMWeights, reference

Float64 = npt.NDArray[np.float64]

MASKS = np.array([list(row) for row in ("11111", "11000", "00111", "01001", "00000")]) == "1"
"""Full, padded on the right, on the left, with gaps, and empty."""


@dataclass(frozen=True)
class Problem:
    """One layer's input ``[B, T, in]``, mask ``[B, T]``, state ``[B, H]`` and weights."""

    x: Float64
    mask: npt.NDArray[np.bool_]
    h: Float64
    c: Float64
    cell: LayerWeights

    def solved(self) -> tuple[Float64, Float64, Float64]:
        """Compute outputs ``[B, T, H]``, zero if masked, and the final h and c."""
        y, h, c = np.zeros((*self.mask.shape, self.h.shape[1])), self.h.copy(), self.c.copy()
        spec = LSTMSpec(self.x.shape[2], self.h.shape[1], dtype="float64")
        for row, valid in enumerate(self.mask):
            if valid.any():
                state = LSTMState(h[None, [row]], c[None, [row]])
                x = self.x[row, valid][:, None]
                outputs, last = reference.forward(spec, LSTMWeights(((self.cell,),)), x, state)
                y[row, valid], h[row], c[row] = outputs[:, 0], last.h[0, 0], last.c[0, 0]
        return y, h, c


def problem(masks: Any = MASKS, features: int = 3, units: int = 4, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    mask = np.asarray(masks)
    weights = LSTMWeights.random(LSTMSpec(features, units, dtype="float64"), seed)
    h, c = rng.standard_normal((2, len(mask), units))
    return Problem(rng.standard_normal((*mask.shape, features)), mask, h, c, weights.layers[0][0])


def repeated(y: Float64, mask: npt.NDArray[np.bool_], before: Any = 0.0) -> Float64:
    """Repeat the last valid output in masked steps, with ``before`` before the first."""
    shown = y.copy()
    for t in range(y.shape[1]):
        last = shown[:, t - 1] if t else np.broadcast_to(before, y[:, 0].shape)
        shown[:, t] = np.where(mask[:, t, None], y[:, t], last)
    return shown
