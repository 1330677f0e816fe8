"""The report in Markdown, whole and in brief."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given, settings

from bench.render.markdown import brief, markdown
from bench.stats.rows import Report, build
from lstm_impl.workload import Workload
from tests.bench.made_reports import HOSTILE, SPEC, TRAINING, hostile_report, measured, results_of


def test_in_brief_each_work_has_one_line_with_its_fastest_backend(few: Report) -> None:
    lines = brief(few).splitlines()
    assert lines[0] == (
        "|  | work | shortest time | time | 95% CI | against keras | 99.5% CI | trust |"
    )
    assert lines[2] == (
        "| cpu, inference | batch 2 × 10 steps, 3 in, 4 hidden | `keras` ★ | 11.1 ms | 8.48–14.5 | "
        "it is that |  |  |"
    )
    assert sum(line.startswith("|") for line in lines) == 2 + sum(
        len(table.groups) for section in few.sections for table in section.tables
    )
    assert "golden on Golden cafe01 · 2025-01-31 12:01 UTC · 2 processes" in lines[-1]


def test_markdown_has_a_line_a_case_and_the_same_sentences(few: Report) -> None:
    text = markdown(few)
    lines = text.splitlines()
    assert lines[0] == "## golden on Golden cafe01 · 2025-01-31 12:01 UTC · 2 processes"
    assert "- **cpu, inference**: keras is the fastest: 1.91× faster than while_loop" in text
    assert "- **FAILED**: 1 case (swapped_gates on cpu)" in text
    head = lines.index("### cpu, inference") + 2
    assert lines[head].startswith("| shape | backend | median |")
    assert lines[head + 2] == (
        "| batch 2 × 10 steps, 3 in, 4 hidden `b2-t10-i3-h4` | **`keras`** ★ | **11.1 ms** | "
        "8.48–14.5 | 180 | 1,800 | 1.75 s | 1× baseline |"
    )
    assert lines[head + 3] == (
        "|  | `while_loop` | 21.2 ms | 16.2–27.8 | 94.3 | 943 | 1.75 s | 0.52× SLOWER |"
    )


def test_in_brief_windows_and_precisions_are_told_and_each_heading_once() -> None:
    half = replace(SPEC, dtype="float16")
    items = [
        *(measured("keras", 0.01, work=Workload(batch, 10)) for batch in (2, 4)),
        measured("keras", 0.01, spec=half),
        measured("keras", 0.02, work=replace(TRAINING, window=5)),
    ]
    head, _, *lines = brief(build(results_of(*items))).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert "trust" not in head
    assert [row[0] for row in rows] == ["cpu, inference", "", "", "cpu, training"]
    assert [row[1].rpartition(", ")[2] for row in rows] == [
        *("float16", "4 hidden", "4 hidden", "window 5"),
    ]
    assert rows[-1][3] == "2.00 ms a timestep"


def test_what_files_note_stands_at_the_end(few: Report) -> None:
    noted = replace(few, notes=("<b>it</b> was renamed",))
    assert markdown(noted) == markdown(few) + "\n- note: \\<b\\>it\\</b\\> was renamed\n"


@pytest.mark.parametrize("form", [markdown, brief])
@settings(max_examples=30, deadline=None)
@given(text=HOSTILE)
@example(text="a|b\\|c")
@example(text="</style></title><img src=x onerror=alert(1)>")
def test_hostile_text_is_harmless_in_markdown(form: Callable[[Report], str], text: str) -> None:
    shown = form(hostile_report(text))
    assert len(shown) < 200_000
    assert not re.search(r"(?<!\\)<", re.sub(r"`[^`\n]*`", "", shown))
    assert not re.search(r"(?<![\w\\])@\w", re.sub(r"`[^`\n]*`", "", shown))
    columns = 0
    for line in shown.splitlines():
        assert line == "" or line.startswith(("## ", "### ", "- ", "| ", "★ significantly FASTER"))
        assert not re.match(r"- ([-+*#>]|\d+[.)]) ", line)
        if line.startswith("|"):
            # A backslash escapes the next letter, a bar or another backslash alike.
            bars = re.sub(r"\\.", "", line).count("|")
            assert columns in (0, bars)
            columns = bars
        else:
            columns = 0
