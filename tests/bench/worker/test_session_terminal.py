"""The first and the last lines of a pytest session that measures."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.case.cases import Case
from bench.case.loading import Suite
from bench.cli.options import MeasurementOptions
from bench.machine import devices
from bench.stats.trust import OF_TIME
from bench.worker.group import Measured, Result
from bench.worker.pytest_session import header, summary
from bench.worker.recorder import Recorder
from bench.worker.timing import StepSeries, Stopped
from lstm_impl import LSTMSpec, Workload
from lstm_impl.proof import GateResult
from tests.bench.made_reasons import recorded

CASES = [
    Case(backend, LSTMSpec(1, 4), Workload(2, 6), device)
    for device in ("cpu", "gpu:7")
    for backend in ("numpy", "keras")
]
SUITE = Suite("mine", "", Path("mine.toml"), tuple(CASES), {case.group: 20.5 for case in CASES})
SERIES = StepSeries(1, (0.1,), (0,), (), Stopped.TIME, None, 0.0)
GOOD = Measured(SERIES, {"first_call_s": 0.1}, GateResult(True, "judge", {}, {}), {})
BUSY = recorded("busy", "others took a core", "close them")
WIDE = recorded(OF_TIME[0], "few samples", "more time")


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"gpu:7": recorded("", "no gpu:7: it was sold", "")}
    monkeypatch.setattr(devices, "explain_missing", lambda name: missing.get(name))


def recorder_with(folder: Path, *results: Result) -> Recorder:
    """Return a recorder with these results."""
    found = Recorder(SUITE, MeasurementOptions(), folder, hides_output=False)
    found.done = {f"case {number}": result for number, result in enumerate(results)}
    return found


def summary_lines(folder: Path, *results: Result) -> list[str]:
    return list(summary(recorder_with(folder, *results)))


# -- first lines


def test_header_names_cases_devices_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert header(SUITE, MeasurementOptions(), tmp_path / "results") == [
        "lstm: suite mine: 2 cases on cpu and 2 cases on gpu:7 (numpy, keras)",
        "lstm: no gpu:7: it was sold",
        # Two cases of 20.5 s; those of a missing device take no time.
        "lstm: measuring takes at most 41 s, plus the time for building and checking; "
        "results go to results",
    ]


@pytest.mark.parametrize(("seconds", "words"), [(44.2, "89 s"), (45.0, "1.5 minutes")])
def test_header_budget_replaces_the_seconds_of_the_suite(
    seconds: float, words: str, tmp_path: Path
) -> None:
    *_, last = header(SUITE, MeasurementOptions(budget=seconds), tmp_path)
    assert f"measuring takes at most {words}" in last
    assert last.endswith(f"results go to {tmp_path}")


# -- last lines


def test_summary_counts_measured_invalid_and_unreliable(tmp_path: Path) -> None:
    assert summary_lines(tmp_path) == ["0 cases measured"]
    assert summary_lines(tmp_path, GOOD) == ["1 case measured"]
    invalid, unreliable = replace(GOOD, reasons=(WIDE, BUSY)), replace(GOOD, reasons=(WIDE,))
    assert summary_lines(tmp_path, GOOD, invalid, unreliable) == [
        "3 cases measured, 1 of them INVALID and 1 with an unreliable time:",
        "  few samples; more time (2 cases)",
        "  others took a core; close them (1 case)",
    ]
    assert summary_lines(tmp_path, invalid)[0] == "1 case measured, 1 of them INVALID:"
    assert summary_lines(tmp_path, unreliable)[0] == "1 case measured, 1 with an unreliable time:"
