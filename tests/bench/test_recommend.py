"""``python -m bench.recommend``: its options, its exit codes, and what goes where."""

import json
from pathlib import Path

import pytest

from bench import recommend
from tests.bench import made_windows as made

ASKED = ("--dependency", 14, "--batch", 64, "--hidden", 256)


def run(*arguments: object) -> int:
    return recommend.main([str(each) for each in arguments])


def test_the_answer_is_printed_in_the_form_that_is_asked_for_or_that_a_file_is_named_for(
    usual_windows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    starts = {"terminal": "No map says", "markdown": "**No map says", "json": "{"}
    for name, form in (("a.md", "markdown"), ("a.json", "json"), ("a.txt", "terminal")):
        assert run(*ASKED, usual_windows, "--output", tmp_path / name) == 0
        assert capsys.readouterr().out == ""
        assert run(*ASKED, usual_windows, "--format", form) == 0
        told = capsys.readouterr().out
        assert told == (tmp_path / name).read_text()
        assert told.startswith(starts[form])


def test_units_are_another_name_of_hidden(
    usual_windows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ASKED[:-2], "--units", 256, usual_windows) == 0
    assert "256 hidden" in capsys.readouterr().out


def test_no_results_near_are_exit_code_1_with_how_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write_windows(tmp_path, batch=8, processes=1)
    assert run(*ASKED, tmp_path) == 1
    out = capsys.readouterr().out
    assert "no shape within a factor of 1.5" in out
    assert "python -m bench.run" in out
    assert run(*ASKED, tmp_path, "--format", "json") == 1
    assert json.loads(capsys.readouterr().out)["answered"] is False


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--dependency", "0"], "'0' is no whole number from 1"),
        (["--batch", "many"], "'many' is no whole number from 1"),
        (["--device", "tpu"], "'tpu' is no device"),
        (["--mode", "serving"], "invalid choice: 'serving'"),
        (["--mode", "inference"], "--mode inference needs --steps N"),
        (["--backend", "nothing"], "--backend nothing: there are no results of it"),
        (["--write-suite", "a.txt"], "expected a name ending in .toml"),
        (["--write-suite", "nowhere/a.toml"], "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    told: str,
    one_process: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").write_text("")
    try:
        code = run(*ASKED, one_process, *arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    out = capsys.readouterr()
    assert told in out.err
    assert (len(out.err.splitlines()), out.out) == (1, "")
    assert not list(tmp_path.glob("a.*"))


def test_a_file_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ASKED, tmp_path / "nothing.json") == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert "nothing.json" in out.err
    assert len(out.err.splitlines()) == 1
