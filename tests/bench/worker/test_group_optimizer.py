"""Measuring a step that updates its weights: the gate comes after a first call that moved them."""

from __future__ import annotations

import pytest

from bench.case.cases import Case
from bench.worker import group
from bench.worker.outcomes import Measured
from bench.worker.preparing import Bench
from bench.worker.series import Plan
from lstm_impl import LSTMSpec, Model, Step, Workload
from lstm_impl.backends.others.numpy_loop import NumPyModel
from lstm_impl.workload import OPTIMIZERS

SPEC = LSTMSpec(1, 4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_that_updates_its_weights_is_judged_by_those_it_was_given(optimizer: str) -> None:
    """The first call comes before the gate, and has moved them."""
    case = Case("numpy", SPEC, Workload(2, 6, "training", window=2, optimizer=optimizer))
    result = group.measure_group([case], Plan(0.1), bench=Bench(roofs=None))[case.id]
    assert isinstance(result, Measured)
    assert result.gate.passed
    assert result.gate.errors["weights"] == 0.0
    assert result.gate.errors["update"] > 0.0


def test_what_an_optimizer_imports_is_no_part_of_the_first_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[str | None] = []
    prepare = NumPyModel.prepare

    def noted(self: Model, workload: Workload, seed: int = 0) -> Step:
        started.append(workload.optimizer)
        return prepare(self, workload, seed)

    monkeypatch.setattr(NumPyModel, "prepare", noted)
    cases = [
        Case("numpy", SPEC, Workload(2, 2, "training", optimizer=name)) for name in (None, "adam")
    ]
    for case in cases:
        group.measure_group([case], Plan(0.05), bench=Bench(roofs=None))
    assert started == [None, None, "adam", "adam"]  # started, then prepared
