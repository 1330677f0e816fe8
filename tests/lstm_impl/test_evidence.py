"""Evidence reads as the mapping that a result file holds."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from lstm_impl.evidence import MOST, Evidence


def test_it_has_what_was_counted_and_nothing_that_was_not_looked_at() -> None:
    found = Evidence("a profiler", Counter(dot=2, add=5), details={"device": "cpu"})
    assert dict(found) == {
        "source": "a profiler",
        "device": "cpu",
        "ops": {"add": 5, "dot": 2},
        "ops_total": 7,
    }
    assert found["ops_total"] == 7
    assert found.get("kernels") is None
    with pytest.raises(KeyError):
        found["kernels"]


def test_of_many_names_the_most_frequent_are_kept_and_all_are_counted() -> None:
    kernels = Counter({f"kernel {number}": number for number in range(1, 100)})
    found = Evidence("a profiler", kernels=kernels)
    assert len(found["kernels"]) == MOST
    assert "kernel 99" in found["kernels"]
    assert "kernel 1" not in found["kernels"]
    assert found["kernels_total"] == sum(range(1, 100))
    assert json.loads(json.dumps(dict(found))) == found


def test_what_a_step_starts_and_multiplies_is_told_where_it_is_known() -> None:
    found = Evidence("a profiler", launches=7, launched_by="xla", operations=12.0)
    assert dict(found) == {
        "source": "a profiler",
        "launches": 7,
        "launched_by": "xla",
        "operations": 12.0,
    }
