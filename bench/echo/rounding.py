"""How far apart rounding alone can move two loss curves of the same training.

The effect of rounding is measured: float64 trainings are perturbed by a known amount in every place
where a backend rounds. A curve that leaves the resulting bound is that of another function. Where
the bound ends, perturbations have grown past what first-order reasoning can follow (chaos).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.echo.task import EchoSettings, Float64
from bench.echo.training import Training, model_of
from lstm_impl import LSTMGradients, LSTMState, LSTMWeights, Model
from lstm_impl.spec import FloatArray

LINEAR_LIMIT = 0.1
"""Nats past which a deviation is too large for first-order reasoning."""

_PERTURBATION = 1e-11
"""Relative size of the perturbations: above float64's rounding, below any visible effect."""

_ELEMENTWISE = 16.0
"""Roundings of a timestep's gates and states, in units of roundoff: frameworks' sigmoid and tanh
are within about 4 units in the last place (8 roundoffs), and half as much again for products."""

_SAFETY = 4.0
"""Standard deviations that the bound holds; the samples' root mean square estimates one."""


def reference_curve(settings: EchoSettings, windows: int) -> Float64:
    """Return the first losses of a training in float64 NumPy, ``[windows]``."""
    return _curve(replace(settings, dtype="float64"), windows, None)


def curve_bound(
    settings: EchoSettings,
    windows: int,
    *,
    reference: Float64 | None = None,
    samples: int = 4,
    seed: int = 0,
) -> Float64:
    """Return how far a backend's losses may be from ``reference_curve``, ``[windows]``, in nats.

    To first order the deviation after n windows is the sum over m of J(n)...J(m+1) r(m), where
    r(m) is what rounding adds in window m and J are the Jacobians of the training step (weights,
    optimizer sums, state). By backward error analysis each r(m) is a relative perturbation of
    weights, states, outputs and gradients by at most ``rho`` roundoffs of the dtype:

        rho = sqrt(inputs + H + 1) + sqrt(window * batch) + elementwise roundings

    with the square roots of Higham & Mary (2019) for the sums over a gate's products and over a
    gradient's terms. No useful norm of J is known in advance, so its effect is measured:
    ``samples`` float64 trainings, perturbed at random in all these places in every window, show how
    much this training, on these bits, amplifies perturbations. The bound is

        4 * rho * roundoff * A(n),   A(n) = max over m <= n of rms over samples of deviation / size

    It never falls, and is infinite from the first window past ``LINEAR_LIMIT``.
    """
    exact = replace(settings, dtype="float64")
    base = reference_curve(settings, windows) if reference is None else reference
    rng = np.random.default_rng(seed)
    deviations = [
        (_curve(exact, windows, child) - base) / _PERTURBATION for child in rng.spawn(samples)
    ]
    amplification = np.maximum.accumulate(np.sqrt(np.mean(np.square(deviations), axis=0)))
    inputs = max(exact.spec.layer_input_size(layer) for layer in range(exact.layers))
    rho = np.sqrt(inputs + exact.units + 1) + np.sqrt(exact.window * exact.batch) + _ELEMENTWISE
    bound = _SAFETY * rho * settings.spec.precision.roundoff * amplification
    bound += 4.0 * np.finfo(np.float64).eps  # the loss itself is rounded
    return np.where(bound <= LINEAR_LIMIT, bound, np.inf)


def _curve(settings: EchoSettings, windows: int, noise: np.random.Generator | None) -> Float64:
    model = model_of(settings)
    return Training(settings, model if noise is None else _Perturbed(model, noise)).until(windows)


class _Perturbed:
    """A model with relative errors of size ``_PERTURBATION`` wherever a backend rounds."""

    def __init__(self, model: Model, rng: np.random.Generator) -> None:
        self.spec, self._model, self._rng = model.spec, model, rng
        self._weights = model.get_weights()

    def _perturb(self, array: FloatArray) -> FloatArray:
        return array * (1.0 + _PERTURBATION * self._rng.choice((-1.0, 1.0), np.shape(array)))

    def set_weights(self, weights: LSTMWeights) -> None:
        self._weights = weights

    def forward(
        self, x: FloatArray, state: LSTMState, *, masks: FloatArray | None
    ) -> tuple[FloatArray, LSTMState]:
        self._model.set_weights(self._weights.map(self._perturb))
        y, following = self._model.forward(x, state, masks=masks)
        y = self._perturb(y)  # before the state: the bound is that of one series of random errors
        return y, LSTMState(h=self._perturb(following.h), c=self._perturb(following.c))

    def gradients(
        self, x: FloatArray, dy: FloatArray, state: LSTMState, *, masks: FloatArray | None
    ) -> LSTMGradients:
        self._model.set_weights(self._weights.map(self._perturb))
        found = self._model.gradients(x, self._perturb(dy), state, masks=masks)
        return replace(found, weights=found.weights.map(self._perturb))


def compare_with_float64(settings: EchoSettings, losses: Float64) -> tuple[str, bool]:
    """Describe how far a loss curve is from float64's; whether it stays within its bound."""
    reference = reference_curve(settings, len(losses))
    bound = curve_bound(settings, len(losses), reference=reference)
    deviation, bounded = np.abs(losses - reference), np.isfinite(bound)
    within = bool(np.all(deviation[bounded] <= bound[bounded]))
    lines = []
    if bounded.any():
        worst = int(np.argmax(deviation[bounded]))
        share = deviation[bounded] / bound[bounded]
        lines.append(
            f"largest deviation from the float64 curve: {deviation[worst]:.1e} at window "
            f"{worst + 1} (bound {bound[worst]:.1e}); at most {share.max():.0%} of the bound, at "
            f"window {int(np.argmax(share)) + 1}: {'within' if within else 'OUTSIDE'} the bound"
        )
    if not bounded.all():
        first = int(np.argmin(bounded))
        lines.append(
            f"no bound from window {first + 1} on: rounding may move the loss arbitrarily (chaos; "
            f"largest deviation there {deviation[first:].max():.1e})"
        )
    return "\n".join(lines), within
