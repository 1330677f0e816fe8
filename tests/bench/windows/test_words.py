"""What windows cost in words: the sentence of a backend, its notes, and how to read them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.render.messages import (
    near_from,
    signed,
    signed_range,
    window_method,
    window_notes,
    window_sentence,
    with_range,
    without_time,
)
from bench.stats.along import Stream
from bench.stats.intervals import Interval
from tests.bench import made_windows as made

COST = made.Cost(1e-3, 1e-4)


def alone(folder: Path, cost: made.Cost = COST, **how: Any) -> Stream:
    """A stream of one backend."""
    how = {"noise": 0.0, "processes": 2, **how}
    (found,) = made.read_streams(made.write_windows(folder, {"while_loop": cost}, **how))
    return found


def test_the_sentence_names_the_window_that_is_enough_and_both_costs(tmp_path: Path) -> None:
    found = alone(tmp_path, made.Cost(2.1e-4, 1.1e-4), processes=6)
    assert window_sentence(found.backends[0]) == (
        "while_loop: a timestep is within 5% of its least in windows of 60 and more; "
        "the line is 210 µs (210–210) a step + 110 µs (110–110) a timestep"
    )


def test_bounds_of_the_window_that_is_enough_stand_in_brackets(tmp_path: Path) -> None:
    (cost,) = alone(tmp_path, processes=1).backends
    assert cost.cheapest is not None
    # Of what is longer than the longest nothing is known.
    assert near_from(cost.cheapest) == ("240", "30–≥ 960")
    assert "in windows of 240 and more (30 to 960);" in window_sentence(cost)


@pytest.mark.parametrize(
    ("fixed", "told", "cell"),
    [
        (1e-6, "within 5% of its least in windows of every length, of 3 and more", "≤ 3"),
        (1.0, "within 5% of its least in the longest windows alone, of 960", "≥ 960"),
    ],
)
def test_nothing_is_said_of_windows_that_were_not_measured(
    fixed: float, told: str, cell: str, tmp_path: Path
) -> None:
    (cost,) = alone(tmp_path, made.Cost(fixed, 1e-4), processes=6).backends
    assert cost.cheapest is not None
    assert told in window_sentence(cost)
    assert near_from(cost.cheapest) == (cell, "")


def test_long_windows_that_cost_more_again_are_told(tmp_path: Path) -> None:
    slower = made.Cost(1e-3, 1e-4, slower={480: 1.1, 960: 1.2})
    found = alone(tmp_path, slower, processes=6)
    told = window_sentence(found.backends[0])
    assert "in windows of 120 and more, and costs 16% (16–16) more in windows of 960;" in told
    assert "windows of 960 cost" in told.rpartition(";")[2]
    (bent,) = [
        note for note in window_notes(found, found.backends[0]) if note.startswith("The times")
    ]
    assert bent.startswith("The times bend away from one line: k = 3 to 30 alone have 1.00 ms a")
    assert " a step + 100 µs" in bent
    assert ", k = 60 to 960 alone have 42.7 µs a step + 112 µs a timestep." in bent


@pytest.mark.parametrize(
    ("slower", "told"),
    [(1.5, "windows of 30 cost 43% more than the line"), (0.5, "windows of 30 cost 47% less")],
)
def test_where_the_line_misses_most_is_told_with_its_side(
    slower: float, told: str, tmp_path: Path
) -> None:
    found = alone(tmp_path, made.Cost(1e-3, 1e-4, slower={30: slower}), processes=6)
    assert told in window_sentence(found.backends[0]).rpartition(";")[2]
    assert window_notes(found, found.backends[0])[0].startswith(
        f"Where the line misses most: {told}"
    )


def test_two_windows_are_told_to_be_too_few(tmp_path: Path) -> None:
    (cost,) = alone(tmp_path, windows=(30, 60)).backends
    assert window_sentence(cost).endswith("measured at 2 windows; 3 make a line")
    (cost,) = alone(tmp_path / "one", windows=(30,)).backends
    assert window_sentence(cost).endswith("measured at 1 window; 2 can be compared")


def test_where_there_is_no_line_none_is_told(tmp_path: Path) -> None:
    (cost,) = alone(tmp_path, made.Cost(1e-3, 1e-4, slower={30: 10})).backends
    told = window_sentence(cost)
    assert "; no line fits its windows: windows of 30 cost " in told
    assert "the line is" not in told


# -- notes


def test_a_line_that_fits_has_one_note(tmp_path: Path) -> None:
    found = alone(tmp_path, processes=6)
    assert window_notes(found, found.backends[0]) == [
        "Where the line misses most: windows of 3 cost 0% less than the line."
    ]


def test_windows_without_a_time_are_told_with_the_reason_and_what_changes_it(
    stream: Stream,
) -> None:
    unrolled = next(cost for cost in stream.backends if cost.backend == "static_unroll+xla")
    assert (
        "k = 120, 240, 480 and 960 timed out: its time limit of 120 s was passed "
        "(to change that: give it longer with --case-limit)"
    ) in window_notes(stream, unrolled)


def test_backends_without_any_time_stand_together_where_the_reason_is_the_same(
    tmp_path: Path,
) -> None:
    costs = {
        "while_loop": COST,
        **made.refused("cudnn", "torch"),
        **made.refused("keras", reason="it is not installed"),
    }
    (found,) = made.read_streams(made.write_windows(tmp_path, costs))
    assert without_time(found.backends) == [
        "cudnn and torch reach no window: refused: it runs on GPUs only "
        "(to change that: give it longer with --case-limit)",
        "keras reaches no window: refused: it is not installed "
        "(to change that: give it longer with --case-limit)",
    ]


def test_a_window_that_was_not_asked_of_a_backend_is_told_of_it(tmp_path: Path) -> None:
    paths = made.write_windows(tmp_path, processes=2)
    for path in paths:
        document = json.loads(path.read_text())
        document["lstm"]["outcomes"] = [
            each for each in document["lstm"]["outcomes"] if "w960" not in each["case_id"]
        ]
        path.write_text(json.dumps(document))
    (found,) = made.read_streams(paths)
    unrolled = next(cost for cost in found.backends if cost.unreached)
    told = window_notes(found, unrolled)
    assert told[0].startswith("k = 120, 240 and 480 timed out: its time limit of 120 s was passed")
    assert told[1] == "k = 960 not measured: not in the suite, or the run ended first"


def test_windows_that_cannot_be_trusted_are_named(tmp_path: Path) -> None:
    (found,) = made.read_streams([made.write_first_two_invalid(tmp_path, {"while_loop": COST})])
    told = window_notes(found, found.backends[0])
    assert "k = 3 and 5 INVALID: the machine was busy (close other programs)" in told


def test_doubts_of_several_texts_are_told_in_the_words_of_the_first(tmp_path: Path) -> None:
    (path,) = made.write_windows(tmp_path, {"while_loop": COST}, processes=1, valid=False)
    document = json.loads(path.read_text())
    for entry in document["benchmarks"][1:]:
        entry["extra_info"]["lstm"]["validity"]["reasons"][0]["text"] = "it was busier"
    path.write_text(json.dumps(document))
    (found,) = made.read_streams([path])
    (told,) = [note for note in window_notes(found, found.backends[0]) if "INVALID" in note]
    assert told.endswith(" and 960 INVALID: at k = 3 the machine was busy (close other programs)")


def test_what_happened_in_a_few_processes_is_noted(tmp_path: Path) -> None:
    paths = made.write_windows(tmp_path, {"while_loop": COST}, processes=8)
    document = json.loads(paths[0].read_text())
    busy = {"code": "busy", "text": "the machine was busy", "advice": "close other programs"}
    entry = document["benchmarks"][4]["extra_info"]["lstm"]  # k = 30
    entry["validity"] = {"valid": False, "reasons": [busy]}
    paths[0].write_text(json.dumps(document))
    (found,) = made.read_streams(paths)
    told = window_notes(found, found.backends[0])
    assert "k = 30 noted: the machine was busy (close other programs) [in 1 of 8 runs]" in told
    assert "INVALID" not in " ".join(told)


def test_processes_without_every_window_are_told_of_the_line(tmp_path: Path) -> None:
    paths = made.write_windows(tmp_path, {"while_loop": COST}, processes=2)
    document = json.loads(paths[0].read_text())
    del document["benchmarks"][4]
    paths[0].write_text(json.dumps(document))
    (found,) = made.read_streams(paths)
    told = window_notes(found, found.backends[0])
    assert "The line leaves out 1 process that did not measure every window." in told
    assert not any(note.startswith("No process measured") for note in told)
    document = json.loads(paths[1].read_text())
    del document["benchmarks"][3]
    paths[1].write_text(json.dumps(document))
    (found,) = made.read_streams(paths)
    told = window_notes(found, found.backends[0])
    assert any(note.startswith("No process measured every window: the line") for note in told)


# -- how to read it


def test_one_process_has_an_allowance_and_that_is_said(tmp_path: Path, stream: Stream) -> None:
    told = " ".join(window_method([alone(tmp_path, processes=1)]))
    assert "1 process: allowance of 29% for the spread between processes added (15% in" in told
    assert "allowance" not in " ".join(window_method([stream]))


def test_that_the_machines_speed_moved_is_told_once_of_all_windows(
    tmp_path: Path, stream: Stream
) -> None:
    paths = made.write_windows(tmp_path, {"while_loop": COST}, (30, 60, 120), noise=0.3)
    told = [line for line in window_method(made.read_streams(paths)) if "speed changed" in line]
    assert len(told) == 1
    assert "the intervals of 1 time reach" in told[0]
    assert "speed changed" not in " ".join(window_method([stream]))


def test_what_learning_means_is_told_where_it_is_shown(
    stream: Stream, learning: Callable[..., Stream]
) -> None:
    star = "* A shorter window learned a longer distance"
    assert "learns:" not in " ".join(window_method([stream]))
    rising = " ".join(window_method([learning((30, 20), (60, 20))]))
    assert "learned at that window by every seed, the state carried" in rising
    assert star not in rising
    assert star in " ".join(window_method([learning((30, 20), (60, 8))]))
    named = replace(learning((30, 20)), learned_from="a.json: the echo")
    assert "from window to window (a.json: the echo)." in " ".join(window_method([named]))


def test_quantities_of_either_sign_are_readable() -> None:
    assert signed(-2e-5) == "−20.0 µs"
    assert signed_range(Interval(-1e-5, 1e-5, 3e-5, 0.95)) == "−10.0 to 30.0"
    assert signed_range(Interval(-2e-3, -1e-6, 2e-3, 0.95)) == "−2.00 ms to 2.00 ms"
    assert signed_range(Interval(-1.16e-3, 9.67e-4, 1.418e-3, 0.95)) == "−1160 to 1418"
    assert signed_range(Interval(1e-5, 2e-5, 3e-5, 0.95)) == "10.0–30.0"
    assert with_range(-2e-5, None) == "−20.0 µs"
    assert with_range(2e-5, Interval(1e-5, 2e-5, 3e-5, 0.95)) == "20.0 µs (10.0–30.0)"
