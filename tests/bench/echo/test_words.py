"""A map of what was learned, told: in a terminal, in Markdown, and as data."""

import io
import re

from rich.console import Console

from bench.cli.output import draw_on
from bench.echo import words
from bench.records.maps import LearningMap
from tests.bench.echo.made_maps import made
from tests.bench.records.test_maps import a_map, cell


def printed(found: LearningMap, values: str = "closed", encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(file=file, highlight=False, width=100)
    draw_on(console, lambda console: words.terminal(found, values, console))
    file.flush()
    return raw.getvalue().decode(encoding)


def test_markdown_has_a_table_for_each_state_with_the_mean_and_who_learned_it() -> None:
    assert words.markdown(made()).startswith(
        "backend numpy on cpu\n\n"
        "**Echo, state carried**\n\n"
        "| d \\ k | 3 | 8 |\n"
        "| ---: | ---: | ---: |\n"
        "| 1 | 0 | 100 ✓ |\n"
        "| 3 | 0 | 100 ✓ |\n"
        "| updates | 33 | 12 |\n\n"
        "**Echo, state reset at each window**\n\n"
        "| d \\ k | 3 | 8 |\n"
        "| ---: | ---: | ---: |\n"
        "| 1 | 0 | 57 1/2 |\n"
        "| 3 | – | 80 1/2 |\n"
        "| updates | 33 | 12 |\n\n"
    )


def test_losses_stand_beside_the_best_possible_and_accuracies_in_per_cent() -> None:
    assert "| 1 | 0.7 (0) | 0 (0) ✓ |" in words.markdown(made(), "loss")
    assert "| 1 | 0.7 (0.233) | 0.35 (0.0875) 1/2 |" in words.markdown(made(), "loss")
    assert "| 1 | 75.0% | 75.0% ✓ |" in words.markdown(made(), "accuracy")


def test_the_smallest_window_of_each_distance_is_told_in_words() -> None:
    assert words.summary(made()) == [
        "Echo, state carried, smallest window that every seed learned through: d=1: k=8, d=3: k=8",
        "Echo, state reset at each window, smallest window that every seed learned through: "
        "d=1: none, d=3: none",
    ]


def test_the_terminal_says_the_same_also_where_it_has_only_ascii() -> None:
    assert re.search(r"\n +1 +0 +100 ✓ *\n", printed(made()))
    plain = printed(made(), encoding="ascii")
    assert re.search(r"\n +1 +0 +100 \+ *\n", plain)
    assert re.search(r"\n +3 +- +80 1/2 *\n", plain)


def test_a_place_that_was_not_trained_is_empty_and_one_that_diverged_says_so() -> None:
    bad = cell(window=6, stride=6, loss=None, accuracy=None, problem="diverged at window 3")
    found = a_map(cell(distance=1), bad)
    texts = {
        (d, k): words.text(found, "echo", d, k, True, "closed") for d in (1, 3) for k in (5, 6)
    }
    assert texts == {(1, 5): "86", (1, 6): "", (3, 5): "", (3, 6): "diverged"}


def test_what_it_was_made_with_is_told_in_a_line() -> None:
    settings = {
        "seeds": 3,
        "timesteps": 10_000,
        "stride": None,
        "by_task": {"echo": {"batch": 16, "learning_rate": 0.02}, "copy": "?"},
    }
    assert words.about(made(settings=settings, complete=False)) == (
        "backend numpy on cpu; seeds 3; timesteps 10000; echo: batch 16, learning rate 0.02; "
        "not complete"
    )


def test_progress_is_one_line_a_cell() -> None:
    line = words.progress(cell(memoryless=1.0, loss=0.25), 3, 10)
    assert line == "[3/10] echo d=3 k=5 carried seed 0: loss 0.25 (best 0), 75% of the way"
    bad = cell(loss=None, accuracy=None, problem="a\nb\x1b[2J", carried=False)
    line = words.progress(bad, 4, 10)
    assert line.startswith("[4/10] echo d=3 k=5 reset seed 0: a")
    assert line.isprintable()
