"""The parameters of a network that learns, its head and loss, and how they are updated."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bench.echo.settings import EchoSettings
from bench.echo.task import Bits, Float64
from lstm_impl import LSTMSpec, LSTMWeights
from lstm_impl.optimizer import adam as update
from lstm_impl.optimizer import adam_corrections

INITIAL_ACCUMULATOR = 0.1
"""TensorFlow's ``AdagradOptimizer`` starts its sums of squared gradients here, not at zero."""


@dataclass(frozen=True)
class Parameters:
    """What is learned: the LSTM's weights, and the head's kernel ``[H, C]`` and bias ``[C]``.

    C is the number of classes: 2 for the echo.

    Kept in float64 whatever the LSTM computes in; the model rounds its own copy.
    """

    lstm: LSTMWeights
    kernel: Float64
    bias: Float64

    @classmethod
    def initial(cls, settings: EchoSettings, rng: np.random.Generator) -> Parameters:
        """``LSTMWeights.random`` and a head drawn within ``1/sqrt(H)`` as they are, bias zero.

        With ``settings.memory`` the biases of forget and input gates are those of Tallec & Ollivier
        (2018), "Can recurrent neural networks warp time?": ln u and -ln u, u uniform between 1 and
        ``memory``, for each unit. A unit then begins as one that forgets in about u steps.

        The same numbers for every dtype, before rounding.
        """
        spec = replace(settings.spec, dtype="float64")
        limit = 1.0 / np.sqrt(settings.units)
        lstm = LSTMWeights.random(spec, seed=int(rng.integers(2**32)))
        if settings.memory:
            for cell in (cell for layer in lstm.layers for cell in layer):
                spread = np.log(rng.uniform(1.0, settings.memory, settings.units))
                cell.bias[: settings.units] = -spread
                cell.bias[settings.units : 2 * settings.units] = spread
        return cls(
            lstm,
            rng.uniform(-limit, limit, (settings.units, settings.classes)),
            np.zeros(settings.classes),
        )

    def arrays(self) -> list[Float64]:
        """The LSTM's arrays, then the head's kernel and bias."""
        return [*(np.asarray(a, np.float64) for a in self.lstm.arrays()), self.kernel, self.bias]

    @classmethod
    def from_arrays(cls, spec: LSTMSpec, arrays: list[Float64], classes: int = 2) -> Parameters:
        """What ``arrays()`` came from. Raises ValueError where a shape is wrong."""
        *lstm, kernel, bias = arrays
        if kernel.shape != (spec.output_size, classes) or bias.shape != (classes,):
            raise ValueError(
                f"the head has shapes {kernel.shape} and {bias.shape}; "
                f"expected {(spec.output_size, classes)} and ({classes},)"
            )
        return cls(LSTMWeights.from_arrays(spec, lstm), kernel, bias)


def softmax_loss(
    y: Float64, targets: Bits, kernel: Float64, bias: Float64, first: int = 0
) -> HeadResult:
    """The softmax head on LSTM outputs ``y [T, B, H]``: loss, its gradients, the predictions.

    The loss is the mean cross-entropy of ``targets [T, B]``, numbers of classes from ``first`` on,
    in nats. Where a target is below ``first`` nothing is asked, and that costs nothing.
    """
    logits = y @ kernel + bias
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_sum = np.log(np.exp(logits).sum(axis=-1))
    right = targets[..., None] == np.arange(len(bias)) + first
    asked = targets >= first
    log_right = np.where(right, logits - log_sum[..., None], 0.0).sum(axis=-1)
    probabilities = np.exp(logits - log_sum[..., None])
    dlogits = (probabilities - right) * asked[..., None]
    dlogits /= targets.size
    flat = dlogits.reshape(-1, len(bias))
    return HeadResult(
        loss=float(-log_right.mean()),
        dy=dlogits @ kernel.T,
        dkernel=y.reshape(len(flat), -1).T @ flat,
        dbias=flat.sum(axis=0),
        ones=probabilities[..., 1],
        # Of equally likely classes the first.
        accuracy=float(np.mean((probabilities.argmax(axis=-1) + first == targets) | ~asked)),
    )


@dataclass(frozen=True)
class HeadResult:
    """What ``softmax_loss`` returns: gradients as their arrays; ones ``[T, B]``, P(bit = 1).

    accuracy: share of the targets that were thought the likeliest, or not asked for.
    """

    loss: float
    accuracy: float
    dy: Float64
    dkernel: Float64
    dbias: Float64
    ones: Float64


def adagrad(
    parameters: list[Float64],
    accumulators: list[Float64],
    gradients: list[Float64],
    learning_rate: float,
) -> tuple[list[Float64], list[Float64]]:
    """New parameters and accumulators after one step of Adagrad as TensorFlow has it.

    The accumulator takes the squared gradient first; no epsilon is added, since it never is zero
    (Duchi, Hazan & Singer 2011; ``ResourceApplyAdagrad``).
    """
    sums = [a + g * g for a, g in zip(accumulators, gradients, strict=True)]
    moved = [
        p - learning_rate * g / np.sqrt(a)
        for p, g, a in zip(parameters, gradients, sums, strict=True)
    ]
    return moved, sums


def adam(
    parameters: list[Float64],
    moments: list[Float64],
    gradients: list[Float64],
    learning_rate: float,
    step: int,
) -> tuple[list[Float64], list[Float64]]:
    """New parameters and moments after step number ``step``, from 1, of Adam (Kingma & Ba 2015).

    moments: the running means of the gradients, then those of their squares. The epsilon is 1e-8,
    as in the paper's algorithm 1.
    """
    count = len(parameters)
    by = adam_corrections(step)
    updates = [
        update(g, m, v, by, learning_rate=learning_rate, epsilon=1e-8)
        for g, m, v in zip(gradients, moments[:count], moments[count:], strict=True)
    ]
    changes, first, second = zip(*updates, strict=True)
    moved = [p + change for p, change in zip(parameters, changes, strict=True)]
    return moved, [*first, *second]
