"""Test how each column of the tidy table is computed."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from bench.records.schema import Figures, Run
from bench.render.data import COLUMNS, Value, records
from bench.stats.rows import build
from tests.bench.made_nodes import WILD, a_case, fleet
from tests.bench.made_reports import (
    BUSY,
    TRAINING,
    a_run,
    measured,
    replicated,
    report_of,
    without_time,
)
from tests.bench.made_streams import streams
from tests.places import ROOT


def test_columns_documentation_has_every_unit_and_meaning() -> None:
    documented = re.findall(
        r"^\| `(\w+)` \| (.*) \| (.+) \|$", (ROOT / "docs" / "columns.md").read_text(), re.M
    )
    assert documented == [(name, each.unit, each.meaning) for name, each in COLUMNS.items()]


FLEET = fleet(WILD, {a_case(): 1.0, a_case("torch"): 2.0}, processes=2)


def of(backend: str, rows: list[dict[str, Value]]) -> dict[str, Value]:
    (found,) = [row for row in rows if row["backend"] == backend]
    return found


def test_records_every_value_has_its_columns_kind() -> None:
    tables = [
        report_of(
            *replicated(6, ("keras", 1.0), ("torch", 2.0)),
            without_time("cudnn", advice="look"),
            measured("keras", 1.0, work=replace(TRAINING, window=5), reasons=[BUSY]),
        ),
        build(streams({"keras": 4.0, "torch": 8.0}, calls=1000)),
        report_of(*FLEET),
    ]
    seen = set()
    for table in tables:
        for row in records(table):
            for name, value in row.items():
                if value is not None:
                    assert type(value) is COLUMNS[name].kind, name
                    seen.add(name)
    # The others are of roofs, memory, energy and reference backends.
    assert len(seen) >= 90


FIGURES: Figures = {"peak_bytes": 1e6, "of_matmul": 0.5, "of_bandwidth": 0.25, "operations": 9.0}


def test_records_figures_are_in_columns_of_their_names() -> None:
    (row,) = records(report_of(measured("keras", 1.0, memory=FIGURES, roofs=FIGURES)))
    assert row["peak_memory_bytes"] == 1e6
    assert (row["of_matmul_roof"], row["of_bandwidth_roof"]) == (0.5, 0.25)
    assert (row["operations"], row["of_chain_roof"]) == (9.0, None)
    assert (row["build_s"], row["trace_s"], row["first_call_s"]) == (0.5, 0.25, 1.0)
    assert row["first_result_s"] == 1.75


def machines(*runs: Run) -> set[Value]:
    items = [measured(name, 1.0, run) for run in runs for name in ("keras", "torch")]
    return {row["machine_id"] for row in records(report_of(*items))}


def test_machine_id_nodes_in_any_order_share_one() -> None:
    one, other = a_run(1, "session", "a"), a_run(2, "session", "b")
    third = a_run(3, "session", "c")
    assert machines(one) == {"id of a"}
    (both,) = machines(one, other)
    assert isinstance(both, str)
    assert re.fullmatch(r"nodes-[0-9a-f]{12}", both)
    assert machines(replace(other, started=one.started), one) == {both}
    assert machines(one, third) != {both}


def test_records_nodes_have_number_and_spread() -> None:
    rows = records(report_of(*FLEET))
    keras, torch = of("keras", rows), of("torch", rows)
    assert (keras["nodes"], keras["ratio_nodes"]) == (6, None)
    assert (torch["nodes"], torch["ratio_nodes"]) == (6, 6)
    assert keras["host"] == "a, b, c, d, e, f"
    assert keras["spread_between_nodes"] == pytest.approx(np.std([*WILD.values()], ddof=1), rel=0.1)
    assert torch["ratio_spread_between_nodes"] == pytest.approx(0, abs=0.01)
    alone = of("keras", records(report_of(*replicated(6, ("keras", 1.0)))))
    assert alone["nodes"] is alone["spread_between_nodes"] is None


def test_records_stream_has_percentiles_with_bounds_and_ratios() -> None:
    rows = records(build(streams({"keras": 4.0, "torch": 8.0})))
    keras, torch = of("keras", rows), of("torch", rows)
    for part in ("p50", "p90", "p99"):
        low, mid, high = (torch[f"latency_{part}{end}_s"] for end in ("_low", "", "_high"))
        assert isinstance(mid, float)
        assert low < mid < high  # type: ignore[operator]
        if part == "p50":  # its ratio is that of the times
            continue
        ratio = torch[f"latency_{part}_ratio"]
        assert ratio == pytest.approx(mid / keras[f"latency_{part}_s"], rel=0.05)  # type: ignore[operator]
        assert keras[f"latency_{part}_ratio"] is None
    assert torch["latency_p99_verdict"] == "SLOWER"
    assert torch["latency_p99_ratio"] == pytest.approx(2, rel=0.1)
    assert torch["calls"] == 6 * 7000
    assert torch["service_p50_s"] == pytest.approx(1e-4, rel=0.05)
    assert (torch["deadline_s"], torch["missed"], torch["load"]) == (None, None, 0)
    assert math.isfinite(float(torch["latency_most_s"] or math.nan))
    few = of("keras", records(build(streams({"keras": 4.0}, calls=5))))
    assert few["service_p50_s"] is few["latency_p50_s"] is few["latency_p50_low_s"] is None
