"""Truncated back-propagation on the echo task, one window a step, with any backend's LSTM.

``Training.step`` is the whole of the 2016 tutorial's loop: take the next window of bits, run the
LSTM from the state in which the previous window ended, compute the loss, back-propagate through
this window only, and update the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.echo.network import INITIAL_ACCUMULATOR, Parameters, adagrad, adam, softmax_loss
from bench.echo.task import Bits, EchoSettings, Float64, draw_series
from lstm_impl import (
    LSTMState,
    LSTMWeights,
    Model,
    dropout_masks,
    get_backend,
)


class DivergedError(ArithmeticError):
    """The loss or a weight is no longer finite."""


@dataclass(frozen=True)
class Window:
    """The result of one training step, computed before its update.

    loss is the mean cross-entropy in nats, and accuracy the share of right predictions; inputs,
    targets and ones (the predicted probability of a 1) are ``[window, batch]``.
    """

    loss: float
    accuracy: float
    inputs: Bits
    targets: Bits
    ones: Float64


def model_of(settings: EchoSettings, backend: str = "numpy", device: str = "cpu") -> Model:
    """Build the LSTM of these settings with a backend; ``Training`` sets its weights."""
    return get_backend(backend).build(settings.spec, LSTMWeights.random(settings.spec), device)


class Training:
    """A training of the echo task that advances one window a step.

    Parameters
    ----------
    settings : what is trained.
    model : an LSTM with ``settings.spec``, by any backend; the training sets its weights.

    Attributes
    ----------
    losses, accuracies : one entry for each window so far.
    last : the latest window, None before the first.
    """

    def __init__(self, settings: EchoSettings, model: Model) -> None:
        if model.spec != settings.spec:
            raise ValueError(f"the model is a {model.spec}; the settings ask for {settings.spec}")
        self.settings, self.model = settings, model
        # Separate streams: dropout does not change the bits, nor the network's size the bits.
        weights, bits, masks = np.random.SeedSequence(settings.seed).spawn(3)
        self.parameters = Parameters.initial(settings, np.random.default_rng(weights))
        arrays = self.parameters.arrays()
        if settings.optimizer == "adam":
            self._optimizer_state = [np.zeros_like(array) for array in (*arrays, *arrays)]
        else:
            self._optimizer_state = [np.full_like(array, INITIAL_ACCUMULATOR) for array in arrays]
        self._bits_rng = np.random.default_rng(bits)
        self._masks_rng = np.random.default_rng(masks)
        self._series: tuple[Bits, Bits] | None = None
        self.state = LSTMState.zeros(settings.spec, settings.batch)
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self.last: Window | None = None
        model.set_weights(self.parameters.lstm)

    @property
    def windows_done(self) -> int:
        """Training steps so far."""
        return len(self.losses)

    def step(self) -> Window:
        """Train on the next window, and start a new epoch after the last window of one.

        Raises DivergedError, and UnsupportedError if the backend cannot do what the settings ask.
        """
        settings = self.settings
        number = self.windows_done % settings.windows_per_epoch
        if number == 0:
            self._series = draw_series(settings, self._bits_rng)
        assert self._series is not None
        start = number * settings.window
        inputs, targets = (bits[start : start + settings.window] for bits in self._series)
        state = self.state
        if number == 0 or settings.reset_state:
            state = LSTMState.zeros(settings.spec, settings.batch)
        x = inputs[..., None].astype(settings.spec.precision.storage)
        masks = None
        if settings.dropout:
            masks = dropout_masks(
                settings.spec, settings.window, settings.batch, settings.dropout, self._masks_rng
            )
        y, next_state = self.model.forward(x, state, masks=masks)
        kernel, bias = self.parameters.kernel, self.parameters.bias
        head = softmax_loss(np.asarray(y, np.float64), targets, kernel, bias)
        if not np.isfinite(head.loss):
            raise self._diverged()
        # The mean over many steps makes each step's gradient too small for half precision, and
        # their sum would be too large; a power of two changes nothing in wider types.
        scale = 2.0 ** round(0.5 * np.log2(targets.size))
        found = self.model.gradients(x, head.dy * scale, state, masks=masks)
        of_lstm = [np.asarray(each, np.float64) / scale for each in found.weights.arrays()]
        updated, sums = self._update([*of_lstm, head.dkernel, head.dbias])
        self.last = Window(head.loss, head.accuracy, inputs, targets, head.ones)
        self.parameters = Parameters.from_arrays(settings.spec, updated)
        self.model.set_weights(self.parameters.lstm)
        self._optimizer_state, self.state = sums, next_state
        self.losses.append(head.loss)
        self.accuracies.append(head.accuracy)
        return self.last

    def until(self, windows: int) -> Float64:
        """Train until so many windows are done, and return all losses. Raises as ``step``."""
        while self.windows_done < windows:
            self.step()
        return np.array(self.losses)

    def _update(self, gradients: list[Float64]) -> tuple[list[Float64], list[Float64]]:
        """Return parameters and optimizer state after an update. Raises DivergedError."""
        before, rate = self.parameters.arrays(), self.settings.learning_rate
        if self.settings.optimizer == "adam":
            step = self.windows_done + 1
            updated, sums = adam(before, self._optimizer_state, gradients, rate, step)
        else:
            updated, sums = adagrad(before, self._optimizer_state, gradients, rate)
        if not all(np.all(np.isfinite(array)) for array in updated):
            raise self._diverged()
        return updated, sums

    def _diverged(self) -> DivergedError:
        return DivergedError(
            f"the training diverged at window {self.windows_done + 1}: loss or weights are no "
            "longer finite; lower the learning rate or take a wider dtype"
        )
