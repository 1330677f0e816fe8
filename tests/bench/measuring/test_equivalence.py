"""Who judges a case that is too large for the reference; what is judged is the library's proof."""

from __future__ import annotations

from typing import Any

import pytest

from bench.measuring import equivalence
from lstm_impl import LSTMSpec, LSTMWeights, Workload, get_backend
from lstm_impl.proof import Judge, numpy_judge


def test_a_large_case_is_judged_by_a_proven_float64_backend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(equivalence, "REFERENCE_OPERATIONS", 1.0)
    monkeypatch.setattr(equivalence, "JUDGES", ("numpy",))
    equivalence.prove.cache_clear()
    model = get_backend("numpy").build(LSTMSpec(3, 4), LSTMWeights.random(LSTMSpec(3, 4)))
    result = equivalence.gate(model, Workload(2, 3, "training"))
    assert result.passed
    assert result.judge == "float64 numpy (itself equal to the NumPy reference)"


def test_a_judge_that_is_wrong_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    equivalence.prove.cache_clear()

    def other(spec: LSTMSpec) -> Judge:
        def run(*args: Any) -> Any:
            found = numpy_judge(spec).run(*args)
            return found | {"y": 2 * found["y"]}

        return Judge("reference of another network", run)

    monkeypatch.setattr(equivalence, "numpy_judge", other)
    with pytest.raises(RuntimeError, match="numpy cannot judge in float64: y differs"):
        equivalence.prove("numpy", LSTMSpec(3, 4, dtype="float64"))
    equivalence.prove.cache_clear()
