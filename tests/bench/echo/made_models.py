"""Models for the tests of trainings: one that records its calls, a wrong one, a failing one."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm_impl
from lstm_impl import LSTMGradients, LSTMSpec, LSTMState, LSTMWeights, get_backend


class Spy:
    """A model that records the states, gradients and masks of each window."""

    def __init__(self, model: lstm_impl.Model) -> None:
        self.model, self.spec = model, model.spec
        self.given: list[LSTMState] = []
        self.upstream: list[tuple[npt.NDArray[np.floating], LSTMState]] = []
        self.returned: list[LSTMState] = []
        self.masks: list[npt.NDArray[np.floating] | None] = []

    def set_weights(self, weights: LSTMWeights) -> None:
        self.model.set_weights(weights)

    def forward(
        self, x: Any, state: LSTMState | None = None, *, masks: Any = None
    ) -> tuple[npt.NDArray[np.floating], LSTMState]:
        y, following = self.model.forward(x, state, masks=masks)
        assert state is not None
        self.given.append(state)
        self.returned.append(following)
        self.masks.append(masks)
        return y, following

    def gradients(
        self, x: Any, dy: Any, state: LSTMState | None = None, *, masks: Any = None
    ) -> LSTMGradients:
        assert state is not None
        self.upstream.append((dy, state))
        return self.model.gradients(x, dy, state, masks=masks)


class Failing:
    """A model whose outputs are NaN after some windows."""

    def __init__(self, spec: LSTMSpec, good: int) -> None:
        self.spec = spec
        self._model = get_backend("numpy").build(spec, LSTMWeights.random(spec))
        self._good = good

    def set_weights(self, weights: LSTMWeights) -> None:
        self._model.set_weights(weights)

    def forward(self, x: Any, state: Any = None, *, masks: Any = None) -> tuple[Any, LSTMState]:
        y, following = self._model.forward(x, state, masks=masks)
        self._good -= 1
        return (y if self._good >= 0 else y * np.nan), following

    def gradients(self, x: Any, dy: Any, state: Any = None, *, masks: Any = None) -> LSTMGradients:
        return self._model.gradients(x, dy, state, masks=masks)


class Wrong(Spy):
    """A model with one mistake."""

    def __init__(self, model: lstm_impl.Model, mistake: str) -> None:
        super().__init__(model)
        self.mistake = mistake

    def set_weights(self, weights: LSTMWeights) -> None:
        if self.mistake == "forget bias dropped":
            weights = weights.map(lambda a: np.where(a > 1.2, 0.0, a) if a.ndim == 1 else a)
        self.model.set_weights(weights)

    def forward(
        self, x: Any, state: LSTMState | None = None, *, masks: Any = None
    ) -> tuple[npt.NDArray[np.floating], LSTMState]:
        y, following = super().forward(x, state, masks=masks)
        if self.mistake == "h not carried":
            following = LSTMState(h=np.zeros_like(following.h), c=following.c)
        return y, following

    def gradients(
        self, x: Any, dy: Any, state: LSTMState | None = None, *, masks: Any = None
    ) -> LSTMGradients:
        found = super().gradients(x, dy, state, masks=masks)
        if self.mistake == "one gradient a little too large":
            found = replace(found, weights=found.weights.map(lambda a: a * 1.0001))
        return found
