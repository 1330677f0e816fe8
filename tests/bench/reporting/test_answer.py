"""The answer: whom to use, by how much, how surely, and from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bench.judging.ranking import build
from bench.judging.rows import Section
from bench.reporting.answer import answer
from bench.results.schema import Reason
from bench.suites.cases import Case
from lstm_impl import LSTMSpec, Workload
from tests.bench.made_results import gather, measured, replicates, run


def case(backend: str) -> Case:
    return Case(backend, LSTMSpec(8, 16), Workload(4, 20))


def section(times: Mapping[str, float]) -> Section:
    found = replicates("a", {case(name): time for name, time in times.items()})
    (only,) = build(found).sections
    return only


def test_the_fastest_is_named_with_its_time_its_ratio_and_the_next() -> None:
    use, where = answer(section({"keras": 2e-3, "while_loop": 1e-3, "torch": 1.25e-3}))
    assert use.startswith("Use while_loop, 1.00 ms a step (")
    assert "2.00 times as fast as keras (" in use
    assert "1.25 times as fast as torch, the next (" in use
    assert use.count("FASTER") == 2
    assert where == "From 6 processes on laptop, 2025-01-01 00:00 UTC."


def test_where_the_baseline_is_the_fastest_it_is_held_against_the_next() -> None:
    use, _ = answer(section({"keras": 1e-3, "while_loop": 1.5e-3}))
    assert use.startswith("Use keras, ")
    assert "1.50 times as fast as while_loop, the next" in use


def test_who_cannot_be_told_apart_is_not_told_to_be_used() -> None:
    use, _ = answer(section({"keras": 2e-3, "while_loop": 1e-3, "torch": 1.001e-3}))
    assert use.startswith("while_loop has the shortest times")
    assert "not told apart from torch" in use
    assert "Use" not in use


def test_the_best_inside_the_baseline_s_framework_is_told_beside_another_s() -> None:
    use, inside, _ = answer(section({"keras": 2e-3, "while_loop": 1e-3, "torch": 0.5e-3}))
    assert use.startswith("Use torch, ")
    assert inside.startswith(
        "Inside TensorFlow: while_loop, 1.00 ms, 2.00 times as fast as keras ("
    )
    _, inside, _ = answer(section({"keras": 2e-3, "torch": 0.5e-3}))
    assert inside == "Inside TensorFlow: keras itself, 2.00 ms."
    assert len(answer(section({"keras": 2e-3, "of_another_package": 0.5e-3}))) == 3


def test_inside_is_none_where_nothing_of_the_baseline_s_framework_has_a_time() -> None:
    found = section({"keras": 2e-3, "while_loop": 1e-3, "torch": 0.5e-3, "jax_scan": 1.5e-3})

    def of(*names: str) -> list[str]:
        return answer(replace(found, rows=tuple(r for r in found.rows if r.case.backend in names)))

    assert len(of("torch", "jax_scan")) == 2
    # While it is not the baseline, it is not told to be.
    cut = replace(found, rows=tuple(r for r in found.rows if r.case.backend != "keras"))
    for row in cut.rows:
        row.to_baseline = None
    assert answer(cut)[1] == "Inside TensorFlow: while_loop, 1.00 ms."


def test_one_alone_is_told_with_its_time() -> None:
    told, _ = answer(section({"torch": 1e-3}))
    assert told.startswith("Only torch was measured: 1.00 ms a step (")


def test_a_doubtful_time_says_so() -> None:
    during = run("a")
    (only,) = build(
        gather(
            measured(case("keras"), 2e-3, during),
            measured(case("scan"), 1e-3, during, [Reason("busy", "the machine was busy", "wait")]),
        )
    ).sections
    lines = answer(only)
    assert any(line.startswith("Do not rely on it yet: ") for line in lines)
