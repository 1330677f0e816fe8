"""The report at a glance: of each shape who is fastest and by how much."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from bench import report
from bench.render.terminal import as_picture, draw_brief
from bench.stats.rows import Report, build
from tests.bench.made_reports import (
    REPLICATES,
    hostile_report,
    measured,
    replicated,
    results_of,
    without_time,
)
from tests.bench.made_results import as_text


def test_a_shapes_backends_are_told_the_fastest_first_with_ratio_and_verdict(few: Report) -> None:
    lines = as_text(few, draw=draw_brief).splitlines()
    start = lines.index("cpu, training")
    assert (
        lines[start + 1] == "batch 2 × 10 steps, 3 in, 4 hidden, gradients of weights, input, state"
    )
    first = r"  ★  while_loop\+xla +21\.2 ms +16\.2–27\.8 +FASTER +1\.95×"
    assert re.match(first + r" \(1\.63–2\.33\) +█", lines[start + 2])
    assert re.match(r"     keras +41\.4 ms +31\.6–54\.2 +baseline +█", lines[start + 3])


def test_what_has_no_time_or_is_not_to_be_trusted_says_so(few: Report) -> None:
    text = as_text(few, draw=draw_brief)
    assert re.search(r"^     swapped_gates +failed$", text, re.M)
    assert re.search(r"^window 10\n     while_loop +3\.13 ms .* INVALID$", text, re.M)
    assert "! FAILED: 1 case (swapped_gates on cpu)" in text


@pytest.mark.parametrize("outcome", ["not_measured", "refused"])
def test_what_cannot_run_here_takes_no_line(outcome: str) -> None:
    found = build(results_of(measured("keras", 0.01), without_time("cudnn", outcome, device="cpu")))
    assert "cudnn" in as_text(found)
    text = as_text(found, draw=draw_brief)
    assert "keras" in text
    assert "cudnn" not in text
    alone = build(results_of(measured("keras", 0.01), without_time("cudnn", outcome)))
    assert "cudnn" not in as_text(alone, draw=draw_brief)


def test_an_allowance_is_told_where_there_is_one_and_nowhere_else(few: Report) -> None:
    assert "Fewer than 6 processes" in as_text(few, draw=draw_brief)
    six = replicated(6, ("keras", 0.02), ("while_loop", 0.01))
    assert "Fewer than" not in as_text(build(results_of(*six)), draw=draw_brief)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_no_line_is_wider_than_the_terminal(few: Report, width: int) -> None:
    lines = as_text(few, width, draw_brief).splitlines()
    assert max(map(cell_len, lines)) <= width


def test_bars_and_intervals_give_way_to_numbers(few: Report) -> None:
    wide, narrow = as_text(few, 100, draw_brief), as_text(few, 56, draw_brief)
    assert "█" in wide
    assert "█" not in narrow
    assert "16.2–27.8" not in narrow
    assert re.search(r"21\.2 ms +FASTER +1\.95×", narrow)


@pytest.mark.parametrize("width", [50, 56, 90, 160])
def test_only_what_is_shown_is_explained(few: Report, width: int) -> None:
    text = as_text(few, width, draw_brief)
    assert ("█" in text) == ("Bars show speed" in text)
    intervals = re.search(r" [\d.]+–[\d.]+ ", text) is not None  # of times, not in brackets
    assert intervals == ("with their 95% CI" in " ".join(text.split()))


@settings(deadline=None)
@given(st.text())
@example("\x1b[2J\x1b[31m")
@example("[red]x[/red]\n" * 40)
@example("漢字" * 40)
def test_hostile_text_is_harmless(text: str) -> None:
    shown = as_text(hostile_report(text), 100, draw_brief)
    assert all(letter.isprintable() for letter in shown.replace("\n", ""))
    assert max(map(cell_len, shown.splitlines())) <= 100


def test_the_command_ends_with_how_to_see_more(capsys: pytest.CaptureFixture[str]) -> None:
    paths = list(map(str, REPLICATES))
    assert report.main([*paths, "--brief"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("full report: ")
    assert last.endswith(f"-m bench.report {' '.join(paths)}")


def test_it_is_a_picture_too(few: Report, tmp_path: Path) -> None:
    assert "★" in as_picture(few, draw=draw_brief)
    assert "Bars&#160;show&#160;speed" in as_picture(few, draw=draw_brief)
    path = tmp_path / "a.svg"
    assert report.main([*map(str, REPLICATES), "--brief", "--format=svg", f"--output={path}"]) == 0
    assert "while_loop+xla" in path.read_text(encoding="utf-8")
    assert "first&#160;result" not in path.read_text(encoding="utf-8")
