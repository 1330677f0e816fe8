"""Test the check that finds hard phrases in documents, docstrings and comments."""

from pathlib import Path

import pytest

from tools import prose
from tools.prose import Rule, find_phrases, hide_code, hide_program, load_rules

RULES = [Rule("so many", "give the number", "so many steps")]


@pytest.mark.parametrize("rule", load_rules(), ids=lambda rule: rule.phrase)
def test_each_rule_finds_its_own_example(rule: Rule) -> None:
    ((line, message),) = find_phrases(hide_code(rule.example), [rule])
    assert line == 1
    assert message.endswith(rule.instead)


def test_phrase_is_found_across_the_end_of_a_line_and_in_any_case() -> None:
    found = find_phrases(hide_code("A window.\n\nSo\nmany steps.\n"), RULES)
    assert found == [(3, "'So many': give the number")]


def test_repeated_word_is_found_only_inside_a_paragraph() -> None:
    ((line, message),) = find_phrases(hide_code("# The\n\nThe case is is here.\n"), [])
    assert line == 3
    assert "is is" in message


@pytest.mark.parametrize(
    "hidden",
    [
        "`so many`",
        "``so many``",
        "```text\nso many\n```",
        "<!-- made by: python -m bench -->\nso many\n<!-- end -->",
    ],
)
def test_code_links_and_what_commands_printed_are_not_read(hidden: str) -> None:
    assert find_phrases(hide_code(f"Text.\n\n{hidden}\n\nMore text.\n"), RULES) == []


def test_docstrings_and_comments_are_read_and_strings_are_not() -> None:
    lines = ['"""Say so many."""', 'x = "so many"  # so many', "def f():"]
    source = "\n".join([*lines, '    """Say.', "", "    So many.", '    """', ""])
    assert [line for line, _ in find_phrases(hide_program(source), RULES)] == [1, 2, 6]


def test_command_names_the_place_and_what_to_write_instead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.md").write_text("# A page\n\nIt has one sentence.\n")
    assert prose.main([str(tmp_path)]) == prose.CLEAN
    (tmp_path / "bad.md").write_text("# A page\n\nThe kernels at hand.\n")
    assert prose.main([str(tmp_path)]) == prose.FOUND
    assert capsys.readouterr().out == f"{tmp_path / 'bad.md'}:3: 'at hand': write 'available'\n"


def test_command_names_a_path_that_does_not_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prose.main([str(tmp_path / "none.md")]) == prose.BAD_INPUT
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'none.md'} does not exist")
