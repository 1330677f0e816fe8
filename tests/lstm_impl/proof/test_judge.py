"""The judge: the float64 reference, its products on few threads where they are small."""

from __future__ import annotations

from typing import Any

import pytest
import threadpoolctl

from lstm_impl import LSTMSpec, LSTMWeights, Workload, reference
from lstm_impl.proof import numpy_judge
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
