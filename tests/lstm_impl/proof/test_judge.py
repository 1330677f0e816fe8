"""The judge: the float64 reference, its products on few threads where they are small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import threadpoolctl

from lstm_impl import LSTMSpec, LSTMState, LSTMWeights, Workload, reference
from lstm_impl.proof import numpy_judge
from lstm_impl.proof.comparison import named
from lstm_impl.proof.judge import _pools


@pytest.mark.parametrize(("batch", "threads"), [(2, {1}), (400, {2})])
def test_small_products_of_the_reference_are_not_shared_between_threads(
    batch: int, threads: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else threads wait for one another in a busy loop; and what was set before is set again."""
    spec, workload = LSTMSpec(128, 128), Workload(batch, 2)
    seen: list[int] = []
    forward = reference.forward

    def watched(*args: Any) -> Any:
        seen.extend(blas_threads())
        return forward(*args)

    monkeypatch.setattr(reference, "forward", watched)
    weights = LSTMWeights.random(spec)
    inputs = workload.inputs(spec, 0)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        judge = numpy_judge(spec)
        judge.run(weights, inputs.window(slice(0, 2)), None)
        assert blas_threads() == before
    assert set(seen) == threads


def blas_threads() -> list[int]:
    return [each["num_threads"] for each in _pools().info() if each["user_api"] == "blas"]


def test_the_judge_computes_what_the_reference_does_with_all_that_it_is_given() -> None:
    spec = LSTMSpec(3, 4, num_layers=2)
    work = Workload(3, 5, "training", min_length=2, dropout=0.5)
    weights, inputs = LSTMWeights.random(spec), work.inputs(spec)
    dstate = LSTMState(inputs.state.c, inputs.state.h)
    given = (inputs.x, inputs.dy, inputs.state, dstate, inputs.lengths, inputs.masks)
    wanted = named(*reference.forward_and_gradients(spec, weights, *given))
    found = numpy_judge(spec).run(weights, inputs, dstate)
    forward = numpy_judge(spec).run(weights, inputs, None)
    assert list(forward) == ["y", "h", "c"]
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(forward.get(name, array), array)
