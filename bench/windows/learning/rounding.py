"""How far two right trainings may drift apart by rounding alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.windows.learning.settings import EchoSettings
from bench.windows.learning.task import Float64
from bench.windows.learning.training import Training, model_of
from lstm_impl import LSTMGradients, LSTMState, LSTMWeights, Model
from lstm_impl.spec import FloatArray

LINEAR_LIMIT = 0.1
"""Nats past which a deviation is too large for first-order reasoning to say anything about it."""

_PROBE = 1e-11
"""Relative size of the probing perturbations: far above float64's rounding, far below effect."""

_ELEMENTWISE = 16.0
"""Roundings, in units of roundoff, of a step's gates and states: frameworks' sigmoid and tanh are
within about 4 units in the last place (8 roundoffs), and half as much again for the products."""

_SAFETY = 4.0
"""The samples' root mean square is an estimate of a standard deviation; four of them hold it."""


def reference_curve(settings: EchoSettings, windows: int) -> Float64:
    """The first ``windows`` losses in float64 NumPy, against which every backend is held."""
    return _curve(replace(settings, dtype="float64"), windows, None)


def curve_bound(
    settings: EchoSettings,
    windows: int,
    *,
    reference: Float64 | None = None,
    samples: int = 4,
    seed: int = 0,
) -> Float64:
    """How far a backend's losses may be from ``reference_curve``, ``[windows]``, in nats.

    Infinite from the window on where no bound can be given: past ``LINEAR_LIMIT``, chaos rules.

    To first order the deviation after n windows is the sum over m of J(n)...J(m+1) r(m), where
    r(m) is what rounding adds in window m and J are the Jacobians of the training step (weights,
    accumulators, state). Each r(m) is, by backward error analysis, a relative perturbation of
    weights, states, outputs and gradients by at most ``rho`` roundoffs of the dtype:

        rho = sqrt(inputs + H + 1) + sqrt(window * batch) + elementwise roundings

    with the square roots of Higham & Mary (2019) for sums, of a gate's products and of a gradient's
    terms. No norm of J is known in advance (Adagrad's steps are large, and the product of norms
    would say nothing), so its effect is measured: ``samples`` trainings in float64, each with
    random perturbations of a known small size in all those places at every window, show by how
    much this training, on these bits, amplifies them. The bound is

        4 * rho * roundoff * A(n),   A(n) = max over m <= n of rms over samples of deviation / size

    It never falls: what a training forgets again is not counted on.

    reference: what ``reference_curve`` gave, if it is at hand already.
    """
    exact = replace(settings, dtype="float64")
    base = reference_curve(settings, windows) if reference is None else reference
    rng = np.random.default_rng(seed)
    deviations = [(_curve(exact, windows, child) - base) / _PROBE for child in rng.spawn(samples)]
    amplification = np.maximum.accumulate(np.sqrt(np.mean(np.square(deviations), axis=0)))
    inputs = max(exact.spec.layer_input_size(layer) for layer in range(exact.layers))
    rho = np.sqrt(inputs + exact.units + 1) + np.sqrt(exact.window * exact.batch) + _ELEMENTWISE
    bound = _SAFETY * rho * settings.spec.precision.roundoff * amplification
    # The loss itself is rounded too, even where nothing is amplified.
    bound += 4.0 * np.finfo(np.float64).eps
    return np.where(bound <= LINEAR_LIMIT, bound, np.inf)


def _curve(settings: EchoSettings, windows: int, noise: np.random.Generator | None) -> Float64:
    model = model_of(settings)
    training = Training(settings, model if noise is None else _Perturbed(model, noise))
    return training.until(windows)


class _Perturbed:
    """A model with relative errors of size ``_PROBE`` wherever a backend rounds."""

    def __init__(self, model: Model, rng: np.random.Generator) -> None:
        self.spec = model.spec
        self._model = model
        self._rng = rng
        self._weights = model.get_weights()

    def _disturb(self, array: FloatArray) -> FloatArray:
        return array * (1.0 + _PROBE * self._rng.choice((-1.0, 1.0), np.shape(array)))

    def set_weights(self, weights: LSTMWeights) -> None:
        self._weights = weights

    def forward(
        self, x: FloatArray, state: LSTMState, *, masks: FloatArray | None
    ) -> tuple[FloatArray, LSTMState]:
        self._model.set_weights(self._weights.map(self._disturb))
        y, following = self._model.forward(x, state, masks=masks)
        h, c = self._disturb(following.h), self._disturb(following.c)
        return self._disturb(y), LSTMState(h=h, c=c)

    def gradients(
        self, x: FloatArray, dy: FloatArray, state: LSTMState, *, masks: FloatArray | None
    ) -> LSTMGradients:
        self._model.set_weights(self._weights.map(self._disturb))
        found = self._model.gradients(x, self._disturb(dy), state, masks=masks)
        return replace(found, weights=found.weights.map(self._disturb))
