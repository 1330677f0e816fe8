"""Train the echo task by truncated back-propagation, one window per step, with any backend's LSTM.

``Training.step`` is the loop of the 2016 tutorial: take the next window of bits, run the LSTM from
the state in which the previous window ended, compute the loss, back-propagate through this window
only, and update the weights. The softmax layer, the loss and the optimizers are float64 NumPy and
the same for every backend. Two loss curves can therefore differ only by how the LSTMs round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bench.echo.task import Bits, EchoSettings, Float64, draw_series
from lstm_impl import LSTMSpec, LSTMState, LSTMWeights, Model, dropout_masks, get_backend
from lstm_impl.optimizer import adam as adam_update
from lstm_impl.optimizer import adam_corrections

INITIAL_ACCUMULATOR = 0.1
"""The initial sums of squared gradients of TensorFlow's ``AdagradOptimizer``, which are not
zero.
"""


@dataclass(frozen=True)
class Parameters:
    """Hold the weights of the LSTM, and the softmax layer's kernel ``[H, 2]`` and bias ``[2]``.

    All are float64. The model rounds its own copy.
    """

    lstm: LSTMWeights
    kernel: Float64
    bias: Float64

    @classmethod
    def initial(cls, settings: EchoSettings, rng: np.random.Generator) -> Parameters:
        """Draw the LSTM as ``LSTMWeights.random`` does, and the kernel within ``1/sqrt(H)``.

        With ``settings.memory``, the biases of the forget and input gates are ln u and -ln u, where
        u is uniform between 1 and ``memory`` for each unit. A unit then forgets in about u
        timesteps (Tallec & Ollivier 2018, "Can recurrent neural networks warp time?").
        """
        spec = replace(settings.spec, dtype="float64")  # The same numbers for every dtype.
        limit = 1.0 / np.sqrt(settings.units)
        lstm = LSTMWeights.random(spec, seed=int(rng.integers(2**32)))
        if settings.memory:
            for cell in (cell for layer in lstm.layers for cell in layer):
                spread = np.log(rng.uniform(1.0, settings.memory, settings.units))
                cell.bias[: settings.units] = -spread
                cell.bias[settings.units : 2 * settings.units] = spread
        return cls(lstm, rng.uniform(-limit, limit, (settings.units, 2)), np.zeros(2))

    def arrays(self) -> list[Float64]:
        """Return the arrays of the LSTM, then the kernel and the bias."""
        return [*(np.asarray(a, np.float64) for a in self.lstm.arrays()), self.kernel, self.bias]

    @classmethod
    def from_arrays(cls, spec: LSTMSpec, arrays: list[Float64]) -> Parameters:
        """Make parameters from arrays in the order of ``arrays``."""
        *lstm, kernel, bias = arrays
        return cls(LSTMWeights.from_arrays(spec, lstm), kernel, bias)


@dataclass(frozen=True)
class HeadResult:
    """Hold the results of ``softmax_loss``: the loss, its gradients and the predictions.

    Attributes
    ----------
    loss
        The mean cross-entropy in nats.
    accuracy
        The share of targets that were the likelier bit.
    dy, dkernel, dbias
        The gradients of the loss: ``[T, B, H]``, ``[H, 2]`` and ``[2]``.
    ones
        P(bit = 1), ``[T, B]``.
    """

    loss: float
    accuracy: float
    dy: Float64
    dkernel: Float64
    dbias: Float64
    ones: Float64


def softmax_loss(y: Float64, targets: Bits, kernel: Float64, bias: Float64) -> HeadResult:
    """Apply the softmax layer to ``y [T, B, H]``, and differentiate the loss.

    The loss is the mean cross-entropy in nats.
    """
    logits = y @ kernel + bias
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(logits).sum(axis=-1))
    target = targets[..., None] == np.arange(len(bias))
    log_likelihood = np.where(target, logits - log_sum[..., None], 0.0).sum(axis=-1)
    probabilities = np.exp(logits - log_sum[..., None])
    dlogits = (probabilities - target) / targets.size
    flat = dlogits.reshape(-1, len(bias))
    return HeadResult(
        loss=float(-log_likelihood.mean()),
        accuracy=float(np.mean(probabilities.argmax(axis=-1) == targets)),
        dy=dlogits @ kernel.T,
        dkernel=y.reshape(len(flat), -1).T @ flat,
        dbias=flat.sum(axis=0),
        ones=probabilities[..., 1],
    )


def adagrad(
    parameters: list[Float64], sums: list[Float64], gradients: list[Float64], learning_rate: float
) -> tuple[list[Float64], list[Float64]]:
    """Return parameters and sums after one step of Adagrad as TensorFlow computes it.

    The sum includes the current squared gradient. There is no epsilon, since no sum is ever zero
    (Duchi, Hazan & Singer 2011; ``ResourceApplyAdagrad``).
    """
    sums = [a + g * g for a, g in zip(sums, gradients, strict=True)]
    updated = [
        p - learning_rate * g / np.sqrt(a)
        for p, g, a in zip(parameters, gradients, sums, strict=True)
    ]
    return updated, sums


def adam(
    parameters: list[Float64],
    moments: list[Float64],
    gradients: list[Float64],
    learning_rate: float,
    step: int,
) -> tuple[list[Float64], list[Float64]]:
    """Return parameters and moments after step number ``step`` of Adam, counted from 1.

    ``moments`` are the running means of the gradients, then those of their squares. Epsilon is 1e-8
    as in algorithm 1 of Kingma & Ba (2015).
    """
    count, corrections = len(parameters), adam_corrections(step)
    updates = [
        adam_update(g, m, v, corrections, learning_rate=learning_rate, epsilon=1e-8)
        for g, m, v in zip(gradients, moments[:count], moments[count:], strict=True)
    ]
    changes, first, second = zip(*updates, strict=True)
    return [p + change for p, change in zip(parameters, changes, strict=True)], [*first, *second]


class DivergedError(ArithmeticError):
    """The loss or a weight is no longer finite."""


@dataclass(frozen=True)
class Window:
    """Hold the result of one training step, computed before its update.

    Attributes
    ----------
    loss
        The mean cross-entropy in nats.
    accuracy
        The share of correct predictions.
    inputs, targets
        The bits, ``[window, batch]``.
    ones
        The predicted probability of a 1, ``[window, batch]``.
    """

    loss: float
    accuracy: float
    inputs: Bits
    targets: Bits
    ones: Float64


def build_model(settings: EchoSettings, backend: str = "numpy", device: str = "cpu") -> Model:
    """Build the LSTM of these settings with a backend. ``Training`` then sets its weights."""
    return get_backend(backend).build(settings.spec, LSTMWeights.random(settings.spec), device)


class Training:
    """Train the echo task, one window per step.

    Parameters
    ----------
    settings
        The settings of the task and the network.
    model
        An LSTM with ``settings.spec``, of any backend. The training sets its weights.

    Attributes
    ----------
    losses, accuracies
        One entry for each window so far.
    last
        The latest window, or None before the first.
    """

    def __init__(self, settings: EchoSettings, model: Model) -> None:
        if model.spec != settings.spec:
            raise ValueError(f"the model is a {model.spec}; the settings ask for {settings.spec}")
        self.settings, self.model = settings, model
        # The streams are separate, so that neither the dropout nor the size of the network changes
        # the bits.
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
        """The number of training steps so far."""
        return len(self.losses)

    def step(self) -> Window:
        """Train on the next window. After the last window of an epoch, start a new epoch.

        Raises
        ------
        DivergedError
            If the loss or a weight is no longer finite.
        UnsupportedError
            If the backend cannot do what the settings require.
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
            raise self._make_error()
        # The mean over many steps makes the gradient of each step too small for half precision, and
        # their sum would be too large. A power of two changes nothing in wider types.
        scale = 2.0 ** round(0.5 * np.log2(targets.size))
        found = self.model.gradients(x, head.dy * scale, state, masks=masks)
        of_lstm = [np.asarray(each, np.float64) / scale for each in found.weights.arrays()]
        gradients, before = [*of_lstm, head.dkernel, head.dbias], self.parameters.arrays()
        rate, sums = settings.learning_rate, self._optimizer_state
        if settings.optimizer == "adam":
            updated, sums = adam(before, sums, gradients, rate, self.windows_done + 1)
        else:
            updated, sums = adagrad(before, sums, gradients, rate)
        if not all(np.all(np.isfinite(array)) for array in updated):
            raise self._make_error()
        self.last = Window(head.loss, head.accuracy, inputs, targets, head.ones)
        self.parameters = Parameters.from_arrays(settings.spec, updated)
        self.model.set_weights(self.parameters.lstm)
        self._optimizer_state, self.state = sums, next_state
        self.losses.append(head.loss)
        self.accuracies.append(head.accuracy)
        return self.last

    def until(self, windows: int) -> Float64:
        """Train until ``windows`` windows are done, and return all losses.

        Raises the errors of ``step``.
        """
        while self.windows_done < windows:
            self.step()
        return np.array(self.losses)

    def _make_error(self) -> DivergedError:
        return DivergedError(
            f"the training diverged at window {self.windows_done + 1}: the loss or a weight is no "
            "longer finite. Reduce the learning rate, or use a wider dtype"
        )
