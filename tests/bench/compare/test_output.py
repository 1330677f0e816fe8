"""A comparison as it is shown: its tables, and that no text of a file is more than text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.output import WIDTH, Target, plain_text
from bench.machine.fields import InputError
from bench.render import compare as output
from bench.stats.pairs import Report, compare_backends, compare_devices, compare_runs
from tests.bench.compare.shown import show
from tests.bench.made_grids import grid
from tests.bench.made_nodes import a_case
from tests.bench.made_results import BUSY, gather, measured, replicates, run


def shown(report: Report, width: int = WIDTH) -> list[str]:
    return plain_text(lambda console: output.terminal(report, console), width).splitlines()


def slower() -> Report:
    """Six runs and six that are slower in one of two cases."""
    times = {a_case("keras"): 1.3, a_case("scan"): 1.0}
    base = replicates("b", dict.fromkeys(times, 1.0), jitter=0.005)
    return compare_runs(base, replicates("n", times, jitter=0.005))


def test_the_table_fits_100_columns_and_shows_every_column() -> None:
    names = ("keras", "while_loop+hoisted+xla+with+more+options")
    base, new = (
        gather(
            *(
                measured(a_case(name, batch=batch), 1.0, run(side), [BUSY])
                for name in names
                for batch in (1, 4096)
            )
        )
        for side in ("b", "n")
    )
    lines = shown(compare_runs(base, new))
    assert max(map(len, lines)) <= 100
    heading = next(line for line in lines if line.startswith("case"))
    assert heading.split() == [*("case", "base", "new", "speed", "99.5%", "CI", "verdict", "runs")]
    row = next(line for line in lines if line.startswith("keras"))
    assert row.split()[-3:] == ["UNCLEAR", "(INVALID)", "1*"]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_keeps_the_case_the_interval_and_the_verdict(width: int) -> None:
    lines = shown(slower(), width)
    assert max(map(len, lines)) <= width
    heading = next(line for line in lines if line.startswith("case"))
    assert {"case", "speed", "CI", "verdict"} <= set(heading.split())
    assert next(line for line in lines if "SLOWER" in line).split().count("SLOWER") == 1
    assert not [line for line in lines if "…" in line]


def test_the_tables_of_a_report_have_columns_of_one_width() -> None:
    during = run("a")
    names = ("keras", "scan", "a_backend_of_a_longer_name")
    items = [measured(a_case(name), 1.0, during) for name in names[:2]]
    items += [measured(a_case(name, batch=1), 10.0, during) for name in (names[0], names[2])]
    headings = [line for line in shown(compare_backends(gather(*items))) if "verdict" in line[:99]]
    assert headings[0] == headings[1]
    assert headings[0].index("base") > len(names[2])


def test_a_row_stands_under_its_heading_and_what_all_share_is_said_once() -> None:
    during = run("a")
    items = [
        measured(a_case(name, batch=batch), 1.0, during)
        for name in ("keras", "scan")
        for batch in (1, 2)
    ]
    report = replace(compare_backends(gather(*items)), opening=("What was known before.",))
    lines = shown(report)
    assert lines[1] == "What was known before."
    assert lines[2] == "All of them: float32, inference, cpu."
    assert sum(line.startswith("scan ") and "1.00 s" in line for line in lines) == 2
    text = output.markdown(report)
    assert text.count("| `scan/") == 2
    assert "- What was known before." in text


def test_a_picture_of_what_has_no_map_is_refused_with_the_reason(tmp_path: Path) -> None:
    report = compare_devices(gather(*grid({(1, 32): (1.0, 3.0)})))
    with pytest.raises(InputError, match="No map of batch × hidden size"):
        show(report, "png", Target(tmp_path / "a.png"))
    assert not (tmp_path / "a.png").exists()


def test_github_actions_gets_the_tables_and_a_line_for_each_slower_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    show(slower(), "terminal", Target(None, {"GITHUB_STEP_SUMMARY": str(summary)}))
    text = summary.read_text()
    assert text.startswith("before\n## NEW")
    assert "| `keras/b8-t10-i4-h8/float32/inference/cpu` |" in text
    assert "**SLOWER**" in text
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("::"))
    assert line.startswith("::warning title=SLOWER%3A keras::keras/b8-t10-i4-h8/float32")
    show(slower(), "terminal", Target(None))
    assert "::warning" not in capsys.readouterr().out


def test_annotations_keep_out_of_output_that_another_program_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = str(tmp_path / "summary.md")
    show(slower(), "json", Target(None, {"GITHUB_STEP_SUMMARY": summary}))
    out, err = capsys.readouterr()
    json.loads(out)
    assert err.startswith("::warning ")


HOSTILE = "a|b`c\n<script>@you [x](y) \x1b[31m::error::##[add-path] \u202e " + "z" * 300
