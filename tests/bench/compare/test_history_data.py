"""A history as data: CSV."""

from __future__ import annotations

import csv
import io

import pytest

from bench.records.schema import Reason
from bench.render.history import CSV_COLUMNS
from bench.render.history import as_csv as comma_separated
from bench.stats.history import History, build
from bench.stats.trust import NOT_STEADY
from tests.bench.made_history import run, slow_scan, upgrade
from tests.bench.made_nodes import a_case
from tests.bench.made_results import BUSY, gather, measured, unmeasured


def rows_of(history: History) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(comma_separated(history)))))


def test_csv_has_a_row_a_case_and_session() -> None:
    rows = rows_of(build(upgrade()))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["number"] for row in rows] == ["1", "2", "3"]
    assert rows[1]["verdict"] == "SLOWER"
    assert rows[1]["versions_changed"] == "tensorflow 2.20.0 → 2.21.0"
    assert float(rows[1]["ratio"]) == pytest.approx(1.3)
    assert float(rows[1]["speedup_low"]) == pytest.approx(1 / float(rows[1]["ratio_high"]))
    assert rows[0]["ratio"] == rows[0]["versions_changed"] == ""


def test_what_changed_for_longer_stands_in_the_first_session_of_the_cases_that_moved() -> None:
    rows = [row for row in rows_of(slow_scan()) if row["moved"]]
    assert {(row["number"], row["moved"], row["moved_verdict"]) for row in rows} == {
        ("18", "backends", "SLOWER")
    }
    assert sorted(row["case_id"] for row in rows) == sorted(
        a_case("scan", batch).id for batch in (8, 16)
    )


def test_what_has_no_time_says_why_and_what_is_invalid_too() -> None:
    crash = unmeasured(a_case(), run(1), "crashed", "out of memory")
    spoilt = measured(a_case(), 1.0, run(2), [BUSY])
    first, second = rows_of(build(gather(crash, spoilt)))
    assert (first["outcome"], first["time_s"]) == ("crashed: out of memory", "")
    assert (second["outcome"], second["valid"]) == ("measured", "false")
    assert second["invalid_reasons"] == "the cores were busy (close what runs)"


def test_a_time_that_moved_is_doubtful_and_so_is_its_ratio_and_both_say_why() -> None:
    moved = Reason(NOT_STEADY, "it became slower", "wait")
    items = [measured(a_case(), 1.0, run(n), [moved] if n == 2 else []) for n in (1, 2)]
    first, second = rows_of(build(gather(*items)))
    assert (first["valid"], first["time_valid"], first["ratio_valid"]) == ("true", "true", "")
    assert (second["valid"], second["time_valid"], second["ratio_valid"]) == (
        *("true", "false", "false"),
    )
    assert second["time_reasons"] == second["ratio_reasons"] == "it became slower (wait)"


def test_what_else_changed_has_a_column_beside_that_of_versions() -> None:
    _, second, _ = rows_of(build(upgrade()))
    assert second["also_changed"] == "memory.swap_total_bytes 0 GiB → 1 GiB"
    assert float(second["speedup_high"]) == pytest.approx(1 / float(second["ratio_low"]))
