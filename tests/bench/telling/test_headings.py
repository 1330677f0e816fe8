"""What stands above a report's tables: of which session, on which machine, by which method."""

import pytest

from bench.judging.ranking import build
from bench.telling.headings import heading, machine, method, over_bridges, uneven_bridges
from tests.bench.made_bridges import FAR, apart_of, results
from tests.bench.made_reports import a_run, measured, replicated, results_of


@pytest.mark.parametrize("package", ["tensorflow", "tensorflow-cpu", "tf-nightly"])
def test_tensorflow_is_told_whatever_its_package_is_called(package: str) -> None:
    of = a_run(environment={"before": {"libraries": {package: "2.21.0"}}})
    (section,) = build(results_of(measured("keras", 0.01, of))).sections
    assert ("Libraries", f"{package} 2.21.0") in machine(section)


def test_the_machine_and_the_method_are_told() -> None:
    (section,) = build(results_of(measured("keras", 0.01), measured("torch", 0.02))).sections
    assert heading(section) == "quick on host · 2025-01-31 12:01 UTC · 1 process"
    assert machine(section) == [("CPU", "A CPU, 2 cores"), ("Libraries", "keras 3")]
    told = " ".join(method(section))
    assert "vs keras: how many times as fast" in told
    assert "1 process: the interval of a time is of its own samples" in told
    assert "nothing of other processes, whose medians were seen to spread by 3% to 29%" in told
    assert "the intervals of ratios allow for" in told
    few = replicated(3, ("keras", 0.01), ("torch", 0.02))
    told = " ".join(method(build(results_of(*few)).sections[0]))
    assert "3 processes: the interval of a time is a t-interval" in told
    assert "its own samples" not in told
    enough = replicated(6, ("keras", 0.01), ("torch", 0.02))
    told = " ".join(method(build(results_of(*enough)).sections[0]))
    assert "allow for" not in told
    assert "its own samples" not in told


def test_a_line_says_by_how_much_it_differs_and_what_to_do() -> None:
    (section,) = build(results(FAR, 1.1), baseline="b").sections
    (line,) = uneven_bridges(section.rows)
    apart = apart_of(results(FAR, 1.1))
    assert f"took itself {apart.found.ratio.mid:.2f} times as long in the processes of a" in line
    assert "as in those of b (" in line
    assert "over 10 cases)" in line
    assert "1% is allowed for" in line
    assert f"wider by {apart.by} each way" in line
    assert "--processes" in line
    assert "--backends" in line
    assert "\n" not in line


def test_how_even_it_is_is_told_of_an_even_one_too() -> None:
    (section,) = build(results(0.0, 1.1), baseline="b").sections
    (line,) = over_bridges(section.rows)
    assert line.startswith(
        "Over bridge, which is in the processes of both sides: the ratios of a, measured in "
        "processes of another environment than the baseline; bridge itself took "
    )
    assert "times as long in those of a (" in line
    assert line.endswith("over 10 cases) as in the baseline's")
