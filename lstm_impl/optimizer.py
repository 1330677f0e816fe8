"""The optimizers of a training step: their constants, and their formulas in NumPy.

Every framework computes the update that stands here, in its own way; this is what the NumPy backend
runs and what the gate holds the others to. It knows arrays, and nothing of an LSTM.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

LEARNING_RATE = 1e-5
"""Of both optimizers. What is timed is the work of an update, not its use: the weights should be
near their start however long it goes on. A step of Adam moves a weight by no more than this (by
three times this for moments, while they adapt), the 320 windows of a stream of 960 timesteps by
0.003 if all pull one way; a gradient of SGD, the sum over a batch and a window of random terms, is
some tens. It is still 80 times the rounding of a float32 weight near 1, so that an update that is
wrong shows."""

BETA1, BETA2 = 0.9, 0.999
"""Adam's decay rates, which all libraries have as their default."""

EPSILON = 1e-7
"""Keras's default; PyTorch's and Optax's is 1e-8. No time depends on it."""


def adam_scales(step: int) -> tuple[float, float]:
    """The learning rate and the epsilon of Adam's update number ``step``, counted from 1.

    For an update written as ``rate * m / (sqrt(v) + epsilon)``, over moments that are not corrected
    for their start at zero.
    """
    root = float(np.sqrt(1.0 - BETA2**step))
    return LEARNING_RATE * root / (1.0 - BETA1**step), EPSILON * root


class NumPyOptimizer:
    """``sgd`` or ``adam`` over a list of arrays, in float64.

    ``adam`` is Algorithm 1 of Kingma & Ba (2015), the epsilon added to the corrected root, as
    PyTorch and Optax have it. (Keras and TensorFlow's fused op add it to the uncorrected one.)
    """

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
        self._moments = [
            (BETA1 * m + (1.0 - BETA1) * gradient, BETA2 * v + (1.0 - BETA2) * gradient**2)
            for (m, v), gradient in zip(before, wide, strict=True)
        ]
        rate, epsilon = adam_scales(self._step)
        return [-rate * m / (np.sqrt(v) + epsilon) for m, v in self._moments]
