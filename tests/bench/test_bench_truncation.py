"""Streams cut into windows as items of pytest."""

from __future__ import annotations

from tests.bench.measured_project import IDS, Project


def test_named_by_itself_it_measures_the_windows_of_a_suite(project: Project) -> None:
    done = project.run("bench/bench_truncation.py", *project.into)
    assert done.code == 0, done.out
    assert [each["fullname"] for each in done.data["benchmarks"]] == [
        f"bench/bench_truncation.py::test_truncation[{case}]" for case in IDS[1:]
    ]
    assert {each.case.workload.window for each in done.file.measurements} == {2}
