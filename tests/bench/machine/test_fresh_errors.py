"""What an error says, in one line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.machine.fresh import LONGEST_ERROR, one_line


class Evil(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise KeyboardInterrupt


def test_an_error_without_words_is_one_line() -> None:
    assert one_line(Evil()).startswith("it cannot be put into words")
    assert one_line(ValueError("\n\nfirst\nsecond")) == "first"
    assert one_line(ValueError("Graph execution error:\n\nwhat it was\nmore")) == (
        "Graph execution error: what it was"
    )
    assert one_line(ValueError("nothing follows:")) == "nothing follows:"


@given(st.text())
def test_whatever_an_error_says_it_is_one_line_that_says_something(text: str) -> None:
    line = one_line(ValueError(text))
    assert len(line.splitlines()) == 1
    assert line.strip() == line


def test_an_error_that_says_nothing_or_too_much_is_still_one_line() -> None:
    assert one_line(ValueError()) == one_line(ValueError(" \n")) == "it said nothing"
    assert len(one_line(ValueError("x" * 5000))) == LONGEST_ERROR == 300
    assert one_line(ValueError("x" * 300)) == "x" * 300
