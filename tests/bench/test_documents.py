"""The command that makes again what commands made in the documents."""

from __future__ import annotations

import pytest

from bench import documents
from bench.telling.command_line import BAD_INPUT


def test_an_unknown_document_is_named_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert documents.main(["docs/none.md"]) == BAD_INPUT
    wrong = capsys.readouterr().err
    assert wrong.startswith("error: docs/none.md is not a document of the project")
    assert "README.md" in wrong


def test_the_projects_own_documents_are_as_their_commands_make_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert documents.main(["--check"]) == documents.SAME, capsys.readouterr().out
