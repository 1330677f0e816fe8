"""Define a made-up cell of two gates and one state, which no framework has.

It shows that a cell is described once: everything that is tested with it needs no other code. Its
candidate multiplies the recurrence's sum by the update gate, so that the sums of the input and of
the recurrence have different gradients, as in a GRU.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_impl.cell import (
    Cell,
    Float64,
    Operations,
    Recurrence,
    States,
    StepGradients,
    StepWeights,
    sigmoid,
)


@dataclass(frozen=True)
class Leaky(Cell):
    """Define a leaky cell.

    ::

        u = sigmoid(x W_u + b_u + h R_u)
        n = tanh(x W_n + b_n + u (h R_n))
        h' = u h + (1 - u) n
    """

    gates = ("u", "n")

    @property
    def name(self) -> str:
        """Return the name of the cell."""
        return "leaky"

    def equations(
        self, ops: Operations, projected: Any, recurrence: Recurrence, states: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """Compute one timestep in a framework's operators."""
        (h,) = states
        u_input, n_input = ops.split(projected, 2)
        u_state, n_state = ops.split(recurrence(h), 2)
        u = ops.sigmoid(u_input + u_state)
        return (u * h + (1 - u) * ops.tanh(n_input + u * n_state),)

    def step(self, weights: StepWeights, x: Float64, states: States) -> tuple[States, Float64]:
        """Compute one timestep; keep both gates and the recurrence's part of the candidate."""
        (h,) = states
        of_input, of_state = x @ weights.kernel + weights.bias, h @ weights.recurrent_kernel
        u_input, n_input = np.split(of_input, 2, axis=-1)
        u_state, n_state = np.split(of_state, 2, axis=-1)
        u = sigmoid(u_input + u_state)
        n = np.tanh(n_input + u * n_state)
        return (u * h + (1.0 - u) * n,), np.concatenate([u, n, n_state], axis=-1)

    def step_gradients(
        self,
        weights: StepWeights,
        kept: Float64,
        before: States,
        after: States,
        gradients: States,
    ) -> StepGradients:
        """Compute the gradients of one timestep."""
        (h,), (dh,) = before, gradients
        u, n, n_state = np.split(kept, 3, axis=-1)
        d_candidate = dh * (1.0 - u) * (1.0 - n**2)
        d_update = (dh * (h - n) + d_candidate * n_state) * u * (1.0 - u)
        sums = np.concatenate([d_update, d_candidate], axis=-1)
        recurrent_sums = np.concatenate([d_update, d_candidate * u], axis=-1)
        states = (dh * u + recurrent_sums @ weights.recurrent_kernel.T,)
        return StepGradients(states, sums, recurrent_sums)


LEAKY = Leaky()
