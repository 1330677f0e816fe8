"""Test that the gate stops a backend that lets sequences start over in a wrong way.

Each is the rounded model with one mistake. The same model without it passes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lstm_impl import LSTMSpec, LSTMWeights, Workload
from lstm_impl.call import Call
from lstm_impl.proof import GateResult, gate
from lstm_impl.proof.kinds import KINDS
from lstm_impl.proof.networks import RESET_PATTERNS
from lstm_impl.workload import RESET_TO
from tests.lstm_impl.rounded_model import RoundedModel


class IgnoresResets(RoundedModel):
    def _first_steps(self, call: Call, reverse: bool) -> Any:
        return super()._first_steps(call, reverse) & False


class ResetsOneStepLate(RoundedModel):
    def _first_steps(self, call: Call, reverse: bool) -> Any:
        first = super()._first_steps(call, reverse)
        return np.concatenate([first[:1] & False, first[:-1]])


class ResetsOneStepEarly(RoundedModel):
    def _first_steps(self, call: Call, reverse: bool) -> Any:
        first = super()._first_steps(call, reverse)
        return np.concatenate([first[1:], first[:1] & False])


class IgnoresTheFirstStep(RoundedModel):
    """Reset after a step, so that a reset before the first step is lost."""

    def _first_steps(self, call: Call, reverse: bool) -> Any:
        first = super()._first_steps(call, reverse).copy()
        first[0] = False
        return first


class IgnoresTheLastStep(RoundedModel):
    def _first_steps(self, call: Call, reverse: bool) -> Any:
        first = super()._first_steps(call, reverse).copy()
        first[-1] = False
        return first


class IgnoresTheSecondOfNeighbours(RoundedModel):
    def _first_steps(self, call: Call, reverse: bool) -> Any:
        first = super()._first_steps(call, reverse).copy()
        first[1:] &= ~first[:-1]
        return first


class ResetsAllSequences(RoundedModel):
    def _first_steps(self, call: Call, reverse: bool) -> Any:
        first = super()._first_steps(call, reverse)
        return first | first.any(axis=1, keepdims=True)


class ResetsOnlyTheHiddenState(RoundedModel):
    def _begin(self, first: Any, states: Sequence[Any], fresh: Sequence[Any]) -> Sequence[Any]:
        return [super()._begin(first, states, fresh)[0], states[1]]


class ResetsOnlyTheCellState(RoundedModel):
    def _begin(self, first: Any, states: Sequence[Any], fresh: Sequence[Any]) -> Sequence[Any]:
        return [states[0], super()._begin(first, states, fresh)[1]]


class LeaksAllGradients(RoundedModel):
    def _cut(self, first: Any, flow: Sequence[Any]) -> Sequence[Any]:
        return flow


class LeaksTheGradientOfTheCell(RoundedModel):
    def _cut(self, first: Any, flow: Sequence[Any]) -> Sequence[Any]:
        return [super()._cut(first, flow)[0], flow[1]]


class LeaksTheGradientOfTheHiddenState(RoundedModel):
    def _cut(self, first: Any, flow: Sequence[Any]) -> Sequence[Any]:
        return [flow[0], super()._cut(first, flow)[1]]


class ForgetsTheOtherState(RoundedModel):
    """Take zeros for the initial state, and the initial state for zeros."""

    def _begin(self, first: Any, states: Sequence[Any], fresh: Sequence[Any]) -> Sequence[Any]:
        if not np.any(fresh[0]):
            fresh = [np.ones_like(each) for each in fresh]
        return super()._begin(first, states, [np.zeros_like(each) for each in fresh])


FORWARD = (
    IgnoresResets,
    ResetsOneStepLate,
    ResetsOneStepEarly,
    IgnoresTheFirstStep,
    IgnoresTheLastStep,
    IgnoresTheSecondOfNeighbours,
    ResetsAllSequences,
    ResetsOnlyTheHiddenState,
    ResetsOnlyTheCellState,
)
WRONG = [
    (kind, reset_to)
    for kind in FORWARD
    for reset_to in RESET_TO
    # A call begins from the initial state anyway.
    if (kind, reset_to) != (IgnoresTheFirstStep, "initial_state")
]

GRADIENTS = (LeaksAllGradients, LeaksTheGradientOfTheCell, LeaksTheGradientOfTheHiddenState)

SPEC = LSTMSpec(3, 5, bidirectional=True)
DTYPES = ("float32", "bfloat16")


def judged(
    kind: type[RoundedModel], mode: str, reset_to: str = "zeros", dtype: str = "float32"
) -> GateResult:
    spec = LSTMSpec(3, 5, bidirectional=True, dtype=dtype)
    # One reset in a hundred: the places that the gate adds must show the mistakes.
    workload = Workload(4, 6, mode, reset_rate=0.01, reset_to=reset_to)
    return gate(kind(spec, LSTMWeights.random(spec, 1)), workload)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reset_to", RESET_TO)
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_right_resets_pass(mode: str, reset_to: str, dtype: str) -> None:
    result = judged(RoundedModel, mode, reset_to, dtype)
    assert result.passed, result.describe()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "reset_to"), WRONG)
def test_wrong_reset_is_stopped(kind: type[RoundedModel], reset_to: str, dtype: str) -> None:
    for mode in ("inference", "training"):
        result = judged(kind, mode, reset_to, dtype)
        assert not result.passed
        wrong = {name for name, each in result.errors.items() if not each <= result.bounds[name]}
        assert any(name.startswith("reset ") for name in wrong)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", GRADIENTS, ids=lambda kind: str(kind.__name__))
def test_gradient_that_leaks_past_a_reset_is_stopped(kind: type[RoundedModel], dtype: str) -> None:
    assert judged(kind, "inference", dtype=dtype).passed
    assert "start over" in judged(kind, "training", dtype=dtype).describe()


def test_zeros_in_place_of_the_initial_state_are_stopped() -> None:
    assert not judged(ForgetsTheOtherState, "inference", "initial_state").passed


def test_each_pattern_has_a_kind_of_error() -> None:
    assert {f"reset {name}" for name in RESET_PATTERNS} <= {kind.name for kind in KINDS}


def test_workload_without_resets_has_no_error_of_resets() -> None:
    result = gate(RoundedModel(SPEC, LSTMWeights.random(SPEC)), Workload(4, 6, "training"))
    assert not any(name.startswith("reset ") for name in result.errors)
