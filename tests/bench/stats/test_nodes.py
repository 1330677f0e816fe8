"""Machines of one kind that measured one suite are nodes of one section."""

from dataclasses import replace

import pytest

from bench.records.schema import Measurement
from bench.stats import nodes
from bench.stats.nodes import SectionItems, places
from bench.stats.rows import build
from tests.bench.made_nodes import a_case, fleet, on, results
from tests.bench.made_results import measured

KERAS = a_case("keras")


def one(host: str, number: int = 0, **facts: object) -> Measurement:
    return measured(KERAS, 1.0, on(host, number, **facts))  # type: ignore[arg-type]


def grouped_runs(found: list[SectionItems]) -> list[tuple[list[str], list[str]]]:
    return [([i.run.id for i in place.items], [*place.nodes.values()]) for place in found]


def test_sections_of_two_kinds_of_machine_are_two() -> None:
    hosts = {"a": "X", "b": "Y", "c": "X", "d": "Y"}
    found = places([one(host, cpu=cpu) for host, cpu in hosts.items()])
    assert [each[1] for each in grouped_runs(found)] == [["a", "c"], ["b", "d"]]


def test_machine_without_a_name_is_separate() -> None:
    assert [each[1] for each in grouped_runs(places([one("a", cpu=""), one("b", cpu="")]))] == [
        [],
        [],
    ]


def test_sessions_of_one_kind_of_machine_are_one_section() -> None:
    found = places([one("a", session="s1"), one("b", session="s2", hours=5)])
    assert grouped_runs(found) == [(["s1-a-0", "s2-b-0"], ["a", "b"])]


@pytest.mark.parametrize("skew", [0.0, 1000.0, -1000.0])
def test_newest_of_each_machine_are_joined_despite_clocks(skew: float) -> None:
    found = places(
        [
            one("a", session="a1", hours=1),
            one("a", session="a2", hours=2),
            one("b", session="b1", hours=1 + skew),
            one("b", session="b2", hours=2 + skew),
        ]
    )
    assert sorted(each[0] for each in grouped_runs(found)) == [
        ["a1-a-0", "b1-b-0"],
        ["a2-a-0", "b2-b-0"],
    ]


@pytest.mark.parametrize("late", [0.0, 0.5])
def test_nodes_of_a_session_stay_together(late: float) -> None:
    older = [one(host, session="s1", hours=late * (host == "c")) for host in ("a", "b", "c")]
    newer = [one(host, session="s2", hours=1) for host in ("a", "b")]
    assert [each[1] for each in grouped_runs(places([*older, *newer]))] == [
        ["a", "b", "c"],
        ["a", "b"],
    ]


def test_sections_of_other_suites_are_separate() -> None:
    found = places([one("a", session="s1"), one("b", session="s2", suite="other")])
    assert [each[1] for each in grouped_runs(found)] == [[], []]


def test_machines_with_equal_host_names_are_distinguished() -> None:
    other = one("a", 1)
    other = replace(other, run=replace(other.run, machine_id="another"))
    (found,) = places([one("a"), other])
    assert [*found.nodes.values()] == ["a#id of a", "a#another"]


def test_machine_with_several_libraries_is_one_node() -> None:
    """Its processes are of two kinds, and one common kind is enough."""
    item = one("a", 1)
    before = {"cpu": {"name": "Test CPU", "usable": 2}, "libraries": {"keras": "3"}}
    other = replace(item, run=replace(item.run, environment={"before": before}))
    assert [each[1] for each in grouped_runs(places([one("a"), other, one("b")]))] == [["a", "b"]]
    assert [each[1] for each in grouped_runs(places([one("a"), other]))] == [[]]


def booted(item: Measurement, boot: str) -> Measurement:
    before = item.run.environment["before"]
    assert isinstance(before, dict)
    return replace(item, run=replace(item.run, environment={"before": {**before, "boot": boot}}))


def test_host_names_on_one_kernel_are_one_node() -> None:
    """Containers of one machine have names of their own."""
    pods = [booted(one("pod-1"), "x"), booted(one("pod-2", 1), "x")]
    assert grouped_runs(places(pods)) == [(["s-pod-1-0", "s-pod-2-1"], [])]
    other = booted(one("b"), "y")
    assert [each[1] for each in grouped_runs(places([*pods, other]))] == [["pod-1", "b"]]


def test_restarted_machine_is_one_node() -> None:
    items = [
        booted(one("a", 0), "x"),
        booted(one("a", 1), "y"),
        booted(one("pod", 2), "y"),
        booted(one("b", 3), "z"),
        one("c", 4),
    ]
    assert [each[1] for each in grouped_runs(places(items))] == [["a", "b", "c"]]
    found = nodes.machines(item.run for item in items)
    assert found["id of pod"] == found["id of a"] == "id of a"


def test_names_found_equal_late_are_one_machine() -> None:
    runs = [
        booted(one(host, n), boot).run
        for n, (host, boot) in enumerate(
            [("a", "x"), ("b", "y"), ("c", "z"), ("c", "y"), ("b", "x")]
        )
    ]
    assert set(nodes.machines(runs).values()) == {"id of a"}


@pytest.mark.parametrize("boot", [None, "", 3, ["x"], {}])
def test_invalid_boot_id_joins_no_machines(boot: object) -> None:
    items = [booted(one("a"), boot), booted(one("b"), boot)]  # type: ignore[arg-type]
    assert [each[1] for each in grouped_runs(places(items))] == [["a", "b"]]


def test_kind_of_machines_has_the_name_of_its_first() -> None:
    runs = [on("a", 0), on("b", 0, cpu="X"), on("c", 0), on("d", 0, cpu="")]
    assert nodes.in_one_kind(runs) == {
        "id of a": "id of a",
        "id of b": "id of b",
        "id of c": "id of a",
        "id of d": "id of d",
    }


def test_report_of_nodes_has_one_table_with_pooled_times() -> None:
    times = {KERAS: 1.0, a_case("while_loop"): 2.0}
    items = fleet({"a": 0.0, "b": 0.1, "c": -0.1}, times, spread=0.0, own=0.0)
    (section,) = build(results(*items)).sections
    assert list(section.nodes.values()) == ["a", "b", "c"]
    keras, loop = section.rows
    assert keras.interval is not None
    assert keras.interval.nodes == 3
    assert keras.interval.processes == 18
    assert keras.time == pytest.approx(1.0, rel=1e-3)
    assert loop.to_baseline is not None
    assert loop.to_baseline.nodes == 3
    assert loop.to_baseline.ratio.mid == pytest.approx(2.0, rel=1e-3)
