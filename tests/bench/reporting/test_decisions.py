"""What a report decides, in three lines at the most."""

from __future__ import annotations

from collections.abc import Mapping

from bench.judging.ranking import build
from bench.judging.rows import Section
from bench.reporting.decisions import MOST, decision, decisions
from bench.suites.cases import Case
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured, replicates, run, unmeasured


def case(
    backend: str, batch: int = 4, mode: str = "inference", device: str = "cpu", **more: int
) -> Case:
    return Case(backend, LSTMSpec(8, 16), Workload(batch, 20, mode, **more), device)  # type: ignore[arg-type]


def section(times: Mapping[Case, float], jitter: float = 0.01) -> Section:
    (only,) = build(replicates("a", times, jitter=jitter)).sections
    return only


def told(times: Mapping[Case, float]) -> str:
    (table,) = section(times).tables
    return decision(table)


def test_who_is_to_be_used_with_how_much_that_gains() -> None:
    text = told({case("keras"): 2.0, case("while_loop"): 1.0})
    assert (
        text == "cpu, inference: use while_loop, 2.00 times as fast as keras (2.00–2.00, FASTER)."
    )


def test_for_most_shapes_one_and_for_the_others_another() -> None:
    times = {case("keras", batch): 2.0 for batch in (1, 2, 3)}
    times |= {case("while_loop", batch): 1.0 if batch < 3 else 3.0 for batch in (1, 2, 3)}
    text = told(times)
    assert text.startswith("cpu, inference: use while_loop, 2.00 times as fast as keras (")
    assert text.endswith(" at 2 of 3 shapes; keras at 1.")


def test_a_lead_that_is_no_verdict_is_said_to_be_none() -> None:
    text = told({case("keras"): 2.0, case("while_loop"): 1.0, case("torch"): 1.001})
    assert text.endswith("; not told apart from torch, the next.")
    times = {case("keras", batch): 2.0 for batch in (1, 2)}
    times |= {case("while_loop", batch): 1.0 for batch in (1, 2)}
    times |= {case("torch", batch): 1.001 if batch == 1 else 1.5 for batch in (1, 2)}
    assert "all 2 shapes and is FASTER than each of the others at 1 of them." in told(times)


def test_a_lone_backend_is_no_decision() -> None:
    assert told({case("keras"): 2.0}) == "cpu, inference: only keras was measured (1 shape)."


def test_a_window_is_called_one() -> None:
    times = {
        case(backend, mode="training", window=window): time
        for window in (5, 10)
        for backend, time in (("keras", 2.0), ("while_loop", 1.0))
    }
    assert " at all 2 windows." in told(times)


def test_there_are_three_lines_at_most_and_a_warning_is_one_of_them() -> None:
    times = {
        case(backend, mode=mode, device=device): time
        for mode in ("inference", "training")
        for device in ("cpu", "gpu:0")
        for backend, time in (("keras", 2.0), ("while_loop", 1.0))
    }
    found = decisions(section(times))
    assert len(found) == MOST
    assert not any(each.loud for each in found)
    during = run("a")
    items = [measured(each, time, during) for each, time in times.items()]
    failed = unmeasured(case("block_lstm"), during, "failed", "it is wrong")
    (broken,) = build(gather(*items, failed)).sections
    found = decisions(broken)
    assert len(found) == MOST
    assert [each.loud for each in found] == [False, False, True]
    assert found[-1].text == "1 warning below, under Findings: read before you rely on it."


def test_nothing_measured_is_said() -> None:
    during = run("a")
    (nothing,) = build(gather(unmeasured(case("cudnn"), during, "not_measured", "no GPU"))).sections
    (only,) = decisions(nothing)
    assert only.loud
    assert "Nothing was measured" in only.text
