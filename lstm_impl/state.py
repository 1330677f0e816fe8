"""What flows through an LSTM besides its input: the state, and the gradients that come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_impl.spec import FloatArray, LSTMSpec

if TYPE_CHECKING:
    from lstm_impl.weights import LSTMWeights


@dataclass(frozen=True)
class LSTMState:
    """Hidden and cell state, each ``[num_layers * num_directions, batch, hidden_size]``.

    It is what ``forward`` returns and what it takes to go on, so that a caller can carry it from
    one window of a long stream to the next.
    """

    h: FloatArray
    c: FloatArray

    @classmethod
    def zeros(cls, spec: LSTMSpec, batch: int) -> LSTMState:
        """The state of a network that has seen nothing."""
        shape = (spec.state_layers, batch, spec.hidden_size)
        return cls(
            h=np.zeros(shape, spec.precision.storage), c=np.zeros(shape, spec.precision.storage)
        )


@dataclass(frozen=True)
class LSTMGradients:
    """Gradients of ``sum(y * dy) + sum(h_T * dstate.h) + sum(c_T * dstate.c)``.

    x: as the input, ``[time, batch, input_size]``; None where it was not asked for.
    weights: arrays shaped as the weights they belong to.
    state: with respect to the initial state; None where it was not asked for.
    """

    # None, too, which only who did not ask for it meets: as ``re.Match.group`` is typed.
    x: FloatArray | Any
    weights: LSTMWeights
    state: LSTMState | Any
