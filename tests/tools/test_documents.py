"""Test the command that remakes parts of the documents."""

import pytest

from bench.cli.command_line import BAD_INPUT
from tools import documents
from tools.remaking import DocumentError

CHANGED = "README.md: not as `python -m bench.report` makes it\n-old\n+new"


@pytest.fixture
def remade(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, bool], list[str]]:
    """Return what remaking or checking a document finds."""
    found: dict[tuple[str, bool], list[str]] = {}

    def remake(document: str, write: bool) -> list[str]:
        return found.get((document, write), [])

    monkeypatch.setattr(documents, "list_documents", lambda: ["README.md", "docs/a.md"])
    monkeypatch.setattr(documents, "remake", remake)
    return found


def test_documents_unknown_name_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert documents.main(["docs/none.md"]) == BAD_INPUT
    wrong = capsys.readouterr().err
    assert wrong.startswith("error: docs/none.md is not a document of the project")
    assert "README.md" in wrong


def test_documents_check_shows_the_difference_and_what_to_do(
    remade: dict[tuple[str, bool], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    remade["README.md", False] = [CHANGED]
    assert documents.main(["--check"]) == documents.DIFFERENT
    assert (
        capsys.readouterr().out
        == f"{CHANGED}\nto rewrite these parts, run: python -m tools.documents\n"
    )
    # Other documents are not read.
    assert documents.main(["--check", "docs/a.md"]) == documents.SAME
    assert capsys.readouterr().out == "every part is what its command prints\n"


def test_documents_remade_is_named_and_then_unchanged(
    remade: dict[tuple[str, bool], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    remade["README.md", True] = [CHANGED]
    assert documents.main([]) == documents.SAME
    assert capsys.readouterr().out == f"rewritten: {CHANGED.splitlines()[0]}\n"


def test_documents_wrong_comment_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(document: str, write: bool) -> list[str]:
        raise DocumentError(f"{document}: `rm x` is no command")

    monkeypatch.setattr(documents, "remake", broken)
    assert documents.main(["README.md"]) == BAD_INPUT
    assert capsys.readouterr().err == "error: README.md: `rm x` is no command\n"
