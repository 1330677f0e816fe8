"""Run ``python -m tools.prose PATH ...``: find turns of phrase that make sentences hard to read.

It reads Markdown files, and the docstrings and comments of Python files, and prints each phrase of
``tools/prose.toml`` with its place and what to write instead. proselint searches; its own check for
repeated words is used too. Code, links and the parts that commands made are not read.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "tools" / "prose.toml"

CLEAN, FOUND, BAD_INPUT = range(3)

EPILOG = """\
exit codes:
  0  no phrase of tools/prose.toml was found
  1  some were found; each line says where, and what to write instead
  2  bad input: a path that does not exist
"""

HIDDEN = "·"
"""What code is replaced by: neither a letter nor white space, so that no phrase reaches over it."""

_OURS = "lstm"  # the prefix of our checks' paths in proselint's registry
_MOST = 10_000  # results of one file: in practice all

_NO_PROSE = re.compile(
    r"""
    ^```.*?^```[^\n]*$                             # fenced code
    | ^<!--\ made\ by:.*?^<!--\ end\ -->$          # what a command printed
    | <!--.*?-->
    | ``[^`]*?`` | `[^`\n]*(?:\n[^`\n]+)?`         # code in a sentence
    | \]\([^)\s]*\)                                # the target of a link
    | https?://\S+
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True)
class Rule:
    """A turn of phrase and what to write instead.

    phrase: a regular expression. example: a sentence that contains the phrase.
    """

    phrase: str
    instead: str
    example: str


def load_rules(path: Path = RULES) -> list[Rule]:
    """Return the rules of a TOML file."""
    return [Rule(**each) for each in tomllib.loads(path.read_text(encoding="utf-8"))["rules"]]


def find_phrases(text: str, rules: Sequence[Rule]) -> list[tuple[int, str]]:
    """Return the line and the message of each phrase in a text, in the order of the lines."""
    from proselint.checks import lexical_illusions
    from proselint.registry import CheckRegistry
    from proselint.registry.checks import Check, Padding, types
    from proselint.tools import LintFile

    if not text.strip(f"{HIDDEN}\n "):
        return []
    ours = [
        Check(
            check_type=types.ExistenceSimple(
                Padding.WORDS_IN_TEXT.format(rule.phrase.replace(" ", r"\s+"))
            ),
            path=f"{_OURS}.{number}",
            message=f"'{{}}': {rule.instead}",
        )
        for number, rule in enumerate(rules)
    ]
    registry = CheckRegistry()
    registry.checks[:] = [*ours, *lexical_illusions.__register__]
    used = {_OURS: True, lexical_illusions.check.path: True}
    file = LintFile("text", text)
    found = [each.check_result for each in file.lint({"checks": used, "max_errors": _MOST})]
    return [
        # A result's span may begin with the white space before the phrase. The file's content has
        # one line end more than the text, at its beginning.
        (
            file.content.count(
                "\n", 0, each.span[1] - len(file.content[slice(*each.span)].lstrip())
            ),
            " ".join(each.message.split()),
        )
        for each in found
    ]


def hide_code(markdown: str) -> str:
    """Return a Markdown text of the same length and lines in which all but prose is hidden."""
    prose = _NO_PROSE.sub(lambda match: _hide(match[0]), markdown)
    # A heading and the paragraph below it may begin with the same word.
    return re.sub(r"\n[ ]*(?=\n)", f"\n{HIDDEN}", prose)


def hide_program(source: str) -> str:
    """Return a Python text of the same lines in which only docstrings and comments are left."""
    lines = source.splitlines()
    shown = [_hide(line) for line in lines]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start[0] - 1, token.start[1]
            shown[row] = " " * column + token.string.lstrip("#:!")
    for first, last in _docstrings(ast.parse(source)):
        for row in range(first - 1, last):
            shown[row] = lines[row].replace('"""', "   ")
    return hide_code("\n".join(shown))


def _hide(text: str) -> str:
    return re.sub(r"[^\n]", HIDDEN, text)


def _docstrings(tree: ast.AST) -> Iterable[tuple[int, int]]:
    """Yield the first and last line of each string that is a statement of its own."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(ast.Constant(str())):
                yield node.lineno, node.end_lineno or node.lineno


def find_files(paths: Iterable[str]) -> list[Path]:
    """Return the Markdown and Python files among these paths and in these folders.

    Raises FileNotFoundError for a path that does not exist.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; name a file or a folder")
        found += [path] if path.is_file() else sorted([*path.rglob("*.md"), *path.rglob("*.py")])
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see ``EPILOG``)."""
    # tox runs this without the project's dependencies, so bench.cli cannot be used here.
    parser = argparse.ArgumentParser(
        prog="python -m tools.prose",
        description="Find turns of phrase that make sentences hard to read.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="Markdown or Python, or folders")
    try:
        files = find_files(parser.parse_args(argv).paths)
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    rules, code = load_rules(), CLEAN
    for path in files:
        text = path.read_text(encoding="utf-8")
        prose = hide_program(text) if path.suffix == ".py" else hide_code(text)
        for line, message in find_phrases(prose, rules):
            print(f"{path}:{line}: {message}")
            code = FOUND
    return code


if __name__ == "__main__":
    sys.exit(main())
