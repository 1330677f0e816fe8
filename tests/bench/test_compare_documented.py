"""docs/comparing.md says what ``bench.compare`` does: in its own words and commands."""

from __future__ import annotations

import re
import shlex

import pytest

from bench import compare
from bench.cli import fail_on as comparison
from tests.places import ROOT

PAGE = (ROOT / "docs/comparing.md").read_text(encoding="utf-8")


def test_the_exit_codes_are_those_of_the_command() -> None:
    """In the same words, but for the marks of code."""
    table = re.findall(r"^\| (\d) \| (.*) \|$", PAGE, re.MULTILINE)
    told = compare.EPILOG.split("exit codes:\n")[1].split("\n\n")[0]
    codes = re.findall(r"^  (\d)  (.*(?:\n     .*)*)", told, re.MULTILINE)
    assert [(code, " ".join(words.split())) for code, words in codes] == [
        (code, words.replace("`", "")) for code, words in table
    ]


@pytest.mark.parametrize(
    "command",
    re.findall(r"python -m bench\.compare ((?:backends|devices|runs|published) .*)", PAGE),
)
def test_every_command_shown_is_one_that_the_parser_takes(command: str) -> None:
    words = shlex.split(command, comments=True)
    options = compare._parser().parse_args(words)
    assert options.what == words[0]
    if getattr(options, "fail_on", None):
        assert comparison.parse_rule(options.fail_on).threshold == 0.05
