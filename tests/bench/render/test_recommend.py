"""Which window and backend, in words and as data: what is sure, what is assumed, what is near."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.output import plain_text
from bench.records.maps import LearningMap
from bench.render.recommend import as_json, document, in_one_line
from bench.render.table import Document
from bench.stats.recommend import MeasuredWindows, Query, answer
from tests.bench import made_windows as made

QUESTION = Query(14, 64, 256)
INFERENCE = Query(0, 64, 256, steps=58, mode="inference")
COMMANDS = ("python -m bench.run ./dependency-14.toml --processes 6",)


def said(
    given: Sequence[MeasuredWindows], question: Query = QUESTION, learned: LearningMap | None = None
) -> Document:
    return document(question, answer(question, given, learned), learned, COMMANDS)


def first(
    given: Sequence[MeasuredWindows], question: Query = QUESTION, learned: LearningMap | None = None
) -> str:
    return in_one_line(question, answer(question, given, learned))


def lines(
    given: Sequence[MeasuredWindows], question: Query = QUESTION, learned: LearningMap | None = None
) -> dict[str, str]:
    """What is said under each heading."""
    _, block, _ = said(given, question, learned).blocks
    return dict(str(line).split(": ", 1) for line in block.lines)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Sequence[MeasuredWindows]:
    """The usual windows, each sample what its cost says."""
    return made.read_places(made.write_windows(tmp_path_factory.mktemp("exact"), noise=0.0))


# -- the first line


def test_the_first_line_is_this_window_this_backend_and_what_they_cost(
    exact: Sequence[MeasuredWindows],
) -> None:
    learned = made.learned_through({10: 8, 15: 20, 30: 50})
    told = "Take windows of 15 and while_loop+hoisted: 4.50 ms (4.50–4.50) a step, 49.4 MiB."
    assert first(exact, learned=learned) == told
    assert said(exact, learned=learned).markdown().startswith(f"## {told}\n\n### For a dep")
    found = answer(QUESTION, exact, learned)
    assert json.loads(as_json(QUESTION, found, learned, COMMANDS))["answer"] == told


def test_the_first_line_says_what_is_assumed_near_or_untrusted(tmp_path: Path) -> None:
    given = made.read_places(made.write_windows(tmp_path, batch=96, valid=False, memory=False))
    told = first(given)
    assert told.startswith(
        "No map says which window learns a dependency of 14. Assuming at least 29, take 30 and "
    )
    assert "MiB" not in told
    assert "the measurement is INVALID" in told
    assert told.endswith("measured at a near shape (batch 96 for 64).")


def test_others_that_may_be_as_fast_are_told_in_the_first_line_and_named_below(
    tmp_path: Path,
) -> None:
    costs = {"keras": made.Cost(1e-3, 1e-4), "while_loop": made.Cost(1e-3, 1.005e-4)}
    given = made.read_places(made.write_windows(tmp_path / "same", costs, noise=1e-4))
    assert first(given).endswith("; others may be equally fast.")
    assert lines(given)["backend"] == (
        "keras has the shortest time; the same within 2%: while_loop (take the one of less memory "
        "or compiling)"
    )
    given = made.read_places(made.write_windows(tmp_path / "unclear", costs, noise=0.1))
    assert "not significantly slower: " in lines(given)["backend"]
    alone = made.read_places(made.write_windows(tmp_path / "a", {"keras": costs["keras"]}))
    assert lines(alone)["backend"] == "keras, the only one measured"


# -- what is below it


def test_the_answer_has_intervals_memory_and_what_was_measured(
    exact: Sequence[MeasuredWindows],
) -> None:
    found = lines(exact)
    assert found["window"] == (
        "30 timesteps, the shortest measured one of at least 29: no map says which window learns a "
        "dependency of 14; assumed is twice the dependency and one timestep"
    )
    # 7.8 ms, and 9.4 ms of the next.
    assert found["backend"] == (
        "while_loop+hoisted, FASTER than each of the others: 1.21 times as fast as "
        "static_unroll+xla, the next (1.21–1.21)"
    )
    assert found["per step"] == "7.80 ms (7.80–7.80)"
    assert found["per timestep"] == "260 µs (260–260), of the whole batch"
    assert found["memory"] == "51.1 MiB at its peak"
    assert found["startup"] == "trace 200 ms and compile 100 ms"
    assert found["measured"] == (
        "exactly this shape, 128 in, adam updates, gradients of weights, input, state; truncation "
        "on of made-up a67554 · 2025-01-01 12:00 UTC · 6 processes"
    )
    assert found["longer"] == (
        "windows of 240 take 13% less time per timestep (225 µs, while_loop+hoisted) and 24.0 MiB "
        "more memory"
    )


def test_one_process_says_that_its_interval_is_its_own_and_what_is_invalid(tmp_path: Path) -> None:
    given = made.read_places(made.write_windows(tmp_path, processes=1, valid=False))
    text = " ".join(plain_text(said(given).terminal).split())
    assert "the interval stands on 1 process: order statistics of its own samples" in text
    assert "INVALID, do not rely on it: the cores were busy" in text
    assert text.endswith(f"To measure precisely this {COMMANDS[0]}")
    assert "the shortest time" in lines(given)["backend"]


# -- sequences that end


def test_windows_of_sequences_that_end_are_no_longer_than_they_are(
    exact: Sequence[MeasuredWindows],
) -> None:
    question = Query(14, 64, 256, steps=25)
    told = first(exact, question)
    assert told.startswith("Take windows of 25 and")
    assert "(steps 30 for 25)" in told
    assert "ssum" not in told
    assert "of 14 timesteps in sequences of 25 timesteps" in said(exact, question).markdown()
    assert "the whole sequence: a longer one would" in lines(exact, question)["window"]


def test_inference_has_no_window(tmp_path: Path) -> None:
    costs = {"keras": made.Cost(1e-3, 1e-4)}
    given = made.read_places(
        made.write_windows(
            tmp_path, costs, (None,), timesteps=60, mode="inference", optimizer=None, processes=1
        )
    )
    answered = said(given, INFERENCE, made.learned_through({30: 20}))
    head, about, _ = answered.blocks
    told = head.title
    assert told.startswith("Take keras: ")
    assert "measured at a near shape (steps 60 for 58)" in told
    assert about.title.startswith("For sequences of 58 timesteps, batch 64")
    assert "window" not in plain_text(answered.terminal)
    none = answer(INFERENCE, [])
    assert in_one_line(INFERENCE, none) == (
        "Which backend is fastest was not measured: there are no results of inference on cpu."
    )


# -- where nothing answers


def test_what_was_not_measured_is_told_first_and_the_nearest_is_named_as_such(
    tmp_path: Path,
) -> None:
    given = made.read_places(made.write_windows(tmp_path, batch=8, processes=1))
    assert first(given) == (
        "No map says which window learns a dependency of 14. Windows of at least 29 are assumed; "
        "which backend is fastest was not measured: no shape within a factor of 1.5 was measured "
        "in training on cpu."
    )
    found = lines(given)
    assert list(found) == ["window", "no results", "the nearest"]
    assert "but batch 8, 256 hidden, 128 in, 1 layer, float32" in found["no results"]
    assert found["the nearest"].startswith(
        "batch 8, 256 hidden, 128 in: there, at windows of 30, while_loop+h"
    )
    assert found["the nearest"].endswith("a step, which says nothing of what it takes here")
    data = json.loads(as_json(QUESTION, answer(QUESTION, given), None, COMMANDS))
    assert (data["answered"], data["nearest"]["window"]) == (False, 30)


def test_a_dependency_that_no_window_learned_leads_with_what_the_map_knows(
    exact: Sequence[MeasuredWindows],
) -> None:
    """What was tried in vain comes first, and a window only as the assumption that it is."""
    learned = made.learned_through({10: 8, 30: 20})
    assert first(exact, replace(QUESTION, dependency=40), learned).startswith(
        "No window is known to learn a dependency of 40: distances up to 20 were learned. Assuming "
        "at least 81, take "
    )


# -- data
