"""What ``bench.report`` is asked: each format, where it goes, and what goes with what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench import report
from bench.cli.command_line import UsageError
from bench.records.files import collect
from bench.render import page
from bench.render.data import as_json, comma_separated
from bench.render.markdown import brief, markdown
from bench.render.terminal import as_picture
from bench.stats.rows import Report, build
from tests.bench.made_reports import REPLICATES
from tests.bench.made_results import as_text

FORMATS: dict[str, Callable[[Report], str]] = {
    "terminal": as_text,
    "markdown": markdown,
    "csv": lambda report: "".join(comma_separated(report)),
    "json": as_json,
    "html": page.page,
    "svg": as_picture,
}


def ask(*words: str) -> int:
    return report.report(report._parser().parse_args([*map(str, REPLICATES), *words]))


@pytest.mark.parametrize("kind", list(FORMATS))
def test_every_format_goes_to_a_file_or_to_the_output(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out"
    assert ask("--format", kind, "--output", str(path)) == 0
    assert capsys.readouterr().out == ""
    written = path.read_bytes().decode()
    assert written == FORMATS[kind](build(collect(REPLICATES)))
    assert ask("--format", kind) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        line.rstrip() for line in written.splitlines()
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        *(
            (f"--brief --format {form}", "--brief goes with --format terminal, markdown, svg")
            for form in ("csv", "json", "html")
        ),
        ("--why --brief", "--why goes with --format terminal, markdown and without --brief"),
        ("--why --format html", "csv and json have it of every case"),
        ("--unmeasured --format csv", "csv and json have every case"),
        ("--format parquet", "name a file for it: --output report.parquet"),
    ],
)
def test_what_does_not_go_together_is_refused(words: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        ask(*words.split())


def test_in_brief_the_command_for_all_of_it_is_told_to_people_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("--brief") == 0
    assert "full report: " in capsys.readouterr().out
    assert ask("--brief", "--output", str(tmp_path / "out")) == 0
    assert "full report: " not in (tmp_path / "out").read_text(encoding="utf-8")
    assert ask("--brief", "--format", "markdown") == 0
    assert capsys.readouterr().out.rstrip() == brief(build(collect(REPLICATES))).rstrip()


def test_every_sample_is_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "samples.csv"
    assert ask("--format", "samples.csv", "--output", str(path)) == 0
    rows = path.read_text(encoding="utf-8").splitlines()
    count = sum(each.samples.size for each in collect(REPLICATES).measurements)
    assert len(rows) == 1 + count
    assert capsys.readouterr().out == ""
