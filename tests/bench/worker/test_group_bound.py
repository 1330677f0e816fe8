"""What binds a backend, from its code to the sentence: backends whose bound is known.

They are found by the registry, proven by the gate, measured and recorded as every other is, written
to a file, read and judged; the clock alone is the test's own.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import records
from bench.case.cases import Case
from bench.case.loading import Suite
from bench.render.messages import bound_sentence
from bench.stats.rows import Row, build
from bench.worker.group import Measured
from bench.worker.pytest_session import Recorder, Settings
from tests.bench.worker.modelled_backends import (
    LARGE,
    LAUNCH,
    SMALL,
    WIDE,
    bench,
)

pytestmark = pytest.mark.usefixtures("modelled")


def recorded(folder: Path, *cases: Case) -> dict[str, Row]:
    """The cases as rows of a report, by backend."""
    suite = Suite("known", "", Path("known.toml"), cases, {case.group: 100.0 for case in cases})
    recorder = Recorder(suite, Settings(folder), bench())
    recorder.want(cases)
    recorder.start()
    for case in cases:
        result = recorder.result(case)
        assert isinstance(result, Measured), result
        entry = {
            "name": case.id,
            "stats": {"data": list(result.series.samples)},
            "extra_info": {"lstm": result.to_extra(case, 0)},
        }
        recorder.keep(case, result, json.loads(json.dumps(entry)))
    path = recorder.finish()
    assert path is not None
    report = build(records.collect([path]))
    return {row.case.backend: row for section in report.sections for row in section.rows}


def bound_by(row: Row) -> str:
    assert row.bound is not None
    return row.bound.kind


def test_a_small_step_is_bound_by_starting_its_operators(tmp_path: Path) -> None:
    row = recorded(tmp_path, Case("modelled", *SMALL))["modelled"]
    assert bound_by(row) == "host"
    assert row.roofs["launches"] == 6 * 18
    assert row.roofs["launch_s"] == pytest.approx(6 * 18 * LAUNCH)
    assert row.roofs["of_launch"] > 0.9
    assert bound_sentence(row).startswith("bound by the host: calling as many operators (108)")


def test_a_large_step_is_bound_by_its_chain_of_products(tmp_path: Path) -> None:
    row = recorded(tmp_path, Case("modelled", *LARGE))["modelled"]
    assert bound_by(row) == "chain"
    assert row.roofs["of_launch"] < 0.2


def test_a_wide_input_makes_a_step_bound_by_products(tmp_path: Path) -> None:
    assert bound_by(recorded(tmp_path, Case("modelled", *WIDE))["modelled"]) == "products"


def test_one_that_sleeps_between_steps_is_bound_by_waiting(tmp_path: Path) -> None:
    found = recorded(tmp_path, Case("sleeps", *LARGE), Case("modelled", *LARGE))
    assert bound_by(found["sleeps"]) == "waiting"
    assert found["sleeps"].roofs["processors_busy"] < 0.1
    assert found["modelled"].roofs["processors_busy"] == pytest.approx(1.0)
    told = bound_sentence(found["sleeps"])
    assert "no processor computes" in told
    assert "modelled takes" in told


def test_one_that_multiplies_twice_is_bound_by_products_that_nobody_needs(tmp_path: Path) -> None:
    found = recorded(tmp_path, Case("twice", *LARGE), Case("modelled", *LARGE))
    row = found["twice"]
    assert row.bound is not None
    assert row.bound.times == pytest.approx(2.0)
    assert "2.0 times the multiplications that the step needs" in bound_sentence(row)
    assert found["modelled"].bound is not None
    assert found["modelled"].bound.times == 1.0


def test_what_binds_one_that_copies_is_not_known_by_roofs(tmp_path: Path) -> None:
    """Its profile knows."""
    assert bound_by(recorded(tmp_path, Case("copies", *LARGE))["copies"]) == "not known"
