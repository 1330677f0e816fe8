"""Under plain pytest a case that needs another process says so, and what does measure it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from bench.measuring import preparing
from bench.measuring.outcomes import NOT_MEASURED, Unmeasured
from bench.measuring.preparing import Bench, Prepared, prepare
from bench.suites.cases import Case
from lstm_impl import Availability, LSTMSpec, Package, Workload
from lstm_impl.backends.numpy_loop import NumPyLoop

CASE = Case("particular", LSTMSpec(1, 4), Workload(2, 5))


class Particular(NumPyLoop):
    strategy = "particular"
    environment: ClassVar[Mapping[str, str]] = {"LSTM_TEST_SIDE": "east"}


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "get_backend", lambda name: Particular())
    monkeypatch.delenv("LSTM_TEST_SIDE", raising=False)


def bench() -> Bench:
    return Bench(roofs=None)


def test_one_line_says_why_and_both_ways_to_measure_it() -> None:
    found = prepare(CASE, 0, bench())
    assert isinstance(found, Unmeasured)
    assert found.outcome == NOT_MEASURED
    assert found.reason == "particular needs a process of its own, with LSTM_TEST_SIDE=east"
    assert found.advice == (
        "python -m bench.run measures it in a process of its own; "
        "pytest does with LSTM_TEST_SIDE=east before it"
    )


def test_in_a_process_that_has_the_environment_it_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LSTM_TEST_SIDE", "east")
    assert isinstance(prepare(CASE, 0, bench()), Prepared)


def test_what_is_not_installed_is_told_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = Package("no_such_module", "The sun", "pip install sun")
    monkeypatch.setattr(Particular, "packages", (package,))
    monkeypatch.setenv("LSTM_TEST_SIDE", "east")
    found = prepare(CASE, 0, bench())
    assert isinstance(found, Unmeasured)
    assert (found.reason, found.advice) == ("The sun is not installed", "pip install sun")
    assert str(Availability(False, found.reason, found.advice)).count("\n") == 0
