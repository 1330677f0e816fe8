"""What bench.recommend says of lengths: a decision, what it stands on, and as data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.cli.output import CommandOutput
from bench.render import recommend as shown
from bench.render.recommend import MOST_SHOWN
from bench.stats.batching import Advice, BatchingQuery, NoAdvice
from bench.stats.rows import Section
from tests.bench.made_lines import a_question, found, line, section


def told(answer: Advice | NoAdvice, command: str) -> CommandOutput:
    question = answer.question if isinstance(answer, Advice) else a_question()
    return CommandOutput(*shown.batching(question, answer, command))


def as_data(answer: Advice | NoAdvice, command: str) -> Any:
    question = answer.question if isinstance(answer, Advice) else a_question()
    return shown.batching_data(question, answer, command)


def test_the_answer_is_told_in_two_lines_with_what_it_stands_on() -> None:
    answer = found(a_question(), section({"while_loop": line(1e-3, 1e-3)}))
    lines = told(answer, "bench.run lengths mine.txt")
    assert lines.first[0].startswith("while_loop, ")
    assert "times as fast as padding all to the longest" in lines.first[0]
    assert "costs at most" in lines.first[1]
    assert "Modelled" in lines.last[-1]
    text = lines.markdown()
    assert "padded to the batch's longest" in text
    assert "| `while_loop` |" in text
    console = Console(width=100, record=True)
    lines.terminal(console)
    assert "Policies of while_loop" in console.export_text()


def test_no_answer_is_told_with_the_command_that_measures() -> None:
    lines = told(NoAdvice(), "bench.run lengths mine.txt")
    assert lines.first == (
        "No answer: no shape within a factor of 1.5 was measured in training on cpu at "
        "three lengths or more.",
        "Measure it: bench.run lengths mine.txt",
    )
    assert as_data(NoAdvice(500), "x")["reason"].startswith(
        "the longest of these sequences has 500"
    )


def test_data_are_in_seconds_and_say_that_they_are_modelled() -> None:
    answer = found(a_question(), section({"while_loop+xla": line(1e-3, 1e-3)}, once=1.0))
    data: Any = as_data(answer, "x")
    assert data["modelled"]
    best = answer.backends[0].best
    policy = data["backends"][0]["policies"][0]
    assert policy["steady_s"] == pytest.approx(best.steady(answer.backends[0].recorded.line))
    assert policy["cost_s"] > policy["steady_s"]
    assert policy["cost_s"] == pytest.approx(
        answer.backends[0].best.cost(answer.backends[0].recorded.line)
    )


def grounds(question: BatchingQuery, *sections: Section) -> str:
    return "\n".join(told(found(question, *sections), "measure").last)


def test_what_is_not_as_it_was_asked_for_is_told() -> None:
    near = section({"torch": line(1e-3, 1e-3)}, hidden=80)
    assert "hidden 64 was asked, 80 measured" in grounds(a_question(), near)
    exact = section({"torch": line(1e-3, 1e-3)})
    assert "A near shape" not in grounds(a_question(), exact)
    assert "beyond those that were measured" not in grounds(a_question(), exact)
    longer = BatchingQuery(np.array([5, 150]), 8, 64)
    assert "Lengths of up to 150 lie beyond those that were measured." in grounds(longer, exact)


def test_a_gain_is_that_over_padding_all_to_the_longest() -> None:
    answer = found(a_question(), section({"while_loop": line(0.0, 1e-3)}))
    (only,) = answer.backends
    whole = next(plan for plan in only.plans if plan.shapes == 1 and not plan.edges)
    gain = whole.cost(only.recorded.line) / only.best.cost(only.recorded.line)
    assert gain > 1.5
    told_gain = f"{gain:.3g} times as fast as padding all to the longest"
    assert told_gain in told(answer, "measure").first[0]


def test_both_ways_of_padding_are_shown_whatever_they_cost() -> None:
    ((_, policies), _) = told(found(a_question(), section({"torch": line(0.0, 1e-3)})), "x").tables
    shown = [cells[0].text for cells in policies.lines]
    assert len(shown) <= MOST_SHOWN + 2
    assert {"padded to the longest of all", "padded to the batch's longest"} <= set(shown)


def test_without_bounds_it_is_said_that_there_are_none() -> None:
    answer = found(a_question(), section({"torch": line(1e-3, 1e-3)}))
    unbounded = replace(answer, backends=(replace(answer.backends[0], regret=None),))
    assert told(unbounded, "x").first[1].startswith("No process measured every length")


def test_what_new_shapes_cost_stands_beside_the_rest_or_that_they_cost_nothing() -> None:
    (_, policies), (_, backends) = told(
        found(a_question(), section({"while_loop+xla": line(1e-3, 1e-3)}, once=3.0)), "x"
    ).tables
    heads = [column.heading for column in policies.columns]
    (one,) = (cells for cells in policies.lines if cells[0].text == "padded to the longest of all")
    assert one[heads.index("of it new shapes")].text == "3.00 s"
    assert backends.lines[0][-1].text == "3.00 s"
    _, (_, free) = told(found(a_question(), section({"torch": line(1e-3, 1e-3)})), "x").tables
    assert free.lines[0][-1].text == "none"
