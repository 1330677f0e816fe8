"""The optimizers of a training step: their constants, and their formulas in NumPy.

Every framework computes the update that stands here, in its own way; this is what the NumPy backend
runs and what the gate holds the others to. It knows arrays, and nothing of an LSTM.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

LEARNING_RATE = 1e-5
"""Of both optimizers: so small that weights stay near their start for long (a step of
Adam moves one by about this), and 80 times the rounding of a float32 weight near 1, so that a wrong
update shows."""

BETA1, BETA2 = 0.9, 0.999
"""Adam's decay rates, which all libraries have as their default."""

_NEW1, _NEW2 = 0.1, 0.001  # 1 - BETA1 and 1 - BETA2, without the rounding of these differences

EPSILON = 1e-7
"""Keras's default; PyTorch's and Optax's is 1e-8. No time depends on it."""


def adam_corrections(step: Any) -> tuple[Any, Any]:
    """What Adam's moments are divided by in update number ``step``, from 1: they start at zero."""
    return 1.0 - BETA1**step, 1.0 - BETA2**step


def adam(
    gradient: Any,
    m: Any,
    v: Any,
    corrections: tuple[Any, Any],
    sqrt: Callable[[Any], Any] = np.sqrt,
    *,
    learning_rate: float = LEARNING_RATE,
    epsilon: float = EPSILON,
) -> tuple[Any, Any, Any]:
    """What an update adds to a variable, and the variable's moments m and v after it.

    Algorithm 1 of Kingma & Ba (2015), the epsilon added to the corrected root, as PyTorch and Optax
    have it. (Keras and TensorFlow's fused op add it to the uncorrected one.) Over the arrays of any
    library that has a ``sqrt``.
    """
    first, second = corrections
    m = BETA1 * m + _NEW1 * gradient
    v = BETA2 * v + _NEW2 * gradient * gradient
    return -learning_rate * (m / first) / (sqrt(v / second) + epsilon), m, v


class NumPyOptimizer:
    """``sgd`` or ``adam`` over a list of arrays, in float64."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._step = 0
        self._moments: list[tuple[Float64, Float64]] = []

    def changes(self, gradients: Sequence[npt.ArrayLike]) -> list[Float64]:
        """What the next update adds to each variable, from the gradient of each."""
        wide = [np.asarray(gradient, np.float64) for gradient in gradients]
        if self.name == "sgd":
            return [-LEARNING_RATE * gradient for gradient in wide]
        self._step += 1
        before = self._moments or [(np.zeros_like(each), np.zeros_like(each)) for each in wide]
        by = adam_corrections(self._step)
        after = [adam(each, m, v, by) for each, (m, v) in zip(wide, before, strict=True)]
        self._moments = [(m, v) for _, m, v in after]
        return [change for change, _, _ in after]
