"""What binds a backend, from its code to the sentence: backends whose bound is known.

They are found by the registry, proven by the gate, measured and recorded as every other is, written
to a file, read and judged; the clock alone is the test's own.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bench import results
from bench.judging.ranking import build
from bench.judging.rows import Row
from bench.judging.why import explained, sentence
from bench.machine.disturbance import Activity
from bench.measuring.clock import Clock, Processors
from bench.measuring.outcomes import Measured, Unmeasured
from bench.measuring.preparing import Bench
from bench.measuring.profiling import Profiled, profiled
from bench.measuring.recorder import Recorder, Settings
from bench.measuring.roofs import Roofs
from bench.suites.cases import Case
from bench.suites.loading import Suite
from lstm_impl import LSTMSpec, Workload, registry
from tests.bench.measuring.modelled_backends import (
    BACKENDS,
    LAUNCH,
    MACHINE,
    Speeds,
    launcher,
)

SMALL = LSTMSpec(4, 4), Workload(2, 6)
"""Products of a quarter of a microsecond, where starting one takes ten."""

LARGE = LSTMSpec(4, 64), Workload(32, 6)
"""Products of a millisecond, hardly any of them of the input: the state's wait for one another."""

WIDE = LSTMSpec(1024, 64), Workload(32, 6)
"""The input's products take four times as long as the state's."""

QUIET = Activity(0.0, 2, 0.0, 0.0, {}, 0, 0, {}, None)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    MACHINE.time = MACHINE.worked = 0.0
    MACHINE.events.clear()
    for name, kind in BACKENDS.items():
        monkeypatch.setitem(registry._BUILT_IN, name, f"{kind.__module__}:{kind.__name__}")


def bench() -> Bench:
    roofs = Roofs(
        lambda device, frameworks, threads: [Speeds()],
        MACHINE.now,
        lambda device: 2**20,
        launcher=launcher,
    )
    return Bench(
        Clock(MACHINE.now, 1e-9),
        activity=lambda: QUIET,
        too_many_threads=tuple,
        roofs=roofs,
        processors=Processors(MACHINE.used, MACHINE.idle),
    )


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
        recorder.keep_time(case, result, json.loads(json.dumps(entry)))
    path = recorder.finish()
    assert path is not None
    report = build(results.collect([path]))
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
    assert sentence(row).startswith("bound by the host: calling as many operators (108)")


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
    told = sentence(found["sleeps"])
    assert "no processor computes" in told
    assert "modelled takes" in told


@pytest.mark.parametrize("shape", [LARGE, WIDE])
def test_one_that_multiplies_twice_is_bound_by_products_that_nobody_needs(
    tmp_path: Path, shape: tuple[LSTMSpec, Workload]
) -> None:
    found = recorded(tmp_path, Case("twice", *shape), Case("modelled", *shape))
    row = found["twice"]
    assert row.bound is not None
    assert row.bound.times == pytest.approx(2.0)
    assert "2.0 times the multiplications that the step needs" in sentence(row)
    assert found["modelled"].bound is not None
    assert found["modelled"].bound.times == 1.0


def test_one_that_copies_is_not_known_by_roofs_and_known_by_its_profile(tmp_path: Path) -> None:
    case = Case("copies", *LARGE)
    assert bound_by(recorded(tmp_path, case)["copies"]) == "not known"
    found = profiled(case, bench=bench())
    assert isinstance(found, Profiled)
    assert found.bound.kind == "copies"
    assert explained(found.bound, found.figures).startswith("bound by copies: ")


@pytest.mark.parametrize(
    ("backend", "shape", "kind"),
    [
        ("modelled", SMALL, "host"),
        ("modelled", LARGE, "chain"),
        ("modelled", WIDE, "products"),
        ("sleeps", LARGE, "waiting"),
        ("sleeps", SMALL, "waiting"),
    ],
)
def test_a_profile_and_the_roofs_say_the_same(
    backend: str, shape: tuple[LSTMSpec, Workload], kind: str
) -> None:
    found = profiled(Case(backend, *shape), bench=bench())
    assert isinstance(found, Profiled)
    assert found.bound.kind == kind


def test_what_cannot_be_profiled_says_why() -> None:
    found = profiled(Case("numpy", *SMALL), bench=bench())
    assert isinstance(found, Unmeasured)
    assert found.reason == "numpy: no profiler of numpy is known here"
    missing = profiled(dataclasses.replace(Case("modelled", *SMALL), device="gpu:77"))
    assert isinstance(missing, Unmeasured)
    assert "no gpu:77" in missing.reason
