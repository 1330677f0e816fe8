"""What is decided, in three lines; and the answer for one shape: whom to use, how surely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bench.case.cases import Case
from bench.records.schema import Reason
from bench.render.messages import MOST, answer, decision, decisions
from bench.stats.ranking import build
from bench.stats.rows import Section
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
    assert text == "cpu, inference: use while_loop, 2.00× faster than keras (99.5% CI 2.00–2.00)."


def test_for_most_shapes_one_and_for_the_others_another() -> None:
    times = {case("keras", batch): 2.0 for batch in (1, 2, 3)}
    times |= {case("while_loop", batch): 1.0 if batch < 3 else 3.0 for batch in (1, 2, 3)}
    text = told(times)
    assert text.startswith("cpu, inference: use while_loop, 2.00× faster than keras (")
    assert text.endswith(" at 2 of 3 shapes; keras at 1.")


def test_a_lead_that_is_no_verdict_is_said_to_be_none() -> None:
    text = told({case("keras"): 2.0, case("while_loop"): 1.0, case("torch"): 1.001})
    assert text.endswith("; not significantly different from torch, the next.")
    times = {case("keras", batch): 2.0 for batch in (1, 2)}
    times |= {case("while_loop", batch): 1.0 for batch in (1, 2)}
    times |= {case("torch", batch): 1.001 if batch == 1 else 1.5 for batch in (1, 2)}
    assert "all 2 shapes and is significantly faster than each of the others at 1 of them." in told(
        times
    )


def test_approximation_is_never_what_to_use_and_has_a_line_with_its_error() -> None:
    times = {case("torch"): 2.0, case("onnxruntime"): 3.0, case("torch:int8"): 1.0}
    assert told(times).startswith("cpu, inference: use torch")
    lines = answer(section(times))
    assert lines[0].startswith("Use torch, 2.00 s")
    (line,) = [line for line in lines if "torch:int8" in line]
    assert line.startswith("torch:int8 approximates, 1.00 s")
    assert told({case("torch:int8"): 1.0}).endswith("only backends that approximate were measured.")


def test_a_lone_backend_is_no_decision() -> None:
    assert told({case("keras"): 2.0}) == "cpu, inference: only keras was measured (1 shape)."


def test_a_window_is_called_one() -> None:
    times = {
        case(backend, mode="training", window=window): time
        for window in (5, 10)
        for backend, time in (("keras", 2.0), ("while_loop", 1.0))
    }
    assert " at all 2 windows." in told(times)


def test_there_are_three_lines_at_most_and_a_warning_is_one_share() -> None:
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
    assert found[-1].text == "1 warning below, under Findings: read them before you rely on this."


def test_nothing_measured_is_said() -> None:
    during = run("a")
    (nothing,) = build(gather(unmeasured(case("cudnn"), during, "not_measured", "no GPU"))).sections
    (only,) = decisions(nothing)
    assert only.loud
    assert "Nothing was measured" in only.text


def of_one_shape(times: Mapping[str, float]) -> Section:
    found = replicates("a", {case(name): time for name, time in times.items()})
    (only,) = build(found).sections
    return only


def test_the_fastest_is_named_with_its_time_its_ratio_and_the_next() -> None:
    use, where = answer(of_one_shape({"keras": 2e-3, "while_loop": 1e-3, "torch": 1.25e-3}))
    assert use.startswith("Use while_loop, 1.00 ms per step (95% CI ")
    assert "2.00× faster than keras (" in use
    assert "1.25× faster than torch, the next (" in use
    assert use.count("× faster than ") == 2
    assert where == "From 6 processes on laptop, 2025-01-01 00:00 UTC."


def test_where_the_baseline_is_the_fastest_it_is_held_against_the_next() -> None:
    use, _ = answer(of_one_shape({"keras": 1e-3, "while_loop": 1.5e-3}))
    assert use.startswith("Use keras, ")
    assert "1.50× faster than while_loop, the next" in use


def test_who_cannot_be_told_apart_is_not_told_to_be_used() -> None:
    use, _ = answer(of_one_shape({"keras": 2e-3, "while_loop": 1e-3, "torch": 1.001e-3}))
    assert use.startswith("while_loop has the shortest times")
    assert "not significantly different from torch" in use
    assert "Use" not in use


def test_the_best_inside_the_baseline_s_framework_is_told_beside_another_s() -> None:
    use, inside, _ = answer(of_one_shape({"keras": 2e-3, "while_loop": 1e-3, "torch": 0.5e-3}))
    assert use.startswith("Use torch, ")
    assert inside.startswith("Inside TensorFlow: while_loop, 1.00 ms, 2.00× faster than keras (")
    _, inside, _ = answer(of_one_shape({"keras": 2e-3, "torch": 0.5e-3}))
    assert inside == "Inside TensorFlow: keras itself, 2.00 ms."
    assert len(answer(of_one_shape({"keras": 2e-3, "of_another_package": 0.5e-3}))) == 3


def test_inside_is_none_where_nothing_of_the_baseline_s_framework_has_a_time() -> None:
    found = of_one_shape({"keras": 2e-3, "while_loop": 1e-3, "torch": 0.5e-3, "jax_scan": 1.5e-3})

    def of(*names: str) -> list[str]:
        return answer(replace(found, rows=tuple(r for r in found.rows if r.case.backend in names)))

    assert len(of("torch", "jax_scan")) == 2
    # While it is not the baseline, it is not told to be.
    cut = replace(found, rows=tuple(r for r in found.rows if r.case.backend != "keras"))
    for row in cut.rows:
        row.to_baseline = None
    assert answer(cut)[1] == "Inside TensorFlow: while_loop, 1.00 ms."


def test_one_alone_is_told_with_its_time() -> None:
    told, _ = answer(of_one_shape({"torch": 1e-3}))
    assert told.startswith("Only torch was measured: 1.00 ms per step (95% CI ")


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
