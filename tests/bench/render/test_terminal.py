"""Consoles show text as it is, and there are no others."""

from __future__ import annotations

import ast
import io

import pytest
from rich.table import Table
from rich.text import Text

from bench.render.escape import hanging, print_below, text_console
from tests.places import ROOT

BENCH = ROOT / "bench"


@pytest.mark.parametrize("text", ["[link=https://a.b]x[/link]", "[/x]", "[red]a", ":smile:"])
def test_a_plain_string_is_shown_as_it_is_wherever_it_stands(text: str) -> None:
    file = io.StringIO()
    console = text_console(file=file, width=100, force_terminal=True)
    table = Table(text, title=text, caption=text)
    table.add_row(text)
    console.print(text)
    console.rule(text)
    console.print(table)
    assert file.getvalue().count(text) == 6
    assert "]8;" not in file.getvalue()


def test_every_console_is_made_in_the_one_place() -> None:
    """What reads markup on its own (``Console``, ``print``, ``TextColumn``) is used nowhere else
    but with markup switched off."""
    found = []
    for path in sorted(BENCH.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func).rpartition(".")[2]
            options = {each.arg: ast.unparse(each.value) for each in node.keywords}
            if called in ("Console", "TextColumn") and options.get("markup") != "False":
                found.append(f"{path.name}:{node.lineno} {called}")
            if called in ("from_markup", "render_markup"):
                found.append(f"{path.name}:{node.lineno} {called}")
    assert found == []


def test_a_line_s_continuation_stands_below_its_text() -> None:
    file = io.StringIO()
    console = text_console(file=file, width=20)
    console.print(hanging("[1]", Text("one two three four five")))
    print_below(console, "A title", ["and a line"])
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert lines == ["[1] one two three", "    four five", "", "A title", "  and a line"]
