"""Test tables in a terminal, as Markdown and as CSV."""

import csv
import io

import pytest
from rich.cells import cell_len

from bench.cli.output import render_text
from bench.render.data import csv_lines, csv_records
from bench.render.table import Column, TableCell, TextTable
from tests.bench.harmless import assert_csv
from tests.bench.made_texts import PAYLOADS

TABLE = TextTable.of(
    [
        Column("backend", names=True, most=20),
        Column("empty"),
        Column("a long heading of it", right=True, no_wrap=True),
    ],
    [
        ["keras", "", TableCell("1.0 s", "0.9–1.1", strong=True)],
        ["a|b`c", "", TableCell("2.0 s", "<b>")],
    ],
)


def shown(table: TextTable, width: int = 80, heading: int = 60) -> list[str]:
    text = render_text(lambda console: console.print(table.grid(heading)), width)
    return text.splitlines()


def test_sheet_terminal_has_bounds_below_and_numbers_right() -> None:
    assert shown(TABLE.without_empty()) == [
        "backend  a long heading of it",
        "─" * 29,
        "keras                   1.0 s",
        "                      0.9–1.1",
        "a|b`c                   2.0 s",
        "                          <b>",
    ]


def test_sheet_long_heading_is_broken_into_lines() -> None:
    lines = shown(TABLE.without_empty(), heading=12)
    assert " ".join(" ".join(lines[:3]).split()).replace(" backend", "") == "a long heading of it"


def test_sheet_markdown_has_code_brackets_and_bold() -> None:
    assert TABLE.without_empty().markdown().splitlines() == [
        "| backend | a long heading of it |",
        "| --- | ---: |",
        "| `keras` | **1.0 s (0.9–1.1)** |",
        r"| a\|b\`c | 2.0 s (\<b\>) |",
    ]


def test_sheet_markdown_aligned_pads_columns() -> None:
    columns = [Column("of all", ours=True), Column("%", right=True, ours=True), Column("a name")]
    table = TextTable.of(columns, [["**mean**", "5*", "a*b"], ["*one*", "100*", "c"]])
    assert table.markdown(aligned=True).splitlines() == [
        "| of all   |    % | a name |",
        "| -------- | ---: | ------ |",
        "| **mean** |   5* | a\\*b   |",
        "| *one*    | 100* | c      |",
    ]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_sheet_lines_fit_the_terminal(width: int) -> None:
    long = TextTable.of(
        [Column("case", names=True, most=160), Column("k", no_wrap=True)], [["x" * 100, "y" * 8]]
    )
    lines = shown(long, width)
    assert max(map(cell_len, lines)) <= width
    # A name is broken into lines; a cell with no_wrap stays in one line.
    assert sum(line.count("x") for line in lines) == 100
    assert sum("y" * 8 in line for line in lines) == 1


def test_csv_lines_are_lazy_and_hold_no_formula() -> None:
    taken: list[int] = []

    def rows() -> list[list[object]]:
        return [[1, None, True], ["=1+1", "a\nb", 0.1]]

    def counted() -> object:
        for row in rows():
            taken.append(1)
            yield row

    lines = csv_lines(["a", "b", "c"], counted())  # type: ignore[arg-type]
    assert next(lines) == "a,b,c\r\n"
    assert len(taken) <= 1
    read = list(csv.reader(io.StringIO("".join(lines), newline="")))
    assert read == [["1", "", "true"], ["'=1+1", "a?b", "0.1"]]


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_csv_lines_any_text_is_one_cell(payload: str) -> None:
    text = "".join(csv_lines(("words",), [[payload]]))
    assert_csv(text)
    assert len(list(csv.reader(io.StringIO(text, newline="")))) == 2


def test_csv_records_unknown_name_is_an_error() -> None:
    assert "".join(csv_records(["a", "b"], [{"b": 2}, {"a": 1}])) == "a,b\r\n,2\r\n1,\r\n"
    with pytest.raises(AssertionError, match="no such columns"):
        list(csv_records(["a"], [{"c": 1}]))
