"""What stands above a report's tables: of which session, on which machine, by which method."""

from dataclasses import replace

import pytest

from bench.render.labels import caption, heading, machine, title, where
from bench.render.messages import few
from bench.stats.rows import build
from tests.bench import made_nodes
from tests.bench.made_reports import (
    SPEC,
    TRAINING,
    a_run,
    measured,
    results_of,
)


@pytest.mark.parametrize("package", ["tensorflow", "tensorflow-cpu", "tf-nightly"])
def test_tensorflow_is_told_whatever_its_package_is_called(package: str) -> None:
    of = a_run(environment={"before": {"libraries": {package: "2.21.0"}}})
    (section,) = build(results_of(measured("keras", 0.01, of))).sections
    assert ("Libraries", f"{package} 2.21.0") in machine(section)


def test_what_stands_under_a_table_without_a_heading_is_the_session_and_the_machine() -> None:
    (section,) = build(results_of(measured("keras", 0.01))).sections
    assert caption(section) == (
        "quick on A 3040d4 · 2025-01-31 12:01 UTC · 1 process; A CPU, 2 cores; keras 3."
    )
    (unnamed,) = build(results_of(measured("keras", 0.01, a_run(suite="", host="")))).sections
    assert heading(unnamed).startswith("unnamed suite on A 034903 · ")


def test_a_gpu_and_the_threads_are_told_as_far_as_they_are_known() -> None:
    gpus = [{"name": "A GPU", "driver": "550"}, {"name": 5}, {"driver": "551"}]
    cpu = {"name": "A CPU", "cores": 1, "usable": 4}
    before = {"cpu": cpu, "gpus": gpus, "system": "Linux", "python": "3.11"}
    (section,) = build(
        results_of(measured("a", 0.1, a_run(environment={"before": before})))
    ).sections
    assert machine(section) == [
        ("CPU", "A CPU, 1 core, 4 usable threads"),
        ("GPU 0", "A GPU, driver 550"),
        ("GPU 2", "driver 551"),
        ("System", "Linux"),
        ("Libraries", "3.11"),
    ]
    odd = {"cpu": {"name": "A CPU", "cores": 0, "usable": 10**30}, "gpus": "none"}
    (section,) = build(results_of(measured("a", 0.1, a_run(environment={"before": odd})))).sections
    assert machine(section) == [("CPU", "A CPU")]


def test_of_few_nodes_the_intervals_are_over_nodes_and_not_over_processes() -> None:
    case = made_nodes.a_case()
    luck = {name: 0.01 * place for place, name in enumerate("abcdef")}
    items = made_nodes.fleet(luck, {case: 1.0}, processes=1)
    (section,) = build(made_nodes.results(*items[:3])).sections
    (told,) = few(section.rows)
    assert told.startswith("3 nodes: the interval of a time is a t-interval over their medians")
    (section,) = build(made_nodes.results(*items)).sections
    assert few(section.rows) == []
    assert where(section) == "6 nodes (a, b, c, d and 2 more)"
    assert dict(machine(section))["Nodes"].startswith("a (1 process), b (1 process)")


def test_a_table_is_called_by_device_mode_and_what_is_not_usual() -> None:
    half = replace(SPEC, dtype="float16")
    items = [
        measured("keras", 0.01),
        measured("keras", 0.01, work=TRAINING, spec=half),
        measured("keras", 0.01, work=TRAINING),
        measured("keras", 0.01, work=replace(TRAINING, window=5), device="gpu:0"),
    ]
    (section,) = build(results_of(*items)).sections
    assert [title(table) for table in section.tables] == [
        "cpu, inference",
        "cpu, training, float16 and float32",
        "gpu:0, training in windows (batch 2 × 10 steps, 3 in, 4 hidden, gradients of weights, "
        "input, state)",
    ]
