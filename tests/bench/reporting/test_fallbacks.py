"""What a backend ran in place of what its name suggests, as the report tells it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from bench.judging.ranking import build
from bench.reporting.sentences import findings
from bench.results.schema import Reason, Run
from bench.suites.cases import Case
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured

NOW = datetime.now(UTC)
BUSY = Reason("busy", "others kept processors busy", "")


def told(fallback: object, *reasons: Reason) -> list[str]:
    items = []
    for number in range(6):
        run = Run(f"run{number}", "session", "mine", 0, NOW, NOW, True, "host", "m", {}, {})
        for timesteps in (5, 6):
            work = Workload(2, timesteps)
            items.append(measured(Case("torch", LSTMSpec(1, 4), work), 0.001, run))
            slow = measured(Case("keras_torch", LSTMSpec(1, 4), work), 0.05, run, reasons)
            items.append(replace(slow, evidence={"fallback": fallback}))
    (section,) = build(gather(*items), baseline="torch").sections
    return [each.text for each in findings(section) if "keras_torch ran" in each.text]


def test_a_fallback_is_told_with_what_it_costs() -> None:
    (sentence,) = told("a Python loop over time")
    assert sentence.startswith(
        "cpu, inference: keras_torch ran a Python loop over time (2 shapes): "
        "0.02 times as fast as torch ("
    )
    assert sentence.endswith(", SLOWER).")


def test_where_the_ratio_is_not_to_be_trusted_the_fallback_is_told_alone() -> None:
    assert told("a Python loop", BUSY) == [
        "cpu, inference: keras_torch ran a Python loop (2 shapes)."
    ]


def test_who_ran_what_its_name_says_is_not_told_of() -> None:
    assert told("") == []
    assert told(None) == []
    assert told(3) == []  # another version's, or a stranger's


def test_a_fallback_from_elsewhere_is_one_harmless_line() -> None:
    (sentence,) = told("a\nloop\x1b[31m")
    assert "\n" not in sentence
    assert "\x1b" not in sentence
