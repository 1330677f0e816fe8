"""A profile as the trace events that Perfetto and Chrome open."""

from __future__ import annotations

import json

from bench.studies.profiling import trace
from lstm_impl import Event, Profile

EVENTS = (
    Event("MatMul", 100.5, 0.25, "thread 7", "while/body/MatMul:MatMul"),
    Event("While", 100.0, 1.0, "thread 7"),
    Event("</script>", 100.25, 0.5, "stream 1"),
)


def test_each_operator_is_a_complete_event_on_its_track() -> None:
    data = json.loads(trace(Profile("a profiler", EVENTS), {"case": "x"}, str.lower))
    names = {e["tid"]: e["args"]["name"] for e in data["traceEvents"] if e["name"] == "thread_name"}
    events = [e for e in data["traceEvents"] if e["ph"] == "X"]
    assert [(e["name"], e["ts"], e["dur"], names[e["tid"]]) for e in events] == [
        ("While", 0.0, 1e6, "thread 7"),
        ("</script>", 250000.0, 500000.0, "stream 1"),
        ("MatMul", 500000.0, 250000.0, "thread 7"),
    ]
    assert events[2]["args"]["detail"] == "while/body/MatMul:MatMul"
    assert events[2]["cat"] == "matmul"
    assert data["otherData"] == {"case": "x"}


def test_a_profile_of_nothing_is_a_file_without_events() -> None:
    data = json.loads(trace(Profile("a profiler", ()), {}, str))
    assert [e["ph"] for e in data["traceEvents"]] == ["M"]
