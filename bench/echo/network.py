"""The network around the backend's LSTM: a softmax layer, the loss, Adagrad and Adam.

All of it is float64 NumPy, the same for every backend, so two loss curves can differ only by how
the LSTMs round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bench.echo.task import Bits, EchoSettings, Float64
from lstm_impl import LSTMSpec, LSTMWeights
from lstm_impl.optimizer import adam as adam_update
from lstm_impl.optimizer import adam_corrections

INITIAL_ACCUMULATOR = 0.1
"""TensorFlow's ``AdagradOptimizer`` starts its sums of squared gradients here, not at zero."""


@dataclass(frozen=True)
class Parameters:
    """What is learned: the LSTM's weights, and the softmax layer's kernel ``[H, 2]``, bias ``[2]``.

    They stay in float64; the model rounds its own copy.
    """

    lstm: LSTMWeights
    kernel: Float64
    bias: Float64

    @classmethod
    def initial(cls, settings: EchoSettings, rng: np.random.Generator) -> Parameters:
        """Draw the LSTM as ``LSTMWeights.random`` does, and the kernel within ``1/sqrt(H)``.

        With ``settings.memory`` the biases of the forget and input gates are ln u and -ln u, u
        uniform between 1 and ``memory`` for each unit: a unit then starts by forgetting in about u
        timesteps (Tallec & Ollivier 2018, "Can recurrent neural networks warp time?").
        """
        spec = replace(settings.spec, dtype="float64")  # the same numbers for every dtype
        limit = 1.0 / np.sqrt(settings.units)
        lstm = LSTMWeights.random(spec, seed=int(rng.integers(2**32)))
        if settings.memory:
            for cell in (cell for layer in lstm.layers for cell in layer):
                spread = np.log(rng.uniform(1.0, settings.memory, settings.units))
                cell.bias[: settings.units] = -spread
                cell.bias[settings.units : 2 * settings.units] = spread
        return cls(lstm, rng.uniform(-limit, limit, (settings.units, 2)), np.zeros(2))

    def arrays(self) -> list[Float64]:
        """Return the LSTM's arrays, then the kernel and the bias."""
        return [*(np.asarray(a, np.float64) for a in self.lstm.arrays()), self.kernel, self.bias]

    @classmethod
    def from_arrays(cls, spec: LSTMSpec, arrays: list[Float64]) -> Parameters:
        """Restore what ``arrays`` returned."""
        *lstm, kernel, bias = arrays
        return cls(LSTMWeights.from_arrays(spec, lstm), kernel, bias)


@dataclass(frozen=True)
class HeadResult:
    """What ``softmax_loss`` returns.

    loss is in nats; dy, dkernel and dbias are its gradients; ones ``[T, B]`` is P(bit = 1);
    accuracy is the share of targets that were the likelier bit.
    """

    loss: float
    accuracy: float
    dy: Float64
    dkernel: Float64
    dbias: Float64
    ones: Float64


def softmax_loss(y: Float64, targets: Bits, kernel: Float64, bias: Float64) -> HeadResult:
    """Apply the softmax layer to LSTM outputs ``y [T, B, H]`` and differentiate the loss.

    The loss is the mean cross-entropy of ``targets [T, B]``, in nats.
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

    The sum includes the current squared gradient, and there is no epsilon since no sum is ever
    zero (Duchi, Hazan & Singer 2011; ``ResourceApplyAdagrad``).
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
    """Return parameters and moments after step number ``step``, from 1, of Adam.

    ``moments`` are the running means of the gradients, then those of their squares; epsilon is
    1e-8 as in algorithm 1 of Kingma & Ba (2015).
    """
    count, corrections = len(parameters), adam_corrections(step)
    updates = [
        adam_update(g, m, v, corrections, learning_rate=learning_rate, epsilon=1e-8)
        for g, m, v in zip(gradients, moments[:count], moments[count:], strict=True)
    ]
    changes, first, second = zip(*updates, strict=True)
    return [p + change for p, change in zip(parameters, changes, strict=True)], [*first, *second]
