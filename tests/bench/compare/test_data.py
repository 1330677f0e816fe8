"""A comparison as data for other programs: CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import pytest

from bench.cli.fail_on import parse_rule
from bench.render.compare import CSV_COLUMNS, as_json
from bench.render.compare import as_csv as comma_separated
from bench.stats.pairs import Report, compare_backends, compare_devices, compare_runs, judge
from tests.bench import made_bridges
from tests.bench.made_grids import STEPS, Times, grid
from tests.bench.made_nodes import WILD, a_case, fleet, results
from tests.bench.made_results import BUSY, gather, measured, replicates, run, unmeasured


def rows_of(report: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(comma_separated(report)))))


def test_csv_has_a_row_for_every_case_compared_or_not() -> None:
    times = {a_case("keras"): 1.0, a_case("scan"): 1.0, a_case("gone"): 1.0}
    crash = unmeasured(a_case("gone"), run("n0"), "crashed", "out of memory", "use less")
    items = replicates("n", {a_case("keras"): 2.0, a_case("scan"): 1.0}).measurements
    rows = rows_of(compare_runs(replicates("b", times), gather(*items, crash)))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [(row["kind"], row["backend"]) for row in rows] == [
        ("case", "keras"),
        ("case", "scan"),
        ("geometric mean", ""),
        ("only BASE", "gone"),
        ("crashed", "gone"),
    ]
    assert float(rows[0]["ratio"]) == pytest.approx(2.0)
    assert (rows[0]["verdict"], rows[0]["valid"], rows[0]["processes"]) == ("SLOWER", "true", "6")
    assert float(rows[0]["base_s"]) == pytest.approx(1.0, rel=1e-5)
    assert rows[4]["reason"] == "out of memory use less"


def test_a_speed_is_the_ratio_the_other_way_round_its_bounds_too() -> None:
    report = compare_runs(replicates("b", {a_case(): 1.0}), replicates("n", {a_case(): 2.0}))
    (row,) = rows_of(report)
    for speed, ratio in (("speedup", "ratio"), ("speedup_low", "ratio_high")):
        assert float(row[speed]) == pytest.approx(1 / float(row[ratio]))
    assert float(row["speedup_low"]) < float(row["speedup"]) < float(row["speedup_high"])


def test_what_is_invalid_says_why_in_its_row_and_how_many_are_in_the_mean_s() -> None:
    base = replicates("b", {a_case(batch=1): 1.0, a_case(batch=2): 1.0}, count=1)
    spoilt = measured(a_case(batch=1), 3.0, run("n"), [BUSY])
    report = compare_runs(base, gather(spoilt, measured(a_case(batch=2), 2.0, run("n"))))
    assert [(row["valid"], row["reason"]) for row in rows_of(report)] == [
        ("false", "NEW: the cores were busy (close what runs)"),
        ("true", ""),
        ("false", "1 of 2 cases INVALID"),
    ]


def test_nodes_and_how_much_they_differ_are_data() -> None:
    nodes = results(*fleet(WILD, {a_case("keras"): 1.0, a_case("while_loop"): 2.0}))
    (row,) = rows_of(compare_backends(nodes))
    assert row["nodes"] == "6"
    assert float(row["spread_between_nodes"]) < 0.02


def test_json_has_the_whole_report() -> None:
    times = {a_case("keras"): 1.3, a_case("scan"): 1.0}
    base = replicates("b", dict.fromkeys(times, 1.0), jitter=0.005)
    report = compare_runs(base, replicates("n", times, jitter=0.005))
    report = replace(report, gate=judge(parse_rule("slower"), report.rows))
    found = json.loads(as_json(report))
    assert [each["verdict"] for each in found["cases"]] == ["SLOWER", "SAME", "SLOWER"]
    assert found["cases"][2]["kind"] == "geometric mean"
    assert found["fail_on"] == {
        "rule": "slower",
        "judged": 2,
        "failed": ["keras/b8-t10-i4-h8/float32/inference/cpu"],
    }


def test_a_bound_beyond_every_number_is_null_in_json() -> None:
    wild = [measured(a_case(), 1e-300 ** (-1) ** n, run(f"n{n}")) for n in range(2)]
    report = compare_runs(gather(measured(a_case(), 1.0, run("b"))), gather(*wild))
    text = as_json(report)
    found = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert found["cases"][0]["ratio_high"] is None


def test_json_has_every_cell_of_a_map() -> None:
    (found,) = json.loads(as_json(compare_devices(gather(*grid(STEPS)))))["crossover"]
    assert len(found["cells"]) == len(STEPS)
    assert found["wins_from"]["8"] == "128 (32: SLOWER)"
    assert found["cells"][0]["ratio"] == pytest.approx(3.0)


def test_csv_has_the_cells_of_a_map_that_are_no_cases_of_their_own() -> None:
    """Of the fastest backend of each device; of one backend the cases say it all."""
    times: Times = {(1, 32): (1.0, 3.0), (1, 64): (1.0, 3.0)}
    alone, both = grid(times), [*grid(times), *grid(times, backend="slow")]
    kinds = [
        [row["kind"] for row in rows_of(compare_devices(gather(*items)))] for items in (alone, both)
    ]
    assert [each.count("fastest of each") for each in kinds] == [0, 2]


def test_a_map_s_cells_say_whether_they_are_to_be_trusted() -> None:
    times: Times = {(1, 32): (1.0, 3.0), (1, 64): (1.0, 3.0)}
    items = [*grid(times, processes=1), *grid(times, processes=1, backend="other")]
    items = [replace(item, valid=False, reasons=(BUSY,)) for item in items[:2]] + items[2:]
    report = compare_devices(gather(*items[:4]))
    (found,) = json.loads(as_json(report))["crossover"]
    assert [cell["valid"] for cell in found["cells"]] == [False, True]
    both = [replace(item, valid=False, reasons=(BUSY,)) for item in items]
    (cell, *_) = (
        row for row in rows_of(compare_devices(gather(*both))) if "fastest" in row["kind"]
    )
    assert (cell["valid"], cell["base_device"], cell["device"]) == ("false", "cpu", "gpu:0")


def test_a_case_of_two_devices_names_both() -> None:
    (row,) = rows_of(compare_devices(gather(*grid({(1, 32): (1.0, 3.0)}))))
    assert (row["base_device"], row["device"], row["nodes"]) == ("cpu", "gpu:0", "")


def test_the_bridge_of_a_ratio_and_of_a_mean_stands_beside_it() -> None:
    found = json.loads(as_json(compare_backends(made_bridges.results(math.log(1.3), 1.1), "b")))
    cases = [each for each in found["cases"] if each.get("backend") == "a"]
    assert len(cases) == 10
    for case in cases:
        assert case["bridge"] == "bridge"
        assert case["bridge_ratio_low"] > 1.01
        assert "over which a and b are compared, took itself 1." in case["note"]
        assert "by which the third case differs from itself" in case["how"]
    (mean,) = (
        each for each in found["cases"] if each["kind"] == "geometric mean" and each["new"] == "a"
    )
    assert mean["verdict"] == "UNCLEAR"
    assert mean["bridge"] == "bridge"
