"""Judges, whose results count as right: the float64 reference, or what is proven against it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass

import threadpoolctl

import lstm_impl.reference as reference
from lstm_impl.proof.comparison import results_by_name
from lstm_impl.spec import FloatArray, LSTMSpec
from lstm_impl.weights import LSTMState, LSTMWeights
from lstm_impl.workload import Inputs

SHARED_PRODUCT = 1e8
"""Operations of a timestep's products, about 5 ms on one core, from which several threads pay.
OpenBLAS uses them for smaller ones too, and its threads wait in a busy loop: next to another thread
pool 960 timesteps of 2e6 operations took 13 s with two threads and 0.5 s with one."""


@dataclass(frozen=True)
class Judge:
    """What computes the results that count as right.

    name: for the record. run: takes weights, inputs and the gradient of the final state (None for
        no gradients), and returns arrays as ``results_by_name`` does.
    """

    name: str
    run: Callable[[LSTMWeights, Inputs, LSTMState | None], dict[str, FloatArray]]


def few_threads(spec: LSTMSpec, batch: int) -> contextlib.AbstractContextManager[object]:
    """Let NumPy's products use one thread if those of a timestep are small."""
    rows = max(spec.input_size, spec.output_size) + spec.hidden_size
    if 2.0 * batch * rows * spec.gate_columns >= SHARED_PRODUCT:
        return contextlib.nullcontext()
    return _pools().limit(limits=1, user_api="blas")  # type: ignore[no-any-return]


@functools.cache
def _pools() -> threadpoolctl.ThreadpoolController:
    """Find NumPy's thread pools, once: with a framework loaded that takes milliseconds."""
    return threadpoolctl.ThreadpoolController()


def numpy_judge(spec: LSTMSpec) -> Judge:
    """Return the float64 NumPy reference as a judge."""

    def run(
        weights: LSTMWeights, inputs: Inputs, dstate: LSTMState | None
    ) -> dict[str, FloatArray]:
        x, dy, state = inputs.x, inputs.dy, inputs.state
        rest = (inputs.lengths, inputs.masks)
        with few_threads(spec, x.shape[1]):
            if dstate is None:
                return results_by_name(*reference.forward(spec, weights, x, state, *rest), None)
            return results_by_name(
                *reference.forward_and_gradients(spec, weights, x, dy, state, dstate, *rest)
            )

    return Judge("float64 NumPy reference", run)
