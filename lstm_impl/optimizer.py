"""Define the optimizers of a training step by their constants and by their formulas in NumPy.

Each framework computes the update with its own functions. The NumPy backend uses these formulas,
and the gate compares the other backends with them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

LEARNING_RATE = 1e-5
"""The learning rate of both optimizers. It is so small that the weights stay near their start for
many steps: Adam moves a weight by about this much in a step. It is also 80 times as large as the
rounding of a float32 weight near 1, so that a wrong update is visible."""

BETA1, BETA2 = 0.9, 0.999
"""Adam's decay rates. All libraries have these defaults."""

# The differences 1 - BETA1 and 1 - BETA2, but without the rounding error of subtracting.
_NEW1, _NEW2 = 0.1, 0.001

EPSILON = 1e-7
"""Adam's epsilon, as in Keras. PyTorch's and Optax's default is 1e-8. No time depends on it."""


def adam_corrections(step: Any) -> tuple[Any, Any]:
    """Return the divisors of Adam's moments in update ``step``, counted from 1.

    The moments start at zero. Dividing by these numbers removes the bias towards zero.
    """
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
    """Compute one update of a variable with Adam.

    This is Algorithm 1 of Kingma & Ba (2015). Epsilon is added to the corrected root, as in PyTorch
    and Optax; Keras and TensorFlow's fused op add it to the uncorrected root. The arrays may be
    those of any library that has a function ``sqrt``.

    Returns
    -------
    tuple
        What the update adds to the variable, and the moments m and v after it.
    """
    first, second = corrections
    m = BETA1 * m + _NEW1 * gradient
    v = BETA2 * v + _NEW2 * gradient * gradient
    return -learning_rate * (m / first) / (sqrt(v / second) + epsilon), m, v


class NumPyOptimizer:
    """Update a list of arrays with ``sgd`` or ``adam`` in float64."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._step = 0
        self._moments: list[tuple[Float64, Float64]] = []

    def changes(self, gradients: Sequence[npt.ArrayLike]) -> list[Float64]:
        """Return what the next update adds to each variable, from the gradient of each variable."""
        wide = [np.asarray(gradient, np.float64) for gradient in gradients]
        if self.name == "sgd":
            return [-LEARNING_RATE * gradient for gradient in wide]
        self._step += 1
        before = self._moments or [(np.zeros_like(each), np.zeros_like(each)) for each in wide]
        by = adam_corrections(self._step)
        after = [adam(each, m, v, by) for each, (m, v) in zip(wide, before, strict=True)]
        self._moments = [(m, v) for _, m, v in after]
        return [change for change, _, _ in after]
