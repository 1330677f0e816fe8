"""Test output to a file, a pipe, a terminal without the letters, and GitHub's summary."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from rich.console import Console

from bench.cli import output


def terminal(console: Console) -> None:
    console.print("★ 1–2 µs  ")


def lines() -> Iterator[str]:
    yield "a\n"
    yield "b\ud800\n"


def target(kind: str | None, path: Path | None) -> argparse.Namespace:
    return argparse.Namespace(format=kind, output=path)


TEXTS: Mapping[str, Callable[[], output.Answer]] = {
    "markdown": lambda: "**x**\n",
    "csv": lines,
    "png": lambda: b"\x89PNG",
}


def test_deliver_file_equals_pipe_and_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, expected in (
        ("terminal", b"\xe2\x98\x85 1\xe2\x80\x932 \xc2\xb5s\n"),  # no blanks at a line's end
        ("markdown", b"**x**\n"),
        ("csv", b"a\nb?\n"),
        ("png", b"\x89PNG"),
    ):
        path = tmp_path / kind
        output.deliver(target(kind, path), terminal, TEXTS)
        assert path.read_bytes() == expected
        assert capsys.readouterr() == ("", f"written: {path}\n")
    output.deliver(target("markdown", None), terminal, TEXTS)
    assert capsys.readouterr() == ("**x**\n", "")


def test_deliver_summary_gets_markdown_appended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    texts = {"markdown": TEXTS["markdown"], "csv": lambda: "a\n"}
    output.deliver(target("csv", None), terminal, texts, str(summary))
    assert summary.read_text() == "before\n**x**\n\n"
    output.deliver(
        target("markdown", None), terminal, TEXTS, str(summary), lambda: ["::warning::w"]
    )
    assert capsys.readouterr().err == "::warning::w\n"
