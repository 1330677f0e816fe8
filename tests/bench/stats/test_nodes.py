"""Test results of several nodes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy.stats import ttest_ind

from bench.records.schema import Measurement
from bench.render.messages import basis_text
from bench.stats import intervals, nodes
from bench.stats.comparison import Comparison, Pairing, Verdict
from bench.stats.nodes import SectionItems, places
from bench.stats.ratios import RunSamples, compare, geometric_mean
from bench.verdicts.case_results import CaseResult
from bench.verdicts.outliers import FEWEST_NODES, outliers, outlying_times, p_outlying
from bench.verdicts.sections import build
from research.nodes import WORLDS, World, report
from tests.bench.made_nodes import a_case, fleet, on, results
from tests.bench.made_results import measured

# Sections


KERAS = a_case("keras")


def one(host: str, number: int = 0, **facts: object) -> Measurement:
    return measured(KERAS, 1.0, on(host, number, **facts))  # type: ignore[arg-type]


def group_runs(found: list[SectionItems]) -> list[tuple[list[str], list[str]]]:
    return [([i.run.id for i in place.items], [*place.nodes.values()]) for place in found]


def test_sections_of_two_kinds_of_machine_are_two() -> None:
    hosts = {"a": "X", "b": "Y", "c": "X", "d": "Y"}
    found = places([one(host, cpu=cpu) for host, cpu in hosts.items()])
    assert [each[1] for each in group_runs(found)] == [["a", "c"], ["b", "d"]]


def test_machine_without_a_name_is_separate() -> None:
    assert [each[1] for each in group_runs(places([one("a", cpu=""), one("b", cpu="")]))] == [
        [],
        [],
    ]


def test_sessions_of_one_kind_of_machine_are_one_section() -> None:
    found = places([one("a", session="s1"), one("b", session="s2", hours=5)])
    assert group_runs(found) == [(["s1-a-0", "s2-b-0"], ["a", "b"])]


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
    assert sorted(each[0] for each in group_runs(found)) == [
        ["a1-a-0", "b1-b-0"],
        ["a2-a-0", "b2-b-0"],
    ]


@pytest.mark.parametrize("late", [0.0, 0.5])
def test_nodes_of_a_session_stay_together(late: float) -> None:
    older = [one(host, session="s1", hours=late * (host == "c")) for host in ("a", "b", "c")]
    newer = [one(host, session="s2", hours=1) for host in ("a", "b")]
    assert [each[1] for each in group_runs(places([*older, *newer]))] == [
        ["a", "b", "c"],
        ["a", "b"],
    ]


def test_sections_of_other_suites_are_separate() -> None:
    found = places([one("a", session="s1"), one("b", session="s2", suite="other")])
    assert [each[1] for each in group_runs(found)] == [[], []]


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
    assert [each[1] for each in group_runs(places([one("a"), other, one("b")]))] == [["a", "b"]]
    assert [each[1] for each in group_runs(places([one("a"), other]))] == [[]]


def start_machine(item: Measurement, boot: str) -> Measurement:
    before = item.run.environment["before"]
    assert isinstance(before, dict)
    return replace(item, run=replace(item.run, environment={"before": {**before, "boot": boot}}))


def test_host_names_on_one_kernel_are_one_node() -> None:
    """Containers of one machine have names of their own."""
    pods = [start_machine(one("pod-1"), "x"), start_machine(one("pod-2", 1), "x")]
    assert group_runs(places(pods)) == [(["s-pod-1-0", "s-pod-2-1"], [])]
    other = start_machine(one("b"), "y")
    assert [each[1] for each in group_runs(places([*pods, other]))] == [["pod-1", "b"]]


def test_restarted_machine_is_one_node() -> None:
    items = [
        start_machine(one("a", 0), "x"),
        start_machine(one("a", 1), "y"),
        start_machine(one("pod", 2), "y"),
        start_machine(one("b", 3), "z"),
        one("c", 4),
    ]
    assert [each[1] for each in group_runs(places(items))] == [["a", "b", "c"]]
    found = nodes.machines(item.run for item in items)
    assert found["id of pod"] == found["id of a"] == "id of a"


def test_names_found_equal_late_are_one_machine() -> None:
    runs = [
        start_machine(one(host, n), boot).run
        for n, (host, boot) in enumerate(
            [("a", "x"), ("b", "y"), ("c", "z"), ("c", "y"), ("b", "x")]
        )
    ]
    assert set(nodes.machines(runs).values()) == {"id of a"}


@pytest.mark.parametrize("boot", [None, "", 3, ["x"], {}])
def test_invalid_boot_id_joins_no_machines(boot: object) -> None:
    items = [start_machine(one("a"), boot), start_machine(one("b"), boot)]  # type: ignore[arg-type]
    assert [each[1] for each in group_runs(places(items))] == [["a", "b"]]


def test_kind_of_machines_has_the_name_of_its_first() -> None:
    runs = [on("a", 0), on("b", 0, cpu="X"), on("c", 0), on("d", 0, cpu="")]
    assert nodes.map_to_first_of_kind(runs) == {
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
    assert keras.result.interval is not None
    assert keras.result.interval.nodes == 3
    assert keras.result.interval.processes == 18
    assert keras.result.time == pytest.approx(1.0, rel=1e-3)
    assert loop.to_baseline is not None
    assert loop.to_baseline.nodes == 3
    assert loop.to_baseline.ratio.mid == pytest.approx(2.0, rel=1e-3)


# Intervals over nodes


logs = st.floats(min_value=-3, max_value=3)


def runs(nodes: dict[str, list[float]]) -> list[tuple[str, list[float]]]:
    return [(node, [math.exp(log)]) for node, all_logs in nodes.items() for log in all_logs]


def test_interval_of_one_node_is_not_over_nodes() -> None:
    (found,) = intervals.case_intervals([runs({"a": [0.0, 0.1, 0.2]})])
    plain = intervals.case_interval([[math.exp(each)] for each in (0.0, 0.1, 0.2)])
    assert (found.low, found.mid, found.high) == (plain.low, plain.mid, plain.high)
    assert (found.nodes, found.between) == (1, None)
    assert "how nodes differ is not included" in basis_text(found.basis)


def test_node_counts_once_for_any_number_of_processes() -> None:
    (few,) = intervals.case_intervals([runs({"a": [0.0], "b": [0.1], "c": [0.2]})])
    (many,) = intervals.case_intervals([runs({"a": [0.0] * 50, "b": [0.1], "c": [0.2]})])
    assert few.mid == many.mid == pytest.approx(math.exp(0.1))
    assert few.nodes == many.nodes == 3
    assert (few.processes, many.processes) == (3, 52)


@given(st.lists(st.lists(logs, min_size=1, max_size=4), min_size=2, max_size=8), logs)
def test_interval_over_nodes_has_its_middle_in_any_unit(
    nodes: list[list[float]], unit: float
) -> None:
    named = {str(place): each for place, each in enumerate(nodes)}
    (found,) = intervals.case_intervals([runs(named)])
    assert found.low <= found.mid * (1 + 1e-12)
    assert found.mid <= found.high * (1 + 1e-12)
    (scaled,) = intervals.case_intervals(
        [runs({node: [log + unit for log in all_] for node, all_ in named.items()})]
    )
    assert scaled.mid == pytest.approx(found.mid * math.exp(unit), rel=1e-9)
    assert scaled.half_width == pytest.approx(found.half_width, rel=1e-6, abs=1e-9)


def test_variance_between_nodes_is_separated_from_processes() -> None:
    rng = np.random.default_rng(3)
    nodes = {
        str(place): list(effect + 0.05 * rng.standard_normal(20))
        for place, effect in enumerate(0.20 * rng.standard_normal(40))
    }
    (found,) = intervals.case_intervals([runs(nodes)])
    assert found.within == pytest.approx(0.05, rel=0.1)
    assert found.between == pytest.approx(0.20, rel=0.25)
    alike = {node: list(0.05 * rng.standard_normal(20)) for node in nodes}
    (found,) = intervals.case_intervals([runs(alike)])
    assert found.between is not None
    assert found.between < 0.01


def test_variance_between_nodes_of_one_process_is_unknown() -> None:
    (found,) = intervals.case_intervals([runs({"a": [0.0], "b": [0.3]})])
    assert (found.between, found.within) == (None, None)
    assert intervals.spread_between(np.array([0.0, 0.3]), None) is None
    assert intervals.pooled_spread([None, None], [1, 1]) is None
    assert intervals.pooled_spread([None, 0.1], [1, 4]) == pytest.approx(0.1)


def test_interval_of_two_differing_nodes_is_bounded() -> None:
    (found,) = intervals.case_intervals([runs({"a": [0.0], "b": [0.28]})])
    # The spread of single processes is taken to be the largest that was seen.
    most = math.hypot(intervals.TIME_ALLOWANCE, intervals.MOST_SPREAD)
    half = special.ndtri(0.995) * most / math.sqrt(2)
    assert math.log(found.high) == pytest.approx(0.14 + half)
    assert math.log(found.low) == pytest.approx(0.14 - half)
    (near,) = intervals.case_intervals([runs({"a": [0.0], "b": [0.01]})])
    assert math.log(near.high) == pytest.approx(
        0.005 + special.stdtrit(1, 0.975) * intervals.LEAST_SPREAD / math.sqrt(2)
    )


# Means over nodes


def means(middles: list[float], error: float = 0.01) -> tuple[float, float, float]:
    each = np.array([middles])
    of_nodes = intervals.Estimates(each, np.full_like(each, error), np.full_like(each, 5.0))
    found = intervals.means_over_nodes(of_nodes, intervals.RATIO_ALLOWANCE)
    low, high = found.bounds()
    return float(found.middles[0]), float(low[0]), float(high[0])


@given(st.lists(logs, min_size=2, max_size=10), st.randoms())
def test_interval_uses_each_node_in_any_order(middles: list[float], shuffle: object) -> None:
    middle, low, high = means(middles)
    assert middle == pytest.approx(np.mean(middles), abs=1e-9)
    assert low <= middle <= high
    shuffle.shuffle(middles)  # type: ignore[attr-defined]
    assert means(middles) == (middle, low, high)


@given(st.lists(logs, min_size=6, max_size=12), st.floats(min_value=0, max_value=0.5))
def test_interval_of_six_nodes_is_at_least_students(middles: list[float], error: float) -> None:
    from scipy import special

    _, low, high = means(middles, error)
    count = len(middles)
    plain = special.stdtrit(count - 1, 0.9975) * np.std(middles, ddof=1) / math.sqrt(count)
    assert high - low >= 2 * plain * (1 - 1e-9)


def side(
    nodes: Mapping[str, Sequence[float]], *, name: str = "", rounds: bool = True
) -> list[RunSamples]:
    """Make a process for each log median; those of one node, number and name are one process."""
    wiggle = 0.01 * np.linspace(-1, 1, 11)
    return [
        RunSamples(
            f"{name}{node}-{number}",
            np.exp(log + wiggle),
            np.arange(11) if rounds else None,
            node=node,
        )
        for node, medians in nodes.items()
        for number, log in enumerate(medians)
    ]


def shifted(
    nodes: Mapping[str, Sequence[float]], by: Mapping[str, float]
) -> dict[str, list[float]]:
    return {node: [log + by[node] for log in medians] for node, medians in nodes.items()}


NOISE = {"a": [0.0, 0.02, -0.01], "b": [0.01, 0.0, -0.02], "c": [0.0, 0.01, 0.02, 0.03]}
RATIOS = {"a": [0.50, 0.52, 0.51], "b": [0.49, 0.51, 0.50], "c": [0.52, 0.50, 0.48, 0.50]}


def compare_nodes(ratios: Mapping[str, Sequence[float]], effect: Mapping[str, float]) -> Comparison:
    base = shifted(NOISE, effect)
    new = {
        node: [log + ratio for log, ratio in zip(base[node], ratios[node], strict=True)]
        for node in base
    }
    return compare(side(new), side(base))


def test_ratio_excludes_what_nodes_do_to_both_sides() -> None:
    quiet = compare_nodes(RATIOS, dict.fromkeys(NOISE, 0.0))
    wild = compare_nodes(RATIOS, {"a": 3.0, "b": -2.0, "c": 0.7})
    assert wild.ratio.low == pytest.approx(quiet.ratio.low)
    assert wild.ratio.high == pytest.approx(quiet.ratio.high)
    assert quiet.verdict is Verdict.SLOWER
    assert (quiet.nodes, quiet.processes, quiet.pairing) == (3, 10, Pairing.ALTERNATING)
    assert quiet.log_ratio == pytest.approx(np.mean([0.51, 0.50, 0.50]), abs=0.004)


def test_ratio_of_disagreeing_nodes_is_unclear() -> None:
    many = {"a": [0.0] * 40, "b": [0.0] * 40}
    differing = {"a": [0.3] * 40, "b": [-0.1] * 40}
    assert compare(side(differing), side(many)).verdict is Verdict.UNCLEAR
    # The verdict is firm if all processes are of one machine.
    plain = [
        [RunSamples(run.run, run.samples, run.rounds) for run in side(each)]
        for each in (differing, many)
    ]
    assert compare(*plain).verdict is Verdict.SLOWER


@given(
    st.lists(st.lists(st.tuples(logs, logs), min_size=1, max_size=3), min_size=1, max_size=7),
    st.booleans(),
)
def test_ratio_over_nodes_inverts_with_its_sides(
    nodes: list[list[tuple[float, float]]], paired: bool
) -> None:
    new = {str(place): [log for log, _ in each] for place, each in enumerate(nodes)}
    base = {str(place): [log for _, log in each] for place, each in enumerate(nodes)}
    sides = side(new, name="" if paired else "new"), side(base)
    one, other = compare(*sides), compare(*sides[::-1]).inverse
    assert one.log_ratio == pytest.approx(other.log_ratio, abs=1e-9)
    assert one.standard_error == pytest.approx(other.standard_error, rel=1e-6, abs=1e-12)
    assert one.verdict == other.verdict
    assert one.by_node.keys() == other.by_node.keys()
    assert one.nodes == len(nodes)


def test_ratio_without_shared_nodes_is_wide() -> None:
    found = compare(side({"a": [0.3] * 20}), side({"b": [0.0] * 20}))
    assert (found.pairing, found.nodes, found.verdict) == (Pairing.UNPAIRED, 1, Verdict.UNCLEAR)
    assert found.log_ratio == pytest.approx(0.3)
    assert "none with both" in basis_text(found.basis)
    assert compare(side({"a": [5.0] * 20}), side({"b": [0.0] * 20})).verdict is Verdict.SLOWER


def test_ratio_uses_nodes_with_both_sides() -> None:
    new, base = RATIOS | {"d": [9.0]}, dict(NOISE) | {"e": [-9.0]}
    found = compare(side(new), side(base))
    assert (found.nodes, set(found.by_node)) == (3, {"a", "b", "c"})


def test_mean_over_cases_is_taken_within_nodes() -> None:
    effect = dict.fromkeys(NOISE, 0.0)
    cases = [
        compare_nodes(RATIOS, effect),
        compare_nodes(shifted(RATIOS, dict.fromkeys(RATIOS, 0.2)), effect),
    ]
    mean = geometric_mean(cases)
    assert mean.nodes == 3
    assert mean.log_ratio == pytest.approx(np.mean([each.log_ratio for each in cases]))
    assert basis_text(mean.basis).startswith("2 cases: 3 nodes, ")
    # The errors of cases of other nodes are taken as dependent.
    other = compare(side({"a": [0.4], "z": [0.5]}), side({"a": [0.0], "z": [0.0]}))
    mixed = geometric_mean([cases[0], other])
    assert mixed.nodes == 2
    assert mixed.standard_error == pytest.approx(
        np.mean([cases[0].standard_error, other.standard_error])
    )
    assert "taken to err together" in basis_text(mixed.basis)


# Outlying nodes


TIMES = {a_case(name, batch): 1.0 for name in ("keras", "loop", "scan") for batch in (1, 2, 4)}
FIVE = {"a": 0.01, "b": -0.02, "c": 0.0, "d": 0.02, "e": -0.01}


def case_results(*items: Measurement) -> list[CaseResult]:
    (section,) = build(results(*items)).sections
    return [row.result for row in section.rows]


def make_fleet(effect: Mapping[str, float], **facts: object) -> list[CaseResult]:
    return case_results(*fleet(effect, TIMES, **facts))  # type: ignore[arg-type]


def test_outlying_node_in_all_cases_is_named_once() -> None:
    (found,) = outliers(make_fleet(FIVE | {"bad": math.log(1.31)}))
    assert (found.node, found.device, found.backend) == ("id of bad", "cpu", "")
    assert found.factor == pytest.approx(1.31, abs=0.03)
    assert (found.others, found.beyond, found.cases) == (5, 9, 9)


def test_outlying_backend_of_a_node_is_named() -> None:
    (found,) = outliers(make_fleet(FIVE, moved={("c", "scan"): math.log(1.4)}))
    assert (found.node, found.backend, found.cases) == ("id of c", "scan", 3)
    assert found.factor == pytest.approx(1.4, abs=0.05)


def test_outlying_of_two_nodes_is_none() -> None:
    assert outliers(make_fleet({"a": 0.0, "b": 2.0})) == []
    assert len(outliers(make_fleet({"a": 0.0, "b": 0.01, "c": 2.0}))) == 1


def test_outlying_small_difference_is_not_named() -> None:
    equal = {str(place): 0.0 for place in range(40)}
    assert outliers(make_fleet(equal | {"bad": 0.04}, spread=0.0005, own=0.0005)) == []


def test_outlying_device_of_a_node_is_named() -> None:
    both = {a_case("keras", batch, device): 1.0 for batch in (1, 2) for device in ("cpu", "gpu:0")}
    items = fleet(FIVE, both)
    slow = fleet({"bad": 0.0}, {case: 1.0 for case in both if case.device == "cpu"}, seed=2)
    slow += fleet({"bad": 0.5}, {case: 1.0 for case in both if case.device == "gpu:0"}, seed=3)
    (found,) = outliers(case_results(*items, *slow))
    assert (found.node, found.device) == ("id of bad", "gpu:0")


def test_outlying_node_of_other_cases_is_not_judged() -> None:
    alone = fleet({"z": 3.0}, {a_case("keras", 64): 1.0})
    found = case_results(*fleet(FIVE, TIMES), *alone)
    assert outliers(found) == []


def test_outlying_node_of_one_process_must_be_far() -> None:
    assert outliers(make_fleet(FIVE | {"bad": 0.3}, processes=1)) == []
    (found,) = outliers(make_fleet(FIVE | {"bad": 1.5}, processes=1))
    assert found.node == "id of bad"


LOGS = st.floats(-1, 1).map(lambda value: round(value, 9))  # of times as they are measured


@given(st.lists(LOGS, min_size=FEWEST_NODES, max_size=12), st.floats(min_value=-5, max_value=5))
def test_p_values_depend_on_differences_only(values: list[float], moved: float) -> None:
    own = np.full(len(values), 0.001)
    p = p_outlying(np.array(values), own)
    assert np.all((p >= 0) & (p <= 1))
    assert p_outlying(np.array(values) + moved, own) == pytest.approx(p, rel=1e-6, abs=1e-12)
    assert p_outlying(-np.array(values), own) == pytest.approx(p, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("nodes", [3, 10])
@pytest.mark.parametrize("world", ["nodes 2%, processes 5%", "nodes 5%, unbalanced"])
def test_false_rate_of_equal_nodes_is_low(world: str, nodes: int) -> None:
    rng = np.random.default_rng(7)
    named = sum(bool(outlying_times(report(WORLDS[world], nodes, rng))) for _ in range(200))
    # At 0.5%, six of 200 happen once in ten thousand.
    assert named <= 5


def test_power_finds_a_slow_node_of_five() -> None:
    rng = np.random.default_rng(8)
    found = [outlying_times(report(World(0.02), 5, rng, moved=0.6)) for _ in range(100)]
    named = [{(each.node, each.backend) for each in outliers} for outliers in found]
    assert sum(("0", "") in each for each in named) >= 90


def test_p_outlying_without_allowance_is_students_t(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.verdicts.outliers.RATIO_ALLOWANCE", 0.0)
    values, nothing = np.random.default_rng(9).normal(0, 0.1, 6), np.zeros(6)
    found = p_outlying(values, nothing)
    for place, value in enumerate(values):
        others = np.delete(values, place)
        assert found[place] == pytest.approx(ttest_ind([value], others).pvalue, rel=1e-9)
