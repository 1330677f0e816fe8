"""Test the report in a terminal of any width and as Markdown."""

import io
import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from rich.cells import cell_len
from rich.console import Console

from bench.cli.command_line import PLAIN
from bench.records.schema import Measurement, Outcome
from bench.render.report import (
    Draw,
    as_picture,
    brief,
    fastest,
    full,
    markdown,
    parts,
    show,
    text_table,
    whys,
    work_texts,
)
from bench.render.table import Standing
from bench.verdicts.sections import Report, Table, build
from lstm_impl.workload import Workload
from tests.bench.made_reports import (
    BUSY,
    HOSTILE,
    INFERENCE,
    PROBLEM,
    SPEC,
    TRAINING,
    a_run,
    hostile_report,
    make_report,
    make_results,
    measured,
    replicated,
    the_row,
    without_time,
)
from tests.bench.made_results import as_text
from tests.bench.made_streams import streams

WINDOW = replace(TRAINING, window=5)


@pytest.fixture
def many() -> Report:
    """Return a report on twenty backends, two shapes, windows, and a refused backend."""
    names = [f"{base}+{option}" for base in ("while_loop", "scan") for option in "abcdefghij"]
    work = [INFERENCE, Workload(4, 10), WINDOW, replace(TRAINING, window=10)]
    items: list[Measurement | Outcome] = [
        measured(name, 0.01 + 0.001 * index, work=each)
        for each in work
        for index, name in enumerate(names)
    ]
    items.append(without_time("onnxruntime", "refused", "computes no gradients", device="cpu"))
    return build(make_results(*items))


# Columns


def first_table(report: Report) -> Table:
    return report.sections[0].tables[0]


def cells(report: Report, backend: str) -> dict[str, str]:
    row = the_row(report, backend)
    return {part.heading: part.text(row).strip() for part in parts(first_table(report))}


def test_parts_of_a_table_are_those_that_any_case_has() -> None:
    usual = ["median", "95% CI", "sequences/s", "timesteps/s", "first result"]
    versus = ["vs keras", "99.5% CI"]

    def heads(*items: Measurement) -> list[str]:
        return [part.heading for part in parts(first_table(make_report(*items)))]

    keras, torch = measured("keras", 0.02), measured("torch", 0.01)
    assert heads(keras) == usual
    assert heads(keras, torch) == [*usual, *versus]
    sized = replace(torch, memory={"peak_bytes": 1.0})
    assert heads(keras, sized) == [*usual, "memory", *versus]
    busy = measured("torch", 0.01, reasons=[BUSY])
    assert heads(keras, busy) == [*usual, *versus, "trust"]
    assert heads(measured("keras", 0.01, work=WINDOW)) == ["per timestep", "95% CI"]


def test_parts_of_a_case_have_its_numbers() -> None:
    found = make_report(
        *replicated(6, ("keras", 0.020), ("torch", 0.010)), without_time("jax", device="cpu")
    )
    torch = cells(found, "torch")
    assert torch["median"] == "10.0 ms"
    assert torch["sequences/s"] == "200"  # two in ten milliseconds
    assert torch["timesteps/s"] == "1,995"
    assert torch["first result"] == "1.75 s"
    assert torch["vs keras"] == "2.00× FASTER"
    assert torch["99.5% CI"] == "2.00–2.00"
    assert cells(found, "keras")["vs keras"] == "1× baseline"
    assert set(cells(found, "jax").values()) == {"not measured", ""}


def test_parts_of_windows_have_time_per_timestep() -> None:
    found = make_report(measured("keras", 0.02, work=WINDOW))
    shown, interval = cells(found, "keras"), the_row(found, "keras").result.interval
    assert interval is not None
    assert shown["per timestep"] == "2.00 ms"
    assert shown["95% CI"] == f"{100 * interval.low:.2f}–{100 * interval.high:.2f}"
    assert work_texts(the_row(found, "keras"), first_table(found)) == ["window 5"]


def test_parts_invalid_and_unreliable_times_are_marked() -> None:
    found = make_report(measured("keras", 0.02), measured("torch", 0.01, reasons=[BUSY]))
    assert cells(found, "torch")["trust"] == "INVALID"
    assert cells(found, "keras")["trust"] == ""
    row = the_row(found, "keras")
    validity = replace(row.result.validity, of_time=(PROBLEM,))
    unreliable = replace(row, result=replace(row.result, validity=validity))
    assert parts(first_table(found))[0].text(unreliable) == "~20.0 ms"


def test_parts_unclear_ratio_has_spread() -> None:
    wild = [
        replace(item, samples=item.samples * (0.8 + 0.08 * number))
        for number, item in enumerate(replicated(6, ("torch", 0.02)))
    ]
    found = make_report(*replicated(6, ("keras", 0.02)), *wild)
    assert cells(found, "torch")["vs keras"].endswith("UNCLEAR")
    assert cells(found, "torch")["process spread"].endswith("%")
    assert cells(found, "keras")["process spread"] == ""


def test_parts_of_a_stream_have_percentiles_and_tail_verdict() -> None:
    found = build(streams({"keras": 5.0, "torch": 8.0}))
    assert [part.heading for part in parts(first_table(found))] == [
        *("median", "95% CI", "p90", "p99", "p99, 95% CI", "p99.9"),
        *("vs keras", "99.5% CI", "p99 vs keras"),
    ]
    assert cells(found, "torch")["p99 vs keras"].endswith("SLOWER")


def test_work_words_several_precisions_are_named() -> None:
    words = ["batch 2 × 10 timesteps", "3 in, 4 hidden", "b2-t10-i3-h4"]
    plain = make_report(measured("keras", 0.02))
    assert work_texts(the_row(plain, "keras"), first_table(plain)) == words
    half = measured("torch", 0.02, spec=replace(SPEC, dtype="float16"))
    both = make_report(measured("keras", 0.02), half)
    expected = [*words[:2], "float16", words[2]]
    assert work_texts(the_row(both, "torch"), first_table(both)) == expected


# A terminal


@pytest.mark.parametrize("draw", [full, brief, whys])
@pytest.mark.parametrize("width", [40, 60, 100, 160])
def test_report_lines_fit_the_terminal(few: Report, many: Report, width: int, draw: Draw) -> None:
    for found in (few, many):
        assert max(map(cell_len, as_text(found, width, draw).splitlines())) <= width


def test_report_narrow_terminal_drops_least_needed_columns(many: Report) -> None:
    (section,) = many.sections
    one = Report((replace(section, rows=section.tables[0].rows),))
    heads = ("95% CI", "sequences/s", "timesteps/s", "first result")
    seen = set()
    for width in range(44, 120, 4):
        text = as_text(one, width).partition("b2-t10-i3-h4\n")[2].partition("while_loop+a")[0]
        there = [head in text for head in heads]
        assert there == sorted(there, reverse=True)
        seen.add(sum(there))
    assert seen >= {0, 1, 2, 4}


def test_report_shape_has_backends_by_time(many: Report) -> None:
    lines = as_text(many).splitlines()
    start = lines.index("batch 2 × 10 timesteps, 3 in, 4 hidden · b2-t10-i3-h4") + 3
    shown = lines[start : start + 21]
    assert re.match(r"while_loop\+a ☆ +10\.0 ms", shown[0])
    assert [line.split()[0] for line in (shown[19], shown[20])] == ["scan+j", "onnxruntime"]
    lengths = [line.count("█") for line in shown[:20]]
    assert lengths == sorted(lengths, reverse=True)
    assert 0 < lengths[-1] < lengths[0]
    assert "█" not in shown[20]  # refused: without a time no bar


def test_report_too_many_shapes_are_counted(many: Report) -> None:
    text = as_text(many, 100, lambda section, rows: full(section, 20))
    assert text.count("and 1 more shape; --format csv lists every case") == 1
    assert "b2-t10-i3-h4" in text
    assert "b4-t10-i3-h4" not in text.partition("Findings")[0]


def test_report_slowest_case_has_a_bar() -> None:
    items = [
        measured(name, seconds, a_run(1, session))
        for session in ("one", "two")
        for name, seconds in (("keras", 1e-5), ("slow", 10.0))
    ]
    text = as_text(build(make_results(*items)))
    assert text.count("▏") == 2
    assert text.count("\n\nquick on ") == 1


@pytest.mark.parametrize("draw", [full, brief])
def test_report_single_backend_has_no_bar(draw: Draw) -> None:
    text = as_text(build(make_results(measured("keras", 0.01))), draw=draw)
    assert "█" not in text
    assert "Bars show" not in text


@pytest.mark.parametrize("outcome", ["not_measured", "refused"])
def test_brief_report_omits_unavailable_backends(outcome: str) -> None:
    found = build(
        make_results(measured("keras", 0.01), without_time("cudnn", outcome, device="cpu"))
    )
    assert "cudnn" in as_text(found)
    assert "cudnn" not in as_text(found, draw=brief)
    alone = build(make_results(without_time("cudnn", outcome)))
    assert "cudnn" not in as_text(alone, draw=brief)


def decisions_text(report: Report) -> str:
    text = as_text(report, draw=brief).partition("What to use\n")[2]
    return " ".join(text.split())


def test_brief_report_ends_with_the_decision_of_each_shape() -> None:
    """The words are those of ``bench.ask``; a GPU that is absent is not mentioned."""
    works = Workload(2, 10), Workload(4, 10, "training")
    found = make_report(
        *(
            measured(name, seconds, a_run(number), work=work)
            for number in range(6)
            for work in works
            for name, seconds in (("keras", 0.02), ("fused_cpu", 0.01))
        ),
        *(without_time("cudnn", device="gpu:0", run=a_run(number)) for number in range(6)),
    )
    text = decisions_text(found)
    for start in (
        "cpu, inference, batch 2 × 10 timesteps",
        "cpu, training, batch 4 × 10 timesteps",
    ):
        assert f"{start}, 3 in, 4 hidden" in text
    assert text.count("Use fused_cpu, 10.0 ms per ") == len(works)
    assert "2.00 times as fast as keras (99.5% CI" in text
    whole = as_text(found, draw=brief)
    assert "gpu" not in whole
    assert "cudnn" not in whole


def test_brief_report_keeps_doubts_in_its_decision() -> None:
    tied = make_report(
        *(
            measured(name, seconds * (1 + 0.2 * (number % 2)), a_run(number))
            for number in range(6)
            for name, seconds in (("keras", 0.0101 if number % 3 else 0.0095), ("fused_cpu", 0.01))
        )
    )
    assert re.search("Use (fused_cpu or keras|keras or fused_cpu): ", decisions_text(tied))
    busy = make_report(
        measured("keras", 0.02, reasons=[PROBLEM.reason]), measured("fused_cpu", 0.01)
    )
    assert "Do not rely on it" in decisions_text(busy)


def test_brief_report_decides_for_the_suite_where_shapes_are_many() -> None:
    found = make_report(
        *(
            measured(name, seconds, a_run(number), work=Workload(batch, 10))
            for number in range(6)
            for batch in range(1, 8)
            for name, seconds in (("keras", 0.02), ("fused_cpu", 0.01))
        )
    )
    text = decisions_text(found)
    assert text.startswith("cpu, inference: fused_cpu is the fastest: 2.00 times as fast as keras")
    assert "over 7 shapes" in text
    assert "batch" not in text


def colours(report: Report, **settings: bool) -> str:
    out = io.StringIO()
    show(report, Console(file=out, width=100, highlight=False, **settings))  # type: ignore[arg-type]
    return out.getvalue()


def test_report_colour_follows_terminal_and_no_color(
    few: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]m")
    assert colour.search(colours(few, force_terminal=True))
    assert "\x1b" not in colours(few)
    monkeypatch.setenv("NO_COLOR", "1")
    without = colours(few, force_terminal=True)
    assert not colour.search(without)
    assert "★" in without


def test_report_ascii_terminal_gets_other_letters(few: Report) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=PLAIN)
    show(few, Console(file=out, width=100, highlight=False))
    out.seek(0)
    text = out.read()
    assert text.isascii()
    assert "?" not in text
    assert "keras *" in text
    assert "####" in text
    assert "batch 2 x 10 timesteps" in text


def test_as_picture_svg_loads_nothing(few: Report) -> None:
    svg = as_picture(few)
    assert "@font-face" not in svg
    assert not re.search(r"url\((?!#)|href=.(?!#)|\bsrc=", svg)
    assert svg == as_picture(few)


@pytest.mark.parametrize("draw", [full, brief])
@settings(max_examples=8, deadline=None)
@given(text=HOSTILE)
@example(text="x" * 1_000_000)
@example(text="漢字" * 40)
@example(text="\x1b[2J\x1b[31m")
@example(text="[red]:smile:[/red]\n" * 40)
def test_report_hostile_text_is_harmless_in_a_terminal(draw: Draw, text: str) -> None:
    found = hostile_report(text)
    shown = as_text(found, 60, draw)
    assert len(shown) < 100_000
    assert all(letter.isprintable() for letter in shown.replace("\n", ""))
    assert max(map(cell_len, shown.splitlines())) <= 60


def test_report_rich_markup_is_shown_as_text() -> None:
    shown = as_text(hostile_report("[red]:smile:[/red]"))
    assert "[red]:smile:[/red] has the shortest times" in shown


# Markdown


def test_markdown_report_ends_in_notes_that_are_text(few: Report) -> None:
    noted = markdown(replace(few, notes=("<b>it</b> was renamed",)))
    assert noted == markdown(few) + "\n- note: \\<b\\>it\\</b\\> was renamed\n"


def test_markdown_brief_names_windows_and_precisions() -> None:
    half = replace(SPEC, dtype="float16")
    items = [
        *(measured("keras", 0.01, work=Workload(batch, 10)) for batch in (2, 4)),
        measured("keras", 0.01, spec=half),
        measured("keras", 0.02, work=WINDOW),
    ]
    head, _, *lines = markdown(build(make_results(*items)), fastest).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert "trust" not in head
    assert [row[0] for row in rows] == ["cpu, inference", "", "", "cpu, training"]
    assert [row[1].rpartition(", ")[2] for row in rows] == [
        *("float16", "4 hidden", "4 hidden", "window 5")
    ]
    assert rows[-1][3] == "2.00 ms per timestep"


@pytest.mark.parametrize("draw", [full, fastest, whys])
@settings(max_examples=20, deadline=None)
@given(text=HOSTILE)
@example(text="a|b\\|c")
@example(text="</style></title><img src=x onerror=alert(1)>")
def test_markdown_hostile_text_is_harmless(draw: Draw, text: str) -> None:
    shown = markdown(hostile_report(text), draw)
    assert len(shown) < 200_000
    assert not re.search(r"(?<!\\)<", re.sub(r"`[^`\n]*`", "", shown))
    assert not re.search(r"(?<![\w\\])@\w", re.sub(r"`[^`\n]*`", "", shown))
    columns = 0
    starts = ("## ", "### ", "- ", "| ", "★ means significantly FASTER", "What limits ", "**")
    for line in shown.splitlines():
        assert line == "" or line.startswith(starts)
        assert not re.match(r"- ([-+*#>]|\d+[.)]) ", line)
        # A backslash escapes the next letter, such as a bar or another backslash.
        bars = re.sub(r"\\.", "", line).count("|") if line.startswith("|") else 0
        assert columns in (0, bars) or not bars
        columns = bars


def test_standing_of_a_cell_comes_from_the_row_and_not_from_its_words() -> None:
    found = make_report(
        *replicated(6, ("keras", 0.020), ("torch", 0.010)),
        measured("scan SLOWER", 0.015, reasons=[BUSY]),
        without_time("numpy INVALID", "failed", device="cpu"),
    )
    table = first_table(found)
    shown = text_table(table, table)
    standings = {
        line[1].text: [cell.state for cell in line if cell.state is not None]
        for line in shown.lines
    }
    assert standings == {
        "torch": [Standing.FASTER],
        "keras": [Standing.BASELINE],
        "scan SLOWER": [Standing.UNCLEAR, Standing.INVALID],
        "numpy INVALID": [Standing.FAILED],
    }
    assert all(
        cell.style == cell.state.style for line in shown.lines for cell in line if cell.state
    )
