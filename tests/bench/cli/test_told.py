"""An answer of lines and tables: in a terminal of any width, in Markdown, and whatever it holds."""

from __future__ import annotations

import io

import pytest

from bench.cli.output import CommandOutput, plain_text
from bench.render.escape import text_console
from bench.render.table import Cell, Column, Sheet
from tests.bench.harmless import assert_markdown, assert_plain, assert_styled
from tests.bench.made_texts import PAYLOADS

SHEET = Sheet.of(
    [Column("name", names=True), *(Column(f"time {n}", right=True, least=20) for n in range(3))],
    [["keras", "1 s", "2 s", "3 s"]],
)


def test_lines_stand_before_and_after_the_tables_and_each_table_below_its_own() -> None:
    said = CommandOutput(("first",), (("above", SHEET), ("", SHEET)), ("last",))
    lines = plain_text(said.terminal, 200).splitlines()
    assert (lines[0], lines[-1]) == ("first", "last")
    assert lines[lines.index("above") + 1].split()[0] == "name"
    assert sum("keras" in line for line in lines) == 2
    blocks = said.markdown().split("\n\n")
    assert blocks[:2] == ["first", "above:"]
    assert blocks[2] == blocks[3] == SHEET.markdown().strip("\n")
    assert blocks[-1] == "last\n"


def test_columns_have_what_they_ask_for_where_the_terminal_is_wide_enough() -> None:
    said = CommandOutput((), (("", SHEET),), ())
    wide, narrow = (plain_text(said.terminal, width) for width in (200, 40))
    assert max(map(len, wide.splitlines())) > 60
    assert max(map(len, narrow.splitlines())) <= 40
    assert all(f"{n} s" in narrow for n in (1, 2, 3))


@pytest.mark.parametrize("payload", PAYLOADS, ids=ascii)
def test_lines_cells_and_bounds_are_text_whoever_tells_them(payload: str) -> None:
    columns = [Column("name", names=True), Column("words"), Column("number", right=True)]
    sheet = Sheet.of(columns, [[payload, payload, Cell(payload, payload)]])
    said = CommandOutput((payload,), ((payload, sheet),), (payload,))
    for width in (40, 120):
        for forced, check in ((False, assert_plain), (True, assert_styled)):
            file = io.StringIO()
            said.terminal(text_console(file=file, width=width, force_terminal=forced))
            check(file.getvalue())
    assert_markdown(said.markdown())
