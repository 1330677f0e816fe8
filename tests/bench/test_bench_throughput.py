"""Whole sequences as items of pytest."""

from __future__ import annotations

from tests.bench.measured_project import IDS, Project


def test_named_by_itself_it_measures_the_whole_sequences_of_a_suite(project: Project) -> None:
    done = project.run("bench/bench_throughput.py", *project.into)
    assert done.code == 0, done.out
    assert [each.case.id for each in done.file.measurements] == [IDS[0]]
    (entry,) = done.data["benchmarks"]
    assert entry["fullname"] == f"bench/bench_throughput.py::test_throughput[{IDS[0]}]"
