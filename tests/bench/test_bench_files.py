"""The benchmarks of each kind as items of pytest."""

from __future__ import annotations

from tests.bench.measured_project import Project

STREAM = """
[[groups]]
modes = ["streaming"]
shapes = [{ batch = 1, input_size = 1, hidden_size = 2 }]
"""


def test_named_by_itself_it_measures_the_streams_of_a_suite_with_every_call(
    project: Project,
) -> None:
    project.suite.write_text(project.suite.read_text() + STREAM)
    paced = ("--lstm-period=back-to-back,1ms", "--lstm-deadline=1us", "--lstm-budget=0.1")
    done = project.run("bench/bench_streaming.py", *project.into, *paced)
    assert done.code == 0, done.out
    case = "numpy/b1-t1-i1-h2{}/float32/streaming/cpu"
    assert [each["fullname"] for each in done.data["benchmarks"]] == [
        f"bench/bench_streaming.py::test_streaming[{case.format(period)}]"
        for period in ("", "-p1ms")
    ]
    for each in done.file.measurements:
        assert each.streaming is not None
        assert each.streaming.calls == each.calls * len(each.samples)
        # No call of NumPy's loop is done in a microsecond.
        assert each.streaming.missed == each.streaming.calls
