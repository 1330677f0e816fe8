"""What stands above a report's tables: of which session, on which machine, by which method."""

import math
from dataclasses import replace

import pytest

from bench.records.schema import Measurement
from bench.render.labels import caption, heading, machine, nodes, title, where
from bench.render.messages import few, method, over_bridges, speed_moved, uneven_bridges
from bench.stats.ranking import build
from tests.bench import made_nodes
from tests.bench.made_bridges import FAR, apart_of, results
from tests.bench.made_reports import (
    SPEC,
    TRAINING,
    a_run,
    measured,
    replicated,
    results_of,
    without_time,
)


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
    assert "vs keras: the speedup over keras" in told
    assert "1 process: the interval of a time covers the samples of this process only" in told
    assert "medians of other processes were seen to differ by 3% to 29% on one machine" in told
    assert "the intervals of ratios assume" in told
    three = replicated(3, ("keras", 0.01), ("torch", 0.02))
    told = " ".join(method(build(results_of(*three)).sections[0]))
    assert "3 processes: the interval of a time is a t-interval" in told
    assert "its own samples" not in told
    enough = replicated(6, ("keras", 0.01), ("torch", 0.02))
    told = " ".join(method(build(results_of(*enough)).sections[0]))
    for word in ("allow for", "its own samples", "t-interval"):
        assert word not in told


def test_a_line_says_by_how_much_it_differs_and_what_to_do() -> None:
    (section,) = build(results(FAR, 1.1), baseline="b").sections
    (line,) = uneven_bridges(section.rows)
    apart = apart_of(results(FAR, 1.1))
    assert f"took itself {apart.found.ratio.mid:.2f} times as long in the processes of a" in line
    assert "as in those of b (" in line
    assert "over 10 cases)" in line
    assert "1% is allowed for" in line
    assert f"wider by {100 * math.expm1(abs(apart.found.log_ratio)):.2g}% each way" in line
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


def test_what_stands_under_a_table_without_a_heading_is_the_session_and_the_machine() -> None:
    (section,) = build(results_of(measured("keras", 0.01))).sections
    assert caption(section) == (
        "quick on host · 2025-01-31 12:01 UTC · 1 process; A CPU, 2 cores; keras 3."
    )
    (unnamed,) = build(results_of(measured("keras", 0.01, a_run(suite="", host="")))).sections
    assert heading(unnamed).startswith("unnamed suite on an unnamed machine · ")


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
    assert told.startswith(
        "3 nodes: the interval of a time is a t-interval over the nodes' medians"
    )
    (section,) = build(made_nodes.results(*items)).sections
    assert few(section.rows) == []
    assert where(section) == "6 nodes (a, b, c, d and 2 more)"
    assert nodes(section).startswith("a (1 process), b (1 process)")


def test_only_what_the_tables_have_is_explained() -> None:
    def explained(*items: Measurement) -> str:
        (section,) = build(results_of(*items)).sections
        return " ".join(method(section))

    plain = explained(measured("keras", 0.01))
    assert plain.startswith("Times are medians of one step with their 95% CI.")
    windows = replace(TRAINING, window=5)
    for told, item in (
        ("vs keras", measured("torch", 0.02)),
        ("Memory is the peak", measured("torch", 0.02, memory={"peak_bytes": 1.0})),
        ("Per timestep: ", measured("keras", 0.02, work=windows)),
    ):
        assert told not in plain
        assert told in explained(measured("keras", 0.01), item)
    (section,) = build(results_of(without_time("keras"))).sections
    assert method(section) == []


def test_how_far_the_machine_s_speed_moved_is_told_of_one_time_and_of_several() -> None:
    assert "the intervals of 1 time reach ±20%. Ratios" in speed_moved([0.2])
    assert "the intervals of 3 times reach ±5% to ±20%. Ratios" in speed_moved([0.2, 0.05, 0.1])


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
