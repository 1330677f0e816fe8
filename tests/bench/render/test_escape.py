"""Test that any text is escaped for a terminal, Markdown and a spreadsheet."""

import ast
import io
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.table import Table

from bench.render.escape import clean, code, markdown, prose, spreadsheet, text_console
from tests.bench.harmless import assert_plain
from tests.bench.made_texts import PAYLOADS
from tests.places import ROOT

TEXT = st.one_of(
    st.text(max_size=40),
    st.text("ab 1.)-+=#>|*_~`$&;:@<[](){}!\\/\n", max_size=20),
    st.builds("".join, st.lists(st.sampled_from((*PAYLOADS, "a", " ")), max_size=3)),
)


def shown(source: str) -> str:
    """Return the text of rendered Markdown, which must be one plain paragraph."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = parser.parse(source)
    assert [each.type for each in tokens] in ([], ["paragraph_open", "inline", "paragraph_close"])
    letters = [each for token in tokens for each in token.children or ()]
    assert {each.type for each in letters} <= {"text", "text_special", "code_inline"}, letters
    return "".join(each.content for each in letters)


@given(TEXT, st.integers(1, 100))
@example("A:/\x1f", 4)
@example(":::", 3)
@example("::0", 2)
def test_clean_any_text_gives_one_short_inert_line(text: str, limit: int) -> None:
    found = clean(text, limit)
    assert_plain(found)
    assert "\n" not in found
    assert len(found) <= limit + len("...")
    assert found.endswith("...") or len(text) <= limit
    assert clean(found, limit + 3) == found


def test_clean_many_blanks_become_one() -> None:
    assert clean("a" + " " * 100 + "b") == "a b"
    assert clean(" " * 1_000_000 + "b") == "..."
    assert clean("x" * 1_000_000, 5) == "xxxxx..."


@given(TEXT)
@example("1. a")
@example("12) a")
@example("_a_ and a_b")
@example("a\\")
@example("&lt;b>")
@example("http://evil.example")
def test_markdown_any_text_is_rendered_as_its_letters(text: str) -> None:
    for escape in (markdown, prose):
        assert shown(escape(text)).replace("\u200b", "") == clean(text)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("@someone", "@\u200bsomeone"),
        ("a@b.com", "a@\u200bb.com"),
        ("www.evil.example", "www\u200b.evil.example"),
        ("https://evil.example", r"https\://evil.example"),
        (":smile:", r"\:smile:"),
        ("GH #12", r"GH \#12"),
        ("a_b", "a_b"),
        ("_a", r"\_a"),
        ("-1", r"\-1"),
        ("a -1", "a -1"),
    ],
)
def test_markdown_github_syntax_is_escaped(text: str, escaped: str) -> None:
    assert markdown(text) == escaped


@given(TEXT)
def test_code_any_name_stays_inside_its_table_cell(text: str) -> None:
    found = code(text)
    assert shown(found).replace("\u200b", "") == clean(text, 60)
    assert "|" not in found.replace(r"\|", "")
    assert not found.startswith("`") or found == f"`{clean(text, 60)}`"


@given(st.one_of(TEXT, st.builds("{}{}{}".format, st.text(" \t\u3000", max_size=2), TEXT, TEXT)))
@example("＝1+1")
@example("  -1")
def test_spreadsheet_any_text_is_no_formula(text: str) -> None:
    found = spreadsheet(text)
    assert_plain(found)
    begin = unicodedata.normalize("NFKC", found).lstrip()[:1]
    assert begin not in ("=", "+", "-", "@") or not begin
    assert found in (spreadsheet("a" + text)[1:], f"'{spreadsheet('a' + text)[1:]}")


@pytest.mark.parametrize("text", ["[link=https://a.b]x[/link]", "[/x]", "[red]a", ":smile:"])
def test_text_console_markup_is_printed_as_text(text: str) -> None:
    file = io.StringIO()
    console = text_console(file=file, width=100, force_terminal=True)
    table = Table(text, title=text, caption=text)
    table.add_row(text)
    console.print(text)
    console.rule(text)
    console.print(table)
    assert file.getvalue().count(text) == 6
    assert "]8;" not in file.getvalue()


def test_consoles_of_the_project_read_no_markup() -> None:
    """``Console`` and ``TextColumn`` read markup unless it is switched off."""
    found = []
    for path in sorted((ROOT / "bench").rglob("*.py")):
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
