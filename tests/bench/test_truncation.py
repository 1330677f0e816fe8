"""``python -m bench.truncation``: its options, its exit codes, and what goes where."""

from pathlib import Path

import pytest

from bench import truncation


def run(*arguments: str | Path) -> int:
    return truncation.main([str(each) for each in arguments])


def test_the_command_prints_tables_and_ends_with_0(
    usual_windows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(usual_windows) == 0
    assert "a timestep is within 5% of its least in windows of " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.md", "a.svg", "a.png", "a.txt"])
def test_a_file_is_written_in_the_format_of_its_name(
    name: str, one_process: Path, tmp_path: Path
) -> None:
    if name.endswith((".svg", ".png")):
        pytest.importorskip("matplotlib")
    assert run(one_process, "--output", tmp_path / name) == 0
    data = (tmp_path / name).read_bytes()
    start = {
        "csv": b"session,",
        "json": b"{",
        "md": b"## ",
        "svg": b"<?xml",
        "png": b"\x89PNG",
        "txt": b"truncation on",
    }[name[2:]]
    assert data.startswith(start)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--backend", "nothing"], "--backend nothing: there are no results of it; there are of:"),
        (["--device", "gpu:7"], "--device gpu:7: there are no results of it; there are of: cpu"),
        (["--format", "png"], "--format png needs --output FILE.png"),
        (["--brief"], "--brief is a table for Markdown: add --format markdown"),
        (["nothing.json"], "nothing.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], told: str, one_process: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [] if arguments == ["nothing.json"] else [one_process]
    assert run(*paths, *arguments) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert told in out.err
    assert len(out.err.splitlines()) == 1
