"""The command that compares: what it reads, where its answer goes, and its exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import compare
from tests.bench.made_grids import STEPS, grid
from tests.bench.made_nodes import a_case
from tests.bench.made_results import gather, measured, run, save
from tests.places import ROOT


@pytest.fixture(autouse=True)
def _elsewhere(in_a_folder_of_its_own: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


def test_a_bad_file_gives_one_line_and_code_2_and_the_good_ones_are_shown(
    slower: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(slower[2], "z.json").write_text("{")
    assert compare.main([*slower, "--fail-on", "slower"]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert err.startswith(f"error: {slower[2]}/z.json")
    assert "SLOWER" in out


def test_missing_files_are_errors_and_nothing_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (["devices", "none.json"], ["runs", "a.json", "b.json"]):
        assert compare.main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert "does not exist" in err


def test_the_latest_results_are_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [measured(a_case(name), 1.0, run("a")) for name in ("keras", "scan")]
    save(tmp_path / "results", gather(*items))
    assert compare.main(["backends"]) == 0
    assert "scan" in capsys.readouterr().out
    assert compare.main(["devices"]) == 0
    assert "No two devices have results (cpu)" in capsys.readouterr().out


def test_output_goes_to_a_file_and_one_that_cannot_be_written_is_an_error(
    slower: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main([*slower, "--output", "out.txt"]) == 0
    assert capsys.readouterr().out == ""
    told = Path("out.txt").read_text()
    assert "SLOWER" in told
    assert "\x1b" not in told
    assert compare.main([*slower, "--output", "a/new/folder.txt"]) == 0  # as of every command
    assert Path("a/new/folder.txt").read_text() == told
    assert compare.main([*slower, "--output", "out.txt/folder.txt"]) == 2
    assert "out.txt/folder.txt cannot be written" in capsys.readouterr().err


def test_a_picture_needs_a_file_and_is_drawn_into_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(save(tmp_path / "made", gather(*grid(STEPS))))
    assert compare.main(["devices", folder, "--format", "png"]) == 2
    assert "--format png needs --output FILE.png" in capsys.readouterr().err
    assert compare.main(["devices", folder, "--format", "svg", "--output", "a.svg"]) == 0
    assert "wins" not in capsys.readouterr().out
    assert "3.000 F" in Path("a.svg").read_text(encoding="utf-8")


def test_without_results_beside_published_ones_a_suite_of_theirs_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compare.main(["published"]) == 2
    assert "pytest --benchmark-only --lstm-suite braun" in capsys.readouterr().err


def test_beside_published_times_there_is_no_verdict_that_could_fail() -> None:
    with pytest.raises(SystemExit) as raised:
        compare.main(["published", "--fail-on", "slower"])
    assert raised.value.code == 2


def test_a_file_that_cannot_be_written_is_told_in_one_line_by_the_command_itself(
    tmp_path: Path,
) -> None:
    # The command runs as __main__, and its errors are bench.compare's.
    save(tmp_path, gather(measured(a_case(), 1.0, run("a"))))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.compare", "published", str(tmp_path / "a.json")),
            *("--output", str(tmp_path / "a.json" / "x")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "cannot be written: Not a directory" in done.stderr


# Two environments


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "nowhere/environments.json does not exist"),
        (["old", "new"], "python -m bench.run SUITE --python BASE --python NEW"),
    ],
)
def test_what_are_no_two_environments_is_one_line_and_code_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main(["environments", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told in error
    assert error.count("\n") == 1


# Starting


def test_the_exit_codes_of_the_page_are_those_of_the_command() -> None:
    """In the same words, but for the marks of code."""
    page = (ROOT / "docs/comparing.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (\d) \| (.*) \|$", page, re.MULTILINE)
    told = compare.EPILOG.split("exit codes:\n")[1].split("\n\n")[0]
    codes = re.findall(r"^  (\d)  (.*(?:\n     .*)*)", told, re.MULTILINE)
    assert [(code, " ".join(words.split())) for code, words in codes] == [
        (code, words.replace("`", "")) for code, words in table
    ]
