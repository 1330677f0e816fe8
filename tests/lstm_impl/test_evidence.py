"""Test evidence as a mapping, and times of a profile."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from lstm_impl.evidence import Event, Evidence, covered, own_seconds


def test_evidence_has_only_what_was_recorded() -> None:
    found = Evidence("a profiler", Counter(dot=2, add=5), details={"device": "cpu"})
    recorded: dict[str, object] = {"source": "a profiler", "device": "cpu"}
    recorded |= {"ops": {"add": 5, "dot": 2}, "ops_total": 7}
    assert dict(found) == recorded
    assert found["ops_total"] == 7
    assert found.get("kernels") is None
    with pytest.raises(KeyError):
        found["kernels"]
    found = replace(found, launches=7, launched_by="xla", operations=12.0)
    assert dict(found) == recorded | {"launches": 7, "launched_by": "xla", "operations": 12.0}


LOOP = Event("loop", 0.0, 10.0, "a")
INNER = [Event("product", 1.0, 3.0, "a"), Event("product", 5.0, 4.0, "a")]
DEEP = Event("pack", 5.5, 1.0, "a")


def test_by_name_excludes_the_time_of_nested_operators() -> None:
    own = {(event.name, event.start): seconds for event, seconds in own_seconds([*INNER, LOOP])}
    assert own == {("loop", 0.0): 3.0, ("product", 1.0): 3.0, ("product", 5.0): 4.0}
    own = {(event.name, event.start): s for event, s in own_seconds([LOOP, DEEP, *INNER])}
    assert own["product", 5.0] == 3.0
    assert own["loop", 0.0] == 3.0


def test_covered_counts_overlapping_time_once() -> None:
    events = [Event("x", 0.0, 2.0, "a"), Event("y", 1.0, 2.0, "b"), Event("z", 5.0, 1.0, "a")]
    assert covered(events) == 4.0
    assert covered([LOOP, *INNER]) == 10.0
    assert covered([]) == 0.0
