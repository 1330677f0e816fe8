"""The report in sentences: who wins and how surely, what is doubtful, what has no time and why."""

from dataclasses import replace

from bench.records.schema import Measurement, Outcome, Reason
from bench.render.messages import findings
from bench.stats.ranking import build
from lstm_impl.workload import Workload
from tests.bench.made_reports import (
    BUSY,
    TRAINING,
    a_run,
    measured,
    replicated,
    results_of,
    sentences,
    the_row,
    without_time,
)


def test_the_answer_says_who_wins_by_how_much_and_how_surely() -> None:
    cases = ("keras", 0.020), ("torch", 0.010), ("while_loop", 0.025)
    items = replicated(6, *cases) + replicated(6, *cases, work=TRAINING)
    told = sentences(build(results_of(*items)))
    assert told == [
        "cpu, inference: torch is the fastest: 2.00× faster than keras, the next "
        "(99.5% CI 2.00–2.00).",
        "cpu, training: torch is the fastest: 2.00× faster than keras, the next "
        "(99.5% CI 2.00–2.00).",
    ]
    by_baseline = sentences(build(results_of(*items), baseline="while_loop"))
    assert by_baseline[0] == (
        "cpu, inference: torch is the fastest: 2.50× faster than while_loop "
        "(99.5% CI 2.50–2.50), and 2.00× faster than keras, the next (99.5% CI 2.00–2.00)."
    )


def test_what_the_code_of_backends_warned_of_is_told_once_for_each_text() -> None:
    loud, long = "RuntimeWarning: overflow", "it changed the working directory, which was put back"
    first, other = a_run(), replace(a_run(), id="another")
    found = build(
        results_of(
            replace(measured("keras", 0.1, first), remarks=(loud, long)),
            replace(measured("keras", 0.1, other), remarks=(loud,)),
            replace(measured("torch", 0.2, first), remarks=(loud,)),
            measured("jax", 0.3, first),
        )
    )
    told = sentences(found)
    (line,) = [text for text in told if text.startswith("Warnings from the backends")]
    assert line == (
        f"Warnings from the backends: {loud} (keras and torch, 2 cases); {long} (keras, 1 case)."
    )


def test_the_answer_over_several_shapes_is_a_geometric_mean() -> None:
    items = replicated(6, ("keras", 0.01), ("torch", 0.005))
    items += replicated(6, ("keras", 0.08), ("torch", 0.01), work=Workload(4, 10))
    (told,) = sentences(build(results_of(*items)))
    # 2 and 8 times as fast.
    assert "torch is the fastest: 4.00× faster than keras" in told
    assert "over 2 shapes" in told


def test_an_uncertain_winner_says_so() -> None:
    found = build(results_of(measured("keras", 0.0100), measured("torch", 0.0104)))
    ahead = the_row(found, "keras").ahead
    assert ahead is not None
    low, high = 1 / ahead.ratio.high, 1 / ahead.ratio.low
    assert sentences(found) == [
        "cpu, inference: keras has the shortest times: not significantly faster or slower than "
        f"torch, the next (1.04×, 99.5% CI {low:.2f}–{high:.2f})."
    ]


def test_backends_that_are_the_same_are_not_ranked_in_words() -> None:
    items = replicated(6, ("keras", 0.0100), ("torch", 0.01005))
    (told,) = sentences(build(results_of(*items)))
    assert "keras and torch have the shortest times, equal within 2%" in told


def test_an_answer_that_stands_on_invalid_measurements_says_so() -> None:
    items = [measured("keras", 0.01, reasons=[BUSY]), measured("torch", 0.02)]
    told = sentences(build(results_of(*items)))
    assert "keras has the shortest times" in told[0]
    assert "Do not rely on it: the only ratio is INVALID." in told[0]
    assert len(told) == 2  # and nothing of ratios, which are no more doubtful than that
    assert told[1] == (
        "INVALID: 1 of 2 measurements: the machine was busy "
        "(keras/b2-t10-i3-h4/float32/inference/cpu). To change that: close other programs."
    )


def test_who_was_not_measured_on_all_shapes_cannot_lead_over_all() -> None:
    items = [measured("keras", 0.02), measured("while_loop", 0.05), measured("torch", 0.01)]
    other = Workload(4, 10)
    items += [measured("keras", 0.02, work=other), measured("while_loop", 0.05, work=other)]
    (told,) = sentences(build(results_of(*items)))
    assert "of those measured on all 2 shapes, keras is the fastest" in told
    assert "By shape, the shortest times: torch in 1 of 2 and keras in 1 of 2." in told


def test_no_backend_on_all_shapes_and_a_single_backend_are_told() -> None:
    items = [measured("keras", 0.02), measured("torch", 0.01, work=Workload(4, 10))]
    (told,) = sentences(build(results_of(*items)))
    assert told.startswith("cpu, inference: no backend was measured on all 2 shapes.")
    (told,) = sentences(build(results_of(measured("keras", 0.02))))
    assert told == "cpu, inference: only keras was measured (1 shape)."


def test_what_a_step_and_a_timestep_cost_is_told_of_the_leader() -> None:
    items = [
        measured(backend, factor * seconds, work=replace(TRAINING, window=window))
        for window, seconds in ((1, 0.020), (2, 0.015), (5, 0.012), (10, 0.011))
        for backend, factor in (("keras", 3), ("torch", 1))
    ]
    *_, told = sentences(build(results_of(*items)))
    # A step on a window: 1 ms and 1 ms a timestep, so that 5 of them cost 9% more than 10.
    assert told.startswith(
        "torch: only in the longest windows, of 10 (2 to 10), a timestep costs at most 5% more"
    )
    assert "; the line is 1.00 ms (" in told
    assert " a step + 1.00 ms (" in told


def test_cases_without_a_time_are_summarised_by_reason() -> None:
    items: list[Measurement | Outcome] = [measured("keras", 0.01)]
    items += [
        without_time(backend, work=Workload(batch, 10), advice="add one")
        for backend in ("keras", "cudnn")
        for batch in range(1, 51)
    ]
    told = sentences(build(results_of(*items)))
    assert told[1:] == [
        "100 cases have no time, not measured: no GPU is here. add one (cudnn and keras on gpu:0)."
    ]


def test_what_failed_is_loud_and_no_backend_hides_behind_another() -> None:
    items: list[Measurement | Outcome] = [measured("keras", 0.01)]
    items += [
        without_time(name, "failed", f"{name} is wrong", device="cpu") for name in ("bad", "worse")
    ]
    items.append(without_time("bad", "failed", "other", device="cpu", work=TRAINING))
    (section,) = build(results_of(*items)).sections
    loud = [finding.text for finding in findings(section) if finding.loud]
    assert loud == [
        "FAILED: 2 cases (bad on cpu): bad is wrong. And 1 other reason.",
        "FAILED: 1 case (worse on cpu): worse is wrong.",
    ]


def test_many_reasons_are_no_wall_of_lines() -> None:
    items: list[Measurement | Outcome] = [measured("keras", 0.01)]
    items += [without_time(f"b{n}", "crashed", f"reason {n}") for n in range(100)]
    told = sentences(build(results_of(*items)))
    assert len(told) == 14
    assert told[-1] == "And 88 more reasons; --format csv has every case."
    (section,) = build(results_of(*items)).sections
    assert findings(section)[-1].loud


def test_a_run_that_did_not_end_is_told() -> None:
    told = sentences(build(results_of(measured("keras", 0.01, a_run(complete=False)))))
    assert "A run did not finish: cases may be missing." in told


def wild(backend: str, *seconds: float) -> list[Measurement]:
    """A backend whose processes differ by far."""
    return [measured(backend, each, a_run(number)) for number, each in enumerate(seconds)]


def test_who_is_ahead_of_the_next_but_not_surely_of_all_is_not_called_the_fastest() -> None:
    items = replicated(6, ("torch", 0.010), ("keras", 0.012))
    items += wild("jax", 0.008, 0.011, 0.013, 0.016, 0.019, 0.024)
    told = sentences(build(results_of(*items)))[0]
    assert "torch has the shortest times: 1.20× faster than keras, the next" in told
    assert told.endswith(" It is not significantly faster than jax.")


def test_a_baseline_that_lacks_a_shape_is_not_held_against_the_winner_over_all() -> None:
    both = ("torch", 0.010), ("jax", 0.020)
    items = replicated(6, ("keras", 0.03), *both) + replicated(6, *both, work=Workload(4, 10))
    told = sentences(build(results_of(*items)))[0]
    assert "of those measured on all 2 shapes, torch is the fastest" in told
    assert "keras" not in told


def test_of_a_leader_that_was_measured_in_one_window_nothing_is_said_of_shorter_ones() -> None:
    items = [measured("torch", 0.01, work=replace(TRAINING, window=each)) for each in (2, 5)]
    items += [measured("keras", 0.01, work=replace(TRAINING, window=10))]
    assert not any(
        "a timestep in windows of" in each for each in sentences(build(results_of(*items)))
    )


def test_of_many_streams_the_first_are_told_and_the_others_counted() -> None:
    items = [
        measured("keras", seconds, work=replace(TRAINING, batch=batch, window=window))
        for batch in range(1, 7)
        for window, seconds in ((1, 0.020), (2, 0.015), (5, 0.012), (10, 0.011))
    ]
    told = sentences(build(results_of(*items)))
    costs = [each for each in told if "a timestep costs at most 5% more than the least" in each]
    assert len(costs) == 4
    assert all(each.startswith("cpu, training, batch ") for each in costs)
    assert "And 2 more streams; python -m bench.report --along window has them all." in told


def starting(items: list[Measurement], **first: float) -> list[str]:
    """What is said of slow starts; first: seconds of a backend's first call."""
    late = [
        replace(item, setup={**item.setup, "first_call_s": first.get(item.case.backend, 1.0)})
        for item in items
    ]
    return [each for each in sentences(build(results_of(*late))) if " starts " in each]


def test_when_a_slow_start_has_paid_back_is_told_of_who_is_faster() -> None:
    cases = ("keras", 0.020), ("torch", 0.010), ("jax", 0.040)
    items = replicated(6, *cases)
    # Ten seconds are a thousand steps that each save ten milliseconds; jax never makes up for it.
    assert starting(items, torch=11.0, jax=11.0) == [
        "cpu, inference: torch starts 10.0 s later than keras, and has made up for it after 998 "
        "steps."
    ]
    assert starting(items, torch=1.05) == []
    level = [measured("keras", 0.0104), measured("torch", 0.0100)]
    assert starting(level, torch=11.0) == []  # which is not surely faster
    (told,) = starting(
        items + replicated(6, ("keras", 0.040), ("torch", 0.010), work=Workload(4, 10)), torch=11.0
    )
    assert told == (
        "cpu, inference: torch starts up to 10.0 s later than keras at the 2 shapes where it is "
        "FASTER, and has made up for it after 333 to 998 steps."
    )
    names = [f"b{n}" for n in range(5)]
    many = replicated(
        6, ("keras", 0.02), *((each, 0.010 + n / 1000) for n, each in enumerate(names))
    )
    found = starting(many, **dict.fromkeys(names, 11.0))
    assert [each.split()[2] for each in found] == names[:3]


def test_what_is_invalid_in_some_processes_says_in_how_many_and_of_whom() -> None:
    items = replicated(6, ("keras", 0.010), ("torch", 0.012))
    for place, text in ((0, "it was busy"), (2, "it was busy"), (5, "others were loud")):
        items[place] = replace(items[place], valid=False, reasons=(Reason("busy", text, ""),))
    (told,) = [each for each in sentences(build(results_of(*items))) if "INVALID: " in each]
    assert told == (
        "INVALID: 1 of 2 measurements: it was busy (keras/b2-t10-i3-h4/float32/inference/cpu), in "
        "2 of 6 processes."
    )
    items[7] = replace(items[7], valid=False, reasons=(Reason("busy", "others were loud", ""),))
    (told,) = [each for each in sentences(build(results_of(*items))) if "INVALID: " in each]
    assert told.startswith("INVALID: all 2 measurements: for one, ")
    assert "(keras/b2-t10-i3-h4/float32/inference/cpu), in up to 2 of 6 processes." in told


def test_many_remarks_are_cut_and_counted() -> None:
    item = replace(measured("keras", 0.01), remarks=tuple(f"warning {n}" for n in range(6)))
    (told,) = [
        each for each in sentences(build(results_of(item))) if each.startswith("Warnings from")
    ]
    assert "warning 3 (keras, 1 case)" in told
    assert "warning 4" not in told
    assert told.endswith("; and 2 more in the result files.")


def test_what_went_wrong_stands_by_how_grave_it_is() -> None:
    wrong = [
        without_time(f"b{n}", outcome, device="cpu")
        for n, outcome in enumerate(("timed_out", "crashed", "failed"))
    ]
    told = sentences(build(results_of(measured("keras", 0.01), *wrong)))
    assert [each.partition(":")[0] for each in told[-3:]] == ["FAILED", "CRASHED", "TIMED OUT"]
