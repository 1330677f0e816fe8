"""Define the optimizers of a training step: their constants, and their formulas in NumPy.

Each framework computes this update in its own way; the NumPy backend runs these formulas, and the
gate compares the others with them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

LEARNING_RATE = 1e-5
"""Of both optimizers: so small that weights stay near their start for long (Adam moves one by about
this in a step), and 80 times the rounding of a float32 weight near 1: a wrong update shows."""

BETA1, BETA2 = 0.9, 0.999
"""Adam's decay rates, the default of all libraries."""

_NEW1, _NEW2 = 0.1, 0.001  # 1 - BETA1 and 1 - BETA2, without the rounding of these differences

EPSILON = 1e-7
"""Keras's default; PyTorch's and Optax's is 1e-8. No time depends on it."""


def adam_corrections(step: Any) -> tuple[Any, Any]:
    """Return the divisors of Adam's moments, which start at zero, in update ``step`` (from 1)."""
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
    """Return what an update adds to a variable, and the variable's moments m and v after it.

    Algorithm 1 of Kingma & Ba (2015), with epsilon added to the corrected root, as in PyTorch and
    Optax. (Keras and TensorFlow's fused op add it to the uncorrected one.) It takes the arrays of
    any library that has a ``sqrt``.
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
        """Return what the next update adds to each variable, from the gradient of each."""
        wide = [np.asarray(gradient, np.float64) for gradient in gradients]
        if self.name == "sgd":
            return [-LEARNING_RATE * gradient for gradient in wide]
        self._step += 1
        before = self._moments or [(np.zeros_like(each), np.zeros_like(each)) for each in wide]
        by = adam_corrections(self._step)
        after = [adam(each, m, v, by) for each, (m, v) in zip(wide, before, strict=True)]
        self._moments = [(m, v) for _, m, v in after]
        return [change for change, _, _ in after]
